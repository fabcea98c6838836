"""The servers that the tests of `imap-in` run against, each the same to a test: a real Dovecot, and our simulator."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pytest

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.imap.server import ImapSimulator
from tests.endpoints.dovecot import Dovecot, reason_not_to_run

__all__ = ["SERVERS", "ImapServer", "serving"]

SERVERS = [
    "simulator",
    pytest.param(
        "dovecot", marks=pytest.mark.skipif(bool(reason_not_to_run()), reason=reason_not_to_run() or "Dovecot runs")
    ),
]
"""Parameters of a fixture that gives `serving(…)`."""


class ImapServer(Protocol):
    """It requires a client certificate, and lets every login in, which has a mailbox of its own."""

    @property
    def port(self) -> int:
        """STARTTLS."""

    @property
    def tls_port(self) -> int:
        """TLS from the first byte."""

    def start(self) -> None: ...
    def stop(self) -> None: ...

    def deliver(self, user: str, *mails: bytes, into: str = "INBOX") -> None:
        """Put mails into a folder, in their order."""

    def mails(self, user: str, folder: str = "INBOX") -> Sequence[object]:
        """The mails in a folder; () when there is none."""

    def flags(self, user: str, folder: str = "INBOX") -> Sequence[Sequence[str]]:
        """Flags and keywords of each mail, oldest first."""

    def subjects(self, user: str, folder: str) -> list[str]:
        """Of the mails in a folder, oldest first."""

    def subscribed(self, user: str) -> list[str]:
        """The folders that webmails show."""

    def create_folder(self, user: str, folder: str) -> None: ...
    def delete_folder(self, user: str, folder: str) -> None: ...

    def empty(self, user: str) -> None:
        """Remove every mail of INBOX, as another client would."""


class _Simulator(ImapSimulator):
    """Ours, with the same names."""

    def deliver(self, user: str, *mails: bytes, into: str = "INBOX") -> None:
        self.mailboxes.deliver(user, *mails, into=into)

    def mails(self, user: str, folder: str = "INBOX") -> Sequence[object]:
        return self.mailboxes.mails(user, folder)

    def flags(self, user: str, folder: str = "INBOX") -> Sequence[Sequence[str]]:
        return self.mailboxes.flags(user, folder)

    def subjects(self, user: str, folder: str) -> list[str]:
        mails = self.mailboxes.mails(user, folder)
        return [email.message_from_bytes(mail.content, policy=email.policy.default)["Subject"] for mail in mails]

    def subscribed(self, user: str) -> list[str]:
        return sorted(self.mailboxes.open(user).subscribed)

    def create_folder(self, user: str, folder: str) -> None:
        self.mailboxes.create(user, folder)

    def delete_folder(self, user: str, folder: str) -> None:
        self.mailboxes.delete(user, folder)

    def empty(self, user: str) -> None:
        self.mailboxes.empty(user)


@contextmanager
def serving(kind: str, authority: Authority) -> Iterator[ImapServer]:
    """A running server of that kind; clients need a certificate of the authority."""
    if kind == "dovecot":
        with Dovecot(authority) as dovecot:
            yield dovecot
        return
    own = authority.issue("localhost", "127.0.0.1")
    tls = TlsOptions(ca=(authority.certificate,), certificate=own.certificate, key=own.key)
    with _Simulator(tls=tls) as simulator:
        yield simulator
    assert simulator.errors == []
