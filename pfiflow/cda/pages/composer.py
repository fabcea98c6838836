"""Blocks placed one below the other on pages, with nothing drawn yet.

Pure: it leaves drawing operations page by page, so that the number of pages is known, and bounded, before a PDF exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from pfiflow.cda.pages.blocks import Block, Listing, Paragraph, Table, too_large
from pfiflow.cda.pages.lines import LEADING, SMALL, Fragment, Line, Measure, break_lines, label_fragments, label_width
from pfiflow.cda.pages.sheet import BOTTOM, MARGIN, TOP, WIDTH, Drawn, Ink, Page
from pfiflow.cda.pages.tables import Grid, column_widths

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_PAGES", "Composer", "Heading"]

MAX_PAGES = 400
"""Most pages of one rendered document."""
MAX_DRAWN = 250_000
"""Most drawing operations of one document: 400 pages with 300 table cells each, or some 5 seconds of drawing."""
MAX_LINKS = 2_000
"""Most links that can be followed; any further one is text as it looks."""
TEXT_SIZE = 9.5
LIST_INDENT = 16.0


@frozen
class Heading:
    """A section title. `before` is the space above it; `title` and `level` are its entry in the outline."""

    lines: tuple[Line, ...]
    title: str
    level: int
    before: float
    ruled: bool

    @property
    def height(self) -> float:
        """Points, with the space around it."""
        return self.before + sum(line.height for line in self.lines) + 5


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
    drawn: int = 0
    links: int = 0
    _label: tuple[Fragment, ...] = ()
    _headings: list[Heading] = field(factory=list)

    def new_page(self) -> None:
        if len(self.pages) >= MAX_PAGES:
            raise too_large(f"it would have more than {MAX_PAGES} pages")
        self.pages.append([])
        self.y = self.fresh = TOP

    def need(self, height: float) -> None:
        """Begin a new page when less than `height` is left on this one. Headings that wait are put first."""
        headings, self._headings = self._headings, []
        height += sum(heading.height for heading in headings)
        if not self.pages or (self.y + height > BOTTOM and self.y > self.fresh):
            self.new_page()
        for heading in headings:
            self.gap(heading.before)
            if self.y + heading.height > BOTTOM:
                self.new_page()
            self.draw(Drawn("mark", text=heading.title, level=heading.level))
            self.lines(heading.lines, MARGIN)
            if heading.ruled:
                self.draw(Drawn("rule", MARGIN, self.y + 1, WIDTH, size=0.8, ink="link"))
            self.y += 5

    def heading(self, heading: Heading) -> None:
        """A heading, which waits for what follows it so that the two stay on one page."""
        self._headings.append(heading)

    def gap(self, height: float) -> None:
        """Empty space, but none at the top of a page."""
        if self.pages and self.y > self.fresh:
            self.y += height

    def draw(self, drawn: Drawn) -> None:
        """Draw on the last page."""
        self.drawn += 1
        if self.drawn > MAX_DRAWN:
            raise too_large(f"it has more than {MAX_DRAWN} pieces of text and lines to draw")
        self.pages[-1].append(drawn)

    def blocks(
        self,
        blocks: Sequence[Block],
        x: float = MARGIN,
        width: float = WIDTH,
        size: float = TEXT_SIZE,
    ) -> None:
        """Lay out blocks in a column that begins at `x`."""
        for block in blocks:
            if isinstance(block, Paragraph):
                self.lines(break_lines(block.items, width, size, self.measure, block.align), x)
                self.gap(size * 0.4)
            elif isinstance(block, Listing):
                for label, inner in block.entries:
                    indent = max(LIST_INDENT, label_width(label, size, self.measure))
                    self._flush_label(x)
                    self._label = label_fragments(label, size, self.measure, -indent + size * 0.3)
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
            self.line(line, x, self.y)
            self.y += line.height

    def _flush_label(self, x: float) -> None:
        """The label of an entry without text, on a line of its own."""
        if self._label:
            self.lines([Line(self._label[0].size * LEADING)], x)

    def line(self, line: Line, x: float, y: float) -> None:
        if line.picture is not None:
            image, left, width, height = line.picture
            self.draw(Drawn("image", x + left, y, width, height, image=image))
        for part in line.fragments:
            base = y + part.size * 0.98 if not part.style.rise else y + part.size / SMALL * 0.98
            ink: Ink = "link" if part.style.link else "muted" if part.style.muted else "text"
            left = x + part.x
            self.draw(Drawn("text", left, base - part.lift, part.width, 0, part.text, part.face, part.size, ink))
            if part.style.underline or part.style.link:
                self.draw(Drawn("rule", left, base + part.size * 0.12, part.width, 0, ink=ink))
            if part.style.strike:
                self.draw(Drawn("rule", left, base - part.size * 0.27, part.width, 0, ink=ink))
            if part.style.link and self.links < MAX_LINKS:
                self.links += 1
                self.draw(Drawn("link", left, y, part.width, line.height, part.style.link))

    def table(self, table: Table, x: float, width: float) -> None:
        """A table over as many pages as it takes; its head is repeated when it leaves room for rows."""
        size, widths = column_widths(table, width, self.measure)
        grid = Grid(self, table, size, x, widths)
        self.need(min(grid.beginning, (BOTTOM - TOP) * 0.4))
        self._flush_label(x)
        grid.rows(table.head + table.body if not grid.repeats else table.head, repeat=False)
        if grid.repeats:
            grid.rows(table.body, repeat=True)
        self.gap(size * 0.7)
