from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pfiflow.graph.layout import Box, Line, lay_out

names = st.integers(0, 12).map(lambda number: f"b{number}")
sizes = st.builds(Box, st.integers(20, 300).map(float), st.integers(20, 400).map(float))


@st.composite
def pictures(draw: st.DrawFn) -> tuple[dict[str, Box], list[Line]]:
    boxes = {name: draw(sizes) for name in draw(st.lists(names, unique=True, min_size=1))}
    ends = st.sampled_from([*boxes])
    lines = []
    for start, end in draw(st.lists(st.tuples(ends, ends), max_size=25)):
        leaves = draw(st.floats(0, boxes[start].height))
        lines.append(Line(start, end, leaves, boxes[end].height / 2))
    return boxes, lines


@given(pictures())
def test_nothing_overlaps_and_lines_lead_to_the_right(picture: tuple[dict[str, Box], list[Line]]) -> None:
    boxes, lines = picture
    layout = lay_out(boxes, lines)
    assert set(layout.places) == set(boxes)
    for one, other in itertools.combinations(boxes, 2):
        (x, y), (u, v) = layout.places[one], layout.places[other]
        a, b = boxes[one], boxes[other]
        assert x + a.width <= u or u + b.width <= x or y + a.height <= v + 1e-6 or v + b.height <= y + 1e-6
    for name, (x, y) in layout.places.items():
        assert x >= 0
        assert y >= -1e-6
        assert x + boxes[name].width <= layout.width + 1e-6
        assert y + boxes[name].height <= layout.height + 1e-6
    for number, (line, way) in enumerate(zip(lines, layout.ways, strict=True)):
        if number in layout.back:
            assert way == ()
            continue
        start, end = layout.places[line.start], layout.places[line.end]
        assert way[0] == (start[0] + boxes[line.start].width, start[1] + line.leaves)
        assert way[-1] == (end[0], end[1] + line.arrives)
        assert [x for x, _ in way] == sorted(x for x, _ in way)
        assert all(-1e-6 <= y <= layout.height + 1e-6 for _, y in way)


@given(pictures())
def test_long_lines_pass_between_boxes(picture: tuple[dict[str, Box], list[Line]]) -> None:
    """Where a line is level in a layer that it passes, no box of that layer is."""
    boxes, lines = picture
    layout = lay_out(boxes, lines)
    for way in layout.ways:
        for (x, y), (to_x, _) in list(zip(way[2:-1:2], way[3:-1:2], strict=False)):
            for name, (left, top) in layout.places.items():
                beside = left + boxes[name].width <= x or left >= to_x
                assert beside or y < top or y > top + boxes[name].height


@given(pictures())
def test_the_same_picture_twice(picture: tuple[dict[str, Box], list[Line]]) -> None:
    assert lay_out(*picture) == lay_out(*picture)


def chain(*pairs: str) -> tuple[dict[str, Box], list[Line]]:
    boxes = {name: Box(100, 40) for name in dict.fromkeys("".join(pairs))}
    return boxes, [Line(pair[0], pair[1], 20, 20) for pair in pairs]


def test_a_chain_is_straight() -> None:
    layout = lay_out(*chain("ab", "bc", "cd"))
    assert len({y for _, y in layout.places.values()}) == 1
    assert layout.back == {}


def test_a_circle_has_one_line_back() -> None:
    layout = lay_out(*chain("ab", "bc", "cb"))
    assert layout.back == {2: 0}
    assert layout.places["b"][0] < layout.places["c"][0]


def test_branches_do_not_cross() -> None:
    layout = lay_out(*chain("ab", "ac", "be", "cd"))
    b, c, d, e = (layout.places[name][1] for name in "bcde")
    assert (b < c) == (e < d)


def test_what_only_feeds_stands_near_what_it_feeds() -> None:
    layout = lay_out(*chain("ab", "bc", "cd", "xd"))
    assert layout.places["x"][0] == layout.places["c"][0]


def test_nothing() -> None:
    layout = lay_out({}, [])
    assert (layout.width, layout.height) == (0, 0)
