"""The other IMAP driver: aioimaplib (GPL-3.0-only, the extra `pfiflow[aioimaplib]`), for mailboxes on implicit TLS.

It has neither STARTTLS nor AUTH PLAIN. What it does not do by itself is done here: a deadline on every wait, a lost
connection noticed at once, a bound on what the server sends, EXISTS noticed between two commands, names quoted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from aioimaplib import aioimaplib

from pfiflow.endpoints.imap_driver import (
    ANSWER_LIMIT,
    Answer,
    Arrivals,
    CommandRefused,
    ImapSession,
    SessionLost,
    printable,
    quote,
)
from pfiflow.endpoints.imap_options import ImapInOptions, access_token

__all__ = ["AioimaplibSession"]

_LOGOUT = 2.0  # seconds
_FEED = 4 * 2**10  # bytes handed to the library at once: it recurses for every line among them
_LIBRARY_TIMEOUT = 86400.0  # its own, which each byte starts anew; ours are around every call

# It formats all that it receives for its debug log, whether or not somebody listens, and logs lines at level info.
logging.getLogger(aioimaplib.__name__).setLevel(logging.ERROR)


class _Protocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """The library's protocol; ours counts the bytes, keeps the lines, looks for EXISTS, and tells of the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.arrivals = Arrivals()
        self.items: list[bytes] = []
        self.budget = ANSWER_LIMIT
        self.news = asyncio.Event()
        self.lost = asyncio.Event()
        self.last_words = ""

    def begin(self, limit: int = ANSWER_LIMIT) -> None:
        """A new command: its budget, no lines of the former."""
        self.items.clear()
        self.budget = limit

    def data_received(self, d: bytes) -> None:
        self.budget -= len(d)
        if self.budget < 0:
            self.end("the server's answer exceeds its limit")
            return
        try:
            for start in range(0, len(d), _FEED):
                super().data_received(d[start : start + _FEED])
        except Exception:  # noqa: BLE001 - what the library makes of garbage: RecursionError, KeyError, its own
            self.end("the answer is no IMAP")

    def end(self, why: str) -> None:
        """Close at once."""
        self.last_words = self.last_words or why
        if self.transport is not None:
            self.transport.abort()
        self.lost.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.last_words = self.last_words or "the connection was cut"
        self.lost.set()
        super().connection_lost(exc)

    def _handle_line(self, line: bytes, current_cmd: Any) -> Any:
        if line.startswith(b"* "):
            self.items.append(line[2:])
            self.arrivals.saw(line)
            if self.arrivals.news:
                self.news.set()
            if line[2:6].upper() == b"BYE ":
                self.last_words = f"the server says {printable(line[2:])}"
        elif line.startswith(b"+") and getattr(self.pending_sync_command, "name", "") == "AUTHENTICATE":
            self.transport.write(b"\r\n")  # XOAUTH2's refusal is a challenge that wants an empty answer
        return super()._handle_line(line, current_cmd)


class _Client(aioimaplib.IMAP4_SSL):  # type: ignore[misc]
    """The library's client over our protocol."""

    def create_client(
        self,
        host: str,
        port: int,
        loop: asyncio.AbstractEventLoop | None,  # noqa: ARG002 - the library's signature
        conn_lost_cb: Callable[[Exception | None], None] | None = None,  # noqa: ARG002 - same
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        running = asyncio.get_running_loop()
        self.protocol = _Protocol(running)
        connection = running.create_connection(lambda: self.protocol, host, port, ssl=ssl_context)
        self._client_task = running.create_task(connection)

    def close_now(self) -> None:
        """Close, and end the library's own tasks."""
        self.protocol.end("closed")
        for task in (self._client_task, *self.tasks, *self.protocol.tasks):
            task.cancel()
        if self._idle_waiter is not None:
            self._idle_waiter.cancel()


class AioimaplibSession(ImapSession):
    """A session over aioimaplib."""

    def __init__(self, client: _Client, options: ImapInOptions) -> None:
        self._client = client
        self._protocol: _Protocol = client.protocol
        self._options = options
        self.capabilities = frozenset()

    @classmethod
    async def open(cls, options: ImapInOptions, context: ssl.SSLContext | None) -> AioimaplibSession:
        """Connect by TLS, log in. Raises SessionLost, CommandRefused."""
        client = _Client(options.host, options.port, timeout=_LIBRARY_TIMEOUT, ssl_context=context)
        session = cls(client, options)
        try:
            await session._establish()
        except BaseException:
            session.abort()
            raise
        return session

    @property
    def arrivals(self) -> Arrivals:
        """Fed by every line read."""
        return self._protocol.arrivals

    async def _establish(self) -> None:
        client, options, patience = self._client, self._options, self._options.connect_timeout
        await self._within(patience, "the connection", client.wait_hello_from_server())
        if client.get_state() != aioimaplib.NONAUTH:
            raise SessionLost("the server greets with PREAUTH: it does not say as whom we are logged in")
        if options.auth == "xoauth2":
            if not client.has_capability("AUTH=XOAUTH2"):
                raise SessionLost("the server does not offer AUTH XOAUTH2")
            answer = await self._within(
                patience, "AUTHENTICATE", client.xoauth2(options.username, access_token(options))
            )
            self._must_be_ok("AUTHENTICATE", answer)
        else:
            if client.has_capability("LOGINDISABLED"):
                raise SessionLost("the server refuses LOGIN (LOGINDISABLED)")
            password = options.password.reveal() if options.password is not None else ""
            self._must_be_ok(
                "LOGIN", await self._within(patience, "LOGIN", client.login(quote(options.username), password))
            )
        await self._within(patience, "CAPABILITY", client.protocol.capability())
        self.capabilities = frozenset(word.upper() for word in client.protocol.capabilities)

    async def command(self, name: str, *arguments: str, limit: int = ANSWER_LIMIT) -> Answer:
        """See ImapSession."""
        client = self._client
        verb, _, by_uid = name.partition(" ")
        if name == "UID SEARCH":
            work = client.uid_search(*arguments, charset=None)
        elif verb == "UID":
            work = client.uid(by_uid.lower(), *arguments)
        else:
            work = getattr(client, verb.lower())(*arguments)
        self._protocol.begin(limit + 4096)
        answer = await self._within(self._options.command_timeout, name, work)
        text = self._must_be_ok(name, answer)
        # The library's own lines lack what it did not expect; only they have literals.
        items = map(bytes, answer.lines[:-1]) if name == "UID FETCH" else self._protocol.items
        return Answer(tuple(items), text)

    async def idle(self, seconds: float) -> bool:
        """See ImapSession."""
        protocol, patience = self._protocol, self._options.command_timeout
        if protocol.arrivals.news:
            return True
        protocol.begin()
        protocol.news.clear()
        ended = await self._within(patience, "IDLE", self._client.idle_start(timeout=_LIBRARY_TIMEOUT))
        # The watchdog: whatever happens, this IDLE ends after `seconds`, and its end is confirmed in time.
        await self._first_of(seconds, protocol.news.wait())
        self._client.idle_done()
        await self._within(patience, "IDLE", _result(ended))
        while not protocol.idle_queue.empty():
            protocol.idle_queue.get_nowait()
        return protocol.arrivals.news

    async def logout(self) -> None:
        """See ImapSession."""
        with contextlib.suppress(SessionLost):
            await self._within(_LOGOUT, "LOGOUT", self._client.logout())
        self.abort()

    def abort(self) -> None:
        """See ImapSession."""
        self._client.close_now()

    async def _within(self, seconds: float, what: str, work: Coroutine[Any, Any, Any]) -> Any:
        """The work's result. Raises SessionLost when it takes longer, fails, or the connection ends."""
        try:
            done = await self._first_of(seconds, work)
        except asyncio.CancelledError:
            self.abort()
            raise
        failure = done.exception() if done is not None else TimeoutError()
        if done is None or failure is not None:
            words = self._protocol.last_words or _describe(failure)
            self.abort()
            raise SessionLost(f"{what}: {words}")
        return done.result()

    async def _first_of(self, seconds: float, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
        """The work as a task that is done; None when time is over or the connection lost before."""
        task = asyncio.create_task(work)
        lost = asyncio.create_task(self._protocol.lost.wait())
        try:
            await asyncio.wait({task, lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return task if task.done() else None
        finally:
            task.cancel()
            lost.cancel()

    def _must_be_ok(self, command: str, answer: Any) -> bytes:
        text = bytes(answer.lines[-1]) if answer.lines else b""
        if answer.result == "NO":
            raise CommandRefused(command, text)
        if answer.result != "OK":
            self.abort()
            raise SessionLost(f"{command}: the server says {printable(answer.result.encode())} {printable(text)}")
        return text


async def _result(task: asyncio.Future[Any]) -> Any:
    return await task


def _describe(error: BaseException | None) -> str:
    """In words of ours and the system's; the library's quote what they could not read."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__} {getattr(error, 'verify_message', '')}".strip()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection was cut, or the answer is no IMAP"
