"""Units of work as SQL. Runs in the writer's thread, inside the transaction that the writer has begun."""

# ruff: noqa: S608 - what is put into the SQL is this package's constants; values are always bound
from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

from attrs import define, field, frozen

from pfiflow.store.api import (
    ContentHash,
    Dead,
    Done,
    DuplicateKeyError,
    JournalEntry,
    LedgerEntry,
    Retry,
    StoreError,
    UnitOfWork,
)
from pfiflow.store.claims import Unreadable
from pfiflow.store.schema import DEAD, DONE, WAITING

__all__ = ["Applied", "Numbers", "Settled", "UnitWriter", "refresh_lane", "write_journal"]


@define
class Numbers:
    """The last sequence number given out. Only the engine enqueues, so that it needs no round trip."""

    sequence: int

    @classmethod
    def load(cls, cursor: sqlite3.Cursor) -> Numbers:
        """Go on after the highest ever given, whatever was purged since."""
        kept = cursor.execute("SELECT last FROM numbers WHERE name = 'sequence'").fetchone()[0]
        return cls(max(cursor.execute("SELECT max(sequence) FROM messages").fetchone()[0] or 0, kept))


@frozen
class Settled:
    """Where the settled message was, and when the lane's head is due now (0.0: it is), None when the lane is empty."""

    sequence: int
    channel: str
    key: str
    due: float | None


@frozen
class Applied:
    """What a unit of work did."""

    sequences: tuple[int, ...] = ()
    channels: Mapping[str, int] = field(factory=dict)  # how many messages came into each
    settled: Settled | None = None


def _text(facts: Mapping[str, str]) -> str:
    return json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":")) if facts else "{}"


_RECORD = """INSERT INTO ledger (scope, key, digest, exchange_id, expires, message) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (scope, key) DO UPDATE SET digest = excluded.digest, exchange_id = excluded.exchange_id,
        expires = excluded.expires, message = excluded.message WHERE ledger.expires <= ?"""
_DONE = f"""UPDATE messages SET state = {DONE}, settled = ?, cause = '', detail = ''
    WHERE sequence = ? AND state = {WAITING} RETURNING channel, key"""
_DEAD = f"""UPDATE messages SET state = {DEAD}, settled = ?, cause = ?, detail = ?, attempts = attempts + 1
    WHERE sequence = ? AND state = {WAITING} RETURNING channel, key"""
_RETRY = f"""UPDATE messages SET due = ?, cause = ?, detail = '', attempts = attempts + ?, defects = defects + ?
    WHERE sequence = ? AND state = {WAITING} RETURNING channel, key"""
_REMEMBER = "INSERT OR REPLACE INTO records (kind, key, at, exchange_id, facts) VALUES (?, ?, ?, ?, ?)"
_PROGRESS = "UPDATE messages SET progress = json_patch(coalesce(progress, '{}'), ?) WHERE sequence = ?"
_PAYLOAD = "INSERT INTO payloads (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING"
_LARGE = 1 << 20  # bytes
_HEAD = f"""SELECT sequence, due FROM messages INDEXED BY messages_of_lane
        WHERE channel = ? AND key = ? AND state = {WAITING} ORDER BY sequence LIMIT 1"""
_LANE = "INSERT INTO lanes (channel, key, head, due) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_LAST_LINE = """SELECT max(coalesce((SELECT max(line) FROM journal), 0), last) FROM numbers WHERE name = 'line'"""
_MESSAGE = f"""INSERT INTO messages (sequence, channel, key, state, due, payload, size, exchange_id, body_type, origin,
    received, enqueued, headers) VALUES (?, ?, ?, {WAITING}, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def refresh_lane(cursor: sqlite3.Cursor, channel: str, key: str, at: float) -> float | None:
    """Bring the lane's row in line with its messages; gives when its head is due, 0.0 for now, None when empty."""
    head: tuple[int, float] | None = cursor.execute(_HEAD, (channel, key)).fetchone()
    if head is None:
        cursor.execute("DELETE FROM lanes WHERE channel = ? AND key = ?", (channel, key))
        return None
    sequence, due = head
    due = due if due > at else 0.0
    cursor.execute(
        "INSERT OR REPLACE INTO lanes (channel, key, head, due) VALUES (?, ?, ?, ?)", (channel, key, sequence, due)
    )
    return due


def write_journal(cursor: sqlite3.Cursor, entries: Sequence[JournalEntry]) -> None:
    """Add lines. An operator's process adds some too: the last one is asked of the database, inside the transaction."""
    last: int = cursor.execute(_LAST_LINE).fetchone()[0]
    rows = [
        (line, entry.at, entry.exchange_id, entry.route, entry.event, _text(entry.facts))
        for line, entry in enumerate(entries, last + 1)
    ]
    cursor.executemany(
        "INSERT INTO journal (line, at, exchange_id, route, event, facts) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


@define(eq=False)
class UnitWriter:
    """Applies units of work, keeping what it has to know between them."""

    numbers: Numbers
    channels: set[str] = field(factory=set)  # known to be in the channels table

    def digests(self, unit: UnitOfWork) -> tuple[bytes, ...]:
        """The content hashes of the payloads, and those of the ledger: computed before the transaction begins."""
        for entry in unit.ledger:
            bytes(entry.digest)
        return tuple([bytes(each.digest or ContentHash(each.payload)) for each in unit.enqueue])

    def forget(self) -> None:
        """After a rollback: channels that seemed known may not be there."""
        self.channels.clear()

    def apply(self, cursor: sqlite3.Cursor, unit: UnitOfWork, digests: tuple[bytes, ...]) -> Applied:
        """Write one unit of work.

        On DuplicateKeyError and StoreError (a message that is not waiting) nothing of the unit is left in the
        transaction. On any other error the transaction is to be rolled back: it is the database's, or a value's that
        cannot be stored.
        """
        # What can be refused comes first. Only where a refusal could follow something written is a savepoint needed.
        if len(unit.ledger) + (unit.settle is not None) > 1:
            cursor.execute("SAVEPOINT unit")
            try:
                settled = self._admit(cursor, unit)
            except StoreError:
                cursor.execute("ROLLBACK TO unit")
                raise
            finally:
                cursor.execute("RELEASE unit")
        else:
            settled = self._admit(cursor, unit)
        sequences = self._enqueue(cursor, unit, digests) if unit.enqueue else ()
        if unit.journal:
            write_journal(cursor, unit.journal)
        if unit.records:
            rows = [(r.kind, r.key, r.at, r.exchange_id, _text(r.facts)) for r in unit.records]
            cursor.executemany(_REMEMBER, rows)
        return Applied(sequences, Counter([entry.channel for entry in unit.enqueue]), settled)

    def _admit(self, cursor: sqlite3.Cursor, unit: UnitOfWork) -> Settled | None:
        """The parts that can be refused."""
        if unit.ledger:
            self._record(cursor, unit, unit.settle.sequence if unit.settle is not None else None)
        return self._settle(cursor, unit.settle, unit.at) if unit.settle is not None else None

    def set_aside(self, cursor: sqlite3.Cursor, message: Unreadable, channel: str, key: str, at: float) -> float | None:
        """Make a message that cannot be read dead, without counting an attempt; gives when the lane's head is due."""
        cursor.execute(
            f"UPDATE messages SET state = {DEAD}, settled = ?, cause = ? WHERE sequence = ? AND state = {WAITING}",
            (at, f"unreadable: {message.cause}", message.sequence),
        )
        facts = {"sequence": str(message.sequence), "channel": channel, "cause": message.cause}
        write_journal(cursor, (JournalEntry(at, message.exchange_id, "", "unreadable", facts),))
        return refresh_lane(cursor, channel, key, at)

    def _record(self, cursor: sqlite3.Cursor, unit: UnitOfWork, owner: int | None) -> None:
        for entry in unit.ledger:
            cursor.execute(
                _RECORD, (entry.scope, entry.key, bytes(entry.digest), entry.exchange_id, entry.expires, owner, unit.at)
            )
            if cursor.rowcount == 0:
                first = cursor.execute(
                    "SELECT scope, key, digest, exchange_id, expires FROM ledger WHERE scope = ? AND key = ?",
                    (entry.scope, entry.key),
                ).fetchone()
                raise DuplicateKeyError(LedgerEntry(*first))

    def _settle(self, cursor: sqlite3.Cursor, settle: Done | Retry | Dead, at: float) -> Settled:
        match settle:
            case Done():
                cursor.execute(_DONE, (at, settle.sequence))
            case Dead():
                cursor.execute(_DEAD, (at, settle.cause, settle.detail, settle.sequence))
            case Retry():
                cursor.execute(
                    _RETRY, (settle.due, settle.cause, int(settle.counted), int(settle.defect), settle.sequence)
                )
        lane: tuple[str, str] | None = cursor.fetchone()
        if lane is None:
            raise StoreError(f"message {settle.sequence} is not waiting: it cannot be settled")
        if isinstance(settle, Retry | Dead) and settle.headers:
            cursor.execute(_PROGRESS, (_text(settle.headers), settle.sequence))
        return Settled(settle.sequence, *lane, refresh_lane(cursor, *lane, at))

    def _enqueue(self, cursor: sqlite3.Cursor, unit: UnitOfWork, digests: tuple[bytes, ...]) -> tuple[int, ...]:
        sequences = []
        for entry, digest in zip(unit.enqueue, digests, strict=True):
            if entry.channel not in self.channels:
                cursor.execute("INSERT OR IGNORE INTO channels (name, held) VALUES (?, 0)", (entry.channel,))
                self.channels.add(entry.channel)
            cursor.execute(_PAYLOAD, (digest, entry.payload))
            if cursor.rowcount:
                payload = cursor.lastrowid
            else:
                payload = cursor.execute("SELECT id FROM payloads WHERE digest = ?", (digest,)).fetchone()[0]
            if len(entry.payload) > _LARGE:  # SQLite keeps its copy of what a statement was last given: give it less
                cursor.execute(_PAYLOAD, (digest, b""))  # the digest is there: does nothing
            self.numbers.sequence += 1
            sequence = self.numbers.sequence
            cursor.execute(
                _MESSAGE,
                (
                    sequence,
                    entry.channel,
                    entry.key,
                    entry.due,
                    payload,
                    len(entry.payload),
                    entry.exchange_id,
                    entry.body_type,
                    entry.origin,
                    entry.received,
                    unit.at,
                    _text(entry.headers),
                ),
            )
            due = entry.due if entry.due > unit.at else 0.0
            cursor.execute(_LANE, (entry.channel, entry.key, sequence, due))
            sequences.append(sequence)
        return tuple(sequences)
