"""A store that fails for a while: nobody's sending is cut, nothing is given up for it, nothing is lost."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import ChannelSpec, Process, Route, to_channel
from pfiflow.store.api import Claim, StoreError, UnitOfWork
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import World, eventually

pytestmark = pytest.mark.anyio

BROKEN = StoreError("disk I/O error")


class FailingStore(MemoryStore):
    """Fails as often as told."""

    claims = 0
    commits = 0
    failed = 0

    async def claim(self, channel: str, *, now: float, latest: float = inf) -> Claim | None:
        if self.claims:
            self.claims -= 1
            self.failed += 1
            raise BROKEN
        return await super().claim(channel, now=now, latest=latest)

    async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
        if self.commits:
            self.commits -= 1
            raise BROKEN
        return await super().commit(unit)


async def test_a_sending_goes_on_while_another_worker_cannot_claim() -> None:
    world, store = World(), FailingStore()
    world.van.pause = 0.5
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        store=store,
        loaves=ChannelSpec(key=Expression("body.customer"), workers=2),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: world.van.running == 1)
        store.claims = 1
        await engine.send("intake", b"bob:bread")
        await eventually(lambda: len(world.van.delivered) == 2)
        assert store.failed == 1
        assert engine.status()["delivery"].restarts == 0
    assert list(world.van.attempts.values()) == [1, 1]


async def test_a_probe_that_could_not_claim_is_followed_by_another() -> None:
    world, store, down = World(), FailingStore(), True

    def closed(_exchange: Exchange[Any], _attempt: int) -> None:
        if down:
            raise Deferred("nobody answers", unavailable=True)

    world.van.behave = closed
    policy = Redelivery(initial_delay=Duration(0.05), factor=1.0, max_delay=Duration(0.05), jitter=0.0)
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        store=store,
        loaves=ChannelSpec(redelivery=policy),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.attempts))
        down, store.claims = False, 1
        await eventually(lambda: bool(world.van.delivered))
    assert store.failed == 1


async def test_a_step_that_cannot_ask_the_store_is_tried_again_for_as_long_as_it_takes() -> None:
    world, left = World(), 10

    def ask(exchange: Exchange[Any]) -> Exchange[Any]:
        nonlocal left
        left -= 1
        if left:
            raise BROKEN
        return exchange

    policy = Redelivery(initial_delay=Duration(0.01), max_delay=Duration(0.02), max_defects=3)
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").then(Process(ask)).to("van"),
        loaves=ChannelSpec(redelivery=policy),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.delivered))


async def test_a_refusal_of_which_nobody_could_be_told_is_to_be_made_again() -> None:
    world, store = World(), FailingStore()
    intake = Route.of("intake").process("bake")
    engine = world.engine(
        intake.when_rejected(to_channel("told")),
        Route("quiet", None, intake.steps),
        store=store,
        told=ChannelSpec(),
    )
    async with engine.running():
        store.commits = 1
        with pytest.raises(Deferred, match="the refusal was not kept"):
            await engine.send("intake", b"ada:stone")
        with pytest.raises(Rejected, match="stones are not baked"):
            await engine.send("intake", b"ada:stone")
        assert len(await store.messages(channel="told")) == 1
        store.commits = 1
        with pytest.raises(Rejected) as refusal:  # nothing hangs on it but a line of the journal
            await engine.send("quiet", b"ada:stone")
        assert refusal.value.problems == (Problem("103", "stones are not baked", "item"),)
