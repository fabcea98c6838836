r"""The separators of one message (MSH-1, MSH-2), and the escape sequences that they need (HL7 2.6 §2.5.4, §2.7)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import attrs
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEFAULT_SEPARATORS", "Marks", "Separators", "escape", "unescape_bytes"]


@frozen
class Marks:
    """Separators as text, to cut what was decoded."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


@frozen
class Separators:
    """Each one ASCII character, as bytes; `truncation` (HL7 2.7, the fifth of MSH-2) is b"" when there is none."""

    field: bytes = b"|"
    component: bytes = b"^"
    repetition: bytes = b"~"
    escape: bytes = b"\\"
    subcomponent: bytes = b"&"
    truncation: bytes = b""
    marks: Marks = attrs.field(init=False, repr=False, eq=False)

    @marks.default
    def _marks(self) -> Marks:
        parts = (self.field, self.component, self.repetition, self.escape, self.subcomponent)
        return Marks(*(part.decode("ascii") for part in parts))

    @classmethod
    def of(cls, field: bytes, encoding: bytes) -> Self:
        """From MSH-1 and MSH-2 as written. Raises ValueError: not 4 or 5 characters, not distinct punctuation."""
        if len(encoding) not in (4, 5):
            raise ValueError("MSH-2 must hold 4 or 5 separator characters, normally ^~\\&")
        characters = field + encoding
        if len(set(characters)) != len(characters) or not all(0x20 < c < 0x7F for c in characters):
            raise ValueError("MSH-1 and MSH-2 must be distinct printable ASCII characters, normally |^~\\&")
        if any(chr(c).isalnum() or chr(c) == '"' for c in characters):
            raise ValueError("MSH-1 and MSH-2 must be punctuation, normally |^~\\&")
        return cls(field, *(encoding[i : i + 1] for i in range(len(encoding))))

    @property
    def encoding_characters(self) -> bytes:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation

    def letters(self) -> tuple[tuple[bytes, bytes], ...]:
        """(escape letter, character it stands for)."""
        known = (
            (b"F", self.field),
            (b"S", self.component),
            (b"T", self.subcomponent),
            (b"R", self.repetition),
            (b"E", self.escape),
            (b"P", self.truncation),
        )
        return tuple(pair for pair in known if pair[1])


DEFAULT_SEPARATORS = Separators()


def escape(text: str, separators: Separators = DEFAULT_SEPARATORS) -> str:
    r"""Text for the inside of a value.

    Separators become their letter escapes. Every control character, CR and LF first of all, becomes ``\Xhh\``: legal in
    every data type (``\.br\`` is so only in formatted text), exact on the way back, and no value can begin a segment,
    end an MLLP frame or hold a NUL.
    """
    pattern, replacement = _escaper(separators)
    return pattern.sub(replacement, text) if pattern.search(text) else text


def unescape_bytes(value: bytes, separators: Separators) -> bytes:
    """Resolve the escape sequences of a value as written; hexadecimal ones give bytes of the message's charset."""
    pattern, replacement = _unescaper(separators)
    return pattern.sub(replacement, value)


@lru_cache(maxsize=64)
def _escaper(separators: Separators) -> tuple[re.Pattern[str], Callable[[re.Match[str]], str]]:
    mark = separators.escape.decode("ascii")
    table = {
        character.decode("ascii"): f"{mark}{letter.decode('ascii')}{mark}" for letter, character in separators.letters()
    }
    table |= {chr(c): f"{mark}X{c:02X}{mark}" for c in (*range(0x20), 0x7F)}
    pattern = re.compile(f"[{re.escape(''.join(table))}]")
    return pattern, lambda match: table[match[0]]


@lru_cache(maxsize=64)
def _unescaper(separators: Separators) -> tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], bytes]]:
    mark = re.escape(separators.escape)
    table = dict(separators.letters()) | {b".br": b"\n"}
    # what a sequence may hold (§2.7.1 to 2.7.7): so that a stray escape character before a blank is no sequence
    inside = b"".join(re.escape(bytes([c])) for c in b".+-" if bytes([c]) != separators.escape) + rb"A-Za-z0-9"
    pattern = re.compile(mark + rb"([" + inside + rb"]+)" + mark)

    def replacement(match: re.Match[bytes]) -> bytes:
        content = match[1]
        known = table.get(content)
        if known is not None:
            return known
        if content.startswith(b"X") and len(content) > 1:
            try:
                return bytes.fromhex(content[1:].decode("ascii"))
            except ValueError:
                pass  # no pairs of digits: stays as written
        return match[0]

    return pattern, replacement
