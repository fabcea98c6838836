"""Running text broken into lines, and the lines of one table cell. Lengths are points (1/72 inch)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from attrs import define, evolve, frozen

from pfiflow.cda.pages.blocks import Block, Break, Inline, Listing, Paragraph, Picture, Style, Text
from pfiflow.cda.pages.images import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LEADING",
    "PIXEL",
    "SMALL",
    "Fragment",
    "Line",
    "Measure",
    "break_lines",
    "extents",
    "flow",
    "label_fragments",
    "label_width",
]

LEADING = 1.28
SMALL = 0.68
"""Size of sub and sup, of the text around them."""
SLACK = 0.01  # rounding, never visible
PICTURE_HEIGHT = 420.0  # tallest picture in the text
PIXEL = 0.75  # 96 pixels an inch
CELL_SIZE = 8.5
"""Text size of a table whose content leaves the choice."""

_SOFT = re.compile(r"(?<=[-/_'’.,;:])(?=[^\W\d])")
"""Where a word too wide for its column is best cut: after punctuation and before a letter, so never inside a date."""


class Measure(Protocol):
    """Widths of words. One a document: it remembers what it measured."""

    def word(self, text: str, style: Style) -> tuple[tuple[str, str, float], ...]:
        """Parts of `text` with the face that can draw each: (face, text, width in thousandths of the size)."""


@frozen
class Fragment:
    """Characters on a line: `x` from the left of the column, `lift` above the baseline."""

    x: float
    lift: float
    face: str
    size: float
    text: str
    width: float
    style: Style


@frozen
class Line:
    """One line, or one picture, or (without either) a gap."""

    height: float
    fragments: tuple[Fragment, ...] = ()
    picture: tuple[Image, float, float, float] | None = None  # image, x, width, height


def break_lines(
    items: Sequence[Inline], width: float, size: float, measure: Measure, align: str = "left", x: float = 0
) -> list[Line]:
    """Greedy line breaking at spaces; a word wider than the column is cut between characters."""
    breaker = _Breaker(width, size, measure, align, x)
    for item in items:
        if isinstance(item, Break):
            breaker.finish_word()
            breaker.finish_line(forced=True)
        elif isinstance(item, Picture):
            breaker.finish_word()
            breaker.finish_line()
            breaker.lines.append(_picture_line(item.image, width, x))
        else:
            words = item.text.split(" ")
            for index, word in enumerate(words):
                if index:
                    breaker.space(item.style)
                if word:
                    breaker.add(word, item.style)
    breaker.finish_word()
    breaker.finish_line()
    return breaker.lines


def _picture_line(image: Image, width: float, x: float) -> Line:
    scale = min(PIXEL, width / image.width, PICTURE_HEIGHT / image.height)
    return Line(image.height * scale + 4, picture=(image, x, image.width * scale, image.height * scale))


@define
class _Part:
    """Characters of one style and face, on the line or in the word being built."""

    x: float
    face: str
    text: str
    width: float
    size: float
    style: Style


class _Breaker:
    """State of one paragraph being broken. A word is a list of parts of possibly different styles without space."""

    def __init__(self, width: float, size: float, measure: Measure, align: str, x: float) -> None:
        self.width, self.size, self.measure, self.align, self.left = max(width, 1.0), size, measure, align, x
        self.limit = self.width + SLACK
        self.lines: list[Line] = []
        self.line: list[_Part] = []
        self.end = 0.0
        self.word: list[_Part] = []
        self.word_width = 0.0
        self.pending: Style | None = None  # the style of the space before the word
        self.pending_spaces = 0

    def space(self, style: Style) -> None:
        if self.word:
            self.finish_word()
        self.pending = style
        self.pending_spaces += 1

    def add(self, text: str, style: Style) -> None:
        size = self.size * SMALL if style.rise else self.size
        for face, part, width in self.measure.word(text, style):
            points = width * size / 1000
            self.word.append(_Part(0, face, part, points, size, style))
            self.word_width += points

    def finish_word(self) -> None:
        if not self.word:
            return
        if self.line:
            self._join()
        for part in self.word:
            self._put(part)
        self.word, self.word_width, self.pending, self.pending_spaces = [], 0.0, None, 0

    def _join(self) -> None:
        """Set the word's place on a line that has others: after its space, or on the next line."""
        if self.pending is None:
            if self.end + self.word_width > self.limit:
                self.finish_line()
            return
        face, _, width = self.measure.word(" ", self.pending)[0]
        gap = width * self.size / 1000 * self.pending_spaces
        if self.end + gap + self.word_width > self.limit:
            self.finish_line()
            return
        last = self.line[-1]
        if face == last.face and self.pending == last.style == self.word[0].style and not last.style.rise:
            last.text += " " * self.pending_spaces
            last.width += gap
        self.end += gap

    def _put(self, part: _Part) -> None:
        if self.end + part.width > self.limit:
            if len(part.text) > 1:
                self._put_cut(part)
                return
            if self.line:
                self.finish_line()
        if self.line:
            last = self.line[-1]
            same = last.face == part.face and (last.style is part.style or last.style == part.style)
            if same and abs(last.x + last.width - self.end) < SLACK:
                last.text += part.text
                last.width += part.width
                self.end += part.width
                return
        part.x = self.end
        self.line.append(part)
        self.end += part.width

    def _put_cut(self, part: _Part) -> None:
        """A part wider than what is left: cut where it reads best, and between characters when it must be."""
        for piece in _SOFT.split(part.text):
            start, run = 0, 0.0
            widths = [self.measure.word(character, part.style)[0][2] * part.size / 1000 for character in piece]
            if self.line and self.end + sum(widths) > self.limit:
                self.finish_line()
            for index, width in enumerate(widths):
                if self.end + run + width > self.limit and (self.line or index > start):
                    if index > start:
                        self._put(_cut(part, piece[start:index], min(run, self.width - self.end)))
                    self.finish_line()
                    start, run = index, 0.0
                run += width
            self._put(_cut(part, piece[start:], min(run, self.width)))

    def finish_line(self, *, forced: bool = False) -> None:
        if self.line or forced:
            shift = self.left
            if self.align == "right":
                shift += max(self.width - self.end, 0)
            elif self.align == "center":
                shift += max(self.width - self.end, 0) / 2
            fragments = tuple(
                Fragment(part.x + shift, _lift(part), part.face, part.size, part.text, part.width, part.style)
                for part in self.line
            )
            self.lines.append(Line(self.size * LEADING, fragments))
        self.line, self.end, self.pending, self.pending_spaces = [], 0.0, None, 0


def _lift(part: _Part) -> float:
    return part.size * 0.45 if part.style.rise > 0 else -part.size * 0.2 if part.style.rise < 0 else 0.0


def _cut(part: _Part, text: str, width: float) -> _Part:
    return _Part(0, part.face, text, width, part.size, part.style)


def flow(blocks: Sequence[Block], width: float, size: float, measure: Measure, x: float = 0) -> list[Line]:
    """Blocks as the lines of one cell. A table inside a cell (which the schema forbids) comes cell by cell."""
    lines: list[Line] = []
    for block in blocks:
        if lines and lines[-1].fragments:
            lines.append(Line(size * 0.25))
        if isinstance(block, Paragraph):
            lines.extend(break_lines(block.items, width, size, measure, block.align, x))
        elif isinstance(block, Listing):
            for label, inner in block.entries:
                indent = label_width(label, size, measure)
                entry = flow(inner, max(width - indent, size), size, measure, x + indent) or [Line(size * LEADING)]
                first = next((i for i, line in enumerate(entry) if line.fragments), 0)
                marks = label_fragments(label, size, measure, x)
                entry[first] = evolve(entry[first], fragments=marks + entry[first].fragments)
                lines.extend(entry)
        else:
            for row in block.head + block.body:
                for cell in row:
                    lines.extend(flow(cell.blocks, width, size, measure, x))
    return lines


def label_width(label: str, size: float, measure: Measure) -> float:
    """Width of a list label with the space after it."""
    width = sum(part[2] for part in measure.word(label, Style())) * size / 1000
    return max(width + size * 0.5, size * 1.3)


def label_fragments(label: str, size: float, measure: Measure, x: float) -> tuple[Fragment, ...]:
    """A list label, ready to stand before the first fragment of a line."""
    fragments = []
    for face, text, width in measure.word(label, Style()):
        fragments.append(Fragment(x, 0, face, size, text, width * size / 1000, Style()))
        x += width * size / 1000
    return tuple(fragments)


def _paragraph_extents(items: Sequence[Inline], measure: Measure) -> tuple[float, float]:
    narrowest = widest = word = line = 0.0
    for item in items:
        if isinstance(item, Text):
            for index, text in enumerate(item.text.split(" ")):
                if index:
                    narrowest, word = max(narrowest, word), 0.0
                    line += measure.word(" ", item.style)[0][2]
                for cut, piece in enumerate(_SOFT.split(text) if text else ()):
                    if cut:
                        narrowest, word = max(narrowest, word), 0.0
                    width = sum(part[2] for part in measure.word(piece, item.style))
                    word += width
                    line += width
        else:
            narrowest, widest, word, line = max(narrowest, word), max(widest, line), 0.0, 0.0
            if isinstance(item, Picture):
                picture = item.image.width * PIXEL * 1000 / CELL_SIZE
                narrowest, widest = max(narrowest, min(picture, 12_000)), max(widest, picture)
    return max(narrowest, word), max(widest, line)


def extents(blocks: Sequence[Block], measure: Measure) -> tuple[float, float]:
    """(narrowest, widest) useful width of a cell, in thousandths of the text size: longest word, longest line."""
    narrowest = widest = 0.0
    for block in blocks:
        if isinstance(block, Paragraph):
            low, high = _paragraph_extents(block.items, measure)
            narrowest, widest = max(narrowest, low), max(widest, high)
        elif isinstance(block, Listing):
            for label, inner in block.entries:
                indent = label_width(label, 1000, measure)
                low, high = extents(inner, measure)
                narrowest, widest = max(narrowest, low + indent), max(widest, high + indent)
        else:
            for row in block.head + block.body:
                for cell in row:
                    low, high = extents(cell.blocks, measure)
                    narrowest, widest = max(narrowest, low), max(widest, high)
    return narrowest, widest
