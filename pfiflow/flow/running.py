"""A route as it runs: its source or its channel's workers, restarted when they die, and how it is doing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import anyio
from attrs import define, field, frozen

from pfiflow.flow.admission import Admission
from pfiflow.flow.compiled import CompiledRoute
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
    """One route of one engine. `run` serves until `stopping` is set or it is cancelled.

    A reload gives it another pipeline (`follow`), or another running route takes its place (`retire`).
    """

    compiled: CompiledRoute
    compiler: Compiler
    admission: Admission
    on_status: Callable[[RouteStatus], None]
    replaced: bool = field(init=False, default=False)  # another one goes by its name
    source: Source | None = field(init=False)
    status: RouteStatus = field(init=False)
    stopping: anyio.Event = field(init=False, factory=anyio.Event)
    receive: Entrance = field(init=False)
    _ended: anyio.Event = field(init=False, factory=anyio.Event)
    _scope: anyio.CancelScope | None = field(init=False, default=None)
    _deliveries: list[Delivery] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.receive = Entrance(self.compiled, self.admission, self.stopping)
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
        return Delivery(settlement, compiler, compiled, self.stopping, channel=channel)

    async def stop(self) -> None:
        """Let nothing new in. What is in flight goes on: see `CompiledRoute.in_flight`."""
        self.stopping.set()
        for delivery in self._deliveries:
            delivery.leave()
        if self.source is not None:
            await self.source.stop_accepting()

    def follow(self, compiled: CompiledRoute, compiler: Compiler) -> None:
        """Go on with another pipeline behind the same source. What is in flight ends on the old one."""
        self.compiled = self.receive.compiled = compiled
        self.compiler = compiler

    async def retire(self, patience: float | None = None) -> None:
        """Stop, give what is in flight so many seconds to finish (None: as long as it takes), and end."""
        self.stopping.set()
        self.receive.open()
        await self.stop()
        with anyio.move_on_after(patience):
            await self.compiled.in_flight.finished()
        if self._scope is not None:
            self._scope.cancel()
        await self._ended.wait()

    async def run(self) -> None:
        """Serve; what dies is started again, with back-off."""
        try:
            with anyio.CancelScope() as self._scope:
                await self._run()
            self._report(RouteStatus(self.compiled.id, "stopped", "", self.status.restarts))
        finally:
            self._ended.set()

    async def _run(self) -> None:
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

    async def _serve(self, restarts: int) -> None:
        def started(address: str) -> None:
            self._report(RouteStatus(self.compiled.id, "running", address, restarts))

        match self.compiled.route.source:
            case FromChannel(channel=channel):
                assert self.compiled.channel is not None
                delivery = self.delivery(channel)
                self._deliveries = [delivery]
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
        if self.replaced:
            logger.info("route %s as it was before: %s", status.route, status.state, extra={"route": status.route})
            return
        logger.info(
            "route %s %s %s",
            status.route,
            status.state,
            status.address or status.last_error,
            extra={"route": status.route},
        )
        self.on_status(status)
