"""A layered layout from left to right: who feeds whom stands to the left of it.

Four steps (Sugiyama, Tagawa, Toda 1981): edges that would close a circle are turned; each box gets a layer, so that
edges lead to the right; edges over several layers get a place in each; boxes of a layer are ordered to cross little,
and moved up and down to where their neighbours are. The same graph always gives the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from attrs import define, field, frozen

__all__ = ["Box", "Layout", "Line", "Point", "lay_out"]

Point: TypeAlias = tuple[float, float]

_BESIDE: Final = 72.0  # between layers
_BELOW: Final = 26.0  # between boxes of a layer
_THREAD: Final = 14.0  # height of the place that a long edge has in a layer that it passes
_SWEEPS: Final = 24


@frozen
class Box:
    """Something to place: its size."""

    width: float
    height: float


@frozen
class Line:
    """An edge: from the right side of a box, `leaves` below its top, to the left side of another, `arrives` below."""

    start: str
    end: str
    leaves: float
    arrives: float


@frozen
class Layout:
    """Where the boxes stand (top left corners), and what lies on the way of each line, in the order given.

    A way is level in every second piece: out of its layer, and through those that it passes. A line that leads back to
    the left has none: `back` counts such lines.
    """

    places: Mapping[str, Point]
    ways: tuple[tuple[Point, ...], ...]
    back: Mapping[int, int]
    width: float
    height: float


def lay_out(boxes: Mapping[str, Box], lines: Sequence[Line]) -> Layout:
    """Places every box; lines name boxes that are there."""
    back = _turned(boxes, lines)
    forward = [(number, line) for number, line in enumerate(lines) if number not in back]
    layers = _layers(boxes, [line for _, line in forward])
    grid = _Grid(boxes, layers)
    for number, line in forward:
        grid.thread(number, line)
    grid.order()
    grid.settle()
    return grid.layout(lines, {number: rank for rank, number in enumerate(sorted(back))})


def _turned(boxes: Mapping[str, Box], lines: Sequence[Line]) -> frozenset[int]:
    """The lines that close a circle, when the boxes are walked in their order."""
    after: dict[str, list[tuple[int, str]]] = {name: [] for name in boxes}
    for number, line in enumerate(lines):
        after[line.start].append((number, line.end))
    fed = {line.end for line in lines}
    back: set[int] = set()
    state: dict[str, str] = {}
    for root in sorted(boxes, key=lambda name: name in fed):  # from where nothing leads, first
        if root in state:
            continue
        state[root] = "open"
        stack = [(root, iter(after[root]))]
        while stack:
            name, rest = stack[-1]
            step = next(rest, None)
            if step is None:
                state[name] = "done"
                stack.pop()
            elif state.get(step[1]) == "open":
                back.add(step[0])
            elif step[1] not in state:
                state[step[1]] = "open"
                stack.append((step[1], iter(after[step[1]])))
    return frozenset(back)


def _layers(boxes: Mapping[str, Box], lines: Sequence[Line]) -> dict[str, int]:
    """The longest way that leads to each box; then a box that only feeds moves to what it feeds."""
    layer = dict.fromkeys(boxes, 0)
    for _ in boxes:
        changed = False
        for line in lines:
            if layer[line.end] < layer[line.start] + 1:
                layer[line.end] = layer[line.start] + 1
                changed = True
        if not changed:
            break
    fed = {line.end for line in lines}
    for name in boxes:
        ends = [layer[line.end] for line in lines if line.start == name]
        if name not in fed and ends:
            layer[name] = min(ends) - 1
    return layer


@define(eq=False)
class _Cell:
    """A box, or a long edge's place, in its layer. `before` and `after`: neighbours, with the heights of the ends."""

    key: str
    height: float
    layer: int
    is_thread: bool = False
    y: float = 0.0
    before: list[tuple[_Cell, float, float]] = field(factory=list)  # neighbour, its port, our port
    after: list[tuple[_Cell, float, float]] = field(factory=list)


@define
class _Grid:
    boxes: Mapping[str, Box]
    layer: Mapping[str, int]
    cells: dict[str, _Cell] = field(init=False)
    columns: list[list[_Cell]] = field(init=False)
    threads: dict[int, list[_Cell]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.cells = {name: _Cell(name, box.height, self.layer[name]) for name, box in self.boxes.items()}
        self.columns = [[] for _ in range(max(self.layer.values(), default=-1) + 1)]
        for cell in self.cells.values():
            self.columns[cell.layer].append(cell)

    def thread(self, number: int, line: Line) -> None:
        """Joins two boxes, over a cell in each layer between."""
        last, port = self.cells[line.start], line.leaves
        self.threads[number] = []
        for layer in range(self.layer[line.start] + 1, self.layer[line.end]):
            cell = _Cell(f"{line.start}>{line.end}", _THREAD, layer, is_thread=True)
            self.columns[layer].append(cell)
            self.threads[number].append(cell)
            _join(last, port, cell, _THREAD / 2)
            last, port = cell, _THREAD / 2
        end = self.cells[line.end]
        _join(last, port, end, line.arrives)

    # -- order within the layers ---------------------------------------------------------------------------------------

    def order(self) -> None:
        """Each cell to the mean place of its neighbours, sweeping to and fro; the best order seen is kept."""
        best, fewest = [[*column] for column in self.columns], self._crossings()
        for sweep in range(_SWEEPS):
            forth = sweep % 2 == 0
            for column in self.columns if forth else reversed(self.columns):
                place = {id(cell): index for each in self.columns for index, cell in enumerate(each)}
                means = {id(cell): _mean(cell, place, forth=forth) for cell in column}
                column.sort(key=lambda cell: means[id(cell)])
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [[*column] for column in self.columns], crossings
        self.columns = best

    def _crossings(self) -> int:
        total = 0
        for column in self.columns:
            place = {id(cell): index for each in self.columns for index, cell in enumerate(each)}
            ends = [
                ((place[id(cell)], port), (place[id(other)], other_port))
                for cell in column
                for other, other_port, port in cell.after
            ]
            total += sum(
                (a_start < b_start) != (a_end < b_end) and a_start != b_start and a_end != b_end
                for index, (a_start, a_end) in enumerate(ends)
                for b_start, b_end in ends[index + 1 :]
            )
        return total

    # -- heights -------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Moves cells to the height of their neighbours, as near as those above and below let them."""
        for column in self.columns:
            _stack(column, [0.0] * len(column), [1.0] * len(column))
        for sweep in range(_SWEEPS):
            forth = sweep % 2 == 0
            for column in self.columns if forth else reversed(self.columns):
                wanted = [_wanted(cell, forth=forth) for cell in column]
                weights = [float(len(cell.before) + len(cell.after) + 4 * cell.is_thread) or 1.0 for cell in column]
                _stack(column, wanted, weights)
        top = min((cell.y for column in self.columns for cell in column), default=0.0)
        for column in self.columns:
            for cell in column:
                cell.y -= top

    def _width(self, cell: _Cell) -> float:
        return 0.0 if cell.is_thread else self.boxes[cell.key].width

    def layout(self, lines: Sequence[Line], back: Mapping[int, int]) -> Layout:
        widths = [
            max((self.boxes[c.key].width for c in column if c.key in self.boxes), default=0.0)
            for column in self.columns
        ]
        lefts = [sum(widths[:index]) + _BESIDE * index for index in range(len(widths))]
        places = {name: (lefts[cell.layer], cell.y) for name, cell in self.cells.items()}
        ways = tuple(
            () if number in back else self._way(line, number, lefts, widths) for number, line in enumerate(lines)
        )
        height = max((cell.y + cell.height for column in self.columns for cell in column), default=0.0)
        width = lefts[-1] + widths[-1] if widths else 0.0
        return Layout(places, ways, back, width, height)

    def _way(self, line: Line, number: int, lefts: Sequence[float], widths: Sequence[float]) -> tuple[Point, ...]:
        start, end = self.cells[line.start], self.cells[line.end]
        y = start.y + line.leaves
        points = [
            (lefts[start.layer] + self._width(start), y),
            (lefts[start.layer] + widths[start.layer], y),
        ]
        for cell in self.threads[number]:
            middle = cell.y + cell.height / 2
            points += [(lefts[cell.layer], middle), (lefts[cell.layer] + widths[cell.layer], middle)]
        return (*points, (lefts[end.layer], end.y + line.arrives))


def _join(start: _Cell, leaves: float, end: _Cell, arrives: float) -> None:
    start.after.append((end, arrives, leaves))
    end.before.append((start, leaves, arrives))


def _mean(cell: _Cell, place: Mapping[int, int], *, forth: bool) -> float:
    neighbours = cell.before if forth else cell.after
    if not neighbours:
        return float(place[id(cell)])
    return sum(place[id(other)] + port / (other.height + 1) for other, port, _ in neighbours) / len(neighbours)


def _wanted(cell: _Cell, *, forth: bool) -> float:
    neighbours = (cell.before if forth else cell.after) or cell.before or cell.after
    if not neighbours:
        return cell.y
    return sum(other.y + port - own for other, port, own in neighbours) / len(neighbours)


def _stack(column: Sequence[_Cell], wanted: Sequence[float], weights: Sequence[float]) -> None:
    """The heights nearest to those wanted, in this order and with room between: pooled where they would overlap."""
    offsets: list[float] = []
    offset = 0.0
    for cell in column:
        offsets.append(offset)
        offset += cell.height + (_BELOW if not cell.is_thread else _THREAD)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of cells
    for want, room, weight in zip(wanted, offsets, weights, strict=True):
        block = (want - room, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, other, count = blocks.pop()
            together = other + block[1]
            block = ((mean * other + block[0] * block[1]) / together, together, count + block[2])
        blocks.append(block)
    heights = [mean for mean, _, count in blocks for _ in range(count)]
    for cell, height, room in zip(column, heights, offsets, strict=True):
        cell.y = height + room
