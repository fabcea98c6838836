"""A scripted IMAP server for answers that no honest server gives."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

__all__ = ["FakeImap"]

_MAIL = b"Subject: fake\r\n\r\nbody\r\n"
_ANSWERS: Mapping[str, bytes] = {
    "GREETING": b"* OK ready\r\n",
    "CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE AUTH=PLAIN AUTH=XOAUTH2\r\n%t OK done\r\n",
    "LOGIN": b"%t OK in\r\n",
    "SELECT": b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [PERMANENTFLAGS (\\Seen \\*)] ok\r\n"
    b"%t OK [READ-WRITE] done\r\n",
    "UID SEARCH": b"* SEARCH 1\r\n%t OK done\r\n",
    "UID FETCH": b"* 1 FETCH (UID 1 RFC822.SIZE 23)\r\n%t OK done\r\n",
    "BODY": b"* 1 FETCH (UID 1 BODY[]<0> {%d}\r\n%s)\r\n%%t OK done\r\n" % (len(_MAIL), _MAIL),
    "UID STORE": b"* 1 FETCH (UID 1 FLAGS ($PfiflowDone))\r\n%t OK done\r\n",
    "IDLE": b"+ idling\r\n",
    "DONE": b"%t OK done\r\n",
    "NOOP": b"%t OK done\r\n",
    "STATUS": b'* STATUS "x" (UIDVALIDITY 1)\r\n%t OK done\r\n',
}


class FakeImap:
    """Answers by command; `answers` replaces some. `%t` is the tag. `then` is sent over and over after each answer.

    Attributes:
        commands: the lines received.
    """

    def __init__(self, context: ssl.SSLContext | None, answers: Mapping[str, bytes]) -> None:
        self._context = context
        self._answers = {**_ANSWERS, **answers}
        self.forever: Mapping[str, bytes] = {}
        self.drip: frozenset[str] = frozenset()
        self.commands: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError, ssl.SSLError):
            await self._answer(writer, "GREETING", b"")
            tag = b""
            while line := (await reader.readline()).rstrip(b"\r\n"):
                self.commands.append(line)
                words = line.decode("latin-1").upper().split()
                if words[0] == "DONE":
                    await self._answer(writer, "DONE", tag)
                    continue
                tag = line.split()[0]
                name = " ".join(words[1:3]) if words[1] == "UID" else words[1]
                await self._answer(writer, "BODY" if "BODY.PEEK" in line.decode("latin-1") else name, tag)
        writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, name: str, tag: bytes) -> None:
        answer = self._answers.get(name, b"%t BAD what?\r\n").replace(b"%t", tag)
        if name in self.drip:
            for byte in answer:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.1)
            return
        writer.write(answer)
        await writer.drain()
        while name in self.forever:
            writer.write(self.forever[name])
            await writer.drain()
            await asyncio.sleep(0)  # `drain` need not yield, and the loop could then never say that the peer is gone
