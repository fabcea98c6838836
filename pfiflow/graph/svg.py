"""A graph as SVG: one file, no script, no font and no picture of elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from attrs import frozen

from pfiflow.graph.layout import Box, Layout, Line, Point, lay_out
from pfiflow.graph.model import Card, Edge, Graph, Row, Terminal
from pfiflow.graph.text import cut, width_of

__all__ = ["as_svg"]

_FONT: Final = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
_MARGIN: Final = 28.0
_TITLE, _SMALL, _SIZE = 14.0, 11.0, 12.5  # font sizes
_ROW: Final = 21.0
_HEAD: Final = 36.0
_INDENT: Final = 14.0
_PAD: Final = 14.0
_WIDEST: Final = 330.0
_SUBTITLE: Final = 240.0

_INK, _GREY, _EDGE, _RED = "#0f172a", "#64748b", "#94a3b8", "#be123c"
_COLOURS: Final[Mapping[str, tuple[str, str]]] = {
    "source": ("#0f766e", "#f0fdfa"),
    "channel": ("#b45309", "#fffbeb"),
    "sink": ("#4338ca", "#eef2ff"),
}


@frozen
class _Placed:
    """A box where it stands."""

    x: float
    y: float
    width: float
    height: float


def as_svg(graph: Graph, title: str = "Routes") -> str:
    """The picture. The same graph always gives the same bytes."""
    boxes: dict[str, Box] = {}
    for terminal in graph.terminals:
        if terminal.kind == "source":
            boxes[terminal.id] = _terminal_box(terminal)
    boxes.update((card.id, _card_box(card)) for card in graph.cards)
    boxes.update((each.id, _terminal_box(each)) for each in graph.terminals if each.id not in boxes)
    lines = [
        Line(edge.start, edge.end, _port(edge, boxes[edge.start]), _arrival(edge, boxes[edge.end]))
        for edge in graph.edges
    ]
    layout = lay_out(boxes, lines)
    placed = {
        name: _Placed(x + _MARGIN, y + _MARGIN, boxes[name].width, boxes[name].height)
        for name, (x, y) in layout.places.items()
    }
    height = layout.height + 2 * _MARGIN + 16 * len(layout.back)
    width = layout.width + 2 * _MARGIN
    size = f'width="{_n(width)}" height="{_n(height)}"'
    view = f'viewBox="0 0 {_n(width)} {_n(height)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} role="img" font-family={quoteattr(_FONT)}>',
        f"<title>{escape(title)}</title>",
        f'<rect {size} rx="10" fill="#ffffff"/>',
        *_edges(graph, lines, layout, placed),
        *(line for card in graph.cards for line in _card(card, placed[card.id])),
        *(line for each in graph.terminals for line in _terminal(each, placed[each.id])),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# -- sizes -------------------------------------------------------------------------------------------------------------


def _terminal_box(terminal: Terminal) -> Box:
    subtitle = cut(terminal.subtitle, _SMALL, _SUBTITLE)
    width = max(width_of(terminal.title, _SIZE, bold=True), width_of(subtitle, _SMALL)) + 2 * _PAD + 12
    return Box(max(width, 96.0), 46.0 if subtitle else 34.0)


def _card_box(card: Card) -> Box:
    widest = max((_row_width(row) for row in card.rows), default=0.0)
    width = max(width_of(card.title, _TITLE, bold=True), widest) + 2 * _PAD
    return Box(min(max(width, 130.0), _WIDEST), _HEAD + _ROW * len(card.rows) + (10 if card.rows else 0))


def _row_width(row: Row) -> float:
    note = width_of(row.note, _SMALL) + 10 if row.note else 0.0
    arrow = 16.0 if row.kind == "target" else 10.0 if row.kind == "branch" else 0.0
    return row.indent * _INDENT + arrow + width_of(row.text, _SIZE) + note + 8


def _port(edge: Edge, box: Box) -> float:
    return box.height / 2 if edge.row is None else _HEAD + _ROW * edge.row + _ROW / 2


def _arrival(edge: Edge, box: Box) -> float:
    return box.height / 2 + (9.0 if edge.refused else 0.0)


# -- edges -------------------------------------------------------------------------------------------------------------


def _edges(graph: Graph, lines: list[Line], layout: Layout, placed: Mapping[str, _Placed]) -> Iterator[str]:
    for name, colour in (("plain", _EDGE), ("refused", _RED)):
        yield (
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0.6 7.4 4 0 7.4z" fill="{colour}"/></marker>'
        )
    for number, (edge, line) in enumerate(zip(graph.edges, lines, strict=True)):
        start, end = placed[edge.start], placed[edge.end]
        if number in layout.back:
            first, last = (start.x + start.width, start.y + line.leaves), (end.x, end.y + line.arrives)
            path = _around(first, last, layout.height + 1.6 * _MARGIN + 16 * layout.back[number])
        else:
            path = _through(tuple((x + _MARGIN, y + _MARGIN) for x, y in layout.ways[number]))
        kind, colour = ("refused", _RED) if edge.refused else ("plain", _EDGE)
        dashes = ' stroke-dasharray="5 4"' if edge.refused else ""
        yield (f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes} marker-end="url(#{kind})"/>')


def _through(points: tuple[Point, ...]) -> str:
    """A smooth line, level in every second piece."""
    path = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for index, ((x, y), (to_x, to_y)) in enumerate(itertools.pairwise(points)):
        if index % 2 == 0:
            path += f"L{_n(to_x)} {_n(to_y)}"
        else:
            middle = (x + to_x) / 2
            path += f"C{_n(middle)} {_n(y)} {_n(middle)} {_n(to_y)} {_n(to_x)} {_n(to_y)}"
    return path


def _around(first: Point, last: Point, below: float) -> str:
    """Back to the left, below everything."""
    (x, y), (to_x, to_y) = first, last
    return (
        f"M{_n(x)} {_n(y)}C{_n(x + 34)} {_n(y)} {_n(x + 34)} {_n(below)} {_n(x)} {_n(below)}"
        f"L{_n(to_x)} {_n(below)}C{_n(to_x - 34)} {_n(below)} {_n(to_x - 34)} {_n(to_y)} {_n(to_x)} {_n(to_y)}"
    )


# -- boxes -------------------------------------------------------------------------------------------------------------


def _label(x: float, y: float, text: str, *, size: float = _SIZE, colour: str = _INK, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{colour}"{weight}>{escape(text)}</text>'


def _card(card: Card, at: _Placed) -> Iterator[str]:
    yield (
        f'<rect x="{_n(at.x)}" y="{_n(at.y)}" width="{_n(at.width)}" height="{_n(at.height)}" rx="8" '
        f'fill="#ffffff" stroke="#cbd5e1"/>'
    )
    yield (
        f'<path d="M{_n(at.x)} {_n(at.y + 28)}v-20a8 8 0 0 1 8-8h{_n(at.width - 16)}a8 8 0 0 1 8 8v20z" '
        f'fill="#f1f5f9" stroke="#cbd5e1"/>'
    )
    yield _label(at.x + _PAD, at.y + 19, cut(card.title, _TITLE, at.width - 2 * _PAD), size=_TITLE, bold=True)
    for number, row in enumerate(card.rows):
        yield from _row(row, at, at.y + _HEAD + _ROW * number + _ROW / 2)


def _row(row: Row, at: _Placed, middle: float) -> Iterator[str]:
    x = at.x + _PAD + row.indent * _INDENT
    colour = _RED if row.refused and row.kind in {"heading", "target"} else _INK
    if row.kind == "target":
        yield f'<path d="M{_n(x)} {_n(middle)}h8m-3-3 3 3-3 3" fill="none" stroke="{colour}" stroke-width="1.3"/>'
        yield f'<circle cx="{_n(at.x + at.width)}" cy="{_n(middle)}" r="3" fill="{_RED if row.refused else _EDGE}"/>'
        x += 14
    elif row.kind == "branch":
        yield f'<path d="M{_n(x)} {_n(middle)}l4-4 4 4-4 4z" fill="#e2e8f0" stroke="{_GREY}"/>'
        x += 12
    room = at.x + at.width - _PAD - x
    text = cut(row.text, _SIZE, room)
    size, shade = (_SMALL, _GREY) if row.kind == "branch" else (_SIZE, colour)
    yield _label(x, middle + 4.2, text, size=size, colour=shade, bold=row.kind in {"heading", "target"})
    left = room - width_of(text, _SIZE, bold=row.kind == "target") - 10
    if row.note and left > 24:
        note = cut(row.note, _SMALL, left)
        colour = _RED if row.kind == "target" and row.refused else _GREY
        yield _label(x + room - left, middle + 4, note, size=_SMALL, colour=colour)


def _terminal(terminal: Terminal, at: _Placed) -> Iterator[str]:
    dark, light = _COLOURS[terminal.kind]
    x, y, width, height = at.x, at.y, at.width, at.height
    yield f"<g><title>{escape(f'{terminal.kind} {terminal.title}')}</title>"
    if terminal.kind == "channel":  # a queue: a drum that lies on its side
        bend = 7
        yield (
            f'<path d="M{_n(x + bend)} {_n(y)}h{_n(width - 2 * bend)}a{bend} {_n(height / 2)} 0 0 1 0 {_n(height)}'
            f'h-{_n(width - 2 * bend)}a{bend} {_n(height / 2)} 0 0 1 0-{_n(height)}z" fill="{light}" stroke="{dark}"/>'
        )
        yield (
            f'<path d="M{_n(x + width - bend)} {_n(y)}a{bend} {_n(height / 2)} 0 0 0 0 {_n(height)}" fill="none" '
            f'stroke="{dark}"/>'
        )
    else:
        rx = height / 2 if terminal.kind == "source" else 6
        yield (
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(rx)}" '
            f'fill="{light}" stroke="{dark}"/>'
        )
    middle = y + height / 2
    left = x + _PAD + 4
    yield _label(left, middle + (-2 if terminal.subtitle else 4.4), terminal.title, colour=dark, bold=True)
    if terminal.subtitle:
        yield _label(left, middle + 13, cut(terminal.subtitle, _SMALL, _SUBTITLE), size=_SMALL, colour=_GREY)
    yield "</g>"
