"""How wide a text is in a sans-serif font, near enough to make room for it: no font is looked at."""

from __future__ import annotations

from typing import Final

__all__ = ["cut", "width_of"]

_EMS: Final = {
    **dict.fromkeys("ijl|.,:;'!", 0.27),
    **dict.fromkeys('ftIr()[]{}/\\ -"*`', 0.36),
    **dict.fromkeys("mw%@", 0.88),
    **dict.fromkeys("MW…—→", 0.95),
    **dict.fromkeys("ABCDEFGHKNOPQRSTUVXYZ&=+<>~", 0.70),
}
"""Widths in ems, rounded up over the common fonts; any other character is 0.58."""


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Width in pixels, at this font size."""
    return sum(_EMS.get(character, 0.58) for character in text) * size * (1.06 if bold else 1.0)


def cut(text: str, size: float, room: float) -> str:
    """The text, or as much of it as there is room for."""
    if width_of(text, size) <= room:
        return text
    while text and width_of(f"{text}…", size) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"
