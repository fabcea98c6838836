"""Header fields as mail in the world has them: folded, encoded, mis-encoded, repeated, and sometimes hostile.

Everything here is linear in what it reads, and reads at most `MAX_BYTES` of one block. Nothing raises: what cannot be
understood is "" or (). The standard library's `email` is not used for this: it recurses on nested comments, raises on
malformed addresses, and some of its expressions are quadratic.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

from pfiflow.mssante.address import is_mailbox

__all__ = ["MAX_BYTES", "Address", "Headers", "addresses", "date_of", "decode", "message_ids", "parameters", "words"]

MAX_BYTES: Final = 262_144
"""Bytes of one header block that are read."""

_LONGEST: Final = 16_384  # characters of one value
_MOST: Final = 500  # addresses or message ids of one value
_LINES: Final = 2_000
_NAME: Final = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")
_CODECS: Final = re.compile(
    r"(utf-(8|16|32)(-[lb]e)?|ascii|iso8859-\d+|cp\d+|koi8-[ru]|mac-roman|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+)"
)
_WORD: Final = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,60})(?:\*[A-Za-z0-9-]{0,20})?\?([BbQq])\?([^?]*)\?=")
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]{1,100})\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;]*))', re.DOTALL)
_SEGMENT: Final = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")
# Every alternative matches whatever follows it (possessive, closing mark optional): no text is scanned twice.
_ADDRESS_TOKEN: Final = re.compile(
    r'"(?:[^"\\]|\\.)*+"?|\((?:[^()\\]|\\.)*+\)?|<[^<>]*+>?|[,;]|[^",;<(]++|.', re.DOTALL
)
_MESSAGE_ID: Final = re.compile(r"<([^<>]{1,900})>")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@frozen
class Address:
    """One mailbox of an address header: `address` as is_mailbox() accepts it, and the name shown beside it."""

    address: str
    label: str = ""


@frozen(eq=False, repr=False)
class Headers:
    """The fields of one header block, in order: lower-case name and unfolded value as bytes."""

    fields: tuple[tuple[str, bytes], ...] = ()
    _first: Mapping[str, bytes] = field(init=False)

    @_first.default
    def _index(self) -> Mapping[str, bytes]:
        return MappingProxyType(dict(reversed(self.fields)))

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def text(self, name: str) -> str:
        """The first field of that (lower-case) name as text, encoded words not resolved; "" when absent."""
        value = self._first.get(name)
        return "" if value is None else _text(value)

    def get(self, name: str) -> str:
        """The first field of that name, encoded words (RFC 2047) resolved, on one line; "" when absent."""
        return " ".join(words(self.text(name)).split())

    def all(self, name: str) -> tuple[str, ...]:
        """Every field of that name as text, encoded words not resolved, in order."""
        return tuple(_text(value) for found, value in self.fields if found == name)


def parse(data: bytes, begin: int, end: int) -> tuple[Headers, int]:
    """The header block of `data[begin:end]`, and where its body starts.

    A block ends at the first empty line, or at the first line that is no field: the empty line may have been lost.
    An mbox `From ` line before it is skipped. What passes MAX_BYTES is not read, and the body starts there.
    """
    fields: list[tuple[str, list[bytes]]] = []
    position = begin
    last = min(end, begin + MAX_BYTES)
    for _ in range(_LINES):
        if position >= last:
            break
        found = data.find(b"\n", position, last)
        after = last if found < 0 else found + 1
        line = data[position:after].rstrip(b"\r\n")
        if not line:
            position = after
            break
        if line[:1] in b" \t":
            if fields:
                fields[-1][1].append(line)
        elif match := _NAME.match(line):
            fields.append((match[1].decode("ascii").lower(), [line[match.end() :]]))
        elif position != begin or not line.startswith((b"From ", b">From ")):
            break
        position = after
    return Headers(tuple((name, b"".join(parts).strip()) for name, parts in fields)), position


def decode(data: bytes, charset: str = "") -> str:
    """Text of `data`: in its declared charset, else UTF-8, else Windows-1252. Never fails.

    Only charsets that mail knows: Python also has codecs that run for ever, or that are none.
    """
    try:
        name = codecs.lookup(charset).name if charset and len(charset) <= 40 else ""
    except (LookupError, ValueError):
        name = ""
    candidates = [name] if _CODECS.fullmatch(name) and name not in {"iso8859-1", "ascii"} else []
    for candidate in (*candidates, *(("utf-8",) if name != "iso8859-1" else ()), "cp1252"):
        try:
            return data.decode(candidate)
        except UnicodeError:
            continue
    return data.decode("latin-1")


def words(text: str) -> str:
    """`text` with its encoded words resolved (RFC 2047), malformed ones left as they stand.

    Neighbouring words of one charset are joined before they are decoded: senders cut characters in two.
    """
    if "=?" not in text:
        return text
    result: list[str] = []
    pending, pending_charset = bytearray(), ""
    position = 0
    for match in _WORD.finditer(text):
        between = text[position : match.start()]
        content = _word(match[2], match[3])
        if content is None:
            continue
        adjacent = bool(pending_charset) and not between.strip()
        if pending_charset and not (adjacent and match[1].lower() == pending_charset):
            result.append(decode(bytes(pending), pending_charset))
            pending.clear()
        if not adjacent:
            result.append(between)
        pending += content
        pending_charset = match[1].lower()
        position = match.end()
    if pending_charset:
        result.append(decode(bytes(pending), pending_charset))
    result.append(text[position:])
    return "".join(result)


def parameters(value: str) -> tuple[str, Mapping[str, str]]:
    """The first word of `value` in lower case (a media type, a disposition), and its parameters.

    RFC 2231 continuations and charsets are resolved, and RFC 2047 words too, which many senders write there.
    """
    head = value.partition(";")[0].strip().lower()
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for match in _PARAMETER.finditer(value):
        content = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3].strip()
        segment = _SEGMENT.fullmatch(match[1].lower())
        if segment is None or (segment[2] is None and segment[3] is None):
            plain.setdefault(match[1].lower(), words(content))
        else:
            pieces.setdefault(segment[1], {})[int(segment[2] or 0)] = (segment[3] is not None, content)
    for name, numbered in pieces.items():
        plain[name] = _continued([numbered[number] for number in sorted(numbered)])
    return head, MappingProxyType(plain)


def addresses(value: str) -> tuple[Address, ...]:
    """The mailboxes of an address header that a mail can be sent to, in order. Others, and groups' names, are left out.

    Only plain ASCII mailboxes (`is_mailbox`): what an address means must not depend on who reads it.
    """
    found: list[Address] = []
    label: list[str] = []
    route = ""
    for token in (*_ADDRESS_TOKEN.findall(value[:_LONGEST]), ","):
        if token in {",", ";"}:
            text = "".join(label).strip()
            address = route or text.rpartition(":")[2].strip()
            if is_mailbox(address) and len(found) < _MOST:
                found.append(Address(address, " ".join(words(text).split()) if route else ""))
            label, route = [], ""
        elif token.startswith("<"):
            route = token[1:].rstrip(">").rpartition(":")[2].strip()
        elif token.startswith('"'):
            label.append(re.sub(r"\\(.)", r"\1", token[1:].removesuffix('"')))
        elif not token.startswith("("):
            label.append(token)
    return tuple(found)


def message_ids(value: str) -> tuple[str, ...]:
    """The message ids of a Message-ID, In-Reply-To or References, each `<…>`; blanks inside the brackets go.

    A lone id without brackets is taken too.
    """
    value = value[:_LONGEST]
    found = tuple("".join(each.split()) for each in _MESSAGE_ID.findall(value)[:_MOST])
    bare = value.strip(" \t\r\n<>")
    if not found and bare and not re.search(r"\s", bare) and len(bare) <= 900:
        found = (bare,)
    return tuple(f"<{each}>" for each in found if each.isascii() and each.isprintable() and each)


def date_of(value: str) -> datetime | None:
    """An aware datetime (UTC when the header gives no zone), or None."""
    try:
        date = parsedate_to_datetime(value[:200])
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _text(value: bytes) -> str:
    return _CONTROLS.sub("", decode(value[:_LONGEST]))


def _word(encoding: str, text: str) -> bytes | None:
    try:
        data = text.encode("ascii")
        if encoding in "Bb":
            bare = data.translate(None, b" \t=")
            return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4))
        return binascii.a2b_qp(data.replace(b"_", b" "), header=True)
    except ValueError:
        return None


def _continued(pieces: list[tuple[bool, str]]) -> str:
    """RFC 2231 §3: pieces in order; those with `*` are percent-encoded, the first says the charset."""
    charset, data = "", bytearray()
    for number, (encoded, piece) in enumerate(pieces):
        if not encoded:
            data += piece.encode("utf-8", "replace")
            continue
        content = piece
        if not number and piece.count("'") >= 2:
            charset, _, content = piece.split("'", 2)
        data += unquote_to_bytes(content)
    return decode(bytes(data), charset)
