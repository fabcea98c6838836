"""Blocks laid out on pages: line breaking, tables over pages, and nothing drawn yet.

Pure: it takes `narrative` blocks and a `Measure` of words, and leaves drawing operations page by page, so that the
number of pages is known, and bounded, before a PDF exists. Lengths are points (1/72 inch), y grows downwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from attrs import define, evolve, field, frozen

from pfiflow.cda.images import Image
from pfiflow.cda.narrative import Block, Break, Cell, Inline, Listing, Paragraph, Picture, Style, Table, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Composer", "Drawn", "Fragment", "Line", "Measure", "Page"]

PAGE_WIDTH, PAGE_HEIGHT = 595.28, 841.89  # ISO 216 A4
MARGIN, TOP, BOTTOM = 45.0, 42.0, 790.0
MAX_PAGES = 400
"""Most pages of one rendered document."""

TEXT_SIZE = 9.5
TABLE_SIZES = (8.5, 8.0, 7.5, 7.0, 6.5, 6.0)
LEADING = 1.28
PADDING = 3.0
LIST_INDENT = 16.0
PICTURE_HEIGHT = 420.0  # tallest picture in the text
PIXEL = 0.75  # 96 pixels an inch

Ink = Literal["text", "muted", "link"]


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


@frozen
class Drawn:
    """One drawing operation. `kind` says which fields count."""

    kind: Literal["text", "rule", "fill", "box", "image", "link", "mark"]
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    text: str = ""  # text: characters; link: target; mark: outline title
    face: str = ""
    size: float = 0
    ink: Ink = "text"
    image: Image | None = None
    level: int = 0


Page = list[Drawn]


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


class _Breaker:
    """State of one paragraph being broken. A word is a list of parts of possibly different styles without space."""

    def __init__(self, width: float, size: float, measure: Measure, align: str, x: float) -> None:
        self.width, self.size, self.measure, self.align, self.left = max(width, 1.0), size, measure, align, x
        self.lines: list[Line] = []
        self.line: list[Fragment] = []
        self.end = 0.0
        self.word: list[tuple[str, str, float, float, Style]] = []  # face, text, width, size, style
        self.word_width = 0.0
        self.pending: Style | None = None  # the style of the space before the word
        self.pending_spaces = 0

    def space(self, style: Style) -> None:
        self.finish_word()
        self.pending = style
        self.pending_spaces += 1

    def add(self, text: str, style: Style) -> None:
        size = self.size * 0.68 if style.rise else self.size
        for face, part, width in self.measure.word(text, style):
            points = width * size / 1000
            self.word.append((face, part, points, size, style))
            self.word_width += points

    def finish_word(self) -> None:
        if not self.word:
            return
        gap = 0.0
        if self.pending is not None and self.line:
            face, _, width = self.measure.word(" ", self.pending)[0]
            gap = width * self.size / 1000 * self.pending_spaces
            if self.end + gap + self.word_width > self.width:
                self.finish_line()
                gap = 0.0
            elif self.pending == self.line[-1].style == self.word[0][4] and face == self.line[-1].face:
                last = self.line[-1]
                self.line[-1] = evolve(last, text=last.text + " " * self.pending_spaces, width=last.width + gap)
        elif self.pending is None and self.line and self.end + self.word_width > self.width:
            self.finish_line()
        self.end += gap
        for part in self.word:
            self._put(*part)
        self.word, self.word_width, self.pending, self.pending_spaces = [], 0.0, None, 0

    def _put(self, face: str, text: str, width: float, size: float, style: Style) -> None:
        if self.end + width > self.width + 0.01 and len(text) > 1:
            self._put_cut(face, text, size, style)
            return
        if self.end + width > self.width + 0.01 and self.line:
            self.finish_line()
        lift = size * 0.45 if style.rise > 0 else -size * 0.2 if style.rise < 0 else 0.0
        if self.line:
            last = self.line[-1]
            if last.face == face and last.style == style and abs(last.x + last.width - self.end) < 0.01:
                self.line[-1] = evolve(last, text=last.text + text, width=last.width + width)
                self.end += width
                return
        self.line.append(Fragment(self.end, lift, face, size, text, width, style))
        self.end += width

    def _put_cut(self, face: str, text: str, size: float, style: Style) -> None:
        start, run = 0, 0.0
        for index, character in enumerate(text):
            width = self.measure.word(character, style)[0][2] * size / 1000
            if self.end + run + width > self.width and (self.line or index > start):
                if index > start:
                    self._put(face, text[start:index], min(run, self.width - self.end), size, style)
                self.finish_line()
                start, run = index, 0.0
            run += width
        self._put(face, text[start:], min(run, self.width), size, style)

    def finish_line(self, *, forced: bool = False) -> None:
        if self.line or forced:
            shift = self.left
            if self.align == "right":
                shift += max(self.width - self.end, 0)
            elif self.align == "center":
                shift += max(self.width - self.end, 0) / 2
            fragments = tuple(evolve(f, x=f.x + shift) for f in self.line) if shift else tuple(self.line)
            self.lines.append(Line(self.size * LEADING, fragments))
        self.line, self.end, self.pending, self.pending_spaces = [], 0.0, None, 0


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
                indent = _label_width(label, size, measure)
                entry = flow(inner, max(width - indent, size), size, measure, x + indent) or [Line(size * LEADING)]
                first = next((i for i, line in enumerate(entry) if line.fragments), 0)
                marks = _label(label, size, measure, x)
                entry[first] = evolve(entry[first], fragments=marks + entry[first].fragments)
                lines.extend(entry)
        else:
            for row in block.head + block.body:
                for cell in row:
                    lines.extend(flow(cell.blocks, width, size, measure, x))
    return lines


def _label_width(label: str, size: float, measure: Measure) -> float:
    width = sum(part[2] for part in measure.word(label, Style())) * size / 1000
    return max(width + size * 0.5, size * 1.3)


def _label(label: str, size: float, measure: Measure, x: float) -> tuple[Fragment, ...]:
    fragments = []
    for face, text, width in measure.word(label, Style()):
        fragments.append(Fragment(x, 0, face, size, text, width * size / 1000, Style()))
        x += width * size / 1000
    return tuple(fragments)


def extents(blocks: Sequence[Block], measure: Measure) -> tuple[float, float]:
    """(narrowest, widest) useful width of a cell, in thousandths of the text size: longest word, longest line."""
    narrowest = widest = 0.0
    for block in blocks:
        if isinstance(block, Paragraph):
            word = line = 0.0
            for item in block.items:
                if not isinstance(item, Paragraph) and not hasattr(item, "text"):
                    if isinstance(item, Picture):
                        pixels = item.image.width * PIXEL * 1000 / TABLE_SIZES[0]
                        narrowest, widest = max(narrowest, min(pixels, 12_000)), max(widest, pixels)
                    narrowest, widest, word, line = max(narrowest, word), max(widest, line), 0.0, 0.0
                    continue
                assert not isinstance(item, (Break, Picture))
                for index, text in enumerate(item.text.split(" ")):
                    if index:
                        narrowest, word = max(narrowest, word), 0.0
                        line += measure.word(" ", item.style)[0][2]
                    if text:
                        width = sum(part[2] for part in measure.word(text, item.style))
                        word += width
                        line += width
            narrowest, widest = max(narrowest, word), max(widest, line)
        elif isinstance(block, Listing):
            for label, inner in block.entries:
                indent = _label_width(label, 1000, measure)
                low, high = extents(inner, measure)
                narrowest, widest = max(narrowest, low + indent), max(widest, high + indent)
        else:
            for row in block.head + block.body:
                for cell in row:
                    low, high = extents(cell.blocks, measure)
                    narrowest, widest = max(narrowest, low), max(widest, high)
    return narrowest, widest


def column_widths(table: Table, width: float, measure: Measure) -> tuple[float, list[float]]:
    """Text size and the width of each column: as the content wants, never wider than `width` together."""
    low = [0.0] * table.columns
    high = [0.0] * table.columns
    spanning: list[tuple[Cell, float, float]] = []
    for row in table.head + table.body:
        for cell in row:
            narrowest, widest = extents(cell.blocks, measure)
            if cell.columns == 1:
                low[cell.column] = max(low[cell.column], narrowest)
                high[cell.column] = max(high[cell.column], widest)
            else:
                spanning.append((cell, narrowest, widest))
    for cell, narrowest, widest in spanning:
        span = range(cell.column, min(cell.column + cell.columns, table.columns))
        for values, wanted in ((low, narrowest), (high, min(widest, 40_000.0))):
            missing = wanted - sum(values[i] for i in span)
            if missing > 0:
                for i in span:
                    values[i] += missing / len(span)
    padding = 2 * PADDING
    if table.kind == "facts":
        return TABLE_SIZES[0], _fact_widths(high, width)
    size = next((s for s in TABLE_SIZES if sum(low) * s / 1000 + padding * len(low) <= width), TABLE_SIZES[-1])
    least = [value * size / 1000 + padding for value in low]
    most = [max(value * size / 1000 + padding, minimum) for value, minimum in zip(high, least, strict=True)]
    if sum(most) <= width:
        return size, [value * width / sum(most) for value in most]
    if sum(least) <= width:
        spare = width - sum(least)
        wanted = sum(most) - sum(least)
        return size, [a + spare * (b - a) / wanted for a, b in zip(least, most, strict=True)]
    return size, _squeezed(least, width)


def _fact_widths(high: list[float], width: float) -> list[float]:
    labels = [value * TABLE_SIZES[0] / 1000 + 2 * PADDING for value in high[::2]]
    value = (width - sum(labels)) / len(labels)
    return [part for label in labels for part in (label, value)]


def _squeezed(least: list[float], width: float) -> list[float]:
    """Narrow columns keep what they need, wide ones share the rest: only their longest words are cut."""
    result = list(least)
    left, share = width, width / len(least)
    order = sorted(range(len(least)), key=lambda i: least[i])
    for rank, i in enumerate(order):
        share = left / (len(order) - rank)
        result[i] = min(least[i], share)
        left -= result[i]
    return result


@define
class _Open:
    """A cell being laid out: the lines that are still to be drawn, and where it begins on the page."""

    cell: Cell
    lines: list[Line]
    x: float
    width: float
    rows: int  # rows that it still covers
    shade: bool
    top: float = 0
    next: int = 0
    rest: float = 0  # height of the lines still to be drawn

    def take(self, room: float, *, at_least_one: bool = False) -> list[Line]:
        """The next lines that fit in `room`."""
        begin, used = self.next, 0.0
        while self.next < len(self.lines):
            height = self.lines[self.next].height
            if used + height > room + 0.01 and not (at_least_one and self.next == begin):
                break
            used += height
            self.next += 1
        self.rest -= used
        return self.lines[begin : self.next]


@define
class Composer:
    """Places blocks one below the other and begins new pages; `pages` is the result.

    Raises (every method):
        Rejected: more than `MAX_PAGES` pages.
    """

    measure: Measure
    pages: list[Page] = field(factory=list)
    y: float = BOTTOM
    fresh: float = TOP  # where the content of this page begins
    _label: tuple[Fragment, ...] = ()

    def new_page(self) -> None:
        if len(self.pages) >= MAX_PAGES:
            raise too_large(f"it would have more than {MAX_PAGES} pages")
        self.pages.append([])
        self.y = self.fresh = TOP

    def need(self, height: float) -> None:
        """Begin a new page when less than `height` is left on this one."""
        if not self.pages or (self.y + height > BOTTOM and self.y > self.fresh):
            self.new_page()

    def gap(self, height: float) -> None:
        """Empty space, but none at the top of a page."""
        if self.pages and self.y > self.fresh:
            self.y += height

    def draw(self, drawn: Drawn) -> None:
        self.pages[-1].append(drawn)

    def blocks(
        self, blocks: Sequence[Block], x: float = MARGIN, width: float = PAGE_WIDTH - 2 * MARGIN, size: float = TEXT_SIZE
    ) -> None:
        """Lay out blocks in a column that begins at `x`."""
        for block in blocks:
            if isinstance(block, Paragraph):
                self.lines(break_lines(block.items, width, size, self.measure, block.align), x)
                self.gap(size * 0.4)
            elif isinstance(block, Listing):
                for label, inner in block.entries:
                    indent = max(LIST_INDENT, _label_width(label, size, self.measure))
                    self._flush_label(x)
                    self._label = _label(label, size, self.measure, -indent + size * 0.3)
                    self.blocks(inner, x + indent, max(width - indent, 60), size)
                    self._flush_label(x + indent)
                self.gap(size * 0.2)
            else:
                self.table(block, x, width)

    def lines(self, lines: Sequence[Line], x: float) -> None:
        """Put lines at `x`, over as many pages as it takes."""
        for line in lines:
            self.need(line.height)
            if self._label:
                line, self._label = evolve(line, fragments=self._label + line.fragments), ()  # noqa: PLW2901
            self._line(line, x, self.y)
            self.y += line.height

    def _flush_label(self, x: float) -> None:
        """The label of an entry without text, on a line of its own."""
        if self._label:
            self.lines([Line(self._label[0].size * LEADING)], x)

    def _line(self, line: Line, x: float, y: float) -> None:
        if line.picture is not None:
            image, left, width, height = line.picture
            self.draw(Drawn("image", x + left, y, width, height, image=image))
        for part in line.fragments:
            base = y + part.size * 0.98 if not part.style.rise else y + part.size / 0.68 * 0.98
            ink: Ink = "link" if part.style.link else "muted" if part.style.muted else "text"
            left = x + part.x
            self.draw(Drawn("text", left, base - part.lift, part.width, 0, part.text, part.face, part.size, ink))
            if part.style.underline or part.style.link:
                self.draw(Drawn("rule", left, base + part.size * 0.12, part.width, 0, ink=ink))
            if part.style.strike:
                self.draw(Drawn("rule", left, base - part.size * 0.27, part.width, 0, ink=ink))
            if part.style.link:
                self.draw(Drawn("link", left, y, part.width, line.height, part.style.link))

    def table(self, table: Table, x: float, width: float) -> None:
        """A table over as many pages as it takes; its head is repeated when it leaves room for rows."""
        size, widths = column_widths(table, width, self.measure)
        grid = _Grid(self, table, size, x, widths)
        self.need(size * LEADING * 3 + 4 * PADDING)
        self._flush_label(x)
        grid.rows(table.head + table.body if not grid.repeats else table.head, repeat=False)
        if grid.repeats:
            grid.rows(table.body, repeat=True)
        self.gap(size * 0.7)


class _Grid:
    """The rows of one table being placed."""

    def __init__(self, composer: Composer, table: Table, size: float, x: float, widths: list[float]) -> None:
        self.composer, self.table, self.size = composer, table, size
        self.lefts = [x + sum(widths[:i]) for i in range(len(widths) + 1)]
        self.grid = table.kind == "grid"
        head = sum(max((cell.rest for cell in self._opened(row, shade=True)), default=0) for row in table.head)
        self.repeats = bool(table.head) and head < (BOTTOM - TOP) * 0.3

    def _opened(self, row: Sequence[Cell], *, shade: bool) -> list[_Open]:
        opened = []
        for cell in row:
            end = min(cell.column + cell.columns, self.table.columns)
            left = self.lefts[cell.column]
            width = self.lefts[end] - left
            lines = flow(cell.blocks, width - 2 * PADDING, self.size, self.composer.measure)
            height = sum(line.height for line in lines)
            opened.append(_Open(cell, lines, left, width, cell.rows, shade or (cell.header and self.grid), rest=height))
        return opened

    def rows(self, rows: Sequence[Sequence[Cell]], *, repeat: bool) -> None:
        page = self.composer
        padding = PADDING if self.grid else PADDING * 0.4
        opened: list[_Open] = []
        heads = len(self.table.head)
        for index, row in enumerate(rows):
            joining = self._opened(row, shade=self.grid and not repeat and index < heads)
            for cell in joining:
                cell.top = page.y
            joined = False
            while True:
                ending = [c for c in (opened if joined else opened + joining) if c.rows <= 1]
                height = max((c.top + c.rest + 2 * padding - page.y for c in ending), default=0.0)
                height = max(height, self.size * 0.5 if not row else self.size * LEADING + 2 * padding)
                if page.y + height <= BOTTOM:
                    break
                at_top = page.y <= page.fresh + 0.01
                split = at_top or (height > (BOTTOM - TOP) * 0.45 and BOTTOM - page.y > 80)
                if split and not joined:
                    opened += joining
                    joined = True
                end = BOTTOM if split else page.y
                for cell in opened:
                    self._draw(cell, cell.take(end - cell.top - 2 * padding, at_least_one=split and at_top), end, padding)
                page.new_page()
                if repeat:
                    self.rows(self.table.head, repeat=False)
                    page.fresh = page.y
                for cell in opened if joined else opened + joining:
                    cell.top = page.y
            if not joined:
                opened += joining
            page.y += height
            for cell in opened:
                cell.rows -= 1
                if cell.rows == 0:
                    self._draw(cell, cell.take(float("inf")), page.y, padding)
            opened = [cell for cell in opened if cell.rows > 0]

    def _draw(self, cell: _Open, lines: list[Line], end: float, padding: float) -> None:
        page = self.composer
        if end - cell.top < 0.5:
            return
        if cell.shade:
            page.draw(Drawn("fill", cell.x, cell.top, cell.width, end - cell.top))
        if self.grid:
            page.draw(Drawn("box", cell.x, cell.top, cell.width, end - cell.top))
        y = cell.top + padding
        for line in lines:
            page._line(line, cell.x + PADDING, y)  # noqa: SLF001
            y += line.height


def texts(pages: Sequence[Page]) -> Iterator[str]:
    """Everything that is written, in drawing order."""
    for page in pages:
        for drawn in page:
            if drawn.kind == "text":
                yield drawn.text
