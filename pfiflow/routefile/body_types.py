"""Which types of body reach each step: what a component gives must be what the next accepts, over channels as well.

The types that may reach a place are a set; `object` in it is "not known". Branches are followed apart and joined;
channels carry what their writers give to their readers, until nothing changes any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from attrs import define, field

from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.route import Place

__all__ = ["check_body_types"]

Types: TypeAlias = frozenset[type]
Found: TypeAlias = Callable[[Place | None, str, str], None]  # place, code, message

_UNKNOWN: Types = frozenset({object})


def check_body_types(definition: r.FlowDefinition, registry: Registry, found: Found) -> None:
    """Reports bodies that a step does not accept, that cannot cross a channel, and writers that do not agree."""
    follower = _Follower(registry)
    for _ in range(len(definition.channels) + 2):  # each round settles one channel more at least
        before = dict(follower.channels)
        follower.follow(definition.routes)
        if follower.channels == before:
            break
    follower.found = found
    follower.follow(definition.routes)


@define
class _Follower:
    registry: Registry
    found: Found = lambda _place, _code, _message: None
    channels: dict[str, Types] = field(factory=dict)
    writers: dict[str, tuple[str, Place | None]] = field(factory=dict)  # a channel's first writer of a known type

    def follow(self, routes: Iterable[r.Route]) -> None:
        self.writers = {}
        for route in routes:
            types = self._source(route.source)
            self._steps(route.steps, types)
            self._steps(route.on_rejected, types)

    def _source(self, source: r.FromChannel | r.FromEndpoint | None) -> Types:
        if isinstance(source, r.FromChannel):
            return self.channels.get(source.channel, _UNKNOWN)
        if isinstance(source, r.FromEndpoint):
            return frozenset({self.registry.component(source.source).gives})
        return _UNKNOWN

    def _steps(self, steps: Sequence[r.Step], types: Types) -> Types:
        for step in steps:
            types = self._step(step, types)
        return types

    def _step(self, step: r.Step, types: Types) -> Types:
        match step:
            case r.Process(processor=str(name)):
                return self._through(self.registry.component(name), step.place, types)
            case r.ToEndpoint(sink=name):
                return self._through(self.registry.component(name), step.place, types)
            case r.Choice():
                ends = [self._steps(branch.steps, types) for branch in step.whens]
                return frozenset().union(self._steps(step.otherwise, types), *ends)
            case r.Split():
                self._steps(step.steps, _UNKNOWN)
            case r.Multicast():
                for branch in step.branches:
                    self._steps(branch, types)
            case r.Enrich():
                self._steps(step.steps, types)
            case r.ToChannel() | r.WireTap():
                self._write(step.channel, step.place, types)
            case _:
                pass
        return types

    def _through(self, component: Component, place: Place | None, types: Types) -> Types:
        for kind in sorted(types, key=_name):
            if object not in {kind, component.accepts} and not issubclass(kind, component.accepts):
                text = f"{component.name} takes {_name(component.accepts)}; here comes {_name(kind)}."
                self.found(place, "body-type", text)
        return types if component.gives is object else frozenset({component.gives})

    def _write(self, channel: str, place: Place | None, types: Types) -> None:
        durable = {body_type.type for body_type in self.registry.body_types.values()}
        for kind in sorted(types - _UNKNOWN, key=_name):
            name = _name(kind)
            if kind not in durable:
                self.found(place, "not-durable", f"{name} has no registered body type; it cannot cross a channel.")
            first, first_place = self.writers.setdefault(channel, (name, place))
            if first != name:
                where = f" at {first_place.file}:{first_place.line}:{first_place.column}" if first_place else ""
                text = f"channel {channel!r} gets {name} here, but {first}{where}."
                self.found(place, "channel-types", text)
        self.channels[channel] = self.channels.get(channel, frozenset()) | types


def _name(kind: type) -> str:
    return kind.__name__
