"""An XDM mail for MSSanté: from plain values to the exact bytes (Référentiel #2; volet "Transmission…" mapping-mss).

The same inputs give the same bytes, so that a retry sends the same message and a peer can drop the second copy.

No `Auto-Submitted` header is written, though RFC 3834 would have `auto-generated` here: the receiving PFI's answer to a
document that it cannot integrate is itself automatic, and loop guards (ours too) answer no auto-submitted mail. The
Référentiel asks for the sentence in the body, and for that alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from email.utils import format_datetime

from attrs import field, frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante import mime
from pfiflow.mssante.address import is_mailbox, is_patient
from pfiflow.mssante.naming import SUBJECT_PREFIX, subject
from pfiflow.mssante.texts import Action, body
from pfiflow.mssante.values import OutgoingMail

__all__ = ["ARCHIVE_NAME", "PATIENT_MAX_BYTES", "Action", "Attachment", "build", "message_id"]

ARCHIVE_NAME = "IHE_XDM.zip"
PATIENT_MAX_BYTES = 25_000_000
"""Largest mail that Mon espace santé takes, headers and base64 included (25 MB, read as the smaller 25 × 10⁶)."""

_MESSAGE_ID = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,100}@[A-Za-z0-9.-]{1,253}>")
_TOKEN = re.compile(r"[A-Za-z0-9._:/-]{1,100}")
_DSN_CONDITIONS = ("SUCCESS", "FAILURE", "DELAY")


def _size(content: bytes) -> str:
    return f"<{len(content)} bytes>"


@frozen
class Attachment:
    """A PDF that travels beside the archive; `name` as `pfiflow.mssante.naming.pdf_name` writes it."""

    name: str = field(repr=False)  # it holds the patient's name
    content: bytes = field(repr=_size)


def message_id(exchange_id: str, audience: str, domain: str) -> str:
    """The Message-ID of one exchange's mail to one audience, `<…@domain>`: the same on every attempt.

    Args:
        exchange_id: the exchange's own id; hashed, so it may be anything.
        audience: tells apart the mails of one exchange (the professionals' from the patient's).
        domain: the sender's mail domain.
    """
    seed = f"{len(exchange_id)}:{exchange_id}{audience}".encode("utf-8", "surrogatepass")
    return f"<{hashlib.sha256(seed).hexdigest()[:40]}@{domain}>"


def build(
    *,
    archive: bytes | None,
    documents: Sequence[Attachment] = (),
    labels: Sequence[str],
    family: str,
    given: str,
    birth_date: str = "",
    action: Action = "new",
    text: str | None = None,
    sender: str,
    sender_label: str,
    reply_to: str,
    recipients: Sequence[str],
    message_id: str,
    date: datetime,
    nil: str,
    ins_qualified: bool | None = None,
    cda_codes: Sequence[str] = (),
    close_channel: bool = False,
    receipt_wanted: bool = False,
    reading_wanted: bool = False,
    max_bytes: int | None = None,
) -> OutgoingMail:
    """The mail that carries an IHE_XDM archive and its PDFs, to professionals or to one patient.

    Args:
        archive: the bytes of IHE_XDM.zip; None for a mail without CDA.
        documents: the PDF/A-1 copies.
        labels: the display name of each CDA's code, for the subject.
        family: the patient's birth family name.
        given: the patient's first birth given name.
        birth_date: `yyyymmdd`; "" leaves it out of the subject.
        action: `new`, `replace` or `delete`; chooses the default text and the "annule et remplace" statement.
        text: CORPSMAIL_PS or CORPSMAIL_PATIENT, instead of the default text.
        sender: the applicative mailbox: From and MAIL FROM.
        sender_label: its meaningful label (MSS/va1.16).
        reply_to: a mailbox that people read (MSS/va1.09).
        recipients: professionals' and organisations' mailboxes, or one patient's alone. Repetitions are dropped.
        message_id: see `message_id()`. Its local part is also the DSN envelope id and the seed of the MIME boundary.
        date: an aware datetime; one per exchange, not per attempt.
        nil: the product's reference number (X-MSS-NIL, CONF.16).
        ins_qualified: whether the CDA's INS is qualified (X-MSS-INS, CONF.14); None exactly when there is no archive.
        cda_codes: `ClinicalDocument/code/@code` of each CDA (X-MSS-CODECDA, CONF.15); () exactly when no archive.
        close_channel: `X-MSS-MES: FIN`, the patient may not answer (CONF.21).
        receipt_wanted: ask for a DSN, by `Return-Receipt-To` and by the envelope (MSS/va1.15).
        reading_wanted: ask for an MDN, to the sender: elsewhere than at the return path none may be sent (RFC 8098).
        max_bytes: refuse a larger mail; None is 25 MB to a patient, no limit otherwise.

    Returns:
        The mail; `len(mail.raw)` is its size on the wire, dot-stuffing aside.

    Raises:
        Rejected: with every rule that the values break; a message quotes no value.
        ValueError: `date` has no time zone.
    """
    if date.tzinfo is None:
        msg = "the Date of a mail needs a time zone"
        raise ValueError(msg)
    recipients = tuple({recipient.lower(): recipient for recipient in reversed(recipients)}.values())[::-1]
    to_patient = any(map(is_patient, recipients))
    problems = (
        *_address_problems(sender, reply_to, recipients),
        *_identifier_problems(message_id, nil),
        *_cda_problems(archive is not None, labels=labels, ins_qualified=ins_qualified, cda_codes=cda_codes),
        *_patient_problems(to_patient, recipients, ins_qualified=ins_qualified, close_channel=close_channel),
    )
    if problems:
        raise Rejected(*problems)

    title = subject(labels, family=family, given=given, birth_date=birth_date)
    envelope_id = message_id[1:].partition("@")[0]
    headers = [
        *mime.header("From", mime.display_mailbox(sender_label, sender)),
        *mime.header("To", ", ".join(recipients)),
        *mime.header("Reply-To", reply_to),
        *mime.header("Subject", title if archive is not None else title.removeprefix(SUBJECT_PREFIX)),
        mime.unfolded("Date", format_datetime(date)),
        mime.unfolded("Message-ID", message_id),
        mime.unfolded("X-MSS-NIL", nil),
    ]
    if archive is not None:
        headers.append(mime.unfolded("X-MSS-INS", "O" if ins_qualified else "N"))
        headers.append(mime.unfolded("X-MSS-CODECDA", ",".join(cda_codes)))
    if close_channel:
        headers.append(mime.unfolded("X-MSS-MES", "FIN"))
    if receipt_wanted:
        headers.append(mime.unfolded("Return-Receipt-To", sender))
    if reading_wanted:
        headers.append(mime.unfolded("Disposition-Notification-To", sender))
    headers.append(mime.unfolded("MIME-Version", "1.0"))

    words = body(action, count=max(len(labels), 1), to_patient=to_patient, text=text, reply_to=reply_to)
    parts: list[mime.Part] = [mime.text_part(words)]
    if archive is not None:
        parts.append(mime.attachment(ARCHIVE_NAME, "application/zip", archive))
    names = _distinct([document.name for document in documents])
    parts += [
        mime.attachment(name, "application/pdf", document.content)
        for name, document in zip(names, documents, strict=True)
    ]
    content = mime.Content(headers, parts, mime.boundary(envelope_id))
    _check_size(len(content), PATIENT_MAX_BYTES if max_bytes is None and to_patient else max_bytes)
    return OutgoingMail(
        content=content,
        sender=sender,
        recipients=recipients,
        message_id=message_id,
        envelope_id=envelope_id,
        notify=_DSN_CONDITIONS if receipt_wanted else (),
    )


def _problem(location: str, message: str, rule: str, *, code: str = "207", detail_code: str = "") -> Problem:
    return Problem(code=code, message=message, location=location, rule=rule, detail_code=detail_code)


def _address_problems(sender: str, reply_to: str, recipients: Sequence[str]) -> Iterator[Problem]:
    if not recipients:
        yield _problem("To", "a mail needs at least one recipient", "RFC 5321 §3.3", code="101")
    for location, address in (("From", sender), ("Reply-To", reply_to)):
        if not is_mailbox(address):
            yield _problem(location, "not a plain ASCII mailbox address; correct the setting", "RFC 5321 §4.1.2")
    for number, address in enumerate(recipients, start=1):
        if not is_mailbox(address):
            yield _problem(
                f"To[{number}]",
                "not a plain ASCII mailbox address (local-part@domain, no space, no line break)",
                "RFC 5321 §4.1.2",
                code="102",
                detail_code="510",
            )


def _identifier_problems(message_id: str, nil: str) -> Iterator[Problem]:
    if _MESSAGE_ID.fullmatch(message_id) is None:
        yield _problem("Message-ID", "not of the form <local@domain>, at most 100 characters before the @", "RFC 5322")
    if _TOKEN.fullmatch(nil) is None:
        yield _problem(
            "X-MSS-NIL", "the product's reference number is missing or malformed; set it", "REM SC.MSS/CONF.16"
        )


def _cda_problems(
    has_archive: bool,
    *,
    labels: Sequence[str],
    ins_qualified: bool | None,
    cda_codes: Sequence[str],
) -> Iterator[Problem]:
    if has_archive and not labels:
        yield _problem("Subject", "the label of the document's type is missing", "REM ECO.2.1.3", code="101")
    if has_archive != (ins_qualified is not None):
        yield _problem("X-MSS-INS", "goes with a CDA, and only with one: O or N", "REM SC.MSS/CONF.14")
    if has_archive != bool(cda_codes):
        yield _problem("X-MSS-CODECDA", "goes with a CDA, and only with one: its code", "REM SC.MSS/CONF.15")
    elif any(_TOKEN.fullmatch(code) is None for code in cda_codes) or sum(len(code) + 1 for code in cda_codes) > 900:
        yield _problem("X-MSS-CODECDA", "a code is malformed, or they do not fit on one line", "REM SC.MSS/CONF.15")


def _patient_problems(
    to_patient: bool,
    recipients: Sequence[str],
    *,
    ins_qualified: bool | None,
    close_channel: bool,
) -> Iterator[Problem]:
    if to_patient and len(recipients) > 1:
        yield _problem("To", "a patient's mail goes to that patient alone: send the others theirs", "REM ECO.2.1.1")
    if to_patient and ins_qualified is False:
        yield _problem("To", "a patient's mailbox takes a document only with a qualified INS", "REM MSS/va1.19")
    if close_channel and not to_patient:
        yield _problem("X-MSS-MES", "FIN closes a patient's channel: it is for a patient's mail", "REM SC.MSS/CONF.21")


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = count = seen.get(name, 0) + 1
        stem, dot, extension = name.rpartition(".")
        distinct.append(name if count == 1 else f"{stem} ({count}){dot}{extension}")
    return distinct


def _check_size(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise Rejected(
            _problem(
                "message",
                f"the mail has {size} bytes, the recipient's mailbox takes {limit}: send a smaller document",
                "Mon espace santé, 25 MB" if limit == PATIENT_MAX_BYTES else "max_bytes",
                detail_code="552",
            )
        )
