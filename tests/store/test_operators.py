"""Conformance: what operators ask, and retention."""

from __future__ import annotations

import pytest

from pfiflow.store.api import ChannelStatus, Dead, Done, JournalEntry, Purged, Retry, StoreError, UnitOfWork
from tests.store.conftest import AnyStore, claimed, drain, enqueue, ledger, put

pytestmark = pytest.mark.anyio


async def kill(store: AnyStore, sequence: int, *, at: float = 20.0) -> None:
    await store.commit(UnitOfWork(Dead(sequence, "refused", "because"), at=at))


async def test_channels_count(store: AnyStore) -> None:
    await store.declare_channels({"held": True, "c": True})
    sequences = await put(store, "a", "b", "c", "d", at=10.0)
    await kill(store, sequences[1])
    await store.commit(UnitOfWork(Done(sequences[0]), at=20.0))
    await put(store, "e", at=30.0)
    assert await store.channels() == [
        ChannelStatus("c", held=False, waiting=3, dead=1, done=1, oldest=10.0),
        ChannelStatus("held", held=True, waiting=0, dead=0, done=0, oldest=None),
    ]


async def test_an_operators_switch_survives_the_declaration(store: AnyStore) -> None:
    await store.declare_channels({"x": True, "y": False})
    await store.set_hold("x", hold=False, now=20.0)
    await store.set_hold("y", hold=True, now=20.0)
    await store.aclose()
    await store.open()
    await store.declare_channels({"x": True, "y": False})
    assert {status.channel: status.held for status in await store.channels()} == {"c": False, "x": False, "y": True}


async def test_hold_of_an_unknown_channel(store: AnyStore) -> None:
    with pytest.raises(StoreError, match="no channel is called 'nope'; known: c"):
        await store.set_hold("nope", hold=True, now=20.0)


async def test_messages_are_listed_by_number_channel_and_state(store: AnyStore) -> None:
    sequences = []
    for number in range(12):
        sequences += await put(store, f"k{number % 5}", channel="cd"[number % 2])
    for number in (1, 2, 5):
        await kill(store, sequences[number])
    for number in (3, 4):
        await store.commit(UnitOfWork(Done(sequences[number]), at=20.0))

    async def listed(**asked: object) -> list[int]:
        return [sequences.index(one.sequence) for one in await store.messages(**asked)]  # type: ignore[arg-type]

    assert await listed() == list(range(12))
    assert await listed(limit=3) == [0, 1, 2]
    assert await listed(after=sequences[8]) == [9, 10, 11]
    assert await listed(channel="d") == [1, 3, 5, 7, 9, 11]
    assert await listed(channel="d", after=sequences[3], limit=2) == [5, 7]
    assert await listed(state="dead") == [1, 2, 5]
    assert await listed(state="done", channel="c") == [4]
    assert await listed(state="waiting", after=sequences[0], limit=2) == [6, 7]
    assert await listed(channel="unknown") == []


async def test_a_summary_shows_everything_but_the_payload(store: AnyStore) -> None:
    (sequence,) = await store.commit(UnitOfWork(enqueue=(enqueue("k", b"12345", due=3.0),), at=10.0))
    await store.commit(UnitOfWork(Retry(sequence, 44.0, "peer is down", {"seen": "a"}, defect=True), at=20.0))
    (summary,) = await store.messages()
    assert (summary.sequence, summary.channel, summary.key, summary.state) == (sequence, "c", "k", "waiting")
    assert (summary.exchange_id, summary.body_type, summary.origin) == ("exchange-k", "bytes", "here")
    assert (summary.size, dict(summary.headers)) == (5, {"h": "1", "seen": "a"})
    assert (summary.received, summary.enqueued, summary.due) == (5.0, 10.0, 44.0)
    assert (summary.attempts, summary.defects, summary.cause, summary.detail) == (1, 1, "peer is down", "")
    assert await store.message(sequence) == (summary, b"12345")
    assert await store.message(sequence + 1) is None


async def test_done_forgets_the_cause_of_earlier_failures(store: AnyStore) -> None:
    (sequence,) = await put(store, "k")
    await store.commit(UnitOfWork(Retry(sequence, 21.0, "peer is down"), at=20.0))
    await store.commit(UnitOfWork(Done(sequence), at=22.0))
    (summary,) = await store.messages()
    assert (summary.state, summary.cause, summary.attempts) == ("done", "", 1)


async def test_replay_removes_the_messages_own_ledger_rows(store: AnyStore) -> None:
    (sequence,) = await store.commit(UnitOfWork(enqueue=(enqueue("k"),), ledger=(ledger("intake"),), at=1.0))
    claim = await claimed(store)
    await store.commit(UnitOfWork(Done(sequence), ledger=(ledger("sent"), ledger("too")), at=20.0))
    await store.release(claim)
    await store.commit(UnitOfWork(ledger=(ledger("other"),), at=20.0))
    await store.replay(sequence, now=30.0)
    found = {key: await store.find_ledger("s", key, now=30.0) for key in ("intake", "sent", "too", "other")}
    assert {key for key, entry in found.items() if entry is not None} == {"intake", "other"}
    again = await claimed(store, now=30.0)
    assert (again.message.sequence, again.message.attempts, again.message.payload) == (sequence, 0, b"payload")
    await store.commit(UnitOfWork(Done(sequence), ledger=(ledger("sent"),), at=31.0))


async def test_replay_takes_its_old_place(store: AnyStore) -> None:
    first, second, third = await put(store, "a", "a", "a")
    await kill(store, first)
    claim = await claimed(store)
    assert claim.message.sequence == second
    await store.replay(first, now=20.0)
    await store.commit(UnitOfWork(Done(second), at=20.0))
    following = await store.next(claim, now=20.0)
    assert following is not None
    assert following.message.sequence == first
    await store.commit(UnitOfWork(Done(first), at=20.0))
    following = await store.next(following, now=20.0)
    assert following is not None
    assert following.message.sequence == third


async def test_replay_resets_attempts_and_keeps_progress_of_a_dead_letter(store: AnyStore) -> None:
    (sequence,) = await put(store, "a")
    await store.commit(UnitOfWork(Retry(sequence, 20.0, "x", {"accepted": "A"}, defect=True), at=20.0))
    await store.commit(UnitOfWork(Dead(sequence, "refused", headers={"told": "B"}), at=30.0))
    await store.replay(sequence, now=40.0)
    (summary,) = await store.messages()
    assert (summary.state, summary.due, summary.attempts, summary.defects) == ("waiting", 40.0, 0, 0)
    assert (summary.cause, summary.detail) == ("", "")
    assert dict(summary.headers) == {"h": "1", "accepted": "A", "told": "B"}
    await store.commit(UnitOfWork(Done(sequence), at=41.0))
    await store.replay(sequence, now=42.0)
    assert dict((await claimed(store, now=42.0)).message.headers) == {"h": "1"}


async def test_what_an_operator_does_is_journaled(store: AnyStore) -> None:
    first, second = await put(store, "a", "b")
    await kill(store, first)
    await kill(store, second)
    before = await store.journal()
    await store.replay(first, now=40.0, by="ada")
    await store.discard(second, now=41.0, by="bob")
    await store.set_hold("c", hold=True, now=42.0, by="eve")
    await store.set_hold("c", hold=False, now=43.0)
    with pytest.raises(StoreError):
        await store.replay(first, now=44.0, by="ada")
    told = [
        (line.at, line.exchange_id, line.event, dict(line.facts))
        for line in await store.journal()
        if line not in before
    ]
    assert told == [
        (40.0, "exchange-a", "replayed", {"sequence": str(first), "channel": "c", "by": "ada"}),
        (41.0, "exchange-b", "discarded", {"sequence": str(second), "channel": "c", "by": "bob"}),
        (42.0, "", "held", {"channel": "c", "by": "eve"}),
        (43.0, "", "released", {"channel": "c"}),
    ]


async def test_what_waits_cannot_be_replayed(store: AnyStore) -> None:
    (sequence,) = await put(store, "a")
    with pytest.raises(StoreError, match=f"message {sequence} is waiting: only a dead or done message can be replayed"):
        await store.replay(sequence, now=20.0)
    await claimed(store)
    with pytest.raises(StoreError, match="is waiting"):
        await store.replay(sequence, now=20.0)
    with pytest.raises(StoreError, match="there is no message 999"):
        await store.replay(999, now=20.0)


async def test_discard(store: AnyStore) -> None:
    first, second = await put(store, "a", "b")
    await kill(store, first)
    await store.discard(first, now=50.0)
    (summary,) = await store.messages(state="done")
    assert (summary.sequence, summary.cause, summary.detail) == (first, "refused", "because")
    for sequence in (first, second):
        with pytest.raises(StoreError, match="only a dead message can be discarded"):
            await store.discard(sequence, now=50.0)
    with pytest.raises(StoreError, match="there is no message"):
        await store.discard(999, now=50.0)
    purged = await store.purge(done_before=50.0, dead_before=99.0, journal_before=0.0, now=0.0)
    assert purged.messages == 0  # the retention of what is done counts from the discarding
    purged = await store.purge(done_before=50.1, dead_before=99.0, journal_before=0.0, now=0.0)
    assert purged.messages == 1


async def test_purge_by_age_and_state_never_the_unfinished(store: AnyStore) -> None:
    sequences = await put(store, *"abcdefg", at=1.0)
    claim = await claimed(store)
    await store.commit(UnitOfWork(Done(sequences[1]), at=10.0))
    await store.commit(UnitOfWork(Done(sequences[2]), at=20.0))
    await kill(store, sequences[3], at=10.0)
    await kill(store, sequences[4], at=20.0)
    await store.commit(UnitOfWork(Retry(sequences[5], 5.0, "x"), at=2.0))
    for number, at in enumerate((10.0, 20.0, 15.0)):
        await store.commit(
            UnitOfWork(journal=(JournalEntry(at, "e", "r", "x"),), ledger=(ledger(str(number), expires=at),), at=0.0)
        )
    purged = await store.purge(done_before=11.0, dead_before=20.0, journal_before=15.5, now=15.0)
    assert purged == Purged(messages=2, payloads=2, payload_bytes=6, journal=2, ledger=2)
    left = [summary.sequence for summary in await store.messages()]
    assert left == [sequences[number] for number in (0, 2, 4, 5, 6)]
    assert [line.at for line in await store.journal()] == [20.0]
    purged = await store.purge(done_before=1e9, dead_before=1e9, journal_before=1e9, now=1e9)
    assert purged == Purged(messages=2, payloads=2, payload_bytes=6, journal=1, ledger=1)
    await store.release(claim)
    assert await drain(store) == [sequences[number] for number in (0, 5, 6)]


async def test_purge_of_many(store: AnyStore) -> None:
    for _ in range(4):
        await store.commit(UnitOfWork(enqueue=tuple(enqueue(f"k{n}", f"{n}".encode()) for n in range(150))))
    lines = tuple(JournalEntry(float(n % 7), "e", "r", "x") for n in range(3500))
    keys = tuple(ledger(str(n), expires=1.0) for n in range(1500))
    await store.commit(UnitOfWork(journal=lines, ledger=keys))
    assert len(await drain(store)) == 600
    purged = await store.purge(done_before=99.0, dead_before=99.0, journal_before=6.0, now=9.0)
    assert (purged.messages, purged.payloads, purged.journal, purged.ledger) == (600, 150, 3000, 1500)
    assert await store.messages() == []


async def test_a_discarded_and_purged_message_leaves_a_shared_payload(store: AnyStore) -> None:
    first, second = await store.commit(UnitOfWork(enqueue=(enqueue("a", b"same"), enqueue("b", b"same"))))
    await kill(store, first)
    purged = await store.purge(done_before=99.0, dead_before=99.0, journal_before=0.0, now=0.0)
    assert (purged.messages, purged.payloads) == (1, 0)
    kept = await store.message(second)
    assert kept is not None
    assert kept[1] == b"same"
