"""`# lint: ignore[code] reason`: one finding silenced at its place, by somebody who says why.

The comment stands on the line of the finding, or on lines of its own right above it. Errors are not silenced. A comment
without a reason, with a code that lint does not know, or that silences nothing is itself a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, frozen

from pfiflow.routefile.nodes import ListNode, MapNode, Node, ScalarNode

__all__ = ["Silencer", "silencers"]

_COMMENT: Final = re.compile(r"(?<!\S)#[ \t]*lint:[ \t]*ignore\b(?:\[(?P<codes>[^\]\n]*)\])?(?P<reason>[^\n]*)")


@define
class Silencer:
    """One code of one comment. `line` is where the comment stands, `about` the line that it speaks of."""

    file: str
    line: int
    column: int
    about: int
    code: str
    reason: str
    used: bool = False

    def covers(self, file: str, line: int, code: str) -> bool:
        """Whether it silences a finding of this code there."""
        return (file, line, code) == (self.file, self.about, self.code)


@frozen
class _Span:
    start: int
    end: int


def silencers(root: MapNode) -> Iterator[Silencer]:
    """The comments of one file, one `Silencer` for each code that they name; an empty code when they name none."""
    source = root.source
    spans = [*_spans(root)]
    lines = source.text.splitlines()
    for match in _COMMENT.finditer(source.text):
        if any(span.start <= match.start() < span.end for span in spans):
            continue  # in a text, not a comment
        place = source.place(match.start())
        codes = [code.strip() for code in (match["codes"] or "").split(",")]
        for code in codes:
            yield Silencer(
                source.name,
                place.line,
                place.column,
                _about(lines, place.line),
                code,
                match["reason"].strip(" \t\r:-–"),
            )


def _about(lines: Sequence[str], line: int) -> int:
    """The comment's own line when something else is on it, else the next that holds anything else."""
    for number, text in enumerate(lines, 1):
        if number >= line and text.strip() and not text.lstrip().startswith("#"):
            return number
    return line


def _spans(node: Node) -> Iterator[_Span]:
    match node:
        case ScalarNode():
            yield _Span(node.start, node.end)
        case ListNode():
            for item in node.items:
                yield from _spans(item)
        case MapNode():
            for key, value in node.entries:
                yield from _spans(key)
                yield from _spans(value)
