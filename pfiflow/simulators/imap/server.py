"""The IMAP server: connections, TLS, and the script of what it is told to do wrong. In a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping

from attrs import define

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.imap.session import Session
from pfiflow.simulators.imap.state import EXTENSIONS, Policy
from pfiflow.simulators.mailboxes import Mailboxes
from pfiflow.simulators.script import Rule, Script
from pfiflow.simulators.threaded import ThreadedServer

__all__ = ["ImapSimulator"]


@define
class _ImapRule(Rule):
    cut: int = 0
    silent: bool = False


class ImapSimulator(ThreadedServer):
    """The server; a context manager, or `start()` and `stop()`. It may be started again, on the same ports.

    Attributes:
        mailboxes: what it serves.
        port: STARTTLS when there is TLS, else in clear. Known once started.
        tls_port: TLS from the first byte; 0 when there is no TLS.
        errors: what went wrong inside the server itself, for tests to assert empty.
    """

    def __init__(
        self,
        mailboxes: Mailboxes | None = None,
        *,
        tls: TlsOptions | None = None,
        logins: Mapping[str, str] | None = None,
        tokens: Mapping[str, str] | None = None,
        without: Iterable[str] = (),
        size_limit: int = 40_000_000,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Settings of the server.

        Args:
            mailboxes: what it serves; None makes some that are empty.
            tls: offers STARTTLS and insists on it before a login; with authorities, a client certificate is required.
            logins: login → password; None lets everybody in, with a mailbox of their own.
            tokens: login → token of XOAUTH2.
            without: what it has not, of IDLE, MOVE, UIDPLUS and UNSELECT.
            size_limit: bytes of a mail that it takes by APPEND.
            host: a loopback address.
            port: 0 takes a free one.
        """
        super().__init__()
        self.mailboxes = mailboxes if mailboxes is not None else Mailboxes()
        self.port = port
        self.tls_port = 0
        extensions = EXTENSIONS - frozenset(without)
        self._policy = Policy(logins, tokens or {}, extensions, starttls=tls is not None, largest=size_limit)
        self._host = host
        self._tls = tls
        self._script = Script()
        self._connections: set[_Connection] = set()

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each stage was reached."""
        return self._script.counts

    def script(
        self,
        stage: str,
        reply: str = "",
        *,
        login: str = "",
        times: int = 0,
        delay: float = 0,
        close: bool = False,
        keep: bool = False,
        cut: int = 0,
        silent: bool = False,
    ) -> None:
        """Add a rule; the first one that fits answers.

        Args:
            stage: CONNECT (the greeting), a command (`UID FETCH`), CREDENTIALS (what follows AUTHENTICATE), DONE (the
                end of IDLE).
            reply: the answer after the tag (`NO [UNAVAILABLE] later`), or a whole untagged line (`* BYE shutdown`); ""
                leaves the normal one. The command is not carried out then, unless `keep`.
            login: only for who is logged in so.
            times: how often it applies; 0 is always.
            delay: seconds to wait first.
            close: cut the connection after the reply, or instead of any answer.
            keep: carry the command out all the same: what a client sees when the answer is lost.
            cut: send so many bytes of the normal answer and cut the connection: in the middle of a mail.
            silent: never answer; the connection stays.
        """
        self._script.add(_ImapRule(stage, reply, login.lower(), times, delay, close, keep, cut, silent))

    def clear_script(self) -> None:
        """Forget every rule."""
        self._script.clear()

    def drop_connections(self) -> None:
        """Cut every connection, as a restart of the server would."""

        def drop() -> None:
            for connection in tuple(self._connections):
                connection.cut()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(drop)

    async def _serve(self, listening: threading.Event, stopped: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        context = self._tls.server_context() if self._tls is not None else None

        def connection(secure: ssl.SSLContext | None = None) -> _Connection:
            session = Session(self.mailboxes, self._policy, secure=secure is not None)
            return _Connection(session, self._script, context, self._connections, self.errors.append)

        def tell() -> None:
            for each in tuple(self._connections):
                each.tell()

        listeners = [await loop.create_server(connection, self._host, self.port)]
        self.port = listeners[0].sockets[0].getsockname()[1]
        if context is not None:
            listeners.append(
                await loop.create_server(lambda: connection(context), self._host, self.tls_port, ssl=context)
            )
            self.tls_port = listeners[1].sockets[0].getsockname()[1]

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # it is just stopping
                loop.call_soon_threadsafe(tell)

        unwatch = self.mailboxes.watch(changed)
        listening.set()
        await stopped.wait()
        unwatch()
        tasks = [each.task for each in self._connections if each.task is not None]
        for listener in listeners:
            listener.close()
        for each in tuple(self._connections):
            each.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in listeners:
            await listener.wait_closed()
        await asyncio.sleep(0)  # lets the transports notice


class _Connection(asyncio.Protocol):
    """One connection. Reading rests while a turn is carried out, so that a client can pile up nothing here."""

    def __init__(
        self,
        session: Session,
        script: Script,
        context: ssl.SSLContext | None,
        all_of_them: set[_Connection],
        report: Callable[[str], None],
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self._session = session
        self._script = script
        self._context = context
        self._all = all_of_them
        self._report = report
        self._transport: asyncio.Transport | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # -- asyncio's calls ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._all.add(self)
        self.task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes) -> None:
        self._wire.pause_reading()
        self._session.receive(data)
        self._arrived.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._all.discard(self)
        if self.task is not None:
            self.task.cancel()

    # -- the conversation --------------------------------------------------------------------------------------------

    @property
    def _wire(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def cut(self) -> None:
        """Close without a word."""
        self._wire.abort()

    def tell(self) -> None:
        """Something has changed in some mailbox."""
        if self._session.idling:
            self._wire.write(self._session.news())

    async def _run(self) -> None:
        try:
            await self._converse()
        except (OSError, ssl.SSLError, asyncio.CancelledError):  # the peer went, or `stop` was called
            self.cut()
        except Exception as defect:  # noqa: BLE001 - the test that started the server is told
            self._report(f"{type(defect).__name__}: {defect}")
            self.cut()

    async def _converse(self) -> None:
        session = self._session
        await self._answer("CONNECT", "*", session.greeting)
        while not session.state.ended:
            turn = session.next()
            if turn is None:
                self._arrived.clear()
                self._wire.resume_reading()
                await self._arrived.wait()
                continue
            await self._answer(turn.name, turn.tag, lambda turn=turn: session.perform(turn))  # type: ignore[misc]
            if session.state.wants_tls:
                await self._begin_tls()
            self.tell()
        self._wire.close()

    async def _answer(self, stage: str, tag: str, perform: Callable[[], bytes]) -> None:
        """One turn, as the script says."""
        rule = self._script.take(stage, self._session.state.login)
        if not isinstance(rule, _ImapRule):
            await self._send(perform())
            return
        await asyncio.sleep(rule.delay)
        answer = perform() if rule.keep or not (rule.reply or rule.close or rule.silent) else b""
        if rule.silent:
            self._wire.resume_reading()  # else the client's end would go unnoticed
            await asyncio.Event().wait()
        if rule.reply:
            answer = f"{rule.reply if rule.reply.startswith('*') else f'{tag} {rule.reply}'}\r\n".encode()
        elif rule.close:
            answer = b""
        if rule.cut:
            answer = answer[: rule.cut]
        await self._send(answer)
        if rule.close or rule.cut:
            if answer:
                self._wire.close()  # lets the answer out first
            else:
                self.cut()
            await asyncio.Event().wait()  # connection_lost cancels

    async def _send(self, answer: bytes) -> None:
        self._wire.write(answer)
        await self._writable.wait()

    async def _begin_tls(self) -> None:
        """What the client sends from here on is TLS; what it has sent is void. No byte was read since its command."""
        assert self._context is not None
        self._session.secured()
        loop = asyncio.get_running_loop()
        try:
            secure = await loop.start_tls(self._wire, self, self._context, server_side=True)
        except BaseException:
            self._all.discard(self)  # asyncio tells the end of a connection only once TLS stands
            raise
        if secure is None:
            raise ConnectionResetError
        self._transport = secure
