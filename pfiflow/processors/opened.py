"""The mails read last, and what their archives hold: read once, though a mail crosses a channel for each document.

A mail travels as its own bytes, which the store keeps once however many of its documents wait. Reading it again after
the channel costs more than all else; so the last ones are remembered, by their bytes.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from attrs import define, field

from pfiflow.mssante import reading
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.processors.recent import Recent
from pfiflow.segur.incoming import IncomingMail, open_mail

__all__ = ["OpenedMails", "encode", "mail_of", "opened"]

_BYTES = 32 * 2**20
_MAILS = 32


@define(eq=False)
class OpenedMails:
    """A bounded memory of mails, safe over threads: at most `mails` of them, and `size` bytes of raw mail."""

    mails: int = _MAILS
    size: int = _BYTES
    _read: Recent[ReceivedMail] = field(init=False)
    _opened: WeakKeyDictionary[ReceivedMail, IncomingMail] = field(init=False, factory=WeakKeyDictionary)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self._read = Recent(self.mails, self.size, self.size)

    def read(self, raw: bytes) -> ReceivedMail:
        """`reading.read`, or what it gave for the same bytes."""
        if (known := self._read.get(raw)) is not None:
            return known
        mail = reading.read(raw)
        self._read.put(raw, mail)
        return mail

    def open(self, mail: ReceivedMail) -> IncomingMail:
        """`open_mail`, or what it gave for the same mail. Raises Rejected as that does."""
        with self._lock:
            if known := self._opened.get(mail):
                return known
        incoming = open_mail(mail)
        with self._lock:
            self._opened[mail] = incoming
        return incoming


_MEMORY = OpenedMails()


def mail_of(raw: bytes) -> ReceivedMail:
    """A mail from its bytes. Never raises."""
    return _MEMORY.read(raw)


def encode(mail: ReceivedMail) -> bytes:
    """The bytes of a mail, as fetched."""
    return mail.raw


def opened(mail: ReceivedMail) -> IncomingMail:
    """The documents of a mail. Raises Rejected (`segur.incoming.open_mail`)."""
    return _MEMORY.open(mail)
