"""The circuit breaker: a dead destination is probed, not hammered, and recovery needs nobody."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from pfiflow.errors import Deferred
from pfiflow.flow.circuit import Circuit
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import ChannelSpec, Route
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import World, eventually

pytestmark = pytest.mark.anyio


def steady(delay: float) -> Redelivery:
    return Redelivery(initial_delay=Duration(delay), factor=1.0, max_delay=Duration(delay), jitter=0.0, max_attempts=2)


async def test_while_the_destination_is_down_one_message_probes_it_and_all_leave_on_recovery() -> None:
    world, store, down = World(), MemoryStore(), True

    def closed(_exchange: Exchange[Any], _attempt: int) -> None:
        if down:
            raise Deferred("nobody answers", unavailable=True)

    world.van.behave = closed
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        store=store,
        loaves=ChannelSpec(key=Expression("body.customer"), workers=4, redelivery=steady(0.05)),
    )
    async with engine.running():
        started = anyio.current_time()
        for number in range(300):
            await engine.send("intake", f"customer{number % 100}:{number:03d}".encode())
        await anyio.sleep(0.5)
        await eventually(lambda: sum(world.van.attempts.values()) > 1)
        tried, seconds = sum(world.van.attempts.values()), anyio.current_time() - started
        attempts = {m.attempts for m in await store.messages(channel="loaves", limit=1000)}
        assert not world.van.delivered
        assert attempts == {0}, "probes count against no message, though max_attempts is 2"
        down = False
        await eventually(lambda: len(world.van.delivered) == 300)
    assert tried <= 4 + seconds / 0.05, f"{tried} attempts in {seconds:.2f} seconds: four workers, then probes"
    for customer in {c for _, c, _ in world.van.delivered}:
        items = [item for _, c, item in world.van.delivered if c == customer]
        assert items == sorted(items)


async def test_a_message_of_its_own_misfortune_opens_no_circuit() -> None:
    world = World()

    def one_is_out(exchange: Exchange[Any], _attempt: int) -> None:
        if exchange.body.customer == "ada":
            raise Deferred("not at home", retry_after=30)

    world.van.behave = one_is_out
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        loaves=ChannelSpec(key=Expression("body.customer"), workers=1, redelivery=steady(60)),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await engine.send("intake", b"bob:bread")
        await eventually(lambda: bool(world.van.delivered))


def test_the_state_of_a_circuit() -> None:
    circuit = Circuit(Redelivery(initial_delay=Duration(10.0), max_delay=Duration(100.0), jitter=0.0))
    assert circuit.admits(0.0)
    assert circuit.admits(0.0), "closed: everybody may try"
    assert circuit.failed(0.0) == 10.0
    assert circuit.failed(0.1) == 10.0, "attempts that were under way when it opened do not lengthen the wait"
    assert not circuit.admits(9.9)
    assert circuit.admits(10.0)
    assert not circuit.admits(10.0), "one probe at a time"
    assert circuit.failed(10.5) == 30.5
    assert circuit.admits(30.5)
    circuit.abandoned()
    assert circuit.admits(30.6)
    circuit.succeeded()
    assert not circuit.is_open


def test_a_clock_that_is_set_back_keeps_no_destination_waiting() -> None:
    circuit = Circuit(Redelivery(initial_delay=Duration(10.0), max_delay=Duration(100.0), jitter=0.2))
    year = 365 * 86_400.0
    circuit.failed(year)
    assert not circuit.admits(year)
    assert circuit.admits(0.0)
    circuit.failed(0.0)
    assert not circuit.admits(1.0)
