"""Exchanges from a channel: lane by lane, message by message, each attempt settled before the next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeAlias

import anyio
from attrs import define, field

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.circuit import Circuit
from pfiflow.flow.compiled import CompiledRoute
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.outcome import after_defect, after_deferral, safe_traceback
from pfiflow.flow.pipeline import Compiler, Ended, SeenBefore, Work
from pfiflow.flow.settlement import Settlement
from pfiflow.store.api import Claim, Dead, Done, Message, Retry, StoreError

__all__ = ["POLL", "Delivery"]

logger = logging.getLogger("pfiflow.engine")

AnyExchange: TypeAlias = Exchange[Any]

POLL = 1.0  # seconds between looks at the store when nothing wakes a worker


@define(eq=False)
class Delivery:
    """Works the lanes of one channel through one route, until `stopping`."""

    settlement: Settlement
    compiler: Compiler
    compiled: CompiledRoute
    stopping: anyio.Event
    channel: str = field(kw_only=True)
    _waiting: set[anyio.CancelScope] = field(init=False, factory=set)

    async def work(self) -> None:
        """One worker. What it has claimed when `stopping` is set is finished; the rest of its lane is given back.

        A store that fails does not end it: that would cut the sendings of the other workers, which are then repeated.
        """
        circuit = self.compiled.circuit
        assert circuit is not None
        while not self.stopping.is_set():
            now = self.settlement.clock.now()
            if not circuit.admits(now):
                # Not `store.wait`: it returns at once for messages that came since the last claim.
                await self._pause(POLL if circuit.probing else min(POLL, max(0.001, circuit.probe_at - now)))
                continue
            try:
                if not await self._work_one_lane(circuit, now):
                    await self._wait()
            except StoreError as error:
                logger.error("route %s: the store failed: %s", self.compiled.id, error)  # noqa: TRY400 - its own words
                await self._pause(POLL)

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.stopping.wait()

    async def _wait(self) -> None:
        """Until something may be claimable."""
        store = self.settlement.store
        due = await store.next_due(self.channel)
        wait = POLL if due is None else min(POLL, max(0.0, due - self.settlement.clock.now()))
        if self.stopping.is_set():
            return
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                await store.wait(self.channel, timeout=max(wait, 0.001))
            finally:
                self._waiting.discard(scope)

    def leave(self) -> None:
        """Let who waits for messages wait no more: `stopping` is set. Its wake-ups are for others then."""
        for scope in self._waiting:
            scope.cancel()

    async def work_due(self) -> bool:
        """Work the lane that is due first, if one is and the destination is not down; whether there was one."""
        circuit, now = self.compiled.circuit, self.settlement.clock.now()
        assert circuit is not None
        return circuit.admits(now) and await self._work_one_lane(circuit, now)

    async def next_due(self) -> float | None:
        """When there will be work, or None. A time that is past means now."""
        circuit, due = self.compiled.circuit, await self.settlement.store.next_due(self.channel)
        assert circuit is not None
        return max(due, circuit.probe_at) if due is not None and circuit.is_open else due

    async def _work_one_lane(self, circuit: Circuit, now: float) -> bool:
        channel = self.compiled.channel
        assert channel is not None
        is_probe = circuit.is_open
        try:
            claim = await self.settlement.store.claim(self.channel, now=now, latest=now + channel.redelivery.longest)
            if claim is None:
                return False
            with self.compiled.in_flight:
                await self._work_lane(claim)
            return True
        finally:
            if is_probe:
                circuit.abandoned()

    async def _work_lane(self, claim: Claim) -> None:
        store, circuit = self.settlement.store, self.compiled.circuit
        assert circuit is not None
        current: Claim | None = claim
        while current is not None:
            settled = False
            try:
                with self.settlement.journeys.working_on(current.message):
                    settled = await self._deliver(current.message)
            finally:
                stop = not settled or self.stopping.is_set() or circuit.is_open
                if stop:
                    with anyio.CancelScope(shield=True):
                        await store.release(current)
            if stop:
                return
            current = await store.next(current, now=self.settlement.clock.now())

    async def _deliver(self, message: Message) -> bool:
        """One attempt at one message. True when the outcome is durable, whatever it is."""
        route, clock = self.compiled.id, self.settlement.clock
        now = clock.now()
        work = Work(route, now)
        exchange: AnyExchange = Exchange(
            message.exchange_id, message.payload, message.headers, message.origin, message.received
        )
        settle: Done | Retry | Dead
        try:
            body_type = self.compiler.body_type(message.body_type)
            exchange = exchange.with_body(body_type.decode(message.payload))
            await self.compiled.pipeline(exchange, work)
            settle = Done(message.sequence)
        except Ended:
            settle = Done(message.sequence)
        except SeenBefore as seen:
            work.record(exchange.with_note("duplicate", content=seen.kind))
            settle = Done(message.sequence)
        except Rejected as rejection:
            achieved = exchange.with_headers(work.progress)
            return await self.settlement.refuse(self.compiled, achieved, rejection, message)
        except (Deferred, StoreError) as failure:
            deferral = failure if isinstance(failure, Deferred) else Deferred(f"the store failed: {failure}")
            progress = {**work.progress, **deferral.headers}
            work = Work(route, now)  # what else a failed attempt collected is not committed
            settle = self._defer(message, deferral, progress)
            work.record(exchange.with_note("deferred", cause=deferral.message, attempt=message.attempts + 1))
            if deferral.hold:
                await self._hold(deferral)
            if isinstance(settle, Dead):
                problem = Problem("given-up", deferral.message)
                await self.settlement.tell(self.compiled, exchange.with_headers(progress), problem, work)
        except Exception as defect:  # noqa: BLE001 - a defect must neither lose its message nor stop the other lanes
            assert self.compiled.channel is not None
            settle = after_defect(message, defect, self.compiled.channel.redelivery, clock.now(), work.progress)
            achieved = exchange.with_headers(work.progress)
            logger.error(  # noqa: TRY400 - a traceback's last line may quote a document
                "defect in route %s\n%s",
                route,
                safe_traceback(defect),
                extra={"route": route, "exchange": exchange.id},
            )
            work = Work(route, now)
            work.record(exchange.with_note("defect", type=type(defect).__name__, attempt=message.attempts + 1))
            if isinstance(settle, Dead):
                problem = Problem("defect", "given up after an internal error, which was logged")
                await self.settlement.tell(self.compiled, achieved, problem, work)
        if not isinstance(settle, Retry):
            self._reached()
        return await self.settlement.settle(work, settle)

    async def _hold(self, deferral: Deferred) -> None:
        logger.warning("route %s: channel %s is held: %s", self.compiled.id, self.channel, deferral.message)
        try:
            await self.settlement.store.set_hold(self.channel, hold=True, now=self.settlement.clock.now())
        except StoreError as error:
            logger.error("channel %s could not be held: %s", self.channel, error)  # noqa: TRY400 - its own words

    def _reached(self) -> None:
        """An attempt was answered, whatever the answer: the destination is up."""
        circuit = self.compiled.circuit
        assert circuit is not None
        if circuit.is_open:
            logger.info("route %s: destination up again", self.compiled.id)
        circuit.succeeded()

    def _defer(self, message: Message, deferral: Deferred, progress: Mapping[str, str]) -> Retry | Dead:
        circuit, channel = self.compiled.circuit, self.compiled.channel
        assert circuit is not None
        assert channel is not None
        if not deferral.unavailable:
            self._reached()
        elif not circuit.is_open:
            logger.warning("route %s: destination down: %s", self.compiled.id, deferral.message)
        return after_deferral(message, deferral, channel.redelivery, circuit, self.settlement.clock.now(), progress)
