"""Routes as immutable values: what a route file and the Python DSL both build, and the engine runs.

The DSL reads like the picture of the route:

    route = (
        Route.of("orders")
        .from_("counter", CounterOptions(shop="north"))
        .process("read-order")
        .choice(when("body.urgent", to_channel("today")), otherwise=otherwise(to_channel("tomorrow")))
    )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attrs import evolve, field, frozen

from pfiflow.flow.component import Component, NoOptions
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration, Range, option
from pfiflow.flow.redelivery import Redelivery

__all__ = [
    "ChannelSpec",
    "Choice",
    "Delay",
    "EngineOptions",
    "Enrich",
    "Filter",
    "FlowDefinition",
    "FromChannel",
    "FromEndpoint",
    "Idempotent",
    "Log",
    "Multicast",
    "Place",
    "Predicate",
    "Process",
    "Retention",
    "Route",
    "SetHeader",
    "Split",
    "Step",
    "StoreOptions",
    "Throttle",
    "ToChannel",
    "ToEndpoint",
    "Validate",
    "When",
    "WireTap",
    "otherwise",
    "to_channel",
    "when",
]


@frozen
class Place:
    """Where a thing was written: line and column from 1.

    What a template writes is there as often as the template is used: `via` is the place of the use. An argument stands
    where it was given, `via` the place in the template that it fills.
    """

    file: str
    line: int
    column: int
    via: Place | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def way(self) -> str:
        """The places that led here, as the end of a message; "" for most."""
        places: list[str] = []
        place = self.via
        while place is not None:
            places.append(str(place))
            place = place.via
        return f" (through {', '.join(places)})" if places else ""


Predicate: TypeAlias = Expression | Callable[[Exchange[Any]], Any]
"""A condition or value: a CEL expression, or (in Python only) a function of the exchange."""

_PLACE = field(default=None, kw_only=True, eq=False, repr=False)


@frozen
class Process:
    """A processor: from the registry by name, a component of an integrator's own, or (in Python only) a function."""

    processor: str | Component | Callable[[Exchange[Any]], Any]
    options: Any = NoOptions()
    id: str = ""
    place: Place | None = _PLACE

    @property
    def name(self) -> str:
        """What it is called: by its component, or by the function."""
        if isinstance(self.processor, Component):
            return self.processor.name
        return self.processor if isinstance(self.processor, str) else getattr(self.processor, "__name__", "a function")


@frozen
class When:
    """One branch of a choice."""

    condition: Predicate
    steps: tuple[Step, ...]
    place: Place | None = _PLACE


@frozen
class Choice:
    """Content-based router: the first branch whose condition holds, else `otherwise`; the exchange goes on after it."""

    whens: tuple[When, ...]
    otherwise: tuple[Step, ...] = ()
    place: Place | None = _PLACE


@frozen
class Filter:
    """Message filter: the exchange goes on only when the condition holds; otherwise it ends here, successfully."""

    condition: Predicate
    place: Place | None = _PLACE


@frozen
class Split:
    """Splitter: the body is a sequence; each element goes through the steps as a part (`<id>.<n>`) with headers
    `split-index` (from 1) and `split-size`. The original exchange goes on afterwards.
    """

    steps: tuple[Step, ...]
    place: Place | None = _PLACE


@frozen
class Multicast:
    """Recipient list: each branch gets the same exchange; all outputs commit together or none. The original goes on."""

    branches: tuple[tuple[Step, ...], ...]
    place: Place | None = _PLACE


@frozen
class WireTap:
    """Wire tap: a copy of the exchange goes to a channel; the original goes on."""

    channel: str
    place: Place | None = _PLACE


@frozen
class Enrich:
    """Content enricher: the steps run on a copy; the named headers of the result are added to the original."""

    steps: tuple[Step, ...]
    headers: tuple[str, ...]
    place: Place | None = _PLACE


@frozen
class SetHeader:
    """Sets headers to the values of expressions (converted with `str`; booleans as `true`/`false`)."""

    headers: Mapping[str, Predicate]
    place: Place | None = _PLACE


@frozen
class Validate:
    """Rejects the exchange when the condition does not hold, with this code and message."""

    condition: Predicate
    message: str
    code: str = "207"
    place: Place | None = _PLACE


@frozen
class Idempotent:
    """Idempotent receiver: remembers `key` (in `scope`) with the digest of the body for `retention` seconds.

    A second exchange with the same key ends here: successfully when its body is the same (`duplicate: same` in the
    receipt), rejected when it differs. The key is recorded in the unit of work, so only if the exchange commits.
    """

    key: Predicate
    scope: str = ""
    retention: Duration = Duration(30 * 86400.0)
    place: Place | None = _PLACE


@frozen
class Throttle:
    """At most `rate` exchanges per `per` seconds pass here; others wait."""

    rate: int
    per: Duration = Duration(1.0)
    place: Place | None = _PLACE


@frozen
class Delay:
    """Holds each exchange for a fixed time. The lane waits with it."""

    duration: Duration
    place: Place | None = _PLACE


@frozen
class Log:
    """Writes one log line with the exchange's id: `message` may hold `{header-name}` fields; never the body."""

    message: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    place: Place | None = _PLACE


@frozen
class ToChannel:
    """Puts the exchange into a durable channel, in this unit of work. The exchange goes on."""

    channel: str
    place: Place | None = _PLACE


@frozen
class ToEndpoint:
    """Sends the exchange outside through a sink, given inline or by the name of an endpoint."""

    sink: str
    options: Any = NoOptions()
    id: str = ""
    place: Place | None = _PLACE


Step: TypeAlias = (
    Process
    | Choice
    | Filter
    | Split
    | Multicast
    | WireTap
    | Enrich
    | SetHeader
    | Validate
    | Idempotent
    | Throttle
    | Delay
    | Log
    | ToChannel
    | ToEndpoint
)


@frozen
class FromChannel:
    """The route reads a channel: one message a lane at a time, `workers` lanes at once."""

    channel: str
    place: Place | None = _PLACE


@frozen
class FromEndpoint:
    """The route is fed by a source."""

    source: str
    options: Any = NoOptions()
    place: Place | None = _PLACE


@frozen
class Route:
    """One source, and the steps that each of its exchanges goes through.

    `on_rejected` runs in the unit of work that settles a refused exchange, with headers `error-code`, `error-message`,
    `error-location` set: it tells somebody. For a channel route the message then becomes a dead letter. It runs as well
    for a message that is given up, with the `error-code` "given-up" (by its redelivery) or "defect".
    """

    id: str
    source: FromChannel | FromEndpoint | None = None
    steps: tuple[Step, ...] = ()
    on_rejected: tuple[Step, ...] = ()
    place: Place | None = _PLACE

    @classmethod
    def of(cls, route_id: str) -> Route:
        """An empty route, to be built with the fluent methods."""
        return cls(route_id)

    def from_(self, source: str, options: Any = NoOptions()) -> Route:
        """Fed by the source component of that name."""
        return evolve(self, source=FromEndpoint(source, options))

    def from_channel(self, channel: str) -> Route:
        """Fed by a channel."""
        return evolve(self, source=FromChannel(channel))

    def then(self, *steps: Step) -> Route:
        """With these steps added."""
        return evolve(self, steps=(*self.steps, *steps))

    def process(self, processor: str | Callable[[Exchange[Any]], Any], options: Any = NoOptions()) -> Route:
        """Through a processor."""
        return self.then(Process(processor, options))

    def choice(self, *whens: When, otherwise: tuple[Step, ...] = ()) -> Route:
        """Through the first branch whose condition holds."""
        return self.then(Choice(whens, otherwise))

    def filter(self, condition: str | Predicate) -> Route:
        """Only when the condition holds."""
        return self.then(Filter(_predicate(condition)))

    def split(self, *steps: Step) -> Route:
        """Each element of the body through these steps."""
        return self.then(Split(steps))

    def multicast(self, *branches: tuple[Step, ...]) -> Route:
        """Through every branch."""
        return self.then(Multicast(branches))

    def wire_tap(self, channel: str) -> Route:
        """With a copy to a channel."""
        return self.then(WireTap(channel))

    def enrich(self, *steps: Step, headers: tuple[str, ...]) -> Route:
        """With headers computed by these steps."""
        return self.then(Enrich(steps, headers))

    def set_header(self, name: str, value: str | Predicate) -> Route:
        """With a header set to the value of an expression."""
        return self.then(SetHeader({name: _predicate(value)}))

    def validate(self, condition: str | Predicate, message: str, code: str = "207") -> Route:
        """Rejected unless the condition holds."""
        return self.then(Validate(_predicate(condition), message, code))

    def idempotent(self, key: str | Predicate, *, scope: str = "", retention: float = 30 * 86400.0) -> Route:
        """Once per key."""
        return self.then(Idempotent(_predicate(key), scope, Duration(retention)))

    def throttle(self, rate: int, per: float = 1.0) -> Route:
        """At most `rate` per `per` seconds."""
        return self.then(Throttle(rate, Duration(per)))

    def delay(self, seconds: float) -> Route:
        """Held for a while."""
        return self.then(Delay(Duration(seconds)))

    def log(self, message: str, level: Literal["debug", "info", "warning", "error"] = "info") -> Route:
        """With a log line."""
        return self.then(Log(message, level))

    def to_channel(self, channel: str) -> Route:
        """Into a channel."""
        return self.then(ToChannel(channel))

    def to(self, sink: str, options: Any = NoOptions()) -> Route:
        """Out through a sink."""
        return self.then(ToEndpoint(sink, options))

    def when_rejected(self, *steps: Step) -> Route:
        """With these steps run for a refused exchange."""
        return evolve(self, on_rejected=steps)


def _predicate(value: str | Predicate) -> Predicate:
    return Expression(value) if isinstance(value, str) else value


def when(condition: str | Predicate, *steps: Step) -> When:
    """One branch of `Route.choice`."""
    return When(_predicate(condition), steps)


def otherwise(*steps: Step) -> tuple[Step, ...]:
    """The steps of `Route.choice(..., otherwise=otherwise(...))`."""
    return steps


def to_channel(channel: str) -> ToChannel:
    """The step that puts the exchange into a channel."""
    return ToChannel(channel)


@frozen
class ChannelSpec:
    """A durable channel: FIFO per ordering key, redelivered, held, dead-lettered."""

    key: Expression | None = option(
        default=None,
        doc="Ordering key: messages with the same key are delivered one at a time, in order. Unset: the exchange id.",
        example="body.customer",
    )
    hold: bool = option(default=False, doc="Start held: messages wait until an operator releases it.", example=True)
    workers: int = option(default=4, doc="Lanes worked on at the same time.", example=4, validator=Range(minimum=1))
    redelivery: Redelivery = option(default=Redelivery(), doc="When a deferred message is tried again.")
    max_waiting: int | None = option(
        default=None,
        doc="Beyond this many waiting messages, what feeds the channel is deferred.",
        example=100_000,
        validator=Range(minimum=1),
    )
    description: str = option(default="", doc="What it holds, shown to operators.", example="Orders for tomorrow")


@frozen
class Retention:
    """How long finished things are kept. What is unfinished is kept for ever."""

    done: Duration = option(
        default=Duration(7 * 86400.0), doc="How long messages dealt with are kept, with their documents.", example="7d"
    )
    dead: Duration = option(default=Duration(90 * 86400.0), doc="How long dead letters are kept.", example="90d")
    journal: Duration = option(
        default=Duration(180 * 86400.0), doc="How long the lines of the journal are kept.", example="180d"
    )
    records: Duration = option(
        default=Duration(1100 * 86400.0),
        doc="How long it is remembered what was submitted and sent outside.",
        example="1100d",
    )


@frozen
class StoreOptions:
    """Where messages are kept."""

    path: Path = option(
        default=Path("pfiflow.db"), doc="The embedded store's file.", example="/var/lib/pfiflow/pfiflow.db"
    )
    retention: Retention = option(default=Retention(), doc="How long finished things are kept.")


@frozen
class EngineOptions:
    """Limits of one engine."""

    drain: Duration = option(
        default=Duration(30.0),
        doc="On SIGTERM, time given to what is in flight before it is left for the next start.",
        example="30s",
    )
    max_in_flight: int = option(
        default=64,
        doc="Exchanges that sources may have in flight at once; beyond it they wait, then are deferred.",
        example=64,
        validator=Range(minimum=1),
    )
    admission: Duration = option(
        default=Duration(10.0),
        doc="How long a source's exchange waits for a free place before it is deferred.",
        example="10s",
    )
    threads: int | None = option(
        default=None,
        doc="Threads for long processors; unset: one a processor core.",
        example=4,
        validator=Range(minimum=1),
    )
    start_timeout: Duration = option(
        default=Duration(10.0),
        doc="How long a start waits for every source to accept before it says so.",
        example="10s",
    )


@frozen
class FlowDefinition:
    """Everything an engine runs: routes, channels by name, and the store's options."""

    routes: tuple[Route, ...]
    channels: Mapping[str, ChannelSpec] = field(factory=dict)
    store: StoreOptions = StoreOptions()
    engine: EngineOptions = EngineOptions()
