"""The digest of an XML document in Canonical XML 1.0 with comments, at the cost of its markup and not of its base64."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Final

from lxml import etree

from pfiflow.cda import xml
from pfiflow.dmp.signing import Algorithm
from pfiflow.errors import Problem, Rejected

__all__ = ["canonical_digest"]

_BLOCK: Final = 8192
_WINDOW: Final = 1 << 20


def canonical_digest(document: bytes, algorithm: Algorithm) -> str:
    """The digest (base64) of the document's canonical form, comments kept.

    A CDA is mostly one long base64 text, which canonicalisation leaves as it is. Such texts are taken out, the rest is
    canonicalised, and both are hashed in their order: no copy of the document is made, and one of 330 kB costs
    little more than its SHA-1.

    Raises:
        Rejected: the document is no acceptable XML (`pfiflow.cda.xml.parse`), or has no canonical form.
    """
    runs = [] if document[:2] in {b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<"} else list(_verbatim(document))
    if not runs:
        return _base64_digest((_canonical(document),), algorithm)
    edges = [0, *(edge for run in runs for edge in run), len(document)]
    markup = [document[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    token = next(token for n in range(1 << 20) if not any((token := b"PFIFLOW-%d-" % n) in piece for piece in markup))
    pieces = _canonical(token.join(markup)).split(token)
    return _base64_digest(_interleaved(document, pieces, runs), algorithm)


def _verbatim(document: bytes) -> Iterator[tuple[int, int]]:
    """Where long texts are that are the same in canonical form: plain ASCII between tags, without a reference.

    They hold no markup, so the document is well-formed without them as with them. Only their line ends may change.
    A text of two blocks or more holds a whole one: blocks without `<` are looked for, not every text.
    """
    at, size = 0, len(document)
    while at + _BLOCK <= size:
        if document.find(b"<", at, at + _BLOCK) >= 0:
            at += _BLOCK
            continue
        end = document.find(b"<", at + _BLOCK)
        if end < 0:
            return  # what follows the last tag is no text
        start = document.rfind(b">", 0, end) + 1
        if (
            start > document.rfind(b"<", 0, at) + 1
            and end - start >= _BLOCK
            and document.find(b"&", start, end) < 0
            and _plain(document, start, end)
        ):
            yield start, end
        at = end


def _plain(document: bytes, start: int, end: int) -> bool:
    """ASCII, and not space alone, which may lie outside of the root element where it is no text."""
    blank = True
    for at in range(start, end, _WINDOW):
        window = document[at : min(at + _WINDOW, end)]
        if not window.isascii():
            return False
        blank = blank and window.isspace()
    return not blank


def _canonical(document: bytes) -> bytes:
    tree = xml.parse(document, keep_comments=True).getroottree()
    try:
        return etree.tostring(tree, method="c14n", with_comments=True)
    except etree.C14NError:
        pass
    message = "the document has no canonical form: a namespace name in it is no absolute URI"
    raise Rejected(Problem("102", message, rule="Canonical XML 1.0 §1.3"))


def _interleaved(document: bytes, pieces: list[bytes], runs: list[tuple[int, int]]) -> Iterator[bytes | memoryview]:
    yield pieces[0]
    for (start, end), piece in zip(runs, pieces[1:], strict=True):
        yield from _line_ends(document, start, end)
        yield piece


def _line_ends(document: bytes, start: int, end: int) -> Iterator[bytes | memoryview]:
    """A text with the line ends of XML 1.0 §2.11: CR LF and CR become LF."""
    if document.find(b"\r", start, end) < 0:
        yield memoryview(document)[start:end]
        return
    while start < end:
        stop = min(start + _WINDOW, end)
        if document[stop - 1 : stop] == b"\r" and stop < end:
            stop += 1
        yield document[start:stop].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        start = stop


def _base64_digest(pieces: Iterator[bytes | memoryview] | tuple[bytes, ...], algorithm: Algorithm) -> str:
    running = hashlib.new(algorithm, usedforsecurity=False)
    for piece in pieces:
        running.update(piece)
    return base64.b64encode(running.digest()).decode()
