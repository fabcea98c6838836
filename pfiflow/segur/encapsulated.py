"""The ED data type: base64 in OBX-5.5, for a document or for the text of a mail."""

from __future__ import annotations

import binascii

import pybase64
from attrs import frozen

from pfiflow.hl7.er7 import Segment

__all__ = ["Base64Error", "Encapsulated", "decode_base64", "decode_truncated_text", "encapsulated"]

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BLANKS = b" \t\xa0\xc2"  # space, tab, no-break space in ISO 8859 or UTF-8: only ever around a value


class Base64Error(ValueError):
    """Not base64. The text says what is wrong with it, and shows nothing of it."""


def decode_base64(value: bytes | memoryview) -> bytes:
    """The bytes of an OBX-5.5. Missing padding is tolerated (official examples); any foreign character is refused.

    One pass (SIMD) over well-formed data; what is tolerated and the reasons are sought only when that fails.

    Raises:
        Base64Error: foreign characters, padding in the middle, or a length that no base64 has (cut short).
    """
    try:
        return pybase64.b64decode(value, validate=True)
    except binascii.Error:
        data = _trimmed(memoryview(value))
    written = _padding(data)
    missing = -(len(data) - written) % 4 - written
    if missing < 0:  # strict_mode lets some of it pass
        raise Base64Error(_why_not(bytes(data)))
    try:
        return binascii.a2b_base64(bytes(data) + b"=" * missing if missing else data, strict_mode=True)
    except binascii.Error:
        raise Base64Error(_why_not(bytes(data))) from None


def decode_truncated_text(value: bytes | memoryview) -> tuple[bytes, bool]:
    """The bytes of a mail text, and whether it was cut short: a last lone character, which holds no byte, is dropped.

    Raises:
        Base64Error: anything else that `decode_base64` refuses.
    """
    data = bytes(value).strip(_BLANKS)
    bare = data.rstrip(b"=")
    cut = len(bare) % 4 == 1
    return decode_base64(bare[:-1] if cut else data), cut


@frozen
class Encapsulated:
    """An OBX-5 of type ED. The three words are upper case; `data` is as written, base64."""

    type: str
    subtype: str
    encoding: str
    data: memoryview
    stray: bool  # something follows the data: another repetition or component, which a reader would leave out


def encapsulated(raw: bytes, obx: Segment) -> Encapsulated:
    """OBX-5 `source^type^subtype^encoding^data` of a segment of `raw`, cut in place: a document is not copied."""
    (start, finish), separators = obx.span(5), obx.separators
    words: list[str] = []
    for _ in range(4):
        found = raw.find(separators.component, start, finish)
        if found < 0:
            break
        words.append(_word(raw[start:found]))
        start = found + 1
    begin = start
    if len(words) < 4:
        words.append(_word(raw[start:finish]))
        begin = finish
    end = finish
    for separator in (separators.component, separators.repetition):
        found = raw.find(separator, begin, end)
        end = found if found >= 0 else end
    _, kind, subtype, encoding, *_ = (*words, "", "", "")
    empty = separators.component + separators.repetition + separators.subcomponent + _BLANKS
    stray = raw[end:finish].strip(empty)
    return Encapsulated(kind, subtype, encoding, memoryview(raw)[begin:end], bool(stray))


def _word(data: bytes) -> str:
    return data.strip(_BLANKS).decode("latin-1").upper()


def _padding(data: memoryview) -> int:
    """How many `=` end the data."""
    end = len(data)
    while end and data[end - 1] == ord("="):
        end -= 1
    return len(data) - end


def _trimmed(data: memoryview) -> memoryview:
    start, end = 0, len(data)
    while start < end and data[start] in _BLANKS:
        start += 1
    while end > start and data[end - 1] in _BLANKS:
        end -= 1
    return data[start:end]


def _why_not(data: bytes) -> str:
    bare = data.rstrip(b"=")
    foreign = bare.translate(None, _ALPHABET)
    if foreign.strip(b"="):
        hint = "; send it without line breaks or HL7 escapes" if any(c in foreign for c in b"\\ \n\t") else ""
        return f"is not base64: {len(foreign)} of its {len(data)} characters are foreign to it{hint}"
    if foreign:
        return "is not base64: it has padding before its end"
    if len(bare) % 4 == 1:
        return f"is not base64: {len(bare)} characters are one too many or too few; it seems cut short"
    return "is not base64: its padding is wrong"
