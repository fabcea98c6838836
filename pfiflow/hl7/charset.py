"""MSH-18 and Python codecs (HL7 table 0211).

The volet allows `UNICODE UTF-8` and `8859/15` (MSH-18, required); `8859/1` and `ASCII` are read because hospitals
send them. All of them keep the ASCII separators unambiguous in bytes, which is what lets the reader split first.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType

from attrs import frozen

from pfiflow.errors import Problem
from pfiflow.hl7.faults import CharsetError

__all__ = ["CODECS", "DEFAULT_ENCODING", "Charset", "charset_named", "hl7_name"]

DEFAULT_ENCODING = "utf-8"
"""Codec when MSH-18 is empty: it contains ASCII (HL7's own default); anything else is found out, not guessed."""

CODECS = MappingProxyType(
    {
        "UNICODE UTF-8": "utf-8",
        "8859/15": "iso8859_15",
        "8859/1": "iso8859_1",
        "ASCII": "ascii",
    }
)
"""HL7 table 0211 code → Python codec."""

_NAMES = {codec: name for name, codec in CODECS.items()}
_RULE = "HL7 table 0211"


def hl7_name(encoding: str) -> str:
    """The MSH-18 value of a Python codec. Raises ValueError for a codec that table 0211 does not name here."""
    try:
        return _NAMES[encoding]
    except KeyError:
        raise ValueError(f"no MSH-18 value for codec {encoding!r}; known: {', '.join(_NAMES)}") from None


@frozen
class Charset:
    """A declared character set: `codec` is the Python codec, "" when MSH-18 names one that we do not read."""

    codec: str

    def required(self) -> str:
        """The codec. Raises `CharsetError` (103, MSH-18) when it is unknown."""
        if not self.codec:
            raise CharsetError(
                Problem(
                    "103",
                    f"MSH-18 names an unknown character set; send one of: {', '.join(CODECS)}",
                    location="MSH-18",
                    rule=_RULE,
                )
            )
        return self.codec

    def decode(self, data: bytes, location: str) -> str:
        """Text of `data`. Raises `CharsetError`, without content, when the bytes do not belong to the set."""
        codec = self.required()
        try:
            return data.decode(codec)
        except UnicodeDecodeError as error:
            raise CharsetError(
                Problem(
                    "102",
                    f"byte {error.start + 1} of the value is no {_NAMES.get(codec, codec)}; "
                    "send the character set that MSH-18 declares",
                    location=location,
                    rule=_RULE,
                )
            ) from None


@lru_cache(maxsize=64)
def charset_named(declared: bytes, default: str = DEFAULT_ENCODING) -> Charset:
    """The `Charset` of one repetition of MSH-18 (the first one is the set of the message itself).

    Raises ValueError when `default`, the codec for an empty MSH-18, is none of `CODECS`.
    """
    hl7_name(default)
    name = declared.strip().decode("ascii", "replace").upper()
    return Charset(CODECS.get(name, "") if name else default)
