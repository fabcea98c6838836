"""The matricule INS: its form and its key (NIR and NIA alike)."""

from __future__ import annotations

import re

__all__ = ["has_right_key", "is_matricule", "key_of"]

_MATRICULE = re.compile(r"[1-9]\d{4}(?:\d{2}|2[AB])\d{6}\d{2}", re.ASCII)
_CORSICA = (("2A", "19"), ("2B", "18"))


def is_matricule(text: str) -> bool:
    """15 characters: 13 of the number (2A or 2B for a birth in Corsica) and 2 of the key. The key is not computed."""
    return _MATRICULE.fullmatch(text) is not None


def key_of(number: str) -> str:
    """The two-digit key of a 13 character number: 97 less the number modulo 97, 2A counting as 19 and 2B as 18.

    Raises:
        ValueError: not 13 digits (or 11 digits with 2A or 2B as the department).
    """
    if not is_matricule(number + "00"):
        raise ValueError("the number of a matricule INS has 13 characters")
    for department, digits in _CORSICA:
        if number[5:7] == department:
            number = number[:5] + digits + number[7:]
    return f"{97 - int(number) % 97:02d}"


def has_right_key(matricule: str) -> bool:
    """Whether the text is a matricule whose last two digits are its key."""
    return is_matricule(matricule) and key_of(matricule[:13]) == matricule[13:]
