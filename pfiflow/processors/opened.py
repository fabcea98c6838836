"""The mails read last, and what their archives hold: read once, though a mail crosses a channel for each document.

A mail travels as its own bytes, which the store keeps once however many of its documents wait. Reading it again after
the channel costs more than all else; so the last ones are remembered, by the digest of their bytes.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from attrs import define, field

from pfiflow.mssante import reading
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.segur.incoming import IncomingMail, open_mail

__all__ = ["OpenedMails", "encode", "mail_of", "opened"]

_BYTES = 32 * 2**20
_MAILS = 32


@define
class _Entry:
    mail: ReceivedMail
    incoming: IncomingMail | None = None


@define(eq=False)
class OpenedMails:
    """A bounded memory of mails, safe over threads: at most `mails` of them, and `size` bytes of raw mail."""

    mails: int = _MAILS
    size: int = _BYTES
    _entries: OrderedDict[bytes, _Entry] = field(init=False, factory=OrderedDict)
    _held: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def read(self, raw: bytes) -> ReceivedMail:
        """`reading.read`, or what it gave for the same bytes."""
        return self._entry(raw).mail

    def open(self, mail: ReceivedMail) -> IncomingMail:
        """`open_mail`, or what it gave for the same bytes. Raises Rejected as that does."""
        entry = self._entry(mail.raw)
        if entry.incoming is None:
            entry.incoming = open_mail(entry.mail)
        return entry.incoming

    def _entry(self, raw: bytes) -> _Entry:
        digest = hashlib.sha256(raw).digest()
        with self._lock:
            if digest in self._entries:
                self._entries.move_to_end(digest)
                return self._entries[digest]
        entry = _Entry(reading.read(raw))
        with self._lock:
            if digest not in self._entries and len(raw) <= self.size:
                self._entries[digest] = entry
                self._held += len(raw)
                while len(self._entries) > self.mails or self._held > self.size:
                    _, old = self._entries.popitem(last=False)
                    self._held -= len(old.mail.raw)
        return entry


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
