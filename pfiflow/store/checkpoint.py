"""Checkpoints of the write-ahead log, away from the commits.

SQLite's automatic checkpoint runs inside the commit that reaches its threshold, which then takes many times longer.
Here a thread with its own connection copies the log into the database while commits go on. Since commits go on, it
never catches the last frames; the writer does those between two batches, and then the log starts again from its
beginning. Its file keeps its size, so that commits overwrite blocks that are allocated already.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress

__all__ = ["Checkpointer"]

_START = 2 << 20  # bytes of log at which the thread begins: a pass this long delays the commits beside it by some 3 ms
_HARD = 64 << 20  # bytes of log at which the writer checkpoints by itself, whatever it costs
_LAST_PART = 2 << 20  # bytes that the writer copies between two batches without harm
_PER_JOB = 40_000  # bytes that a small unit's index pages take in the log, about


class Checkpointer:
    """The checkpointing thread, and the writer's small part of the work."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.passes = 0
        self.log_bytes = 0  # estimate, exact after each pass
        self._connection = connection
        self._page: int = connection.execute("PRAGMA page_size").fetchone()[0]
        self._wanted = threading.Semaphore(0)
        self._running = False
        self._left: int | None = None  # bytes not copied by the last pass; None when the writer has nothing to do
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="pfiflow-store-checkpoint", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, after its current pass."""
        self._closing = True
        self._wanted.release()
        self._thread.join()

    # -- the writer's thread, between two batches ----------------------------------------------------------------------

    def after_batch(self, cursor: sqlite3.Cursor, jobs: int, size: int) -> None:
        """Note what a batch wrote; have the log copied when it is time."""
        self.log_bytes += size + min(jobs, 32) * _PER_JOB
        if self._running:
            return
        if self._left is not None and (self._left < _LAST_PART or self.log_bytes > _HARD):
            self._left = None
            self._pass(cursor)
        elif self.log_bytes > _HARD:
            self._pass(cursor)
        elif self.log_bytes > _START:
            self.request()

    def idle(self) -> None:
        """Nothing to write at the moment: have what is in the log copied."""
        if self.log_bytes and not self._running:
            self.request()

    def request(self) -> None:
        """Have the thread make a pass."""
        self._running = True
        self._wanted.release()

    def _pass(self, cursor: sqlite3.Cursor) -> None:
        _, frames, copied = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.passes += 1
        self.log_bytes = 0 if frames <= copied else frames * self._page

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        cursor = self._connection.cursor()
        while True:
            self._wanted.acquire()
            if self._closing:
                return
            with suppress(sqlite3.Error):  # disk full, another process's checkpoint: the next request tries again
                _, frames, copied = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self.passes += 1
                self._left = (frames - copied) * self._page
                if not self._left:
                    self.log_bytes = 0
            self._running = False
