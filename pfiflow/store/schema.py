"""The SQLite file: its schema as numbered migrations, and how a connection to it is opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pfiflow.store.api import StoreError, StoreFullError

__all__ = ["APPLICATION_ID", "DEAD", "DONE", "MIGRATIONS", "WAITING", "connect", "create_file", "migrate", "translate"]

APPLICATION_ID = 0x50464946  # "PFIF" in the file's header: this database is ours

WAITING, DONE, DEAD = 0, 1, 2  # messages.state

# Bytes. A commit writes each page with a call of its own, and its checksum: a document of 330 kB is 40 pages instead of
# 80, a small message costs the same. Only a new file takes it over; an older one keeps its own.
PAGE_SIZE = 8192

# One entry a schema version, applied in order, each in one transaction with the new user_version. Never edit an entry
# that was released: append one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE channels (
            name TEXT PRIMARY KEY,
            held INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        # The digest is SHA-256. No counter of references: messages.payload (indexed) is the truth, and cannot drift.
        """CREATE TABLE payloads (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE,
            bytes BLOB NOT NULL
        ) STRICT""",
        # state: 0 waiting, 1 done, 2 dead. progress: headers merged by retries. settled: when it became done or dead.
        """CREATE TABLE messages (
            sequence INTEGER PRIMARY KEY,
            channel TEXT NOT NULL,
            key TEXT NOT NULL,
            state INTEGER NOT NULL,
            due REAL NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            defects INTEGER NOT NULL DEFAULT 0,
            payload INTEGER NOT NULL,
            size INTEGER NOT NULL,
            exchange_id TEXT NOT NULL,
            body_type TEXT NOT NULL,
            origin TEXT NOT NULL,
            received REAL NOT NULL,
            enqueued REAL NOT NULL,
            settled REAL,
            headers TEXT NOT NULL,
            progress TEXT,
            cause TEXT NOT NULL DEFAULT '',
            detail TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        "CREATE INDEX messages_of_lane ON messages (channel, key, sequence) WHERE state = 0",
        "CREATE INDEX messages_of_channel ON messages (channel, state, sequence)",
        "CREATE INDEX messages_of_payload ON messages (payload)",
        "CREATE INDEX messages_settled ON messages (state, settled) WHERE settled IS NOT NULL",
        # A lane is there while it has waiting messages. due = 0: its head was due already when it became the head.
        """CREATE TABLE lanes (
            channel TEXT NOT NULL,
            key TEXT NOT NULL,
            head INTEGER NOT NULL,
            due REAL NOT NULL,
            PRIMARY KEY (channel, key)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX lanes_due ON lanes (channel, due, head)",
        # message: the one whose settling recorded the entry; its replay removes it.
        """CREATE TABLE ledger (
            scope TEXT NOT NULL,
            key TEXT NOT NULL,
            digest BLOB NOT NULL,
            exchange_id TEXT NOT NULL,
            expires REAL NOT NULL,
            message INTEGER,
            PRIMARY KEY (scope, key)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX ledger_expires ON ledger (expires)",
        "CREATE INDEX ledger_of_message ON ledger (message) WHERE message IS NOT NULL",
        """CREATE TABLE journal (
            line INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            exchange_id TEXT NOT NULL,
            route TEXT NOT NULL,
            event TEXT NOT NULL,
            facts TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX journal_of_exchange ON journal (exchange_id)",
        # The highest number given out, of what a purge may have removed: numbers are never given twice.
        """CREATE TABLE numbers (
            name TEXT PRIMARY KEY,
            last INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO numbers VALUES ('sequence', 0), ('line', 0)",
    ),
    (
        """CREATE TABLE records (
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            at REAL NOT NULL,
            exchange_id TEXT NOT NULL,
            facts TEXT NOT NULL,
            PRIMARY KEY (kind, key)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX records_at ON records (at)",
    ),
)


def create_file(path: Path) -> None:
    """Create the database file, readable by its owner only, when it is not there (SQLite's side files follow it)."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def connect(path: Path, *, busy_timeout: float, query_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode (transactions are explicit), usable from the thread that it is handed to."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=busy_timeout
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")  # what retention removes is overwritten, not only unlinked
        if query_only:
            connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    *,
    upgrade: bool,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> None:
    """Check that the file is ours, switch it to WAL, and bring its schema up to date.

    With `upgrade` false an older file is refused instead. Raises StoreError when it is not a pfiflow store, is damaged,
    or was written by a newer pfiflow.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or tables):
        raise StoreError(f"{path} is a SQLite database of another application; give another path for the store")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise StoreError(
            f"{path} has schema version {version}, this pfiflow knows up to {len(migrations)}: "
            "run the newer pfiflow, or restore the backup taken before its installation"
        )
    if version < len(migrations) and not upgrade:
        raise StoreError(f"{path} has schema version {version}, {len(migrations)} is needed: start the engine once")
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path}: SQLite cannot use write-ahead logging there (journal mode {mode}); use a local disk")
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


_FULL_WHEN_NO_SPACE = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,  # a quota, or the wal-index…
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_SPARE = 1 << 20  # bytes: with less than this free, an I/O error is put down to the full disk


def translate(error: BaseException, path: Path) -> BaseException:
    """The store's error for a driver's. What is not the database's comes back as it is."""
    if isinstance(error, StoreError) or not isinstance(error, (sqlite3.Error, sqlite3.Warning)):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_FULL or (code in _FULL_WHEN_NO_SPACE and _free_bytes(path) < _SPARE):
        return StoreFullError(f"no space left for the store {path}: free some; nothing of this unit was kept")
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{path} is not a pfiflow store (not a SQLite database); give another path for the store")
    if code is not None and code & 0xFF == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"{path} is damaged ({name}): stop the engine, restore a backup or run sqlite3's .recover")
    return StoreError(f"store {path}: {error} ({name})")


def _free_bytes(path: Path) -> int:
    try:
        facts = os.statvfs(path)
    except OSError:
        return 0
    return facts.f_bavail * facts.f_frsize
