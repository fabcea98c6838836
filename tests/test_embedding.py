"""`pfiflow.engine`: in a loop that is there already, in a thread, twice in one process; following what was sent."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import pytest

import pfiflow
from pfiflow import ChannelSpec, ConfigError, Deferred, Exchange, MemoryStore, Problem, Redelivery, Rejected, Route
from pfiflow.flow.engine import Engine, RouteStatus
from pfiflow.flow.options import Duration
from pfiflow.flow.route import Split, ToChannel, otherwise, to_channel, when
from tests.flow.bakery import World, eventually

pytestmark = pytest.mark.anyio

FILE = """\
store: {path: flour.db}
channels: {loaves: {key: body.customer}}
routes:
  - {id: intake, from: {counter: }, steps: [{bake: {suffix: "${env:SUFFIX}"}}, {to: {channel: loaves}}]}
  - {id: delivery, from: {channel: loaves}, steps: [{to: {van: }}]}
"""
INTAKE = Route.of("intake").process("bake").to_channel("loaves")
DELIVERY = Route.of("delivery").from_channel("loaves").to("van").when_rejected(to_channel("told"))
TELLER = Route.of("teller").from_channel("told").log("told")
FAST = Redelivery(initial_delay=Duration(0.01), max_delay=Duration(0.02), max_attempts=2)
CHANNELS = {"loaves": ChannelSpec(redelivery=FAST), "told": ChannelSpec()}
ROUTES = (INTAKE, DELIVERY, TELLER)


@pytest.fixture
def world() -> World:
    return World()


def embedded(world: World, routes: Any = ROUTES, **options: Any) -> Any:
    options = {"channels": CHANNELS, "store": MemoryStore(), **options}
    return pfiflow.engine(routes, registry=world.registry(), **options)


async def test_route_files_and_their_store(world: World, tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(FILE)
    environment = {"SUFFIX": "!"}
    async with pfiflow.engine(path, registry=world.registry(), environment=environment) as engine:
        sent = await engine.send("intake", b"ada:bread")
        assert (await sent.outcome(timeout=5)).succeeded
    assert [(customer, item) for _, customer, item in world.van.delivered] == [("ada", "bread!")]
    with sqlite3.connect(tmp_path / "flour.db") as database:
        assert database.execute("SELECT count(*) FROM messages").fetchone() == (1,)
    database.close()


async def test_an_outcome_is_known_when_the_last_channel_is_done(world: World) -> None:
    world.van.pause = 0.05
    async with embedded(world) as engine:
        sent = await engine.send("intake", b"ada:bread", {"from": "us"})
        assert not world.van.delivered
        outcome = await sent.outcome(timeout=5)
        assert world.van.delivered
    assert sent.exchange.headers["from"] == "us"
    assert outcome.succeeded
    assert outcome.exchange_id == sent.exchange.id
    events = [(line.route, line.event) for line in outcome.journal]
    assert events == [("intake", "received"), ("intake", "baked"), ("delivery", "delivered")]


async def test_a_refusal_down_the_way_is_an_outcome_with_its_reason(world: World) -> None:
    def refuse(_exchange: Exchange[Any], _attempt: int) -> None:
        raise Rejected(Problem("550", "nobody lives there"))

    world.van.behave = refuse
    async with embedded(world) as engine:
        outcome = await (await engine.send("intake", b"ada:bread")).outcome(timeout=5)
    assert not outcome.succeeded
    (dead,) = outcome.dead
    assert dead.cause == "550: nobody lives there"
    assert [(line.route, line.event) for line in outcome.journal][-1] == ("delivery", "rejected")


async def test_retries_are_waited_for(world: World) -> None:
    def second_time(_exchange: Exchange[Any], attempt: int) -> None:
        if attempt < 2:
            raise Deferred("not yet")

    world.van.behave = second_time
    async with embedded(world) as engine:
        outcome = await (await engine.send("intake", b"ada:bread")).outcome(timeout=5)
    assert [line.event for line in outcome.journal] == ["received", "baked", "deferred", "delivered"]


async def test_every_part_and_every_branch_counts(world: World) -> None:
    """Three parts, one of which is refused for good, while another goes through two channels."""

    def no_stones(exchange: Exchange[Any], _attempt: int) -> None:
        if b"stone" in exchange.body:
            raise Rejected(Problem("103", "no stones"))

    world.van.behave = no_stones
    split = Split((ToChannel("loaves"),))
    long_way = when("headers['split-index'] == '2'", to_channel("told"))
    delivery = Route.of("delivery").from_channel("loaves").to("van").choice(long_way, otherwise=otherwise())
    take = Route.of("intake").process(lambda e: e.with_body((b"a:bread", b"b:roll", b"c:stone"))).then(split)
    async with embedded(world, (take, delivery, TELLER)) as engine:
        outcome = await (await engine.send("intake", b"order")).outcome(timeout=5)
    assert len(world.van.delivered) == 2
    assert [dead.cause for dead in outcome.dead] == ["103: no stones"]
    assert {line.exchange_id.removeprefix(outcome.exchange_id) for line in outcome.journal} == {"", ".1", ".2", ".3"}


async def test_an_exchange_without_channels_is_at_its_end_at_once(world: World) -> None:
    async with embedded(world, Route.of("bake").process("bake")) as engine:
        assert (await (await engine.send("bake", b"ada:bread")).outcome(timeout=0.5)).succeeded


async def test_who_waits_too_long_is_told_and_may_wait_again(world: World) -> None:
    async with embedded(
        world, (INTAKE, DELIVERY, TELLER), channels={**CHANNELS, "loaves": ChannelSpec(hold=True)}
    ) as e:
        sent = await e.send("intake", b"ada:bread")
        with pytest.raises(TimeoutError, match="is not at its end: 1 messages wait"):
            await sent.outcome(timeout=0.05)
        await e.store.set_hold("loaves", hold=False, now=time.time())
        assert (await sent.outcome(timeout=5)).succeeded


async def test_who_follows_nothing_leaves_nothing_behind(world: World) -> None:
    async with embedded(world) as engine:
        for number in range(20):
            await engine.send("intake", f"ada:{number}".encode())
        await eventually(lambda: len(world.van.delivered) == 20)
        journeys = engine._routes.admission.settlement.journeys
        await eventually(lambda: not journeys._followed and not journeys._worked_on)


async def test_request_and_reply(world: World) -> None:
    async with embedded(world, Route.of("bake").process("bake").idempotent("headers.id")) as engine:
        reply = await engine.request("bake", b"ada:bread", {"id": "1"}, timeout=5)
        assert reply.body.item == "bread"
        with pytest.raises(Rejected, match="seen before, with same content"):
            await engine.request("bake", b"ada:bread", {"id": "1"})
        with pytest.raises(Rejected, match="stones are not baked"):
            await engine.request("bake", b"ada:stone", {"id": "2"})
        with pytest.raises(ConfigError, match="no route is called 'brew'"):
            await engine.request("brew", b"")


async def test_a_request_that_takes_too_long(world: World) -> None:
    async with embedded(world, Route.of("slow").delay(60.0)) as engine:
        with pytest.raises(TimeoutError, match=r"route slow did not answer within 0\.05 s"):
            await engine.request("slow", b"", timeout=0.05)


async def test_two_engines_live_in_one_loop_and_know_nothing_of_each_other() -> None:
    one, other = World(), World()
    async with embedded(one) as first, embedded(other) as second:
        await (await first.send("intake", b"ada:bread")).outcome(timeout=5)
        await (await second.send("intake", b"bob:rolls")).outcome(timeout=5)
        await (await first.send("intake", b"eve:cake")).outcome(timeout=5)
    assert [customer for _, customer, _ in one.van.delivered] == ["ada", "eve"]
    assert [customer for _, customer, _ in other.van.delivered] == ["bob"]


def test_in_a_thread(world: World) -> None:
    with embedded(world).in_thread() as engine:
        assert threading.active_count() > 1
        sent = engine.send("intake", b"ada:bread")
        assert sent.exchange.body.item == "bread"
        assert sent.outcome(timeout=5).succeeded
        assert engine.request("intake", b"bob:rolls", timeout=5).body.item == "rolls"
        with pytest.raises(Rejected):
            engine.send("intake", b"eve:stone")
        assert engine.status()["delivery"].state == "running"
        changes = engine.reload(pfiflow.FlowDefinition((INTAKE, TELLER), CHANNELS))
        assert changes.removed == ("delivery",)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pfiflow")]
    assert world.van.closed


def test_two_engines_in_threads_of_their_own_asked_from_many() -> None:
    worlds = World(), World()
    failed: list[Exception] = []
    with embedded(worlds[0]).in_thread() as one, embedded(worlds[1]).in_thread() as two:

        def customer(engine: Any, name: str) -> None:
            try:
                for number in range(20):
                    assert engine.send("intake", f"{name}:{number}".encode()).outcome(timeout=20).succeeded
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=customer, args=(e, f"c{n}")) for n in range(3) for e in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed
    assert [len(world.van.delivered) for world in worlds] == [60, 60]


def test_a_start_that_fails_ends_its_thread(world: World, tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(FILE.replace("flour.db", "nowhere/flour.db"))
    embedding = pfiflow.engine(path, registry=world.registry(), environment={"SUFFIX": ""})
    with pytest.raises(pfiflow.PfiflowError), embedding.in_thread():
        raise AssertionError
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pfiflow")]


def test_no_logging_is_set_up(world: World) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("pfiflow").handlers)
    with embedded(world).in_thread() as engine:
        engine.send("intake", b"ada:bread").outcome(timeout=5)
    assert (root.level, list(root.handlers), logging.getLogger("pfiflow").handlers) == before


def test_another_loop_is_refused_in_words(world: World) -> None:
    """A coroutine driven by something else than asyncio, as trio would."""
    running = embedded(world).engine.run()
    with pytest.raises(ConfigError, match="pfiflow runs on asyncio, and this is another event loop"):
        running.send(None)


async def test_what_goes_wrong_in_the_block_comes_out_as_it_is(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with embedded(world):
            raise ZeroDivisionError
    assert world.van.closed
    with pytest.raises(ZeroDivisionError), embedded(World()).in_thread():
        raise ZeroDivisionError


async def test_the_loop_of_the_host_is_used_and_left_as_it_was(world: World) -> None:
    loop, before = asyncio.get_running_loop(), asyncio.all_tasks()
    async with embedded(world) as engine:
        await engine.send("intake", b"ada:bread")
        assert asyncio.get_running_loop() is loop
    assert asyncio.all_tasks() <= before


async def test_what_is_in_flight_is_finished_at_the_end(world: World) -> None:
    world.van.pause = 0.1
    async with embedded(world) as engine:
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: world.van.running == 1)
    assert len(world.van.delivered) == 1


@pytest.mark.parametrize(
    ("routes", "options", "message"),
    [
        ([INTAKE, "flow.yaml"], {}, "not both at once"),
        (pfiflow.FlowDefinition((INTAKE,)), {}, "has its channels already"),
        ("flow.yaml", {}, "declare their channels themselves"),
    ],
)
def test_what_does_not_go_together(routes: Any, options: Any, message: str, world: World) -> None:
    with pytest.raises(TypeError, match=message):
        embedded(world, routes, **options)


def test_the_types_that_a_program_sees(world: World) -> None:
    """Checked by mypy; nothing of it runs."""

    async def asynchronous() -> None:
        async with pfiflow.engine("a.yaml") as engine:
            assert_type(engine, Engine)
            sent = await engine.send("a", b"")
            assert_type(sent, pfiflow.Sent)
            assert_type(await sent.outcome(timeout=1.0), pfiflow.Outcome)
            assert_type(await engine.request("a", b"", timeout=1.0), Exchange[Any])
            assert_type(await engine.reload(pfiflow.load([], world.registry())), pfiflow.Changes)

    def synchronous() -> None:
        with pfiflow.engine([Route.of("a")], store=MemoryStore()).in_thread() as engine:
            assert_type(engine.send("a", b"").outcome(timeout=1.0), pfiflow.Outcome)
            assert_type(engine.request("a", b""), Exchange[Any])
            assert_type(dict(engine.status()), dict[str, RouteStatus])

    functions: tuple[Callable[[], Any], ...] = (asynchronous, synchronous)
    assert len(functions) == 2
