"""The engine: runs routes over channels, on anyio under asyncio, in one task group.

What it guarantees (docs/guarantees.md says how each is tested):

* A source's `receive` returns only when the unit of work is durable; so what a peer was told is accepted is kept.
* A channel message is settled in the same commit as what it produced; a crash in between repeats it, with the same
  exchange id, so that what was sent outside can be told from a second copy.
* The messages of one lane are delivered one at a time, in order; a lane that waits for a retry holds up no other.
* A route that dies is restarted with back-off and reported; the other routes go on.

This module is its life: start, drain, stop. `routes.py` has its routes and exchanges them, `running.py` keeps one
running, `admission.py` lets exchanges in, `delivery.py` works the channels, `settlement.py` commits what came of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus
from attrs import define, field

from pfiflow.errors import ConfigError, Problem, Rejected
from pfiflow.flow.admission import Admission, new_exchange_id
from pfiflow.flow.clock import SYSTEM_CLOCK, Clock
from pfiflow.flow.component import Receive, Registry, Source
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.following import Outcome, Sent
from pfiflow.flow.housekeeping import purge, watch_limits
from pfiflow.flow.pipeline import Compiler, Work
from pfiflow.flow.route import EngineOptions, FlowDefinition, FromChannel, Retention
from pfiflow.flow.routes import Changes, Routes, threads_of
from pfiflow.flow.running import RouteState, RouteStatus
from pfiflow.flow.settlement import Settlement
from pfiflow.flow.trace import Trace
from pfiflow.store.api import Store

__all__ = ["Changes", "Engine", "Outcome", "RouteState", "RouteStatus", "Sent", "new_exchange_id"]

logger = logging.getLogger("pfiflow.engine")


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
    trace: Trace | None = None
    new_id: Callable[[float], str] = new_exchange_id
    _routes: Routes = field(init=False)
    _draining: anyio.Event = field(init=False, factory=anyio.Event)

    def __attrs_post_init__(self) -> None:
        compiler = Compiler(
            self.registry,
            self.definition.channels,
            self.store,
            self.clock,
            anyio.CapacityLimiter(threads_of(self.options)),
            self.trace,
        )
        settlement = Settlement(self.store, self.clock, self._draining)
        places = anyio.CapacityLimiter(self.options.max_in_flight)
        admission = Admission(settlement, places, self.options.admission, self.new_id)
        self._routes = Routes(self.definition, compiler, admission, self._report)

    @property
    def options(self) -> EngineOptions:
        """The engine's options, as the flow definition gives them."""
        return self.definition.engine

    @property
    def retention(self) -> Retention:
        """How long finished things are kept."""
        return self.definition.store.retention

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `drain()` has finished its work, or until cancelled (which loses nothing that was accepted).

        Opens and closes the store. Raises StoreError when it cannot be opened.
        """
        _check_loop()
        await self.store.open()
        await self._run_open()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """Run in the background of a `with` block, once every source accepts or has failed; drain at its end."""
        _check_loop()
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
        full = self._routes.compiler.full
        try:
            await self._routes.declare_channels()
            async with anyio.create_task_group() as tasks:
                await self._routes.start(tasks)
                tasks.start_soon(watch_limits, lambda: self.definition.channels, full, self.store, self.clock)
                tasks.start_soon(purge, lambda: self.retention, self.store, self.clock)
                await self._routes.started(self.options.start_timeout)
                task_status.started()
                await self._draining.wait()
                await self._finish()
                tasks.cancel_scope.cancel()
        finally:
            await self._close()

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._routes.close_sinks()
            await self.store.aclose()

    async def reload(self, definition: FlowDefinition) -> Changes:
        """Go on with another flow, route by route; what is in flight ends on the routes as they were.

        A route that is the same is not touched. One that changed behind the same source keeps that source, with its
        connections. Nothing is changed when this raises ConfigError: a name is unknown, a source cannot listen where
        it should, the store is another one, or the engine is stopping.
        """
        if definition.store.path != self.definition.store.path:
            text = f"store: the path cannot change while the engine runs: it has {self.definition.store.path}"
            raise ConfigError(f"{text}.", code="reload", hint="Stop it, and start it anew.")
        changes = await self._routes.reload(definition)
        self.definition = definition
        return changes

    def drain(self) -> None:
        """Stop accepting, finish what is in flight within `EngineOptions.drain` seconds, then let `run` return."""
        self._draining.set()
        self._routes.stopping()

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining.is_set()

    async def _finish(self) -> None:
        left = await self._routes.finish(self.options.drain)
        if left:
            logger.warning("drain time is over; %d exchanges go on after the next start", left)

    def status(self) -> Mapping[str, RouteStatus]:
        """How each route is doing."""
        return {name: running.status for name, running in self._routes.running.items()}

    def _report(self, status: RouteStatus) -> None:
        if self.on_status is not None:
            self.on_status(status)

    # -- exchanges handed in by the program --------------------------------------------------------------------------

    async def send(self, route: str, body: Any, headers: Mapping[str, str] | None = None) -> Sent:
        """Hand an exchange to a route, in-process, as its source would. Same promises and errors as `Receive`.

        What it returns is durable; its `outcome()` waits for the end of all that comes of it, over every channel.
        """
        running = self._routes.find(route)
        journey = self._routes.admission.settlement.journeys.begin(running.receive.new_id())
        try:
            receipt = await running.receive(Exchange(journey.exchange_id, body, headers or {}, origin="in-process"))
        finally:
            journey.count(-1)
        return Sent(receipt.exchange, receipt.duplicate, journey=journey, store=self.store)

    async def request(
        self, route: str, body: Any, headers: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> Exchange[Any]:
        """Ask a route, in-process: the exchange as it leaves the route's last step.

        What the route put into channels is durable by then, and goes its way by itself: `send` follows it. Raises
        Rejected and Deferred as the route does, Rejected too for an exchange that an `idempotent` step has seen
        before, since nothing answers it; TimeoutError after so many seconds: then it may or may not have been kept.
        """
        try:
            with anyio.fail_after(timeout):
                receipt = await self.send(route, body, headers)
        except TimeoutError:
            raise TimeoutError(f"route {route} did not answer within {timeout:g} s") from None
        if receipt.duplicate is not None:
            raise Rejected(Problem("duplicate", f"seen before, with {receipt.duplicate} content: nothing was done"))
        return receipt.exchange

    async def journal(self, exchange: Exchange[Any]) -> None:
        """Write an exchange's notes into the journal and its memories into the records, beside any route.

        Returns once they are durable; while the store fails it waits. Raises nothing.
        """
        settlement = self._routes.admission.settlement
        work = Work("", self.clock.now())
        work.record(exchange)
        await settlement.settle(work, None)

    # -- worked by hand ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Engine]:
        """Open, and run nothing by itself: sources are silent, channels are worked by `work_due`. For tests."""
        _check_loop()
        await self.store.open()
        try:
            await self._routes.declare_channels()
            yield self
        finally:
            await self._close()

    def entrance(self, route: str) -> tuple[Source | None, Receive]:
        """A route's source (None: it has none), and how it hands exchanges in."""
        running = self._routes.find(route)
        return running.source, running.receive

    async def work_due(self) -> float | None:
        """Work through what is due, lane by lane, in this task; gives when the next will be. See `standing`."""
        deliveries = [
            running.delivery(running.compiled.route.source.channel)
            for running in self._routes.running.values()
            if isinstance(running.compiled.route.source, FromChannel)
        ]
        while any([await delivery.work_due() for delivery in deliveries]):
            pass
        dues = [await delivery.next_due() for delivery in deliveries]
        return min((due for due in dues if due is not None), default=None)


def _check_loop() -> None:
    """The stores, and the endpoints of MLLP and HTTP, are asyncio's own. Raises ConfigError elsewhere."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        hint = "Run it in a thread with a loop of its own: with pfiflow.engine(…).in_thread() as engine: …"
        raise ConfigError("pfiflow runs on asyncio, and this is another event loop.", code="loop", hint=hint) from None
