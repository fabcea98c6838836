r"""ER7 writer: segments as field number → value, joined once.

    build([
        segment("MSH", {3: "PFI", 9: ("ACK", "T02", "ACK"), …}),
        segment("OBX", {1: "1", 2: "ED", 5: ("", "text", "XML", "Base64", base64_bytes)}),
    ])

`str` values are escaped (`pfiflow.hl7.separators.escape`): whatever a value holds, it stays one value. `bytes` values
are taken as written, uncopied until the one join: base64 of 50 MB, or a field mirrored from a message with the same
separators. A tuple holds components, a tuple in it subcomponents, a list repetitions. Trailing empty values are dropped
at every level.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import field, frozen

from pfiflow.errors import Problem
from pfiflow.hl7.charset import hl7_name
from pfiflow.hl7.faults import CharsetError
from pfiflow.hl7.separators import DEFAULT_SEPARATORS, Separators, escape, unescape_bytes

__all__ = ["FieldValue", "SegmentSpec", "build", "escape", "segment", "unescape"]

Text: TypeAlias = str | bytes
Component: TypeAlias = Text | tuple[Text, ...]
Repetition: TypeAlias = Text | tuple[Component, ...]
FieldValue: TypeAlias = Repetition | Sequence[Repetition]
"""`str` (escaped), `bytes` (as written), tuple of components (or of subcomponents in it), list of repetitions."""

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_BREAKS = (b"\r", b"\n", b"\0", b"\x0b", b"\x1c")


@frozen
class SegmentSpec:
    """A segment to write: name, and field number → value. For MSH, fields 1 and 2 come from the separators."""

    name: str
    fields: Mapping[int, FieldValue] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no segment name")
        if self.fields and min(self.fields) < (3 if self.name == "MSH" else 1):
            raise ValueError(f"{self.name} fields to write count from {3 if self.name == 'MSH' else 1}")


def segment(name: str, fields: Mapping[int, FieldValue]) -> SegmentSpec:
    """A `SegmentSpec`. Raises ValueError: no segment name, a field number below 1 (3 for MSH)."""
    return SegmentSpec(name, fields)


def build(
    segments: Iterable[SegmentSpec],
    *,
    separators: Separators = DEFAULT_SEPARATORS,
    encoding: str = "utf-8",
    replace: bool = False,
) -> bytes:
    """The message, each segment ended by CR.

    Args:
        segments: MSH first; the caller writes MSH-18 (`charset.hl7_name(encoding)`).
        separators: MSH-1 and MSH-2, which are written from here.
        encoding: Python codec of `str` values.
        replace: put `?` where `encoding` has no such character, instead of raising.

    Raises:
        CharsetError: a character that `encoding` does not have, `replace` being False.
        ValueError: a `bytes` value with a control character that would end its segment or its frame (a defect).
    """
    parts: list[bytes] = []
    for spec in segments:
        writer = _Writer(spec.name, separators, encoding, "replace" if replace else "strict")
        parts += writer.parts(spec.fields)
    return b"".join(parts)


def unescape(text: str, separators: Separators = DEFAULT_SEPARATORS) -> str:
    r"""The reverse of `escape` for decoded text; ``\Xhh..\`` is read as UTF-8, U+FFFD standing for what is none."""
    return unescape_bytes(text.encode("utf-8", "surrogatepass"), separators).decode("utf-8", "replace")


@frozen
class _Writer:
    name: str
    separators: Separators
    encoding: str
    errors: str

    def parts(self, fields: Mapping[int, FieldValue]) -> list[bytes]:
        separators = self.separators
        parts: list[bytes] = [self.name.encode("ascii")]
        written = 0
        if self.name == "MSH":
            parts += (separators.field, separators.encoding_characters)
            written = 2
        for number in sorted(fields):
            value = fields[number]
            repetitions = value if isinstance(value, list) else [value]
            encoded = self._joined(
                [self._joined(self._components(r, number), separators.component) for r in repetitions],
                separators.repetition,
            )
            if encoded:
                parts.append(separators.field * (number - written))
                parts += encoded
                written = number
        parts.append(b"\r")
        return parts

    def _components(self, repetition: object, number: int) -> list[list[bytes]]:
        components = repetition if isinstance(repetition, tuple) else (repetition,)
        separator = self.separators.subcomponent
        return [
            self._joined([self._text(t, number) for t in (c if isinstance(c, tuple) else (c,))], separator)
            for c in components
        ]

    def _text(self, value: object, number: int) -> list[bytes]:
        """[the value as bytes], or [] when empty."""
        if isinstance(value, bytes):
            if any(b in value for b in _BREAKS):
                raise ValueError(
                    f"{self.name}-{number}: bytes to write as they are hold a control character; pass text"
                )
            return [value] if value else []
        if not isinstance(value, str):
            raise TypeError(f"{self.name}-{number}: {type(value).__name__} cannot be written; pass str or bytes")
        if not value:
            return []
        try:
            return [escape(value, self.separators).encode(self.encoding, self.errors)]
        except UnicodeEncodeError as error:
            raise CharsetError(
                Problem(
                    "102",
                    f"character U+{ord(error.object[error.start]):04X} does not exist in {hl7_name(self.encoding)}",
                    location=f"{self.name}-{number}",
                )
            ) from None

    @staticmethod
    def _joined(items: Sequence[list[bytes]], separator: bytes) -> list[bytes]:
        """The parts of `items` with separators between, the trailing empty ones left out."""
        size = len(items)
        while size and not items[size - 1]:
            size -= 1
        parts: list[bytes] = []
        for index in range(size):
            if index:
                parts.append(separator)
            parts += items[index]
        return parts
