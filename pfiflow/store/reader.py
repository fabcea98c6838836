"""A thread with a read connection: queries neither block the event loop nor wait for an fsync."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pfiflow.store.api import StoreError
from pfiflow.store.schema import translate

__all__ = ["Reader"]

T = TypeVar("T")

_Task = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]", Callable[[Any], None] | None]
_Answer = tuple["asyncio.Future[Any]", Any, BaseException | None, Callable[[Any], None] | None]


class Reader:
    """Runs queries in their order of arrival. A query sees every commit that had returned when it was asked."""

    def __init__(self, connection: sqlite3.Connection, path: Path, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._connection = connection
        self._path = path
        self._loop = loop
        self._closed = False
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"pfiflow-store-{name}", daemon=True)
        self.ended: asyncio.Future[None] = loop.create_future()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def ask(self, query: Callable[[sqlite3.Connection], T], *, unclaimed: Callable[[T], None] | None = None) -> T:
        """The query's answer. `unclaimed` gets the answer when the caller was cancelled before it came."""
        if self._closed:
            raise StoreError(f"store {self._path} is not open")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((query, future, unclaimed))
        try:
            return await future
        except asyncio.CancelledError:
            if unclaimed is not None and future.done() and not future.cancelled() and future.exception() is None:
                unclaimed(future.result())  # cancelled between the answer and its delivery
            raise

    def close(self) -> None:
        """Answer what was asked, then end: `ended` tells when."""
        self._closed = True
        self._queue.put(None)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            query, future, unclaimed = task
            answer: Any = None
            error: BaseException | None = None
            try:
                answer = query(self._connection)
            except Exception as failure:  # noqa: BLE001 - the one who asked is told
                error = translate(failure, self._path)
                if error is not failure:
                    error.__cause__ = failure
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve, (future, answer, error, unclaimed))
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    @staticmethod
    def _resolve(outcome: _Answer) -> None:
        future, answer, error, unclaimed = outcome
        if future.done():
            if error is None and unclaimed is not None:
                unclaimed(answer)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)

    def _end(self) -> None:
        self._thread.join()
        if not self.ended.done():
            self.ended.set_result(None)
