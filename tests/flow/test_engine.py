"""The engine: settlement, lanes, refusals, retries, restarts, drain, backpressure."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest

from pfiflow.errors import ConfigError, Deferred, Problem, Rejected
from pfiflow.flow.compiled import InFlight
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import (
    ChannelSpec,
    EngineOptions,
    FlowDefinition,
    Idempotent,
    Process,
    Route,
    ToChannel,
    ToEndpoint,
    otherwise,
    to_channel,
    when,
)
from pfiflow.store.api import StoreFullError, UnitOfWork
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import Counter, Order, Van, World, eventually

pytestmark = pytest.mark.anyio

FAST = Redelivery(initial_delay=Duration(0.01), max_delay=Duration(0.05), max_attempts=3)


async def test_what_a_route_takes_comes_out_of_the_channel_it_feeds() -> None:
    world = World()
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        loaves=ChannelSpec(),
    )
    async with engine.running():
        receipt = await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.delivered))
    assert world.van.delivered == [(receipt.exchange.id, "ada", "bread")]
    assert world.van.closed


async def test_each_message_is_journaled_from_arrival_to_delivery() -> None:
    world, store = World(), MemoryStore()
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        store=store,
        loaves=ChannelSpec(),
    )
    async with engine.running():
        receipt = await engine.send("intake", b"ada:bread")
        with anyio.fail_after(30):
            while not await store.messages(state="done"):
                await anyio.sleep(0.005)
        events = [(e.route, e.event) for e in await store.journal(exchange_id=receipt.exchange.id)]
    assert events == [("intake", "received"), ("intake", "baked"), ("delivery", "delivered")]


async def test_a_permanent_refusal_goes_to_the_sender_with_every_problem() -> None:
    world, store = World(), MemoryStore()
    engine = world.engine(Route.of("intake").process("bake").to_channel("loaves"), store=store, loaves=ChannelSpec())
    async with engine.running():
        with pytest.raises(Rejected) as refusal:
            await engine.send("intake", b"ada:stone")
        assert await store.messages() == []
    assert refusal.value.problems == (Problem("103", "stones are not baked", "item"),)


async def test_a_refused_channel_message_is_a_dead_letter_and_somebody_is_told() -> None:
    world, store = World(), MemoryStore()
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("baking").from_channel("orders").process("bake").when_rejected(to_channel("refused")),
        store=store,
        orders=ChannelSpec(),
        refused=ChannelSpec(),
    )
    async with engine.running():
        await engine.send("intake", b"ada:stone")
        with anyio.fail_after(30):
            while not (dead := await store.messages(state="dead")):
                await anyio.sleep(0.005)
        (told,) = await store.messages(channel="refused")
    assert (dead[0].channel, dead[0].cause) == ("orders", "103 at item: stones are not baked")
    assert told.exchange_id == dead[0].exchange_id
    assert {k: told.headers[k] for k in ("error-code", "error-location")} == {
        "error-code": "103",
        "error-location": "item",
    }


async def test_a_temporary_refusal_is_tried_again_with_the_same_exchange_id() -> None:
    world = World()

    def twice_cold(_exchange: Exchange[Any], attempt: int) -> None:
        if attempt < 3:
            raise Deferred("cold", headers={"progress": str(attempt)})

    world.van.behave = twice_cold
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        orders=ChannelSpec(redelivery=FAST),
    )
    async with engine.running():
        receipt = await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.delivered))
    assert world.van.attempts == {receipt.exchange.id: 3}


async def test_what_an_attempt_achieved_is_known_to_the_next() -> None:
    world = World()
    seen: list[str] = []

    def remember(exchange: Exchange[Any], attempt: int) -> None:
        seen.append(exchange.headers.get("done", ""))
        if attempt == 1:
            raise Deferred("half", headers={"done": "first half"})

    world.van.behave = remember
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        orders=ChannelSpec(redelivery=FAST),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.delivered))
    assert seen == ["", "first half"]


async def test_attempts_end_in_a_dead_letter_and_the_lane_goes_on() -> None:
    world, store = World(), MemoryStore()

    def never_for_bread(exchange: Exchange[Any], _attempt: int) -> None:
        if b"bread" in exchange.body:
            raise Deferred("no bread today")

    world.van.behave = never_for_bread
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        store=store,
        orders=ChannelSpec(key=Expression("'ada'"), redelivery=FAST),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await engine.send("intake", b"ada:cake")
        await eventually(lambda: bool(world.van.delivered))
        (dead,) = await store.messages(state="dead")
    assert [item for _, _, item in world.van.delivered] == ["cake"]
    assert (dead.cause, dead.attempts) == ("no bread today", 3)


async def test_a_lane_that_waits_holds_up_no_other() -> None:
    world = World()

    def ada_waits(exchange: Exchange[Any], _attempt: int) -> None:
        if exchange.body.customer == "ada":
            raise Deferred("not at home", retry_after=30)

    world.van.behave = ada_waits
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        loaves=ChannelSpec(key=Expression("body.customer"), workers=1),
    )
    async with engine.running():
        for order in (b"ada:1", b"ada:2", b"bob:1", b"bob:2"):
            await engine.send("intake", order)
        await eventually(lambda: len(world.van.delivered) == 2)
    assert [(customer, item) for _, customer, item in world.van.delivered] == [("bob", "1"), ("bob", "2")]


async def test_order_within_a_key_holds_over_retries() -> None:
    world = World()

    def first_attempt_fails(_exchange: Exchange[Any], attempt: int) -> None:
        if attempt == 1:
            raise Deferred("again", retry_after=0.001)

    world.van.behave = first_attempt_fails
    engine = world.engine(
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        loaves=ChannelSpec(key=Expression("body.customer"), workers=4),
    )
    async with engine.running():
        for number in range(40):
            await engine.send("intake", f"customer{number % 5}:{number:03d}".encode())
        await eventually(lambda: len(world.van.delivered) == 40)
    for customer in {c for _, c, _ in world.van.delivered}:
        items = [item for _, c, item in world.van.delivered if c == customer]
        assert items == sorted(items)


async def test_a_defect_is_retried_a_few_times_and_its_text_stays_out_of_logs_and_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, store = World(), MemoryStore()
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("baking").from_channel("orders").process("bake"),
        store=store,
        orders=ChannelSpec(redelivery=FAST),
    )
    with caplog.at_level(logging.INFO, "pfiflow"):
        async with engine.running():
            await engine.send("intake", b"ada:bug")
            with anyio.fail_after(30):
                while not (dead := await store.messages(state="dead")):
                    await anyio.sleep(0.005)
    assert dead[0].cause == "defect: ZeroDivisionError"
    assert dead[0].detail.endswith("ZeroDivisionError")
    assert "bakery.py" in dead[0].detail
    assert "secret of ada" not in dead[0].detail + caplog.text


async def test_an_unreadable_message_is_set_aside_and_the_rest_go_on() -> None:
    world, store = World(), MemoryStore()
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        store=store,
        orders=ChannelSpec(redelivery=FAST),
    )
    from pfiflow.store.api import Enqueue

    await store.open()
    await store.commit(UnitOfWork(enqueue=(Enqueue("orders", "k", "old", "no-such-type", b"x"),)))
    await store.aclose()
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.delivered))
        (dead,) = await store.messages(state="dead")
    assert dead.exchange_id == "old"
    assert "no-such-type" in dead.cause


async def test_a_second_copy_is_known_and_another_content_under_the_same_key_is_refused() -> None:
    world = World()
    route = Route.of("intake").idempotent("headers.number", scope="orders").to_channel("orders")
    engine = world.engine(route, Route.of("delivery").from_channel("orders").to("van"), orders=ChannelSpec())
    async with engine.running():
        first = await engine.send("intake", b"ada:bread", {"number": "1"})
        second = await engine.send("intake", b"ada:bread", {"number": "1"})
        third = await engine.send("intake", b"ada:cake", {"number": "1"})
        fourth = await engine.send("intake", b"ada:cake", {"number": "2"})
        await eventually(lambda: len(world.van.delivered) == 2)
    assert [r.duplicate for r in (first, second, third, fourth)] == [None, "same", "other", None]


async def test_copies_that_race_are_taken_once() -> None:
    world = World()
    route = Route.of("intake").then(Idempotent(Expression("headers.number"))).delay(0.01).to_channel("orders")
    engine = world.engine(route, Route.of("delivery").from_channel("orders").to("van"), orders=ChannelSpec())
    outcomes: list[str | None] = []
    async with engine.running():

        async def send() -> None:
            outcomes.append((await engine.send("intake", b"ada:bread", {"number": "1"})).duplicate)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(send)
        await eventually(lambda: bool(world.van.delivered))
    assert sorted(outcomes, key=str) == [None, "same", "same", "same", "same"]
    assert len(world.van.delivered) == 1


async def test_a_refused_first_copy_leaves_no_key_behind() -> None:
    world = World()
    engine = world.engine(Route.of("intake").idempotent("headers.number").process("bake"))
    async with engine.running():
        for _ in range(2):
            with pytest.raises(Rejected):
                await engine.send("intake", b"ada:stone", {"number": "1"})


async def test_a_route_that_dies_is_restarted_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.flow.running._RESTART_DELAYS", (0.01,))
    world = World()
    world.counter.fail = [OSError("port in use"), OSError("port in use")]
    engine = world.engine(Route.of("intake").from_("counter").to_channel("orders"), orders=ChannelSpec())
    async with engine.running():
        await eventually(lambda: world.counter.runs == 3)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        world.counter.orders.put_nowait((b"ada:bread", answer))
        assert (await answer).duplicate is None
        status = engine.status()["intake"]
    assert (status.state, status.restarts) == ("running", 2)


async def test_a_source_that_cannot_be_made_again_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.flow.running._RESTART_DELAYS", (0.01,))
    world, made = World(), 0

    def build(_options: object) -> Counter:
        nonlocal made
        made += 1
        if made in {2, 3}:
            raise ConfigError("its key cannot be read")
        return world.counter

    counter = Component(name="counter", kind="source", build=build, doc="Takes orders.", gives=bytes)
    world.counter.fail = [OSError("port in use")]
    routes = (Route.of("intake").from_("counter").to_channel("orders"),)
    engine = Engine(FlowDefinition(routes, {"orders": ChannelSpec()}), MemoryStore(), Registry.of(counter))
    async with engine.running():
        await eventually(lambda: engine.status()["intake"].restarts == 3 and world.counter.runs == 2)
    assert made == 4


async def test_a_drain_finishes_what_is_in_flight_and_refuses_what_comes_late() -> None:
    world = World()
    world.van.pause = 0.05
    store = MemoryStore()
    engine = world.engine(
        Route.of("intake").to("van"),
        Route.of("orders").from_channel("orders").to("van"),
        store=store,
        orders=ChannelSpec(),
    )
    late: list[BaseException] = []

    async def in_flight() -> None:
        await engine.send("intake", b"ada:bread")

    async with engine.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight)
        await eventually(lambda: world.van.running == 1)
        engine.drain()
        with pytest.raises(Deferred) as refusal:
            await engine.send("intake", b"bob:bread")
        late.append(refusal.value)
    assert [customer for _, customer, _ in world.van.delivered] == ["ada"]
    assert late


async def test_a_drain_that_takes_too_long_leaves_the_message_for_the_next_start() -> None:
    world, store = World(), MemoryStore()
    world.van.pause = 60
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        store=store,
        options=EngineOptions(drain=Duration(0.05)),
        orders=ChannelSpec(),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: world.van.running == 1)
    world.van.pause = 0
    again = world.engine(Route.of("delivery").from_channel("orders").to("van"), store=store, orders=ChannelSpec())
    async with again.running():
        await eventually(lambda: bool(world.van.delivered))
    assert world.van.attempts == {world.van.delivered[0][0]: 2}


async def test_in_flight_exchanges_are_bounded_and_the_rest_deferred() -> None:
    world = World()
    world.van.pause = 0.2
    options = EngineOptions(max_in_flight=3, admission=Duration(0.01))
    engine = world.engine(Route.of("intake").to("van"), options=options)
    deferred = 0

    async def send() -> None:
        nonlocal deferred
        try:
            await engine.send("intake", b"ada:bread")
        except Deferred:
            deferred += 1

    async with engine.running(), anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(send)
    assert world.van.busiest == 3
    assert (len(world.van.delivered), deferred) == (3, 7)


class FullStore(MemoryStore):
    """No space while `full`."""

    full = False

    async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
        if self.full:
            raise StoreFullError("no space")
        return await super().commit(unit)


async def test_a_full_store_defers_the_sender_and_works_again_when_there_is_space() -> None:
    world, store = World(), FullStore()
    engine = world.engine(Route.of("intake").to_channel("orders"), store=store, orders=ChannelSpec())
    async with engine.running():
        store.full = True
        with pytest.raises(Deferred, match="no space"):
            await engine.send("intake", b"ada:bread")
        store.full = False
        await engine.send("intake", b"ada:bread")
        assert [m.channel for m in await store.messages()] == ["orders"]


async def test_a_full_channel_defers_the_sender() -> None:
    world = World()
    engine = world.engine(Route.of("intake").to_channel("orders"), orders=ChannelSpec(hold=True, max_waiting=2))
    async with engine.running():
        with anyio.fail_after(30), pytest.raises(Deferred, match="max-waiting"):
            while True:
                await engine.send("intake", b"ada:bread")
                await anyio.sleep(0.05)


async def test_a_held_channel_waits_for_its_release() -> None:
    world, store = World(), MemoryStore()
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        store=store,
        orders=ChannelSpec(hold=True),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await anyio.sleep(0.05)
        assert not world.van.delivered
        await store.set_hold("orders", hold=False, now=1.0)
        await eventually(lambda: bool(world.van.delivered))


def test_unknown_names_are_found_before_anything_runs() -> None:
    world = World()
    with pytest.raises(ConfigError, match="unknown channel 'nowhere'"):
        world.engine(Route.of("intake").to_channel("nowhere"))
    with pytest.raises(ConfigError, match="Did you mean 'bake'"):
        world.engine(Route.of("intake").process("bakee"))
    with pytest.raises(ConfigError, match="unknown channel 'x'"):
        world.engine(Route.of("intake").from_channel("x"))
    with pytest.raises(ConfigError, match="two routes"):
        world.engine(Route.of("a"), Route.of("a"))


async def test_choice_multicast_split_enrich_filter_and_headers() -> None:
    world = World()

    def cut(exchange: Exchange[Any]) -> Exchange[Any]:
        return exchange.with_body(tuple(exchange.body.split(b",")))

    def measure(exchange: Exchange[Any]) -> Exchange[Any]:
        return exchange.with_headers({"size": str(len(exchange.body)), "hidden": "x"})

    from pfiflow.flow.route import Enrich, Filter, Process, SetHeader, Split

    each = (
        Enrich((Process(measure),), ("size",)),
        SetHeader({"big": Expression("int(headers.size) > 7")}),
        Filter(Expression("headers['split-index'] != '3'")),
        ToChannel("orders"),
    )
    engine = world.engine(
        Route.of("intake").process(cut).then(Split(each)),
        Route.of("delivery")
        .from_channel("orders")
        .choice(
            when("headers.big == 'true'", ToEndpoint("van")),
            otherwise=otherwise(Process("bake"), ToEndpoint("van")),
        ),
        orders=ChannelSpec(),
    )
    store = engine.store
    async with engine.running():
        receipt = await engine.send("intake", b"ada:bread,bob:pie,eve:cake")
        await eventually(lambda: len(world.van.delivered) == 2)
        headers = {m.exchange_id: dict(m.headers) for m in await store.messages()}
    root = receipt.exchange.id
    assert sorted(world.van.delivered) == [(f"{root}.1", "ada", "bread"), (f"{root}.2", "bob", "pie")]
    assert headers[f"{root}.1"] == {"split-index": "1", "split-size": "3", "size": "9", "big": "true"}


async def test_multicast_commits_all_branches_or_none() -> None:
    world, store = World(), MemoryStore()
    good = Route.of("good").multicast((to_channel("a"),), (to_channel("b"),))
    bad = Route.of("bad").multicast((to_channel("a"),), (to_channel("b"), ToEndpoint("van")))
    world.van.behave = lambda _e, _n: (_ for _ in ()).throw(Rejected(Problem("1", "no")))
    engine = world.engine(good, bad, store=store, a=ChannelSpec(), b=ChannelSpec())
    async with engine.running():
        await engine.send("good", b"ada:bread")
        with pytest.raises(Rejected):
            await engine.send("bad", b"ada:bread")
        assert sorted(m.channel for m in await store.messages()) == ["a", "b"]


async def test_validate_wire_tap_throttle_and_threads() -> None:
    world, store = World(), MemoryStore()
    route = (
        Route.of("intake")
        .validate("size(headers.number) > 0", "an order has a number", "101")
        .wire_tap("audit")
        .throttle(20)
        .process("slow-bake")
    )
    engine = world.engine(route, store=store, audit=ChannelSpec())
    async with engine.running():
        with pytest.raises(Rejected, match="101: an order has a number"):
            await engine.send("intake", b"ada:bread", {"number": ""})
        started = anyio.current_time()
        for _ in range(5):
            receipt = await engine.send("intake", b"ada:bread", {"number": "1"})
        assert anyio.current_time() - started > 0.15
        assert receipt.exchange.body == Order("ada", "bread")
        assert len(await store.messages(channel="audit")) == 5


async def test_a_throttle_does_not_wait_for_a_clock_that_was_set_back() -> None:
    class Clock:
        seconds = 1e9

        def now(self) -> float:
            return self.seconds

        async def sleep(self, seconds: float) -> None:
            await anyio.sleep(seconds)

    world, clock = World(), Clock()
    routes = (Route.of("intake").throttle(100),)
    engine = Engine(FlowDefinition(routes, {}), MemoryStore(), world.registry(), clock)
    async with engine.running():
        with anyio.fail_after(30):
            for _ in range(3):
                await engine.send("intake", b"ada:bread")
                clock.seconds -= 3600


async def test_a_sink_that_cannot_be_closed_leaves_nothing_else_open(monkeypatch: pytest.MonkeyPatch) -> None:
    world, store = World(), MemoryStore()

    async def stuck() -> None:
        raise OSError("not connected")

    monkeypatch.setattr(Van, "aclose", lambda _self: stuck())
    async with world.engine(Route.of("intake").to("van"), store=store).running():
        pass
    await store.open()  # it was closed


async def test_all_who_wait_hear_that_nothing_is_in_flight() -> None:
    in_flight, heard = InFlight(), 0

    async def wait() -> None:
        nonlocal heard
        await in_flight.finished()
        heard += 1

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            with in_flight:
                for _ in range(3):
                    tasks.start_soon(wait)
                await anyio.sleep(0.01)
                assert heard == 0
    assert heard == 3


async def test_two_engines_live_in_one_process() -> None:
    worlds = [World(), World()]
    engines = [w.engine(Route.of("intake").to("van")) for w in worlds]
    async with engines[0].running(), engines[1].running():
        await engines[0].send("intake", b"ada:bread")
        await engines[1].send("intake", b"bob:pie")
    assert [w.van.delivered[0][1] for w in worlds] == ["ada", "bob"]


async def test_what_a_refusal_says_of_itself_reaches_the_on_rejected_steps() -> None:
    world, store = World(), MemoryStore()

    def refuse(_exchange: Exchange[Any], _attempt: int) -> None:
        raise Rejected(Problem("207", "nobody home"), headers={"tried": "ada grace"})

    world.van.behave = refuse
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van").when_rejected(to_channel("refused")),
        store=store,
        orders=ChannelSpec(),
        refused=ChannelSpec(),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        with anyio.fail_after(30):
            while not (told := await store.messages(channel="refused")):
                await anyio.sleep(0.005)
    assert {k: told[0].headers[k] for k in ("tried", "error-code")} == {"tried": "ada grace", "error-code": "207"}


async def test_somebody_is_told_when_a_message_is_given_up() -> None:
    world, store = World(), MemoryStore()

    def cold(_exchange: Exchange[Any], attempt: int) -> None:
        raise Deferred("cold", headers={"progress": str(attempt)})

    world.van.behave = cold
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van").when_rejected(to_channel("refused")),
        store=store,
        orders=ChannelSpec(redelivery=FAST),
        refused=ChannelSpec(),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        with anyio.fail_after(30):
            while not (told := await store.messages(channel="refused")):
                await anyio.sleep(0.005)
        await anyio.sleep(0.02)
        assert len(await store.messages(channel="refused")) == 1
    assert {k: told[0].headers[k] for k in ("progress", "error-code", "error-message")} == {
        "progress": "3",
        "error-code": "given-up",
        "error-message": "cold",
    }


async def test_a_defect_in_on_rejected_settles_the_message_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    world, store = World(), MemoryStore()

    def defect(_exchange: Exchange[Any]) -> Exchange[Any]:
        raise KeyError("secret of ada")

    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("baking").from_channel("orders").process("bake").when_rejected(Process(defect)),
        store=store,
        orders=ChannelSpec(),
    )
    async with engine.running():
        await engine.send("intake", b"ada:stone")
        with anyio.fail_after(30):
            while not await store.messages(state="dead"):
                await anyio.sleep(0.005)
        assert engine.status()["baking"].restarts == 0
    assert "on-rejected of route baking failed: KeyError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_deferral_may_hold_its_channel() -> None:
    world, store = World(), MemoryStore()

    def unsure(_exchange: Exchange[Any], attempt: int) -> None:
        if attempt == 1:
            raise Deferred("unknown whether it arrived", hold=True)

    world.van.behave = unsure
    engine = world.engine(
        Route.of("intake").to_channel("orders"),
        Route.of("delivery").from_channel("orders").to("van"),
        store=store,
        orders=ChannelSpec(redelivery=FAST),
    )
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        with anyio.fail_after(30):
            while not (await store.channels())[0].held:
                await anyio.sleep(0.005)
        await anyio.sleep(0.2)
        assert world.van.delivered == []
        await store.set_hold("orders", hold=False, now=1.0)
        await eventually(lambda: bool(world.van.delivered))
