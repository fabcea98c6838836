"""The original mail, ready to be returned whole in another (`message/rfc822`): its own bytes, if that is possible."""

from __future__ import annotations

import re
from typing import Final

from pfiflow.errors import Rejected
from pfiflow.mssante import mime
from pfiflow.mssante.parts import Part
from pfiflow.mssante.reading import ReceivedMail

__all__ = ["attachments", "enclosed", "header_block"]

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_ENCODING: Final = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE
)
_SEVEN_BIT: Final = bytes(c if 0 < c < 128 else ord("?") for c in range(256))
_IDENTITY: Final = frozenset({"", "7bit", "8bit", "binary"})


def enclosed(mail: ReceivedMail, *, name: str = "") -> list[bytes]:
    """A `message/rfc822` part: the mail byte for byte, if its lines end with CRLF and its bytes are ASCII.

    Otherwise line ends become CRLF, and parts that are not ASCII are encoded in base64 (RFC 6152 §3): an enclosed mail
    may carry no encoding of its own (RFC 2046 §5.2.1), and not every relay takes 8 bits.
    """
    header = [b"Content-Type: message/rfc822"]
    if name:
        header.append(b'Content-Disposition: attachment; filename="' + name.encode("ascii") + b'"')
    return [*header, b"", _clean(mail.raw, mail.top)]


def header_block(mail: ReceivedMail) -> list[bytes]:
    """A `text/rfc822-headers` part (RFC 6522 §4): the header fields alone, when the whole would be too large."""
    block = _LINE_END.sub(b"\r\n", mail.raw[: mail.top.start].translate(_SEVEN_BIT)).rstrip(b"\r\n")
    return [b"Content-Type: text/rfc822-headers", b"", block]


def attachments(mail: ReceivedMail) -> list[list[bytes]]:
    """The attachments of the mail itself, as parts to repeat beside the original: what the volet 1.1.2 asks for."""
    leaves = mail.top.leaves() if mail.top.parts else ()
    chosen = (p for p in leaves if not p.is_message and (p.disposition == "attachment" or p.starts_like_zip()))
    return [[_clean(bytes(part.raw()), part)] for part in chosen]


def _clean(raw: bytes, top: Part) -> bytes:
    if raw.isascii() and b"\0" not in raw:
        ends = raw.count(b"\r\n")
        return raw if raw.count(b"\n") == ends == raw.count(b"\r") else _LINE_END.sub(b"\r\n", raw)
    return _LINE_END.sub(b"\r\n", b"".join(_seven_bit(top)).translate(_SEVEN_BIT))


def _seven_bit(part: Part) -> list[bytes]:
    data = part.data
    head, body = data[part.begin : part.start], data[part.start : part.end]
    if part.parts:
        pieces, position = [_ENCODING.sub(b"", head)], part.start
        for child in part.parts:
            pieces += [data[position : child.begin], *_seven_bit(child)]
            position = child.end
        return [*pieces, data[position : part.end]]
    if (body.isascii() and b"\0" not in body) or part.media_type.startswith("multipart/"):
        return [head, body]  # an unopened multipart may not be encoded: what is foreign in it becomes "?"
    if part.is_message and part.encoding in _IDENTITY:
        try:
            return [_ENCODING.sub(b"", head), *_seven_bit(part.enclosed())]
        except Rejected:
            return [head, body]
    fields = _ENCODING.sub(b"", head.rstrip(b"\r\n") + b"\r\n").lstrip(b"\r\n")
    body = b"\r\n".join(mime.base64_blocks(part.content()))
    return [b"Content-Transfer-Encoding: base64\r\n", fields, b"\r\n", body]
