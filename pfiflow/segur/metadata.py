"""The metadata OBX: visibility, destinations, receipts wanted, mail texts."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from pfiflow.hl7.er7 import Segment
from pfiflow.segur.encapsulated import Base64Error, decode_truncated_text, encapsulated
from pfiflow.segur.reading import Reading
from pfiflow.segur.structure import ObservationGroup
from pfiflow.segur.values import Destinations, Visibility

__all__ = ["FLAGS", "TEXTS", "Metadata", "canonical_code", "is_metadata", "read_metadata"]

FLAGS = (
    "MASQUE_PS",
    "INVISIBLE_PATIENT",
    "INVISIBLE_REP_LEGAUX",
    "CONNEXION_SECRETE",
    "MODIF_CONF_CODE",
    "DESTDMP",
    "DESTMSSANTEPS",
    "DESTMSSANTEPAT",
    "ACK_RECEPTION",
    "ACK_LECTURE_MSS",
)
"""The required metadata, in the order of the volet; OBX-5 is Y or N."""

TEXTS = ("CORPSMAIL_PS", "CORPSMAIL_PATIENT")
"""The optional mail texts; OBX-5 is ED, base64."""

_ORDER = {code: rank for rank, code in enumerate((*FLAGS, *TEXTS))}
_ALIASES = {"ACK_LECTURE": "ACK_LECTURE_MSS"}  # occurs in an example of the volet
_TABLE = "MetaDMPMSS"
_VALUE_TYPES = {"MDM": "CWE", "ORU": "CE"}


@frozen
class Metadata:
    """What the metadata OBX say."""

    visibility: Visibility
    destinations: Destinations
    wants_delivery_receipts: bool
    wants_reading_receipts: bool
    professional_text: str | None
    patient_text: str | None


def canonical_code(text: str) -> str:
    """OBX-3.1 as the table spells it: without spaces (`INVISIBLE_ REP_LEGAUX` occurs), `ACK_LECTURE` completed."""
    code = "".join(text.split()).upper()
    return _ALIASES.get(code, code)


def is_metadata(group: ObservationGroup) -> bool:
    """Whether an OBX is one of the metadata, known or not, rather than a document."""
    return group.table == _TABLE or canonical_code(group.code) in _ORDER


def read_metadata(reading: Reading, groups: list[ObservationGroup], structure: str, encoding: str) -> Metadata:
    """The metadata of `groups`, those that hold no document; `encoding` is the codec of the mail texts.

    Errors: a flag that is missing (101), not Y or N (103), twice (198), or of an unknown code (103, it might be a
    visibility rule misspelt). Spelling and order of what is understood all the same only warn.
    """
    found: dict[str, ObservationGroup] = {}
    rank = -1
    for group in groups:
        code, where = canonical_code(group.code), group.obx.location
        if code not in _ORDER:
            if is_metadata(group):
                reading.error("103", f"unknown code of table {_TABLE}", f"{where}-3")
            else:
                reading.warning("199", "an OBX that the volet does not name: ignored", where)
            continue
        if code in found:
            reading.error("198", f"{code} is there twice", where)
            continue
        found[code] = group
        if _ORDER[code] < rank:
            reading.warning("100", f"{code} is out of the volet's order", where)
        rank = max(rank, _ORDER[code])
        _check_form(reading, group, code, structure)
    flags = {code: _flag(reading, code, found.get(code)) for code in FLAGS}
    texts = {code: _text(reading, found[code].obx, encoding) if code in found else None for code in TEXTS}
    return _metadata(flags, texts, closed=_closes_channel(reading, found.get("DESTMSSANTEPAT")))


def _metadata(flags: Mapping[str, bool], texts: Mapping[str, str | None], *, closed: bool) -> Metadata:
    return Metadata(
        visibility=Visibility(
            hidden_from_professionals=flags["MASQUE_PS"],
            hidden_from_patient=flags["INVISIBLE_PATIENT"],
            hidden_from_representatives=flags["INVISIBLE_REP_LEGAUX"],
            secret_connection=flags["CONNEXION_SECRETE"],
            modifies_confidentiality=flags["MODIF_CONF_CODE"],
        ),
        destinations=Destinations(
            dmp=flags["DESTDMP"],
            professionals=flags["DESTMSSANTEPS"],
            patient=flags["DESTMSSANTEPAT"],
            patient_may_not_answer=closed,
        ),
        wants_delivery_receipts=flags["ACK_RECEPTION"],
        wants_reading_receipts=flags["ACK_LECTURE_MSS"],
        professional_text=texts["CORPSMAIL_PS"],
        patient_text=texts["CORPSMAIL_PATIENT"],
    )


def _check_form(reading: Reading, group: ObservationGroup, code: str, structure: str) -> None:
    obx, where = group.obx, group.obx.location
    expected = "ED" if code in TEXTS else _VALUE_TYPES[structure]
    if group.value_type != expected:
        reading.warning("102", f"the value type of {code} is {expected} in {structure}", f"{where}-2")
    if group.table != _TABLE:
        reading.warning("103", f"the coding system of {code} is {_TABLE}", f"{where}-3.3")
    if code not in TEXTS and reading.text(obx, 5, 3) != "expandedYes-NoIndicator":
        reading.warning("103", "the coding system of Y and N is expandedYes-NoIndicator", f"{where}-5.3")
    if reading.text(obx, 11) != "F":
        reading.warning("103", "the result status of a metadata OBX is F", f"{where}-11")


def _flag(reading: Reading, code: str, group: ObservationGroup | None) -> bool:
    if group is None:
        reading.error("101", f"the metadata {code} is required", "OBX")
        return False
    where = f"{group.obx.location}-5"
    value = reading.text(group.obx, 5)
    if group.obx.repetition_count(5) > 1 and len([e for e in group.obx.repetitions(5) if e.strip(b"^& ")]) > 1:
        reading.error("198", f"{code} has one value, Y or N", where)
    elif not value:
        reading.missing(group.obx, 5, f"{code} Y or N")
    elif value not in {"Y", "N"}:
        reading.error("103", f"{code} is Y or N", where)
    return value == "Y"


def _text(reading: Reading, obx: Segment, encoding: str) -> str | None:
    """The mail text; None when it is empty. Base64 cut short (official examples) keeps what is whole, and warns."""
    where = f"{obx.location}-5"
    value = encapsulated(reading.message.raw, obx)
    if value.encoding != "BASE64":
        reading.error("103", "a mail text is ^text^^Base64^<data>", f"{where}.4")
        return None
    if value.stray:
        reading.error("198", "one text only: something follows OBX-5.5", where)
        return None
    try:
        data, cut = decode_truncated_text(value.data)
        text = data.decode(encoding, "ignore" if cut else "strict")
    except Base64Error as error:
        reading.error("102", f"the mail text {error}", f"{where}.5")
        return None
    except UnicodeDecodeError:
        reading.error("102", "the mail text is not in the character set of MSH-18", f"{where}.5")
        return None
    if cut:
        reading.warning("102", "the base64 of the mail text is cut short: its end may be missing", f"{where}.5")
    return text or None


def _closes_channel(reading: Reading, group: ObservationGroup | None) -> bool:
    """NTE-4 = FIN after DESTMSSANTEPAT: the patient is not to answer."""
    return group is not None and any(reading.text(note, 4).upper() == "FIN" for note in group.notes)
