"""What comes back for a mail that we sent (DSN, MDN, error mail), as receipts for the CREATEUR (ZAM^Z02, ZAM^Z03).

A report counts only for a mail of ours that it names (`message_ids_of`), and for a recipient that this mail had: its
words are the sender's alone. Pure; looking up what was sent is the caller's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.hl7.faults import MessageError
from pfiflow.mssante.address import is_mailbox
from pfiflow.mssante.error_mail import ErrorReport, read_error_mail
from pfiflow.mssante.notification import DeliveryReport, ReadingReport, read_dsn, read_mdn
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.segur.addresses import is_patient_mailbox
from pfiflow.segur.participations import names_patient
from pfiflow.segur.receipts import (
    Addressee,
    Failure,
    Original,
    control_id,
    mail_receipt,
    original_of,
    reading_failure,
    reading_receipt,
    smtp_failure,
)
from pfiflow.segur.smtp_errors import SENDING_FAILED
from pfiflow.segur.values import Transmission

__all__ = [
    "Report",
    "Return",
    "SentMail",
    "message_ids_of",
    "origin_facts",
    "read_report",
    "returns_of",
    "sent_mail",
    "speaks_of_ours",
]

Report: TypeAlias = DeliveryReport | ReadingReport | ErrorReport

_READ: Final = frozenset({"displayed", "processed"})
"""Dispositions that say that the mail was opened or integrated; `deleted`, `denied`… say nothing of it (RFC 8098)."""

_OTHER: Final = "906"
_OURS: Final = re.compile(r"[0-9a-f]{40}")  # mssante.message.message_id
_LONGEST_HEADER: Final = 4096  # bytes of MSH
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9./:_-]{1,64}")


@frozen(repr=False)
class SentMail:
    """A mail of ours, as remembered when it left.

    Attributes:
        exchange_id: of the message in the channel `mail`: MSH-10 of a receipt derives from it.
        original: what a receipt repeats of the CREATEUR's message; None when no message stands behind the mail (it was
            an answer of ours).
        recipients: who was sent the mail.
        wants: `delivery` (ACK_RECEPTION), `reading` (ACK_LECTURE_MSS).
        ids: who a recipient is (OBX-4), by address in lower case.
    """

    exchange_id: str
    original: Original | None
    recipients: tuple[str, ...]
    wants: frozenset[str]
    ids: Mapping[str, str] = field(factory=dict)

    def addressee(self, address: str) -> Addressee:
        """A recipient, with who that is where that is known."""
        return Addressee(address, self.ids.get(address.lower(), ""))

    def __repr__(self) -> str:
        return f"<SentMail to {len(self.recipients)} recipients>"


@frozen
class Return:
    """What a report says of one recipient; `receipt` is the ZAM to send, b"" when none was asked for or none is due."""

    kind: Literal["Z02", "Z03"]
    address: str = field(repr=False)
    said: str  # delivered, failed, relayed… or the disposition
    code: str = ""
    control_id: str = ""
    receipt: bytes = field(default=b"", repr=False)


def read_report(mail: ReceivedMail) -> Report:
    """The report that a mail of kind `dsn`, `mdn` or `error-report` is. Raises Rejected: none, or it cannot be read."""
    match mail.kind:
        case "dsn":
            return read_dsn(mail)
        case "mdn":
            return read_mdn(mail)
        case _:
            return read_error_mail(mail)


def message_ids_of(report: Report, domain: str) -> tuple[str, ...]:
    """The Message-IDs under which the mail may be known, the surest first. ENVID is the local part of ours."""
    return tuple(
        dict.fromkeys(f"<{key}@{domain}>" if kind == "envelope-id" else key for kind, key in report.correlation.keys)
    )


def speaks_of_ours(report: Report, domain: str) -> bool:
    """Whether a report names a Message-ID in the form of ours: 40 hexadecimal digits, our domain."""
    return any(
        _OURS.fullmatch(local) and host.lower() == domain.lower()
        for local, _, host in (each[1:-1].rpartition("@") for each in message_ids_of(report, domain))
    )


def origin_facts(transmission: Transmission) -> dict[str, str]:
    """What is to be remembered of a transmission with its mail: `hl7-header` (MSH), `recipient-ids`, `wants-receipts`.

    Who a recipient is (OBX-4) is remembered of professionals and organisations, not of the patient.
    """
    header = re.split(rb"[\r\n]", transmission.raw[:_LONGEST_HEADER], maxsplit=1)[0]
    ids = (
        f"{each.address.lower()}={identifier}"
        for each in transmission.recipients
        if (identifier := each.person_id or each.organization_id or each.device)
        and not (names_patient(each) or is_patient_mailbox(each.address))
        and _IDENTIFIER.fullmatch(identifier)
    )
    wanted = (("delivery", transmission.wants_delivery_receipts), ("reading", transmission.wants_reading_receipts))
    return {
        "hl7-header": header.decode("iso8859_1"),
        "recipient-ids": " ".join(ids),
        "wants-receipts": " ".join(name for name, asked in wanted if asked),
    }


def sent_mail(exchange_id: str, facts: Mapping[str, str]) -> SentMail:
    """A mail of ours from its record: the headers that its exchange had (`origin_facts` among them), `recipients`."""
    original = None
    if header := facts.get("hl7-header", ""):
        with contextlib.suppress(MessageError):  # it was read once: a record from elsewhere
            original = original_of(header.encode("iso8859_1", "replace"))
    ids = (entry.rpartition("=") for entry in facts.get("recipient-ids", "").split())
    return SentMail(
        exchange_id,
        original,
        tuple(facts.get("recipients", "").split()),
        frozenset(facts.get("wants-receipts", "").split()),
        {address: identifier for address, _, identifier in ids},
    )


def returns_of(mail: ReceivedMail, report: Report, sent: SentMail, *, now: datetime) -> tuple[Return, ...]:
    """What a report says of each recipient, with its receipt where the CREATEUR asked for one.

    Raises:
        Rejected: it speaks of nobody to whom the mail was sent.
    """
    if isinstance(report, DeliveryReport):
        found = tuple(_deliveries(report, sent, now))
    else:
        found = tuple(_readings(mail, report, sent, now))
    if not found:
        message = "the report names none of the recipients of our mail"
        raise Rejected(Problem("207", message, "Final-Recipient", rule="RFC 3464 §2.3, RFC 8098 §3.2"))
    return found


def _deliveries(report: DeliveryReport, sent: SentMail, now: datetime) -> Iterator[Return]:
    if not report.statuses:  # a bounce in plain words: that it failed is all that it says
        address = _recipient(sent)
        if address:
            yield _delivery(sent, address, "failed", smtp_failure(SENDING_FAILED), now)
        return
    alone = len({status.recipient.lower() for status in report.statuses}) == 1
    for status in report.statuses:
        address = _recipient(sent, status.recipient, status.final_recipient, alone=alone)
        if address:
            failure = smtp_failure(status.smtp_code) if status.action == "failed" else None
            yield _delivery(sent, address, status.action, failure, now)


def _delivery(sent: SentMail, address: str, said: str, failure: Failure | None, now: datetime) -> Return:
    identifier = control_id(sent.exchange_id, "Z02", address)
    receipt = b""
    # `delayed` is no failure yet; `relayed` and `expanded` are final, and no proof of delivery.
    if said in {"delivered", "failed"} and "delivery" in sent.wants and sent.original is not None:
        receipt = mail_receipt(sent.original, sent.addressee(address), control_id=identifier, now=now, failure=failure)
    return Return("Z02", address, said, failure.code if failure else "", identifier, receipt)


def _readings(
    mail: ReceivedMail, report: ReadingReport | ErrorReport, sent: SentMail, now: datetime
) -> Iterator[Return]:
    failed, said = True, "failed"
    named: list[str] = []
    if isinstance(report, ReadingReport):
        named += [report.recipient, report.final_recipient]
        if not report.failed:
            failed, said = False, report.disposition
    address = _recipient(sent, *named, mail.sender)
    if not address:
        return
    failure = reading_failure(report.code or _OTHER) if failed else None
    identifier = control_id(sent.exchange_id, "Z03", address)
    receipt = b""
    if (failed or said in _READ) and "reading" in sent.wants and sent.original is not None:
        receipt = reading_receipt(
            sent.original, sent.addressee(address), control_id=identifier, now=now, failure=failure
        )
    yield Return("Z03", address, said, failure.code if failure else "", identifier, receipt)


def _recipient(sent: SentMail, *named: str, alone: bool = True) -> str:
    """The recipient that a report means: the first named that is one; the only one there is, if it speaks of one."""
    known = {address.lower(): address for address in sent.recipients if is_mailbox(address)}
    for address in named:
        if address.lower() in known:
            return known[address.lower()]
    return sent.recipients[0] if alone and len(known) == 1 else ""
