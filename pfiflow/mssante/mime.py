"""MIME by joining bytes: a message is a series of blocks of lines, written one after the other.

The standard library's `EmailMessage` needs ten times as long for an attachment. A block is one or more lines of ASCII,
CRLF between them and none at the end. A line has at most 998 octets (RFC 5322 §2.1.1); in an encoded body, 76.
"""

from __future__ import annotations

import re
import struct
from binascii import b2a_qp
from collections.abc import Iterable, Iterator, Sequence
from email.header import Header
from io import BytesIO
from itertools import chain
from typing import TypeAlias
from urllib.parse import quote

from attrs import field, frozen
from pybase64 import b64encode

__all__ = [
    "Content",
    "Part",
    "attachment",
    "base64_blocks",
    "boundary",
    "display_mailbox",
    "header",
    "join",
    "multipart",
    "text_part",
    "unfolded",
]

_LINE = 76
_BLOCK = struct.Struct(f"{_LINE}s" * 128)
_PIECE = 64 * 2**10
_BLOCK_SOURCE = _BLOCK.size // 4 * 3  # bytes that encode to one block
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")


def base64_blocks(content: bytes) -> Iterator[bytes]:
    """`content` in base64, lines of 76 characters (RFC 2045 §6.8), made as they are asked for."""
    view = memoryview(content)
    whole = len(content) - len(content) % _BLOCK_SOURCE
    # A block at a time stays in the processor's cache, and `struct` cuts lines in C.
    for at in range(0, whole, _BLOCK_SOURCE):
        yield b"\r\n".join(_BLOCK.unpack(b64encode(view[at : at + _BLOCK_SOURCE])))
    rest = b64encode(view[whole:])
    for at in range(0, len(rest), _LINE):
        yield rest[at : at + _LINE]


def text_part(text: str) -> list[bytes]:
    """A `text/plain` UTF-8 part in quoted-printable: header lines, the empty line, body lines.

    Control characters other than tab and line break are dropped.
    """
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip("\n")
    content = text.replace("\n", "\r\n").encode("utf-8", "replace") + b"\r\n"
    encoded = b2a_qp(content, quotetabs=False, istext=True)
    return [
        b'Content-Type: text/plain; charset="utf-8"',
        b"Content-Transfer-Encoding: quoted-printable",
        b"",
        *encoded.removesuffix(b"\r\n").split(b"\r\n"),
    ]


@frozen
class _Attachment:
    """A part whose content is encoded each time that it is gone through."""

    head: tuple[bytes, ...]
    content: bytes = field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.head
        yield from base64_blocks(self.content)

    @property
    def size(self) -> int:
        """Bytes of the part's lines, each with its CRLF."""
        encoded = (len(self.content) + 2) // 3 * 4
        return _size_of(self.head) + encoded + 2 * -(-encoded // _LINE)


Part: TypeAlias = Sequence[bytes] | _Attachment
"""The blocks of one part, to be gone through more than once."""


def _size_of(part: Iterable[bytes]) -> int:
    return part.size if isinstance(part, _Attachment) else sum([len(block) + 2 for block in part])


@frozen(repr=False)
class Content:
    """A multipart message whose bytes are made while it is sent: a document of 50 MB is never held encoded.

    Iterating gives pieces of some 64 kB that end with a line's CRLF, the same at every time; `len` is their sum.

    Attributes:
        headers: the message's header lines, but for Content-Type.
        parts: the blocks of each part, each to be gone through more than once.
        separator: see `boundary()`.
    """

    headers: Sequence[bytes]
    parts: Sequence[Part]
    separator: str

    def __len__(self) -> int:
        around = multipart("mixed", [() for _ in self.parts], separator=self.separator)
        return _size_of(self.headers) + _size_of(around) + sum(map(_size_of, self.parts))

    def __iter__(self) -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        for block in chain(self.headers, multipart("mixed", self.parts, separator=self.separator)):
            held += (block, b"\r\n")
            size += len(block)
            if size >= _PIECE:
                yield b"".join(held)
                held, size = [], 0
        if held:
            yield b"".join(held)

    def __bytes__(self) -> bytes:
        return b"".join(self)


def attachment(name: str, media_type: str, content: bytes) -> _Attachment:
    """A base64 attachment part. A name outside ASCII is written by RFC 2231, unbroken: continuations defeat clients.

    Args:
        name: the file name; control characters are dropped, and what passes 250 characters.
        media_type: such as `application/pdf`.
        content: the file.
    """
    name = "".join(filter(str.isprintable, name[:250]))
    if name.isascii():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        parameter = f'filename="{quoted}"'
    else:
        encoded = quote(name, safe="", errors="replace")
        if len(encoded) > 900:  # 250 characters far from Latin: the line has room for 70 and the extension
            stem, dot, extension = name.rpartition(".")
            encoded = quote(f"{stem[:70]}{dot}{extension[:4]}", safe="", errors="replace")
        parameter = f"filename*=utf-8''{encoded}"
    head = (
        b"Content-Type: " + media_type.encode("ascii"),
        b"Content-Transfer-Encoding: base64",
        b"Content-Disposition: attachment;",
        b" " + parameter.encode("ascii"),
        b"",
    )
    return _Attachment(head, content)


def boundary(seed: str) -> str:
    """A boundary made of `seed` (a token): `=_` occurs in no base64 or quoted-printable line (RFC 2045 §6.7)."""
    return f"=_{seed[:60]}"


def multipart(subtype: str, parts: Iterable[Iterable[bytes]], *, separator: str) -> Iterator[bytes]:
    """A multipart entity: its Content-Type line, the empty line, the parts between separators.

    Args:
        subtype: `mixed`, or `report; report-type=…`: all that follows `multipart/`.
        parts: the blocks of each part, its headers first.
        separator: see `boundary()`.
    """
    delimiter = b"--" + separator.encode("ascii")
    yield f'Content-Type: multipart/{subtype}; boundary="{separator}"'.encode("ascii")
    yield b""
    for part in parts:
        yield delimiter
        yield from part
    yield delimiter + b"--"


def unfolded(name: str, value: str) -> bytes:
    """One header on one line. `value` is printable ASCII.

    Raises:
        ValueError: the value holds anything else (a line break would start another header), or the line is too long.
    """
    _check(name, value)
    line = f"{name}: {value}".encode("ascii")
    if len(line) > 998:
        msg = f"{name}: {len(line)} characters do not fit on one line"
        raise ValueError(msg)
    return line


def header(name: str, value: str) -> list[bytes]:
    """One header, folded at its spaces to lines of 78 where they allow it.

    Raises:
        ValueError: the value holds anything but printable ASCII.
    """
    _check(name, value)
    first, *words = value.split(" ")
    lines = [f"{name}: {first}"]
    for word in words:
        # Never before an empty word: a line of nothing but its folding space would look like the end of the headers.
        if word and len(lines[-1]) + len(word) >= 78:
            lines.append(f" {word}")
        else:
            lines[-1] += f" {word}"
    return [line.encode("ascii") for line in lines]


def display_mailbox(label: str, address: str) -> str:
    """`<label> <address>` for From: atoms as they are, other ASCII quoted, the rest RFC 2047. Control characters go."""
    label = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    if not label:
        return address
    if not label.isascii() or "=?" in label:
        label = Header(label, "utf-8", maxlinelen=75, header_name="From").encode(linesep="\n").replace("\n", "")
    elif _ATOMS.fullmatch(label) is None:
        label = '"' + label.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{label} <{address}>"


def join(blocks: Iterable[bytes]) -> bytes:
    """The message: blocks joined and ended by CRLF. Holds one block at a time beside the message itself."""
    message = BytesIO()
    for block in blocks:
        message.write(block)
        message.write(b"\r\n")
    return message.getvalue()


def _check(name: str, value: str) -> None:
    if not (value.isascii() and value.isprintable()):
        msg = f"{name}: a header takes printable ASCII only; a line break in it would start another header"
        raise ValueError(msg)
