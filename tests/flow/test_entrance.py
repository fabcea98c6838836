"""What a source writes to the journal beside any exchange: durable, attributed, and never without end."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from attrs import define, field

from pfiflow.flow.component import Receive
from pfiflow.flow.entrance import Ration
from pfiflow.flow.exchange import Exchange, Note
from pfiflow.flow.route import ChannelSpec, Route
from pfiflow.store.api import JournalEntry, StoreFullError, UnitOfWork
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import Counter, World

pytestmark = pytest.mark.anyio


@define(eq=False)
class Baker(Counter):
    """A source that does as the test says, and then waits."""

    script: Callable[[Receive], object] = field(kw_only=True)

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        self.runs += 1
        await self.script(receive)  # type: ignore[misc]
        started("baker")
        await anyio.sleep_forever()


async def journal_after(script: Callable[[Receive], object], store: MemoryStore) -> list[JournalEntry]:
    world = World(counter=Baker(script=script))
    engine = world.engine(Route.of("intake").from_("counter").to_channel("orders"), store=store, orders=ChannelSpec())
    async with engine.running():
        return list(await store.journal())


async def test_a_source_tells_what_it_did_of_itself_and_with_an_exchange() -> None:
    async def script(receive: Receive) -> None:
        await receive.journal(Note("shop-opened", {"key": "7"}))
        name = receive.new_id()
        receipt = await receive(Exchange(name, b"ada:bread", origin="counter"))
        assert receipt.exchange.id == name
        assert receipt.exchange.received > 0
        await receive.journal(Note("receipt-printed"), Note("receipt-given"), exchange_id=name)
        assert receive.new_id() != name

    opened, received, printed, given = await journal_after(script, MemoryStore())
    assert (opened.route, opened.event, opened.exchange_id) == ("intake", "shop-opened", "")
    assert opened.facts == {"key": "7"}
    assert opened.at > 0
    assert received.exchange_id == printed.exchange_id == given.exchange_id != ""
    assert [received.event, printed.event, given.event] == ["received", "receipt-printed", "receipt-given"]


async def test_what_repeats_without_end_is_counted_also_over_the_lives_of_a_source() -> None:
    world = World()

    async def script(receive: Receive) -> None:
        for _ in range(100):
            await receive.journal(Note("door-stuck"), rationed=True)
        if baker.runs == 1:
            raise ConnectionError
        await receive.journal(Note("door-open"), rationed=True)

    store = MemoryStore()
    world.counter = baker = Baker(script=script)
    engine = world.engine(Route.of("intake").from_("counter"), store=store)
    async with engine.running():
        with anyio.fail_after(20):
            while not [e for e in await store.journal() if e.event == "door-open"]:
                await anyio.sleep(0.05)
        lines = list(await store.journal())
    assert [e.event for e in lines] == ["door-stuck"] * 10 + ["door-open"]
    assert lines[-1].facts == {"unwritten": "door-stuck:190"}


def test_a_ration_grows_back_with_time() -> None:
    ration, note = Ration(burst=3, every=60.0), (Note("door-stuck", {"cause": "rust"}),)
    assert len([n for _ in range(5) for n in ration.allowed(note, 0.0)]) == 3
    assert not list(ration.allowed(note, 59.0))
    (later,) = ration.allowed(note, 61.0)
    assert later.facts == {"cause": "rust", "unwritten": "door-stuck:3"}
    (other,) = ration.allowed((Note("door-open"),), 61.0)  # each event has its own
    assert not other.facts
    day = [n for second in range(100, 86_500, 5) for n in ration.allowed(note, float(second))]
    assert 1435 <= len(day) <= 1445
    assert not list(ration.allowed(note, 0.0))  # a clock set back allows nothing more


async def test_a_line_waits_for_a_store_that_fails() -> None:
    class Full(MemoryStore):
        left = 2

        async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
            if self.left:
                self.left -= 1
                raise StoreFullError("no space left")
            return await super().commit(unit)

    async def script(receive: Receive) -> None:
        await receive.journal(Note("shop-opened"))

    (line,) = await journal_after(script, Full())
    assert line.event == "shop-opened"


async def test_an_engine_that_stops_does_not_wait_for_the_store(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStore):
        async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
            raise StoreFullError("no space left")

    async def script(receive: Receive) -> None:
        await receive.journal(Note("shop-opened"))

    world = World(counter=Baker(script=script))
    engine = world.engine(Route.of("intake").from_("counter"), store=Full())
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            while "shop-opened" not in caplog.text:
                await anyio.sleep(0.01)
            engine.drain()
    assert "the journal's shop-opened cannot be stored yet" in caplog.text
