"""What exists while the embedded store is open: its connections, and a thread on each.

One thread writes (`writer.py`), one answers the workers' claims, one the operators' lists (`reader.py`), one
checkpoints (`checkpoint.py`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
from attrs import frozen

from pfiflow.store.api import StoreError
from pfiflow.store.checkpoint import Checkpointer
from pfiflow.store.reader import Reader
from pfiflow.store.schema import connect, create_file, migrate
from pfiflow.store.units import Numbers, UnitWriter
from pfiflow.store.writer import Writer

__all__ = ["Running", "Statistics"]


@frozen
class Statistics:
    """What the store did since it was opened.

    Attributes:
        units: units of work and operators' changes asked for.
        transactions: how many transactions (each one fsync) they took.
        checkpoints: passes that copied the log into the database.
    """

    units: int
    transactions: int
    checkpoints: int


class Running:
    """`connect` in a worker thread, `start` in the event loop, `stop` at the end."""

    writer: Writer
    units: UnitWriter
    reader: Reader
    lister: Reader
    checkpointer: Checkpointer

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Sequence[str]],
        busy_timeout: float,
        on_foreign_change: Callable[[], None],
    ) -> None:
        self.path = path
        self.connections: list[sqlite3.Connection] = []
        self._migrations = migrations
        self._busy_timeout = busy_timeout
        self._on_foreign_change = on_foreign_change

    def connect(self, create: bool, /) -> None:
        """Open the file; with `create` make it when it is not there, and bring its schema up to date."""
        if create:
            try:
                create_file(self.path)
            except OSError as error:
                raise StoreError(f"cannot create the store {self.path}: {error.strerror}") from error
        elif not self.path.is_file():
            raise StoreError(f"there is no store at {self.path}")
        try:
            writing = self._connection()
            migrate(writing, self.path, upgrade=create, migrations=self._migrations)
            self.units = UnitWriter(Numbers.load(writing.cursor()))
            self._connection()
            self._connection(query_only=True)
            self._connection(query_only=True)
        except BaseException:
            self._disconnect()
            raise

    def _connection(self, *, query_only: bool = False) -> sqlite3.Connection:
        connection = connect(self.path, busy_timeout=self._busy_timeout, query_only=query_only)
        self.connections.append(connection)
        return connection

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads."""
        writing, checkpointing, claiming, listing = self.connections
        self.checkpointer = Checkpointer(checkpointing)
        self.writer = Writer(
            writing,
            self.path,
            loop,
            on_foreign_change=self._on_foreign_change,
            on_rollback=self.units.forget,
            checkpointer=self.checkpointer,
        )
        self.reader = Reader(claiming, self.path, loop, "claims")
        self.lister = Reader(listing, self.path, loop, "lists")
        for thread in (self.checkpointer, self.writer, self.reader, self.lister):
            thread.start()

    async def stop(self) -> None:
        """Commit what is queued, answer what was asked, close."""
        for thread in (self.writer, self.reader, self.lister):
            thread.close()
            await thread.ended
        await anyio.to_thread.run_sync(self._end)

    def _end(self) -> None:
        self.checkpointer.close()
        self._disconnect()

    def _disconnect(self) -> None:
        for connection in self.connections:  # the last one to close copies the log into the database
            connection.close()

    def statistics(self) -> Statistics:
        """Counts since the start."""
        return Statistics(self.writer.jobs, self.writer.transactions, self.checkpointer.passes)
