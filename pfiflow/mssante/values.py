"""An outgoing mail, ready for an SMTP client: exact bytes and the envelope."""

from __future__ import annotations

from attrs import field, frozen

from pfiflow.mssante.address import mask_address
from pfiflow.mssante.mime import Content

__all__ = ["OutgoingMail"]


def _size(content: bytes | Content) -> str:
    return f"<{len(content)} bytes>"


def _masked(recipients: tuple[str, ...]) -> str:
    return repr(tuple(map(mask_address, recipients)))


@frozen
class OutgoingMail:
    """RFC 5322 bytes with CRLF line ends, 7-bit clean, no dot-stuffing; and the RFC 5321/3461 envelope.

    Its `repr` shows neither the content nor a patient's address.

    Attributes:
        content: the whole message, made already or while it is sent. Lines end with CRLF; the SMTP client dot-stuffs.
        sender: MAIL FROM, the applicative mailbox; "" is the null reverse path (RFC 5321 §4.5.5).
        recipients: RCPT TO, in order, without duplicates.
        message_id: the Message-ID with its angle brackets; the same on every attempt.
        envelope_id: ENVID (unencoded, at most 100 characters); asked for with DSN.
        notify: DSN conditions wanted (`SUCCESS`, `FAILURE`, `DELAY`); () when no receipt is asked for.
    """

    content: bytes | Content = field(repr=_size)
    sender: str
    recipients: tuple[str, ...] = field(repr=_masked)
    message_id: str
    envelope_id: str = ""
    notify: tuple[str, ...] = ()

    @property
    def raw(self) -> bytes:
        """The whole message at once."""
        return bytes(self.content)
