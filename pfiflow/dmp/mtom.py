"""`multipart/related` by bytes (RFC 2387, RFC 2046 §5.1; MTOM, XOP): documents are neither copied nor re-encoded."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from pfiflow.errors import ProtocolError

__all__ = ["MAX_PARTS", "Part", "media_type", "read", "write"]

MAX_PARTS: Final = 100
_MAX_HEADERS: Final = 16_384
_MAX_CONTENT_TYPE: Final = 4_096

_CRLF: Final = b"\r\n"
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"
_MEDIA_TYPE: Final = re.compile(rf"[ \t]*({_NAME}/{_NAME})[ \t]*(?=;|\Z)")
_PARAMETER: Final = re.compile(
    rf';[ \t\r\n]*(?:({_NAME})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))[ \t]*)?(?=;|\Z)'
)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


@frozen
class Part:
    """One part of a multipart message. `content_id` is without its angle brackets; no representation shows the data."""

    content_id: str
    content_type: str
    data: bytes | memoryview = field(repr=False)


def media_type(content_type: str) -> tuple[str, Mapping[str, str]]:
    """A Content-Type as (type/subtype in lower case, its parameters by lower-case name).

    Raises:
        ProtocolError: it is not one (RFC 2045 §5.1), or a parameter comes twice.
    """
    match = _MEDIA_TYPE.match(content_type) if len(content_type) <= _MAX_CONTENT_TYPE else None
    if match is None:
        raise ProtocolError("the Content-Type is missing or is none (RFC 2045 §5.1)")
    parameters: dict[str, str] = {}
    place = match.end()
    while place < len(content_type):
        found = _PARAMETER.match(content_type, place)
        if found is None:
            raise ProtocolError(f"the Content-Type's parameters cannot be read from character {place + 1}")
        name = (found[1] or "").lower()
        if name in parameters:
            raise ProtocolError(f"the Content-Type has the parameter {name} twice")
        if name:
            parameters[name] = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        place = found.end()
    return match[1].lower(), MappingProxyType(parameters)


def write(parts: Sequence[Part], boundary: str) -> tuple[bytes | memoryview, ...]:
    """The pieces of a multipart body, to be sent one after the other; each part's data is one of them, as it is.

    The boundary must be one that nobody can foresee: parts are not searched for it.
    """
    pieces: list[bytes | memoryview] = []
    for number, part in enumerate(parts):
        lines = (
            f"--{boundary}",
            f"Content-Type: {part.content_type}",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: <{part.content_id}>",
            "",
            "",
        )
        start = "\r\n" if number else ""
        pieces += ((start + "\r\n".join(lines)).encode("ascii"), part.data)
    pieces.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return tuple(pieces)


def read(parameters: Mapping[str, str], body: bytes) -> tuple[Part, tuple[Part, ...]]:
    """The root part and the other parts of a multipart body; data are views of `body`.

    Args:
        parameters: those of the Content-Type: `boundary`, and `start`, the Content-ID of the root (else the first).
        body: whole, from its first delimiter (or a preamble) to its closing one.

    Raises:
        ProtocolError: no or a wrong boundary, cut before the closing delimiter, no root part, a Content-ID twice, an
            unknown transfer encoding, too many parts or too long headers.
    """
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise ProtocolError("the Content-Type of a multipart message needs a boundary of at most 70 characters")
    parts = _parts(body, boundary.encode("ascii"))
    names = [part.content_id for part in parts if part.content_id]
    if len(set(names)) != len(names):
        raise ProtocolError("two parts of the multipart message have the same Content-ID")
    start = _bare(parameters.get("start", ""))
    root = next((part for part in parts if not start or part.content_id == start), None)
    if root is None:
        raise ProtocolError("the multipart message has no part with the Content-ID that `start` names")
    return root, tuple(part for part in parts if part is not root)


def _parts(body: bytes, boundary: bytes) -> list[Part]:
    view = memoryview(body)
    delimiter = _CRLF + b"--" + boundary
    opening = delimiter[2:]
    place = 0 if body.startswith(opening) else body.find(delimiter) + 2
    if place == 1:
        raise ProtocolError("the multipart message does not hold its boundary")
    place += len(opening)
    parts: list[Part] = []
    while body[place : place + 2] != b"--":
        if len(parts) >= MAX_PARTS:
            raise ProtocolError(f"the multipart message has more than {MAX_PARTS} parts")
        line_end = body.find(_CRLF, place, place + 256)
        if line_end < 0 or body[place:line_end].strip(b" \t"):
            raise ProtocolError(f"part {len(parts) + 1} of the multipart message does not start on a line of its own")
        headers_end = body.find(_CRLF + _CRLF, line_end, line_end + _MAX_HEADERS)
        if headers_end < 0:
            raise ProtocolError(f"the headers of part {len(parts) + 1} are cut or longer than {_MAX_HEADERS} bytes")
        start = headers_end + 4
        # The CRLF of an empty part's delimiter is the one that ends its headers.
        end = body.find(delimiter, start - 2)
        if end < 0:
            raise ProtocolError(f"the multipart message is cut in part {len(parts) + 1}: no delimiter ends it")
        parts.append(_part(body[line_end:headers_end], view[start : max(start, end)], len(parts) + 1))
        place = end + len(delimiter)
    if not parts:
        raise ProtocolError("the multipart message has no part")
    return parts


def _part(head: bytes, data: memoryview, number: int) -> Part:
    headers: dict[str, str] = {}
    for line in re.sub(rb"\r\n[ \t]+", b" ", head).split(_CRLF):
        name, colon, value = line.decode("latin-1").partition(":")
        if line and not colon:
            raise ProtocolError(f"part {number} of the multipart message has a header line without colon")
        headers.setdefault(name.strip().lower(), value.strip())
    encoding = headers.get("content-transfer-encoding", "").lower()
    if encoding == "base64":
        return Part(_bare(headers.get("content-id", "")), headers.get("content-type", ""), _decoded(data, number))
    if encoding not in {"", "binary", "8bit", "7bit"}:
        raise ProtocolError(f"part {number} of the multipart message has a transfer encoding that is not accepted")
    return Part(_bare(headers.get("content-id", "")), headers.get("content-type", ""), data)


def _decoded(data: memoryview, number: int) -> bytes:
    try:
        return base64.b64decode(data.tobytes().translate(None, b"\r\n \t"), validate=True)
    except ValueError:
        pass
    raise ProtocolError(f"part {number} of the multipart message is not the base64 that it says to be")


def _bare(content_id: str) -> str:
    return content_id.removeprefix("<").removesuffix(">") if content_id.startswith("<") else content_id
