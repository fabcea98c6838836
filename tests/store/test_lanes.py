"""Four workers with nothing to do but claim and settle: each message once, in order within its key."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict

import anyio
import pytest

from pfiflow.store.api import Claim, Dead, Done, Enqueue, Retry, UnitOfWork
from pfiflow.store.sqlite import SqliteStore
from tests.store.conftest import AnyStore, enqueue

pytestmark = pytest.mark.anyio

_MESSAGES = 2000
_KEYS = 100


class Fleet:
    """Workers that note what they execute until everything was settled for good."""

    def __init__(self, store: AnyStore, total: int, seed: int, *, flaky: bool) -> None:
        self.store = store
        self.left = total
        self.now = 1.0
        self.executed: list[tuple[str, int]] = []
        self.settled: list[tuple[str, int]] = []
        self.busy: set[str] = set()
        self._flaky = flaky
        self._random = random.Random(seed)

    async def run(self, workers: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(self._work)

    async def _work(self) -> None:
        while self.left:
            claim = await self.store.claim("c", now=self.now)
            if claim is None:
                self.now += 0.001
                await self.store.wait("c", timeout=0.01)
            while claim is not None:
                claim = await self._execute(claim)

    async def _execute(self, claim: Claim) -> Claim | None:
        assert claim.key not in self.busy, "a lane was handed to two workers"
        self.busy.add(claim.key)
        fact = claim.key, int(claim.message.payload)
        self.executed.append(fact)
        chance = self._random.random() if self._flaky else 1.0
        sequence = claim.message.sequence
        if chance < 0.05:
            self.busy.discard(claim.key)
            await self.store.release(claim)
            return None
        if chance < 0.15:
            settle: Retry | Dead | Done = Retry(sequence, self.now + self._random.choice([0.0, 0.003]), "again")
        else:
            settle = Dead(sequence, "no") if chance < 0.2 else Done(sequence)
            self.settled.append(fact)
            self.left -= 1
        await self.store.commit(UnitOfWork(settle, at=self.now))
        self.busy.discard(claim.key)
        return await self.store.next(claim, now=self.now)


def in_order(facts: list[tuple[str, int]]) -> bool:
    by_key: dict[str, list[int]] = defaultdict(list)
    for key, number in facts:
        by_key[key].append(number)
    return all(numbers == sorted(numbers) for numbers in by_key.values())


@pytest.mark.parametrize("flaky", [False, True])
async def test_each_once_in_order_while_more_comes(store: AnyStore, *, flaky: bool) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    generator = random.Random(seed)
    fleet = Fleet(store, _MESSAGES, seed, flaky=flaky)
    numbers = iter(range(_MESSAGES))

    async def produce() -> None:
        for number in numbers:
            key = f"k{generator.randrange(_KEYS)}"
            await store.commit(UnitOfWork(enqueue=(enqueue(key, str(number).encode()),), at=fleet.now))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce)
        tasks.start_soon(fleet.run, 4)
    assert sorted(number for _, number in fleet.settled) == list(range(_MESSAGES))
    assert in_order(fleet.settled)
    assert in_order(fleet.executed)  # a repeated one comes again before its successors
    if not flaky:
        assert max(Counter(fleet.executed).values()) == 1


async def test_a_backlog_of_one_key_and_of_many(store: AnyStore) -> None:
    entries = [enqueue("one", str(number).encode()) for number in range(500)]
    entries += [enqueue(f"many{number}", str(number).encode()) for number in range(500)]
    await store.commit(UnitOfWork(enqueue=tuple(entries)))
    fleet = Fleet(store, 1000, 0, flaky=False)
    await fleet.run(4)
    assert in_order(fleet.settled)
    assert max(Counter(fleet.executed).values()) == 1


async def test_commits_that_meet_share_a_transaction(sqlite_store: SqliteStore) -> None:
    before = sqlite_store.statistics()

    async def put(number: int) -> None:
        await sqlite_store.commit(UnitOfWork(enqueue=(Enqueue("c", "k", str(number), "bytes", b"x"),)))

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(put, number)
    after = sqlite_store.statistics()
    assert after.units - before.units == 1000
    assert after.transactions - before.transactions <= 20
    for number in range(10):
        await put(number)
    assert sqlite_store.statistics().transactions - after.transactions == 10


async def test_the_log_does_not_grow_with_what_was_written(sqlite_store: SqliteStore) -> None:
    async def put() -> None:
        for _ in range(30):
            await sqlite_store.commit(UnitOfWork(enqueue=(enqueue("k", os.urandom(100_000)),)))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(put)
    log = sqlite_store.path.with_name("store.db-wal")
    assert log.stat().st_size < 20 << 20  # of 30 MB and more
    assert sqlite_store.statistics().checkpoints > 5
