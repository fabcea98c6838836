"""The standard error mail of the volet LPS: what a PFI sends when no MDN was asked for, and what it reads of others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante import mime, returned
from pfiflow.mssante.answers import Answerer, Fault, answer_id, headers_of, separator_for, subject_of, words_of
from pfiflow.mssante.notification import Correlation, correlation
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.mssante.values import OutgoingMail

__all__ = ["ErrorReport", "read_error_mail", "write_error_mail"]

ORIGINAL_NAME: Final = "message_original.eml"

_CODE: Final = re.compile(r"\bcode\s+d.erreur\s*:?\s*(\d{3})\b", re.IGNORECASE)
_LISTED: Final = re.compile(r"^\s*-\s*(?:[^\n:]{1,60} : )?(\d{3}) - ", re.MULTILINE)


@frozen(repr=False)
class ErrorReport:
    """Somebody's standard error mail: the code ("" when none can be found), and which of our mails it returns."""

    code: str
    correlation: Correlation

    def __repr__(self) -> str:
        return f"<ErrorReport {self.code}>"


def write_error_mail(
    mail: ReceivedMail,
    answerer: Answerer,
    *,
    faults: Sequence[Fault],
    date: datetime,
    recipients: Sequence[str] = (),
) -> OutgoingMail:
    """The standard mail: text with code and label, the original once as `message/rfc822` (volet LPS 1.1.3).

    `answerer.version` 1.1.2 repeats the attachments beside the original. Ask `may_answer` before writing to the sender.

    Args:
        mail: the mail received.
        answerer: the mailbox addressed.
        faults: at least one.
        date: an aware datetime; one per exchange, not per attempt.
        recipients: the configured error mailboxes; () is the sender.

    Raises:
        Rejected: there is nobody to write to, or a setting cannot be written.
        ValueError: no fault, or `date` has no time zone.
    """
    if not faults:
        msg = "an error mail needs at least one fault"
        raise ValueError(msg)
    distinct: dict[str, str] = {}
    for address in recipients or (mail.sender,):
        distinct.setdefault(address.lower(), address)
    to = tuple(filter(None, distinct.values()))
    identifier = answer_id(mail, answerer, "error " + " ".join(sorted(each.lower() for each in to)))
    head = headers_of(mail, answerer, recipients=to, subject=subject_of(mail, faults), identifier=identifier, date=date)
    text = mime.text_part(words_of(faults, answerer.contact))
    parts = [text, returned.enclosed(mail, name=ORIGINAL_NAME)]
    if answerer.version == "1.1.2":
        parts += returned.attachments(mail)
    separator = separator_for(mail.raw, identifier)
    raw = mime.join([*head, *mime.multipart("mixed", parts, separator=separator)])
    if answerer.max_bytes is not None and len(raw) > answerer.max_bytes:
        parts = [text, returned.header_block(mail)]
        raw = mime.join([*head, *mime.multipart("mixed", parts, separator=separator)])
    return OutgoingMail(
        content=raw, sender="" if answerer.null_sender else answerer.address, recipients=to, message_id=identifier
    )


def read_error_mail(mail: ReceivedMail) -> ErrorReport:
    """The code of an error mail, from its subject, else from its text; and what it answers.

    Raises:
        Rejected: the mail is no error mail.
    """
    if mail.kind != "error-report":
        raise Rejected(Problem("207", f"the mail is of kind {mail.kind}, not error-report", "Subject"))
    text = mail.text[:20_000]
    found = _CODE.search(text) or _LISTED.search(text)
    return ErrorReport(mail.error_code or (found[1] if found else ""), correlation(mail))
