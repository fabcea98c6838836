"""The matches of test files, in Python: the same words, the same formats, the same differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from pfiflow.errors import ConfigError
from pfiflow.flow import matching as m
from pfiflow.flow.component import Registry
from pfiflow.flow.format import Format, Value
from pfiflow.flow.matching import Match, Mismatch

__all__ = ["Expected", "absent", "assert_matches", "contains", "count", "each", "lacks", "match_of", "matches", "some"]

Expected: TypeAlias = str | Sequence[str] | Match | Mapping[str, "Expected"]
"""What a test expects: a text, a list of texts, a match, or a mapping of formats to what is found inside."""


def contains(text: str) -> Match:
    """A value contains this text."""
    return m.Contains(text)


def lacks(text: str) -> Match:
    """No value contains this text."""
    return m.Lacks(text)


def matches(pattern: str) -> Match:
    """This regular expression describes a value, all of it."""
    return m.Matches(pattern)


def absent() -> Match:
    """There is nothing."""
    return m.Absent()


def count(number: int) -> Match:
    """So many values."""
    return m.Count(number)


def each(expected: Expected) -> Match:
    """Every value is so, and there is one."""
    return m.Each(match_of(expected))


def some(expected: Expected) -> Match:
    """One value at least is so."""
    return m.Some(match_of(expected))


def match_of(expected: Expected) -> Match:
    """The match that this stands for. Raises ConfigError: it names a format that is not installed."""
    if isinstance(expected, str):
        return m.Is((expected,))
    if isinstance(expected, Mapping):
        return m.All(
            tuple(
                m.Inside(_format(name), {path: match_of(each) for path, each in fields.items()})
                for name, fields in expected.items()
                if isinstance(fields, Mapping)
            )
        )
    if isinstance(expected, Sequence):
        return m.Is(tuple(expected))
    return expected


def assert_matches(value: Value | Sequence[Value], expected: Expected | None = None, /, **formats: Expected) -> None:
    """The value, or values, are as expected: `assert_matches(sent.content, hl7={"MSH-10": "T1"})`.

    Raises:
        AssertionError: every difference, with what was expected and what was found.
    """
    __tracebackhide__ = True
    match = match_of(formats if expected is None else expected)
    values = [value] if isinstance(value, str | bytes) else value
    differences = list(match.check(values))
    if differences:
        raise AssertionError("\n".join(map(_told, differences)))


def _told(mismatch: Mismatch) -> str:
    where = f"{' › '.join(mismatch.path)}: " if mismatch.path else ""
    return f"{where}expected {mismatch.expected}, found {mismatch.found}"


@lru_cache(maxsize=1)
def _formats() -> Mapping[str, Format]:
    return Registry.installed().formats


def _format(name: str) -> Format:
    try:
        return _formats()[name]
    except KeyError:
        raise ConfigError(f"no format is called {name!r}; known: {', '.join(sorted(_formats()))}") from None
