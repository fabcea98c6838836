"""Conformance: units of work, ledger, journal, payloads."""

from __future__ import annotations

import asyncio

import pytest

from pfiflow.store.api import (
    Dead,
    Done,
    DuplicateKeyError,
    Enqueue,
    JournalEntry,
    Retry,
    StoreError,
    UnitOfWork,
)
from pfiflow.store.sqlite import SqliteStore
from tests.store.conftest import AnyStore, claimed, drain, enqueue, ledger, put

pytestmark = pytest.mark.anyio


async def test_sequence_numbers_rise_in_the_order_of_enqueue(store: AnyStore) -> None:
    first = await store.commit(UnitOfWork(enqueue=(enqueue("a"), enqueue("b"))))
    second = await store.commit(UnitOfWork(enqueue=(enqueue("a"),)))
    assert len(first) == 2
    assert list(first + second) == sorted({*first, *second})


async def test_an_empty_unit_commits(store: AnyStore) -> None:
    assert await store.commit(UnitOfWork()) == ()


async def test_message_comes_back_as_it_was_given(store: AnyStore) -> None:
    headers = {"é": "à\n\x00'\"", "": ""}
    given = Enqueue("c", "clé", "id", "type", bytes(range(256)), headers, "origin", 1.5, 0.0)
    (sequence,) = await store.commit(UnitOfWork(enqueue=(given,), at=7.25))
    message = (await claimed(store)).message
    assert (message.sequence, message.channel, message.key) == (sequence, "c", "clé")
    assert (message.exchange_id, message.body_type, message.origin) == ("id", "type", "origin")
    assert message.payload == bytes(range(256))
    assert type(message.payload) is bytes
    assert dict(message.headers) == headers
    assert (message.received, message.enqueued, message.attempts, message.defects) == (1.5, 7.25, 0, 0)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
async def test_payload_of_any_size(store: AnyStore, size: int) -> None:
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (sequence,) = await store.commit(UnitOfWork(enqueue=(enqueue(payload=payload),)))
    assert (await claimed(store)).message.payload == payload
    kept = await store.message(sequence)
    assert kept is not None
    assert kept[1] == payload
    assert kept[0].size == size


async def test_a_duplicate_key_keeps_nothing_of_the_unit(store: AnyStore) -> None:
    await put(store, "k")
    await store.commit(UnitOfWork(ledger=(ledger("2", digest=b"first"),), at=10.0))
    line = JournalEntry(1.0, "e", "r", "received")
    unit = UnitOfWork(
        Done(1), (enqueue("new"),), (ledger("1"), ledger("2", digest=b"second"), ledger("3")), (line,), at=10.0
    )
    with pytest.raises(DuplicateKeyError) as caught:
        await store.commit(unit)
    assert caught.value.entry == ledger("2", digest=b"first")
    assert "second" not in str(caught.value)
    assert await store.find_ledger("s", "1", now=10.0) is None
    assert await store.find_ledger("s", "3", now=10.0) is None
    assert await store.journal() == []
    assert [summary.state for summary in await store.messages()] == ["waiting"]


async def test_twice_the_same_key_in_one_unit(store: AnyStore) -> None:
    with pytest.raises(DuplicateKeyError) as caught:
        await store.commit(UnitOfWork(ledger=(ledger("1", digest=b"x"), ledger("1", digest=b"y"))))
    assert caught.value.entry.digest == b"x"
    assert await store.find_ledger("s", "1", now=0.0) is None


async def test_one_duplicate_does_not_hurt_its_neighbours(store: AnyStore) -> None:
    units = [
        UnitOfWork(enqueue=(enqueue(f"k{number}"),), ledger=(ledger(str(number % 50)),), at=1.0)
        for number in range(100)
    ]
    results = await asyncio.gather(*(store.commit(unit) for unit in units), return_exceptions=True)
    assert [isinstance(result, DuplicateKeyError) for result in results] == [False] * 50 + [True] * 50
    assert len(await store.messages(limit=1000)) == 50


async def test_an_expired_key_can_be_used_again(store: AnyStore) -> None:
    await store.commit(UnitOfWork(ledger=(ledger("1", expires=100.0),), at=1.0))
    with pytest.raises(DuplicateKeyError):
        await store.commit(UnitOfWork(ledger=(ledger("1", expires=300.0),), at=99.9))
    assert await store.find_ledger("s", "1", now=99.9) == ledger("1", expires=100.0)
    assert await store.find_ledger("s", "1", now=100.0) is None
    await store.commit(UnitOfWork(ledger=(ledger("1", expires=300.0),), at=100.0))
    assert await store.find_ledger("s", "1", now=100.0) == ledger("1", expires=300.0)


async def test_ledger_scopes_are_apart(store: AnyStore) -> None:
    await store.commit(UnitOfWork(ledger=(ledger("1"),)))
    assert await store.find_ledger("other", "1", now=0.0) is None
    assert await store.find_ledger("s", "2", now=0.0) is None


async def test_settling_what_does_not_wait_is_refused_wholly(store: AnyStore) -> None:
    (sequence,) = await put(store, "k")
    await drain(store)
    for settle in (Done(sequence), Dead(sequence, "x"), Retry(sequence, 1.0, "x"), Done(999)):
        with pytest.raises(StoreError, match="not waiting"):
            await store.commit(UnitOfWork(settle, (enqueue("new"),), (ledger("1"),), at=30.0))
    assert len(await store.messages()) == 1
    assert await store.find_ledger("s", "1", now=0.0) is None


async def test_value_that_cannot_be_stored_hurts_its_unit_alone(sqlite_store: SqliteStore) -> None:
    store = sqlite_store  # the memory twin holds any text
    bad = UnitOfWork(enqueue=(enqueue("fresh", channel="lone\udc80"),), ledger=(ledger("1"),))
    good = UnitOfWork(enqueue=(enqueue("good"),))
    results = await asyncio.gather(store.commit(good), store.commit(bad), store.commit(good), return_exceptions=True)
    assert isinstance(results[1], StoreError)
    assert [isinstance(result, tuple) for result in results] == [True, False, True]
    assert await store.find_ledger("s", "1", now=0.0) is None
    assert [summary.key for summary in await store.messages()] == ["good", "good"]


async def test_a_payload_that_is_no_bytes_hurts_its_unit_alone(sqlite_store: SqliteStore) -> None:
    units = [UnitOfWork(enqueue=(enqueue("k", payload),)) for payload in (b"1", "no bytes", b"2")]  # type: ignore[arg-type]
    results = await asyncio.gather(*map(sqlite_store.commit, units), return_exceptions=True)
    assert [type(result) for result in results] == [tuple, StoreError, tuple]


async def test_a_cancelled_caller_still_commits(store: AnyStore) -> None:
    task = asyncio.ensure_future(store.commit(UnitOfWork(enqueue=(enqueue("k"),))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.commit(UnitOfWork())  # behind the other in the queue
    assert len(await store.messages()) == 1


async def test_ten_thousand_commits_at_once(store: AnyStore) -> None:
    units = [UnitOfWork(enqueue=(enqueue(f"k{number}", b"x"),)) for number in range(10_000)]
    sequences = [one for result in await asyncio.gather(*map(store.commit, units)) for one in result]
    assert sequences == list(range(sequences[0], sequences[0] + 10_000))


async def test_one_payload_is_kept_once(store: AnyStore) -> None:
    unit = UnitOfWork(enqueue=(enqueue("a", b"same"), enqueue("b", b"same"), enqueue("c", b"other")), at=1.0)
    await store.commit(unit)
    await store.commit(unit)
    claims = [await claimed(store), await claimed(store)]
    assert [claim.message.payload for claim in claims] == [b"same", b"same"]
    for claim in claims:
        await store.commit(UnitOfWork(Done(claim.message.sequence), at=2.0))
        await store.release(claim)
    purged = await store.purge(done_before=3.0, dead_before=0.0, journal_before=0.0, now=3.0)
    assert (purged.messages, purged.payloads, purged.payload_bytes) == (2, 0, 0)  # two others still refer to it
    await drain(store)
    purged = await store.purge(done_before=30.0, dead_before=0.0, journal_before=0.0, now=3.0)
    assert (purged.messages, purged.payloads, purged.payload_bytes) == (4, 2, 9)


async def test_journal_in_order_by_exchange_and_its_parts(store: AnyStore) -> None:
    names = ["e1", "e1.1", "e2", "e1.1.2", "e10", "e1", "e1/", "e1-"]
    for number, name in enumerate(names):
        await store.commit(UnitOfWork(journal=(JournalEntry(float(number), name, "r", "event", {"n": str(number)}),)))
    lines = await store.journal()
    assert [line.exchange_id for line in lines] == names
    assert [dict(line.facts) for line in lines][3] == {"n": "3"}
    assert [line.at for line in await store.journal(exchange_id="e1")] == [0.0, 1.0, 3.0, 5.0]
    assert [line.at for line in await store.journal(exchange_id="e1", limit=2)] == [0.0, 1.0]
    assert [line.at for line in await store.journal(exchange_id="e1", after=lines[1].line)] == [3.0, 5.0]
    assert [line.at for line in await store.journal(after=lines[5].line)] == [6.0, 7.0]
    assert await store.journal(exchange_id="none") == []


async def test_enqueue_makes_its_channel_known(store: AnyStore) -> None:
    await put(store, "k", channel="new")
    assert [status.channel for status in await store.channels()] == ["c", "new"]


async def test_a_closed_store_says_so(store: AnyStore) -> None:
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="not open"):
        await store.commit(UnitOfWork())
    with pytest.raises(StoreError, match="not open"):
        await store.claim("c", now=1.0)
    with pytest.raises(StoreError, match="not open"):
        await store.messages()


async def test_closing_finishes_what_is_queued_and_a_restart_finds_it(store: AnyStore) -> None:
    tasks = [asyncio.ensure_future(store.commit(UnitOfWork(enqueue=(enqueue(str(n)),)))) for n in range(500)]
    await asyncio.sleep(0)
    await store.aclose()
    sequences = [one for result in await asyncio.gather(*tasks) for one in result]
    await store.open()
    assert [summary.sequence for summary in await store.messages(limit=1000)] == sequences


async def test_numbers_are_never_given_twice(store: AnyStore) -> None:
    (first,) = await put(store, "k")
    await store.commit(UnitOfWork(journal=(JournalEntry(1.0, "e", "r", "x"),)))
    (line,) = await store.journal()
    await drain(store)
    await store.purge(done_before=100.0, dead_before=100.0, journal_before=100.0, now=100.0)
    await store.aclose()
    await store.open()
    assert await store.messages() == []
    (second,) = await put(store, "k")
    await store.commit(UnitOfWork(journal=(JournalEntry(1.0, "e", "r", "x"),)))
    assert second > first
    assert (await store.journal())[0].line > line.line


async def test_a_channel_that_came_with_a_rolled_back_unit_is_made_known_by_the_next(sqlite_store: SqliteStore) -> None:
    with pytest.raises(StoreError):
        await sqlite_store.commit(UnitOfWork(enqueue=(enqueue("lone\udc80", channel="new"),)))
    assert [status.channel for status in await sqlite_store.channels()] == ["c"]
    (sequence,) = await put(sqlite_store, "k", channel="new")
    assert [status.channel for status in await sqlite_store.channels()] == ["c", "new"]
    assert (await claimed(sqlite_store, channel="new")).message.sequence == sequence
