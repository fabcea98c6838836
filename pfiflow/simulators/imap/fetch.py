"""FETCH of a simulated server (RFC 3501 §6.4.5, §7.4.2): what is asked of a mail, and its answer.

ENVELOPE, BODYSTRUCTURE and the numbered parts of a body are not served: a PFI reads whole mails.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from pfiflow.simulators.imap.syntax import Cursor, Malformed
from pfiflow.simulators.mailboxes import StoredMail

__all__ = ["Item", "answer", "flag_list", "read_items"]

_SIMPLE: Final = frozenset({"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE"})
_SECTIONS: Final = ("", "HEADER", "TEXT", "HEADER.FIELDS", "HEADER.FIELDS.NOT")
_FAST: Final = ("FLAGS", "INTERNALDATE", "RFC822.SIZE")
RECENT: Final = r"\Recent"
_OLD: Final = {"RFC822": "", "RFC822.HEADER": "HEADER", "RFC822.TEXT": "TEXT"}  # name → section


@frozen
class Item:
    r"""One thing asked for.

    Attributes:
        name: `FLAGS`…, as it is answered; of a part of the content, up to its partial range: `BODY[HEADER]`.
        section: which part of the content; None: none of it.
        fields: the header fields of HEADER.FIELDS, in capitals.
        seen: reading it sets `\Seen`: no PEEK.
        start, size: the range of bytes asked for; size 0 is all.
    """

    name: str
    section: str | None = None
    fields: tuple[str, ...] = field(factory=tuple)
    seen: bool = False
    start: int | None = None
    size: int = 0


def read_items(cursor: Cursor) -> list[Item]:
    """What a FETCH asks for: one item, a macro, or a list. Raises Malformed."""
    if cursor.ahead(b"("):
        found = [_item(cursor) for _ in cursor.each()]
        if not found:
            raise Malformed("nothing is asked for")
        return found
    if cursor.skip(b"FAST"):
        return [Item(name) for name in _FAST]
    return [_item(cursor)]


def _item(cursor: Cursor) -> Item:
    if not cursor.skip(b"BODY"):
        name = cursor.atom()
        if name in _OLD:
            return Item(name, _OLD[name], seen=name != "RFC822.HEADER")
        if name not in _SIMPLE:
            raise Malformed(f"{name[:30]} is not served")
        return Item(name)
    seen = not cursor.skip(b".PEEK")
    cursor.expect(b"[")
    section = "" if cursor.ahead(b"]") else cursor.atom()
    if section not in _SECTIONS:
        raise Malformed(f"BODY[{section[:30]}] is not served")
    fields: list[str] = []
    label = section
    if section.startswith("HEADER.FIELDS"):
        cursor.space()
        fields = [cursor.astring().decode("ascii", "replace").upper() for _ in cursor.each()]
        label += f" ({' '.join(fields)})"
    cursor.expect(b"]")
    start, size = None, 0
    if cursor.skip(b"<"):
        start = cursor.number()
        cursor.expect(b".")
        size = cursor.number()
        cursor.expect(b">")
        if not size:
            raise Malformed("a part has at least one byte")
    name = f"BODY[{label}]" + ("" if start is None else f"<{start}>")
    return Item(name, section, tuple(fields), seen, start, size)


def answer(number: int, mail: StoredMail, items: list[Item], *, recent: bool) -> bytes:
    """The untagged FETCH response for one mail."""
    values = []
    for item in items:
        match item.name:
            case "UID":
                value = b"%d" % mail.uid
            case "FLAGS":
                value = flag_list(mail.flags, recent=recent)
            case "INTERNALDATE":
                value = b'"' + mail.received.strftime("%d-%b-%Y %H:%M:%S %z").encode("ascii") + b'"'
            case "RFC822.SIZE":
                value = b"%d" % len(mail.content)
            case _:
                content = _content(mail.content, item)
                value = b"{%d}\r\n%s" % (len(content), content)
        values.append(item.name.encode("ascii", "replace") + b" " + value)
    return b"* %d FETCH (%s)\r\n" % (number, b" ".join(values))


def flag_list(flags: frozenset[str], *, recent: bool = False) -> bytes:
    r"""`(\Seen $Keyword)`."""
    return f"({' '.join(sorted(flags | ({RECENT} if recent else set())))})".encode("ascii")


def _content(mail: bytes, item: Item) -> bytes:
    if item.section:
        end = mail.find(b"\r\n\r\n")
        end = len(mail) if end < 0 else end + 4
        if item.section == "TEXT":
            mail = mail[end:]
        else:
            mail = mail[:end]
            if item.fields:
                mail = _fields(mail, item.fields, wanted=item.section == "HEADER.FIELDS")
    return mail if item.start is None else mail[item.start : item.start + item.size]


def _fields(header: bytes, names: tuple[str, ...], *, wanted: bool) -> bytes:
    lines = re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", header)
    kept = [line for line in lines if (line.partition(b":")[0].strip().upper().decode("latin-1") in names) is wanted]
    return b"".join(kept) + b"\r\n"
