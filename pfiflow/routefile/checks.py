"""What can be told of a flow that loads: channels without an end, ports bound twice, steps that nothing reaches.

Each check takes the flow and says what it found by calling `found(place, code, severity, message, hint)`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from pfiflow.errors import Severity
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.route import Place
from pfiflow.routefile.grammar import message_fields

__all__ = ["Found", "check_channels", "check_headers", "check_ports", "check_routes", "walk"]

Found: TypeAlias = Callable[[Place | None, str, Severity, str, str], None]

_ENGINE_HEADERS = frozenset({"split-index", "split-size", "error-code", "error-message", "error-location"})
_HEADER = re.compile(r"""\bheaders\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\])""")
_EVERYWHERE = frozenset({"", "0.0.0.0", "[::]"})  # noqa: S104 - compared, never bound


def walk(steps: Sequence[r.Step]) -> Iterator[r.Step]:
    """Every step, those inside of others included."""
    for step in steps:
        yield step
        for branch in _branches(step):
            yield from walk(branch)


def _branches(step: r.Step) -> tuple[tuple[r.Step, ...], ...]:
    match step:
        case r.Choice():
            return (*(branch.steps for branch in step.whens), step.otherwise)
        case r.Split() | r.Enrich():
            return (step.steps,)
        case r.Multicast():
            return step.branches
        case _:
            return ()


def _all_steps(definition: r.FlowDefinition) -> Iterator[r.Step]:
    for route in definition.routes:
        yield from walk(route.steps)
        yield from walk(route.on_rejected)


def check_channels(definition: r.FlowDefinition, places: Mapping[str, Place], found: Found) -> None:
    """Each channel has a writer and one reader; a held one is told."""
    written = {step.channel for step in _all_steps(definition) if isinstance(step, r.ToChannel | r.WireTap)}
    readers: dict[str, r.Route] = {}
    for route in definition.routes:
        if not isinstance(route.source, r.FromChannel):
            continue
        first = readers.setdefault(route.source.channel, route)
        if first is not route:
            text = f"routes {first.id!r} and {route.id!r} both read channel {route.source.channel!r}."
            hint = "Each message goes to only one of them; for both, write into two channels (multicast)."
            found(route.source.place, "two-readers", "error", text, hint)
    for name, spec in definition.channels.items():
        place = places.get(name)
        if name not in readers and name not in written:
            found(place, "unused", "warning", f"channel {name!r} is declared, and no route uses it.", "")
        elif name not in readers and not spec.hold:
            hint = "Its messages wait for ever; add a route `from: {channel: …}`."
            found(place, "no-reader", "warning", f"no route reads channel {name!r}.", hint)
        elif name in readers and name not in written:
            found(place, "no-writer", "warning", f"no route writes into channel {name!r}.", "")
        if spec.hold:
            hint = "Its messages wait until an operator releases it."
            unread = "" if name in readers else ", and no route reads it"
            found(place, "held", "information", f"channel {name!r} starts held{unread}.", hint)


def check_ports(definition: r.FlowDefinition, registry: Registry, guessed: Collection[Place], found: Found) -> None:
    """No two sources listen on the same address."""
    bound: list[tuple[str, str, r.Route]] = []
    for route in definition.routes:
        source = route.source
        if not isinstance(source, r.FromEndpoint) or source.place in guessed:
            continue
        host, _, port = (registry.component(source.source).binds(source.options) or "").rpartition(":")
        if port in {"", "0"}:
            continue
        for other_host, other_port, other in bound:
            if port == other_port and (host == other_host or _EVERYWHERE & {host, other_host}):
                text = f"routes {other.id!r} and {route.id!r} both listen on port {port}."
                found(source.place, "port", "error", text, "")
                break
        bound.append((host, port, route))


def check_routes(definition: r.FlowDefinition, found: Found) -> None:
    """Routes do something; every step can be reached; a retry repeats nothing that was sent."""
    for route in definition.routes:
        if not route.steps:
            text = f"route {route.id!r} has no steps: what comes in is acknowledged and dropped."
            found(route.place, "no-steps", "error", text, "")
        for steps in (route.steps, route.on_rejected):
            _check_reachable(steps, found)
        if isinstance(route.source, r.FromChannel):
            sinks = list(_sinks(route.steps))
            if len(sinks) > 1:
                text = (
                    f"route {route.id!r} sends to more than one endpoint: when a later one fails, a retry repeats this."
                )
                hint = "Give each its own channel and route."
                found(sinks[0].place, "several-sinks", "warning", text, hint)


def _check_reachable(steps: Sequence[r.Step], found: Found) -> None:
    ended = False
    for step in steps:
        if ended:
            found(step.place, "unreachable", "warning", "nothing reaches this step: the filter before is false.", "")
            break
        ended = isinstance(step, r.Filter) and step.condition == Expression("false")
        if isinstance(step, r.Choice):
            _check_conditions(step, found)
        for branch in _branches(step):
            _check_reachable(branch, found)


def _check_conditions(choice: r.Choice, found: Found) -> None:
    seen: set[str] = set()
    for branch in choice.whens:
        text = branch.condition.text.strip() if isinstance(branch.condition, Expression) else ""
        if "true" in seen:
            found(
                branch.place, "unreachable", "warning", "nothing reaches this branch: one before is always taken.", ""
            )
        elif text in seen:
            found(branch.place, "unreachable", "warning", "a branch before has the same condition.", "")
        elif text:
            seen.add(text)


def _sinks(steps: Sequence[r.Step]) -> Iterator[r.ToEndpoint]:
    """The sinks that one exchange may go out by, in order; of a choice, the branch with most. A split counts twice."""
    for step in steps:
        match step:
            case r.ToEndpoint():
                yield step
            case r.Choice():
                yield from max((list(_sinks(branch)) for branch in _branches(step)), key=len)
            case r.Multicast():
                for branch in step.branches:
                    yield from _sinks(branch)
            case r.Split():
                for sink in _sinks(step.steps):
                    yield from (sink, sink)
            case _:
                pass


def check_headers(definition: r.FlowDefinition, registry: Registry, places: Mapping[str, Place], found: Found) -> None:
    """Headers that expressions and log lines name are set somewhere in the flow."""
    known = set(_ENGINE_HEADERS)
    for component in _components(definition, registry):
        known.update(component.sets)
    for step in _all_steps(definition):
        if isinstance(step, r.SetHeader):
            known.update(step.headers)
    named = [
        (places.get(name), header) for name, spec in definition.channels.items() for header in _headers_of(spec.key)
    ]
    for place, name in (*named, *_named_headers(definition)):
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            found(place, "unknown-header", "warning", f"nothing in this flow sets header {name!r}.", hint)


def _components(definition: r.FlowDefinition, registry: Registry) -> Iterator[Component]:
    for route in definition.routes:
        if isinstance(route.source, r.FromEndpoint):
            yield registry.component(route.source.source)
    for step in _all_steps(definition):
        match step:
            case r.Process(processor=str(name)) | r.ToEndpoint(sink=name):
                yield registry.component(name)
            case _:
                pass


def _named_headers(definition: r.FlowDefinition) -> Iterator[tuple[Place | None, str]]:
    for step in _all_steps(definition):
        place = step.place
        match step:
            case r.Choice():
                for branch in step.whens:
                    yield from ((branch.place, name) for name in _headers_of(branch.condition))
            case r.Filter() | r.Validate():
                yield from ((place, name) for name in _headers_of(step.condition))
            case r.Idempotent():
                yield from ((place, name) for name in _headers_of(step.key))
            case r.SetHeader():
                for value in step.headers.values():
                    yield from ((place, name) for name in _headers_of(value))
            case r.Enrich():
                yield from ((place, name) for name in step.headers)
            case r.Log():
                yield from ((place, name) for name in message_fields(step.message))
            case _:
                pass


def _headers_of(predicate: r.Predicate | None) -> tuple[str, ...]:
    if not isinstance(predicate, Expression):
        return ()
    return tuple(next(name for name in match if name) for match in _HEADER.findall(predicate.text) if any(match))
