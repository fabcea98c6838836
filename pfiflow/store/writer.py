"""The one thread that writes: what was queued since its last fsync goes into one transaction (group commit)."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from pfiflow.store.api import StoreError
from pfiflow.store.checkpoint import Checkpointer
from pfiflow.store.schema import translate

__all__ = ["Job", "Writer"]

_BATCH_JOBS = 256
_BATCH_BYTES = 8 << 20
_POLL = 0.5  # seconds between looks at what other processes wrote


@define(eq=False)
class Job:
    """Something to do in a transaction.

    Attributes:
        action: writes through the cursor; a StoreError that it raises left nothing in the transaction, any other
            exception has the transaction rolled back and the other jobs of the batch done again without it.
        done: told in the event loop what came out, just before the future's waiter is.
        size: bytes to write, for the bound of a batch.
    """

    action: Callable[[sqlite3.Cursor], Any]
    future: asyncio.Future[Any]
    done: Callable[[Any, BaseException | None], None] | None = None
    prepare: Callable[[], None] | None = None
    size: int = 0
    result: Any = field(init=False, default=None)
    error: BaseException | None = field(init=False, default=None)


class Writer:
    """The writer's thread and its queue.

    The queue is not bounded: a caller waits for its own commit, so that there are as many jobs as concurrent callers,
    and the engine bounds those. Ten thousand at once drain in forty transactions.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        on_foreign_change: Callable[[], None],
        on_rollback: Callable[[], None],
        checkpointer: Checkpointer,
    ) -> None:
        self.jobs = 0
        self.transactions = 0
        self._connection = connection
        self._cursor = connection.cursor()
        self._path = path
        self._loop = loop
        self._on_foreign_change = on_foreign_change
        self._on_rollback = on_rollback
        self._checkpointer = checkpointer
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._pending: Job | None = None
        self._closing = False  # the thread has met the end of the queue
        self._closed = False  # no job is taken any more
        self._thread = threading.Thread(target=self._run, name="pfiflow-store-writer", daemon=True)
        self.ended: asyncio.Future[None] = loop.create_future()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Event loop only. Raises StoreError once the writer is closing."""
        if self._closed:
            raise StoreError(f"store {self._path} is not open")
        self._queue.put(job)

    def close(self) -> None:
        """Finish what is queued, then end: `ended` tells when."""
        self._closed = True
        self._queue.put(None)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        version = self._data_version()
        looked = time.monotonic()
        while batch := self._take():
            if batch[0] is not None:
                self._write([job for job in batch if job is not None])
                batch.clear()  # large payloads do not wait here for the next one
            else:
                self._checkpointer.idle()
            if (now := time.monotonic()) - looked >= _POLL:
                looked = now
                if (current := self._data_version()) != version:
                    version = current
                    self._post(self._on_foreign_change)
        self._post(self._end)

    def _write(self, jobs: list[Job]) -> None:
        self._commit(jobs)
        self._post(self._resolve, jobs)
        with suppress(sqlite3.Error):  # the next batch tries again, and a commit that fails will say why
            self._checkpointer.after_batch(self._cursor, len(jobs), sum([job.size for job in jobs]))

    def _take(self) -> list[Job | None]:
        """The next batch; [None] when it is time to look around, nothing when the writer ends."""
        first = self._pending
        self._pending = None
        if first is None:
            if self._closing:
                return []
            try:
                first = self._queue.get(timeout=_POLL)
            except queue.Empty:
                return [None]
            if first is None:
                return []
        batch: list[Job | None] = [first]
        size = first.size
        while len(batch) < _BATCH_JOBS:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._closing = True
                break
            if size + job.size > _BATCH_BYTES:
                self._pending = job
                break
            size += job.size
            batch.append(job)
        return batch

    def _data_version(self) -> int:
        """Changes when another connection has committed. This one is the process's only one that writes."""
        try:
            version: int = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return -1
        return version

    def _commit(self, jobs: list[Job]) -> None:
        """Everything in one transaction; when that fails, each job in its own, so that one does not hurt the others."""
        self.jobs += len(jobs)
        jobs = [job for job in jobs if self._prepare(job)]
        try:
            self._transact(jobs)
        except Exception as error:  # noqa: BLE001 - whatever it is, each job's caller is told
            if len(jobs) == 1 or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                for job in jobs:
                    job.error = self._explain(error)
                return
            for job in jobs:
                try:
                    self._transact([job])
                except Exception as own:  # noqa: BLE001 - same
                    job.error = self._explain(own)

    def _prepare(self, job: Job) -> bool:
        try:
            if job.prepare is not None:
                job.prepare()
        except Exception as error:  # noqa: BLE001 - the job's caller is told; the others go on
            job.error = self._explain(error)
            return False
        return True

    def _transact(self, jobs: list[Job]) -> None:
        cursor = self._cursor
        self.transactions += 1
        try:
            cursor.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.error = None
                try:
                    job.result = job.action(cursor)
                except StoreError as refusal:
                    job.error = refusal
            cursor.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
            self._on_rollback()
            raise

    def _explain(self, error: Exception) -> BaseException:
        known = translate(error, self._path)
        if known is error and not isinstance(error, StoreError):
            known = StoreError(
                f"a value of this unit cannot be stored ({type(error).__name__}); nothing of it was kept"
            )
        if known is not error:
            known.__cause__ = error
        return known

    def _post(self, callback: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)

    # -- the event loop ------------------------------------------------------------------------------------------------

    @staticmethod
    def _resolve(jobs: list[Job]) -> None:
        for job in jobs:
            if job.done is not None:
                job.done(job.result, job.error)
            if job.future.done():  # its caller was cancelled; the commit holds all the same
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

    def _end(self) -> None:
        self._thread.join()
        if not self.ended.done():
            self.ended.set_result(None)
