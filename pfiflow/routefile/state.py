"""What is known of the exchanges that reach a place: their bodies, their headers, the conditions that they have met."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from pfiflow.flow.component import Field, Registry
from pfiflow.routefile.cel_syntax import Node, paths_in
from pfiflow.routefile.cel_types import ANY, Kind, Shape
from pfiflow.routefile.conditions import Fact, shown_present

__all__ = [
    "NOT_KNOWN",
    "NOT_KNOWN_AT_ALL",
    "State",
    "Types",
    "body_values",
    "elements",
    "fits",
    "joined",
    "shape_of",
    "type_name",
]

Types: TypeAlias = frozenset[Any]
"""Types of bodies; `object` is "not known", `tuple[X, ...]` a sequence of X."""

NOT_KNOWN: Final[Types] = frozenset({object})


@frozen
class State:
    """What holds of every exchange that reaches a place.

    Attributes:
        types: what the body may be.
        always: headers that are set, whatever way led here.
        values: headers that may be set, with all that they may be; None: any text.
        more: headers that are not in `values` may be set as well.
        facts: conditions that hold, or that do not.
    """

    types: Types
    always: frozenset[str] = frozenset()
    values: Mapping[str, frozenset[str] | None] = {}
    more: bool = False
    facts: frozenset[Fact] = frozenset()

    def with_header(self, name: str, values: frozenset[str] | None, *, always: bool = True) -> State:
        """After a step that sets a header, or may have set it."""
        if not always:
            values = _either(self.values[name], values) if name in self.values else values
        return evolve(
            self,
            always=self.always | {name} if always else self.always,
            values={**self.values, name: values},
            facts=frozenset(fact for fact in self.facts if not _names(fact[0], ("headers", name))),
        )

    def with_fields(self, fields: Mapping[str, Field], *, always: bool = True) -> State:
        """After a component that sets these headers; without `always`, it may not have come to that."""
        state = self
        for name, field in fields.items():
            values = frozenset(field.values) or None
            state = state.with_header(name, values, always=always and field.always)
        return state

    def with_body(self, kinds: Types) -> State:
        """After a step that gives another body."""
        return evolve(self, types=kinds, facts=frozenset(f for f in self.facts if not _names(f[0], ("body",))))

    def with_fact(self, condition: Node, *, truth: bool) -> State:
        """Where a condition holds, or does not."""
        shown = shown_present(condition, truth=truth)
        values = {**dict.fromkeys(shown - set(self.values)), **self.values}
        return evolve(self, always=self.always | shown, values=values, facts=self.facts | {(condition, truth)})


NOT_KNOWN_AT_ALL: Final = State(NOT_KNOWN, more=True)


def joined(states: Iterable[State | None]) -> State | None:
    """What is known where several ways meet; None is a way that nothing goes. Nothing meets in None."""
    result: State | None = None
    for state in states:
        if result is None or state is None:
            result = result or state
            continue
        values = dict(result.values)
        for name, known in state.values.items():
            values[name] = _either(values[name], known) if name in values else known
        result = State(
            result.types | state.types,
            result.always & state.always,
            values,
            result.more or state.more,
            result.facts & state.facts,
        )
    return result


def _either(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return None if one is None or other is None else one | other


def _names(condition: Node, path: tuple[str, ...]) -> bool:
    """Whether it looks at this, at something below, or at all that holds it."""
    return any(found[: len(path)] == path or found == path[:1] for found in paths_in(condition))


# -- types of bodies ---------------------------------------------------------------------------------------------------


def fits(kind: Any, accepted: Any) -> bool:
    """Whether a body of this type is certainly not refused by what accepts that one."""
    if object in {kind, accepted}:
        return True
    whole, wanted = typing.get_origin(kind) or kind, typing.get_origin(accepted) or accepted
    return issubclass(whole, wanted)


def elements(kind: Any) -> Any:
    """The type of what a body is split into: `object` when it is not known, None when it cannot be split."""
    if kind is object:
        return object
    whole = typing.get_origin(kind) or kind
    if whole not in {tuple, list, frozenset}:
        return None
    return next((each for each in typing.get_args(kind) if each is not Ellipsis), object)


def type_name(kind: Any) -> str:
    """What messages call a type of body."""
    if isinstance(kind, types.GenericAlias):
        return f"sequence of {type_name(elements(kind))}"
    return str(kind.__name__)


_KINDS: Final[Mapping[type, Kind]] = {
    str: "text", bool: "boolean", int: "number", float: "number", list: "list", tuple: "list", dict: "map"
}  # fmt: skip


def shape_of(kind: Any, registry: Registry) -> Shape | None:
    """What `body` shows to an expression; None: not known."""
    if kind is object:
        return None
    body_type = next((each for each in registry.body_types.values() if each.type is kind), None)
    if body_type is None:
        return {}
    if not body_type.fields:
        return {} if body_type.type is bytes else None
    shape: dict[str, Any] = {}
    for path, field in body_type.fields.items():
        *above, name = path.split(".")
        inner = shape
        for each in above:
            inner = inner.setdefault(each, {})
        inner[name] = _KINDS.get(field.type, ANY)
    return shape


def body_values(path: tuple[str, ...], kinds: Types, registry: Registry) -> frozenset[str] | None:
    """All that `body.…` may be, when each of these types says so."""
    found: frozenset[str] = frozenset()
    for kind in kinds:
        body_type = next((each for each in registry.body_types.values() if each.type is kind), None)
        field = body_type.fields.get(".".join(path[1:])) if body_type is not None else None
        if field is None or not field.values:
            return None
        found |= frozenset(field.values)
    return found
