"""Read a transmission: MDM T02, T10, T04 (HL7 2.6) or ORU R01 (2.5) of the volet, DPI → PFI.

Every rule broken is found before anything is said. A rule whose breach makes identity, routing or metadata impossible
or doubtful is an error; the rest is a warning, and so is what official examples contain and a writer should not.

Codes of table HL70357: 100 segment missing or misplaced, 101 required field, 102 form, 103 table value, 198 one too
many, 199 two fields contradict each other, 200 message type, 201 event, 202 processing id, 203 version, 207 our rule.
"""

from __future__ import annotations

from pfiflow.cda.values import Code
from pfiflow.errors import Rejected
from pfiflow.hl7.er7 import parse
from pfiflow.segur.header import Header, read_header
from pfiflow.segur.metadata import Metadata, is_metadata, read_metadata
from pfiflow.segur.order import TXA, document_group, read_action, read_document, read_txa, read_type
from pfiflow.segur.participations import check_participations, read_participations
from pfiflow.segur.patient import read_patient, read_visit
from pfiflow.segur.reading import Reading
from pfiflow.segur.structure import ObservationGroup, check_structure
from pfiflow.segur.values import Action, PatientIdentity, Transmission

__all__ = ["read"]


def read(data: bytes) -> Transmission:
    """The transmission in `data`, one ER7 message without MLLP framing; its `warnings` are to be journaled.

    The document's base64 is decoded; the CDA is not looked at. Two documents in an ORU are refused (207): they are
    legal, but outside Ségur wave 2, and one Transmission carries one document.

    Raises:
        Rejected: with every error found, not only the first. What is no transmission at all (another message type, a
            receipt, a message of the volet PFI → LPS, an unknown character set) gives that one error.
        ProtocolError: `pfiflow.hl7.er7.MessageError`, the bytes are no ER7 message.
    """
    reading = Reading(parse(data))
    header = read_header(reading)
    transmission = _read_body(reading, header, data) if header else None
    if transmission is None or reading.errors:
        raise Rejected(*reading.all_errors())
    return transmission


def _read_body(reading: Reading, header: Header, data: bytes) -> Transmission | None:
    """Everything after MSH; None when errors leave nothing to build."""
    first = reading.message.first
    groups = check_structure(reading, header.structure)
    pid, orc, obr, txa_segment = first("PID"), first("ORC"), first("OBR"), first("TXA")
    patient = read_patient(reading, pid, header.message_time) if pid else PatientIdentity(())
    patient_class, visit_number = read_visit(reading, first("PV1"))
    action = read_action(reading, orc, header.action, header.trigger) if orc else header.action
    document_type = read_type(reading, obr) if obr else Code("")
    is_mdm = header.structure == "MDM"
    txa = read_txa(reading, txa_segment, action, document_type.code) if txa_segment and is_mdm else TXA()
    document = document_group(reading, groups, header.structure)
    content = read_document(reading, document.obx, action, obr) if document else b""
    participations = read_participations(reading, document, groups)
    metadata = _read_metadata(reading, header, [group for group in groups if group is not document])
    check_participations(reading, participations, metadata.destinations)
    if metadata.visibility.modifies_confidentiality and action is Action.NEW:
        reading.warning("199", "MODIF_CONF_CODE is Y on a first transmission", "OBX")
    if action is None:
        return None
    return Transmission(
        raw=data,
        structure=header.structure,
        trigger=header.trigger,
        action=action,
        control_id=header.control_id,
        sending_application=header.sending_application,
        sending_facility=header.sending_facility,
        message_time=header.message_time,
        processing_id=header.processing_id,
        patient=patient,
        patient_class=patient_class,
        visit_number=visit_number,
        type=document_type,
        document=content,
        document_id=txa.document_id,
        parent_id=txa.parent_id,
        sender=participations.sender,
        recipients=participations.recipients,
        reply_to=participations.reply_to,
        visibility=metadata.visibility,
        destinations=metadata.destinations,
        wants_delivery_receipts=metadata.wants_delivery_receipts,
        wants_reading_receipts=metadata.wants_reading_receipts,
        professional_text=metadata.professional_text,
        patient_text=metadata.patient_text,
        warnings=reading.all_warnings(),
    )


def _read_metadata(reading: Reading, header: Header, groups: list[ObservationGroup]) -> Metadata:
    """The metadata of every OBX but the documents (a second document has its own problem already)."""
    others = [group for group in groups if group.value_type != "ED" or is_metadata(group)]
    return read_metadata(reading, others, header.structure, header.encoding)
