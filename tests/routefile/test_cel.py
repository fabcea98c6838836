"""What lint reads of expressions, against the evaluator that runs them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import cel
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pfiflow.flow.expression import Expression
from pfiflow.routefile.cel_syntax import Call, Collection, Literal, Name, Node, Select, headers_in, parse, paths_in
from pfiflow.routefile.conditions import can_hold, possible_values, shown_present

# -- syntax ------------------------------------------------------------------------------------------------------------


def evaluated(node: Node | None) -> Any:
    """Numbers, truths and texts, worked out by the tree."""
    match node:
        case Literal(value=value):
            return value
        case Collection(kind="list", items=items):
            return [evaluated(item) for item in items]
        case Call(function="?", arguments=(condition, yes, no)):
            return evaluated(yes) if evaluated(condition) else evaluated(no)
        case Call(function="!", arguments=(inner,)):
            return not evaluated(inner)
        case Call(function="-", arguments=(inner,)):
            return -evaluated(inner)
        case Call(function=function, arguments=(left, right)):
            a, b = evaluated(left), evaluated(right)
            table: Mapping[str, Any] = {
                "&&": lambda: a and b, "||": lambda: a or b, "==": lambda: a == b, "!=": lambda: a != b,
                "<": lambda: a < b, "<=": lambda: a <= b, ">": lambda: a > b, ">=": lambda: a >= b,
                "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "in": lambda: a in b,
            }  # fmt: skip
            return table[function]()
    raise AssertionError(node)


numbers = st.recursive(
    st.integers(0, 9).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", "-", " * "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=6,
)
truths = st.recursive(
    st.one_of(
        st.sampled_from(["true", "false", "!true", "!!false"]),
        st.tuples(numbers, st.sampled_from([" < ", "<=", " > ", ">=", " == ", "!="]), numbers).map("".join),
        st.tuples(numbers, st.just(" in ["), numbers, st.just(", "), numbers, st.just("]")).map("".join),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", "||"]), inner).map("".join),
        st.tuples(inner, st.just(" ? "), inner, st.just(" : "), inner).map("".join),
        inner.map(lambda text: f"!({text})"),
        inner.map(lambda text: f"({text}) // why\n"),
    ),
    max_leaves=8,
)


@given(st.one_of(numbers, truths))
def test_the_tree_means_what_the_evaluator_does(text: str) -> None:
    try:
        expected = cel.evaluate(text)
    except ValueError:  # a comment inside of another part, a condition in another's middle
        return
    assert evaluated(parse(text)) == expected


@pytest.mark.parametrize(
    "written", ['"a"', "'a'", r'"\n\t\\\""', r"'\x41B'", 'r"\\d"', '"""a "quoted" text"""', "'''it's'''", '""', '"é"']
)
def test_texts(written: str) -> None:
    node = parse(written)
    assert isinstance(node, Literal)
    assert node.value == cel.evaluate(written)


def test_chains() -> None:
    headers = Name("headers")
    assert parse("headers.x") == parse('headers["x"]') == Select(headers, "x")
    assert parse("headers[id]") == Call("[]", (headers, Name("id")))
    assert parse("id.size()") == Call("size", (Name("id"),), method=True)
    node = parse('has(headers.x) && headers["y-z"].startsWith(body.a.b + id) || [1].exists(n, n == headers.x)')
    assert node is not None
    assert headers_in(node) == {"x", "y-z"}
    assert ("body", "a", "b") in paths_in(node)


@given(st.text(alphabet="ab.()[]{}\"'\\!&|=<>?:, 1+-*/%\n", max_size=30))
def test_anything_gives_a_tree_or_none(text: str) -> None:
    parse(text)


@pytest.mark.parametrize("text", ["(" * 3000 + "1" + ")" * 3000, "!" * 4000 + "true", "1" + "+1" * 2000])
def test_depth_is_no_defect(text: str) -> None:
    parse(text)


# -- conditions --------------------------------------------------------------------------------------------------------

VALUES = ("a", "b", "c")
atoms = st.one_of(
    st.tuples(st.sampled_from(["headers.x", "headers.y"]), st.sampled_from(["==", "!="]), st.sampled_from(VALUES)).map(
        lambda parts: f'{parts[0]} {parts[1]} "{parts[2]}"'
    ),
    st.tuples(st.sampled_from(["headers.x", "headers.y"]), st.lists(st.sampled_from(VALUES), max_size=2)).map(
        lambda parts: f"{parts[0]} in [" + ", ".join(f'"{value}"' for value in parts[1]) + "]"
    ),
    st.sampled_from(["true", "false"]),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", " || "]), inner).map(lambda parts: f"({''.join(parts)})"),
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})"),
    ),
    max_leaves=6,
)


def holds(text: str, **headers: str) -> bool:
    result = cel.evaluate(text, {"headers": headers})
    assert isinstance(result, bool)
    return result


def nothing_known(_node: Node) -> None:
    return None


def known_values(node: Node) -> frozenset[str] | None:
    return frozenset(VALUES[:2]) if isinstance(node, Select) else None


@given(st.lists(st.tuples(conditions, st.booleans()), min_size=1, max_size=3))
def test_whether_conditions_can_hold_together(facts: list[tuple[str, bool]]) -> None:
    """Right in both ways, for comparisons with constants: every value that there may be is tried by the evaluator."""
    nodes = [(parse(text), truth) for text, truth in facts]
    trees = [(node, truth) for node, truth in nodes if node is not None]
    assert len(trees) == len(facts)
    for values, possible in ((nothing_known, (*VALUES, "another")), (known_values, VALUES[:2])):
        expected = any(
            all(holds(text, x=x, y=y) is truth for text, truth in facts)
            for x, y in itertools.product(possible, possible)
        )
        assert can_hold(trees, values) is expected


@given(conditions)
def test_what_a_header_may_be(text: str) -> None:
    node, x = parse(text), parse("headers.x")
    assert node is not None
    assert x is not None
    expected = frozenset(x for x, y in itertools.product(VALUES[:2], VALUES[:2]) if holds(text, x=x, y=y))
    assume(expected)
    assert possible_values(x, [(node, True)], known_values) == expected


presence = st.recursive(
    st.sampled_from(
        ["has(headers.x)", "has(headers.y)", '"x" in headers', 'headers.x == "a"', 'headers.y != "a"', "true", "false"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", " || "]), inner).map(lambda parts: f"({''.join(parts)})"),
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})"),
    ),
    max_leaves=6,
)


@given(presence)
def test_what_a_condition_shows_to_be_there_is_there(text: str) -> None:
    node = parse(text)
    assert node is not None
    for headers in ({}, {"x": "a"}, {"y": "b"}, {"x": "b", "y": "a"}):
        try:
            result = cel.evaluate(text, {"headers": headers})
        except (KeyError, RuntimeError):
            continue
        assert shown_present(node, truth=result) <= set(headers), (headers, result)


def test_too_many_combinations_are_possible() -> None:
    node = parse(" && ".join(f'headers.h{number} != "a"' for number in range(40)))
    assert node is not None
    assert can_hold([(node, True), (node, False)], nothing_known)  # not tried


def test_shipped_expressions_are_understood() -> None:
    text = 'headers["hl7-sender"].startsWith("${env:PFI_DPI_APPLICATION}|")'
    Expression(text)
    assert parse(text) is not None
