"""One SMTP connection over aiosmtplib: opened, secured, authenticated; then mails, one transaction each."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Literal

import aiosmtplib
from attrs import frozen

from pfiflow.endpoints.smtp_transaction import FAILURES, Transaction, describe
from pfiflow.endpoints.tls import TLS_EXAMPLE, TlsContext, TlsOptions
from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.options import Duration, Secret, Size, option
from pfiflow.mssante.values import OutgoingMail

__all__ = ["SmtpOptions", "SmtpSession"]


@frozen
class SmtpOptions:
    """How to reach one SMTP submission server."""

    host: str = option(doc="The server's name, as its certificate says it.", example="smtp.operateur.example")
    port: int = option(default=587, doc="The server's port for submission; MSSanté operators say theirs.", example=587)
    security: Literal["starttls", "tls", "none"] = option(
        default="starttls",
        doc="`starttls` (CONF.05), `tls` from the first byte, or `none`: to a loopback address only, unless allowed.",
        example="starttls",
    )
    tls: TlsOptions | None = option(
        default=None,
        doc="Authorities, client certificate, suites; needed unless security is none.",
        example=TLS_EXAMPLE,
    )
    auth: Literal["plain", "none"] = option(
        default="plain", doc="`plain` (CONF.12: after TLS, the mailbox is the login) or `none`.", example="plain"
    )
    username: str = option(
        default="", doc="The applicative mailbox, which is the login.", example="pfi@hopital.mssante.example"
    )
    password: Secret | None = option(
        default=None, doc="Often none: the client certificate authenticates.", example="${file:/run/secrets/smtp}"
    )
    local_hostname: str = option(default="", doc="What EHLO says; empty asks the system.", example="pfi.hopital.fr")
    connect_timeout: Duration = option(
        default=Duration(30.0), doc="Time to connect, and for the TLS handshake.", example="30s"
    )
    command_timeout: Duration = option(default=Duration(120.0), doc="Time for the answer to a command.", example="2m")
    data_timeout: Duration = option(
        default=Duration(600.0), doc="Time for sending the whole content, and for the answer to it.", example="10m"
    )
    pool_size: int = option(default=2, doc="Most connections at once.", example=2)
    max_mails: int = option(default=100, doc="Mails on one connection before a new one is made.", example=100)
    idle_timeout: Duration = option(
        default=Duration(30.0), doc="A connection unused for longer is closed.", example="30s"
    )
    max_size: Size | None = option(
        default=None, doc="Larger mails are refused before connecting; unset: the server's own SIZE.", example="25MB"
    )
    dsn: bool = option(
        default=True,
        doc="Use RFC 3461 where the server offers it: RET=HDRS (a bounce never carries the document back), ENVID, "
        "and NOTIFY and ORCPT for each recipient when the mail asks for receipts.",
        example=True,
    )
    allow_plaintext: bool = option(
        default=False,
        doc="Permit `security: none` beyond loopback: mails then cross the network in clear.",
        example=False,
    )


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
        try:
            context = await asyncio.to_thread(tls.current) if tls is not None else None
        except ConfigError as error:
            raise Deferred(f"TLS settings for {options.host}:{options.port}: {error}", unavailable=True) from error
        smtp = aiosmtplib.SMTP(
            hostname=options.host,
            port=options.port,
            timeout=options.command_timeout,
            use_tls=options.security == "tls",
            start_tls=False,
            tls_context=context,
            local_hostname=options.local_hostname or None,
        )
        return await cls.over(smtp, options, context)

    @classmethod
    async def over(cls, smtp: aiosmtplib.SMTP, options: SmtpOptions, context: ssl.SSLContext | None) -> SmtpSession:
        """The same over a client that is not yet connected. Raises as `open`."""
        place = f"{options.host}:{options.port}"
        session = cls(smtp, options)
        try:
            await session._establish(context)
        except BaseException as error:
            session.abort()
            if isinstance(error, FAILURES):
                raise Deferred(f"cannot open a session with {place}: {describe(error)}", unavailable=True) from error
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
            password = options.password.reveal() if options.password is not None else ""
            await smtp.auth_plain(options.username, password)

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
        except BaseException:  # cancelled: nobody has this connection any more
            self.abort()
            raise
        return self._smtp.is_connected

    async def close(self) -> None:
        """QUIT, politely but not for long, and close."""
        transport = self._smtp.transport  # QUIT forgets it, while TLS still waits for the peer's goodbye
        with contextlib.suppress(*FAILURES):
            await self._smtp.quit(timeout=2)
        self.abort()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
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
