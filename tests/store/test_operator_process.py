"""An operator's store beside a running engine's, on the same file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from pfiflow.store.api import Dead, Done, JournalEntry, StoreError, UnitOfWork
from pfiflow.store.sqlite import SqliteStore
from tests.store.conftest import claimed, drain, enqueue, finish, put

pytestmark = pytest.mark.anyio


@pytest.fixture
async def operator(sqlite_store: SqliteStore) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(sqlite_store.path, role="operator")
    await made.open()
    yield made
    await made.aclose()


async def test_no_store_no_operator(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "none.db", role="operator")
    with pytest.raises(StoreError, match="there is no store at"):
        await store.open()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a look, in a test


async def test_an_operator_sees_and_does_not_work(sqlite_store: SqliteStore, operator: SqliteStore) -> None:
    (sequence,) = await put(sqlite_store, "k")
    assert [summary.sequence for summary in await operator.messages()] == [sequence]
    assert [status.waiting for status in await operator.channels()] == [1]
    for call in (operator.commit(UnitOfWork()), operator.claim("c", now=1.0), operator.next_due("c")):
        with pytest.raises(StoreError, match="operator"):
            await call
    await claimed(sqlite_store)
    with pytest.raises(StoreError, match="is waiting"):
        await operator.replay(sequence, now=20.0)


@pytest.mark.parametrize("change", ["release", "replay"])
async def test_the_engine_notices_within_a_second(
    sqlite_store: SqliteStore, operator: SqliteStore, change: str
) -> None:
    (sequence,) = await put(sqlite_store, "k")
    if change == "release":
        await operator.set_hold("c", hold=True, now=20.0)
    else:
        await sqlite_store.commit(UnitOfWork(Dead(sequence, "x"), at=20.0))
    await asyncio.sleep(0.7)  # the engine has looked since, most likely
    assert await sqlite_store.claim("c", now=20.0) is None
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: sqlite_store.wait("c", timeout=60.0))
            await asyncio.sleep(0.05)
            if change == "release":
                await operator.set_hold("c", hold=False, now=20.0)
            else:
                await operator.replay(sequence, now=20.0)
    assert (await claimed(sqlite_store)).message.sequence == sequence


async def test_a_hold_takes_effect_at_the_next_claim(sqlite_store: SqliteStore, operator: SqliteStore) -> None:
    await put(sqlite_store, "a", "a", "b")
    claim = await claimed(sqlite_store)
    await operator.set_hold("c", hold=True, now=20.0)
    assert await finish(sqlite_store, claim) is None
    assert await sqlite_store.claim("c", now=20.0) is None


async def test_both_write_at_once(sqlite_store: SqliteStore, operator: SqliteStore) -> None:
    sequences = await sqlite_store.commit(UnitOfWork(enqueue=tuple(enqueue(f"k{n}") for n in range(200))))
    for sequence in sequences:
        await sqlite_store.commit(UnitOfWork(Dead(sequence, "x"), at=1.0))

    async def engine() -> None:
        for number in range(300):
            line = JournalEntry(2.0, f"n{number}", "route", "received")
            await sqlite_store.commit(UnitOfWork(enqueue=(enqueue(f"n{number}"),), journal=(line,), at=2.0))

    async def replays() -> None:
        for sequence in sequences[:100]:
            await operator.replay(sequence, now=2.0)

    async def discards() -> None:
        for sequence in sequences[100:]:
            await operator.discard(sequence, now=2.0)

    await asyncio.gather(engine(), replays(), discards())
    (status,) = await operator.channels()
    assert (status.waiting, status.done, status.dead) == (400, 100, 0)
    events = [entry.event for entry in await operator.journal()]
    assert (events.count("received"), events.count("replayed"), events.count("discarded")) == (300, 100, 100)
    assert len(await drain(sqlite_store)) == 400


async def test_an_operators_purge_takes_no_number_back(sqlite_store: SqliteStore, operator: SqliteStore) -> None:
    (sequence,) = await put(sqlite_store, "k")
    await sqlite_store.commit(UnitOfWork(Done(sequence), at=1.0))
    purged = await operator.purge(done_before=9.0, dead_before=9.0, journal_before=9.0, now=9.0)
    assert purged.messages == 1
    await sqlite_store.aclose()
    await sqlite_store.open()
    assert await put(sqlite_store, "k") > [sequence]


async def test_from_a_process_of_its_own(sqlite_store: SqliteStore) -> None:
    (sequence,) = await put(sqlite_store, "k")
    await sqlite_store.commit(UnitOfWork(Dead(sequence, "x"), at=1.0))
    code = f"""
import asyncio
import os
from pfiflow.store.sqlite import SqliteStore
async def main():
    store = SqliteStore({str(sqlite_store.path)!r}, role="operator")
    await store.open()
    await store.replay({sequence}, now=2.0)
    print(len(await store.messages(state="waiting")))
    await store.aclose()
asyncio.run(main())
"""
    output = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", code])
    assert output == b"1\n"
    with anyio.fail_after(30):
        assert (await claimed(sqlite_store)).message.sequence == sequence
