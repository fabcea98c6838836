"""Conformance: lanes, claims, leases, waiting."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest

from pfiflow.store.api import Dead, Done, Retry, StoreError, UnitOfWork
from pfiflow.store.sqlite import SqliteStore
from tests.store.conftest import AnyStore, claimed, drain, enqueue, finish, put

pytestmark = pytest.mark.anyio


async def test_nothing_to_claim(store: AnyStore) -> None:
    assert await store.claim("c", now=1.0) is None
    assert await store.claim("unknown", now=1.0) is None
    assert await store.next_due("c") is None


async def test_a_lane_is_fifo_and_worked_by_one_claim(store: AnyStore) -> None:
    first, second, other = await put(store, "a", "a", "b")
    claim_a = await claimed(store)
    claim_b = await claimed(store)
    assert [claim_a.message.sequence, claim_b.message.sequence] == [first, other]
    assert claim_a.token != claim_b.token
    assert await store.claim("c", now=20.0) is None
    following = await finish(store, claim_a)
    assert following is not None
    assert following.message.sequence == second
    assert await finish(store, following) is None
    assert await finish(store, claim_b) is None


async def test_oldest_due_head_first(store: AnyStore) -> None:
    sequences = await put(store, "b", "a", "b", "c", "a")
    assert await drain(store) == [sequences[i] for i in (0, 2, 1, 4, 3)]


async def test_channels_are_apart(store: AnyStore) -> None:
    await put(store, "k", channel="x")
    (sequence,) = await put(store, "k", channel="y")
    assert (await claimed(store, channel="y")).message.sequence == sequence
    assert (await claimed(store, channel="x")).message.sequence < sequence


async def test_not_before_due(store: AnyStore) -> None:
    (late,) = await put(store, "a", due=50.0)
    (behind,) = await put(store, "a")
    (free,) = await put(store, "b")
    assert await drain(store, now=49.9) == [free]
    assert await store.next_due("c") == 50.0
    assert await drain(store, now=50.0) == [late, behind]


async def test_a_time_that_nobody_waits_for_is_no_time_to_wait_for(store: AnyStore) -> None:
    """A clock that ran ahead by a year put them there; it has been set back since."""
    first, second = [*await put(store, "a", due=3e7), *await put(store, "b", due=2e7)]
    (soon,) = await put(store, "c", due=50.0)
    assert await store.claim("c", now=20.0) is None
    assert await store.claim("c", now=20.0, latest=3e7) is None
    claim = await store.claim("c", now=20.0, latest=1000.0)
    assert claim is not None
    assert claim.message.sequence == second, "the first due stands for all"
    await finish(store, claim)
    (ready,) = await put(store, "d")
    found = []
    while claim := await store.claim("c", now=60.0, latest=1000.0):
        found.append(claim.message.sequence)
    assert found == [first, soon, ready]


async def test_of_waiting_heads_the_first_due_stands_for_all(store: AnyStore) -> None:
    late = await put(store, "a", due=60.0)
    early = await put(store, "b", due=50.0)
    plain = await put(store, "c")
    later = await put(store, "d", due=70.0)
    assert await drain(store, now=100.0) == early + late + plain + later


async def test_retry_holds_its_lane_alone(store: AnyStore) -> None:
    first, second, other = await put(store, "a", "a", "b")
    claim = await claimed(store)
    await store.commit(UnitOfWork(Retry(first, 30.0, "peer is down", {"x": "1"}), at=20.0))
    assert await store.next(claim, now=20.0) is None
    assert await store.next_due("c") == 0.0
    assert await drain(store, now=20.0) == [other]
    assert await store.next_due("c") == 30.0
    again = await claimed(store, now=30.0)
    assert (again.message.sequence, again.message.attempts, again.message.defects) == (first, 1, 0)
    assert dict(again.message.headers) == {"h": "1", "x": "1"}
    await store.commit(UnitOfWork(Retry(first, 30.5, "TypeError", {"h": "2", "y": "z"}, defect=True), at=30.0))
    assert await store.next(again, now=30.0) is None
    again = await claimed(store, now=31.0)
    assert (again.message.attempts, again.message.defects) == (2, 1)
    assert dict(again.message.headers) == {"h": "2", "x": "1", "y": "z"}
    following = await finish(store, again, at=31.0)
    assert following is not None
    assert following.message.sequence == second


async def test_a_retry_due_at_once_comes_back_in_its_lane(store: AnyStore) -> None:
    first, _ = await put(store, "a", "a")
    claim = await claimed(store)
    await store.commit(UnitOfWork(Retry(first, 20.0, "again"), at=20.0))
    again = await store.next(claim, now=20.0)
    assert again is not None
    assert (again.message.sequence, again.message.attempts) == (first, 1)


async def test_a_dead_letter_leaves_its_lane(store: AnyStore) -> None:
    first, second = await put(store, "a", "a")
    claim = await claimed(store)
    await store.commit(UnitOfWork(Dead(first, "refused", "why"), at=20.0))
    following = await store.next(claim, now=20.0)
    assert following is not None
    assert following.message.sequence == second
    (dead,) = await store.messages(state="dead")
    assert (dead.sequence, dead.cause, dead.detail, dead.attempts) == (first, "refused", "why", 1)
    kept = await store.message(first)
    assert kept is not None
    assert kept[1] == b"a:0"


async def test_release_gives_the_same_head_again(store: AnyStore) -> None:
    (sequence,) = await put(store, "a")
    claim = await claimed(store)
    await store.release(claim)
    await store.release(claim)
    again = await claimed(store)
    assert (again.message.sequence, again.message.attempts) == (sequence, 0)
    await store.release(claim)  # of the old token: the lane is another's now
    assert await store.claim("c", now=20.0) is None
    with pytest.raises(StoreError, match="not held"):
        await store.next(claim, now=20.0)


async def test_release_while_the_settling_is_under_way(store: AnyStore) -> None:
    """A worker is cancelled in its commit and releases: the head must not be handed out again."""
    (sequence,) = await put(store, "a")
    for _ in range(20):
        claim = await claimed(store)
        task = asyncio.ensure_future(store.commit(UnitOfWork(Done(claim.message.sequence), at=20.0)))
        await asyncio.sleep(0)
        task.cancel()
        await store.release(claim)
        assert await store.claim("c", now=20.0) is None
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.commit(UnitOfWork())
        assert await store.claim("c", now=20.0) is None
        await store.replay(sequence, now=20.0)


async def test_a_cancelled_claim_leaves_its_lane_free(store: AnyStore) -> None:
    await put(store, "a")
    for turns in [*range(6)] * 5:
        task = asyncio.ensure_future(store.claim("c", now=20.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            claim = await task
        except asyncio.CancelledError:
            with anyio.fail_after(30):
                while (claim := await store.claim("c", now=20.0)) is None:
                    await asyncio.sleep(0.001)
        assert claim is not None
        await store.release(claim)


async def test_a_settled_unclaimed_message_moves_its_lane(store: AnyStore) -> None:
    first, second = await put(store, "a", "a")
    await store.commit(UnitOfWork(Done(first), at=20.0))
    assert (await claimed(store)).message.sequence == second


async def test_hold_stops_claims_and_lanes(store: AnyStore) -> None:
    await put(store, "a", "a", "b")
    claim = await claimed(store)
    await store.set_hold("c", hold=True, now=20.0)
    assert await store.claim("c", now=20.0) is None
    assert await store.next_due("c") is None
    assert await finish(store, claim) is None  # what is claimed is finished, what follows waits
    await store.set_hold("c", hold=False, now=20.0)
    assert len(await drain(store)) == 2


async def test_leases_do_not_outlive_the_process(store: AnyStore) -> None:
    (sequence,) = await put(store, "a")
    await claimed(store)
    await store.aclose()
    await store.open()
    assert (await claimed(store)).message.sequence == sequence


async def test_next_due_skips_leased_lanes(store: AnyStore) -> None:
    await put(store, "a")
    await put(store, "b", due=40.0)
    assert await store.next_due("c") == 0.0
    await claimed(store)
    assert await store.next_due("c") == 40.0


async def test_wait_returns_at_once_for_what_came_since_the_last_empty_claim(store: AnyStore) -> None:
    assert await store.claim("c", now=1.0) is None
    await put(store, "a")
    with anyio.fail_after(30):
        await store.wait("c", timeout=60.0)


async def test_wait_wakes_for_commit_release_replay_and_hold(store: AnyStore) -> None:
    async def woken_by(change: asyncio.Future[object]) -> None:
        with anyio.fail_after(30):
            await asyncio.gather(store.wait("c", timeout=60.0), change)

    assert await store.claim("c", now=1.0) is None
    await woken_by(asyncio.ensure_future(put(store, "a")))
    claim = await claimed(store)
    assert await store.claim("c", now=20.0) is None
    await woken_by(asyncio.ensure_future(store.release(claim)))
    (sequence,) = await drain(store)
    await woken_by(asyncio.ensure_future(store.replay(sequence, now=20.0)))
    await drain(store)
    await woken_by(asyncio.ensure_future(store.set_hold("c", hold=False, now=20.0)))


async def test_wait_ends_after_its_timeout(store: AnyStore) -> None:
    assert await store.claim("c", now=1.0) is None
    started = time.monotonic()
    await store.wait("c", timeout=0.05)
    assert 0.04 < time.monotonic() - started < 30


async def test_wait_is_not_woken_by_another_channel(store: AnyStore) -> None:
    assert await store.claim("c", now=1.0) is None
    await put(store, "a", channel="other")
    with anyio.move_on_after(0.05) as scope:
        await store.wait("c", timeout=60.0)
    assert scope.cancelled_caught


async def test_no_wake_up_is_lost_between_next_and_release(store: AnyStore) -> None:
    """A message comes for a lane just while its worker finds it empty and gives it back; others must hear of it."""
    for number in range(50):
        await put(store, "a")
        claim = await claimed(store)
        await store.commit(UnitOfWork(Done(claim.message.sequence), at=20.0))
        await store.commit(UnitOfWork(enqueue=(enqueue("a", str(number).encode()),), at=20.0))
        assert await store.claim("c", now=20.0) is None  # leased; this claim saw nothing
        following = await store.next(claim, now=20.0)
        if following is not None:
            assert await finish(store, following) is None
            continue
        with anyio.fail_after(30):
            await store.wait("c", timeout=60.0)
        assert len(await drain(store)) == 1


async def test_one_message_wakes_one_worker_and_a_cancelled_one_passes_it_on(store: AnyStore) -> None:
    assert await store.claim("c", now=1.0) is None
    woken: list[int] = []

    async def sleep(number: int) -> None:
        await store.wait("c", timeout=60.0)
        woken.append(number)

    tasks = [asyncio.ensure_future(sleep(number)) for number in range(4)]
    await asyncio.sleep(0.01)
    await put(store, "a")
    await asyncio.sleep(0.01)
    assert woken == [0]
    await store.commit(UnitOfWork(enqueue=(enqueue("b"), enqueue("d"))))
    tasks[1].cancel()  # it has been woken, in this turn of the loop or in the last one
    await asyncio.sleep(0.01)
    assert sorted(woken) in ([0, 1, 2], [0, 2, 3])
    await store.set_hold("c", hold=False, now=20.0)  # may matter to all
    with anyio.fail_after(30):
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_calls_that_the_closing_overtakes_end(sqlite_store: SqliteStore) -> None:
    await put(sqlite_store, *(f"k{number}" for number in range(50)))

    async def work() -> None:
        while (claim := await sqlite_store.claim("c", now=20.0)) is not None:
            while claim is not None:
                claim = await finish(sqlite_store, claim)

    tasks = [asyncio.ensure_future(work()) for _ in range(8)]
    await asyncio.sleep(0.003)
    await sqlite_store.aclose()
    with anyio.fail_after(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {StoreError, type(None)}
