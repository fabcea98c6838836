"""Looks at one expression, or one header that a component reads, with what is known of the exchange there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from attrs import define

from pfiflow.errors import Severity
from pfiflow.flow.component import Component, Field, Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.route import Place, Predicate
from pfiflow.routefile.cel_syntax import Call, Name, Node, Select, parse, path_of, paths_in
from pfiflow.routefile.cel_types import Scene, examine, near, written
from pfiflow.routefile.conditions import can_hold, comparisons, possible_values, related
from pfiflow.routefile.state import State, body_values, shape_of, type_name

__all__ = ["Found", "Look", "PlaceIn", "nothing"]

Found: TypeAlias = Callable[[Place | None, str, Severity, str, str], None]
"""`found(place, code, severity, message, hint)`."""

PlaceIn: TypeAlias = Callable[[Expression, int], Place | None]
"""The place of a character of an expression; None: not known."""

_SEVERITIES: Final[Mapping[str, Severity]] = {
    "not-a-condition": "error",
    "types-differ": "error",
    "unknown-field": "error",
    "unknown-header": "warning",
    "header-not-always": "warning",
}


def nothing(*_finding: object) -> None:
    """A `Found` that tells nobody."""


@define
class Look:
    """What is wrong is told to `found`."""

    registry: Registry
    places: Mapping[str, Place]  # of channels
    place_in: PlaceIn
    elsewhere: frozenset[str]  # headers that something in the flow sets
    found: Found = nothing

    def at(self, value: Predicate, place: Place | None, state: State, *, condition: bool = False) -> Node | None:
        """The tree of an expression, when it is one that can be understood; tells what is wrong with it."""
        node = parse(value.text) if isinstance(value, Expression) else None
        if node is None or not isinstance(value, Expression):
            return None
        for scene in self._scenes(state):
            for problem in examine(node, scene, condition=condition):
                where = self.place_in(value, problem.at) or place
                self.found(where, problem.code, _SEVERITIES[problem.code], problem.message, problem.hint)
        for text, at in self._odd_values(node, state):
            self.found(self.place_in(value, at) or place, "never", "warning", *text)
        return node

    def _odd_values(self, node: Node, state: State) -> Iterator[tuple[tuple[str, str], int]]:
        """Constants that something is compared with, and can never be: message and hint, and the offset."""
        for subject, constants in comparisons(node):
            known = self._values(subject, state)
            for constant in constants:
                if known is not None and constant.value not in known:
                    path = path_of(subject)
                    hint = near(str(constant.value), known) or f"It is {listed(sorted(known))}."
                    yield (f"{written(path)} is never {constant.value!r} here.", hint), constant.at

    def at_key(self, key: Expression, channel: str, place: Place | None, state: State) -> None:
        """A channel's key is worked out where something is written; what only that place lacks is told there."""
        node = parse(key.text)
        if node is None:
            return
        for scene in self._scenes(state):
            for problem in examine(node, scene, condition=False):
                declared = self.place_in(key, problem.at) or self.places.get(channel)
                where = place if problem.elsewhere else declared
                text = f"key of channel {channel!r}: {problem.message}"
                self.found(where, problem.code, _SEVERITIES[problem.code], text, problem.hint)

    def at_read(self, component: Component, name: str, wanted: Field, place: Place | None, state: State) -> None:
        """A header that a component reads is there, and is something that it understands."""
        reads = f"{component.name} reads header {name!r}"
        if wanted.always and name not in state.always and not state.more:
            if name in state.values:
                text = f"{reads}, which is set on some of the ways that lead here only."
                self.found(place, "header-not-always", "warning", text, "Set it on every way.")
            else:
                hint = near(name, state.values) or f"Set it before: {wanted.doc}"
                self.found(place, "missing-header", "warning", f"{reads}, which nothing on the way here sets.", hint)
        if not wanted.values:
            return
        possible = self.possible(Select(Name("headers"), name), state)
        odd = sorted((possible or frozenset()) - frozenset(wanted.values))
        if odd:
            text = f"{reads}, which may be {listed(odd)} here; it is to be {listed(wanted.values)}."
            self.found(place, "header-value", "warning", text, near(odd[0], wanted.values))

    def assumed(self, node: Node, state: State, *, truth: bool) -> State | None:
        """Where the condition holds (or not); None: it cannot."""
        facts = (*related(node, state.facts), (node, truth))
        if not can_hold(facts, lambda each: self._values(each, state)):
            return None
        return state.with_fact(node, truth=truth)

    def possible(self, node: Node, state: State) -> frozenset[str] | None:
        """All that a value may be; None: anything."""
        return possible_values(node, state.facts, lambda each: self._values(each, state))

    def cannot_hold(self, node: Node, place: Place | None, state: State) -> None:
        """Tells that a condition never holds, and what its headers may be; unless an odd value in it says why."""
        if any(self._odd_values(node, state)):
            return
        known = ((path[1], state.values.get(path[1])) for path in sorted(paths_in(node)) if path[0] == "headers")
        hint = " ".join(f"Header {name!r} is {listed(sorted(values))} here." for name, values in known if values)
        self.found(place, "never", "warning", "this condition can never hold here.", hint)

    def _scenes(self, state: State) -> Iterator[Scene]:
        """One for each type that the body may be."""
        headers = (state.always, frozenset(state.values), state.more, self.elsewhere)
        for kind in sorted(state.types, key=type_name):
            yield Scene(shape_of(kind, self.registry), type_name(kind), *headers)

    def _values(self, node: Node, state: State) -> frozenset[str] | None:
        if isinstance(node, Call) and node.function == "has":
            path = path_of(node.arguments[0])
            never = len(path) == 2 and path[0] == "headers" and path[1] not in state.values and not state.more
            return frozenset({"false"}) if never else None
        match path_of(node):
            case ("headers", name):
                return state.values.get(name)
            case ("body", _, *_) as path:
                return body_values(path, state.types, self.registry)
            case _:
                return None


def listed(words: Iterable[str]) -> str:
    """`'a', 'b' or 'c'`."""
    shown = [f"{word!r}" for word in words]
    return f"{', '.join(shown[:-1])} or {shown[-1]}" if len(shown) > 1 else "".join(shown)
