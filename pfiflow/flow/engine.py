"""The engine: runs routes over channels, on anyio under asyncio, in one task group.

What it guarantees (docs/guarantees.md says how each is tested):

* A source's `receive` returns only when the unit of work is durable; so what a peer was told is accepted is kept.
* A channel message is settled in the same commit as what it produced; a crash in between repeats it, with the same
  exchange id, so that what was sent outside can be told from a second copy.
* The messages of one lane are delivered one at a time, in order; a lane that waits for a retry holds up no other.
* A route that dies is restarted with back-off and reported; the other routes go on.

This module is its life: start, drain, stop. `running.py` keeps a route running, `admission.py` lets exchanges in,
`delivery.py` works the channels, `settlement.py` commits what came of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus
from attrs import define, field

from pfiflow.errors import ConfigError
from pfiflow.flow.admission import Admission, new_exchange_id
from pfiflow.flow.clock import SYSTEM_CLOCK, Clock
from pfiflow.flow.compiled import compile_route
from pfiflow.flow.component import Receipt, Receive, Registry, Source
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.housekeeping import purge, watch_limits
from pfiflow.flow.pipeline import Compiler
from pfiflow.flow.route import EngineOptions, FlowDefinition, FromChannel, Retention
from pfiflow.flow.running import RouteState, RouteStatus, RunningRoute
from pfiflow.flow.settlement import Settlement
from pfiflow.flow.trace import Trace
from pfiflow.store.api import Store

__all__ = ["Engine", "RouteState", "RouteStatus", "new_exchange_id"]

logger = logging.getLogger("pfiflow.engine")

_CLOSE_TIMEOUT = 5.0


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
    _routes: dict[str, RunningRoute] = field(init=False, factory=dict)
    _compiler: Compiler = field(init=False)
    _draining: anyio.Event = field(init=False, factory=anyio.Event)
    _all_started: anyio.Event = field(init=False, factory=anyio.Event)

    def __attrs_post_init__(self) -> None:
        self._compiler = Compiler(
            self.registry,
            self.definition.channels,
            self.store,
            self.clock,
            anyio.CapacityLimiter(self.options.threads or os.cpu_count() or 1),
            self.trace,
        )
        settlement = Settlement(self.store, self.clock, self._draining)
        places = anyio.CapacityLimiter(self.options.max_in_flight)
        admission = Admission(settlement, places, self.options.admission, self.new_id)
        for route in self.definition.routes:
            if route.id in self._routes:
                raise ConfigError(f"two routes are called {route.id!r}", code="route")
            compiled = compile_route(self._compiler, self.definition, route)
            self._routes[route.id] = RunningRoute(compiled, self._compiler, admission, self._report)

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
        channels = self.definition.channels
        try:
            await self.store.declare_channels({name: spec.hold for name, spec in channels.items()})
            async with anyio.create_task_group() as tasks:
                for running in self._routes.values():
                    tasks.start_soon(running.run)
                tasks.start_soon(watch_limits, channels, self._compiler.full, self.store, self.clock)
                tasks.start_soon(purge, self.retention, self.store, self.clock)
                with anyio.move_on_after(self.options.start_timeout):
                    await self._all_started.wait()
                task_status.started()
                await self._draining.wait()
                await self._finish()
                tasks.cancel_scope.cancel()
        finally:
            await self._close()

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            for sink in self._compiler.sinks:
                with anyio.move_on_after(_CLOSE_TIMEOUT):
                    await sink.aclose()
            await self.store.aclose()

    def drain(self) -> None:
        """Stop accepting, finish what is in flight within `EngineOptions.drain` seconds, then let `run` return."""
        self._draining.set()
        for running in self._routes.values():
            running.stopping.set()

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining.is_set()

    async def _finish(self) -> None:
        for running in self._routes.values():
            await running.stop()
        with anyio.move_on_after(self.options.drain) as scope:
            for running in self._routes.values():
                await running.in_flight.finished()
        if scope.cancelled_caught:
            left = sum(running.in_flight.count for running in self._routes.values())
            logger.warning("drain time is over; %d exchanges go on after the next start", left)

    def status(self) -> Mapping[str, RouteStatus]:
        """How each route is doing."""
        return {name: running.status for name, running in self._routes.items()}

    def _report(self, status: RouteStatus) -> None:
        if self.on_status is not None:
            self.on_status(status)
        if all(running.status.state != "starting" for running in self._routes.values()):
            self._all_started.set()

    # -- exchanges handed in by the program --------------------------------------------------------------------------

    async def send(self, route: str, body: Any, headers: Mapping[str, str] | None = None) -> Receipt:
        """Hand an exchange to a route, in-process, as its source would. Same promises and errors as `Receive`."""
        return await self._running(route).receive(Exchange("", body, headers or {}, origin="in-process"))

    def _running(self, route: str) -> RunningRoute:
        try:
            return self._routes[route]
        except KeyError:
            raise ConfigError(f"no route is called {route!r}; known: {', '.join(sorted(self._routes))}") from None

    # -- worked by hand ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Engine]:
        """Open, and run nothing by itself: sources are silent, channels are worked by `work_due`. For tests."""
        await self.store.open()
        try:
            await self.store.declare_channels({name: spec.hold for name, spec in self.definition.channels.items()})
            yield self
        finally:
            await self._close()

    def entrance(self, route: str) -> tuple[Source | None, Receive]:
        """A route's source (None: it has none), and how it hands exchanges in."""
        running = self._running(route)
        return running.source, running.receive

    async def work_due(self) -> float | None:
        """Work through what is due, lane by lane, in this task; gives when the next will be. See `standing`."""
        deliveries = [
            running.delivery(running.compiled.route.source.channel)
            for running in self._routes.values()
            if isinstance(running.compiled.route.source, FromChannel)
        ]
        while any([await delivery.work_due() for delivery in deliveries]):
            pass
        dues = [await delivery.next_due() for delivery in deliveries]
        return min((due for due in dues if due is not None), default=None)
