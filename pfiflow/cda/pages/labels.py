"""What stands before an item of a list: a number in the numerals that its styleCode asks for, or a bullet."""

from __future__ import annotations

from typing import Final

__all__ = ["list_label"]

_BULLETS: Final = {"disc": "•", "circle": "◦", "square": "▪"}


def list_label(number: int, codes: set[str], *, ordered: bool) -> str:
    """Label of the item `number` (from 1). `codes` are the lower-case styleCodes of the list (CDA R2 §4.3.5.11)."""
    if ordered:
        return _numeral(number, codes)
    return next((bullet for code, bullet in _BULLETS.items() if code in codes), "•")


def _numeral(number: int, codes: set[str]) -> str:
    if "littleroman" in codes or "bigroman" in codes:
        text = _roman(number)
        return f"{text if 'littleroman' in codes else text.upper()}."
    if "littlealpha" in codes or "bigalpha" in codes:
        text = ""
        while number:
            number, digit = divmod(number - 1, 26)
            text = chr(97 + digit) + text
        return f"{text if 'littlealpha' in codes else text.upper()}."
    return f"{number}."


def _roman(number: int) -> str:
    if number > 3999:
        return str(number)
    text = ""
    for value, letters in (
        *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
        *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
    ):
        count, number = divmod(number, value)
        text += letters * count
    return text
