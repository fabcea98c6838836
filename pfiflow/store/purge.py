"""Retention: what is finished and old goes, a little at a time, so that commits never wait long behind it."""

# ruff: noqa: S608 - what is put into the SQL is this package's constants; values are always bound
from __future__ import annotations

import sqlite3

from attrs import frozen

from pfiflow.store.api import Purged
from pfiflow.store.schema import DEAD, DONE

__all__ = ["BATCH_BYTES", "JournalWindow", "add", "purge_journal", "purge_ledger", "purge_messages", "purge_records"]

_MESSAGES = 50
BATCH_BYTES = 1 << 20  # freeing a payload walks its pages, and zeroes them
_LINES = 1000


@frozen
class JournalWindow:
    """How far a purge of the journal has come."""

    last: int
    removed: int


def add(one: Purged, other: Purged) -> Purged:
    """Both together."""
    return Purged(
        one.messages + other.messages,
        one.payloads + other.payloads,
        one.payload_bytes + other.payload_bytes,
        one.journal + other.journal,
        one.ledger + other.ledger,
        one.records + other.records,
    )


def purge_messages(cursor: sqlite3.Cursor, *, done_before: float, dead_before: float) -> Purged:
    """Remove some finished messages, and the payloads that nothing refers to any more."""
    rows = cursor.execute(
        f"SELECT sequence, payload, size FROM messages WHERE state = {DONE} AND settled < ? ORDER BY settled LIMIT ?",
        (done_before, _MESSAGES),
    ).fetchall()
    rows += cursor.execute(
        f"SELECT sequence, payload, size FROM messages WHERE state = {DEAD} AND settled < ? ORDER BY settled LIMIT ?",
        (dead_before, _MESSAGES - len(rows)),
    ).fetchall()
    chosen: dict[int, int] = {}
    size = 0
    for sequence, payload, payload_size in rows:
        if chosen and size + payload_size > BATCH_BYTES:
            break
        chosen[sequence] = payload
        size += payload_size
    if not chosen:
        return Purged(0, 0, 0, 0, 0)
    _keep_numbers(cursor)
    cursor.executemany("DELETE FROM messages WHERE sequence = ?", [(sequence,) for sequence in chosen])
    payloads = freed = 0
    for payload in set(chosen.values()):
        row = cursor.execute(
            """DELETE FROM payloads WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM messages WHERE payload = ?1)
                RETURNING length(bytes)""",
            (payload,),
        ).fetchone()
        if row is not None:
            payloads += 1
            freed += row[0]
    return Purged(len(chosen), payloads, freed, 0, 0)


def _keep_numbers(cursor: sqlite3.Cursor) -> None:
    """Write down the highest numbers given, before the rows that show them go."""
    cursor.execute(
        """UPDATE numbers SET last = max(last, CASE name
            WHEN 'sequence' THEN coalesce((SELECT max(sequence) FROM messages), 0)
            ELSE coalesce((SELECT max(line) FROM journal), 0) END)"""
    )


def purge_journal(cursor: sqlite3.Cursor, *, before: float, after: int) -> JournalWindow:
    """Remove the old lines among the next ones. Lines lie by time, nearly: a window without an old one is the end."""
    last = cursor.execute(
        "SELECT max(line) FROM (SELECT line FROM journal WHERE line > ? ORDER BY line LIMIT ?)", (after, _LINES)
    ).fetchone()[0]
    if last is None:
        return JournalWindow(after, 0)
    _keep_numbers(cursor)
    cursor.execute("DELETE FROM journal WHERE line > ? AND line <= ? AND at < ?", (after, last, before))
    return JournalWindow(last, cursor.rowcount)


def purge_ledger(cursor: sqlite3.Cursor, *, now: float) -> int:
    """Remove some expired entries."""
    cursor.execute(
        """DELETE FROM ledger WHERE (scope, key) IN
            (SELECT scope, key FROM ledger WHERE expires <= ? ORDER BY expires LIMIT ?)""",
        (now, _LINES),
    )
    return cursor.rowcount


def purge_records(cursor: sqlite3.Cursor, *, before: float) -> int:
    """Remove some old records."""
    cursor.execute(
        """DELETE FROM records WHERE (kind, key) IN
            (SELECT kind, key FROM records WHERE at < ? ORDER BY at LIMIT ?)""",
        (before, _LINES),
    )
    return cursor.rowcount
