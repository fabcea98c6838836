"""Follows exchanges along every way through the routes, over channels as well, and says what does not fit there.

What is known of an exchange (`State`) goes from step to step; branches are followed apart and joined. A channel carries
what its writers know to its reader, until nothing changes any more; then all is followed once more, and told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, evolve, field

from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Field, Registry
from pfiflow.flow.route import Place
from pfiflow.routefile.cel_syntax import Literal, Node
from pfiflow.routefile.cel_types import near
from pfiflow.routefile.grammar import message_fields
from pfiflow.routefile.look import Found, Look, PlaceIn, nothing
from pfiflow.routefile.state import NOT_KNOWN, NOT_KNOWN_AT_ALL, State, elements, fits, joined, type_name
from pfiflow.routefile.steps import component_of, components, walk

__all__ = ["ENGINE_HEADERS", "channel_types", "check_flow", "set_somewhere"]

_SPLIT: Final = {
    "split-index": Field("Which part this is, from 1."),
    "split-size": Field("How many parts there are."),
}
_REFUSAL: Final = {
    "error-code": Field("Code of the refusal; `given-up` when redelivery gave up."),
    "error-detail-code": Field("Its finer code; empty when there is none."),
    "error-message": Field("Why, in words."),
    "error-location": Field("Where in the message; empty when that is not known."),
}
ENGINE_HEADERS: Final[Mapping[str, Mapping[str, Field]]] = {"split": _SPLIT, "on-rejected": _REFUSAL}
"""Headers that the engine sets, by where it does."""

_ROUNDS: Final = 1000  # each changes something, and what can change is finite: never reached


def set_somewhere(definition: r.FlowDefinition, registry: Registry) -> frozenset[str]:
    """Every header that something in the flow sets."""
    names = {name for headers in ENGINE_HEADERS.values() for name in headers}
    for route in definition.routes:
        if isinstance(route.source, r.FromEndpoint):
            names.update(registry.component(route.source.source).sets)
        for steps in (route.steps, route.on_rejected):
            names.update(*(component.sets for component in components(steps, registry)))
            names.update(*(step.headers for step in walk(steps) if isinstance(step, r.SetHeader)))
    return frozenset(names)


def check_flow(
    definition: r.FlowDefinition, registry: Registry, places: Mapping[str, Place], place_in: PlaceIn, found: Found
) -> None:
    """Reports what does not fit where it stands: bodies, headers, expressions, steps that nothing reaches."""
    look = Look(registry, places, place_in, set_somewhere(definition, registry))
    follower = _Follower(definition, registry, look)
    follower.settle()
    for route in definition.routes:
        if isinstance(route.source, r.FromChannel):  # of no writer, or of writers that nothing reaches
            follower.channels.setdefault(route.source.channel, NOT_KNOWN_AT_ALL)
    follower.settle()
    follower.found = look.found = found
    follower.follow()


def channel_types(definition: r.FlowDefinition, registry: Registry) -> Mapping[str, frozenset[Any]]:
    """The types of body that each channel may get from its writers."""
    follower = _Follower(definition, registry, Look(registry, {}, lambda _expression, _index: None, frozenset()))
    follower.settle()
    return {name: state.types for name, state in follower.channels.items()}


@define
class _Follower:
    definition: r.FlowDefinition
    registry: Registry
    look: Look
    found: Found = nothing
    channels: dict[str, State] = field(factory=dict)
    writers: dict[str, tuple[str, Place | None]] = field(factory=dict)  # a channel's first writer of a known type
    ended: str = ""  # why nothing goes on from the last step that nothing goes on from

    def settle(self) -> None:
        for _ in range(_ROUNDS):
            before = dict(self.channels)
            self.follow()
            if self.channels == before:
                return

    def follow(self) -> None:
        self.writers = {}
        for route in self.definition.routes:
            state = self._source(route)
            if state is None:
                continue
            self._steps(route.steps, state)
            self._steps(route.on_rejected, self._refused(route, state))

    def _source(self, route: r.Route) -> State | None:
        match route.source:
            case r.FromChannel(channel=channel):
                state = self.channels.get(channel)
                return None if state is None else self._tried(route, state)
            case r.FromEndpoint(source=name):
                component = self.registry.component(name)
                state = State(frozenset({component.gives}), more=component.sets_more)
                return state.with_fields(component.sets)
            case _:
                return NOT_KNOWN_AT_ALL

    def _tried(self, route: r.Route, state: State) -> State:
        """What an attempt after a failed one may find: headers that a component leaves for the next attempt."""
        for component in components(route.steps, self.registry):
            of_sink = component.kind == "sink"
            left = {name: known for name, known in component.sets.items() if of_sink or not known.always}
            state = state.with_fields(left, always=False)
        return state

    def _refused(self, route: r.Route, state: State) -> State:
        """What comes to `on-rejected`: the exchange as it came in, with the headers of the refusal."""
        for component in components(route.steps, self.registry):
            state = state.with_fields(component.sets, always=False)
        return state.with_fields(_REFUSAL)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _steps(self, steps: Sequence[r.Step], state: State | None) -> State | None:
        for step in steps:
            if state is None:
                self.found(step.place, "unreachable", "warning", f"nothing reaches this step: {self.ended}.", "")
                return None
            state = self._step(step, state)
        return state

    def _step(self, step: r.Step, state: State) -> State | None:
        match step:
            case r.Process() | r.ToEndpoint():
                component = component_of(step, self.registry)
                return NOT_KNOWN_AT_ALL if component is None else self._through(component, step.place, state)
            case r.Choice():
                return self._choice(step, state)
            case r.Filter():
                return self._only_when(step.condition, step.place, state, "every exchange ends at the one before")
            case r.Validate():
                return self._only_when(step.condition, step.place, state, "the one before rejects every exchange")
            case r.Split():
                return self._split(step, state)
            case r.Multicast():
                for branch in step.branches:
                    self._steps(branch, state)
            case r.Enrich():
                return self._enrich(step, state)
            case r.SetHeader():
                return self._set_header(step, state)
            case r.Idempotent():
                self.look.at(step.key, step.place, state)
            case r.Log():
                self._log(step, state)
            case r.ToChannel() | r.WireTap():
                self._write(step.channel, step.place, state)
            case r.Throttle() | r.Delay():
                pass
        return state

    def _through(self, component: Component, place: Place | None, state: State) -> State:
        for kind in sorted(state.types, key=type_name):
            if not fits(kind, component.accepts):
                text = f"{component.name} takes {type_name(component.accepts)}; here comes {type_name(kind)}."
                self.found(place, "body-type", "error", text, "")
        for name, wanted in component.reads.items():
            self.look.at_read(component, name, wanted, place, state)
        if component.kind == "processor" or component.gives is not object:
            state = state.with_body(state.types if component.gives is object else frozenset({component.gives}))
        state = state.with_fields(component.sets)
        return evolve(state, more=state.more or component.sets_more)

    def _choice(self, step: r.Choice, state: State) -> State | None:
        ends: list[State | None] = []
        rest: State | None = state
        for branch in step.whens:
            node = self.look.at(branch.condition, branch.place, rest or state, condition=True)
            if rest is None:
                text = "nothing reaches this branch: those before take everything."
                self.found(branch.place, "unreachable", "warning", text, "")
                break
            if node is None:
                ends.append(self._steps(branch.steps, rest))
                continue
            taken = self.look.assumed(node, rest, truth=True)
            if taken is None:
                self._never_taken(node, branch, state)
            else:
                ends.append(self._steps(branch.steps, taken))
            rest = self.look.assumed(node, rest, truth=False)
        if rest is None and step.otherwise:
            text = "nothing reaches `otherwise`: the branches before take everything."
            self.found(step.otherwise[0].place, "unreachable", "warning", text, "")
        elif rest is not None:
            ends.append(self._steps(step.otherwise, rest))
        end = joined(ends)
        if end is None:
            self.ended = "no branch of the choice before goes on"
        return end

    def _never_taken(self, node: Node, branch: r.When, state: State) -> None:
        if self.look.assumed(node, state, truth=True) is None:
            self.look.cannot_hold(node, branch.place, state)
        else:
            text = "nothing reaches this branch: those before take everything that it would."
            self.found(branch.place, "unreachable", "warning", text, "")

    def _only_when(self, condition: r.Predicate, place: Place | None, state: State, otherwise: str) -> State | None:
        node = self.look.at(condition, place, state, condition=True)
        if node is None:
            return state
        passed = self.look.assumed(node, state, truth=True)
        if passed is None:
            self.ended = otherwise
            if not isinstance(node, Literal):  # "false" is meant
                self.look.cannot_hold(node, place, state)
        elif self.look.assumed(node, state, truth=False) is None:
            text = "this condition always holds here: the step does nothing."
            self.found(place, "always", "warning", text, "")
        return passed

    def _split(self, step: r.Split, state: State) -> State:
        kinds: set[Any] = set()
        for kind in sorted(state.types, key=type_name):
            element = elements(kind)
            if element is None:
                text = f"split takes a sequence; here comes {type_name(kind)}."
                self.found(step.place, "not-a-sequence", "error", text, "")
            kinds.add(element or object)
        self._steps(step.steps, state.with_body(frozenset(kinds)).with_fields(_SPLIT))
        return state

    def _enrich(self, step: r.Enrich, state: State) -> State | None:
        end = self._steps(step.steps, state)
        if end is None:
            return None
        for name in step.headers:
            if name in end.values:
                state = state.with_header(name, end.values[name], always=name in end.always)
            elif not end.more:
                text = f"the steps of enrich never set header {name!r}."
                self.found(step.place, "unknown-header", "warning", text, near(name, end.values))
            else:
                state = state.with_header(name, None, always=False)
        return state

    def _set_header(self, step: r.SetHeader, state: State) -> State:
        after = state
        for name, value in step.headers.items():
            node = self.look.at(value, step.place, state)
            after = after.with_header(name, None if node is None else self.look.possible(node, state))
        return after

    def _log(self, step: r.Log, state: State) -> None:
        for name in message_fields(step.message):
            if not state.more and name not in state.values:
                text = f"header {name!r} is never set on the way here: the line shows nothing in its place."
                self.found(step.place, "unknown-header", "warning", text, near(name, state.values))

    # -- channels ------------------------------------------------------------------------------------------------------

    def _write(self, channel: str, place: Place | None, state: State) -> None:
        durable = {body_type.type for body_type in self.registry.body_types.values()}
        for kind in sorted(state.types - NOT_KNOWN, key=type_name):
            name = type_name(kind)
            if kind not in durable:
                text = f"{name} has no registered body type; it cannot cross a channel."
                self.found(place, "not-durable", "error", text, "")
            first, first_place = self.writers.setdefault(channel, (name, place))
            if first != name:
                where = f" at {first_place.file}:{first_place.line}:{first_place.column}" if first_place else ""
                text = f"channel {channel!r} gets {name} here, but {first}{where}."
                self.found(place, "channel-types", "error", text, "")
        spec = self.definition.channels.get(channel)
        if spec is not None and spec.key is not None:
            self.look.at_key(spec.key, channel, place, state)
        merged = joined((self.channels.get(channel), state))
        assert merged is not None
        self.channels[channel] = merged
