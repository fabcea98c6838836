"""Both stores, asked the same things at random, give the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pfiflow.store.api import (
    Claim,
    Dead,
    Done,
    DuplicateKeyError,
    Enqueue,
    JournalEntry,
    LedgerEntry,
    Retry,
    StoreError,
    UnitOfWork,
)
from pfiflow.store.memory import MemoryStore
from pfiflow.store.sqlite import SqliteStore

CHANNELS = st.sampled_from(["c", "d"])
KEYS = st.sampled_from(["k1", "k2", "k3"])
WAITS = st.sampled_from([-5.0, 0.0, 0.5, 3.0])
HEADERS = st.dictionaries(st.sampled_from(["h", "é", "x"]), st.text(max_size=3).filter(str.isprintable), max_size=2)
SOME = st.integers(0, 30)


class Twins(RuleBasedStateMachine):
    """What a worker, a source and an operator do, on both at once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.stores = MemoryStore(), SqliteStore(Path(self.folder.name) / "store.db")
        self.claims: list[tuple[Claim, Claim]] = []
        self.now = 100.0
        self.last = 0
        for store in self.stores:
            self.loop.run_until_complete(store.open())
        self.both(lambda store: store.declare_channels({"c": False, "d": False}))

    def teardown(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.aclose())
        self.loop.close()
        self.folder.cleanup()

    def each(self, ask: Callable[[Any, int], Awaitable[Any]]) -> list[Any]:
        async def answer(index: int) -> Any:
            try:
                return await ask(self.stores[index], index)
            except DuplicateKeyError as error:
                return error.entry
            except StoreError as error:
                return str(error)

        return [self.loop.run_until_complete(answer(index)) for index in (0, 1)]

    def both(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        memory, sqlite = self.each(lambda store, _: ask(store))
        assert memory == sqlite
        return memory

    @rule(data=st.data(), count=st.integers(0, 3))
    def enqueue(self, data: st.DataObject, count: int) -> None:
        entries = tuple(
            Enqueue(
                data.draw(CHANNELS),
                data.draw(KEYS),
                f"e{data.draw(SOME)}",
                "bytes",
                data.draw(st.sampled_from([b"", b"a", b"b" * 70_000])),
                data.draw(HEADERS),
                "origin",
                self.now,
                max(0.0, self.now + data.draw(WAITS)) if data.draw(st.booleans()) else 0.0,
            )
            for _ in range(count)
        )
        unit = UnitOfWork(None, entries, self.draw_ledger(data), self.draw_journal(data), self.now)
        sequences = self.both(lambda store: store.commit(unit))
        if isinstance(sequences, tuple):
            self.last = max([self.last, *sequences])

    def draw_ledger(self, data: st.DataObject) -> tuple[LedgerEntry, ...]:
        keys = data.draw(st.lists(st.integers(0, 6), max_size=2))
        return tuple(
            LedgerEntry("s", str(key), b"d", f"e{key}", self.now + data.draw(st.sampled_from([1.0, 10.0])))
            for key in keys
        )

    def draw_journal(self, data: st.DataObject) -> tuple[JournalEntry, ...]:
        names = data.draw(st.lists(st.sampled_from(["e1", "e1.1", "e2"]), max_size=2))
        return tuple(JournalEntry(self.now, name, "r", "event", {"n": "1"}) for name in names)

    @rule(channel=CHANNELS)
    def claim(self, channel: str) -> None:
        self.keep(self.each(lambda store, _: store.claim(channel, now=self.now)))

    def keep(self, claims: list[Claim | None]) -> None:
        memory, sqlite = claims
        if memory is None or sqlite is None:
            assert memory is sqlite
            return
        assert evolve(memory, token=0) == evolve(sqlite, token=0)
        self.claims.append((memory, sqlite))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait=WAITS, headers=HEADERS, defect=st.booleans(), ahead=st.booleans())
    def settle(self, data: st.DataObject, wait: float, headers: dict[str, str], *, defect: bool, ahead: bool) -> None:
        claims = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        sequence = claims[0].message.sequence
        choices: list[Done | Dead | Retry] = [
            Done(sequence),
            Dead(sequence, "cause", "detail"),
            Retry(sequence, self.now + wait, "retry", headers, defect),
            Retry(sequence, self.now + wait, "not tried", counted=False),
        ]
        what = data.draw(st.sampled_from(choices))
        unit = UnitOfWork(what, (), self.draw_ledger(data), self.draw_journal(data), self.now)
        self.both(lambda store: store.commit(unit))
        if ahead:
            self.keep(self.each(lambda store, index: store.next(claims[index], now=self.now)))
        else:
            self.each(lambda store, index: store.release(claims[index]))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claims = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        self.each(lambda store, index: store.release(claims[index]))

    @rule(sequence=SOME, what=st.sampled_from(["replay", "discard"]))
    def change(self, sequence: int, what: str) -> None:
        self.both(lambda store: getattr(store, what)(sequence, now=self.now))

    @rule(sequence=SOME)
    def settle_unclaimed(self, sequence: int) -> None:
        held = {claim.message.sequence for claim, _ in self.claims}
        if sequence not in held:
            self.both(lambda store: store.commit(UnitOfWork(Done(sequence), at=self.now)))

    @rule(channel=st.sampled_from(["c", "d", "none"]), hold=st.booleans())
    def hold(self, channel: str, *, hold: bool) -> None:
        self.both(lambda store: store.set_hold(channel, hold=hold, now=20.0))

    @rule(done=WAITS, dead=WAITS, lines=WAITS)
    def purge(self, done: float, dead: float, lines: float) -> None:
        self.both(
            lambda store: store.purge(
                done_before=self.now + done, dead_before=self.now + dead, journal_before=self.now + lines, now=self.now
            )
        )

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.aclose())
            self.loop.run_until_complete(store.open())
        self.claims.clear()

    @rule(channel=CHANNELS, state=st.sampled_from([None, "waiting", "done", "dead"]), after=SOME)
    def look(self, channel: str, state: str | None, after: int) -> None:
        self.both(lambda store: store.messages(channel=channel, state=state, after=after, limit=3))
        self.both(lambda store: store.journal(exchange_id="e1", after=after, limit=3))
        self.both(lambda store: store.message(after))
        self.both(lambda store: store.find_ledger("s", str(after % 7), now=self.now))

    @invariant()
    def same(self) -> None:
        self.both(lambda store: store.messages(limit=1000))
        self.both(lambda store: store.channels())
        self.both(lambda store: store.journal())
        self.both(lambda store: store.next_due("c"))


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
