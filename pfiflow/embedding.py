"""The engine inside of a program: under the event loop that it has, or in a thread beside it.

    async with pfiflow.engine("routes/outbound.yaml") as engine:
        sent = await engine.send("transmission", er7)       # durable once this returns
        outcome = await sent.outcome(timeout=60.0)          # its mails were accepted, or refused

    with pfiflow.engine("routes/outbound.yaml").in_thread() as engine:
        outcome = engine.send("transmission", er7).outcome(timeout=60.0)

Nothing is global: no logging is set up, no signal handled, and each engine has its own store. Under asyncio alone: the
stores, aiohttp and the MLLP listener are written for it. A program on trio runs the engine in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import define, field, frozen

from pfiflow.flow.component import Component, Registry
from pfiflow.flow.engine import Changes, Engine, Outcome, RouteStatus, Sent
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.route import ChannelSpec, FlowDefinition, Route
from pfiflow.routefile.load import load
from pfiflow.store.api import Store
from pfiflow.store.sqlite import SqliteStore

__all__ = ["Embedded", "EngineInThread", "Routes", "SentFromThread", "engine"]


Routes: TypeAlias = "str | Path | Route | FlowDefinition | Sequence[str | Path] | Sequence[Route]"
"""Route files, routes made in Python, or a whole flow."""


def engine(
    routes: Routes,
    *,
    channels: Mapping[str, ChannelSpec] | None = None,
    store: Store | None = None,
    registry: Registry | None = None,
    components: Sequence[Component] = (),
    environment: Mapping[str, str] | None = None,
) -> Embedded:
    """An engine for these routes, to be run by `async with`, or by `with ….in_thread()`.

    Args:
        routes: route files; or routes made in Python, or a whole flow.
        channels: the channels of routes made in Python.
        store: where messages are kept; by default the file that the options of the flow name. `MemoryStore()` for
            tests: it keeps nothing.
        registry: the components that may be named; by default those that are installed, and `components`.
        components: components of the program's own, beside those that are installed.
        environment: what `${env:…}` reads in route files; by default the process's own.

    Raises:
        ConfigError: something is wrong with the routes; ConfigErrors with every place in route files.
        TypeError: channels or an environment were given to routes that have their own, or none.
    """
    if isinstance(routes, FlowDefinition) and channels is not None:
        raise TypeError("a FlowDefinition has its channels already")
    known = registry or Registry.installed(*components)

    def read(wanted: Routes) -> FlowDefinition:
        return _definition(wanted, known, channels, environment)

    definition = read(routes)
    return Embedded(Engine(definition, store or SqliteStore(definition.store.path), known), read)


def _definition(
    routes: Routes,
    registry: Registry,
    channels: Mapping[str, ChannelSpec] | None,
    environment: Mapping[str, str] | None,
) -> FlowDefinition:
    if isinstance(routes, FlowDefinition):
        return routes
    items = [routes] if isinstance(routes, str | Path | Route) else routes
    made = tuple(item for item in items if isinstance(item, Route))
    paths = [Path(item) for item in items if not isinstance(item, Route)]
    if made and paths:
        raise TypeError("routes are files, or made in Python, not both at once")
    if paths and channels is not None:
        raise TypeError("route files declare their channels themselves")
    return load(paths, registry, environment=environment) if paths else FlowDefinition(made, channels or {})


@define(eq=False)
class Embedded:
    """An engine that does not run yet."""

    engine: Engine
    read: Callable[[Routes], FlowDefinition]
    _running: AbstractAsyncContextManager[Engine] | None = field(init=False, default=None)

    async def __aenter__(self) -> Engine:
        """Start; gives the engine once every source accepts, or has failed: see `Engine.status`."""
        self._running = self.engine.running()
        return await self._running.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain: sources stop accepting, what is in flight finishes."""
        assert self._running is not None
        try:
            await self._running.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if error is None or group.exceptions != (error,):
                raise  # what went wrong in the block goes on as it is, in no group

    def in_thread(self) -> EngineInThread:
        """The same engine for a program without an event loop, or with another one than asyncio's."""
        return EngineInThread(self)


@define(eq=False)
class EngineInThread:
    """An engine with an event loop and a thread of its own. Its methods may be called from any other thread."""

    _embedded: Embedded
    _stack: ExitStack = field(init=False, factory=ExitStack)
    _portal: BlockingPortal = field(init=False)

    def __enter__(self) -> Self:
        """Start the thread and the engine."""
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal("asyncio", name="pfiflow"))
            stack.enter_context(self._portal.wrap_async_context_manager(self._embedded))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain, and end the thread."""
        self._stack.__exit__(kind, error, traceback)

    @property
    def engine(self) -> Engine:
        """The engine, whose coroutines belong to its own loop."""
        return self._embedded.engine

    def send(self, route: str, body: Any, headers: Mapping[str, str] | None = None) -> SentFromThread:
        """See `Engine.send`."""
        return SentFromThread(self._portal.call(self.engine.send, route, body, headers), self._portal)

    def request(
        self, route: str, body: Any, headers: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> Exchange[Any]:
        """See `Engine.request`."""

        async def ask() -> Exchange[Any]:
            return await self.engine.request(route, body, headers, timeout=timeout)

        return self._portal.call(ask)

    def reload(self, routes: Routes) -> Changes:
        """See `Engine.reload`; the routes are given as to `pfiflow.engine`."""
        definition = self._embedded.read(routes)
        return self._portal.call(self.engine.reload, definition)

    def status(self) -> Mapping[str, RouteStatus]:
        """See `Engine.status`."""
        return self._portal.call(self.engine.status)


@frozen
class SentFromThread:
    """See `Sent`."""

    receipt: Sent
    _portal: BlockingPortal = field(repr=False)

    @property
    def exchange(self) -> Exchange[Any]:
        """The exchange as it left the route's last step."""
        return self.receipt.exchange

    def outcome(self, timeout: float | None = None) -> Outcome:
        """See `Sent.outcome`."""
        return self._portal.call(self.receipt.outcome, timeout)
