"""One SMTP connection over aiosmtplib: opened, secured, authenticated; then mails, one transaction each."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Literal

import aiosmtplib
from attrs import field, frozen

from pfiflow.endpoints.smtp_transaction import FAILURES, Transaction, describe
from pfiflow.endpoints.tls import TlsContext, TlsOptions
from pfiflow.errors import ConfigError, Deferred
from pfiflow.mssante.values import OutgoingMail

__all__ = ["SmtpOptions", "SmtpSession"]


@frozen
class SmtpOptions:
    """How to reach one SMTP submission server.

    Attributes:
        host: its name, as its certificate says it.
        port: 587 by custom; MSSanté operators say theirs.
        security: `starttls` (CONF.05), `tls` from the first byte, or `none`: to a loopback address only, unless
            `allow_plaintext`.
        tls: authorities, client certificate, suites; needed unless `security` is `none`.
        auth: `plain` (CONF.12: after TLS, the mailbox is the login) or `none`.
        username: the applicative mailbox.
        password: often empty: the client certificate authenticates.
        local_hostname: what EHLO says; "" asks the system.
        connect_timeout: seconds, to connect, and for the TLS handshake.
        command_timeout: seconds, for the answer to a command.
        data_timeout: seconds, for the whole content and the answer to it.
        pool_size: most connections at once.
        max_mails: mails on one connection before a new one is made.
        idle_seconds: a connection unused for longer is closed.
        max_bytes: larger mails are refused before connecting; None leaves it to the server's SIZE.
        dsn: use RFC 3461 where the server offers it: RET=HDRS (a bounce never carries the document back), ENVID, and
            NOTIFY and ORCPT for each recipient when the mail asks for receipts.
        allow_plaintext: permit `security: none` beyond loopback.
    """

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    tls: TlsOptions | None = None
    auth: Literal["plain", "none"] = "plain"
    username: str = ""
    password: str = field(default="", repr=False)
    local_hostname: str = ""
    connect_timeout: float = 30
    command_timeout: float = 120
    data_timeout: float = 600
    pool_size: int = 2
    max_mails: int = 100
    idle_seconds: float = 30
    max_bytes: int | None = None
    dsn: bool = True
    allow_plaintext: bool = False


class SmtpSession:
    """An open connection. Not for two tasks at once; `usable` says whether another mail may follow."""

    def __init__(self, smtp: aiosmtplib.SMTP, options: SmtpOptions) -> None:
        self._smtp = smtp
        self._options = options
        self.mails = 0
        self.idle_since = monotonic()

    @classmethod
    async def open(cls, options: SmtpOptions, tls: TlsContext | None) -> SmtpSession:
        """Connect; EHLO, STARTTLS, EHLO, AUTH PLAIN as the options say.

        Raises:
            Deferred: whatever stands in the way. No mail has been begun, so none is refused for it: a wrong password or
                an expired certificate is mended by people, and the mails wait.
        """
        place = f"{options.host}:{options.port}"
        try:
            context = await asyncio.to_thread(tls.current) if tls is not None else None
        except ConfigError as error:
            raise Deferred(f"TLS settings for {place}: {error}") from error
        smtp = aiosmtplib.SMTP(
            hostname=options.host,
            port=options.port,
            timeout=options.command_timeout,
            use_tls=options.security == "tls",
            start_tls=False,
            tls_context=context,
            local_hostname=options.local_hostname or None,
        )
        session = cls(smtp, options)
        try:
            await session._establish(context)
        except BaseException as error:
            session.abort()
            if isinstance(error, FAILURES):
                raise Deferred(f"cannot open a session with {place}: {describe(error)}") from error
            raise
        return session

    async def _establish(self, context: ssl.SSLContext | None) -> None:
        options, smtp = self._options, self._smtp
        await smtp.connect(timeout=options.connect_timeout)
        await smtp.ehlo()
        if options.security == "starttls":
            assert context is not None
            if not smtp.supports_extension("starttls"):
                raise aiosmtplib.SMTPException(
                    "it does not offer STARTTLS, or something between removes it; nothing is sent in clear"
                )
            await smtp.starttls(tls_context=context, server_hostname=options.host, timeout=options.connect_timeout)
            await smtp.ehlo()
        if options.auth == "plain":
            if "plain" not in smtp.server_auth_methods:
                raise aiosmtplib.SMTPException("it does not offer AUTH PLAIN")
            await smtp.auth_plain(options.username, options.password)

    @property
    def usable(self) -> bool:
        """Whether the connection stands and may take another mail."""
        return self._smtp.is_connected and self.mails < self._options.max_mails

    @property
    def size_limit(self) -> int:
        """Largest mail that the server takes (RFC 1870); 0 when it does not say."""
        value = self._smtp.esmtp_extensions.get("size", "")
        return int(value) if value.isascii() and value.isdigit() else 0

    async def probe(self) -> bool:
        """Whether the server still answers; a connection that has been silent can be dead without a sign."""
        try:
            await self._smtp.noop(timeout=min(self._options.command_timeout, 10))
        except FAILURES:
            self.abort()
        return self._smtp.is_connected

    async def close(self) -> None:
        """QUIT, politely but not for long, and close."""
        with contextlib.suppress(*FAILURES):
            await self._smtp.quit(timeout=2)
        self.abort()
        await asyncio.sleep(0)  # lets the transport notice, so that a loop closing next finds nothing open

    def abort(self) -> None:
        """Close at once."""
        transport = self._smtp.transport
        self._smtp.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

    async def transact(self, mail: OutgoingMail, addresses: Sequence[str]) -> Transaction:
        """Send `mail` to `addresses` in one transaction, and leave the connection ready for the next.

        Raises:
            StaleConnection: this connection had served before and was gone at MAIL FROM.
        """
        transaction = Transaction(self._smtp, mail, dsn=self._options.dsn, data_timeout=self._options.data_timeout)
        try:
            await transaction.run(addresses, reused=self.mails > 0)
            if self._smtp.is_connected and transaction.open:
                with contextlib.suppress(*FAILURES):
                    await self._smtp.rset()
        except BaseException:
            self.abort()
            raise
        if transaction.broken:
            self.abort()
        self.mails += 1
        self.idle_since = monotonic()
        return transaction
