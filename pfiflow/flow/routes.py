"""The routes that one engine runs, and how they are exchanged for others while it goes on.

A reload is compiled as a whole before anything is touched; new sources that listen must have started. Then route by
route: an equal one is left alone; one that changed behind an equal source gets another pipeline; any other ends, once
what is in flight on it is finished, and another takes its place. Nothing of it is in the store: whatever interrupts it,
the next start reads the files.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import anyio
from anyio.abc import TaskGroup
from attrs import define, evolve, field, frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.admission import Admission
from pfiflow.flow.compiled import CompiledRoute, compile_route
from pfiflow.flow.component import Sink
from pfiflow.flow.outcome import safe_traceback
from pfiflow.flow.pipeline import Compiler
from pfiflow.flow.route import EngineOptions, FlowDefinition, FromChannel, FromEndpoint, Route
from pfiflow.flow.running import RouteStatus, RunningRoute

__all__ = ["Changes", "Routes", "threads_of"]

logger = logging.getLogger("pfiflow.engine")

_CLOSE_TIMEOUT = 5.0  # seconds, for one sink


def threads_of(options: EngineOptions) -> int:
    """Threads for long processors."""
    return options.threads or os.cpu_count() or 1


@frozen
class Changes:
    """What a reload did, by the ids of routes. `unread`: messages in channels that it left without a route."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    unread: Mapping[str, int] = field(factory=dict)

    def __str__(self) -> str:
        kinds = {"changed": self.changed, "added": self.added, "removed": self.removed, "unchanged": self.unchanged}
        text = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        for channel, count in self.unread.items():
            text += f"; {count} messages wait in channel {channel}, which no route reads any more"
        return text


@define(eq=False)
class Routes:
    """See the module."""

    definition: FlowDefinition
    compiler: Compiler
    admission: Admission
    on_status: Callable[[RouteStatus], None]
    running: dict[str, RunningRoute] = field(init=False, factory=dict)
    _leaving: list[CompiledRoute] = field(init=False, factory=list)  # replaced; something is in flight on them
    _tasks: TaskGroup | None = field(init=False, default=None)
    _turn: anyio.Lock = field(init=False, factory=anyio.Lock)
    _news: anyio.Event = field(init=False, factory=anyio.Event)

    def __attrs_post_init__(self) -> None:
        for route in self.definition.routes:
            if route.id in self.running:
                raise ConfigError(f"two routes are called {route.id!r}", code="route")
            self.running[route.id] = self._new(compile_route(self.compiler, self.definition, route), self.compiler)

    def _new(self, compiled: CompiledRoute, compiler: Compiler) -> RunningRoute:
        return RunningRoute(compiled, compiler, self.admission, self._report)

    def _report(self, status: RouteStatus) -> None:
        self._news.set()
        self.on_status(status)

    def find(self, route: str) -> RunningRoute:
        """The route of that id. Raises ConfigError."""
        try:
            return self.running[route]
        except KeyError:
            raise ConfigError(f"no route is called {route!r}; known: {', '.join(sorted(self.running))}") from None

    # -- life ------------------------------------------------------------------------------------------------------

    async def declare_channels(self) -> None:
        """Make the channels known to the store."""
        channels = self.definition.channels
        await self.compiler.store.declare_channels({name: spec.hold for name, spec in channels.items()})

    async def start(self, tasks: TaskGroup) -> None:
        """Run all routes, in these tasks."""
        self._tasks = tasks
        for running in self.running.values():
            tasks.start_soon(running.run)

    async def started(self, timeout: float) -> None:
        """Return when every route runs or has failed, or after that time."""
        await self._settled(self.running.values(), timeout)

    async def _settled(self, routes: Iterable[RunningRoute], timeout: float) -> None:
        routes = tuple(routes)
        with anyio.move_on_after(timeout):
            while any(running.status.state == "starting" for running in routes):
                self._news = anyio.Event()
                await self._news.wait()

    def stopping(self) -> None:
        """Let nothing new in anywhere, from this moment on."""
        for running in self.running.values():
            running.stopping.set()

    async def finish(self, patience: float) -> int:
        """Stop all routes, and wait that long for what is in flight; gives how many exchanges are left."""
        with anyio.move_on_after(patience):
            await self._turn.acquire()  # a reload that has begun
        for running in tuple(self.running.values()):
            await running.stop()
        routes = [*(running.compiled for running in self.running.values()), *self._leaving]
        with anyio.move_on_after(patience):
            for compiled in routes:
                await compiled.in_flight.finished()
        return sum(compiled.in_flight.count for compiled in routes)

    async def close_sinks(self) -> None:
        """Close every sink."""
        for sink in tuple(self.compiler.sinks):
            await self._close(sink)

    async def _close(self, sink: Sink) -> None:
        self.compiler.forget(sink)
        try:
            with anyio.move_on_after(_CLOSE_TIMEOUT):
                await sink.aclose()
        except Exception as defect:  # noqa: BLE001 - the other sinks and the store are still to be closed
            logger.error("a sink could not be closed\n%s", safe_traceback(defect))  # noqa: TRY400 - may quote a document

    # -- reload ----------------------------------------------------------------------------------------------------

    async def reload(self, definition: FlowDefinition) -> Changes:
        """See `Engine.reload`. It runs to its end, whatever becomes of who asked for it."""
        self._check_running()
        assert self._tasks is not None
        outcome: list[Changes | Exception] = []
        done = anyio.Event()

        async def act() -> None:
            try:
                async with self._turn:
                    outcome.append(await self._reload(definition))
            except Exception as error:  # noqa: BLE001 - it is for who asked; the routes go on
                outcome.append(error)
            finally:
                done.set()

        self._tasks.start_soon(act)
        await done.wait()
        if not outcome:
            raise ConfigError("the engine stopped meanwhile.", code="reload")
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _check_running(self) -> None:
        if self._tasks is None or self.admission.settlement.stopping.is_set():
            raise ConfigError("the engine does not run, or is stopping: nothing is reloaded.", code="reload")

    async def _reload(self, definition: FlowDefinition) -> Changes:
        self._check_running()
        early: list[RunningRoute] = []
        try:
            plan = _Plan.of(self.running, definition, self.compiler, self._new)
            await self._open_early(plan.new.values(), early)
        except BaseException:
            for running in early:
                await running.retire(0.0)
            await self._close_unused()
            raise
        before, self.definition = _read_by(self.definition), definition
        await self.declare_channels()
        self._adopt(definition.engine)
        await self._exchange(plan, early)
        self.compiler = plan.compiler
        await self._close_unused()
        return evolve(plan.changes, unread=await self._waiting(before - _read_by(definition)))

    async def _open_early(self, new: Iterable[RunningRoute], early: list[RunningRoute]) -> None:
        """Start the sources that listen where nothing of ours does; what comes in there waits. Raises ConfigError."""
        assert self._tasks is not None
        taken = {_listens(running) for running in self.running.values()}
        for running in new:
            if _listens(running) not in {None, *taken}:
                running.receive.closed = anyio.Event()
                early.append(running)
                self._tasks.start_soon(running.run)
        await self._settled(early, self.definition.engine.start_timeout)
        failed = [running for running in early if running.status.state != "running"]
        if failed:
            causes = (f"route {each.compiled.id!r}: {each.status.last_error or 'it did not start'}" for each in failed)
            raise ConfigError(f"{'; '.join(causes)}. Nothing was reloaded.", code="reload")

    async def _exchange(self, plan: _Plan, early: Sequence[RunningRoute]) -> None:
        assert self._tasks is not None
        late = [new for new in plan.new.values() if new not in early]
        # What reads a source ends before another reads one: it may be the same port, or the same mailbox.
        in_turn = any(isinstance(new.compiled.route.source, FromEndpoint) for new in late)
        async with anyio.create_task_group() as ends:
            for name in (*plan.changes.changed, *plan.changes.removed):
                old = self.running[name]
                if name in plan.pipelines:
                    self._leave(old.compiled)
                    old.follow(plan.pipelines[name], plan.compiler)
                    continue
                old.replaced = name in plan.new
                if in_turn and isinstance(old.compiled.route.source, FromEndpoint):
                    ends.start_soon(old.retire, self.definition.engine.drain)
                else:
                    self._leave(old.compiled, old)
        for name in plan.changes.removed:
            del self.running[name]
        self.running |= plan.new
        for new in plan.new.values():
            if self.admission.settlement.stopping.is_set():
                new.stopping.set()
            new.receive.open()
        for new in late:
            self._tasks.start_soon(new.run)
        await self._settled(late, self.definition.engine.start_timeout)

    def _leave(self, compiled: CompiledRoute, running: RunningRoute | None = None) -> None:
        """Let what is in flight on a route as it was finish by itself, and its route end, if there is one to end."""
        assert self._tasks is not None
        self._leaving.append(compiled)
        if running is not None:
            running.stopping.set()

        async def leave() -> None:
            if running is not None:
                await running.retire()
            await compiled.in_flight.finished()
            self._leaving.remove(compiled)
            await self._close_unused()

        self._tasks.start_soon(leave)

    async def _close_unused(self) -> None:
        routes = [*(running.compiled for running in self.running.values()), *self._leaving]
        used = {id(sink) for compiled in routes for sink in compiled.sinks}
        for sink in [sink for sink in self.compiler.sinks if id(sink) not in used]:
            await self._close(sink)

    def _adopt(self, options: EngineOptions) -> None:
        self.admission.places.total_tokens = options.max_in_flight
        self.admission.patience = options.admission
        self.compiler.threads.total_tokens = threads_of(options)

    async def _waiting(self, channels: AbstractSet[str]) -> Mapping[str, int]:
        statuses = await self.compiler.store.channels() if channels else ()
        return {each.channel: each.waiting for each in statuses if each.waiting and each.channel in channels}


@define
class _Plan:
    """What a reload comes to: everything is built, nothing runs yet."""

    compiler: Compiler
    changes: Changes
    pipelines: Mapping[str, CompiledRoute]  # of routes that keep their source
    new: Mapping[str, RunningRoute]  # added, or in the place of another

    @classmethod
    def of(
        cls,
        running: Mapping[str, RunningRoute],
        definition: FlowDefinition,
        compiler: Compiler,
        new: Callable[[CompiledRoute, Compiler], RunningRoute],
    ) -> _Plan:
        """Compile what is not as it was. Raises ConfigError."""
        routes = {route.id: route for route in definition.routes}
        if len(routes) < len(definition.routes):
            raise ConfigError("two routes have the same id", code="route")
        compiler = evolve(compiler, channels=definition.channels)
        old = {name: each.compiled for name, each in running.items() if name in routes}
        same = {name for name, each in old.items() if each.is_as_in(definition, routes[name])}
        compiled = {name: compile_route(compiler, definition, routes[name]) for name in routes if name not in same}
        keeps = {name for name in compiled if name in old and _keeps_source(old[name].route, routes[name])}
        changes = Changes(
            changed=tuple(name for name in routes if name in running and name not in same),
            added=tuple(name for name in routes if name not in running),
            removed=tuple(name for name in running if name not in routes),
            unchanged=tuple(name for name in routes if name in same),
        )
        pipelines = {name: each for name, each in compiled.items() if name in keeps}
        others = {name: new(each, compiler) for name, each in compiled.items() if name not in keeps}
        return cls(compiler, changes, pipelines, others)


def _read_by(definition: FlowDefinition) -> AbstractSet[str]:
    """The channels that its routes read."""
    sources = [route.source for route in definition.routes]
    return {source.channel for source in sources if isinstance(source, FromChannel)}


def _keeps_source(old: Route, new: Route) -> bool:
    return not isinstance(old.source, FromChannel) and old.source == new.source


def _listens(running: RunningRoute) -> str | None:
    source = running.compiled.route.source
    if not isinstance(source, FromEndpoint):
        return None
    return running.compiler.registry.component(source.source, "source").binds(source.options)
