"""Tables laid over pages: column widths, rows, spans, repeated heads, rows cut where they do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from pfiflow.cda.pages.blocks import Cell, Table
from pfiflow.cda.pages.lines import CELL_SIZE, LEADING, Line, Measure, extents, flow
from pfiflow.cda.pages.sheet import BOTTOM, TOP, Drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pfiflow.cda.pages.composer import Composer

__all__ = ["Grid", "column_widths"]

TABLE_SIZES = (CELL_SIZE, 8.0, 7.5, 7.0, 6.5, 6.0)
PADDING = 3.0


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
    if table.kind == "facts":
        return TABLE_SIZES[0], _fact_widths(high, width)
    fitting = (s for s in TABLE_SIZES if sum(low) * s / 1000 + 2 * _padding(s) * len(low) <= width)
    size = next(fitting, TABLE_SIZES[-1])
    padding = 2 * _padding(size)
    least = [value * size / 1000 + padding for value in low]
    most = [max(value * size / 1000 + padding, minimum) for value, minimum in zip(high, least, strict=True)]
    if sum(most) <= width:
        return size, [value * width / sum(most) for value in most]
    if sum(least) <= width:
        more = [b - a for a, b in zip(least, most, strict=True)]
        return size, [a + b for a, b in zip(least, _shared(more, width - sum(least)), strict=True)]
    return size, _shared(least, width)


def _padding(size: float) -> float:
    """Space between a cell's border and its text: less of it in a table that lacks room."""
    return PADDING if size > 7 else 1.8


def _fact_widths(high: list[float], width: float) -> list[float]:
    labels = [value * TABLE_SIZES[0] / 1000 + 2 * PADDING for value in high[::2]]
    value = (width - sum(labels)) / len(labels)
    return [part for label in labels for part in (label, value)]


def _shared(wanted: list[float], available: float) -> list[float]:
    """What each gets of too little: small wants wholly, and the large ones equal shares of the rest."""
    result = list(wanted)
    for rank, i in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        result[i] = min(wanted[i], available / (len(wanted) - rank))
        available -= result[i]
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


class Grid:
    """The rows of one table being placed."""

    def __init__(self, composer: Composer, table: Table, size: float, x: float, widths: list[float]) -> None:
        self.composer, self.table, self.size = composer, table, size
        self.lefts = [x + sum(widths[:i]) for i in range(len(widths) + 1)]
        self.grid = table.kind == "grid"
        self.padding = _padding(size)
        self._kept: dict[int, list[Line]] = {}
        self._keep = True
        head = sum(map(self._height, table.head))
        self.repeats = bool(table.head) and head < (BOTTOM - TOP) * 0.3
        self.beginning = head + sum(map(self._height, table.body[:1]))
        self._keep = False

    def _lines_of(self, cell: Cell, width: float) -> list[Line]:
        """The cell's lines; those of the head and of the first row are needed again, and kept."""
        lines = self._kept.get(id(cell))
        if lines is None:
            lines = flow(cell.blocks, width, self.size, self.composer.measure)
            if self._keep:
                self._kept[id(cell)] = lines
        return lines

    def _height(self, row: Sequence[Cell]) -> float:
        return max((cell.rest for cell in self._opened(row, shade=False)), default=0) + 2 * self.padding

    def _opened(self, row: Sequence[Cell], *, shade: bool) -> list[_Open]:
        opened = []
        for cell in row:
            end = min(cell.column + cell.columns, self.table.columns)
            left = self.lefts[cell.column]
            width = self.lefts[end] - left
            lines = self._lines_of(cell, width - 2 * self.padding)
            height = sum(line.height for line in lines)
            opened.append(_Open(cell, lines, left, width, cell.rows, shade or (cell.header and self.grid), rest=height))
        return opened

    def rows(self, rows: Sequence[Sequence[Cell]], *, repeat: bool) -> None:
        page = self.composer
        padding = self.padding if self.grid else self.padding * 0.4
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
                    self._draw(
                        cell, cell.take(end - cell.top - 2 * padding, at_least_one=split and at_top), end, padding
                    )
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
            page.line(line, cell.x + self.padding, y)
            y += line.height
