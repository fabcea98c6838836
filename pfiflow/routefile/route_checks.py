"""What can be told of a route from the order of its steps: what goes nowhere, what a retry repeats, who is not told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pfiflow.flow import route as r
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.routefile.look import Found
from pfiflow.routefile.steps import branches, component_of, walk

__all__ = ["check_routes"]

_SENDS: Final = (r.ToChannel, r.WireTap, r.ToEndpoint)
_TAKES: Final = (*_SENDS, r.Process)
_ACTS: Final = (*_TAKES, r.Validate, r.Log)
_PREPARES: Final = {
    r.Filter: "filter",
    r.Throttle: "throttle",
    r.Delay: "delay",
    r.Idempotent: "idempotent",
}
"""Steps that only matter to what follows."""


def check_routes(definition: r.FlowDefinition, registry: Registry, found: Found) -> None:
    """Every route does something with what comes in, and everything in it is of use."""
    for route in definition.routes:
        if not route.steps:
            text = f"route {route.id!r} has no steps: what comes in is acknowledged and dropped."
            found(route.place, "no-steps", "error", text, "")
            continue
        drops = _drops(route, registry)
        if drops:
            text = f"route {route.id!r} sends nothing anywhere: what comes in is acknowledged and dropped."
            found(route.place, "dropped", "warning", text, "Add a `to`.")
        elif _may_end_unsent(route.steps):
            text = f"an exchange may go through route {route.id!r} and be sent nowhere: it counts as done."
            found(route.place, "may-drop", "warning", text, "Add `otherwise` to its choice; it may send, or reject.")
        _check_repeated(route, registry, found)
        from_channel = isinstance(route.source, r.FromChannel)
        for each in (route.steps, route.on_rejected):
            _Uses(registry, found, from_channel=from_channel).check(each, acts=False, takes=drops)
        if from_channel:
            _check_repeats(route, registry, found)
            _check_after_sink(route.steps, "", found)
            if not route.on_rejected:
                text = f"route {route.id!r} tells nobody of what it refuses or gives up."
                hint = "Such a message becomes a dead letter; `on-rejected` steps can tell who waits for it."
                found(route.place, "tells-nobody", "information", text, hint)


def _may_end_unsent(steps: Sequence[r.Step]) -> bool:
    """Whether some way leads through these steps, past every sending; what `filter` ends is meant to end."""
    for step in steps:
        match step:
            case r.ToChannel() | r.WireTap() | r.ToEndpoint():
                return False
            case r.Filter() | r.Validate() if step.condition == Expression("false"):
                return False
            case r.Choice():
                if not any(_may_end_unsent(branch) for branch in branches(step)):
                    return False
            case r.Split() | r.Multicast() | r.Enrich():
                if not all(_may_end_unsent(branch) for branch in branches(step)):
                    return False
            case _:
                pass
    return True


def _check_repeated(route: r.Route, registry: Registry, found: Found) -> None:
    """A source that may hand in the same twice needs somebody who tells the second from the first."""
    source = route.source
    if not isinstance(source, r.FromEndpoint) or any(isinstance(step, r.Idempotent) for step in walk(route.steps)):
        return
    why = registry.component(source.source).repeats
    if why:
        text = f"{source.source} may hand in the same again: {why}. Nothing here tells the second from the first."
        found(source.place, "no-idempotent", "warning", text, "Begin with `idempotent`.")


def _drops(route: r.Route, registry: Registry) -> bool:
    """It sends nothing, and no processor is there that may do something of its own."""
    for step in walk(route.steps):
        component = component_of(step, registry)
        if isinstance(step, _SENDS) or (isinstance(step, r.Process) and component is None):
            return False
        if component is not None and (component.gives is object or component.sets_more or component.uses_records):
            return False
    return True


class _Uses:
    """Looks from the end for steps whose result nothing uses."""

    def __init__(self, registry: Registry, found: Found, *, from_channel: bool) -> None:
        self.registry = registry
        self.found = found
        self.from_channel = from_channel

    def check(self, steps: Sequence[r.Step], *, acts: bool, takes: bool) -> None:
        """`acts`: something after these steps acts on the exchange; `takes`: something takes its body."""
        for step in reversed(steps):
            self._one(step, acts=acts, takes=takes)
            inside = [*walk((step,))]
            acts = acts or any(isinstance(each, _ACTS) for each in inside)
            takes = takes or any(isinstance(each, _TAKES) for each in inside)

    def _one(self, step: r.Step, *, acts: bool, takes: bool) -> None:
        match step:
            case r.Split() | r.Multicast():
                for branch in branches(step):
                    self.check(branch, acts=False, takes=False)
            case r.Enrich():
                self.check(step.steps, acts=bool(step.headers) or acts, takes=bool(step.headers))
            case r.Choice():
                for branch in branches(step):
                    self.check(branch, acts=acts, takes=takes)
                if not any(branches(step)):
                    self.found(step.place, "no-effect", "warning", "no branch of this choice has steps.", "")
            case r.Process() if not takes:
                component = component_of(step, self.registry)
                if component is not None and component.gives not in {object, component.accepts}:
                    text = f"what {component.name} gives goes nowhere."
                    self.found(step.place, "dropped", "warning", text, "Send it on with `to`.")
            case _ if not acts and type(step) in _PREPARES:
                # In a route with a source, idempotent keeps a duplicate's earlier outputs from being committed.
                if not isinstance(step, r.Idempotent) or self.from_channel:
                    text = f"nothing follows that {_PREPARES[type(step)]} could act on."
                    self.found(step.place, "no-effect", "warning", text, "")


def _check_repeats(route: r.Route, registry: Registry, found: Found) -> None:
    """What a sink sets in the headers outlives a later failure; one that sets nothing cannot know that it has sent."""
    for sink in list(_sinks(route.steps))[:-1]:
        if not registry.component(sink.sink).sets:
            text = f"{sink.sink} does not remember what it has sent: when a later sending fails, a retry repeats this."
            found(sink.place, "several-sinks", "warning", text, "Give each its own channel and route.")


def _sinks(steps: Sequence[r.Step]) -> Iterator[r.ToEndpoint]:
    """The sinks that one exchange may go out by, in order; of a choice, the branch with most. A split counts twice."""
    for step in steps:
        match step:
            case r.ToEndpoint():
                yield step
            case r.Choice():
                yield from max((list(_sinks(branch)) for branch in branches(step)), key=len)
            case r.Multicast() | r.Enrich():
                for branch in branches(step):
                    yield from _sinks(branch)
            case r.Split():
                for sink in _sinks(step.steps):
                    yield from (sink, sink)
            case _:
                pass


def _check_after_sink(steps: Sequence[r.Step], sent: str, found: Found) -> str:
    """Steps that refuse or end an exchange after it has left; gives the sink by which it may have left by the end."""
    for step in steps:
        match step:
            case r.ToEndpoint(sink=name):
                sent = name
            case r.Validate() | r.Idempotent() if sent:
                word = "validate" if isinstance(step, r.Validate) else "idempotent"
                text = f"{word} comes after {sent}: what it refuses has left already."
                found(step.place, "after-sink", "warning", text, "Check first, send last.")
            case _:
                ends = [_check_after_sink(branch, sent, found) for branch in branches(step)]
                sent = next(filter(None, ends), sent)
    return sent
