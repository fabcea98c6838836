"""PFI → LPS: one document of an MSSanté mail as an MDM, HL7 2.6 (volet "Transmission au LPS…" 1.1).

    mail = reading.read(raw)
    for each in incoming.open_mail(mail).deliverable:
        delivery = build(each, letter_of(mail, mailbox, each), consumer, now=now)
        …send delivery.raw; outcome_of(parse_ack(answer))

The document travels byte for byte, in base64 with its padding. What the mail or the document do not say (the address of
the patient, EVN-5, an identifier's effective date) is left out, not made up.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import pybase64
from attrs import field, frozen

from pfiflow.cda.values import Code, Identifier
from pfiflow.errors import Problem, Rejected
from pfiflow.hl7.charset import hl7_name
from pfiflow.hl7.er7 import SegmentSpec, segment
from pfiflow.hl7.er7 import build as write
from pfiflow.hl7.faults import CharsetError
from pfiflow.hl7.writer import FieldValue
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.segur.delivery_patient import identity_of, pid
from pfiflow.segur.delivery_people import participation, sender_of
from pfiflow.segur.incoming import FaultyDocument, IncomingDocument, IncomingMail, action_of, open_mail
from pfiflow.segur.order import SYSTEMS
from pfiflow.segur.outcome import Outcome, outcome_of
from pfiflow.segur.values import Action, Participation, PatientIdentity

__all__ = [
    "Consumer",
    "Delivery",
    "FaultyDocument",
    "IncomingDocument",
    "IncomingMail",
    "Letter",
    "Mailbox",
    "Outcome",
    "action_of",
    "build",
    "control_id",
    "letter_of",
    "open_mail",
    "outcome_of",
]

_RULE: Final = "volet LPS 1.1"
_TRIGGERS: Final = MappingProxyType({Action.NEW: "T02", Action.REPLACE: "T10", Action.DELETE: "T04"})
_STATUS: Final = MappingProxyType({Action.NEW: "F", Action.REPLACE: "C", Action.DELETE: "D"})  # OBX-11
_SYSTEM_NAMES: Final[Mapping[str, str]] = MappingProxyType({oid: name for name, oid in SYSTEMS.items()})
_FLAGS: Final = (
    ("MASQUE_PS", "Masqué aux professionnels de Santé", "hidden_from_professionals"),
    ("INVISIBLE_PATIENT", "Document Non Visible par le patient", "hidden_from_patient"),
    ("INVISIBLE_REP_LEGAUX", "Non visible par les représentants Légaux du patient", "hidden_from_representatives"),
    ("MODIF_CONF_CODE", "Modification Confidentiality Code", "modifies_confidentiality"),
)
"""OBX 3 to 6: code, label (table MetaDMP/MSS), attribute of Visibility."""

_LONGEST_SUBJECT: Final = 500


def _size(content: bytes) -> str:
    return f"<{len(content)} bytes>"


@frozen
class Consumer:
    """The LPS that receives, and how messages to it are written."""

    sending_application: str  # MSH-3
    sending_facility: str  # MSH-4
    receiving_application: str  # MSH-5
    receiving_facility: str  # MSH-6
    processing_id: str = "P"  # MSH-11: P, T or D
    encoding: str = "utf-8"  # Python codec of MSH-18: utf-8 or iso8859_15
    test_platform: bool = False  # test INS authorities are accepted


@frozen
class Mailbox:
    """The applicative mailbox addressed, and the organisation (service, UF) that it stands for: PRT-8 of RCT."""

    address: str
    organization_name: str = ""
    organization_id: str = ""
    organization_id_type: str = ""  # UF, FINEG, IDNST…
    organization_authority: str = ""  # an OID, or the namespace of a local table


@frozen(repr=False)
class Letter:
    """What the MDM says of the mail. `mailbox` is the address whose delivery this is, part of its identity."""

    mailbox: str
    message_id: str
    subject: str
    text: str
    sender: Participation
    recipients: tuple[Participation, ...] = ()
    reply_to: str = ""

    def __repr__(self) -> str:
        return "<Letter>"


@frozen
class Delivery:
    """An MDM to send. `patient.ordering_key` keeps a patient's documents in order."""

    raw: bytes = field(repr=_size)
    control_id: str  # MSH-10: the same for the same document, version and action in the same mailbox
    action: Action
    patient: PatientIdentity


def letter_of(mail: ReceivedMail, mailbox: Mailbox, incoming: IncomingDocument) -> Letter:
    """The facts of a mail for one of its documents.

    The sender is who asks for the document to be treated: of a forwarded mail, the original's From, when it came whole.
    Who that is (PRT-5, PRT-8) comes from the author of the submission set, which is the sender (volet Transmission,
    mapping). Raises Rejected as `ReceivedMail.archive` does.
    """
    carrier = mail.archive().carrier
    address = (carrier.sender if carrier else "") or mail.sender
    reply_to = (carrier.reply_to if carrier and carrier.sender else "") or mail.reply_to
    return Letter(
        mailbox=mailbox.address,
        message_id=mail.message_id,
        subject=mail.subject,
        text=mail.text,
        sender=sender_of(incoming.submission, address),
        recipients=(
            Participation(
                "RCT",
                organization_name=mailbox.organization_name,
                organization_id=mailbox.organization_id,
                organization_id_type=mailbox.organization_id_type,
                organization_authority=mailbox.organization_authority,
                address=mailbox.address,
            ),
        ),
        reply_to=reply_to,
    )


def control_id(mailbox: str, incoming: IncomingDocument) -> str:
    """MSH-10, 20 characters: derived from mailbox, CDA id, version and action.

    A mail that comes again, forwarded under another Message-ID or fetched twice, so gives the same message.
    """
    document = incoming.document
    parts = (mailbox.lower(), document.id.unique_id, document.version, incoming.action.value)
    seed = "".join(f"{len(part)}:{part}" for part in parts)
    return base64.b32encode(hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:13]).decode("ascii")[:20]


def build(incoming: IncomingDocument, letter: Letter, consumer: Consumer, *, now: datetime) -> Delivery:
    """The MDM T02, T10 or T04 of one document.

    Args:
        incoming: the document, from `open_mail`. Set `visibility.modifies_confidentiality` (`attrs.evolve`) when the
            document that it replaces is known to have had other confidentiality codes: an archive does not say.
        letter: the mail, from `letter_of`.
        consumer: whom to.
        now: MSH-7 and EVN-2; the same on every attempt if the message is to be.

    Raises:
        Rejected: every reason not to deliver: MASQUE_PS (a document hidden from professionals is not for the LPS), a
            type that OBR-4 cannot carry, no sender, a test INS outside a test platform, a character that the
            consumer's character set does not have.
    """
    problems = list(_problems(incoming, letter))
    identity = identity_of(incoming.document, problems, test_platform=consumer.test_platform)
    if problems:
        raise Rejected(*problems)
    identifier = control_id(letter.mailbox, incoming)
    segments = [
        _msh(incoming.action, consumer, identifier, now),
        segment("EVN", {2: _time(now)}),
        pid(incoming.document, identity),
        segment("PV1", {1: "1", 2: "N"}),
        segment("ORC", {1: incoming.action.value}),
        segment("OBR", {1: "1", 4: _type(incoming)}),
        _txa(incoming),
        *_document(incoming, letter),
        _letter(letter, consumer.encoding),
        *(
            _flag(place, code, label, value=bool(getattr(incoming.visibility, attribute)))
            for place, (code, label, attribute) in enumerate(_FLAGS, 3)
        ),
    ]
    try:
        raw = write(segments, encoding=consumer.encoding)
    except CharsetError as error:
        raise Rejected(error.problem) from None
    return Delivery(raw, identifier, incoming.action, identity)


def _problems(incoming: IncomingDocument, letter: Letter) -> list[Problem]:
    problems = []
    if incoming.visibility.hidden_from_professionals:
        message = "the document is hidden from professionals (MASQUE_PS): it is not sent to the LPS"
        problems.append(Problem("207", message, "confidentialityCode", rule=_RULE, detail_code="906"))
    if incoming.document.code.system not in _SYSTEM_NAMES:
        message = f"the type's code system is none of {', '.join(SYSTEMS)}: OBR-4 cannot carry it"
        problems.append(
            Problem("103", message, "/ClinicalDocument/code/@codeSystem", rule=f"{_RULE}, OBR-4", detail_code="906")
        )
    if not letter.sender.address:
        message = "the mail has no usable sender address: PRT-15 of SB cannot be written"
        problems.append(Problem("101", message, "From", rule=f"{_RULE}, PRT", detail_code="906"))
    return problems


def _msh(action: Action, consumer: Consumer, identifier: str, now: datetime) -> SegmentSpec:
    return segment(
        "MSH",
        {
            3: consumer.sending_application,
            4: consumer.sending_facility,
            5: consumer.receiving_application,
            6: consumer.receiving_facility,
            7: _time(now),
            9: ("MDM", _TRIGGERS[action], "MDM_T02"),
            10: identifier,
            11: consumer.processing_id,
            12: "2.6",
            17: "FRA",
            18: hl7_name(consumer.encoding),
            21: ("1.1", "CISIS_CDA_HL7_LPS"),
        },
    )


def _time(now: datetime) -> str:
    return now.strftime("%Y%m%d%H%M%S%z")


def _type(incoming: IncomingDocument) -> tuple[str, str, str]:
    """OBR-4: code, label, LN or TRE_A05."""
    code: Code = incoming.document.code
    label = code.display or incoming.entry.type_code.display or incoming.document.title
    return (code.code, label, _SYSTEM_NAMES[code.system])


def _txa(incoming: IncomingDocument) -> SegmentSpec:
    """TXA-12 and 13: `extension^^root^ISO`, or the root alone. TXA-22, which AU needs (HL7 2.6), is who signed."""
    document = incoming.document
    signer = document.legal_authenticator
    signed_by = next((each.extension for each in signer.ids if each.extension), "") if signer else ""
    fields: dict[int, FieldValue] = {
        1: "1",
        2: document.code.code,
        3: "TEXT",
        4: document.effective_time,
        12: _entity(document.id),
        17: "AU",
        22: signed_by,
    }
    if incoming.action is Action.REPLACE and document.replaces is not None:
        fields[13] = _entity(document.replaces)
    return segment("TXA", fields)


def _entity(identifier: Identifier) -> str | tuple[str, ...]:
    if identifier.extension:
        return (identifier.extension, "", identifier.root, "ISO")
    return identifier.root


def _document(incoming: IncomingDocument, letter: Letter) -> list[SegmentSpec]:
    """OBX 1 and its PRT: SB, RCT, REPLY."""
    content = pybase64.b64encode(incoming.document.raw)
    value = ("", "text", "XML", "Base64", content)
    people = [letter.sender, *letter.recipients]
    if letter.reply_to:
        people.append(Participation("REPLY", address=letter.reply_to))
    observation = {1: "1", 2: "ED", 3: _type(incoming), 5: value, 11: _STATUS[incoming.action]}
    return [segment("OBX", observation), *(participation(each) for each in people)]


def _letter(letter: Letter, encoding: str) -> SegmentSpec:
    """OBX 2: Message-ID and subject, the body in the message's own character set."""
    body = pybase64.b64encode(letter.text.encode(encoding, "replace"))
    # The subject is somebody's free text: what the character set does not have is no reason to refuse the document.
    subject = letter.subject[:_LONGEST_SUBJECT].encode(encoding, "replace").decode(encoding)
    return segment(
        "OBX", {1: "2", 2: "ED", 3: (letter.message_id, subject), 5: ("", "text", "", "Base64", body), 11: "F"}
    )


def _flag(place: int, code: str, label: str, *, value: bool) -> SegmentSpec:
    return segment(
        "OBX",
        {
            1: str(place),
            2: "CWE",
            3: (code, label, "MetaDMPMSS"),
            5: ("Y" if value else "N", "", "expandedYes-NoIndicator"),
            11: "F",
        },
    )
