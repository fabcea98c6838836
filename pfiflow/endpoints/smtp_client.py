"""A pooled SMTP client: nobody receives twice, nobody is forgotten.

Each recipient's fate is decided alone. A 5xx is final for that recipient; a 4xx, a lost connection or no answer leaves
the recipient for the next attempt; who was accepted (the final 250 has come) is never written to again, provided that
the caller hands the next attempt `already_done`.

One doubt no SMTP client can resolve: the connection dies between the final dot and its answer. The mail may or may not
have been taken. It is sent again, with the same Message-ID and ENVID, so that a peer can drop the second copy, and the
outcome says "unknown".
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic

from attrs import frozen

from pfiflow.endpoints.smtp_session import SmtpOptions, SmtpSession
from pfiflow.endpoints.smtp_transaction import Recipient, StaleConnection, Transaction
from pfiflow.endpoints.tls import TlsContext
from pfiflow.errors import ConfigError, Deferred, Problem, Rejected
from pfiflow.mssante.address import is_mailbox, mask_address
from pfiflow.mssante.values import OutgoingMail

__all__ = ["Delivery", "MailDeferred", "MailRejected", "Recipient", "SmtpClient", "SmtpOptions", "check_options"]

_PROBE_AFTER = 1.0  # seconds of silence after which a kept connection is asked whether it lives


@frozen
class Delivery:
    """What one attempt achieved. Recipients that were already done are in none of the lists.

    Attributes:
        accepted: the server has taken the mail for them.
        refused: final, by 5xx.
        deferred: to be tried again.
        response: the server's answer to the content; "" when it came to none.
        message_size: bytes of the mail.
        outcome_unknown: the content was wholly sent and no answer came: `deferred` may receive the mail twice.
    """

    accepted: tuple[Recipient, ...] = ()
    refused: tuple[Recipient, ...] = ()
    deferred: tuple[Recipient, ...] = ()
    response: str = ""
    message_size: int = 0
    outcome_unknown: bool = False

    @property
    def settled(self) -> frozenset[str]:
        """The addresses that need no further attempt: for `already_done` of the next."""
        return frozenset(recipient.address for recipient in (*self.accepted, *self.refused))


class MailRejected(Rejected):
    """Every recipient was refused for good; `delivery` says how, each. The SMTP code is in `detail_code`."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(*_problems(delivery.refused))
        self.delivery = delivery


class MailDeferred(Deferred):
    """Nobody was settled in this attempt; `delivery` says why, each."""

    def __init__(self, delivery: Delivery) -> None:
        causes = dict.fromkeys(
            f"{recipient.stage}: {' '.join(filter(None, (str(recipient.code or ''), recipient.text)))}"
            for recipient in delivery.deferred
        )
        super().__init__("; ".join(causes))
        self.delivery = delivery


class SmtpClient:
    """Sends mails over up to `pool_size` kept connections. For one event loop; `aclose()` ends it."""

    def __init__(
        self, options: SmtpOptions, open_session: Callable[[SmtpOptions], Awaitable[SmtpSession]] | None = None
    ) -> None:
        """Check the settings; connect to nothing yet.

        Args:
            options: the server, and how to use it.
            open_session: opens a session in the place of `SmtpSession.open`, for tests.

        Raises:
            ConfigError: the settings contradict each other, or would send in clear.
        """
        check_options(options)
        self._options = options
        self._tls = TlsContext(options.tls) if options.tls is not None and options.security != "none" else None
        self._open_session = open_session
        self._slots = asyncio.Semaphore(options.pool_size)
        self._idle: dict[SmtpSession, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, mail: OutgoingMail, *, already_done: frozenset[str] = frozenset()) -> Delivery:
        """Send `mail` to those of its recipients who are not in `already_done`, in one transaction.

        Returns:
            What was achieved, when at least one recipient is settled (now or before) and not everything is refused. The
            caller defers for `deferred`, with `settled` kept for the next attempt.

        Raises:
            MailRejected: all recipients were refused, and none was done before.
            MailDeferred: nobody was settled in this attempt.
            Deferred: no session could be opened.
        """
        outcomes: dict[str, Recipient] = {}
        for address in mail.recipients:
            if address not in already_done and not is_mailbox(address):
                outcomes[address] = Recipient(address, 553, "5.1.3", "not a plain mailbox address", "ADDRESS")
        addresses = [a for a in mail.recipients if a not in already_done and a not in outcomes]
        transaction: Transaction | None = None
        limit = self._options.max_size
        if limit is not None and len(mail.content) > limit:
            outcomes.update(_too_large(mail, addresses, limit))
        elif addresses:
            async with self._slots:
                transaction = await self._transact(mail, addresses, outcomes)
        if transaction is not None:
            outcomes.update(transaction.outcomes)
        decided = [outcomes[address] for address in mail.recipients if address in outcomes]
        delivery = Delivery(
            accepted=tuple(r for r in decided if 200 <= r.code <= 299),
            refused=tuple(r for r in decided if 500 <= r.code <= 599),
            deferred=tuple(r for r in decided if not (200 <= r.code <= 299 or 500 <= r.code <= 599)),
            response=transaction.response if transaction is not None else "",
            message_size=len(mail.content),
            outcome_unknown=transaction is not None
            and transaction.dot_sent
            and any(r.stage == "CONNECTION" for r in decided),
        )
        if delivery.deferred and not delivery.settled:
            raise MailDeferred(delivery)
        if delivery.refused and not (delivery.accepted or delivery.deferred or already_done):
            raise MailRejected(delivery)
        return delivery

    async def aclose(self) -> None:
        """Close the kept connections. Mails being sent finish first; none may be begun afterwards."""
        for _ in range(self._options.pool_size):
            await self._slots.acquire()
        for session, timer in list(self._idle.items()):
            timer.cancel()
            self._retire(session)
        self._idle.clear()
        while self._closing:
            await asyncio.wait(self._closing)

    async def _transact(
        self, mail: OutgoingMail, addresses: list[str], outcomes: dict[str, Recipient]
    ) -> Transaction | None:
        session = await self._kept() or await self._open()
        while True:
            limit = session.size_limit
            if 0 < limit < len(mail.content):
                outcomes.update(_too_large(mail, addresses, limit))
                self._keep(session)
                return None
            try:
                transaction = await session.transact(mail, addresses)
            except StaleConnection:
                # The one reconnection: before MAIL FROM was answered, nothing has been transacted.
                session = await self._open()
            else:
                self._keep(session)
                return transaction

    async def _open(self) -> SmtpSession:
        if self._open_session is not None:
            return await self._open_session(self._options)
        return await SmtpSession.open(self._options, self._tls)

    async def _kept(self) -> SmtpSession | None:
        """A live connection from the pool, the last used first."""
        while self._idle:
            session, timer = self._idle.popitem()
            timer.cancel()
            if not session.usable:
                self._retire(session)
            elif monotonic() - session.idle_since < _PROBE_AFTER or await session.probe():
                return session
        return None

    def _keep(self, session: SmtpSession) -> None:
        if session.usable:
            loop = asyncio.get_running_loop()
            self._idle[session] = loop.call_later(self._options.idle_timeout, self._expire, session)
        else:
            self._retire(session)

    def _expire(self, session: SmtpSession) -> None:
        if self._idle.pop(session, None) is not None:
            self._retire(session)

    def _retire(self, session: SmtpSession) -> None:
        task = asyncio.get_running_loop().create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _too_large(mail: OutgoingMail, addresses: Iterable[str], limit: int) -> dict[str, Recipient]:
    text = f"the mail has {len(mail.content)} bytes, the limit is {limit}: send a smaller document"
    return {address: Recipient(address, 552, "5.3.4", text, "SIZE") for address in addresses}


def _problems(refused: Iterable[Recipient]) -> Iterable[Problem]:
    """One problem for each refused recipient; one for all where the mail itself was refused."""
    seen: set[str] = set()
    for recipient in refused:
        alone = recipient.stage in {"RCPT", "ADDRESS"}
        location = f"RCPT TO {mask_address(recipient.address)}" if alone else recipient.stage
        if not alone and location in seen:
            continue
        seen.add(location)
        yield Problem(
            code="207",
            message=" ".join(filter(None, (str(recipient.code), recipient.status, recipient.text))),
            location=location,
            rule="RFC 5321 §4.2",
            detail_code=str(recipient.code),
        )


def check_options(options: SmtpOptions) -> None:
    """Raises ConfigError when the options contradict each other, or would send in clear."""
    if options.security == "none":
        if not (options.allow_plaintext or _is_loopback(options.host)):
            raise ConfigError(
                f"security: none to {options.host} would send health data in clear; "
                "use starttls, or set allow_plaintext knowingly"
            )
    elif options.tls is None:
        raise ConfigError(f"security: {options.security} needs the tls settings (authorities, client certificate)")
    if options.auth == "plain" and not options.username:
        raise ConfigError("auth: plain needs a username: the applicative mailbox's address")
    if options.pool_size < 1 or options.max_mails < 1:
        raise ConfigError("pool_size and max_mails are at least 1")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
