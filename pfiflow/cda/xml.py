"""The one door through which XML from outside enters.

DTDs are refused, so that no entity can be declared; nothing is fetched; XInclude is not processed; size, depth and
the number of tags and attributes are bounded. Comments and processing instructions are left out of the tree, so that
the text of an element is always whole in its `.text` (`DU<!-- -->PONT` reads `DUPONT`). Errors say where, never what
stood there.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from lxml import etree

from pfiflow.errors import Problem, Rejected

__all__ = ["MAX_BYTES", "parse"]

MAX_BYTES: Final = 200 * 1024 * 1024

# libxml2 bounds the depth (256) and the length of texts, names and comments (10 million bytes) by itself unless
# huge_tree is on. Only a document that can hold a longer text is parsed with it on, and its depth is checked apart.
_HUGE: Final = 9_500_000
_LIBXML2_DEPTH: Final = 256
_PROLOG_ITEMS: Final = 1_000

_DECLARATION: Final = re.compile(rb"<\?xml[ \t\r\n][^<>]{0,200}?\?>")
_ENCODING: Final = re.compile(rb"""[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_ENCODINGS: Final = frozenset(
    {
        "utf-8",
        "us-ascii",
        "iso-8859-1",
        "iso-8859-15",
        "windows-1252",
    }  # each reads ASCII as ASCII: the prolog scan holds
)
_ALIASES: Final = {"utf8": "utf-8", "ascii": "us-ascii", "latin1": "iso-8859-1", "cp1252": "windows-1252"}
_UTF16_STARTS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\x00": "utf-16-le", b"\x00<": "utf-16-be"}
_ERROR_NAMES: Final = {
    code: name for name, code in vars(etree.ErrorTypes).items() if isinstance(code, int)
}  # libxml2's xmlParserErrors


def parse(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = 256,
    max_tags: int = 500_000,
    max_attributes: int = 500_000,
    keep_comments: bool = False,
) -> etree._Element:
    """The root element of an XML document, read safely.

    Args:
        data: the document, in UTF-8 (the default), UTF-16 with a byte order mark, US-ASCII, ISO-8859-1, ISO-8859-15 or
            Windows-1252, as its XML declaration says.
        max_bytes: the longest document accepted.
        max_depth: the deepest nesting of elements accepted.
        max_tags: the greatest number of `<` accepted (start and end tags, comments…).
        max_attributes: the greatest number of `=` accepted, in attributes or elsewhere.
        keep_comments: leave comments and processing instructions in the tree: for a canonical form, not for reading.

    Raises:
        Rejected: not well-formed, or in an unknown encoding (code 102); a DOCTYPE, or over a bound (code 207).
            The location is `line:column`, both from 1.
    """
    if len(data) > max_bytes:
        raise _refused(f"The XML document has {len(data)} bytes; at most {max_bytes} are accepted.")
    encoding = "utf-8"
    if (utf16 := _UTF16_STARTS.get(data[:2])) is not None:
        data = _from_utf16(data, utf16)
    else:
        encoding = _check_prolog(data)
    if len(data) > 4 * max_tags and data.count(b"<") > max_tags:  # a tag takes four bytes at least
        raise _refused(f"The XML document has more than {max_tags} tags.")
    if len(data) > 5 * max_attributes and data.count(b"=") > max_attributes:  # an attribute takes five bytes at least
        raise _refused(f"The XML document has more than {max_attributes} attributes.")
    root = _parse(data, encoding, keep_comments=keep_comments)
    if root.getroottree().docinfo.internalDTD is not None:
        raise _refused("The XML document has a DOCTYPE, which is not accepted.")
    if (max_depth < _LIBXML2_DEPTH or len(data) >= _HUGE) and _deeper_than(max_depth)(root):
        raise _refused(f"The XML document is nested deeper than {max_depth} elements.")
    return root


def _refused(message: str, location: str = "") -> Rejected:
    return Rejected(Problem("207", message, location, rule="XML input bounds"))


def _malformed(message: str, location: str = "") -> Rejected:
    return Rejected(Problem("102", message, location, rule="XML 1.0"))


def _place(data: bytes, offset: int) -> str:
    lines_before = data.count(b"\n", 0, offset)
    line_start = data.rfind(b"\n", 0, offset) + 1
    return f"{lines_before + 1}:{offset - line_start + 1}"


def _from_utf16(data: bytes, codec: str) -> bytes:
    """The document in UTF-8, its prolog checked. The parser's setting overrules its declaration."""
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        offset = error.start
    else:
        recoded = text.removeprefix("\ufeff").encode("utf-8")
        _check_prolog(recoded, declared_may_be_utf16=True)
        return recoded
    raise _malformed(f"The XML document is not valid UTF-16 at byte {offset}.")


def _check_prolog(data: bytes, *, declared_may_be_utf16: bool = False) -> str:
    """The encoding that the document declares. Raises Rejected when it is unknown, or before a DOCTYPE.

    Linear: every item of the prolog is passed over once, and their number is bounded.
    """
    offset = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    encoding = "utf-8"
    if (declaration := _DECLARATION.match(data, offset)) is not None:
        if (named := _ENCODING.search(declaration[0])) is not None:
            encoding = named[1].decode("ascii").lower()
            encoding = _ALIASES.get(encoding, encoding)
        offset = declaration.end()
    if encoding.startswith("utf-16") and declared_may_be_utf16:
        encoding = "utf-8"
    if encoding not in _ENCODINGS:
        known = ", ".join(sorted(_ENCODINGS))
        message = f"The XML declaration names an encoding that is not accepted here. Use one of {known} or utf-16."
        raise _malformed(message, "1:1")
    for _ in range(_PROLOG_ITEMS):
        space = _SPACE.match(data, offset)
        offset = space.end() if space is not None else offset
        if data.startswith(b"<!DOCTYPE", offset):
            raise _refused("The XML document has a DOCTYPE, which is not accepted.", _place(data, offset))
        if data.startswith(b"<!--", offset):
            end, closing = data.find(b"-->", offset + 4), 3
        elif data.startswith(b"<?", offset):
            end, closing = data.find(b"?>", offset + 2), 2
        elif data.startswith(b"<", offset):
            return encoding
        else:
            raise _malformed("The XML document does not start with a tag.", _place(data, offset))
        if end < 0:
            message = "The XML document ends inside a comment or a processing instruction."
            raise _malformed(message, _place(data, offset))
        offset = end + closing
    raise _refused(f"The XML document has more than {_PROLOG_ITEMS} items before its first element.")


def _parse(data: bytes, encoding: str, *, keep_comments: bool) -> etree._Element:
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=len(data) >= _HUGE,
        remove_comments=not keep_comments,
        remove_pis=not keep_comments,
        collect_ids=False,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        # The message quotes names and values; the type of the error does not. Raised outside of this block, so that
        # no traceback shows the original.
        line, column = error.position
        kind = _ERROR_NAMES.get(getattr(error, "code", 0), "")
    if kind in {"ERR_RESOURCE_LIMIT", "ERR_NAME_TOO_LONG"}:
        raise _refused("The XML document is nested too deep, or a name or text in it is too long.", f"{line}:{column}")
    words = kind.removeprefix("ERR_").removeprefix("NS_ERR_").replace("_", " ").lower() or "syntax"
    raise _malformed(f"The XML document is not well-formed ({words}).", f"{line}:{column}")


@cache
def _deeper_than(depth: int) -> etree.XPath:
    return etree.XPath(f"boolean({'/*' * (depth + 1)})")
