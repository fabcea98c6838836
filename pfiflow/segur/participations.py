"""PRT after the OBX of the document: sender, MSSanté recipients, reply address."""

from __future__ import annotations

from types import MappingProxyType

from attrs import frozen

from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS
from pfiflow.errors import Severity
from pfiflow.hl7.er7 import Segment
from pfiflow.segur.addresses import is_mail_address, is_patient_mailbox
from pfiflow.segur.reading import Reading
from pfiflow.segur.structure import ObservationGroup
from pfiflow.segur.values import Destinations, Participation

__all__ = ["Participations", "check_participations", "names_patient", "read_participations"]

PERSONS = "1.2.250.1.71.4.2.1"
"""Authority of the professionals' national identifiers."""

STRUCTURES = "1.2.250.1.71.4.2.2"
"""Authority of the structures' national identifiers."""

_KINDS: MappingProxyType[str, str] = MappingProxyType({"SB": "sender", "RCT": "recipient", "REPLY": "reply address"})
_STRUCTURE_TYPES = frozenset({"FINEJ", "FINEG", "IDNST"})
_MAIL_TYPES = frozenset({"X.400", "INTERNET"})


@frozen
class Participations:
    """The PRT of a message, with where each stands."""

    sender: Participation | None = None
    sender_location: str = "PRT"
    recipients: tuple[Participation, ...] = ()
    reply_to: str = ""


def names_patient(participation: Participation) -> bool:
    """Whether PRT-5 names the patient rather than a professional: type INS, or the authority of an INS."""
    return participation.person_id_type == "INS" or participation.person_authority in INS_ROOTS | INS_TEST_ROOTS


def read_participations(
    reading: Reading, document: ObservationGroup | None, groups: tuple[ObservationGroup, ...]
) -> Participations:
    """SB, RCT and REPLY, matched on PRT-4.1 alone. Each address is checked: a bad one is an error, never skipped."""
    for group in groups:
        if group is not document:
            for prt in group.participations:
                reading.error("100", "misplaced: PRT follows the OBX of the document", prt.location)
    senders: list[tuple[Participation, str]] = []
    recipients: list[Participation] = []
    replies: list[tuple[str, str]] = []
    for prt in document.participations if document else ():
        kind = reading.required(prt, 4, "the participation (SB, RCT or REPLY)").upper()
        if kind not in _KINDS:
            if kind:
                reading.warning("103", "a participation that is not SB, RCT or REPLY: ignored", f"{prt.location}-4")
            continue
        if reading.text(prt, 2) != "UC":
            reading.warning("103", "the action code is UC", f"{prt.location}-2")
        if kind == "SB":
            senders.append((_participation(reading, prt, "SB", ""), prt.location))
        elif kind == "REPLY":
            address = _address(reading, prt)
            if address and is_patient_mailbox(address):
                reading.error("207", "answers would go to a patient's mailbox", f"{prt.location}-15")
            replies.append((address, prt.location))
        else:
            recipient = _participation(reading, prt, "RCT", _address(reading, prt))
            _check_recipient(reading, recipient, prt)
            recipients.append(recipient)
    for what, found in (("sender (SB)", senders), ("reply address (REPLY)", replies)):
        for _, location in found[1:]:
            reading.error("198", f"one {what} is allowed", location)
    sender, location = senders[0] if senders else (None, "PRT")
    return Participations(sender, location, tuple(recipients), replies[0][0] if replies else "")


def check_participations(reading: Reading, found: Participations, destinations: Destinations) -> None:
    """What the destinations require: SB and its identifiers for the DMP, a recipient for MSSanté to professionals."""
    severity: Severity = "error" if destinations.dmp else "warning"
    sender, where = found.sender, found.sender_location
    if sender is None:
        if destinations.dmp:
            reading.error("101", "the sender (SB) is required when the DMP is a destination", "PRT")
    else:
        if not (sender.person_id or sender.device):
            reading.note(severity, "101", "the sender needs a person (PRT-5) or a device (PRT-10)", f"{where}-5")
        if not sender.organization_id:
            reading.note(severity, "101", "the sender's organisation number (PRT-8.10) is required", f"{where}-8.10")
        _check_sender_form(reading, sender, where)
    professionals = [r for r in found.recipients if r.address and not is_patient_mailbox(r.address)]
    if destinations.professionals and not professionals:
        reading.error("101", "DESTMSSANTEPS is Y: a recipient (RCT) with an MSSanté address is required", "PRT")
    if professionals and not destinations.professionals:
        reading.warning("199", "DESTMSSANTEPS is N: the professionals' addresses are not used", "PRT")
    if destinations.patient and len(professionals) == len(found.recipients):
        reading.warning("101", "DESTMSSANTEPAT is Y: an RCT with the patient's address is expected", "PRT")


def _check_sender_form(reading: Reading, sender: Participation, where: str) -> None:
    if sender.person_id and sender.person_authority != PERSONS:
        reading.warning("103", f"the authority of a professional's identifier is {PERSONS}", f"{where}-5.9")
    if sender.organization_id and sender.organization_authority != STRUCTURES:
        reading.warning("103", f"the authority of a structure's identifier is {STRUCTURES}", f"{where}-8.6")
    if sender.organization_id and sender.organization_id_type not in _STRUCTURE_TYPES:
        reading.warning("103", "the type of the structure's identifier is FINEJ, FINEG or IDNST", f"{where}-8.7")


def _participation(reading: Reading, prt: Segment, kind: str, address: str) -> Participation:
    return Participation(
        kind="SB" if kind == "SB" else "RCT",
        person_id=reading.text(prt, 5),
        person_family=reading.text(prt, 5, 2),
        person_given=reading.text(prt, 5, 3),
        person_authority=reading.authority(prt, 5, 9),
        person_id_type=reading.text(prt, 5, 13),
        organization_name=reading.text(prt, 8),
        organization_id=reading.text(prt, 8, 10),
        organization_authority=reading.authority(prt, 8, 6),
        organization_id_type=reading.text(prt, 8, 7),
        device=reading.text(prt, 10),
        address=address,
    )


def _address(reading: Reading, prt: Segment) -> str:
    """PRT-15.4 of the one repetition that holds a mail address; "" when there is none, or none that is usable."""
    where = f"{prt.location}-15"
    found: dict[str, str] = {}
    for r in range(1, prt.repetition_count(15) + 1):
        address = reading.text(prt, 15, 4, 1, r)
        if not address:
            continue
        kind = reading.text(prt, 15, 3, 1, r).upper()
        if kind not in _MAIL_TYPES:
            if kind and "@" not in address:
                continue  # a telephone
            reading.warning("103", "the type of a mail address (PRT-15.3) is X.400", f"{where}.3")
        found.setdefault(address.lower(), address)
    if not found:
        reading.error("101", "the mail address is required, in PRT-15.4", where)
        return ""
    if len(found) > 1:
        reading.error("198", "several addresses: send one PRT for each recipient", where)
        return ""
    (address,) = found.values()
    if not is_mail_address(address):
        reading.error("102", "not a plain mail address (RFC 5321, without quotes, spaces or names)", f"{where}.4")
        return ""
    return address


def _check_recipient(reading: Reading, recipient: Participation, prt: Segment) -> None:
    """PRT-5, 8 or 10 says who it is, and must not say a patient at a professional's address, or the reverse."""
    if not (recipient.person_id or recipient.organization_id or recipient.organization_name or recipient.device):
        reading.warning("101", "a recipient is a person (PRT-5), an organisation (8) or a device (10)", prt.location)
    if not recipient.address:
        return
    at_patient = is_patient_mailbox(recipient.address)
    if names_patient(recipient) and not at_patient:
        reading.error("199", "names a patient (PRT-5), but the address is no patient's mailbox", f"{prt.location}-15")
    elif at_patient and (recipient.person_authority == PERSONS or recipient.organization_id or recipient.device):
        reading.error("199", "the address is a patient's mailbox, but PRT names somebody else", f"{prt.location}-15")
