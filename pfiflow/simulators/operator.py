"""An MSSanté operator on loopback: what its SMTP server takes comes into mailboxes read by IMAP; DSNs go back."""

from __future__ import annotations

import asyncio
import email
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parseaddr
from pathlib import Path
from types import TracebackType
from typing import Self

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.delivery_report import Fate, delivery_report
from pfiflow.simulators.imap.server import ImapSimulator
from pfiflow.simulators.mail import MailSimulator, ReceivedMail
from pfiflow.simulators.mailboxes import Mailboxes

__all__ = ["MailOperator"]

_NAME = "operateur.example"


class MailOperator:
    """A context manager, or `start()` and `stop()`.

    Attributes:
        smtp: its SMTP server, which can be scripted, and holds all that it took.
        imap: its IMAP server, the same.
        mailboxes: its mailboxes.
        on_mail: called with each mail and what became of it for each recipient.
    """

    def __init__(
        self,
        *addresses: str,
        tls: TlsOptions | None = None,
        logins: Mapping[str, str] | None = None,
        folder: Path | None = None,
        host: str = "127.0.0.1",
        smtp_port: int = 0,
        imap_port: int = 0,
        delay: float = 0.05,
    ) -> None:
        """Settings of both servers.

        Args:
            addresses: its mailboxes. Other addresses of their domains are unknown (550 at RCPT), those of other domains
                are relayed: to nowhere, as far as this operator can tell. None at all: every address has a mailbox.
            tls: STARTTLS for both, TLS on the IMAP server's second port; with authorities, a client certificate.
            logins: login → password; None lets everybody in.
            folder: where each mail taken is written, as `00001.eml` and so on.
            host: a loopback address.
            smtp_port: 0 takes a free one.
            imap_port: 0 takes a free one.
            delay: seconds between the SMTP server's 250 and the delivery.
        """
        self.mailboxes = Mailboxes(*addresses)
        self.smtp = MailSimulator(folder=folder, tls=tls, logins=logins, host=host, port=smtp_port)
        self.imap = ImapSimulator(self.mailboxes, tls=tls, logins=logins, host=host, port=imap_port)
        self.on_mail: Callable[[ReceivedMail, Sequence[Fate]], None] = lambda _mail, _fates: None
        self._domains = {_domain(address) for address in addresses}
        self._bounces: dict[str, tuple[str, str]] = {}
        self._queue: deque[ReceivedMail] = deque()
        self._delay = delay
        self._reports = 0
        self.smtp.is_known = lambda address: address in self.mailboxes or _domain(address) not in self._domains
        self.smtp.on_mail = self._take

    def bounce(self, address: str, status: str, text: str) -> None:
        """Take mail for this address, and fail to deliver it.

        Args:
            address: the recipient.
            status: enhanced status: `5.2.2` for a full mailbox.
            text: the answer that the DSN quotes: `552 5.2.2 mailbox full`.
        """
        self._bounces[address.lower()] = (status, text)

    def post(self, address: str, mail: bytes) -> None:
        """Deliver a mail that somebody else's server took: its sender is whom From names."""
        sender = parseaddr(str(email.message_from_bytes(mail)["From"] or ""))[1]
        received = ReceivedMail(sender, (address,), mail)
        self.mailboxes.deliver(address, _delivered(received, address, datetime.now(UTC)))

    def start(self) -> None:
        """Start both servers. Raises OSError: an address cannot be bound."""
        self.smtp.start()
        try:
            self.imap.start()
        except OSError:
            self.smtp.stop()
            raise

    def stop(self) -> None:
        """Stop both. What was taken is delivered all the same."""
        self.smtp.stop()
        while self._queue:
            self._deliver()
        self.imap.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Of the SMTP server, once started."""
        return self.smtp.port

    @property
    def errors(self) -> list[str]:
        """What went wrong inside the servers, for tests to assert empty."""
        return [*self.smtp.errors, *self.imap.errors]

    def _take(self, mail: ReceivedMail) -> None:
        """In the SMTP server's loop, before its 250 has left."""
        self._queue.append(mail)
        asyncio.get_running_loop().call_later(self._delay, self._deliver)

    def _deliver(self) -> None:
        if not self._queue:
            return
        mail = self._queue.popleft()
        fates = [
            self._fate(recipient, parameters)
            for recipient, parameters in zip(mail.recipients, mail.recipient_parameters, strict=True)
        ]
        now = datetime.now(UTC)
        for fate in fates:
            if fate.action == "delivered":
                self.mailboxes.deliver(fate.recipient, _delivered(mail, fate.recipient, now))
        self._reports += 1
        identifier = f"dsn-{now:%Y%m%d%H%M%S}-{self._reports}@{_NAME}"
        report = delivery_report(mail, fates, reporter=_NAME, identifier=identifier, date=now)
        if report is not None and (not self._domains or mail.sender in self.mailboxes):
            self.mailboxes.deliver(mail.sender, b"Return-Path: <>\r\n" + report)
        self.on_mail(mail, fates)

    def _fate(self, recipient: str, parameters: str) -> Fate:
        if recipient.lower() in self._bounces:
            status, text = self._bounces[recipient.lower()]
            return Fate(recipient, parameters, "failed", status, text)
        if self._domains and recipient not in self.mailboxes:
            return Fate(recipient, parameters, "relayed", "2.0.0")
        return Fate(recipient, parameters, "delivered", "2.0.0", "250 2.0.0 delivered to the mailbox")


def _delivered(mail: ReceivedMail, recipient: str, now: datetime) -> bytes:
    """With what final delivery adds (RFC 5321 §4.4)."""
    trace = (
        f"Return-Path: <{mail.sender}>\r\nDelivered-To: {recipient}\r\n"
        f"Received: from {mail.login or 'localhost'} by {_NAME} with ESMTPSA;\r\n {format_datetime(now)}\r\n"
    )
    return trace.encode() + mail.content


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
