"""What can be told of a flow that loads from its shape alone: channels without an end, what two routes would both use.

Each check takes the flow and says what it found by calling `found(place, code, severity, message, hint)`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from pfiflow.errors import ConfigError
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import Place
from pfiflow.routefile.look import Found
from pfiflow.routefile.steps import all_steps

__all__ = ["check_channels", "check_exclusive", "check_options", "check_redelivery"]

_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "[::]"})  # noqa: S104 - compared, never bound


def check_channels(definition: r.FlowDefinition, places: Mapping[str, Place], found: Found) -> None:
    """Each channel has a writer and one reader; a held one is told."""
    written = {step.channel for step in all_steps(definition) if isinstance(step, r.ToChannel | r.WireTap)}
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


def check_redelivery(definition: r.FlowDefinition, places: Mapping[str, Place], found: Found) -> None:
    """A message that cannot be delivered is tried again, and given up one day."""
    for name, spec in definition.channels.items():
        for code, message, hint in _faults(spec.redelivery):
            found(places.get(name), code, "warning", f"channel {name!r}: {message}.", hint)


def _faults(policy: Redelivery) -> Iterator[tuple[str, str, str]]:
    if policy.max_age is None and policy.max_attempts is None:
        hint = "Its lane waits as long; set max-age or max-attempts, and tell somebody in on-rejected."
        yield "endless-retry", "a message that cannot be delivered is tried again for ever", hint
    if policy.max_attempts == 1:
        yield "no-retry", "the first failure is the last: max-attempts 1 allows no retry", "2 allows one."
    elif policy.max_age is not None and policy.max_age <= min(policy.initial_delay, policy.max_delay):
        hint = "Raise max-age, or lower initial-delay."
        yield "no-retry", "the first failure is the last: max-age is over before the first retry", hint
    if policy.initial_delay > policy.max_delay:
        text = "initial-delay is longer than max-delay, which cuts it"
        yield "delay-cut", text, "Raise max-delay, or lower initial-delay."


@frozen
class _Use:
    """A component with its options, where a route or an endpoint has it."""

    component: Component
    options: Any
    place: Place | None
    route: r.Route


def check_exclusive(definition: r.FlowDefinition, registry: Registry, guessed: Collection[Place], found: Found) -> None:
    """No two sources listen on one address, or read one mailbox; no two sinks write one file."""
    sources = [
        _Use(registry.component(route.source.source), route.source.options, route.source.place, route)
        for route in definition.routes
        if isinstance(route.source, r.FromEndpoint) and route.source.place not in guessed
    ]
    _check_ports(sources, found)
    sinks = [
        _Use(registry.component(step.sink), step.options, step.place, route)
        for route in definition.routes
        for step in _sinks(route)
        if step.place not in guessed
    ]
    _check_claims(sources, sinks, found)


def check_options(definition: r.FlowDefinition, registry: Registry, guessed: Collection[Place], found: Found) -> None:
    """Options that contradict each other: a start would refuse them."""
    for route in definition.routes:
        uses = [(step.sink, step.options, step.place) for step in _sinks(route)]
        if isinstance(route.source, r.FromEndpoint):
            uses.append((route.source.source, route.source.options, route.source.place))
        for name, options, place in uses:
            if place in guessed:
                continue
            try:
                registry.component(name).check(options)
            except ConfigError as error:
                found(place, "options", "error", f"{error.message.removesuffix('.')}.", error.hint)


def _sinks(route: r.Route) -> Iterator[r.ToEndpoint]:
    one = r.FlowDefinition((route,))
    return (step for step in all_steps(one) if isinstance(step, r.ToEndpoint))


def _check_ports(sources: Sequence[_Use], found: Found) -> None:
    bound: list[tuple[str, str, r.Route]] = []
    for use in sources:
        host, _, port = (use.component.binds(use.options) or "").rpartition(":")
        if port in {"", "0"}:
            continue
        for other_host, other_port, other in bound:
            if port == other_port and (host == other_host or _EVERYWHERE & {host, other_host}):
                text = f"routes {other.id!r} and {use.route.id!r} both listen on port {port}."
                found(use.place, "port", "error", text, "")
                break
        bound.append((host, port, use.route))


def _check_claims(sources: Sequence[_Use], sinks: Sequence[_Use], found: Found) -> None:
    """A sink that several steps name with the same options is one sink; two with other options are two."""
    claimed: dict[str, _Use] = {}
    for use in (*sources, *sinks):
        claim = use.component.claims(use.options)
        if claim is None:
            continue
        first = claimed.setdefault(claim, use)
        shared = use.component.kind == "sink" and first.component is use.component and first.options == use.options
        if first is not use and not shared:
            where = "route" if first.route is use.route else "routes"
            names = f"{use.route.id!r}" if first.route is use.route else f"{first.route.id!r} and {use.route.id!r}"
            hint = "Give it to one route, and go on from there by channels or `choice`."
            found(use.place, "claimed-twice", "error", f"{where} {names} both use {claim}.", hint)
