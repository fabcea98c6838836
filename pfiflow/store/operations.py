"""What operators ask, as SQL: lists on a read connection, changes in the writer's transaction."""

# ruff: noqa: S608 - what is put into the SQL is this package's constants; values are always bound
from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pfiflow.store.api import ChannelStatus, JournalEntry, MessageSummary, Record, State, StoreError
from pfiflow.store.claims import read_payload
from pfiflow.store.schema import DEAD, DONE, WAITING
from pfiflow.store.units import refresh_lane, write_journal

__all__ = [
    "declare_channels",
    "discard",
    "list_channels",
    "list_journal",
    "list_messages",
    "read_message",
    "replay",
    "set_hold",
]

_STATES: tuple[State, ...] = ("waiting", "done", "dead")  # by messages.state
_SUMMARY = """sequence, channel, key, exchange_id, state, body_type, size, headers, progress, origin, received,
    enqueued, due, attempts, defects, cause, detail"""

_LINE = "SELECT at, exchange_id, route, event, facts, line FROM journal INDEXED BY journal_of_exchange"


def _summary(row: tuple[Any, ...]) -> MessageSummary:
    sequence, channel, key, exchange_id, state, body_type, size, headers, progress, *rest = row
    try:
        facts = json.loads(headers) | (json.loads(progress) if progress is not None else {})
    except ValueError:
        facts = {}  # an operator must be able to see a damaged message
    return MessageSummary(sequence, channel, key, exchange_id, _STATES[state], body_type, size, facts, *rest)


def list_messages(
    connection: sqlite3.Connection, *, channel: str | None, state: State | None, after: int, limit: int
) -> Sequence[MessageSummary]:
    """Messages by sequence number. One indexed query for each channel and state asked for, merged."""
    if channel is None and state is None:
        rows = connection.execute(
            f"SELECT {_SUMMARY} FROM messages WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        ).fetchall()
        return [_summary(row) for row in rows]
    channels = (
        [channel] if channel is not None else [name for (name,) in connection.execute("SELECT name FROM channels")]
    )
    states = [_STATES.index(state)] if state is not None else [WAITING, DONE, DEAD]
    runs = [
        connection.execute(
            f"""SELECT {_SUMMARY} FROM messages WHERE channel = ? AND state = ? AND sequence > ?
                ORDER BY sequence LIMIT ?""",
            (one, code, after, limit),
        ).fetchall()
        for one in channels
        for code in states
    ]
    return [_summary(row) for row in list(heapq.merge(*runs))[:limit]]


def read_message(connection: sqlite3.Connection, sequence: int) -> tuple[MessageSummary, bytes] | None:
    """One message with its payload. Raises StoreError when the payload is missing."""
    row = connection.execute(f"SELECT payload, {_SUMMARY} FROM messages WHERE sequence = ?", (sequence,)).fetchone()
    if row is None:
        return None
    if connection.execute("SELECT 1 FROM payloads WHERE id = ?", (row[0],)).fetchone() is None:
        raise StoreError(f"the payload of message {sequence} is missing from the store")
    return _summary(row[1:]), read_payload(connection, row[0])


def list_channels(connection: sqlite3.Connection) -> Sequence[ChannelStatus]:
    """Every known channel. Counts walk an index (some 20 ms a million messages): nothing to keep in step."""
    found = []
    for name, held in connection.execute("SELECT name, held FROM channels ORDER BY name").fetchall():
        counts = dict(
            connection.execute(
                "SELECT state, count(*) FROM messages WHERE channel = ? GROUP BY state", (name,)
            ).fetchall()
        )
        oldest = connection.execute(
            "SELECT enqueued FROM messages WHERE channel = ? AND state = 0 ORDER BY sequence LIMIT 1", (name,)
        ).fetchone()
        found.append(
            ChannelStatus(
                name,
                bool(held),
                counts.get(WAITING, 0),
                counts.get(DEAD, 0),
                counts.get(DONE, 0),
                oldest[0] if oldest is not None else None,
            )
        )
    return found


def list_journal(
    connection: sqlite3.Connection, *, exchange_id: str | None, after: int, limit: int
) -> Sequence[JournalEntry]:
    """Journal lines, oldest first; of one exchange and its parts when asked."""
    if exchange_id is None:
        rows = connection.execute(
            "SELECT at, exchange_id, route, event, facts, line FROM journal WHERE line > ? ORDER BY line LIMIT ?",
            (after, limit),
        )
    else:  # '/' follows '.': the range holds every text that begins with "<id>."
        rows = connection.execute(
            f"""{_LINE} WHERE exchange_id = ?1 AND line > ?2 UNION ALL
                {_LINE} WHERE exchange_id >= ?1 || '.' AND exchange_id < ?1 || '/' AND line > ?2
                ORDER BY line LIMIT ?3""",
            (exchange_id, after, limit),
        )
    return [
        JournalEntry(at, exchange, route, event, json.loads(facts), line)
        for at, exchange, route, event, facts, line in rows.fetchall()
    ]


def list_records(connection: sqlite3.Connection, *, kind: str, after: str, limit: int) -> list[Record]:
    """Records of a kind by key, those after a key."""
    rows = connection.execute(
        "SELECT kind, key, at, exchange_id, facts FROM records WHERE kind = ? AND key > ? ORDER BY key LIMIT ?",
        (kind, after, limit),
    )
    return [Record(of, key, at, exchange, json.loads(facts)) for of, key, at, exchange, facts in rows.fetchall()]


def declare_channels(cursor: sqlite3.Cursor, names: Mapping[str, bool]) -> None:
    """Add the channels that are not known yet."""
    cursor.executemany(
        "INSERT OR IGNORE INTO channels (name, held) VALUES (?, ?)", [(name, int(held)) for name, held in names.items()]
    )


def set_hold(cursor: sqlite3.Cursor, channel: str, now: float, by: str, *, hold: bool) -> None:
    """Hold or release a known channel, and journal it."""
    cursor.execute("UPDATE channels SET held = ? WHERE name = ?", (int(hold), channel))
    if cursor.rowcount == 0:
        known = ", ".join(name for (name,) in cursor.execute("SELECT name FROM channels ORDER BY name"))
        raise StoreError(f"no channel is called {channel!r}; known: {known or 'none'}")
    _journal(cursor, now, "", "held" if hold else "released", channel=channel, by=by)


def replay(cursor: sqlite3.Cursor, sequence: int, now: float, by: str) -> str:
    """Make a finished message wait again; gives its channel.

    What its retries had noted in its headers stays when it was dead (who has it already need not get it twice), and
    goes when it was done (a wanted resend goes to everybody).
    """
    row = cursor.execute(
        f"""UPDATE messages SET progress = CASE state WHEN {DONE} THEN NULL ELSE progress END, state = {WAITING},
            due = ?, attempts = 0, defects = 0, settled = NULL, cause = '', detail = ''
            WHERE sequence = ? AND state <> {WAITING} RETURNING channel, key, exchange_id""",
        (now, sequence),
    ).fetchone()
    if row is None:
        raise StoreError(_why_not(cursor, sequence, "replayed", "dead or done"))
    channel: str = row[0]
    cursor.execute("DELETE FROM ledger WHERE message = ?", (sequence,))
    refresh_lane(cursor, channel, row[1], now)
    _journal(cursor, now, row[2], "replayed", sequence=str(sequence), channel=channel, by=by)
    return channel


def discard(cursor: sqlite3.Cursor, sequence: int, now: float, by: str) -> None:
    """Mark a dead message done. Its cause stays to be read."""
    row = cursor.execute(
        f"""UPDATE messages SET state = {DONE}, settled = ? WHERE sequence = ? AND state = {DEAD}
            RETURNING channel, exchange_id""",
        (now, sequence),
    ).fetchone()
    if row is None:
        raise StoreError(_why_not(cursor, sequence, "discarded", "dead"))
    _journal(cursor, now, row[1], "discarded", sequence=str(sequence), channel=row[0], by=by)


def _journal(cursor: sqlite3.Cursor, now: float, exchange_id: str, event: str, **facts: str) -> None:
    write_journal(cursor, (JournalEntry(now, exchange_id, "", event, {k: v for k, v in facts.items() if v}),))


def _why_not(cursor: sqlite3.Cursor, sequence: int, done: str, needed: str) -> str:
    row = cursor.execute("SELECT state FROM messages WHERE sequence = ?", (sequence,)).fetchone()
    if row is None:
        return f"there is no message {sequence}"
    return f"message {sequence} is {_STATES[row[0]]}: only a {needed} message can be {done}"
