"""A small world for engine tests: orders (bytes `customer:item`) become loaves that are delivered."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from attrs import define, field, frozen

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import BodyType, Component, NoOptions, Receive, Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import option
from pfiflow.flow.route import ChannelSpec, EngineOptions, FlowDefinition, Route
from pfiflow.store.api import Store
from pfiflow.store.memory import MemoryStore


@frozen
class Order:
    customer: str
    item: str

    def encode(self) -> bytes:
        return f"{self.customer}:{self.item}".encode()

    @classmethod
    def decode(cls, data: bytes) -> Order:
        customer, _, item = data.decode().partition(":")
        return cls(customer, item)

    def view(self) -> Mapping[str, object]:
        return {"customer": self.customer, "item": self.item}


ORDER = BodyType("order", Order, Order.encode, Order.decode, Order.view)


@define(eq=False)
class Van:
    """A sink that records what it delivers and fails as told."""

    delivered: list[tuple[str, str, str]] = field(factory=list)  # exchange id, customer, item
    attempts: dict[str, int] = field(factory=lambda: defaultdict(int))
    behave: Callable[[Exchange[Any], int], None] = lambda _exchange, _attempt: None
    pause: float = 0.0
    closed: bool = False
    running: int = 0
    busiest: int = 0

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        self.running += 1
        self.busiest = max(self.busiest, self.running)
        try:
            self.attempts[exchange.id] += 1
            if self.pause:
                await anyio.sleep(self.pause)
            self.behave(exchange, self.attempts[exchange.id])
            body = exchange.body if isinstance(exchange.body, Order) else Order.decode(exchange.body)
            self.delivered.append((exchange.id, body.customer, body.item))
        finally:
            self.running -= 1
        return exchange.with_note("delivered", item=body.item)

    async def aclose(self) -> None:
        self.closed = True


@define(eq=False)
class Counter:
    """A source: orders handed in by the test."""

    orders: asyncio.Queue[tuple[bytes, asyncio.Future[Any]]] = field(factory=asyncio.Queue)
    fail: list[Exception] = field(factory=list)
    runs: int = 0
    open: bool = True

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        self.runs += 1
        started("counter")
        if self.fail:
            raise self.fail.pop(0)
        while True:
            data, answer = await self.orders.get()
            try:
                answer.set_result(await receive(Exchange("", data, origin="counter")))
            except Exception as error:
                answer.set_exception(error)

    async def stop_accepting(self) -> None:
        self.open = False


@frozen
class BakeOptions:
    suffix: str = option(default="", doc="Added to the item.", example=" (sliced)")


def _bake(options: BakeOptions) -> Callable[[Exchange[Any]], Exchange[Order]]:
    def bake(exchange: Exchange[Any]) -> Exchange[Order]:
        order = exchange.body if isinstance(exchange.body, Order) else Order.decode(exchange.body)
        if order.item == "stone":
            raise Rejected(Problem("103", "stones are not baked", "item"))
        if order.item == "later":
            raise Deferred("the oven is cold", retry_after=0.01)
        if order.item == "bug":
            raise ZeroDivisionError(f"secret of {order.customer}")
        return exchange.with_body(Order(order.customer, order.item + options.suffix)).with_note("baked")

    return bake


@define(eq=False)
class World:
    van: Van = field(factory=Van)
    counter: Counter = field(factory=Counter)

    def registry(self) -> Registry:
        return Registry.of(
            ORDER,
            Component(name="counter", kind="source", build=lambda _: self.counter, doc="Takes orders.", gives=bytes),
            Component(name="van", kind="sink", build=lambda _: self.van, doc="Delivers."),
            Component(name="bake", kind="processor", build=_bake, options=BakeOptions, doc="Bakes.", gives=Order),
            Component(
                name="slow-bake",
                kind="processor",
                build=_bake,
                options=BakeOptions,
                doc="Bakes.",
                gives=Order,
                threaded=True,
            ),
        )

    def engine(
        self,
        *routes: Route,
        store: Store | None = None,
        options: EngineOptions | None = None,
        **channels: ChannelSpec,
    ) -> Engine:
        definition = FlowDefinition(routes, channels, engine=options or EngineOptions())
        return Engine(definition, store or MemoryStore(), self.registry())


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.005)


__all__ = ["NoOptions", "Order", "Van", "World", "eventually"]
