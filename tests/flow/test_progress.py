"""What an attempt has achieved when something after it fails: kept, handed on, told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import pytest
from attrs import define, field

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import ChannelSpec, FlowDefinition, Route, ToEndpoint, to_channel
from pfiflow.store.api import MessageSummary
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import eventually

pytestmark = pytest.mark.anyio

FAST = Redelivery(initial_delay=Duration(0.01), max_delay=Duration(0.05), max_attempts=3)


@define(eq=False)
class Post:
    """A sink that says in a header which parcels it has taken, and takes none twice."""

    taken: list[bytes] = field(factory=list)
    late: set[bytes] = field(factory=set)  # deferred once

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        parcel: bytes = exchange.body
        before = exchange.headers.get("posted", "").split()
        if parcel.decode() in before:
            return exchange
        if parcel in self.late:
            self.late.discard(parcel)
            raise Deferred("the van has left")
        self.taken.append(parcel)
        return exchange.with_headers({"posted": " ".join((*before, parcel.decode()))})

    async def aclose(self) -> None:
        pass


@define(eq=False)
class Depot:
    """One route to the post, and what fails behind it."""

    post: Post = field(factory=Post)
    store: MemoryStore = field(factory=MemoryStore)
    failures: list[Exception] = field(factory=list)
    attempts: int = 0

    def engine(self, *, redelivery: Redelivery = FAST, full: bool = False) -> Engine:
        def fail(exchange: Exchange[Any]) -> Exchange[Any]:
            self.attempts += 1
            if self.failures:
                raise self.failures.pop(0)
            return exchange

        def parcels(exchange: Exchange[Any]) -> Exchange[Iterable[bytes]]:
            return exchange.with_body(tuple(exchange.body.split()))

        post = Component(name="post", kind="sink", build=lambda _: self.post, doc="Takes parcels.")
        routes = (
            Route.of("intake").to_channel("parcels"),
            Route.of("delivery")
            .from_channel("parcels")
            .process(parcels)
            .split(ToEndpoint("post"))
            .process(fail)
            .when_rejected(to_channel("told")),
        )
        channels = {
            "parcels": ChannelSpec(redelivery=redelivery),
            "told": ChannelSpec(max_waiting=1 if full else None),
        }
        return Engine(FlowDefinition(routes, channels), self.store, Registry.of(post))

    async def found(self, channel: str, state: str) -> MessageSummary:
        with anyio.fail_after(30):
            while not (found := await self.store.messages(channel=channel, state=state)):  # type: ignore[arg-type]
                await anyio.sleep(0.005)
        return found[-1]


@pytest.mark.parametrize("failure", [ZeroDivisionError(), Deferred("not now")])
async def test_what_was_sent_is_not_sent_again_when_a_later_step_fails(failure: Exception) -> None:
    depot = Depot(failures=[failure])
    async with depot.engine().running() as engine:
        await engine.send("intake", b"bread cake")
        await depot.found("parcels", "done")
    assert depot.attempts == 2
    assert depot.post.taken == [b"bread", b"cake"]


async def test_of_several_sendings_the_one_that_failed_is_repeated_alone() -> None:
    depot = Depot()
    depot.post.late = {b"cake"}
    async with depot.engine().running() as engine:
        await engine.send("intake", b"bread cake tart")
        await depot.found("parcels", "done")
    assert depot.post.taken == [b"bread", b"cake", b"tart"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ZeroDivisionError(), "defect"),
        (Deferred("not now"), "given-up"),
        (Rejected(Problem("103", "no such street")), "103"),
    ],
)
async def test_who_is_told_of_an_end_knows_what_was_achieved(failure: Exception, code: str) -> None:
    depot = Depot(failures=[failure] * (1 if isinstance(failure, Rejected) else 3))
    async with depot.engine().running() as engine:
        await engine.send("intake", b"bread")
        told = await depot.found("told", "waiting")
        assert (told.headers["error-code"], told.headers["posted"]) == (code, "bread")
        dead = await depot.found("parcels", "dead")
        await depot.store.replay(dead.sequence, now=1.0)
        await depot.found("parcels", "done")
    assert depot.post.taken == [b"bread"], "nor is it sent again when its dead letter is replayed"


async def test_no_channel_is_too_full_to_be_told_of_an_end() -> None:
    """The refused message is settled with it: there would be no second time."""
    depot = Depot(failures=[Rejected(Problem("103", "no such street")) for _ in range(4)])
    async with depot.engine(full=True).running() as engine:
        for number in range(2):
            await engine.send("intake", f"bread{number}".encode())
        await eventually(lambda: depot.attempts == 2)
        await anyio.sleep(1.2)  # one look of the engine at the channels' sizes, so that it knows it full
        for number in range(2, 4):
            await engine.send("intake", f"bread{number}".encode())
        await eventually(lambda: depot.attempts == 4)
        with anyio.fail_after(30):
            while len(await depot.store.messages(channel="told")) < 4:
                await anyio.sleep(0.005)
