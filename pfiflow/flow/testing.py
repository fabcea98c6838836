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

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, evolve, field

from pfiflow.errors import ConfigError, PfiflowError
from pfiflow.flow import route as r
from pfiflow.flow.captured import Answered, Attempt, Outcome, Seen, Sent, VirtualClock
from pfiflow.flow.component import Component, Records, Registry, Sink
from pfiflow.flow.double import Peer, PlainPeer, PlainSink, Reply
from pfiflow.flow.engine import Engine
from pfiflow.flow.trace import StepBegan, Trace, TraceEvent
from pfiflow.flow.watched import (
    Scene,
    SendingStep,
    SilentSource,
    WatchedOutside,
    WatchedReceive,
    WatchedSink,
    answers_of,
)
from pfiflow.store.api import MessageSummary, Record, State, UnitOfWork
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

_MOST_JUMPS = 300  # of the clock to a next retry, before a test is taken to be endless


class StillWaitingError(PfiflowError):
    """A message is tried again and again: a test says for how long it looks on."""


@define(eq=False)
class RouteTester:
    """One flow, or some of its routes, under test. Use `running()`, then what is below it.

    Attributes:
        definition: the flow.
        registry: its components.
        routes: ids of those routes that run; what they put into the channels of others stays there. None: all.
        clock: the test's time.
        trace: is told what each step does.
        answered: what sources made of each message given, in order.
    """

    definition: r.FlowDefinition
    registry: Registry
    routes: Sequence[str] | None = None
    clock: VirtualClock = field(factory=VirtualClock)
    trace: Trace | None = None
    answered: list[Answered] = field(init=False, factory=list)
    store: MemoryStore = field(init=False, factory=MemoryStore)
    _engine: Engine = field(init=False)
    _scene: Scene = field(init=False)
    _peers: dict[str, Peer] = field(init=False, factory=dict)
    _exchanges: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._scene = Scene(self.clock, self.clock.now())
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
    def sent(self) -> list[Sent]:
        """What left, in the order of leaving."""
        return self._scene.sent

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt to send, in order."""
        return self._scene.attempts

    # -- the doubles -------------------------------------------------------------------------------------------------

    def _doubled(self) -> Registry:
        components = {name: self._doubled_one(component) for name, component in self.registry.components.items()}
        return Registry(components, self.registry.body_types)

    def _doubled_one(self, component: Component) -> Component:
        if component.kind == "sink":
            return evolve(component, build=self._sink_builder(component))
        if component.kind == "source":
            return evolve(component, build=lambda _options: SilentSource(), uses_records=False)
        return component

    def _sink_builder(self, component: Component) -> Callable[..., Sink]:
        def build(options: Any, *records: Records) -> Sink:
            outside = WatchedOutside(self._scene, component, options)
            if component.double is None:
                return WatchedSink(PlainSink(outside, self.registry.body_type_of), outside)
            return WatchedSink(component.double.build(options, outside, *records), outside)

        return build

    def _peer(self, source: r.FromEndpoint) -> Peer:
        component = self.registry.component(source.source, "source")
        if component.double is None:
            return PlainPeer(component.name)
        peer: Peer = component.double.build(source.options)
        return peer

    def _traced(self, event: TraceEvent) -> None:
        if isinstance(event, StepBegan) and isinstance(event.step, r.ToEndpoint):
            self._scene.place = SendingStep(event.route, event.step.id or event.step.sink)
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
        self._scene.script(endpoint, answer, times=times, route=route)

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
        watched = WatchedReceive(receive)
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
            tuple(self._scene.unused()),
            self._scene.started,
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
