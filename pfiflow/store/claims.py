"""What workers ask, as SQL on the read connection: indexed whatever the backlog, nothing kept in memory."""

# ruff: noqa: S608 - what is put into the SQL is this package's constants; values are always bound
from __future__ import annotations

import json
import sqlite3
from collections.abc import Set as AbstractSet
from hashlib import sha256
from math import inf

from attrs import frozen

from pfiflow.store.api import LedgerEntry, Message, Record

__all__ = [
    "Unreadable",
    "choose_lane",
    "earliest_due",
    "find_ledger",
    "find_record",
    "load_message",
    "read_lane",
    "read_payload",
]

_INLINE = 64 << 10  # bytes: beyond, a payload is read by an incremental blob handle, straight into its bytes object

_READY = """SELECT key, head FROM lanes WHERE channel = ? AND due = 0
    AND EXISTS (SELECT 1 FROM channels WHERE name = ?1 AND held = 0) ORDER BY head"""
_DELAYED = """SELECT key, head FROM lanes WHERE channel = ? AND due > 0 AND due <= ?
    AND EXISTS (SELECT 1 FROM channels WHERE name = ?1 AND held = 0) ORDER BY due, head"""
_BEYOND = """SELECT key, head FROM lanes WHERE channel = ? AND due > ?
    AND EXISTS (SELECT 1 FROM channels WHERE name = ?1 AND held = 0) ORDER BY due, head"""
_EARLIEST = """SELECT key, due FROM lanes WHERE channel = ? AND due > 0
    AND EXISTS (SELECT 1 FROM channels WHERE name = ?1 AND held = 0) ORDER BY due"""
_MESSAGE = f"""SELECT m.channel, m.key, m.exchange_id, m.body_type, m.headers, m.progress, m.origin, m.received,
        m.enqueued, m.attempts, m.defects, m.payload, m.size, p.digest, CASE WHEN m.size <= {_INLINE} THEN p.bytes END
    FROM messages m LEFT JOIN payloads p ON p.id = m.payload WHERE m.sequence = ?"""


@frozen
class Unreadable:
    """A message whose stored form cannot be read: to be set aside."""

    sequence: int
    cause: str
    exchange_id: str = ""


def choose_lane(
    connection: sqlite3.Connection, channel: str, now: float, latest: float, leased: AbstractSet[str]
) -> tuple[str, int] | None:
    """(key, head) of the free lane whose due head is oldest, None when there is none or the channel is held.

    Heads that never waited for a time come by sequence number; those that did come by that time, and those whose time
    is after `latest` too; of the three, the smallest sequence number goes first. Steps over leased lanes only: at most
    one for each worker.
    """
    found = (
        _first_free(connection.execute(_READY, (channel,)), leased),
        _first_free(connection.execute(_DELAYED, (channel, now)), leased),
        _first_free(connection.execute(_BEYOND, (channel, latest)), leased) if latest < inf else None,
    )
    return min(filter(None, found), key=lambda lane: lane[1], default=None)


def _first_free(rows: sqlite3.Cursor, leased: AbstractSet[str]) -> tuple[str, int] | None:
    try:
        for key, head in rows:
            if key not in leased:
                return key, head
        return None
    finally:
        rows.close()  # ends the read snapshot


def earliest_due(connection: sqlite3.Connection, channel: str, leased: AbstractSet[str]) -> float | None:
    """When the earliest free lane is due (0.0: it is), None when there is none or the channel is held."""
    if _first_free(connection.execute(_READY, (channel,)), leased) is not None:
        return 0.0
    rows = connection.execute(_EARLIEST, (channel,))
    try:
        for key, due in rows:
            if key not in leased:
                return float(due)
        return None
    finally:
        rows.close()


def read_lane(connection: sqlite3.Connection, channel: str, key: str) -> tuple[int, float] | None:
    """(head, due) of one lane, None when it is empty or its channel is held."""
    row: tuple[int, float] | None = connection.execute(
        """SELECT head, due FROM lanes WHERE channel = ? AND key = ?
            AND EXISTS (SELECT 1 FROM channels WHERE name = ?1 AND held = 0)""",
        (channel, key),
    ).fetchone()
    return row


def load_message(connection: sqlite3.Connection, sequence: int) -> Message | Unreadable:
    """The message with its payload, checked against the payload's digest."""
    try:
        row = connection.execute(_MESSAGE, (sequence,)).fetchone()
        if row is None:
            return Unreadable(sequence, "its record is missing")
        (
            channel,
            key,
            exchange_id,
            body_type,
            headers,
            progress,
            origin,
            received,
            enqueued,
            attempts,
            defects,
            payload_id,
            size,
            digest,
            payload,
        ) = row
        if digest is None:
            return Unreadable(sequence, "its payload is missing", exchange_id)
        if payload is None:
            payload = read_payload(connection, payload_id)
        if len(payload) != size or sha256(payload).digest() != digest:
            return Unreadable(sequence, "its payload does not match its digest", exchange_id)
        facts = json.loads(headers)
        if progress is not None:
            facts |= json.loads(progress)
    except (sqlite3.DatabaseError, ValueError) as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return Unreadable(sequence, f"its record cannot be read ({name})")
    return Message(
        sequence, channel, key, exchange_id, body_type, payload, facts, origin, received, enqueued, attempts, defects
    )


def read_payload(connection: sqlite3.Connection, payload_id: int) -> bytes:
    """The payload's bytes, copied once from SQLite's pages."""
    with connection.blobopen("payloads", "bytes", payload_id, readonly=True) as blob:
        return blob.read()


def find_ledger(connection: sqlite3.Connection, scope: str, key: str, now: float) -> LedgerEntry | None:
    """The unexpired entry."""
    row = connection.execute(
        "SELECT scope, key, digest, exchange_id, expires FROM ledger WHERE scope = ? AND key = ? AND expires > ?",
        (scope, key, now),
    ).fetchone()
    return LedgerEntry(*row) if row is not None else None


def find_record(connection: sqlite3.Connection, kind: str, key: str) -> Record | None:
    """The record of that kind and key."""
    row = connection.execute(
        "SELECT kind, key, at, exchange_id, facts FROM records WHERE kind = ? AND key = ?", (kind, key)
    ).fetchone()
    if row is None:
        return None
    kind, key, at, exchange_id, facts = row
    return Record(kind, key, at, exchange_id, json.loads(facts))
