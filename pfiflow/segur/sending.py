"""From a transmission to an MSSanté mail: the archive with its metadata, the readable copy, the mail around them.

Pure: the same transmission, exchange id and settings give the same bytes, so that a retry sends the same mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from attrs import frozen

from pfiflow import xdm
from pfiflow.cda import document as cda
from pfiflow.cda.header import Element
from pfiflow.cda.pdf import Pdf, pdf_of
from pfiflow.cda.values import ClinicalDocument
from pfiflow.errors import Problem, Rejected
from pfiflow.mssante import message, naming
from pfiflow.mssante.values import OutgoingMail
from pfiflow.segur.addresses import is_patient_mailbox
from pfiflow.segur.recipients import patient_address, professional_recipients
from pfiflow.segur.values import Action, Participation, Transmission
from pfiflow.xds import authors, from_cda
from pfiflow.xds.metadata import Association, Author

__all__ = ["Audience", "Mailbox", "Package", "Publisher", "mail", "pack", "submission_author", "submission_unique_id"]

Audience = Literal["professionals", "patient"]
"""Who a mail is for. They never share one: other rules, other text, other receipts."""

_XDM_ACTIONS: Mapping[Action, xdm.Action] = {Action.NEW: "", Action.REPLACE: "C", Action.DELETE: "D"}
_MAIL_ACTIONS: Mapping[Action, message.Action] = {
    Action.NEW: "new",
    Action.REPLACE: "replace",
    Action.DELETE: "delete",
}
_HIDDEN = (
    ("hidden_from_professionals", "MASQUE_PS"),
    ("hidden_from_patient", "INVISIBLE_PATIENT"),
    ("hidden_from_representatives", "INVISIBLE_REP_LEGAUX"),
)


def _read_document(transmission: Transmission) -> tuple[ClinicalDocument, Element]:
    return cda.read_tree(transmission.document)


@frozen
class Publisher:
    """What the archive says of who made it."""

    source_id: str  # OID of the emitting system: SubmissionSet.sourceId
    sender: xdm.Sender
    software: xdm.Software
    action_slot: xdm.ActionSlot
    test_platform: bool = False


@frozen
class Mailbox:
    """The applicative mailbox that sends, and what its mails carry."""

    address: str
    label: str
    reply_to: str  # when the message gives no REPLY
    nil: str  # X-MSS-NIL, the product's reference number
    max_bytes: int | None = None
    test_platform: bool = False
    professional_text: str = ""  # when the message brings none (CORPSMAIL_PS); "": the default one
    patient_text: str = ""  # the same for CORPSMAIL_PATIENT
    recipients: tuple[str, ...] = ()  # instead of the message's professionals; never a patient's


@frozen
class Package:
    """A transmission made ready for one audience: the IHE_XDM archive and the PDF that says the same."""

    transmission: Transmission
    document: ClinicalDocument
    archive: bytes
    pdf: Pdf


def pack(
    transmission: Transmission,
    publisher: Publisher,
    *,
    exchange_id: str,
    received: datetime,
    read: Callable[[Transmission], tuple[ClinicalDocument, Element]] = _read_document,
) -> Package:
    """The archive and the PDF of one transmission; `read` gives its document, by default from its bytes.

    `received` becomes the submission time, and the exchange id the submission's uniqueId (`2.25.<128 bits>`): both are
    the same on every attempt. Raises Rejected: the document or its metadata cannot be written.
    """
    document, tree = read(transmission)
    pdf = pdf_of(document, tree)
    del tree  # as large as the document, and more
    hidden = tuple(code for name, code in _HIDDEN if getattr(transmission.visibility, name))
    entry = from_cda.document_entry(
        document,
        target="xdm",
        entry_uuid=from_cda.entry_uuid_of(document.id.unique_id),
        hidden=hidden,
        test_platform=publisher.test_platform,
    )
    associations: tuple[Association, ...] = ()
    if transmission.action is Action.REPLACE and document.replaces is not None:
        replaced = from_cda.entry_uuid_of(document.replaces.unique_id)
        associations = (from_cda.replacement(entry.entry_uuid, replaced_entry_uuid=replaced),)
    submission = from_cda.submission_set(
        (entry,),
        unique_id=submission_unique_id(exchange_id),
        source_id=publisher.source_id,
        submission_time=received,
        content_type=from_cda.content_type_of(transmission.patient_class),
        author=submission_author(transmission.sender),
        associations=associations,
    )
    archive = xdm.pack(
        submission,
        (document.raw,),
        sender=publisher.sender,
        software=publisher.software,
        action=_XDM_ACTIONS[transmission.action],
        action_slot=publisher.action_slot,
    )
    return Package(transmission, document, archive, pdf)


def submission_author(sender: Participation | None) -> Author:
    """The submission's author: who sends (PRT SB), not who wrote the document."""
    if sender is None:
        return authors.author_of()
    return authors.author_of(
        person_id=sender.person_id,
        person_id_type=sender.person_id_type,
        person_authority=sender.person_authority,
        family=sender.person_family,
        given=sender.person_given,
        organization_name=sender.organization_name,
        organization_id=sender.organization_id,
        organization_id_type=sender.organization_id_type,
        organization_authority=sender.organization_authority,
        device=sender.device,
    )


def _ins_qualified(transmission: Transmission, document: ClinicalDocument, *, test_platform: bool) -> bool:
    """Whether the archive carries a qualified INS (SC.MSS/CONF.14): in the CDA's header, and validated in PID.

    CONF.14 names the traits that the header must hold; the birth place, which a CDA may leave out, is none of them.
    """
    patient = document.patient
    traits = (patient.birth_family, patient.first_birth_given, patient.birth_time, patient.gender)
    validated = transmission.patient.qualified_ins(test_platform=test_platform) is not None
    return validated and patient.ins(test_platform=test_platform) is not None and all(traits)


def submission_unique_id(exchange_id: str) -> str:
    """An OID under 2.25 (ITU-T X.667) derived from an exchange id."""
    return f"2.25.{int.from_bytes(hashlib.sha256(exchange_id.encode()).digest()[:16])}"


def mail(
    package: Package, mailbox: Mailbox, *, audience: Audience, exchange_id: str, received: datetime
) -> OutgoingMail:
    """The mail of a package to one audience. Raises Rejected: nobody may or can receive it, or it is too large.

    The mailbox's own recipients get what professionals get, in a mail of its own (its own Message-ID). No receipts are
    asked for: the CREATEUR has not named them. A patient's mailbox is refused among them, and so is a document that is
    hidden from professionals (MASQUE_PS).
    """
    transmission, document, patient = package.transmission, package.document, package.document.patient
    to_patient, ours = audience == "patient", mailbox.recipients
    if ours:
        _check_own_recipients(transmission, ours, audience)
        recipients: tuple[str, ...] = ours
    elif to_patient:
        recipients = (patient_address(transmission, test_platform=mailbox.test_platform),)
    else:
        recipients = professional_recipients(transmission)
    label = document.code.display or transmission.type.display or document.title
    event = document.service_events[0] if document.service_events else None
    name = naming.pdf_name(
        (event.start if event else "") or document.effective_time,
        label,
        patient.birth_family,
        patient.first_birth_given,
        transmission.patient.account,
    )
    domain = mailbox.address.rpartition("@")[2]
    return message.build(
        archive=package.archive,
        documents=(message.Attachment(name, package.pdf.data),),
        labels=(label,),
        family=patient.birth_family,
        given=patient.first_birth_given,
        birth_date=patient.birth_time,
        action=_MAIL_ACTIONS[transmission.action],
        text=(transmission.patient_text or mailbox.patient_text)
        if to_patient
        else (transmission.professional_text or mailbox.professional_text),
        sender=mailbox.address,
        sender_label=mailbox.label,
        reply_to=transmission.reply_to or mailbox.reply_to,
        recipients=recipients,
        message_id=message.message_id(exchange_id, "|".join((audience, *ours)), domain),
        date=received,
        nil=mailbox.nil,
        ins_qualified=_ins_qualified(transmission, document, test_platform=mailbox.test_platform),
        cda_codes=(document.code.code,),
        close_channel=to_patient and transmission.destinations.patient_may_not_answer,
        receipt_wanted=transmission.wants_delivery_receipts and not ours,
        reading_wanted=transmission.wants_reading_receipts and not ours,
        max_bytes=mailbox.max_bytes,
    )


def _check_own_recipients(transmission: Transmission, recipients: Sequence[str], audience: Audience) -> None:
    problems = []
    if audience == "patient":
        problems.append(
            Problem("207", "a patient's mail goes to the patient alone", "recipients", rule="REM ECO.2.1.1")
        )
    if any(is_patient_mailbox(address) for address in recipients):
        problems.append(Problem("207", "a patient's mailbox is no recipient of the hospital's", "recipients"))
    if transmission.visibility.hidden_from_professionals:
        problems.append(Problem("207", "the document is hidden from professionals", "OBX MASQUE_PS", rule="MASQUE_PS"))
    if problems:
        raise Rejected(*problems)
