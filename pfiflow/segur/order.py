"""ORC, OBR, TXA and the OBX of the document: what is asked, of which document."""

from __future__ import annotations

from types import MappingProxyType

from attrs import frozen

from pfiflow.cda.values import Code, Identifier
from pfiflow.hl7.er7 import Segment
from pfiflow.segur.encapsulated import Base64Error, decode_base64, encapsulated
from pfiflow.segur.metadata import is_metadata
from pfiflow.segur.reading import Reading
from pfiflow.segur.structure import ObservationGroup
from pfiflow.segur.values import Action

__all__ = ["TXA", "document_group", "read_action", "read_document", "read_txa", "read_type"]

SYSTEMS = MappingProxyType({"LN": "2.16.840.1.113883.6.1", "TRE_A05": "1.2.250.1.213.1.1.4.12"})
"""OBR-4.3 → OID of the code system."""

_STATUS = MappingProxyType({Action.NEW: "F", Action.REPLACE: "C", Action.DELETE: "D"})  # OBX-11, table 0085


@frozen
class TXA:
    """The document's identifiers in an MDM."""

    document_id: Identifier | None = None
    parent_id: Identifier | None = None


def read_action(reading: Reading, orc: Segment, expected: Action | None, trigger: str) -> Action | None:
    """ORC-1, which must agree with the MDM's trigger event (`expected`); the trigger wins. None: unknown."""
    control = reading.required(orc, 1, "the order control")
    action = next((action for action in Action if action.value == control), None)
    if control and action is None:
        reading.error("103", "the order control is NW (new), RO (replace) or CA (delete)", "ORC-1")
    elif action and expected and action is not expected:
        reading.error("199", f"{control} contradicts the event {trigger}, which asks for {expected.value}", "ORC-1")
    return expected or action


def read_type(reading: Reading, obr: Segment) -> Code:
    """OBR-4: the document's type. Whether it is in JDV_J07 or J66 is `pfiflow.segur.rules.check_type`."""
    code = reading.required(obr, 4, "the code of the document's type")
    display = reading.text(obr, 4, 2)
    name = reading.required(obr, 4, "the coding system of the type (LN or TRE_A05)", 3)
    if code and not display:
        reading.warning("101", "the label of the document's type is required", "OBR-4.2")
    if name and name not in SYSTEMS:
        reading.error("103", "the coding system of the type is LN or TRE_A05", "OBR-4.3")
    return Code(code, SYSTEMS.get(name, ""), display, name)


def read_txa(reading: Reading, txa: Segment, action: Action | None, type_code: str) -> TXA:
    """TXA-1, 2, 3, 12, 13, 17. A wrong set id warns: it says nothing about the document."""
    if reading.required(txa, 1, "the set id") not in {"", "1"}:
        reading.warning("103", "the set id is 1", "TXA-1")
    declared = reading.required(txa, 2, "the type of the document")
    if declared and type_code and declared != type_code:
        reading.error("199", "the type differs from OBR-4: which document is it?", "TXA-2")
    if reading.required(txa, 3, "the content presentation").upper() not in {"", "TEXT"}:
        reading.error("103", "the content presentation is TEXT", "TXA-3")
    if reading.required(txa, 17, "the completion status") not in {"", "AU"}:
        reading.error("103", "the completion status is AU (authenticated)", "TXA-17")
    document_id = reading.document_identifier(txa, 12, "the document id", required=True)
    parent_id = reading.document_identifier(
        txa, 13, "the id of the replaced document", required=action is Action.REPLACE
    )
    if action is Action.NEW and parent_id:
        reading.warning("199", "a parent document on a first transmission: ignored", "TXA-13")
    if document_id and document_id == parent_id:
        reading.error("199", "a document cannot replace itself: TXA-13 equals TXA-12", "TXA-13")
    return TXA(document_id, parent_id)


def document_group(reading: Reading, groups: tuple[ObservationGroup, ...], structure: str) -> ObservationGroup | None:
    """The group of the document: the first OBX. Notes 100 when something else comes first, 198 or 207 for a second."""
    documents = [
        group for group in groups if not is_metadata(group) and (group is groups[0] or group.value_type == "ED")
    ]
    if not documents:
        if groups:
            reading.error("101", "no OBX holds a document: the first one does, with OBX-2 ED", "OBX")
        return None
    if documents[0] is not groups[0]:
        reading.error("100", "the OBX of the document comes before those of the metadata", documents[0].obx.location)
    for group in documents[1:]:
        if structure == "MDM":
            reading.error("198", "an MDM carries one document", group.obx.location)
        else:
            reading.error(
                "207",
                "two documents (N1 and N3 of one content) are legal in an ORU but not part of Ségur wave 2, "
                "and not supported here: send each in its own message",
                group.obx.location,
            )
    return documents[0]


def read_document(reading: Reading, obx: Segment, action: Action | None, obr: Segment | None) -> bytes:
    """The CDA: OBX-2 ED, OBX-3 as OBR-4, OBX-5 `^TEXT^XML^Base64^…`, OBX-11 as the action. b"" when it is unreadable.

    The bytes are decoded, not looked at: `pfiflow.cda` reads them.
    """
    where = obx.location
    if reading.required(obx, 2, "the value type") not in {"", "ED"}:
        reading.error("102", "the document's value type is ED", f"{where}-2")
    for part in (1, 3):
        code = reading.required(obx, 3, "the type of the document", part)
        if code and obr and reading.text(obr, 4, part) not in {"", code}:
            reading.error("199", "differs from OBR-4: which document is it?", f"{where}-3")
            break
    value = encapsulated(reading.message.raw, obx)
    for part, word, expected in ((2, value.type, "TEXT"), (3, value.subtype, "XML"), (4, value.encoding, "BASE64")):
        if not word:
            reading.missing(obx, 5, expected, part)
        elif word != expected:
            reading.error("103", f"OBX-5.{part} is {expected}: ^TEXT^XML^Base64^<data>", f"{where}-5.{part}")
    status = reading.required(obx, 11, "the result status")
    if status and status not in _STATUS.values():
        reading.error("103", "the result status is F (new), C (replace) or D (delete)", f"{where}-11")
    elif status and action and status != _STATUS[action]:
        reading.error(
            "199", f"{status} contradicts what the message asks: {_STATUS[action]} is expected", f"{where}-11"
        )
    if value.stray:
        reading.error("198", "one document only: something follows OBX-5.5", f"{where}-5")
        return b""
    try:
        document = decode_base64(value.data)
    except Base64Error as error:
        reading.error("102", f"the document {error}", f"{where}-5.5")
        return b""
    if not document:
        reading.missing(obx, 5, "the document", 5)
    return document
