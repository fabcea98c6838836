"""Segment order against a message structure: every segment is placed, or named as out of place. None is lost.

The structures themselves are hl7apy's reference data (see `pfiflow.hl7.conformance`); the matching is ours because
hl7apy's own parser drops, without a word, each segment that it cannot place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from pfiflow.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pfiflow.hl7.er7 import Segment

__all__ = ["Node", "match"]


@frozen
class Node:
    """A segment (no children) or a group of an HL7 message structure, with its cardinality (maximum -1: no limit)."""

    name: str
    minimum: int
    maximum: int
    children: tuple[Node, ...] = ()
    opens: frozenset[str] = field(init=False)
    """Segments at which it begins. For a group: the first ones, and those it requires, so that a group that lacks its
    first segment is entered and reported for that, instead of all its segments being out of place."""

    @opens.default
    def _opens(self) -> frozenset[str]:
        if not self.children:
            return frozenset({self.name})
        found: set[str] = set()
        optional_so_far = True
        for child in self.children:
            if optional_so_far or child.minimum:
                found |= child.opens
            elif child.children:
                found |= {each.name for each in child.children if each.minimum and not each.children}
            optional_so_far = optional_so_far and not child.minimum
        return frozenset(found)

    @property
    def leader(self) -> str:
        """The segment to name when it is missing."""
        if not self.children:
            return self.name
        return next((each for each in self.children if each.minimum), self.children[0]).leader


def match(structure: Node, segments: Sequence[Segment], rule: str) -> list[Problem]:
    """Problems (code 100) of the order of `segments`; the Z segments must have been left out."""
    matcher = _Matcher(segments, rule)
    matcher.children(structure.children, frozenset())
    while matcher.upcoming:
        matcher.refuse()
    return matcher.problems


@define
class _Matcher:
    segments: Sequence[Segment]
    rule: str
    position: int = 0
    problems: list[Problem] = field(factory=list)

    @property
    def upcoming(self) -> str:
        return self.segments[self.position].name if self.position < len(self.segments) else ""

    def refuse(self) -> None:
        """Report the upcoming segment as out of place, and go past it."""
        before = f"after {self.segments[self.position - 1].location}" if self.position else "at the beginning"
        segment = self.segments[self.position]
        message = f"segment {segment.name} is not expected {before}; move or remove it"
        self.problems.append(Problem("100", message, location=segment.location, rule=self.rule))
        self.position += 1

    def children(self, nodes: tuple[Node, ...], follow: frozenset[str]) -> None:
        """Match `nodes` in order; `follow` are the segments that the enclosing groups can go on with."""
        for index, node in enumerate(nodes):
            later = follow.union(*(each.opens for each in nodes[index + 1 :]))
            self._node(node, later)

    def _node(self, node: Node, later: frozenset[str]) -> None:
        count = 0
        while self.upcoming:
            if self.upcoming in node.opens and (node.maximum < 0 or count < node.maximum):
                count += 1
                if node.children:
                    again = node.opens if node.maximum < 0 or count < node.maximum else frozenset()
                    self.children(node.children, later | again)
                else:
                    self.position += 1
            elif self.upcoming in later:
                break
            else:
                self.refuse()
        if count < node.minimum:
            name = node.leader
            message = f"segment {name} is missing; the {self.rule} message requires it here"
            self.problems.append(Problem("100", message, location=name, rule=self.rule))
