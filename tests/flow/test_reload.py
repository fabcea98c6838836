"""Reload: another flow while the engine runs. What is the same is not touched, what is in flight ends as it began."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, evolve, field, frozen

from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.component import Component, Receive, Registry
from pfiflow.flow.engine import Changes, Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration, option
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import ChannelSpec, EngineOptions, FlowDefinition, Route, StoreOptions
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import ORDER, Van, eventually

pytestmark = pytest.mark.anyio


@frozen
class DoorOptions:
    name: str = option(doc="Where it is.", example="front")
    fails: bool = option(default=False, doc="It does not open.")


@define(eq=False)
class Door:
    """A source that the test pushes exchanges through; it listens under its name."""

    options: DoorOptions
    street: Street
    receive: Receive | None = None
    accepting: bool = True

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        if self.options.fails:
            await anyio.sleep(0.2)  # long enough for others to be open meanwhile
        if self.options.fails or self.options.name in self.street.doors:
            raise OSError(98, f"{self.options.name} is taken")
        self.street.doors[self.options.name] = self
        self.street.opened.append(self.options.name)
        self.receive = receive
        started(self.options.name)
        try:
            await anyio.sleep_forever()
        finally:
            del self.street.doors[self.options.name]

    async def stop_accepting(self) -> None:
        self.accepting = False

    async def push(self, body: bytes) -> Any:
        assert self.receive is not None
        return await self.receive(Exchange("", body))


@frozen
class VanOptions:
    name: str = option(doc="Which one.", example="red")


@define(eq=False)
class Street:
    """What outlives a reload: doors that are open, vans by name."""

    doors: dict[str, Door] = field(factory=dict)
    opened: list[str] = field(factory=list)
    vans: dict[str, list[Van]] = field(factory=dict)

    def van(self, options: VanOptions) -> Van:
        van = Van()
        self.vans.setdefault(options.name, []).append(van)
        return van

    def registry(self) -> Registry:
        return Registry.of(
            ORDER,
            Component(
                "door", "source", lambda options: Door(options, self), "", DoorOptions, binds=lambda o: f"{o.name}:1"
            ),
            Component("van", "sink", self.van, "", VanOptions),
        )


ORDERS = Route.of("orders").from_("door", DoorOptions(name="front")).to_channel("orders")
DELIVERY = Route.of("delivery").from_channel("orders").to("van", VanOptions(name="red"))
FAST = Redelivery(initial_delay=Duration(0.01), max_delay=Duration(0.02))
CHANNELS = {"orders": ChannelSpec(redelivery=FAST)}


def flow(*routes: Route, **changes: Any) -> FlowDefinition:
    return FlowDefinition(routes, changes.pop("channels", CHANNELS), **changes)


@pytest.fixture
def street() -> Street:
    return Street()


@pytest.fixture
def engine(street: Street) -> Engine:
    return Engine(flow(ORDERS, DELIVERY), MemoryStore(), street.registry())


async def test_what_is_the_same_is_not_touched(street: Street, engine: Engine) -> None:
    async with engine.running():
        before = dict(engine._routes.running)
        changes = await engine.reload(flow(ORDERS, DELIVERY))
        assert changes == Changes(unchanged=("orders", "delivery"))
        assert dict(engine._routes.running) == before
        assert street.opened == ["front"]
        assert not street.vans["red"][0].closed


async def test_another_pipeline_behind_the_same_door(street: Street, engine: Engine) -> None:
    async with engine.running():
        door = street.doors["front"]
        changes = await engine.reload(flow(ORDERS.set_header("checked", "'yes'"), DELIVERY))
        assert changes == Changes(changed=("orders",), unchanged=("delivery",))
        assert (street.doors["front"], street.opened) == (door, ["front"])
        receipt = await door.push(b"ada:bread")
        assert receipt.exchange.headers == {"checked": "yes"}
        await eventually(lambda: bool(street.vans["red"][0].delivered))


async def test_what_is_in_flight_ends_on_the_route_as_it_was(street: Street) -> None:
    inside, go_on = anyio.Event(), anyio.Event()

    async def slow(exchange: Exchange[Any]) -> Exchange[Any]:
        inside.set()
        await go_on.wait()
        return exchange.with_headers({"by": "the old one"})

    receipts = []
    old = Route.of("orders").from_("door", DoorOptions(name="front")).process(slow).to("van", VanOptions(name="old"))
    new = Route.of("orders").from_("door", DoorOptions(name="front")).set_header("by", "'the new one'")
    engine = Engine(flow(old), MemoryStore(), street.registry())

    async def push(tasks: Any) -> None:
        receipts.append(await street.doors["front"].push(b"ada:bread"))

    async with engine.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(push, tasks)
        await inside.wait()
        await engine.reload(flow(new))
        assert not street.vans["old"][0].closed  # somebody still needs it
        receipts.append(await street.doors["front"].push(b"bob:bread"))
        go_on.set()
        await eventually(lambda: len(receipts) == 2 and street.vans["old"][0].closed)
        assert [receipt.exchange.headers["by"] for receipt in receipts] == ["the new one", "the old one"]
        assert len(street.vans["old"][0].delivered) == 1


async def test_a_sink_that_no_route_needs_any_more_is_closed_and_a_shared_one_is_kept(
    street: Street, engine: Engine
) -> None:
    async with engine.running():
        await engine.reload(flow(ORDERS, DELIVERY.set_header("x", "'1'").to("van", VanOptions(name="blue"))))
        await engine.reload(flow(ORDERS, DELIVERY.set_header("x", "'2'")))
        await eventually(lambda: street.vans["blue"][0].closed)
        assert [van.closed for van in street.vans["red"]] == [False]
    assert street.vans["red"][0].closed


async def test_reloads_under_load_lose_nothing_and_double_nothing(street: Street) -> None:
    """Each reload changes what takes orders and what delivers them; a key's orders keep their order."""
    sent: list[str] = []
    stop = False
    by_customer = {"orders": ChannelSpec(key=Expression("headers.customer"), redelivery=FAST)}

    def routes(version: int) -> FlowDefinition:
        intake = Route.of("intake").set_header("version", f"'{version}'").to_channel("orders")
        delivery = Route.of("delivery").from_channel("orders").set_header("v", f"'{version}'")
        return flow(ORDERS, intake, delivery.to("van", VanOptions(name="red")), channels=by_customer)

    engine = Engine(routes(0), store := MemoryStore(), street.registry())

    async def customer(name: str) -> None:
        number = 0
        while not stop:
            await engine.send("intake", f"{name}:{number}".encode(), {"customer": name})
            sent.append(f"{name}:{number}")
            number += 1
            await anyio.lowlevel.checkpoint()

    async with engine.running():
        street.vans["red"][0].pause = 0.001
        async with anyio.create_task_group() as tasks:
            for name in ("ada", "bob", "eve"):
                tasks.start_soon(customer, name)
            for version in range(1, 26):
                await anyio.sleep(0.01)
                changes = await engine.reload(routes(version))
                assert changes.changed == ("intake", "delivery")
            stop = True
        await eventually(lambda: len(street.vans["red"][0].delivered) >= len(sent), 20.0)
    assert len(street.vans["red"]) == 1  # the same van all the time
    delivered = [f"{customer}:{item}" for _, customer, item in street.vans["red"][0].delivered]
    assert sorted(delivered) == sorted(sent)
    for name in ("ada", "bob", "eve"):
        numbers = [int(each.partition(":")[2]) for each in delivered if each.startswith(name)]
        assert numbers == sorted(numbers)
    assert len(sent) > 25
    await store.open()
    assert all(status.waiting == 0 and status.dead == 0 for status in await store.channels())


async def test_a_channel_is_worked_on_while_an_old_worker_is_busy(street: Street) -> None:
    """Its lane stays its own until it is done; the others go on at once, by the new route."""
    go_on = anyio.Event()

    async def stuck(exchange: Exchange[Any]) -> Exchange[Any]:
        await go_on.wait()
        return exchange

    intake = Route.of("intake").to_channel("orders")
    delivery = Route.of("delivery").from_channel("orders")
    to_van = ("van", VanOptions(name="red"))
    keyed = {"orders": ChannelSpec(key=Expression("headers.customer"), workers=1)}
    engine = Engine(flow(intake, delivery.process(stuck).to(*to_van), channels=keyed), MemoryStore(), street.registry())
    async with engine.running():
        await engine.send("intake", b"ada:1", {"customer": "ada"})
        await eventually(lambda: engine._routes.running["delivery"].compiled.in_flight.count == 1)
        await engine.send("intake", b"ada:2", {"customer": "ada"})
        await engine.send("intake", b"bob:1", {"customer": "bob"})
        await engine.reload(flow(intake, delivery.to(*to_van), channels=keyed))
        (van,) = street.vans["red"]
        await eventually(lambda: len(van.delivered) == 1)
        assert [(customer, item) for _, customer, item in van.delivered] == [("bob", "1")]
        go_on.set()
        await eventually(lambda: len(van.delivered) == 3)
        assert [(customer, item) for _, customer, item in van.delivered[1:]] == [("ada", "1"), ("ada", "2")]


async def test_an_idle_worker_takes_no_message_from_the_new_ones(street: Street, engine: Engine) -> None:
    """A worker that waits for messages leaves at once: what comes right after a reload is delivered without a pause."""
    async with engine.running():
        for version in range(5):
            await engine.reload(flow(ORDERS, DELIVERY.set_header("v", f"'{version}'")))
            with anyio.fail_after(0.9):  # a second is how long a worker sleeps when nobody wakes it
                await street.doors["front"].push(b"ada:bread")
                while len(street.vans["red"][0].delivered) <= version:
                    await anyio.sleep(0.005)


async def test_a_removed_route_leaves_its_messages_and_says_so(street: Street, engine: Engine) -> None:
    async with engine.running():
        street.vans["red"][0].behave = _not_now
        await street.doors["front"].push(b"ada:bread")
        changes = await engine.reload(flow(ORDERS.set_header("x", "'1'")))
        assert changes == Changes(changed=("orders",), removed=("delivery",), unread={"orders": 1})
        assert "1 messages wait in channel orders, which no route reads any more" in str(changes)
        assert "delivery" not in engine.status()
        await eventually(lambda: street.vans["red"][0].closed)
        changes = await engine.reload(flow(ORDERS, DELIVERY))
        assert changes == Changes(changed=("orders",), added=("delivery",))
        await eventually(lambda: len(street.vans["red"][1].delivered) == 1)


async def test_another_door_opens_before_the_old_one_closes(street: Street, engine: Engine) -> None:
    async with engine.running():
        front = street.doors["front"]
        back = Route.of("orders").from_("door", DoorOptions(name="back")).to_channel("orders")
        changes = await engine.reload(flow(back, DELIVERY))
        assert changes.changed == ("orders",)
        await street.doors["back"].push(b"ada:bread")
        await eventually(lambda: "front" not in street.doors)
        assert not front.accepting
        with pytest.raises(Deferred):
            await front.push(b"bob:bread")
        assert engine.status()["orders"].address == "back"
        await eventually(lambda: len(street.vans["red"][0].delivered) == 1)


async def test_doors_change_places(street: Street, engine: Engine) -> None:
    other = Route.of("other").from_("door", DoorOptions(name="back")).to_channel("orders")
    async with engine.running():
        await engine.reload(flow(ORDERS, other, DELIVERY))
        await engine.reload(
            flow(
                evolve(ORDERS, source=other.source),
                evolve(other, source=ORDERS.source).set_header("x", "'x'"),
                DELIVERY,
            )
        )
        assert {name: status.address for name, status in engine.status().items()} == {
            "orders": "back",
            "other": "front",
            "delivery": "channel orders",
        }


async def test_a_door_that_does_not_open_refuses_the_reload(street: Street, engine: Engine) -> None:
    """Nothing changes; what came to a door that did open meanwhile is deferred, not lost in a channel of nobody."""
    answers: list[object] = []

    async def visitor() -> None:
        await eventually(lambda: "side" in street.doors)
        try:
            answers.append(await street.doors["side"].push(b"eve:bread"))
        except Deferred as deferral:
            answers.append(deferral)

    async with engine.running():
        before = dict(engine._routes.running)
        stuck = Route.of("stuck").from_("door", DoorOptions(name="stuck", fails=True)).to_channel("new")
        side = Route.of("side").from_("door", DoorOptions(name="side")).to_channel("new")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor)
            with pytest.raises(ConfigError, match=r"route 'stuck': OSError: .*stuck is taken.*Nothing was reloaded"):
                await engine.reload(
                    flow(
                        ORDERS.set_header("x", "'x'"),
                        DELIVERY,
                        stuck,
                        side,
                        channels={**CHANNELS, "new": ChannelSpec()},
                    )
                )
        assert isinstance(answers[0], Deferred)
        assert dict(engine._routes.running) == before
        assert list(street.doors) == ["front"]
        assert (await street.doors["front"].push(b"ada:bread")).exchange.headers == {}
        await eventually(lambda: len(street.vans["red"][0].delivered) == 1)
        assert engine.definition == flow(ORDERS, DELIVERY)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (flow(ORDERS, DELIVERY.to("vann")), "unknown sink 'vann'"),
        (flow(ORDERS, DELIVERY, channels={}), "unknown channel 'orders'"),
        (flow(ORDERS, ORDERS), "two routes have the same id"),
        (
            flow(ORDERS.to("van", VanOptions(name="blue")), Route.of("x").process("nothing")),
            "unknown processor 'nothing'",
        ),
        (flow(ORDERS, DELIVERY, store=StoreOptions(path=Path("other.db"))), "the path cannot change"),
    ],
)
async def test_a_wrong_flow_changes_nothing(
    definition: FlowDefinition, message: str, street: Street, engine: Engine
) -> None:
    async with engine.running():
        before = dict(engine._routes.running)
        with pytest.raises(ConfigError, match=message):
            await engine.reload(definition)
        assert dict(engine._routes.running) == before
        assert all(van.closed for van in street.vans.get("blue", []))
        await street.doors["front"].push(b"ada:bread")
        await eventually(lambda: len(street.vans["red"][0].delivered) == 1)


async def test_limits_and_channels_change_too(street: Street, engine: Engine) -> None:
    """A channel's key is part of the routes that write into it, its workers and retries of the one that reads it."""
    async with engine.running():
        channels = {"orders": ChannelSpec(redelivery=FAST, workers=9, description="other", max_waiting=1)}
        changes = await engine.reload(flow(ORDERS, DELIVERY, channels=channels, engine=EngineOptions(max_in_flight=3)))
        assert changes == Changes(changed=("delivery",), unchanged=("orders",))
        channels = {"orders": evolve(channels["orders"], key=Expression("'all'"))}
        changes = await engine.reload(flow(ORDERS, DELIVERY, channels=channels, engine=EngineOptions(max_in_flight=3)))
        assert changes == Changes(changed=("orders",), unchanged=("delivery",))
        assert engine._routes.admission.places.total_tokens == 3
        street.vans["red"][0].behave = _not_now
        await street.doors["front"].push(b"ada:bread")
        with anyio.fail_after(10):
            while "orders" not in engine._routes.compiler.full:  # max-waiting holds, which the flow before had not
                await anyio.sleep(0.05)
        with pytest.raises(Deferred, match="is full"):
            await street.doors["front"].push(b"bob:bread")


def _not_now(_exchange: Exchange[Any], _attempt: int) -> None:
    raise Deferred("not now")


async def test_a_drain_after_a_reload_waits_for_the_old_pipeline_too(street: Street) -> None:
    go_on = anyio.Event()

    async def slow(exchange: Exchange[Any]) -> Exchange[Any]:
        await go_on.wait()
        return exchange

    async def later() -> None:
        await anyio.sleep(0.1)
        go_on.set()

    old = DELIVERY.process(slow).to("van", VanOptions(name="old"))
    engine = Engine(flow(ORDERS, old), MemoryStore(), street.registry())
    async with anyio.create_task_group() as tasks:
        async with engine.running():
            await street.doors["front"].push(b"ada:bread")
            await eventually(lambda: bool(street.vans["red"][0].delivered))
            await engine.reload(flow(ORDERS))
            tasks.start_soon(later)
        assert len(street.vans["old"][0].delivered) == 1


async def test_no_reload_while_it_stops_or_before_it_runs(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="does not run, or is stopping"):
        await engine.reload(flow(ORDERS))
    async with engine.running():
        engine.drain()
        with pytest.raises(ConfigError, match="does not run, or is stopping"):
            await engine.reload(flow(ORDERS))


async def test_a_reload_goes_on_when_nobody_waits_for_it(street: Street, engine: Engine) -> None:
    async with engine.running():
        with anyio.move_on_after(0):
            await engine.reload(flow(ORDERS.set_header("x", "'x'"), DELIVERY))
        await eventually(
            lambda: len(engine.definition.routes[0].steps) == 2 or engine._routes.definition != engine.definition
        )
        receipt = await street.doors["front"].push(b"ada:bread")
        assert receipt.exchange.headers == {"x": "x"}


async def test_the_log_tells_the_old_from_the_new(
    street: Street, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pfiflow.engine")
    told: list[tuple[str, str]] = []
    engine.on_status = lambda status: told.append((status.route, status.state))
    async with engine.running():
        await engine.reload(flow(ORDERS, DELIVERY.set_header("x", "'x'")))
        await eventually(lambda: "route delivery as it was before: stopped" in caplog.text)
        assert told.count(("delivery", "running")) == 2
        assert ("delivery", "stopped") not in told
