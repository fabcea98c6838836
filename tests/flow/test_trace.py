"""The trace of an exchange's way: what it is told, in which order; and an engine that is worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, evolve

from pfiflow.errors import Deferred, Rejected
from pfiflow.flow.engine import Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration
from pfiflow.flow.pipeline import Ended
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import ChannelSpec, FlowDefinition, Route, to_channel, when
from pfiflow.flow.trace import Decided, StepBegan, StepEnded, TraceEvent
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import World

pytestmark = pytest.mark.anyio

SLOW = Redelivery(initial_delay=Duration(60.0), max_delay=Duration(600.0), jitter=0.0)


@define
class Watch:
    """A clock that goes when it is told."""

    time: float = 1_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def _told(event: TraceEvent) -> str:
    match event:
        case StepBegan(step=step):
            return f"> {type(step).__name__}"
        case StepEnded(step=step, failure=failure):
            return f"< {type(step).__name__}" + (f" {type(failure).__name__}" if failure else "")
        case Decided(where=where, holds=holds):
            return f"? {where.condition} {holds}"


def _engine(world: World, *routes: Route, **channels: ChannelSpec) -> tuple[Engine, list[TraceEvent], Watch]:
    told: list[TraceEvent] = []
    clock = Watch()
    definition = FlowDefinition(routes, channels)
    return Engine(definition, MemoryStore(), world.registry(), clock, trace=told.append), told, clock


async def test_steps_begin_and_end_as_they_nest_and_each_condition_is_told() -> None:
    route = (
        Route.of("intake")
        .process("bake")
        .choice(
            when("body.item == 'cake'", to_channel("cakes")),
            when("body.item == 'bread'", to_channel("loaves")),
        )
        .filter("false")
        .to("van")
    )
    engine, told, _ = _engine(World(), route, cakes=ChannelSpec(), loaves=ChannelSpec())
    async with engine.standing():
        await engine.send("intake", b"ada:bread")
    assert list(map(_told, told)) == [
        "> Process",
        "< Process",
        "> Choice",
        "? Expression(\"body.item == 'cake'\") False",
        "? Expression(\"body.item == 'bread'\") True",
        "> ToChannel",
        "< ToChannel",
        "< Choice",
        "> Filter",
        "? Expression('false') False",
        "< Filter Ended",
    ]
    before, after = told[0], told[1]
    assert isinstance(before, StepBegan)
    assert isinstance(after, StepEnded)
    assert before.exchange.body == b"ada:bread"
    assert after.result is not None
    assert after.result.body.item == "bread"
    assert after.work is before.work
    assert [entry.channel for entry in after.work.enqueue] == ["loaves"]
    last = told[-1]
    assert isinstance(last, StepEnded)
    assert isinstance(last.failure, Ended)


async def test_a_refusal_is_told_with_its_step() -> None:
    engine, told, _ = _engine(World(), Route.of("intake").process("bake"))
    async with engine.standing():
        with pytest.raises(Rejected):
            await engine.send("intake", b"ada:stone")
    assert list(map(_told, told)) == ["> Process", "< Process Rejected"]


async def test_an_engine_worked_by_hand_does_what_is_due_and_says_when_to_come_again() -> None:
    world = World()

    def twice_cold(_exchange: Exchange[Any], attempt: int) -> None:
        if attempt < 3:
            raise Deferred("cold")

    world.van.behave = twice_cold
    engine, _, clock = _engine(
        world,
        Route.of("intake").process("bake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        loaves=ChannelSpec(key=Expression("body.customer"), redelivery=SLOW),
    )
    async with engine.standing():
        assert await engine.work_due() is None
        await engine.send("intake", b"ada:bread")
        started = clock.time
        dues = []
        while (due := await engine.work_due()) is not None:
            dues.append(due - started)
            clock.time = due
    assert dues == [60.0, 180.0]
    assert [item for _, _, item in world.van.delivered] == ["bread"]
    assert world.van.closed


async def test_while_a_destination_is_down_the_next_is_the_probe() -> None:
    world = World()

    def down(_exchange: Exchange[Any], _attempt: int) -> None:
        if sum(world.van.attempts.values()) == 1:
            raise Deferred("no road", unavailable=True)

    world.van.behave = down
    engine, _, clock = _engine(
        world,
        Route.of("intake").to_channel("loaves"),
        Route.of("delivery").from_channel("loaves").to("van"),
        loaves=ChannelSpec(redelivery=SLOW),
    )
    async with engine.standing():
        await engine.send("intake", b"ada:bread")
        await engine.send("intake", b"bob:bread")
        due = await engine.work_due()
        assert due == clock.time + 60
        assert sum(world.van.attempts.values()) == 1
        clock.time = due
        await engine.work_due()
    assert sorted(customer for _, customer, _ in world.van.delivered) == ["ada", "bob"]


async def test_without_a_trace_steps_are_compiled_bare() -> None:
    engine = World().engine(Route.of("intake").process("bake"))
    pipeline: Any = engine._routes.running["intake"].compiled.pipeline
    steps = next(c.cell_contents for c in pipeline.__closure__ if isinstance(c.cell_contents, tuple))
    assert [step.__name__ for step in steps] == ["process"]


async def test_ids_can_be_given_by_who_runs_the_engine() -> None:
    store = MemoryStore()
    engine = World().engine(Route.of("intake").to_channel("loaves"), store=store, loaves=ChannelSpec())
    engine = evolve(engine, new_id=lambda _now: "order-1")
    async with engine.standing():
        receipt = await engine.send("intake", b"ada:bread")
    assert receipt.exchange.id == "order-1"
