"""The ED data type: base64 in OBX-5.5, for a document or for the text of a mail."""

from __future__ import annotations

import binascii

from pfiflow.hl7.er7 import Segment

__all__ = ["Base64Error", "decode_base64", "decode_truncated_text", "stray_content"]

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BLANKS = b" \t\xa0\xc2"  # space, tab, no-break space in ISO 8859 or UTF-8: only ever around a value


class Base64Error(ValueError):
    """Not base64. The text says what is wrong with it, and shows nothing of it."""


def decode_base64(data: bytes) -> bytes:
    """The bytes of an OBX-5.5. Missing padding is tolerated (official examples); any foreign character is refused.

    One pass in C over well-formed data; the reason is sought only when that fails.

    Raises:
        Base64Error: foreign characters, padding in the middle, or a length that no base64 has (cut short).
    """
    data = data.strip(_BLANKS)
    padding = -len(data) % 4
    try:
        return binascii.a2b_base64(data + b"=" * padding if padding else data, strict_mode=True)
    except binascii.Error:
        raise Base64Error(_why_not(data)) from None


def decode_truncated_text(data: bytes) -> tuple[bytes, bool]:
    """The bytes of a mail text, and whether it was cut short: a last lone character, which holds no byte, is dropped.

    Raises:
        Base64Error: anything else that `decode_base64` refuses.
    """
    data = data.strip(_BLANKS)
    bare = data.rstrip(b"=")
    cut = len(bare) % 4 == 1
    return decode_base64(bare[:-1] if cut else data), cut


def stray_content(segment: Segment) -> bool:
    """Whether OBX-5 holds more than one ED value: what a slice of its component 5 would silently leave out."""
    separators = segment.separators
    if segment.component(5, 6):
        return True
    value = segment.field(5)
    found = value.find(separators.repetition)
    return found >= 0 and bool(
        value[found:].strip(separators.repetition + separators.component + separators.subcomponent + _BLANKS)
    )


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
