"""Routes under test: the real engine on the in-memory store, with no source, no network and no clock but the test's.

    async with RouteTester(definition, registry).running() as tester:
        tester.script("van", PlainAnswer(defer="no road"))
        await tester.give("intake", b"ada:bread")
        await tester.run()
        (await tester.seen()).sent

Sources are replaced by peers and sinks by doubles (`Component.double`); everything between them is what runs in
production. Time passes only when nothing is due: `run` goes from one retry to the next without waiting. The jitter of
redelivery is off, so that a test can say when a retry comes; exchange ids count from 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from attrs import Factory, define, evolve, field, frozen

from pfiflow.errors import ConfigError, Deferred, PfiflowError, Problem, Rejected
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Receipt, Receive, Records, Registry, Sink
from pfiflow.flow.double import Peer, PlainAnswer, PlainPeer, PlainSink, Reply
from pfiflow.flow.engine import Engine
from pfiflow.flow.exchange import Exchange, Note
from pfiflow.flow.trace import StepBegan, Trace, TraceEvent
from pfiflow.store.api import JournalEntry, MessageSummary, Record, State, UnitOfWork
from pfiflow.store.memory import MemoryStore

__all__ = [
    "Answered",
    "Attempt",
    "Outcome",
    "RouteTester",
    "Seen",
    "Sent",
    "StillWaitingError",
    "VirtualClock",
    "answers_of",
]

Outcome = Literal["accepted", "duplicate", "refused", "deferred", "defect"]

START = 1_767_250_800.0
"""When a test begins: 2026-01-01 08:00 in Paris, unless it says otherwise."""

_MOST_JUMPS = 300  # of the clock to a next retry, before a test is taken to be endless


class StillWaitingError(PfiflowError):
    """A message is tried again and again: a test says for how long it looks on."""


@define
class VirtualClock:
    """A clock that goes when it is told. `now` is POSIX seconds."""

    time: float = START

    def now(self) -> float:
        """POSIX seconds."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """The time passes at once."""
        self.time += max(seconds, 0.0)
        await anyio.lowlevel.checkpoint()


@frozen
class Sent:
    """What left by a sink, as its protocol sent it.

    Attributes:
        route: whose step sent it.
        endpoint: the endpoint's name, or its component's when it stands in the route itself.
        component: the sink's component.
        options: the options of the sink: where it sends to, and as whom.
        content: the bytes.
        facts: what goes with them: the envelope of a mail, the address of a request.
        at: seconds since the test began.
        exchange_id: of the exchange.
    """

    route: str
    endpoint: str
    component: str
    options: Any
    content: bytes = field(repr=False)
    facts: Mapping[str, str]
    at: float
    exchange_id: str


@frozen
class Attempt:
    """One attempt to send, and what came of it."""

    route: str
    endpoint: str
    at: float
    outcome: Outcome
    cause: str = ""


@frozen
class Answered:
    """What a source made of one message, and said to its peer."""

    outcome: Outcome
    problems: tuple[Problem, ...] = ()
    content: bytes = field(default=b"", repr=False)
    facts: Mapping[str, str] = Factory(dict)
    exchange_id: str = ""


@frozen
class Seen:
    """What came of a test.

    Attributes:
        answered: what sources made of each message given, in order.
        sent: what left, in order.
        attempts: every attempt to send, in order.
        waiting: by channel, the messages in it with their stored bytes, oldest first.
        dead: dead letters, oldest first.
        records: lasting facts.
        journal: its lines.
        unused: destinations with answers that were scripted, and never asked for.
        started: when the test began, in POSIX seconds.
    """

    answered: tuple[Answered, ...]
    sent: tuple[Sent, ...]
    attempts: tuple[Attempt, ...]
    waiting: Mapping[str, Sequence[tuple[MessageSummary, bytes]]]
    dead: tuple[MessageSummary, ...]
    records: tuple[Record, ...]
    journal: tuple[JournalEntry, ...]
    unused: tuple[str, ...]
    started: float


@define
class _Scripted:
    """The answers of one destination: each for so many attempts (0: for all that follow), then the default ones."""

    answers: deque[tuple[Any, int]] = field(factory=deque)

    def next(self) -> Any | None:
        if not self.answers:
            return None
        answer, times = self.answers[0]
        if times == 1:
            self.answers.popleft()
        elif times > 1:
            self.answers[0] = (answer, times - 1)
        return answer


@define(eq=False)
class _Outside:
    """The outside of one sink; see `Outside`."""

    tester: RouteTester
    component: Component
    options: Any
    answer: Any = None
    exchange: Exchange[Any] | None = None

    def sent(self, content: bytes, /, **facts: str) -> None:
        step = self.tester.place
        assert self.exchange is not None
        self.tester.sent.append(
            Sent(
                step.route,
                step.endpoint,
                self.component.name,
                self.options,
                bytes(content),
                facts,
                self.tester.elapsed,
                self.exchange.id,
            )
        )


@frozen
class _Step:
    """Which step is sending."""

    route: str
    endpoint: str


@define(eq=False)
class _WatchedSink:
    """A sink's double, each attempt of which gets its answer, and is recorded."""

    sink: Sink
    outside: _Outside

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        outside, tester = self.outside, self.outside.tester
        outside.answer = tester.answer_for(outside.component)
        outside.exchange = exchange
        route, endpoint, at = tester.place.route, tester.place.endpoint, tester.elapsed
        outcome: Outcome = "accepted"
        cause = ""
        try:
            return await self.sink.send(exchange)
        except Exception as failure:
            outcome, cause = _outcome_of(failure)
            raise
        finally:
            tester.attempts.append(Attempt(route, endpoint, at, outcome, cause))

    async def aclose(self) -> None:
        await self.sink.aclose()


class _Silent:
    """A source in a test: it lets nothing in by itself."""

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        raise NotImplementedError("a route under test has no source that runs")

    async def stop_accepting(self) -> None:
        return


@define(eq=False)
class _WatchedReceive:
    """See `Receive`; it keeps what came of the last exchange."""

    receive: Receive
    told: Answered | None = None

    async def __call__(self, exchange: Exchange[Any], /) -> Receipt:
        try:
            receipt = await self.receive(exchange)
        except Exception as failure:
            outcome, cause = _outcome_of(failure)
            problems = failure.problems if isinstance(failure, Rejected) else (Problem("", cause),)
            self.told = Answered(outcome, problems)
            raise
        outcomes: Mapping[str | None, Outcome] = {None: "accepted", "same": "duplicate", "other": "refused"}
        self.told = Answered(outcomes[receipt.duplicate], exchange_id=receipt.exchange.id)
        return receipt

    def new_id(self) -> str:
        return self.receive.new_id()

    async def journal(self, *notes: Note, exchange_id: str = "", rationed: bool = False) -> None:
        await self.receive.journal(*notes, exchange_id=exchange_id, rationed=rationed)


def _outcome_of(failure: Exception) -> tuple[Outcome, str]:
    match failure:
        case Rejected():
            return "refused", str(failure)
        case Deferred(message=message):
            return "deferred", message
        case _:
            return "defect", type(failure).__name__


@define(eq=False)
class RouteTester:
    """One flow, or some of its routes, under test. Use `running()`, then what is below it.

    Attributes:
        definition: the flow.
        registry: its components.
        routes: ids of those routes that run; what they put into the channels of others stays there. None: all.
        clock: the test's time.
        trace: is told what each step does.
        sent: what left, in the order of leaving.
        attempts: every attempt to send, in order.
        answered: what sources made of each message given, in order.
    """

    definition: r.FlowDefinition
    registry: Registry
    routes: Sequence[str] | None = None
    clock: VirtualClock = field(factory=VirtualClock)
    trace: Trace | None = None
    sent: list[Sent] = field(init=False, factory=list)
    attempts: list[Attempt] = field(init=False, factory=list)
    answered: list[Answered] = field(init=False, factory=list)
    place: _Step = field(init=False, default=_Step("", ""))
    store: MemoryStore = field(init=False, factory=MemoryStore)
    _engine: Engine = field(init=False)
    _scripts: dict[tuple[str, str], _Scripted] = field(init=False, factory=dict)
    _peers: dict[str, Peer] = field(init=False, factory=dict)
    _started: float = field(init=False)
    _exchanges: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._started = self.clock.now()
        routes = tuple(self._chosen())
        channels = {
            name: evolve(spec, redelivery=evolve(spec.redelivery, jitter=0.0))
            for name, spec in self.definition.channels.items()
        }
        feeders = tuple(r.Route.of(_feeder(channel)).to_channel(channel) for channel in channels)
        self._engine = Engine(
            evolve(self.definition, routes=(*routes, *feeders), channels=channels),
            self.store,
            self._doubled(),
            self.clock,
            trace=self._traced,
            new_id=self._new_id,
        )
        for route in routes:
            if isinstance(route.source, r.FromEndpoint):
                self._peers[route.id] = self._peer(route.source)

    def _chosen(self) -> Sequence[r.Route]:
        known = {route.id: route for route in self.definition.routes}
        for name in self.routes or ():
            if name not in known:
                raise ConfigError(f"no route is called {name!r}; known: {', '.join(sorted(known))}", code="route")
        return [route for route in known.values() if self.routes is None or route.id in self.routes]

    def _new_id(self, _now: float) -> str:
        self._exchanges += 1
        return f"{self._exchanges:032x}"

    @property
    def elapsed(self) -> float:
        """Seconds since the test began."""
        return round(self.clock.now() - self._started, 6)

    # -- the doubles -------------------------------------------------------------------------------------------------

    def _doubled(self) -> Registry:
        components = {name: self._doubled_one(component) for name, component in self.registry.components.items()}
        return Registry(components, self.registry.body_types)

    def _doubled_one(self, component: Component) -> Component:
        if component.kind == "sink":
            return evolve(component, build=self._sink_builder(component))
        if component.kind == "source":
            return evolve(component, build=lambda _options: _Silent(), uses_records=False)
        return component

    def _sink_builder(self, component: Component) -> Callable[..., Sink]:
        def build(options: Any, *records: Records) -> Sink:
            outside = _Outside(self, component, options)
            if component.double is None:
                return _WatchedSink(PlainSink(outside, self.registry.body_type_of), outside)
            return _WatchedSink(component.double.build(options, outside, *records), outside)

        return build

    def _peer(self, source: r.FromEndpoint) -> Peer:
        component = self.registry.component(source.source, "source")
        if component.double is None:
            return PlainPeer(component.name)
        peer: Peer = component.double.build(source.options)
        return peer

    def _traced(self, event: TraceEvent) -> None:
        if isinstance(event, StepBegan) and isinstance(event.step, r.ToEndpoint):
            self.place = _Step(event.route, event.step.id or event.step.sink)
        if self.trace is not None and not event.route.startswith(_FEEDER):
            self.trace(event)

    # -- scripts -----------------------------------------------------------------------------------------------------

    def script(self, endpoint: str, answer: Any, *, times: int = 1, route: str = "") -> None:
        """The next attempts to send by this endpoint are answered so; after the scripted ones, all goes well.

        Args:
            endpoint: its name, or that of its component when it stands in a route itself.
            answer: an instance of `answers_of(component)`.
            times: for so many attempts; 0: for all that follow.
            route: only when this route sends; "": whichever does.
        """
        self._scripts.setdefault((route, endpoint), _Scripted()).answers.append((answer, times))

    def _unused(self) -> list[str]:
        left = [key for key, script in self._scripts.items() if any(times for _, times in script.answers)]
        return [" ".join(filter(None, key)) for key in left]

    def answer_for(self, component: Component) -> Any:
        """The answer to the attempt that begins now."""
        for key in ((self.place.route, self.place.endpoint), ("", self.place.endpoint)):
            answer = self._scripts[key].next() if key in self._scripts else None
            if answer is not None:
                return answer
        return answers_of(component)()

    # -- giving and looking ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RouteTester]:
        """Ready to be given messages."""
        async with self._engine.standing():
            yield self

    async def give(self, route: str, content: Any, headers: Mapping[str, str] | None = None) -> Answered:
        """Hand a message to the source of a route, as its peer would (bytes), or to a route without a source (a body).

        Raises ConfigError for a route that does not run here, or reads a channel: `put` feeds that.
        """
        _, receive = self._engine.entrance(route)
        watched = _WatchedReceive(receive)
        peer = self._peers.get(route) or PlainPeer("in-process")
        reply: Reply = await peer.give(content, headers or {}, watched)
        # A source may refuse by itself what it does not even hand in.
        told = watched.told or Answered("refused")
        answered = evolve(told, content=reply.content, facts=reply.facts)
        self.answered.append(answered)
        return answered

    async def put(self, channel: str, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Put a message straight into a channel. Raises ConfigError for one that is not declared."""
        await self._engine.send(_feeder(channel), body, headers)

    async def remember(self, kind: str, key: str, facts: Mapping[str, str]) -> None:
        """Something that earlier exchanges have left on record."""
        record = Record(kind, key, self.clock.now(), "earlier", facts)
        await self.store.commit(UnitOfWork(at=self.clock.now(), records=(record,)))

    async def run(self, seconds: float | None = None) -> None:
        """Let everything happen: what is due, then the time until the next retry, and so on.

        Args:
            seconds: how much time passes; None: until nothing waits for a retry any more.

        Raises:
            StillWaitingError: that would be for ever.
        """
        end = None if seconds is None else self.clock.now() + seconds
        for _ in range(_MOST_JUMPS):
            due = await self._engine.work_due()
            if due is None or (end is not None and due > end):
                break
            self.clock.time = max(self.clock.time, due)
        else:
            raise StillWaitingError(f"after {_MOST_JUMPS} retries something is still tried again; say for how long")
        if end is not None:
            self.clock.time = max(self.clock.time, end)

    def stand_still(self, seconds: float) -> None:
        """The time passes, and nobody works: as if the engine had been stopped."""
        self.clock.time += seconds

    async def seen(self) -> Seen:
        """All that has come of it until now."""
        channels = sorted(self.definition.channels)
        waiting = {name: await self._messages(name, "waiting") for name in channels}
        dead = [each for name in channels for each, _ in await self._messages(name, "dead")]
        lines = await self.store.journal(limit=100_000)
        return Seen(
            tuple(self.answered),
            tuple(self.sent),
            tuple(self.attempts),
            waiting,
            tuple(sorted(dead, key=lambda each: each.sequence)),
            self.store.all_records(),
            tuple(line for line in lines if not line.route.startswith(_FEEDER)),
            tuple(self._unused()),
            self._started,
        )

    async def _messages(self, channel: str, state: State) -> Sequence[tuple[MessageSummary, bytes]]:
        """The messages of a channel in this state, each with its stored bytes, oldest first."""
        found = []
        for summary in await self.store.messages(channel=channel, state=state, limit=10_000):
            stored = await self.store.message(summary.sequence)
            assert stored is not None
            found.append(stored)
        return found


_FEEDER = "test-feeds-"


def _feeder(channel: str) -> str:
    return f"{_FEEDER}{channel}"


def answers_of(component: Component) -> type:
    """The options class of one answer that a test scripts for this sink."""
    return PlainAnswer if component.double is None else component.double.answers
