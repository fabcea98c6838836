"""Compiles the steps of a route into one coroutine function, and keeps what an exchange changes in a `Work`."""

from __future__ import annotations

import contextlib
import inspect
import logging
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias, assert_never

import anyio
import anyio.to_thread
from attrs import define, evolve, field

from pfiflow.errors import ConfigError, Deferred, Problem, Rejected
from pfiflow.flow import route as r
from pfiflow.flow.clock import Clock
from pfiflow.flow.component import BodyType, Component, NoOptions, Registry, Sink
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration
from pfiflow.flow.trace import Decided, StepBegan, StepEnded, Trace
from pfiflow.store.api import ContentHash, Enqueue, JournalEntry, LedgerEntry, Record, Store

__all__ = ["Compiler", "Ended", "Pipeline", "SeenBefore", "Work", "default_options"]

logger = logging.getLogger("pfiflow.route")

AnyExchange: TypeAlias = Exchange[Any]


class Ended(Exception):
    """The exchange ends here, successfully."""


class SeenBefore(Exception):
    """The exchange carries a key recorded before; `kind` says whether the content is the same."""

    def __init__(self, kind: Literal["same", "other"]) -> None:
        super().__init__(kind)
        self.kind = kind


@define
class Work:
    """What one exchange changes in the store, collected while it goes through its route; committed at once.

    `progress`: what its sinks have set in its headers so far. Should the attempt fail after them, that is kept for the
    next one: a sink then knows what it has done already. `notice`: it tells of what is settled already, so that no
    channel is too full for it.
    """

    route: str
    now: float
    enqueue: list[Enqueue] = field(factory=list)
    ledger: list[LedgerEntry] = field(factory=list)
    journal: list[JournalEntry] = field(factory=list)
    records: list[Record] = field(factory=list)
    progress: dict[str, str] = field(factory=dict)
    notice: bool = False
    _hash: ContentHash | None = None

    def hash_of(self, payload: bytes) -> ContentHash:
        """The digest of a payload, for the ledger and the channels: one for the same bytes, not computed yet."""
        if self._hash is None or self._hash.payload is not payload:
            self._hash = ContentHash(payload)
        return self._hash

    def record(self, exchange: AnyExchange) -> AnyExchange:
        """Move the exchange's notes into the journal, and its memories into the records."""
        if not exchange.notes and not exchange.memories:
            return exchange
        for note in exchange.notes:
            self.journal.append(JournalEntry(self.now, exchange.id, self.route, note.event, note.facts))
        for memory in exchange.memories:
            self.records.append(Record(memory.kind, memory.key, self.now, exchange.id, memory.facts))
        return evolve(exchange, notes=(), memories=())


Pipeline: TypeAlias = Callable[[AnyExchange, Work], Awaitable[AnyExchange]]
"""Takes an exchange through compiled steps. Raises Rejected, Deferred, Ended, SeenBefore, or a defect."""


@define
class Compiler:
    """Turns steps into pipelines for one engine. Every name is resolved here, so that running meets no unknown one."""

    registry: Registry
    channels: Mapping[str, r.ChannelSpec]
    store: Store
    clock: Clock
    threads: anyio.CapacityLimiter
    trace: Trace | None = None
    full: set[str] = field(factory=set)  # channels over their max_waiting, kept up to date by the engine
    sinks: list[Sink] = field(factory=list)
    shared: dict[tuple[str, Any], Sink] = field(factory=dict)
    taken: list[Sink] = field(factory=list)  # by the route that is being compiled
    keys: dict[str, Expression | None] = field(factory=dict)  # of the channels that it writes into

    def compile(self, route: str, steps: Sequence[r.Step]) -> Pipeline:
        """One pipeline for these steps. Raises ConfigError for unknown components or channels."""
        compile_step = self._step if self.trace is None else self._traced
        compiled = tuple(compile_step(route, step) for step in steps)

        async def pipeline(exchange: AnyExchange, work: Work) -> AnyExchange:
            for step in compiled:
                exchange = await step(exchange, work)
            return exchange

        return pipeline

    def build(self, component: Component, options: Any) -> Any:
        """The source, sink or processor of a component, with the options given or its defaults."""
        filled = default_options(component, options)
        return component.build(filled, self.store) if component.uses_records else component.build(filled)

    def body_type(self, name: str) -> BodyType[Any]:
        """The registered body type of that name. Raises Rejected: the message cannot be read."""
        try:
            return self.registry.body_types[name]
        except KeyError:
            problem = Problem("207", f"body type {name!r} is not registered; install the plugin that declares it")
            raise Rejected(problem) from None

    def enqueue(self, channel: str, exchange: AnyExchange, work: Work) -> Enqueue:
        """The message that puts this exchange into a channel. Raises Deferred when the channel is full."""
        if channel in self.full and not work.notice:
            raise Deferred(f"channel {channel!r} is full (its max-waiting is reached)")
        spec = self.channels[channel]
        body_type = self.registry.body_type_of(exchange.body)
        key = exchange.id if spec.key is None else str(self._value(spec.key, exchange))
        payload = body_type.encode(exchange.body)
        return Enqueue(
            channel=channel,
            key=key,
            exchange_id=exchange.id,
            body_type=body_type.name,
            payload=payload,
            digest=work.hash_of(payload),
            headers=exchange.headers,
            origin=exchange.origin,
            received=exchange.received,
        )

    def _traced(self, route: str, step: r.Step) -> Pipeline:
        pipeline, trace = self._step(route, step), self.trace
        assert trace is not None

        async def traced(exchange: AnyExchange, work: Work) -> AnyExchange:
            trace(StepBegan(route, step, exchange, work))
            try:
                result = await pipeline(exchange, work)
            except BaseException as failure:
                trace(StepEnded(route, step, None, failure, work))
                raise
            trace(StepEnded(route, step, result, None, work))
            return result

        return traced

    # -- one method a step -----------------------------------------------------------------------------------------

    def _step(self, route: str, step: r.Step) -> Pipeline:
        match step:
            case r.Process():
                return self._process(step)
            case r.Choice():
                return self._choice(route, step)
            case r.Filter():
                return self._filter(route, step)
            case r.Split():
                return self._split(route, step)
            case r.Multicast():
                return self._multicast(route, step)
            case r.WireTap() | r.ToChannel():
                return self._to_channel(step)
            case r.Enrich():
                return self._enrich(route, step)
            case r.SetHeader():
                return self._set_header(step)
            case r.Validate():
                return self._validate(route, step)
            case r.Idempotent():
                return self._idempotent(route, step)
            case r.Throttle():
                return self._throttle(step)
            case r.Delay():
                return self._delay(step.duration)
            case r.Log():
                return self._log(route, step)
            case r.ToEndpoint():
                return self._to_endpoint(step)
            case _:
                assert_never(step)

    def _process(self, step: r.Process) -> Pipeline:
        component: Component | None = None
        function: Callable[[AnyExchange], Any]
        if isinstance(step.processor, str | Component):
            component = self.registry.component(step.processor, "processor")
            function = self.build(component, step.options)
        else:
            function = step.processor
        threaded = component is not None and component.threaded

        async def process(exchange: AnyExchange, work: Work) -> AnyExchange:
            if threaded:
                result = await anyio.to_thread.run_sync(function, exchange, limiter=self.threads)
            else:
                result = function(exchange)
                if inspect.isawaitable(result):
                    result = await result
            if not isinstance(result, Exchange):
                raise TypeError(f"processor {step.name} returned {type(result).__name__}, not an Exchange")
            return work.record(result)

        return process

    def _choice(self, route: str, step: r.Choice) -> Pipeline:
        whens = tuple((self._condition(route, branch), self.compile(route, branch.steps)) for branch in step.whens)
        otherwise = self.compile(route, step.otherwise)

        async def choice(exchange: AnyExchange, work: Work) -> AnyExchange:
            for holds, pipeline in whens:
                if holds(exchange):
                    return await pipeline(exchange, work)
            return await otherwise(exchange, work)

        return choice

    def _filter(self, route: str, step: r.Filter) -> Pipeline:
        holds = self._condition(route, step)

        async def filtered(exchange: AnyExchange, work: Work) -> AnyExchange:
            if holds(exchange):
                return exchange
            work.record(exchange.with_note("filtered"))
            raise Ended

        return filtered

    def _split(self, route: str, step: r.Split) -> Pipeline:
        pipeline = self.compile(route, step.steps)

        async def split(exchange: AnyExchange, work: Work) -> AnyExchange:
            parts = tuple(exchange.body)
            for number, body in enumerate(parts, 1):
                headers = {"split-index": str(number), "split-size": str(len(parts))}
                await _branch(pipeline, exchange.part(number, body).with_headers(headers), work)
            return exchange

        return split

    def _multicast(self, route: str, step: r.Multicast) -> Pipeline:
        branches = tuple(self.compile(route, branch) for branch in step.branches)

        async def multicast(exchange: AnyExchange, work: Work) -> AnyExchange:
            for pipeline in branches:
                await _branch(pipeline, exchange, work)
            return exchange

        return multicast

    def _to_channel(self, step: r.ToChannel | r.WireTap) -> Pipeline:
        channel = step.channel
        if channel not in self.channels:
            raise ConfigError(f"unknown channel {channel!r}; declare it under `channels`", code="channel")

        self.keys[channel] = self.channels[channel].key

        async def to_channel(exchange: AnyExchange, work: Work) -> AnyExchange:
            work.enqueue.append(self.enqueue(channel, exchange, work))
            return exchange

        return to_channel

    def _enrich(self, route: str, step: r.Enrich) -> Pipeline:
        pipeline = self.compile(route, step.steps)

        async def enrich(exchange: AnyExchange, work: Work) -> AnyExchange:
            result = await pipeline(exchange, work)
            return exchange.with_headers(
                {name: result.headers[name] for name in step.headers if name in result.headers}
            )

        return enrich

    def _set_header(self, step: r.SetHeader) -> Pipeline:
        async def set_header(exchange: AnyExchange, _work: Work) -> AnyExchange:
            values = {name: _text(self._value(value, exchange)) for name, value in step.headers.items()}
            return exchange.with_headers(values)

        return set_header

    def _validate(self, route: str, step: r.Validate) -> Pipeline:
        problem, holds = Problem(step.code, step.message), self._condition(route, step)

        async def validate(exchange: AnyExchange, _work: Work) -> AnyExchange:
            if not holds(exchange):
                raise Rejected(problem)
            return exchange

        return validate

    def _idempotent(self, route: str, step: r.Idempotent) -> Pipeline:
        scope = step.scope or route

        async def idempotent(exchange: AnyExchange, work: Work) -> AnyExchange:
            key = _text(self._value(step.key, exchange))
            encoded = self.registry.body_type_of(exchange.body).encode(exchange.body)
            digest = work.hash_of(encoded)
            known = await self.store.find_ledger(scope, key, now=work.now)
            if known is not None:
                raise SeenBefore("same" if bytes(known.digest) == bytes(digest) else "other")
            work.ledger.append(LedgerEntry(scope, key, digest, exchange.id, work.now + step.retention))
            return exchange

        return idempotent

    def _throttle(self, step: r.Throttle) -> Pipeline:
        interval = step.per / step.rate
        free_at = 0.0  # the earliest time at which the next exchange may pass

        async def throttle(exchange: AnyExchange, _work: Work) -> AnyExchange:
            nonlocal free_at
            now = anyio.current_time()  # no clock that may be set back: all would wait for it to catch up
            start = max(now, free_at)
            free_at = start + interval
            if start > now:
                await self.clock.sleep(start - now)
            return exchange

        return throttle

    def _delay(self, duration: Duration) -> Pipeline:
        async def delay(exchange: AnyExchange, _work: Work) -> AnyExchange:
            await self.clock.sleep(duration)
            return exchange

        return delay

    def _log(self, route: str, step: r.Log) -> Pipeline:
        level = logging.getLevelNamesMapping()[step.level.upper()]
        fields = [(literal, name) for literal, name, _spec, _conversion in string.Formatter().parse(step.message)]

        async def log(exchange: AnyExchange, _work: Work) -> AnyExchange:
            if logger.isEnabledFor(level):
                parts = [literal + ("" if name is None else exchange.headers.get(name, "")) for literal, name in fields]
                logger.log(level, "%s", "".join(parts), extra={"exchange": exchange.id, "route": route})
            return exchange

        return log

    def _to_endpoint(self, step: r.ToEndpoint) -> Pipeline:
        component = self.registry.component(step.sink, "sink")
        sink = self._sink(component, step.options)

        async def to_endpoint(exchange: AnyExchange, work: Work) -> AnyExchange:
            if work.progress:
                exchange = exchange.with_headers(work.progress)
            sent = await sink.send(exchange)
            if sent.headers is not exchange.headers:
                work.progress.update(sent.headers.items() - exchange.headers.items())
            return work.record(sent)

        return to_endpoint

    def _sink(self, component: Component, options: Any) -> Sink:
        """One sink per distinct options: routes that name the same endpoint share its connections."""
        try:
            sink = self.shared.get((component.name, options))
            if sink is None:
                sink = self.shared[component.name, options] = self._new_sink(component, options)
        except TypeError:  # options that cannot be hashed are not shared
            sink = self._new_sink(component, options)
        self.taken.append(sink)
        return sink

    def _new_sink(self, component: Component, options: Any) -> Sink:
        sink: Sink = self.build(component, options)
        self.sinks.append(sink)
        return sink

    def forget(self, sink: Sink) -> None:
        """Give a sink to no other route; who forgets it closes it."""
        self.sinks.remove(sink)
        for shared in [shared for shared, each in self.shared.items() if each is sink]:
            del self.shared[shared]

    # -- values ----------------------------------------------------------------------------------------------------

    def _value(self, value: r.Predicate, exchange: AnyExchange) -> Any:
        if isinstance(value, Expression):
            return value.evaluate(exchange, self._view)
        return value(exchange)

    def _view(self, body: object) -> Mapping[str, object]:
        return self.registry.body_type_of(body).view(body)

    def _condition(self, route: str, where: r.When | r.Filter | r.Validate) -> Callable[[AnyExchange], bool]:
        condition, trace = where.condition, self.trace
        if trace is None:
            return partial(self._holds, condition)

        def traced(exchange: AnyExchange) -> bool:
            holds = self._holds(condition, exchange)
            trace(Decided(route, where, exchange, holds))
            return holds

        return traced

    def _holds(self, condition: r.Predicate, exchange: AnyExchange) -> bool:
        result = self._value(condition, exchange)
        if not isinstance(result, bool):
            msg = f"condition {condition!r} gave {type(result).__name__}, not a boolean"
            raise TypeError(msg)
        return result


def default_options(component: Component, options: Any) -> Any:
    """The options given, or the component's defaults when the DSL gave none. Raises ConfigError if one is required."""
    if not isinstance(options, NoOptions) or component.options is NoOptions:
        return options
    try:
        return component.options()
    except TypeError as error:
        raise ConfigError(f"component {component.name!r}: {error}", code="option") from None


async def _branch(pipeline: Pipeline, exchange: AnyExchange, work: Work) -> None:
    """Run a branch whose end by a filter does not end the exchange that it was taken from."""
    with contextlib.suppress(Ended):
        await pipeline(exchange, work)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
