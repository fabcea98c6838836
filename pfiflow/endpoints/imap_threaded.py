"""The default IMAP driver: imaplib, one call at a time in a worker thread, on a socket that can be interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio
from anyio import to_thread

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
from pfiflow.endpoints.imap_wire import Imap, Wire

__all__ = ["ThreadedSession"]

T = TypeVar("T")

_LOGOUT = 2.0  # seconds


class ThreadedSession(ImapSession):
    """A session over imaplib. Its threads are its own: waiting in IDLE takes none from the rest of the process."""

    def __init__(self, wire: Wire, options: ImapInOptions) -> None:
        self._wire = wire
        self._options = options
        self._limiter = anyio.CapacityLimiter(1)
        self._state = threading.Lock()  # over the two below
        self._closed = False
        self._working = False  # a thread is at the wire, though its caller may be gone
        self._imap: Imap | None = None
        self.capabilities = frozenset()

    @classmethod
    async def open(cls, options: ImapInOptions, context: ssl.SSLContext | None) -> ThreadedSession:
        """Connect, secure, log in. Raises SessionLost, CommandRefused."""
        session = cls(Wire(await _connect(options.host, options.port, options.connect_timeout)), options)
        try:
            await session._run("the connection", lambda: session._establish(context))
        except BaseException:
            session.abort()
            raise
        return session

    @property
    def arrivals(self) -> Arrivals:
        """Fed by every line read."""
        return self._connection.arrivals

    @property
    def _connection(self) -> Imap:
        if self._imap is None:
            raise SessionLost("the session is not open")
        return self._imap

    def _establish(self, context: ssl.SSLContext | None) -> None:
        """In the thread: greeting, TLS, login, capabilities."""
        options, wire = self._options, self._wire
        wire.allow(options.connect_timeout, ANSWER_LIMIT)
        if options.security == "tls":
            assert context is not None
            wire.secure(context, options.host)
        imap = self._imap = Imap(wire)
        self._known = frozenset(imap.capabilities)
        if imap.state != "NONAUTH":
            # Before STARTTLS, a way round it; otherwise the server logged us in by itself, and does not say as whom.
            raise SessionLost("the server greets with PREAUTH: no login, and no STARTTLS, would take place")
        if options.security == "starttls":
            assert context is not None
            imap.begin(options.connect_timeout)
            if "STARTTLS" not in imap.capabilities:
                raise SessionLost(
                    "it does not offer STARTTLS, or something between removes it; nothing is sent in clear"
                )
            _must_be_ok("STARTTLS", *imap.xatom("STARTTLS"))
            imap.begin(options.connect_timeout)
            wire.secure(context, options.host)
            self._read_capabilities(imap)  # what was said in clear is void (RFC 3501 §6.2.1)
        imap.begin(options.connect_timeout)
        self._login(imap)
        imap.begin(options.connect_timeout)
        self._read_capabilities(imap)
        imap.state = "SELECTED"  # imaplib's own check of states; the server judges for itself

    def _login(self, imap: Imap) -> None:
        options = self._options
        password = options.password.reveal() if options.password is not None else ""
        if options.auth == "login":
            if "LOGINDISABLED" in self._known:
                raise SessionLost("the server refuses LOGIN (LOGINDISABLED)")
            _must_be_ok("LOGIN", *imap.xatom("LOGIN", quote(options.username), quote(password)))
            return
        mechanism = options.auth.upper()
        if f"AUTH={mechanism}" not in self._known:
            raise SessionLost(f"the server does not offer AUTH {mechanism}")
        if options.auth == "plain":
            answers = [f"\0{options.username}\0{password}".encode()]
        else:
            answers = [f"user={options.username}\1auth=Bearer {access_token(options)}\1\1".encode()]
        # A refusal comes as a challenge first (XOAUTH2), which an empty answer ends.
        _must_be_ok("AUTHENTICATE", *_authenticate(imap, mechanism, answers))

    def _read_capabilities(self, imap: Imap) -> None:
        _, data = imap.capability()
        words = b" ".join(item for item in data if isinstance(item, bytes)).upper().split()
        self._known = frozenset(printable(word) for word in words)
        self.capabilities = self._known

    async def command(self, name: str, *arguments: str, limit: int = ANSWER_LIMIT) -> Answer:
        """See ImapSession."""
        return await self._run(name, lambda: self._command(name, arguments, limit))

    def _command(self, name: str, arguments: tuple[str, ...], limit: int) -> Answer:
        imap = self._connection
        imap.begin(self._options.command_timeout, limit + 4096)
        verb, *rest = name.split()
        status, data = imap.xatom(verb, *rest, *arguments)
        text = data[-1] if data and isinstance(data[-1], bytes) else b""
        if status == "NO":
            raise CommandRefused(name, text)
        if status != "OK":
            raise SessionLost(f"{name}: the server answers {printable(status.encode())}")
        items = tuple(imap.items[:-1])
        imap.items.clear()
        imap.untagged_responses.clear()
        return Answer(items, text)

    async def idle(self, seconds: float) -> bool:
        """See ImapSession."""
        imap = self._connection
        if imap.arrivals.news:
            return True
        return await self._run("IDLE", lambda: imap.wait_in_idle(seconds, self._options.command_timeout))

    async def logout(self) -> None:
        """See ImapSession."""
        imap = self._imap
        if imap is not None and not self._closed:
            with anyio.move_on_after(_LOGOUT + 1), contextlib.suppress(SessionLost, CommandRefused):
                await self._run("LOGOUT", lambda: _logout(imap))
        self.abort()

    def abort(self) -> None:
        """See ImapSession."""
        with self._state:
            self._closed = True
            if self._working:
                self._wire.interrupt()  # its thread closes
            else:
                self._wire.close()

    def _begins(self) -> bool:
        """The thread takes the wire, unless the session is closed."""
        with self._state:
            self._working = not self._closed
            return self._working

    def _ends(self) -> None:
        with self._state:
            self._working = False
            if self._closed:
                self._wire.close()

    async def _run(self, what: str, work: Callable[[], T]) -> T:
        """In a thread. A cancelled caller goes at once; the socket is then shut, which ends the thread's wait."""

        def guarded() -> T:
            if not self._begins():
                raise SessionLost(f"{what}: the connection is closed")
            try:
                return work()
            except (SessionLost, CommandRefused):
                raise
            except (imaplib.IMAP4.error, OSError, EOFError, ValueError) as error:
                raise SessionLost(f"{what}: {_last_words(self._imap) or _describe(error)}") from None
            finally:
                self._ends()

        try:
            return await to_thread.run_sync(guarded, limiter=self._limiter, abandon_on_cancel=True)
        except CommandRefused:
            raise
        except BaseException:
            self.abort()
            raise


async def _connect(host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection to the first of the host's addresses that answers. Raises SessionLost.

    In the event loop, not in the thread: a connection attempt could not be interrupted there.
    """
    loop = asyncio.get_running_loop()
    failure: OSError = TimeoutError("no answer")
    with anyio.move_on_after(timeout):
        try:
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise SessionLost(f"{host} has no known address: {_describe(error)}") from None
        for family, kind, protocol, _, address in addresses:
            attempt = socket.socket(family, kind, protocol)
            try:
                attempt.setblocking(False)
                await loop.sock_connect(attempt, address)
                attempt.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                attempt.close()
                failure = error
            except BaseException:
                attempt.close()
                raise
            else:
                return attempt
    raise SessionLost(f"cannot connect: {_describe(failure)}")


def _authenticate(imap: Imap, mechanism: str, answers: list[bytes]) -> tuple[str, list[bytes]]:
    challenges = 0

    def answer(_challenge: bytes) -> bytes | None:
        nonlocal challenges
        challenges += 1
        if challenges > 2:
            raise SessionLost("the server asks for the login again and again")
        return answers.pop() if answers else b""

    try:
        return imap.authenticate(mechanism, answer)  # type: ignore[return-value]
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        # imaplib gives NO as an exception whose argument is the server's text
        text = str(error.args[0]).encode("ascii", "replace") if error.args else b""
        raise CommandRefused("AUTHENTICATE", text) from None


def _must_be_ok(command: str, status: str, data: Sequence[object]) -> None:
    if status != "OK":
        text = data[-1] if data else b""
        raise CommandRefused(command, text if isinstance(text, bytes) else b"")


def _logout(imap: Imap) -> None:
    imap.begin(_LOGOUT)
    imap.logout()


def _last_words(imap: Imap | None) -> str:
    """Why the server ended the session, or did not take a command, when it said so."""
    for line in imap.items[-4:] if imap is not None else ():
        if found := re.match(rb"(?:BYE|\w{1,20} BAD) ", line):
            return f"the server says {printable(line if found[0] == b'BYE ' else line[found.end() - 4 :])}"
    return ""


def _describe(error: Exception) -> str:
    """In words of ours and the system's; imaplib's own quote what they could not read."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__} {getattr(error, 'verify_message', '')}".strip()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, EOFError | imaplib.IMAP4.abort | OSError):
        return "the connection was cut, or the answer is no IMAP"
    return "the server did not understand, or its answer is no IMAP"
