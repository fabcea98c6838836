"""What a page can hold: paragraphs, lists, tables and pictures, as frozen values; and how much of it one PDF takes."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from attrs import evolve, frozen

from pfiflow.cda.pages.images import Image
from pfiflow.errors import Problem, Rejected

__all__ = [
    "BOLD",
    "BREAK",
    "MAX_CELLS",
    "MAX_CHARACTERS",
    "MAX_COLUMNS",
    "MAX_DEPTH",
    "MAX_PICTURES",
    "MAX_SPANS",
    "PLAIN",
    "Block",
    "Break",
    "Cell",
    "Inline",
    "Listing",
    "Paragraph",
    "Picture",
    "Section",
    "Style",
    "Table",
    "Text",
    "clean",
    "collapse",
    "too_large",
]

RULE = "CDA R2 §4.3.5 (narrative block)"

MAX_DEPTH = 64
"""Deepest nesting of sections and narrative elements."""
MAX_CELLS = 60_000
"""Most table cells and rows of one document: more than 400 full pages of them."""
MAX_CHARACTERS = 2_000_000
"""Most narrative characters of one document: 400 full pages of text hold no more."""
MAX_COLUMNS = 40
"""A wider table is shown row by row, each cell on a line of its own."""
MAX_SPANS = 200
"""Most cells with a rowspan that cover one row."""
MAX_PICTURES = 200
"""Most pictures shown in one document."""


@frozen
class Style:
    """How a run of characters looks. `rise` is 1 for sup, -1 for sub; `link` a target that a reader may follow.

    `mono` and `muted` are ours: plain text, and the labels of the header block.
    """

    bold: bool = False
    italic: bool = False
    underline: bool = False
    strike: bool = False
    rise: Literal[-1, 0, 1] = 0
    link: str = ""
    mono: bool = False
    muted: bool = False


@frozen
class Text:
    """A run of characters of one style, white space collapsed."""

    text: str
    style: Style = Style()


@frozen
class Break:
    """`br`."""


BREAK = Break()


@frozen
class Picture:
    """An image of the narrative, on a line of its own."""

    image: Image


Inline = Text | Break | Picture


@frozen
class Paragraph:
    """Running text."""

    items: tuple[Inline, ...]
    align: Literal["left", "center", "right"] = "left"


@frozen
class Listing:
    """`list`: `entries` with the label that stands before each."""

    entries: tuple[tuple[str, tuple[Block, ...]], ...]


@frozen
class Cell:
    """`td` or `th`, placed: `column` counts from 0; spans are at least 1 and stay inside their row group."""

    column: int
    columns: int
    rows: int
    blocks: tuple[Block, ...]
    header: bool = False


@frozen
class Table:
    """`table`. `head` is repeated on every page. `kind` `facts` is our own header block, drawn without a grid."""

    columns: int
    head: tuple[tuple[Cell, ...], ...]
    body: tuple[tuple[Cell, ...], ...]
    kind: Literal["grid", "facts"] = "grid"


Block = Paragraph | Listing | Table


@frozen
class Section:
    """One `section`: `depth` counts from 0; nested sections follow in document order with a greater depth."""

    depth: int
    title: tuple[Inline, ...]
    blocks: tuple[Block, ...]
    notes: tuple[Block, ...] = ()


PLAIN = Style()
BOLD = Style(bold=True)

_SPACE = re.compile(r"[ \t\r\n]+")
# Formatting characters without a glyph: they say where to join or break, and print nothing.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]")


def clean(text: str) -> str:
    """Text as it will be drawn: composed (NFC), without invisible formatting characters."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def collapse(items: list[Inline]) -> tuple[Inline, ...]:
    """Collapse white space as XHTML does, over runs and around breaks; empty runs and outer space fall away."""
    result: list[Inline] = []
    space = True  # the start of a line swallows spaces
    for item in items:
        if not isinstance(item, Text):
            _strip_end(result)
            result.append(item)
            space = True
            continue
        text = item.text if item.style.mono else _SPACE.sub(" ", item.text)
        if space and not item.style.mono:
            text = text.lstrip(" ")
        if text:
            space = text[-1] == " "
            result.append(evolve(item, text=text))
    _strip_end(result)
    return tuple(result)


def _strip_end(items: list[Inline]) -> None:
    if items and isinstance(last := items[-1], Text) and not last.style.mono:
        stripped = last.text.rstrip(" ")
        if stripped:
            items[-1] = evolve(last, text=stripped)
        else:
            items.pop()


def too_large(what: str) -> Rejected:
    """The refusal of a document that no reasonable PDF could hold."""
    return Rejected(
        Problem("207", f"the document cannot be rendered as PDF: {what}; split it into several documents", rule=RULE)
    )
