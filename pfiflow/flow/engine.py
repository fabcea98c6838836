"""The engine: runs routes over channels, on anyio under asyncio, in one task group.

What it guarantees (docs/guarantees.md says how each is tested):

* A source's `receive` returns only when the unit of work is durable; so what a peer was told is accepted is kept.
* A channel message is settled in the same commit as what it produced; a crash in between repeats it, with the same
  exchange id, so that what was sent outside can be told from a second copy.
* The messages of one lane are delivered one at a time, in order; a lane that waits for a retry holds up no other.
* A route that dies is restarted with back-off and reported; the other routes go on.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import anyio
from anyio.abc import TaskStatus
from attrs import define, field, frozen

from pfiflow.errors import ConfigError, Deferred, Problem, Rejected
from pfiflow.flow.circuit import Circuit
from pfiflow.flow.clock import SYSTEM_CLOCK, Clock
from pfiflow.flow.component import Receipt, Registry, Source
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.outcome import after_defect, after_deferral, describe, error_headers, safe_traceback
from pfiflow.flow.pipeline import Compiler, Ended, Pipeline, SeenBefore, Work
from pfiflow.flow.route import ChannelSpec, EngineOptions, FlowDefinition, FromChannel, FromEndpoint, Retention, Route
from pfiflow.store.api import (
    Claim,
    Dead,
    Done,
    DuplicateKeyError,
    Message,
    Retry,
    Store,
    StoreError,
    StoreFullError,
    UnitOfWork,
)

__all__ = ["Engine", "RouteState", "RouteStatus", "new_exchange_id"]

logger = logging.getLogger("pfiflow.engine")

AnyExchange: TypeAlias = Exchange[Any]
RouteState = Literal["starting", "running", "backing-off", "stopped"]

_POLL = 1.0  # seconds between looks at the store when nothing wakes a worker
_RESTART_DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_COMMIT_RETRY = 1.0
_PURGE_EVERY = 3600.0
_CLOSE_TIMEOUT = 5.0


def new_exchange_id(now: float) -> str:
    """32 hex digits: milliseconds since 1970, then 80 random bits. Sorts by time of arrival."""
    return f"{int(now * 1000):012x}{secrets.token_hex(10)}"


@frozen
class RouteStatus:
    """How a route is doing. `address` is what its source listens on or reads, once it runs."""

    route: str
    state: RouteState
    address: str = ""
    restarts: int = 0
    last_error: str = ""


@define
class _RunningRoute:
    """A route with its compiled pipelines and what the engine knows of it."""

    route: Route
    pipeline: Pipeline
    on_rejected: Pipeline | None
    source: Source | None = None
    circuit: Circuit | None = None  # of a channel route
    status: RouteStatus = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.status = RouteStatus(self.route.id, "starting")


@define(eq=False)
class Engine:
    """Runs one flow on one store. Several engines may live in one process, each with its own store.

    Use `run()` (until `drain()` or cancellation), or `running()` as an async context manager that drains at its end.
    """

    definition: FlowDefinition
    store: Store
    registry: Registry
    clock: Clock = SYSTEM_CLOCK
    on_status: Callable[[RouteStatus], None] | None = None
    _routes: dict[str, _RunningRoute] = field(init=False, factory=dict)
    _compiler: Compiler = field(init=False)
    _draining: anyio.Event = field(init=False, factory=anyio.Event)
    _admission: anyio.CapacityLimiter = field(init=False)
    _busy: int = field(init=False, default=0)
    _idle: anyio.Event = field(init=False, factory=anyio.Event)
    _all_started: anyio.Event = field(init=False, factory=anyio.Event)

    def __attrs_post_init__(self) -> None:
        self._admission = anyio.CapacityLimiter(self.options.max_in_flight)
        self._compiler = Compiler(
            self.registry,
            self.definition.channels,
            self.store,
            self.clock,
            anyio.CapacityLimiter(self.options.threads or os.cpu_count() or 1),
        )
        for route in self.definition.routes:
            if route.id in self._routes:
                raise ConfigError(f"two routes are called {route.id!r}", code="route")
            on_rejected = self._compiler.compile(route.id, route.on_rejected) if route.on_rejected else None
            pipeline = self._compiler.compile(route.id, route.steps)
            source, circuit = self._build_source(route), self._build_circuit(route)
            self._routes[route.id] = _RunningRoute(route, pipeline, on_rejected, source, circuit)

    @property
    def options(self) -> EngineOptions:
        """The engine's options, as the flow definition gives them."""
        return self.definition.engine

    @property
    def retention(self) -> Retention:
        """How long finished things are kept."""
        return self.definition.store.retention

    def _build_source(self, route: Route) -> Source | None:
        if isinstance(route.source, FromEndpoint):
            component = self.registry.component(route.source.source, "source")
            source: Source = self._compiler.build(component, route.source.options)
            return source
        if isinstance(route.source, FromChannel) and route.source.channel not in self.definition.channels:
            raise ConfigError(f"route {route.id!r} reads unknown channel {route.source.channel!r}", code="channel")
        return None

    def _build_circuit(self, route: Route) -> Circuit | None:
        if isinstance(route.source, FromChannel):
            return Circuit(self.definition.channels[route.source.channel].redelivery)
        return None

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `drain()` has finished its work, or until cancelled (which loses nothing that was accepted).

        Opens and closes the store. Raises StoreError when it cannot be opened.
        """
        await self.store.open()
        await self._run_open()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """Run in the background of a `with` block, once every source accepts or has failed; drain at its end."""
        await self.store.open()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._run_started)
            try:
                yield self
            finally:
                self.drain()

    async def _run_started(self, *, task_status: TaskStatus[None]) -> None:
        await self._run_open(task_status)

    async def _run_open(self, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        try:
            await self.store.declare_channels({name: spec.hold for name, spec in self.definition.channels.items()})
            async with anyio.create_task_group() as tasks:
                for running in self._routes.values():
                    tasks.start_soon(self._supervise, running)
                tasks.start_soon(self._watch_limits)
                tasks.start_soon(self._purge)
                with anyio.move_on_after(self.options.start_timeout):
                    await self._all_started.wait()
                task_status.started()
                await self._draining.wait()
                await self._finish()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                for sink in self._compiler.sinks:
                    with anyio.move_on_after(_CLOSE_TIMEOUT):
                        await sink.aclose()
                await self.store.aclose()

    def drain(self) -> None:
        """Stop accepting, finish what is in flight within `EngineOptions.drain` seconds, then let `run` return."""
        self._draining.set()

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining.is_set()

    async def _finish(self) -> None:
        for running in self._routes.values():
            if running.source is not None:
                await running.source.stop_accepting()
        with anyio.move_on_after(self.options.drain) as scope:
            while self._busy:
                self._idle = anyio.Event()
                await self._idle.wait()
        if scope.cancelled_caught:
            logger.warning("drain time is over; %d exchanges go on after the next start", self._busy)

    def status(self) -> Mapping[str, RouteStatus]:
        """How each route is doing."""
        return {name: running.status for name, running in self._routes.items()}

    # -- routes ----------------------------------------------------------------------------------------------------

    async def _supervise(self, running: _RunningRoute) -> None:
        """Run a route's source; restart it with back-off when it dies."""
        restarts = 0
        while not self._draining.is_set():
            started_at = self.clock.now()
            try:
                await self._serve(running, restarts)
                error = "its source ended"
            except Exception as failure:  # noqa: BLE001 - whatever it is, the other routes must go on
                error = describe(failure)
                logger.error(  # noqa: TRY400 - a traceback's last line may quote a document
                    "route %s died: %s\n%s",
                    running.route.id,
                    error,
                    safe_traceback(failure),
                    extra={"route": running.route.id},
                )
            if self._draining.is_set():
                break
            if self.clock.now() - started_at > _RESTART_DELAYS[-1]:
                restarts = 0
            delay = _RESTART_DELAYS[min(restarts, len(_RESTART_DELAYS) - 1)]
            restarts += 1
            self._report(running, RouteStatus(running.route.id, "backing-off", "", restarts, error))
            with anyio.move_on_after(delay):
                await self._draining.wait()
            running.source = self._build_source(running.route)
        self._report(running, RouteStatus(running.route.id, "stopped", "", restarts))

    async def _serve(self, running: _RunningRoute, restarts: int) -> None:
        def started(address: str) -> None:
            self._report(running, RouteStatus(running.route.id, "running", address, restarts))

        match running.route.source:
            case FromChannel(channel=channel):
                spec = self.definition.channels[channel]
                async with anyio.create_task_group() as workers:
                    for _ in range(spec.workers):
                        workers.start_soon(self._work_lanes, running, channel)
                    started(f"channel {channel}")
            case FromEndpoint():
                assert running.source is not None

                async def receive(exchange: AnyExchange, /) -> Receipt:
                    return await self._receive(running, exchange)

                await running.source.run(receive, started)
            case None:  # fed in-process, by `send`
                started("in-process")
                await self._draining.wait()

    def _report(self, running: _RunningRoute, status: RouteStatus) -> None:
        running.status = status
        logger.info(
            "route %s %s %s",
            status.route,
            status.state,
            status.address or status.last_error,
            extra={"route": status.route},
        )
        if self.on_status is not None:
            self.on_status(status)
        if all(other.status.state != "starting" for other in self._routes.values()):
            self._all_started.set()

    # -- exchanges from sources --------------------------------------------------------------------------------------

    async def send(self, route: str, body: Any, headers: Mapping[str, str] | None = None) -> Receipt:
        """Hand an exchange to a route, in-process, as its source would. Same promises and errors as `Receive`."""
        try:
            running = self._routes[route]
        except KeyError:
            raise ConfigError(f"no route is called {route!r}; known: {', '.join(sorted(self._routes))}") from None
        return await self._receive(running, Exchange("", body, headers or {}, origin="in-process"))

    async def _receive(self, running: _RunningRoute, exchange: AnyExchange) -> Receipt:
        if self._draining.is_set():
            raise Deferred("the engine is stopping")
        with anyio.move_on_after(self.options.admission) as waiting:
            await self._admission.acquire_on_behalf_of(token := object())
        if waiting.cancelled_caught:
            raise Deferred(f"{self.options.max_in_flight} exchanges are in flight; try again later", retry_after=5.0)
        self._busy += 1
        try:
            return await self._admit(running, exchange)
        finally:
            self._admission.release_on_behalf_of(token)
            self._free()

    async def _admit(self, running: _RunningRoute, exchange: AnyExchange) -> Receipt:
        now = self.clock.now()
        if not exchange.id:
            exchange = Exchange(
                new_exchange_id(now), exchange.body, exchange.headers, exchange.origin, now, exchange.notes
            )
        work = Work(running.route.id, now)
        work.record(exchange.with_note("received", origin=exchange.origin))
        try:
            try:
                final = await running.pipeline(exchange, work)
            except Ended:
                final = exchange
            await self._commit(work, None)
        except SeenBefore as seen:
            return Receipt(exchange, duplicate=seen.kind)
        except DuplicateKeyError as duplicate:  # two copies raced; the other one won
            digests = {entry.key: entry.digest for entry in work.ledger}
            same = digests.get(duplicate.entry.key) == duplicate.entry.digest
            return Receipt(exchange, duplicate="same" if same else "other")
        except Rejected as rejection:
            await self._refuse(running, exchange, rejection, None)
            raise
        except StoreError as error:
            logger.error(  # noqa: TRY400 - the store's own words say it all
                "route %s: a message was deferred, nothing of it is kept: %s",
                running.route.id,
                error,
                extra={"route": running.route.id, "exchange": exchange.id},
            )
            if isinstance(error, StoreFullError):
                raise Deferred("the store has no space left; nothing was kept, send it again later") from error
            raise Deferred("the store failed; nothing was kept, send it again later") from error
        return Receipt(final)

    # -- exchanges from channels -------------------------------------------------------------------------------------

    async def _work_lanes(self, running: _RunningRoute, channel: str) -> None:
        circuit = running.circuit
        assert circuit is not None
        while not self._draining.is_set():
            now = self.clock.now()
            if not circuit.admits(now):
                # Not `store.wait`: it returns at once for messages that came since the last claim.
                pause = _POLL if circuit.probing else min(_POLL, max(0.001, circuit.probe_at - now))
                with anyio.move_on_after(pause):
                    await self._draining.wait()
                continue
            is_probe = circuit.is_open
            claim = await self.store.claim(channel, now=now)
            if claim is None:
                if is_probe:
                    circuit.abandoned()
                due = await self.store.next_due(channel)
                wait = _POLL if due is None else min(_POLL, max(0.0, due - self.clock.now()))
                await self.store.wait(channel, timeout=max(wait, 0.001))
                continue
            self._busy += 1
            try:
                await self._work_lane(running, claim)
            finally:
                if is_probe:
                    circuit.abandoned()
                self._free()

    async def _work_lane(self, running: _RunningRoute, claim: Claim) -> None:
        current: Claim | None = claim
        while current is not None:
            settled = False
            try:
                settled = await self._deliver(running, current.message)
            finally:
                stop = (
                    not settled or self._draining.is_set() or (running.circuit is not None and running.circuit.is_open)
                )
                if stop:
                    with anyio.CancelScope(shield=True):
                        await self.store.release(current)
            if stop:
                return
            current = await self.store.next(current, now=self.clock.now())

    async def _deliver(self, running: _RunningRoute, message: Message) -> bool:
        """One attempt at one message. True when the outcome is durable, whatever it is."""
        now = self.clock.now()
        work = Work(running.route.id, now)
        exchange: AnyExchange = Exchange(
            message.exchange_id, message.payload, message.headers, message.origin, message.received
        )
        settle: Done | Retry | Dead
        try:
            body_type = self._compiler.body_type(message.body_type)
            exchange = exchange.with_body(body_type.decode(message.payload))
            await running.pipeline(exchange, work)
            settle = Done(message.sequence)
        except Ended:
            settle = Done(message.sequence)
        except SeenBefore as seen:
            work.record(exchange.with_note("duplicate", content=seen.kind))
            settle = Done(message.sequence)
        except Rejected as rejection:
            return await self._refuse(running, exchange, rejection, message)
        except Deferred as deferral:
            work = Work(running.route.id, now)  # what a failed attempt collected is not committed
            settle = self._defer(running, message, deferral)
            work.record(exchange.with_note("deferred", cause=deferral.message, attempt=message.attempts + 1))
            if deferral.hold:
                await self._hold(running, message.channel, deferral)
            if isinstance(settle, Dead):
                given_up = Problem("given-up", deferral.message)
                await self._tell(running, exchange.with_headers(deferral.headers), given_up, work)
        except Exception as defect:  # noqa: BLE001 - a defect must neither lose its message nor stop the other lanes
            settle = after_defect(message, defect, self._policy(message).redelivery, self.clock.now())
            logger.error(  # noqa: TRY400 - a traceback's last line may quote a document
                "defect in route %s\n%s",
                running.route.id,
                safe_traceback(defect),
                extra={"route": running.route.id, "exchange": exchange.id},
            )
            work = Work(running.route.id, now)
            work.record(exchange.with_note("defect", type=type(defect).__name__, attempt=message.attempts + 1))
        if not isinstance(settle, Retry):
            self._reached(running)
        return await self._settle(work, settle)

    async def _hold(self, running: _RunningRoute, channel: str, deferral: Deferred) -> None:
        logger.warning("route %s: channel %s is held: %s", running.route.id, channel, deferral.message)
        try:
            await self.store.set_hold(channel, hold=True)
        except StoreError:
            logger.exception("channel %s could not be held", channel)

    def _reached(self, running: _RunningRoute) -> None:
        """An attempt was answered, whatever the answer: the destination is up."""
        if running.circuit is not None:
            if running.circuit.is_open:
                logger.info("route %s: destination up again", running.route.id)
            running.circuit.succeeded()

    def _policy(self, message: Message) -> ChannelSpec:
        return self.definition.channels[message.channel]

    def _defer(self, running: _RunningRoute, message: Message, deferral: Deferred) -> Retry | Dead:
        if not deferral.unavailable:
            self._reached(running)
        elif running.circuit is not None and not running.circuit.is_open:
            logger.warning("route %s: destination down: %s", running.route.id, deferral.message)
        policy = self._policy(message).redelivery
        return after_deferral(message, deferral, policy, running.circuit, self.clock.now())

    async def _refuse(
        self, running: _RunningRoute, exchange: AnyExchange, rejection: Rejected, message: Message | None
    ) -> bool:
        """Settle a permanent refusal, together with what the route's `on_rejected` steps produce."""
        work = Work(running.route.id, self.clock.now())
        errors = [problem for problem in rejection.problems if problem.severity == "error"] or list(rejection.problems)
        work.record(exchange.with_note("rejected", problems=" | ".join(str(problem) for problem in errors)))
        await self._tell(running, exchange.with_headers(rejection.headers), errors[0], work)
        if message is None:
            try:
                await self._commit(work, None)
            except StoreError:
                logger.exception("a refusal could not be journaled", extra={"exchange": exchange.id})
            return True
        cause = str(errors[0])
        detail = "\n".join(str(problem) for problem in rejection.problems)
        return await self._settle(work, Dead(message.sequence, cause, detail))

    async def _tell(self, running: _RunningRoute, exchange: AnyExchange, problem: Problem, work: Work) -> None:
        """Run the route's `on_rejected` steps; whatever becomes of them, the message is settled."""
        if running.on_rejected is None:
            return
        try:
            await running.on_rejected(exchange.with_headers(error_headers(problem)), work)
        except Ended:
            pass
        except Exception as failure:  # noqa: BLE001 - a defect here must not keep the refused message in its lane
            logger.error(  # noqa: TRY400 - the failure's text may quote what it refused
                "on-rejected of route %s failed: %s",
                running.route.id,
                type(failure).__name__,
                extra={"route": running.route.id, "exchange": exchange.id},
            )

    async def _settle(self, work: Work, settle: Done | Retry | Dead) -> bool:
        """Commit an outcome; keep trying while the store fails, since the outside world has been told already."""
        while True:
            try:
                await self._commit(work, settle)
            except DuplicateKeyError:
                work.ledger.clear()  # recorded by an earlier attempt of this same message
            except StoreError as error:
                logger.error(  # noqa: TRY400 - the store's own words say it all
                    "the outcome of message %d cannot be stored yet: %s",
                    settle.sequence,
                    error,
                    extra={"route": work.route},
                )
                if self._draining.is_set():
                    return False
                await self.clock.sleep(_COMMIT_RETRY)
            else:
                if isinstance(settle, Dead):
                    logger.error(
                        "message %d is a dead letter: %s", settle.sequence, settle.cause, extra={"route": work.route}
                    )
                return True

    async def _commit(self, work: Work, settle: Done | Retry | Dead | None) -> None:
        unit = UnitOfWork(
            settle,
            tuple(work.enqueue),
            tuple(work.ledger),
            tuple(work.journal),
            self.clock.now(),
            tuple(work.records),
        )
        await self.store.commit(unit)

    # -- housekeeping ------------------------------------------------------------------------------------------------

    def _free(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def _watch_limits(self) -> None:
        limits = {name: spec.max_waiting for name, spec in self.definition.channels.items() if spec.max_waiting}
        while limits:
            try:
                counts = {status.channel: status.waiting for status in await self.store.channels()}
            except StoreError:
                logger.exception("channel sizes cannot be read")
            else:
                self._compiler.full.clear()
                self._compiler.full.update(name for name, limit in limits.items() if counts.get(name, 0) >= limit)
            await self.clock.sleep(_POLL)

    async def _purge(self) -> None:
        keep = self.retention
        while True:
            now = self.clock.now()
            try:
                purged = await self.store.purge(
                    done_before=now - keep.done,
                    dead_before=now - keep.dead,
                    journal_before=now - keep.journal,
                    records_before=now - keep.records,
                    now=now,
                )
            except StoreError:
                logger.exception("purge failed; it will be tried again")
            else:
                if purged.messages or purged.journal or purged.ledger:
                    logger.info("purged %d messages, %d journal lines", purged.messages, purged.journal)
            await self.clock.sleep(_PURGE_EVERY)
