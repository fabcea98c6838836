"""A TCP proxy on loopback that cuts the connection where a test says: the network's faults, on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

__all__ = ["CuttingProxy"]


class CuttingProxy:
    """Forwards to `target`, and counts what the client sends (one count for each read, nearly each command).

    Attributes:
        cut_at: the connection is cut when that many pieces have come from the client; None: never. A cut resets it.
        lose: cut before forwarding the last piece (the command is lost) rather than after it (its answer is lost).
        stall: do not cut, but forward nothing any more: a host that has vanished.
        received: bytes that the server has sent, all connections together.
        connections: how many have been made.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.cut_at: int | None = None
        self.lose = False
        self.stall = False
        self.received = 0
        self.connections = 0
        self.pieces = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # aborted transports close on the loop's next rounds

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.pieces = 0
        upstream: asyncio.StreamWriter | None = None
        try:
            source, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            down = asyncio.create_task(self._down(source, writer))
            up = asyncio.create_task(self._up(reader, upstream))
            try:
                await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                down.cancel()
                up.cancel()
                await asyncio.gather(down, up, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is down, or the test over
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.pieces += 1
                cut = self.cut_at is not None and self.pieces >= self.cut_at
                if cut and self.stall:
                    await asyncio.Event().wait()
                if not (cut and self.lose):
                    upstream.write(data)
                    await upstream.drain()
                if cut:
                    self.cut_at = None
                    return

    async def _down(self, source: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                self.received += len(data)
                if self.stall and self.cut_at is not None and self.pieces >= self.cut_at:
                    await asyncio.Event().wait()
                writer.write(data)
                await writer.drain()
