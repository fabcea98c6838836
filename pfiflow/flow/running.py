"""A route as it runs: its source or its channel's workers, restarted when they die, and how it is doing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import anyio
from attrs import define, field, frozen

from pfiflow.flow.admission import Admission
from pfiflow.flow.compiled import CompiledRoute, InFlight
from pfiflow.flow.component import Source
from pfiflow.flow.delivery import Delivery
from pfiflow.flow.entrance import Entrance
from pfiflow.flow.outcome import describe, safe_traceback
from pfiflow.flow.pipeline import Compiler
from pfiflow.flow.route import FromChannel, FromEndpoint

__all__ = ["RouteState", "RouteStatus", "RunningRoute"]

logger = logging.getLogger("pfiflow.engine")

RouteState = Literal["starting", "running", "backing-off", "stopped"]

_RESTART_DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@frozen
class RouteStatus:
    """How a route is doing. `address` is what its source listens on or reads, once it runs."""

    route: str
    state: RouteState
    address: str = ""
    restarts: int = 0
    last_error: str = ""


@define(eq=False)
class RunningRoute:
    """One route of one engine. `run` serves until `stopping` is set or it is cancelled."""

    compiled: CompiledRoute
    compiler: Compiler
    admission: Admission
    on_status: Callable[[RouteStatus], None]
    source: Source | None = field(init=False)
    status: RouteStatus = field(init=False)
    stopping: anyio.Event = field(init=False, factory=anyio.Event)
    in_flight: InFlight = field(init=False, factory=InFlight)
    receive: Entrance = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.receive = Entrance(self.compiled, self.admission, self.stopping, self.in_flight)
        self.source = self._build_source()
        self.status = RouteStatus(self.compiled.id, "starting")

    def _build_source(self) -> Source | None:
        """A new source, for a route that has one. Raises ConfigError."""
        origin = self.compiled.route.source
        if not isinstance(origin, FromEndpoint):
            return None
        component = self.compiler.registry.component(origin.source, "source")
        source: Source = self.compiler.build(component, origin.options)
        return source

    def delivery(self, channel: str) -> Delivery:
        """What works the channel that this route reads."""
        settlement, compiler, compiled = self.admission.settlement, self.compiler, self.compiled
        return Delivery(settlement, compiler, compiled, self.stopping, self.in_flight, channel=channel)

    async def stop(self) -> None:
        """Let nothing new in. What is in flight goes on: see `in_flight`."""
        self.stopping.set()
        if self.source is not None:
            await self.source.stop_accepting()

    async def run(self) -> None:
        """Serve; what dies is started again, with back-off."""
        clock, route = self.admission.settlement.clock, self.compiled.id
        restarts = 0
        while not self.stopping.is_set():
            started_at = clock.now()
            try:
                if restarts:
                    self.source = self._build_source()
                await self._serve(restarts)
                error = "its source ended"
            except Exception as failure:  # noqa: BLE001 - whatever it is, the other routes must go on
                error = describe(failure)
                logger.error(  # noqa: TRY400 - a traceback's last line may quote a document
                    "route %s died: %s\n%s", route, error, safe_traceback(failure), extra={"route": route}
                )
            if self.stopping.is_set():
                break
            if clock.now() - started_at > _RESTART_DELAYS[-1]:
                restarts = 0
            delay = _RESTART_DELAYS[min(restarts, len(_RESTART_DELAYS) - 1)]
            restarts += 1
            self._report(RouteStatus(route, "backing-off", "", restarts, error))
            with anyio.move_on_after(delay):
                await self.stopping.wait()
        self._report(RouteStatus(route, "stopped", "", restarts))

    async def _serve(self, restarts: int) -> None:
        def started(address: str) -> None:
            self._report(RouteStatus(self.compiled.id, "running", address, restarts))

        match self.compiled.route.source:
            case FromChannel(channel=channel):
                assert self.compiled.channel is not None
                delivery = self.delivery(channel)
                async with anyio.create_task_group() as workers:
                    for _ in range(self.compiled.channel.workers):
                        workers.start_soon(delivery.work)
                    started(f"channel {channel}")
            case FromEndpoint():
                assert self.source is not None
                await self.source.run(self.receive, started)
            case None:  # fed in-process, by `Engine.send`
                started("in-process")
                await self.stopping.wait()

    def _report(self, status: RouteStatus) -> None:
        self.status = status
        logger.info(
            "route %s %s %s",
            status.route,
            status.state,
            status.address or status.last_error,
            extra={"route": status.route},
        )
        self.on_status(status)
