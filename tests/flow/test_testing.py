"""A route tester in a bakery: a plugin's own double, scripts by route, records, and what is told apart by endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, frozen

from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.component import Component, Double, Records, Registry
from pfiflow.flow.double import Outside, PlainAnswer
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, option
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import ChannelSpec, FlowDefinition, Route, ToEndpoint
from pfiflow.flow.testing import RouteTester, VirtualClock
from tests.flow.bakery import ORDER, Order, World

pytestmark = pytest.mark.anyio


@frozen
class DoorAnswer:
    """How somebody opens."""

    opens: bool = option(default=True, doc="Whether anybody does.", example=False)


@define(eq=False)
class Courier:
    """A sink with a protocol of its own: it knocks, and hands over when somebody opens; it knows regular customers."""

    outside: Outside
    records: Records

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        answer: DoorAnswer = self.outside.answer
        if not answer.opens:
            raise Deferred("nobody opens")
        known = await self.records.find_record("customer", exchange.body.customer)
        self.outside.sent(exchange.body.item.encode(), greeting="hello again" if known else "hello")
        return exchange.with_memory("customer", exchange.body.customer)

    async def aclose(self) -> None:
        return


def _never(*_arguments: object) -> object:
    raise AssertionError("a test builds no true sink")


COURIER = Component(
    name="courier",
    kind="sink",
    build=_never,
    doc="Brings orders to doors.",
    accepts=Order,
    uses_records=True,
    double=Double(build=lambda _options, outside, records: Courier(outside, records), answers=DoorAnswer),
)
VAN = Component(name="van", kind="sink", build=_never, doc="Delivers.")
COUNTER = World().registry().component("counter")
SLOW = Redelivery(initial_delay=Duration(60.0), max_delay=Duration(600.0))


def _tester(*routes: Route, only: tuple[str, ...] | None = None, **channels: ChannelSpec) -> RouteTester:
    return RouteTester(FlowDefinition(routes, channels), Registry.of(ORDER, COURIER, VAN, COUNTER), only)


async def test_a_plugins_double_runs_its_own_code_and_finds_its_records() -> None:
    tester = _tester(Route.of("round").from_channel("orders").to("courier"), orders=ChannelSpec(redelivery=SLOW))
    tester.script("courier", DoorAnswer(opens=False))
    async with tester.running():
        await tester.remember("customer", "bob", {})
        await tester.put("orders", Order("ada", "bread"))
        await tester.put("orders", Order("bob", "cake"))
        await tester.run()
        seen = await tester.seen()
    assert [(sent.content, sent.facts["greeting"], sent.at) for sent in seen.sent] == [
        (b"cake", "hello again", 0.0),
        (b"bread", "hello", 60.0),
    ]
    assert (seen.attempts[0].outcome, seen.attempts[0].cause) == ("deferred", "nobody opens")
    assert {record.key for record in seen.records} == {"ada", "bob"}


async def test_two_endpoints_with_the_same_options_have_scripts_of_their_own() -> None:
    tester = _tester(
        Route.of("north").from_channel("a").then(ToEndpoint("van", id="north-van")),
        Route.of("south").from_channel("b").then(ToEndpoint("van", id="south-van")),
        a=ChannelSpec(redelivery=SLOW),
        b=ChannelSpec(redelivery=SLOW),
    )
    tester.script("south-van", PlainAnswer(defer="flat tyre"))
    async with tester.running():
        for channel in ("a", "b"):
            await tester.put(channel, Order("ada", "bread"))
        await tester.run(0.0)
        seen = await tester.seen()
    assert [(each.endpoint, each.outcome) for each in seen.attempts] == [
        ("north-van", "accepted"),
        ("south-van", "deferred"),
    ]
    assert [message.cause for message, _ in seen.waiting["b"]] == ["flat tyre"]


async def test_a_script_may_be_for_one_route() -> None:
    tester = _tester(
        Route.of("north").from_channel("a").to("van"),
        Route.of("south").from_channel("b").to("van"),
        a=ChannelSpec(),
        b=ChannelSpec(),
    )
    tester.script("van", PlainAnswer(reject="wrong town"), route="south")
    async with tester.running():
        for channel in ("a", "b"):
            await tester.put(channel, Order("ada", "bread"))
        await tester.run()
        seen = await tester.seen()
    assert [letter.channel for letter in seen.dead] == ["b"]
    assert seen.unused == ()


async def test_only_the_routes_chosen_run() -> None:
    tester = _tester(
        Route.of("intake").from_("counter").to_channel("orders"),
        Route.of("round").from_channel("orders").to("courier"),
        only=("intake",),
        orders=ChannelSpec(),
    )
    async with tester.running():
        answered = await tester.give("intake", b"ada:bread")
        await tester.run()
        seen = await tester.seen()
        with pytest.raises(ConfigError, match="no route is called 'round'"):
            await tester.give("round", b"x")
    assert answered.outcome == "accepted"
    assert [content for _, content in seen.waiting["orders"]] == [b"ada:bread"]


async def test_the_clock_is_the_tests() -> None:
    clock = VirtualClock()
    began = clock.now()
    await clock.sleep(90)
    assert clock.now() - began == 90


def test_a_route_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="known: intake"):
        _tester(Route.of("intake").from_("counter"), only=("intale",))
