"""The in-memory twin of the embedded store: same contract, same conformance suite, no thread, no file.

For tests of flows. Deterministic: what is asked happens at once, in the order of the calls. Nothing outlives it; lanes
are looked through one by one, which thousands of messages bear and millions would not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

import anyio
from attrs import evolve

from pfiflow.store.api import (
    ChannelStatus,
    Claim,
    ContentHash,
    Dead,
    Done,
    DuplicateKeyError,
    Enqueue,
    JournalEntry,
    LedgerEntry,
    Message,
    MessageSummary,
    Purged,
    Record,
    Retry,
    State,
    StoreError,
    UnitOfWork,
)
from pfiflow.store.leases import Lease, Leases, Signals
from pfiflow.store.memory_lanes import Lane, Lanes, Stored, oldest_due

__all__ = ["MemoryStore"]


class MemoryStore:
    """`Store` in the memory of this process. Keeps every promise of `pfiflow.store.api` but durability."""

    def __init__(self) -> None:
        self._messages: dict[int, Stored] = {}
        self._payloads: dict[bytes, bytes] = {}
        self._lanes = Lanes(self._messages)
        self._held: dict[str, bool] = {}
        self._ledger: dict[tuple[str, str], tuple[LedgerEntry, int | None]] = {}
        self._records: dict[tuple[str, str], Record] = {}
        self._journal: list[JournalEntry] = []
        self._sequence = 0
        self._line = 0
        self._leases = Leases()
        self._signals = Signals()
        self._is_open = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take calls. What it held at `aclose` is still there: a restart, without its disk."""
        if self._is_open:
            raise StoreError("the store is open already")
        self._leases = Leases()
        self._is_open = True
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Take no more calls."""
        self._is_open = False

    def _check(self) -> None:
        if not self._is_open:
            raise StoreError("the store is not open")

    # -- commits -------------------------------------------------------------------------------------------------------

    async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
        """See `Store.commit`."""
        self._check()
        owner = unit.settle.sequence if unit.settle is not None else None
        self._check_ledger(unit)
        settled = self._waiting(owner) if owner is not None else None
        for entry in unit.ledger:
            self._ledger[entry.scope, entry.key] = (evolve(entry, digest=bytes(entry.digest)), owner)
        if unit.settle is not None and settled is not None:
            self._settle(settled, unit.settle, unit.at)
        sequences = tuple([self._enqueue(entry, unit.at) for entry in unit.enqueue])
        self._write_journal(*unit.journal)
        for record in unit.records:
            self._records[record.kind, record.key] = evolve(record, facts=dict(record.facts))
        for channel, count in Counter(entry.channel for entry in unit.enqueue).items():
            self._signals.wake(channel, count)
        if settled is not None and self._leases.of_head(settled.sequence) is None:
            self._signals.wake(settled.entry.channel)
        await anyio.lowlevel.checkpoint()
        return sequences

    def _check_ledger(self, unit: UnitOfWork) -> None:
        seen: dict[tuple[str, str], LedgerEntry] = {}
        for entry in unit.ledger:
            place = entry.scope, entry.key
            kept = self._ledger.get(place)
            first = kept[0] if kept is not None and kept[0].expires > unit.at else seen.get(place)
            if first is not None and first.expires > unit.at:
                raise DuplicateKeyError(first)
            seen[place] = entry

    def _waiting(self, sequence: int) -> Stored:
        stored = self._messages.get(sequence)
        if stored is None or stored.state != "waiting":
            raise StoreError(f"message {sequence} is not waiting: it cannot be settled")
        return stored

    def _settle(self, stored: Stored, settle: Done | Retry | Dead, at: float) -> None:
        match settle:
            case Done():
                stored.state, stored.settled, stored.cause, stored.detail = "done", at, "", ""
            case Dead(cause=cause, detail=detail, headers=headers):
                stored.state, stored.settled, stored.cause, stored.detail = "dead", at, cause, detail
                stored.attempts += 1
                stored.progress |= headers
            case Retry(due=due, cause=cause, headers=headers, defect=defect, counted=counted):
                stored.due, stored.cause, stored.detail = due, cause, ""
                stored.attempts += counted
                stored.defects += defect
                stored.progress |= headers
        self._lanes.refresh(stored, at)

    def _enqueue(self, entry: Enqueue, at: float) -> int:
        self._held.setdefault(entry.channel, False)
        digest = bytes(entry.digest or ContentHash(entry.payload))
        self._payloads.setdefault(digest, bytes(entry.payload))
        self._sequence += 1
        kept = evolve(entry, headers=dict(entry.headers), payload=b"", digest=None)
        stored = Stored(self._sequence, kept, digest, at, entry.due)
        self._messages[self._sequence] = stored
        self._lanes.append(stored, at)
        return self._sequence

    # -- claims --------------------------------------------------------------------------------------------------------

    async def claim(self, channel: str, *, now: float, latest: float = inf) -> Claim | None:
        """See `Store.claim`."""
        self._check()
        await anyio.lowlevel.checkpoint()
        while True:
            head = oldest_due(self._free_lanes(channel), now, latest)
            if head is None:
                self._signals.exhausted(channel, self._signals.generation(channel))
                return None
            if (message := self._read(head)) is not None:
                lease = self._leases.take(channel, message.key, head)
                return Claim(channel, message.key, lease.token, message)
            self._set_aside(head, now)

    def _free_lanes(self, channel: str) -> list[Lane]:
        return [] if self._held.get(channel, False) else self._lanes.free(channel, self._leases.keys(channel))

    def _read(self, sequence: int) -> Message | None:
        stored = self._messages[sequence]
        payload = self._payloads.get(stored.digest)
        if payload is None:
            return None
        entry = stored.entry
        return Message(
            sequence,
            entry.channel,
            entry.key,
            entry.exchange_id,
            entry.body_type,
            payload,
            {**entry.headers, **stored.progress},
            entry.origin,
            entry.received,
            stored.enqueued,
            stored.attempts,
            stored.defects,
        )

    def _set_aside(self, sequence: int, now: float) -> None:
        stored = self._messages[sequence]
        cause = "its payload is missing"
        stored.state, stored.settled, stored.cause = "dead", now, f"unreadable: {cause}"
        self._lanes.refresh(stored, now)
        facts = {"sequence": str(sequence), "channel": stored.entry.channel, "cause": cause}
        self._write_journal(JournalEntry(now, stored.entry.exchange_id, "", "unreadable", facts))

    def _write_journal(self, *entries: JournalEntry) -> None:
        for entry in entries:
            self._line += 1
            self._journal.append(evolve(entry, facts=dict(entry.facts), line=self._line))

    async def next(self, claim: Claim, *, now: float) -> Claim | None:
        """See `Store.next`."""
        self._check()
        lease = self._leases.find(claim.channel, claim.key, claim.token)
        if lease is None:
            raise StoreError(f"the lane of message {claim.message.sequence} is not held under this claim any more")
        while True:
            lane = self._lanes.of(claim.channel, claim.key)
            if lane is None or lane.due > now or self._held.get(claim.channel, False):
                self._give_back(lease)
                return None
            head = lane.waiting[0]
            if (message := self._read(head)) is not None:
                self._leases.move(lease, head)
                return Claim(claim.channel, claim.key, lease.token, message)
            self._set_aside(head, now)

    async def release(self, claim: Claim) -> None:
        """See `Store.release`."""
        self._check()
        lease = self._leases.find(claim.channel, claim.key, claim.token)
        if lease is not None:
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        self._leases.drop(lease)
        self._signals.wake(lease.channel)

    async def wait(self, channel: str, *, timeout: float) -> None:
        """See `Store.wait`."""
        self._check()
        await self._signals.wait(channel, timeout)

    async def next_due(self, channel: str) -> float | None:
        """See `Store.next_due`; 0.0 when a lane is due now, None for a held channel."""
        self._check()
        return min((lane.due for lane in self._free_lanes(channel)), default=None)

    async def find_ledger(self, scope: str, key: str, *, now: float) -> LedgerEntry | None:
        """See `Store.find_ledger`."""
        self._check()
        kept = self._ledger.get((scope, key))
        return kept[0] if kept is not None and kept[0].expires > now else None

    async def find_record(self, kind: str, key: str) -> Record | None:
        """See `Store.find_record`."""
        self._check()
        return self._records.get((kind, key))

    async def records(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[Record]:
        """See `Store.records`."""
        self._check()
        found = sorted(key for of, key in self._records if of == kind and key > after)
        return [self._records[kind, key] for key in found[:limit]]

    def all_records(self) -> tuple[Record, ...]:
        """Every record, of whichever kind, in the order of their first coming: for tests."""
        return tuple(self._records.values())

    async def declare_channels(self, names: Mapping[str, bool]) -> None:
        """See `Store.declare_channels`."""
        self._check()
        for name, held in names.items():
            self._held.setdefault(name, held)

    # -- what operators ask --------------------------------------------------------------------------------------------

    async def channels(self) -> Sequence[ChannelStatus]:
        """See `Store.channels`."""
        self._check()
        found = []
        for name, held in sorted(self._held.items()):
            states = [stored.state for stored in self._messages.values() if stored.entry.channel == name]
            heads = [lane.waiting[0] for lane in self._lanes.free(name, frozenset())]
            oldest = self._messages[min(heads)].enqueued if heads else None
            counts = (states.count("waiting"), states.count("dead"), states.count("done"))
            found.append(ChannelStatus(name, held, *counts, oldest))
        return found

    def _summary(self, stored: Stored) -> MessageSummary:
        entry = stored.entry
        return MessageSummary(
            stored.sequence,
            entry.channel,
            entry.key,
            entry.exchange_id,
            stored.state,
            entry.body_type,
            len(self._payloads.get(stored.digest, b"")),
            {**entry.headers, **stored.progress},
            entry.origin,
            entry.received,
            stored.enqueued,
            stored.due,
            stored.attempts,
            stored.defects,
            stored.cause,
            stored.detail,
        )

    async def messages(
        self, *, channel: str | None = None, state: State | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[MessageSummary]:
        """See `Store.messages`."""
        self._check()
        chosen = [
            stored
            for sequence, stored in sorted(self._messages.items())
            if sequence > after and channel in {None, stored.entry.channel} and state in {None, stored.state}
        ]
        return [self._summary(stored) for stored in chosen[:limit]]

    async def message(self, sequence: int) -> tuple[MessageSummary, bytes] | None:
        """See `Store.message`."""
        self._check()
        stored = self._messages.get(sequence)
        if stored is None:
            return None
        payload = self._payloads.get(stored.digest)
        if payload is None:
            raise StoreError(f"the payload of message {sequence} is missing from the store")
        return self._summary(stored), payload

    async def journal(
        self, *, exchange_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> Sequence[JournalEntry]:
        """See `Store.journal`."""
        self._check()
        chosen = [
            line
            for line in self._journal
            if line.line > after
            and (
                exchange_id is None or line.exchange_id == exchange_id or line.exchange_id.startswith(f"{exchange_id}.")
            )
        ]
        return chosen[:limit]

    def _finished(self, sequence: int, allowed: set[State], done: str) -> Stored:
        stored = self._messages.get(sequence)
        if stored is None:
            raise StoreError(f"there is no message {sequence}")
        if stored.state not in allowed:
            needed = " or ".join(sorted(allowed))
            raise StoreError(f"message {sequence} is {stored.state}: only a {needed} message can be {done}")
        return stored

    async def replay(self, sequence: int, *, now: float, by: str = "") -> None:
        """See `Store.replay`."""
        self._check()
        stored = self._finished(sequence, {"dead", "done"}, "replayed")
        if stored.state == "done":
            stored.progress = {}
        stored.state, stored.due, stored.attempts, stored.defects = "waiting", now, 0, 0
        stored.cause = stored.detail = ""
        self._ledger = {place: kept for place, kept in self._ledger.items() if kept[1] != sequence}
        self._lanes.refresh(stored, now)
        self._journal_change(now, stored.entry.exchange_id, "replayed", sequence, stored.entry.channel, by)
        self._signals.wake(stored.entry.channel)

    async def discard(self, sequence: int, *, now: float, by: str = "") -> None:
        """See `Store.discard`."""
        self._check()
        stored = self._finished(sequence, {"dead"}, "discarded")
        stored.state, stored.settled = "done", now
        self._journal_change(now, stored.entry.exchange_id, "discarded", sequence, stored.entry.channel, by)

    async def set_hold(self, channel: str, *, hold: bool, now: float, by: str = "") -> None:
        """See `Store.set_hold`."""
        self._check()
        if channel not in self._held:
            raise StoreError(f"no channel is called {channel!r}; known: {', '.join(sorted(self._held)) or 'none'}")
        self._held[channel] = hold
        self._journal_change(now, "", "held" if hold else "released", 0, channel, by)
        self._signals.wake_all()

    def _journal_change(self, at: float, exchange_id: str, event: str, sequence: int, channel: str, by: str) -> None:
        facts = {"sequence": str(sequence or ""), "channel": channel, "by": by}
        self._write_journal(JournalEntry(at, exchange_id, "", event, {k: v for k, v in facts.items() if v}))

    async def purge(
        self, *, done_before: float, dead_before: float, journal_before: float, records_before: float = 0.0, now: float
    ) -> Purged:
        """See `Store.purge`."""
        self._check()
        before: dict[State, float] = {"done": done_before, "dead": dead_before}
        old = [
            stored
            for stored in self._messages.values()
            if stored.state in before and stored.settled < before[stored.state]
        ]
        for stored in old:
            del self._messages[stored.sequence]
        kept = {stored.digest for stored in self._messages.values()}
        freed = [self._payloads.pop(digest) for digest in {stored.digest for stored in old} - kept]
        lines = len(self._journal)
        self._journal = [line for line in self._journal if line.at >= journal_before]
        entries = len(self._ledger)
        self._ledger = {place: entry for place, entry in self._ledger.items() if entry[0].expires > now}
        records = len(self._records)
        self._records = {place: record for place, record in self._records.items() if record.at >= records_before}
        return Purged(
            len(old),
            len(freed),
            sum(map(len, freed)),
            lines - len(self._journal),
            entries - len(self._ledger),
            records - len(self._records),
        )
