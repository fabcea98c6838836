"""Writes the MDN of the volet LPS: positive, or with the error, to Disposition-Notification-To (RFC 8098)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pfiflow.mssante import mime, returned
from pfiflow.mssante.answers import Answerer, Fault, answer_id, headers_of, separator_for, subject_of, words_of
from pfiflow.mssante.headers import addresses
from pfiflow.mssante.naming import ascii_fold
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.mssante.values import OutgoingMail

__all__ = ["write_mdn"]

_MODE = "automatic-action/MDN-sent-automatically"


def write_mdn(mail: ReceivedMail, answerer: Answerer, *, faults: Sequence[Fault] = (), date: datetime) -> OutgoingMail:
    """The MDN for a mail: one for all its documents (RFC 8098 §2.1: at most one a recipient), negative if one failed.

    Three parts: text, `message/disposition-notification`, the original whole. `answerer.version` 1.1.2 writes the error
    into Disposition instead of `Error:` fields, and repeats the attachments. Ask `may_notify` first.

    Args:
        mail: the mail received.
        answerer: the mailbox addressed.
        faults: why documents failed; () is a positive MDN.
        date: an aware datetime; one per exchange, not per attempt.

    Raises:
        Rejected: the mail asks for no MDN, or a setting cannot be written.
        ValueError: `date` has no time zone.
    """
    identifier = answer_id(mail, answerer, "mdn")
    subject = subject_of(mail, faults)
    recipients = mail.notification_to[:1]
    head = headers_of(mail, answerer, recipients=recipients, subject=subject, identifier=identifier, date=date)
    legacy = answerer.version == "1.1.2"
    text = mime.text_part(words_of(faults, answerer.contact))
    fields = [b"Content-Type: message/disposition-notification", b"", *_fields(mail, answerer, faults, legacy=legacy)]
    parts = [text, fields, returned.enclosed(mail)]
    if legacy:
        parts += returned.attachments(mail)
    separator = separator_for(mail.raw, identifier)
    subtype = "report; report-type=disposition-notification"
    raw = mime.join([*head, *mime.multipart(subtype, parts, separator=separator)])
    if answerer.max_bytes is not None and len(raw) > answerer.max_bytes:
        parts = [text, fields, returned.header_block(mail)]
        raw = mime.join([*head, *mime.multipart(subtype, parts, separator=separator)])
    sender = "" if answerer.null_sender else answerer.address
    return OutgoingMail(content=raw, sender=sender, recipients=recipients, message_id=identifier)


def _fields(mail: ReceivedMail, answerer: Answerer, faults: Sequence[Fault], *, legacy: bool) -> list[bytes]:
    """RFC 8098 §3.2. Original-Recipient is what the mail says, else the mailbox: the volet requires the field."""
    given = (addresses(value.partition(";")[2]) for value in mail.top.headers.all("original-recipient")[:1])
    original = next((each.address for found in given for each in found), answerer.address)
    errors = [f"{fault.code}^{ascii_fold(fault.label)}^applicationErrorCondition" for fault in faults]
    disposition = f"{_MODE}; processed"
    if faults:
        disposition += f"/Error: {errors[0]}| E^Error^errorSeverity" if legacy else "/error"
    lines = [
        mime.unfolded("Reporting-UA", f"{answerer.address.rpartition('@')[2]}; pfiflow"),
        mime.unfolded("Original-Recipient", f"rfc822;{original}"),
        mime.unfolded("Final-Recipient", f"rfc822;{answerer.address}"),
    ]
    if mail.message_id:
        lines.append(mime.unfolded("Original-Message-ID", mail.message_id))
    lines.append(mime.unfolded("Disposition", disposition))
    if not legacy:
        lines += [mime.unfolded("Error", f"{error}| E^Error^errorSeverity") for error in errors]
    return [*lines, b""]
