"""Cardinalities of the CDA header in CI-SIS (structuration minimale), as data: `data/cardinalities.csv`.

Columns: `parent` (path under ClinicalDocument, or `*/…` for a shape met in many places), `element`, `where` (attribute
values that the counted elements must have, separated by spaces), `min`, `max` (`*` for any number), `null` (`no` where
a nullFlavor is refused). What the table does not name is free, as the CI-SIS says: a consumer ignores it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

from attrs import define, frozen

from pfiflow.cda.header import V3, Element, location
from pfiflow.errors import Problem

__all__ = ["check_cardinalities"]

_RULE: Final = "CI-SIS structuration minimale, cardinalities"
_NULL_FLAVORS: Final = frozenset(
    {"UNK", "NASK", "ASKU", "NAV", "MSK", "NA"}
)  # NA: the text omits it, official examples use it


@frozen
class _Cardinality:
    """How often an element may stand under its parent."""

    element: str
    where: tuple[tuple[str, str], ...]
    minimum: int
    maximum: int | None
    nullable: bool

    def counts(self, element: Element) -> bool:
        return all(element.get(name) == value for name, value in self.where)


@define
class _Node:
    """The cardinalities under one element, and those of its children."""

    rules: dict[tuple[str, str], _Cardinality]
    children: dict[str, _Node]

    def at(self, path: tuple[str, ...]) -> _Node:
        node = self
        for name in path:
            node = node.children.setdefault(name, _Node({}, {}))
        return node

    def inherit(self, shape: _Node) -> None:
        """Take over what a shape says and this place does not."""
        for key, rule in shape.rules.items():
            self.rules.setdefault(key, rule)
        for name, child in shape.children.items():
            self.at((name,)).inherit(child)


@cache
def _tables() -> tuple[_Node, dict[str, _Node]]:
    """The tree of the exact paths, and the shapes by the name of their first element."""
    exact, shapes = _Node({}, {}), _Node({}, {})
    table = (files("pfiflow.cda") / "data" / "cardinalities.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(table.splitlines()):
        shared = row["parent"].startswith("*/")
        path = tuple(filter(None, row["parent"].removeprefix("*/").split("/")))
        where = tuple((name, value) for name, _, value in (each.partition("=") for each in row["where"].split()))
        maximum = None if row["max"] == "*" else int(row["max"])
        rule = _Cardinality(row["element"], where, int(row["min"]), maximum, row["null"] != "no")
        (shapes if shared else exact).at(path).rules[row["element"], row["where"]] = rule
    _complete(exact, shapes.children)
    return exact, shapes.children


def _complete(node: _Node, shapes: dict[str, _Node]) -> None:
    for name, child in node.children.items():
        if name in shapes:
            child.inherit(shapes[name])
        _complete(child, shapes)


def check_cardinalities(document: Element) -> Iterator[Problem]:
    """Every departure of the header of a ClinicalDocument from the table, as warnings. The body is not visited."""
    exact, shapes = _tables()
    return _check(document, exact, shapes)


def _check(parent: Element, node: _Node, shapes: dict[str, _Node]) -> Iterator[Problem]:
    groups: dict[str, list[Element]] = {}
    for each in parent:
        if each.tag.startswith(V3):
            groups.setdefault(each.tag[len(V3) :], []).append(each)
    for rule in node.rules.values():
        found = groups.get(rule.element, [])
        number = sum(map(rule.counts, found)) if rule.where else len(found)
        if number < rule.minimum or (rule.maximum is not None and number > rule.maximum):
            yield _problem(parent, rule, number)
        if not rule.nullable:
            for each in found:
                if each.get("nullFlavor"):
                    yield _warning(
                        "101", f"{location(each)}/@nullFlavor", "A value is mandatory here, not a nullFlavor."
                    )
    for name, elements in groups.items():
        child = node.children.get(name) or shapes.get(name)
        for each in elements:
            flavor = each.get("nullFlavor")
            if flavor is not None and flavor not in _NULL_FLAVORS:
                expected = ", ".join(sorted(_NULL_FLAVORS))
                yield _warning("103", f"{location(each)}/@nullFlavor", f"Only {expected} are allowed.")
            if child is not None:
                yield from _check(each, child, shapes)


def _problem(parent: Element, rule: _Cardinality, number: int) -> Problem:
    which = "".join(f"[@{name}='{value}']" for name, value in rule.where)
    maximum = "*" if rule.maximum is None else rule.maximum
    message = f"Found {number} times, expected {rule.minimum}..{maximum}."
    code = "101" if number < rule.minimum else "198"
    return _warning(code, f"{location(parent)}/{rule.element}{which}", message)


def _warning(code: str, where: str, message: str) -> Problem:
    return Problem(code, message, where, severity="warning", rule=_RULE)
