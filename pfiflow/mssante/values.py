"""An outgoing mail, ready for an SMTP client: exact bytes and the envelope."""

from __future__ import annotations

from attrs import frozen

__all__ = ["OutgoingMail"]


@frozen
class OutgoingMail:
    """RFC 5322 bytes with CRLF line ends, 7-bit clean, no dot-stuffing; and the RFC 5321/3461 envelope.

    Attributes:
        raw: the whole message. Lines end with CRLF; the SMTP client dot-stuffs.
        sender: MAIL FROM, the applicative mailbox.
        recipients: RCPT TO, in order, without duplicates.
        message_id: the Message-ID with its angle brackets; the same on every attempt.
        envelope_id: ENVID (unencoded, at most 100 characters); asked for with DSN.
        notify: DSN conditions wanted (`SUCCESS`, `FAILURE`, `DELAY`); () when no receipt is asked for.
    """

    raw: bytes
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    envelope_id: str = ""
    notify: tuple[str, ...] = ()
