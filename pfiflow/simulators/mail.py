"""A real SMTP server on loopback for tests and the demo: STARTTLS with client certificate, AUTH PLAIN, DSN, scripts.

aiosmtpd speaks the protocol, in a thread of its own; here are the script (what to answer, when to close, when to be
slow), the DSN parameters that aiosmtpd refuses, the null sender, and the store of what came in.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session, TLSSetupException
from attrs import field, frozen

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.script import Rule, Script
from pfiflow.simulators.threaded import ThreadedServer

__all__ = ["MailSimulator", "ReceivedMail", "Stage"]

Stage = Literal["CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "RSET", "NOOP", "QUIT"]
"""Where a rule applies: a command, or CONNECT (the greeting), or BODY (after the final dot)."""

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd warns of a deprecation that is its own affair

_PATH = re.compile(r"\s*(FROM|TO):\s*<([^<>]*)>(.*)", re.IGNORECASE)
_DSN_PARAMETERS = {"MAIL": ("RET=", "ENVID="), "RCPT": ("NOTIFY=", "ORCPT=")}
_NULL_SENDER = "<>"  # aiosmtpd takes an empty sender for none


@frozen
class ReceivedMail:
    """One accepted mail, with its envelope as the client gave it."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    mail_parameters: str = ""
    recipient_parameters: tuple[str, ...] = ()
    login: str = ""
    certificate_subject: str = ""


class MailSimulator(ThreadedServer):
    """The server; a context manager, or `start()` and `stop()`.

    Attributes:
        port: the port that it listens on, once started.
        received: the mails accepted, oldest first.
        errors: what went wrong inside the server itself, for tests to assert empty.
        is_known: whether a recipient has a mailbox, or is another server's; who is not gets 550.
        on_mail: called in the server's thread with each mail accepted, before its 250 leaves.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        tls: TlsOptions | None = None,
        logins: Mapping[str, str] | None = None,
        size_limit: int = 40_000_000,
        dsn: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Settings of the server.

        Args:
            folder: where each accepted mail is written, as `00001.eml` and so on; None keeps them in memory only.
            tls: offers STARTTLS and insists on it; with authorities, a client certificate is required.
            logins: login → password; when given, mail needs AUTH PLAIN with one of them. None takes any login, or none.
            size_limit: bytes, announced by SIZE and enforced.
            dsn: announce DSN and take its parameters.
            host: a loopback address.
            port: 0 takes a free one.
        """
        super().__init__()
        self.port = port
        self.received: list[ReceivedMail] = []
        self.folder = folder
        self.dsn = dsn
        self.is_known: Callable[[str], bool] = lambda _address: True
        self.on_mail: Callable[[ReceivedMail], None] = lambda _mail: None
        self._host = host
        self._tls = tls
        self._logins = logins
        self._size_limit = size_limit
        self._script = Script()
        self._servers: set[_Server] = set()
        self._empty = asyncio.Event()

    @property
    def counts(self) -> Counter[str]:
        """How often each stage was reached; `CONNECT` counts connections."""
        return self._script.counts

    def script(
        self,
        stage: Stage,
        reply: str = "",
        *,
        address: str = "",
        times: int = 0,
        delay: float = 0,
        close: bool = False,
        keep: bool = False,
    ) -> None:
        """Add a rule; the first one that fits answers.

        Args:
            stage: where it applies.
            reply: the answer (`450 4.2.1 later`; several lines with CRLF between them); "" leaves the normal one.
            address: only for this sender or recipient.
            times: how often it applies; 0 is always.
            delay: seconds to wait first.
            close: cut the connection after the reply, or instead of one.
            keep: at BODY, accept the mail all the same: what a client sees when the last answer is lost.
        """
        self._script.add(Rule(stage, reply, address.lower(), times, delay, close, keep))

    def clear_script(self) -> None:
        """Forget every rule."""
        self._script.clear()

    def drop_connections(self) -> None:
        """Cut every connection, as a restart of the server would."""

        def drop() -> None:
            for server in list(self._servers):
                server.cut()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(drop)

    async def _serve(self, listening: threading.Event, stopped: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        self._empty.set()
        context = self._tls.server_context() if self._tls is not None else None

        def connection() -> _Server:
            return _Server(self, loop, context, size_limit=self._size_limit, logins=self._logins)

        listener = await loop.create_server(connection, self._host, self.port)
        self.port = listener.sockets[0].getsockname()[1]
        listening.set()
        await stopped.wait()
        listener.close()
        for server in list(self._servers):
            server.cut()
        await self._empty.wait()
        await listener.wait_closed()

    def opened(self, server: _Server) -> None:
        """A connection came."""
        self._servers.add(server)
        self._empty.clear()

    def closed(self, server: _Server) -> None:
        """A connection went."""
        self._servers.discard(server)
        if not self._servers:
            self._empty.set()

    def rule(self, stage: str, address: str = "") -> Rule | None:
        """The rule for a stage that is reached now, if any."""
        return self._script.take(stage, address)

    def accept(self, mail: ReceivedMail) -> None:
        """Keep a mail, and hand it on."""
        self.received.append(mail)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{len(self.received):05}.eml").write_bytes(mail.content)
        self.on_mail(mail)


class _Server(SMTP):
    """One connection. aiosmtpd calls `smtp_<COMMAND>` for each command and the handler's `handle_DATA` for a mail."""

    def __init__(
        self,
        simulator: MailSimulator,
        loop: asyncio.AbstractEventLoop,
        context: Any,
        *,
        size_limit: int,
        logins: Mapping[str, str] | None,
    ) -> None:
        super().__init__(
            _Handler(simulator, self),
            data_size_limit=size_limit,
            hostname="simulator.localhost",
            ident="pfiflow mail simulator",
            loop=loop,
            auth_require_tls=context is not None,
            auth_exclude_mechanism=("LOGIN",),
            authenticator=self._check_login,
        )
        # Given to the constructor, these two would be warned about: a client certificate required, AUTH without TLS.
        self.tls_context = context
        self.require_starttls = context is not None
        self._auth_required = logins is not None
        self._simulator = simulator
        self._logins = logins
        self.mail_parameters = ""
        self.recipient_parameters: list[str] = []
        for stage in ("EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"):
            self._smtp_methods[stage] = self._scripted(stage, self._smtp_methods[stage])

    def cut(self) -> None:
        """Close the connection without a word."""
        for transport in (self.transport, self._original_transport):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._simulator.opened(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._simulator.closed(self)

    async def push(self, status: Any) -> None:
        greeting = self.session is not None and self.session.host_name is None and str(status).startswith("220 simu")
        if greeting:
            rule = await self._play("CONNECT")
            if rule is not None and rule.reply:
                return
        await super().push(status)

    def _scripted(self, stage: str, method: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def command(argument: str | None) -> None:
            path = _PATH.match(argument or "")
            rule = await self._play(stage, path[2] if path else "")
            if rule is None or not rule.reply:
                await method(argument)

        return command

    async def _play(self, stage: str, address: str = "") -> Rule | None:
        """The rule for this stage, played: waited, answered, closed."""
        rule = self._simulator.rule(stage, address)
        if rule is not None:
            await self.finish(rule)
        return rule

    async def finish(self, rule: Rule) -> None:
        await asyncio.sleep(rule.delay)
        if rule.reply:
            await super().push(rule.reply)
        if rule.close:
            if self.transport is not None and rule.reply:
                self.transport.close()  # lets the reply out first
            else:
                self.cut()
            await asyncio.Event().wait()  # connection_lost cancels

    def _parameters(self, command: str, argument: str | None) -> tuple[str, str, str] | None:
        """Address, DSN parameters, and the argument without them."""
        path = _PATH.match(argument or "")
        if path is None:
            return None
        prefixes = _DSN_PARAMETERS[command] if self._simulator.dsn else ()
        words = path[3].split()
        taken = [word for word in words if word.upper().startswith(prefixes)] if prefixes else []
        rest = " ".join(word for word in words if word not in taken)
        return path[2], " ".join(taken), f"{path[1]}:<{path[2]}> {rest}".strip()

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 -- aiosmtpd's own name
        found = self._parameters("MAIL", arg)
        self.recipient_parameters = []
        if found is None:
            await super().smtp_MAIL(arg)
            return
        address, self.mail_parameters, rest = found
        await super().smtp_MAIL(rest if address else rest.replace("<>", "<null@sender.invalid>", 1))
        if not address and self.envelope is not None and self.envelope.mail_from:
            self.envelope.mail_from = _NULL_SENDER

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802 -- aiosmtpd's own name
        found = self._parameters("RCPT", arg)
        assert self.envelope is not None
        before = len(self.envelope.rcpt_tos)
        if found is not None and self.envelope.mail_from and not self._simulator.is_known(found[0]):
            await self.push("550 5.1.1 no such mailbox here")
            return
        await super().smtp_RCPT(arg if found is None else found[2])
        if found is not None and len(self.envelope.rcpt_tos) > before:
            self.recipient_parameters.append(found[1])

    def _check_login(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        if self._logins is None:
            return AuthResult(success=True, auth_data=data)
        known = self._logins.get(data.login.decode(errors="replace"))
        return AuthResult(success=known is not None and known.encode() == data.password, handled=False, auth_data=data)


class _Handler:
    """aiosmtpd's hooks of one connection, found by their names."""

    def __init__(self, simulator: MailSimulator, server: _Server) -> None:
        self._simulator = simulator
        self._connection = server

    async def handle_EHLO(  # noqa: N802
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-DSN", responses[-1]] if self._simulator.dsn else responses

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        rule = self._simulator.rule("BODY")
        if rule is None or rule.keep or not (rule.reply or rule.close):
            certificate = (session.ssl or {}).get("peercert") or {}
            subject = dict(pair for group in certificate.get("subject", ()) for pair in group)
            login = session.auth_data
            assert isinstance(envelope.content, bytes)
            self._simulator.accept(
                ReceivedMail(
                    sender="" if envelope.mail_from == _NULL_SENDER else envelope.mail_from or "",
                    recipients=tuple(envelope.rcpt_tos),
                    content=envelope.content,
                    mail_parameters=self._connection.mail_parameters,
                    recipient_parameters=tuple(self._connection.recipient_parameters),
                    login=login.login.decode() if isinstance(login, LoginPassword) else "",
                    certificate_subject=subject.get("organizationalUnitName", ""),
                )
            )
        if rule is not None:
            if rule.close:
                await self._connection.finish(rule)
            await asyncio.sleep(rule.delay)
            if rule.reply:
                return rule.reply
        return "250 2.0.0 accepted"

    async def handle_exception(self, error: Exception) -> str:
        if not isinstance(error, TLSSetupException):  # the client's certificate was refused, as it may well be
            self._simulator.errors.append(f"{type(error).__name__}: {error}")
        return "451 4.3.0 the simulator failed"
