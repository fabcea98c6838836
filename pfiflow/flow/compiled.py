"""A route made ready to run: its pipelines, the circuit of its channel, and what is under way on them."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import anyio
from attrs import define, evolve, field

from pfiflow.errors import ConfigError
from pfiflow.flow.circuit import Circuit
from pfiflow.flow.component import Sink
from pfiflow.flow.expression import Expression
from pfiflow.flow.pipeline import Compiler, Pipeline
from pfiflow.flow.route import ChannelSpec, FlowDefinition, FromChannel, Route

__all__ = ["CompiledRoute", "InFlight", "compile_route"]


@define(eq=False)
class InFlight:
    """Counts what is under way (`with in_flight: …`), and tells when nothing is."""

    count: int = 0
    _idle: anyio.Event = field(init=False, factory=anyio.Event)

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.count -= 1
        if not self.count:
            self._idle.set()

    async def finished(self) -> None:
        """Return once nothing is under way."""
        while self.count:
            if self._idle.is_set():  # else somebody waits for it already
                self._idle = anyio.Event()
            await self._idle.wait()


@define(eq=False)
class CompiledRoute:
    """A route whose every name is resolved. `channel` and `circuit` are those of a route that reads a channel."""

    route: Route
    pipeline: Pipeline
    on_rejected: Pipeline | None = None
    channel: ChannelSpec | None = None
    circuit: Circuit | None = None
    sinks: tuple[Sink, ...] = ()
    keys: Mapping[str, Expression | None] = field(factory=dict)  # of the channels that it writes into
    in_flight: InFlight = field(init=False, factory=InFlight)

    @property
    def id(self) -> str:
        """The route's id."""
        return self.route.id

    def is_as_in(self, definition: FlowDefinition, route: Route) -> bool:
        """Whether that route of that flow would be compiled to just this."""
        channels = definition.channels
        if route != self.route:
            return False
        if any(name not in channels or channels[name].key != key for name, key in self.keys.items()):
            return False
        if self.channel is None or not isinstance(route.source, FromChannel):
            return True
        channel = channels.get(route.source.channel)
        theirs = None if channel is None else (channel.workers, channel.redelivery)
        return theirs == (self.channel.workers, self.channel.redelivery)


def compile_route(compiler: Compiler, definition: FlowDefinition, route: Route) -> CompiledRoute:
    """This route of the flow, ready to run. Raises ConfigError for unknown components or channels."""
    compiler = evolve(compiler, taken=[], keys={})
    on_rejected = compiler.compile(route.id, route.on_rejected) if route.on_rejected else None
    pipeline = compiler.compile(route.id, route.steps)
    sinks, keys = tuple(compiler.taken), compiler.keys
    if not isinstance(route.source, FromChannel):
        return CompiledRoute(route, pipeline, on_rejected, sinks=sinks, keys=keys)
    channel = definition.channels.get(route.source.channel)
    if channel is None:
        raise ConfigError(f"route {route.id!r} reads unknown channel {route.source.channel!r}", code="channel")
    return CompiledRoute(route, pipeline, on_rejected, channel, Circuit(channel.redelivery), sinks, keys)
