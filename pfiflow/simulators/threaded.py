"""What the simulators share: a server on loopback, in a thread and an event loop of its own, that can be restarted."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["ThreadedServer"]


class ThreadedServer(ABC):
    """A context manager, or `start()` and `stop()`. It may be started again, on the same port.

    Attributes:
        errors: what went wrong inside the server itself, for tests to assert empty.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event | None = None
        self._failure: BaseException | None = None

    @abstractmethod
    async def _serve(self, listening: threading.Event, stopped: asyncio.Event) -> None:
        """Listen, set `listening`, serve until `stopped`, then leave nothing open. Raises OSError when it cannot."""

    def start(self) -> None:
        """Listen; returns when connections are accepted. Raises OSError: the address cannot be bound."""
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name=type(self).__name__, daemon=True)
        self._thread.start()
        listening.wait()
        if self._failure is not None:
            self._thread.join()
            self._thread = None
            raise self._failure

    def stop(self) -> None:
        """Cut every connection and close the listener; returns when the thread has ended."""
        if self._thread is None or self._loop is None or self._stopped is None:
            return
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, listening: threading.Event) -> None:
        self._failure = None
        try:
            asyncio.run(self._main(listening))
        except BaseException as error:  # noqa: BLE001 -- handed to start(), in the thread that can raise it
            self._failure = error
        finally:
            listening.set()

    async def _main(self, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda _, context: self.errors.append(str(context.get("exception") or context))
        )
        self._stopped = asyncio.Event()
        await self._serve(listening, self._stopped)
