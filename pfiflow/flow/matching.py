"""What a test expects of something that left: plain comparisons, and looks inside of it through a format.

A look gives *values*, text or bytes: none where the path leads to nothing, several where it leads to several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from attrs import evolve, field, frozen

from pfiflow.flow.format import Format, Value, Values
from pfiflow.flow.route import Place

__all__ = [
    "Absent",
    "All",
    "Contains",
    "Count",
    "Each",
    "Inside",
    "Is",
    "Lacks",
    "Match",
    "Matches",
    "Mismatch",
    "Some",
    "shown",
]

_LONGEST = 400  # characters shown of one value


@frozen
class Mismatch:
    """One difference: where in what was looked at, what was expected there, what was found."""

    path: tuple[str, ...]
    expected: str
    found: str
    place: Place | None = None


class Match(Protocol):
    """One expectation."""

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """How the values differ from what is expected; nothing when they do not."""
        ...


_PLACE: Place | None = field(default=None, kw_only=True, eq=False, repr=False)


@frozen
class Is:
    """Exactly these values, in this order."""

    texts: tuple[str, ...]
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if tuple(map(_text, values)) != self.texts:
            yield Mismatch((), shown(self.texts), shown(values), self.place)


@frozen
class Contains:
    """A value that contains this text."""

    text: str
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if not any(self.text in _text(value) for value in values):
            yield Mismatch((), f"something that contains {self.text!r}", shown(values), self.place)


@frozen
class Lacks:
    """No value that contains this text."""

    text: str
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if any(self.text in _text(value) for value in values):
            yield Mismatch((), f"nothing that contains {self.text!r}", shown(values), self.place)


@frozen
class Matches:
    """A value that this regular expression describes, all of it."""

    pattern: str
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if not any(re.fullmatch(self.pattern, _text(value), re.DOTALL) for value in values):
            yield Mismatch((), f"something that matches {self.pattern!r}", shown(values), self.place)


@frozen
class Absent:
    """No value, or (with `expected` False) any."""

    expected: bool = True
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if bool(values) == self.expected:
            yield Mismatch((), "nothing" if self.expected else "something", shown(values), self.place)


@frozen
class Count:
    """So many values."""

    number: int
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if len(values) != self.number:
            yield Mismatch((), f"{self.number} values", f"{len(values)}: {shown(values)}", self.place)


@frozen
class All:
    """All of these."""

    matches: tuple[Match, ...]

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        for match in self.matches:
            yield from match.check(values)


@frozen
class Each:
    """Every value, and there is one."""

    match: Match
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if not values:
            yield Mismatch((), "one value at least", shown(values), self.place)
        for number, value in enumerate(values, 1):
            for mismatch in self.match.check((value,)):
                yield _deeper(mismatch, f"[{number}]")


@frozen
class Some:
    """One value at least."""

    match: Match
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`. The difference told is that of the value that comes nearest."""
        differences = [list(self.match.check((value,))) for value in values]
        if not differences:
            yield Mismatch((), "one value at least", shown(values), self.place)
        elif all(differences):
            yield from min(differences, key=len)


@frozen
class Inside:
    """One value, of this format: what is found at each path in it."""

    format: Format
    fields: Mapping[str, Match]
    place: Place | None = _PLACE

    def check(self, values: Values, /) -> Iterator[Mismatch]:
        """See `Match`."""
        if len(values) != 1:
            yield Mismatch((), f"one value, which is {self.format.name}", shown(values), self.place)
            return
        content = values[0].encode() if isinstance(values[0], str) else values[0]
        for path, match in self.fields.items():
            try:
                found = self.format.look(content, path)
            except ValueError as error:
                yield Mismatch((self.format.name, path), str(error), shown(values), self.place)
                continue
            for mismatch in match.check(found):
                yield _deeper(mismatch, path, self.format.name)


def _deeper(mismatch: Mismatch, path: str, format_name: str = "") -> Mismatch:
    return evolve(mismatch, path=(*filter(None, (format_name,)), path, *mismatch.path))


def _text(value: Value) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def shown(values: Values) -> str:
    """Values as a difference prints them: short, on one line."""
    texts = [text if len(text := _text(value)) <= _LONGEST else text[:_LONGEST] + "…" for value in values]
    if not texts:
        return "nothing"
    return repr(texts[0]) if len(texts) == 1 else repr(texts)
