"""Synthetic transmissions as a DPI sends them: MDM T02, T10, T04 (HL7 2.6), ORU R01 (2.5); for demo, tests, benches.

    python -m pfiflow.simulators.messages OUT_DIR      writes the few files of `examples/messages`

Patients and documents are those of `pfiflow.simulators.documents`: nobody exists. Same arguments, same bytes.
"""

from __future__ import annotations

import binascii
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pfiflow.cda.values import Identifier
from pfiflow.hl7.charset import hl7_name
from pfiflow.hl7.er7 import SegmentSpec, build, segment
from pfiflow.segur.metadata import FLAGS
from pfiflow.segur.values import Action
from pfiflow.simulators.documents import (
    OPERATIVE_REPORT,
    ORGANIZATION,
    ROOT,
    TEST_INS_AUTHORITY,
    SyntheticDocument,
    SyntheticPatient,
    document,
    patient,
)

__all__ = ["DEFAULT_FLAGS", "SyntheticDocument", "SyntheticPatient", "document", "examples", "message", "patient"]

Family = Literal["MDM", "ORU"]

DEFAULT_FLAGS: Mapping[str, str] = dict.fromkeys(FLAGS, "N") | {
    "DESTDMP": "Y",
    "DESTMSSANTEPS": "Y",
    "DESTMSSANTEPAT": "Y",
}
"""Row 1 of the matrix: DMP, professionals and patient."""

_LABELS = {
    "MASQUE_PS": "Masqué aux professionnels de Santé",
    "INVISIBLE_PATIENT": "Document Non Visible par le patient",
    "INVISIBLE_REP_LEGAUX": "Non visible par les représentants Légaux du patient",
    "CONNEXION_SECRETE": "Connexion Secrete",
    "MODIF_CONF_CODE": "Modification Confidentiality Code",
    "DESTDMP": "Destinataire DMP",
    "DESTMSSANTEPS": "Destinataire (Professionnel de Santé, organisation ou BAL applicative)",
    "DESTMSSANTEPAT": "Destinataire Patient",
    "ACK_RECEPTION": "Accusé de réception",
    "ACK_LECTURE_MSS": "Accusé de lecture",
    "CORPSMAIL_PS": "Corps du mail pour un PS",
    "CORPSMAIL_PATIENT": "Corps du mail pour le patient",
}
_TRIGGERS = {Action.NEW: "T02", Action.REPLACE: "T10", Action.DELETE: "T04"}
_STATUS = {Action.NEW: "F", Action.REPLACE: "C", Action.DELETE: "D"}
_PERSONS = ("TEST-PS", "1.2.250.1.71.4.2.1", "ISO")
_STRUCTURES = ("TEST-STRUCTURE", "1.2.250.1.71.4.2.2", "ISO")


def message(
    document: SyntheticDocument,
    *,
    kind: Family = "MDM",
    action: Action | None = None,
    recipients: tuple[str, ...] = ("docteur.test@demo.mssante.fr",),
    reply_to: str = "",
    flags: Mapping[str, str] | None = None,
    professional_text: str = "",
    patient_text: str = "",
    close_channel: bool = False,
    control_id: str = "",
    processing_id: str = "T",
    encoding: str = "utf-8",
) -> bytes:
    """A message of the volet 2.1 with segments ended by CR, without MLLP framing.

    Args:
        document: what it carries.
        kind: MDM (2.6) or ORU (2.5).
        action: default: a replacement when the document replaces one, else new.
        recipients: professionals' addresses, one PRT RCT each; the patient's follows when DESTMSSANTEPAT is Y.
        reply_to: address of a PRT REPLY; none when empty.
        flags: what differs from `DEFAULT_FLAGS`, code → Y or N.
        professional_text: CORPSMAIL_PS; none when empty.
        patient_text: CORPSMAIL_PATIENT; none when empty.
        close_channel: NTE-4 = FIN after DESTMSSANTEPAT.
        control_id: MSH-10; default: made from the document's id and the action.
        processing_id: MSH-11: T (test), P or D.
        encoding: Python codec of MSH-18: utf-8 or iso8859_15.
    """
    if action is None:
        action = Action.REPLACE if document.replaces else Action.NEW
    who = document.patient
    is_mdm = kind == "MDM"
    trigger = _TRIGGERS[action] if is_mdm else "R01"
    marks = {**DEFAULT_FLAGS, **(flags or {})}
    number = document.id.extension or document.id.root.rpartition(".")[2]
    kind_code = (document.type.code, document.type.display, "LN")
    segments = [
        segment(
            "MSH",
            {
                3: "DPI-DEMO",
                4: "HOPITAL-DEMO",
                5: "PFI",
                6: "HOPITAL-DEMO",
                7: document.time,
                9: (kind, trigger, "MDM_T02" if is_mdm else "ORU_R01"),
                10: control_id or f"DEMO-{number}-{action.value}",
                11: processing_id,
                12: "2.6" if is_mdm else "2.5",
                17: "FRA",
                18: hl7_name(encoding),
                21: ("2.1", "CISIS_CDA_HL7_V2"),
            },
        ),
        *((segment("EVN", {2: document.time}),) if is_mdm else ()),
        _pid(who),
        segment("PV1", {1: "1", 2: "I", 3: "UF-DEMO", 19: (f"SEJ{who.number:07d}", "", "", ("", f"{ROOT}.4", "ISO"))}),
        segment("ORC", {1: action.value}),
        segment("OBR", {1: "1", 4: kind_code}),
    ]
    if is_mdm:
        parent = {13: _entity(document.replaces)} if document.replaces else {}
        fixed = {1: "1", 2: document.type.code, 3: "TEXT", 4: document.time, 17: "AU"}
        segments.append(segment("TXA", {**fixed, 12: _entity(document.id), **parent}))
    base64 = binascii.b2a_base64(document.data, newline=False)
    content = ("", "text" if is_mdm else "TEXT", "XML", "Base64", base64)
    segments.append(segment("OBX", {1: "1", 2: "ED", 3: kind_code, 5: content, 11: _STATUS[action]}))
    segments += _participations(who, recipients, reply_to, to_patient=marks["DESTMSSANTEPAT"] == "Y")
    value_type = "CWE" if is_mdm else "CE"
    for place, code in enumerate(FLAGS, 2):
        value = (marks[code], "", "expandedYes-NoIndicator")
        segments.append(_metadata(place, code, value_type, value))
        if code == "DESTMSSANTEPAT" and close_channel:
            segments.append(segment("NTE", {1: "1", 4: "FIN"}))
    place = len(FLAGS) + 2
    for code, text in (("CORPSMAIL_PS", professional_text), ("CORPSMAIL_PATIENT", patient_text)):
        if text:
            data = binascii.b2a_base64(text.encode(encoding), newline=False)
            segments.append(_metadata(place, code, "ED", ("", "text", "", "Base64", data)))
            place += 1
    return build(segments, encoding=encoding)


def examples() -> dict[str, bytes]:
    """The files of `examples/messages`: name → bytes. Small, and between them every message and both levels."""
    first, letter = document("N1", number=1, patient=1), document("N3", number=2, patient=2, size=16_000, pdf_copy=True)
    second = document("N1", number=3, patient=1, replaces=first)
    corrected = document("N3", number=4, patient=2, size=16_000, replaces=letter)
    to_professionals = "Cher confrère, chère consœur, vous trouverez ci-joint un compte rendu de démonstration."
    to_patient = "Bonjour, votre hôpital vous adresse un document de démonstration."
    return {
        "mdm_t02_n1.hl7": message(first, flags={"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y"}),
        "mdm_t10_n1.hl7": message(second, flags={"ACK_RECEPTION": "Y"}),
        "mdm_t04_n1.hl7": message(second, action=Action.DELETE),
        "mdm_t02_n3.hl7": message(
            letter,
            close_channel=True,
            reply_to="secretariat@demo.mssante.fr",
            professional_text=to_professionals,
            patient_text=to_patient,
        ),
        "mdm_t10_n3.hl7": message(corrected),
        "mdm_t02_operative.hl7": message(document("N1", number=5, patient=3, code=OPERATIVE_REPORT)),
        "oru_r01_n3.hl7": message(
            letter,
            kind="ORU",
            control_id="DEMO-ORU-2-NW",
            encoding="iso8859_15",
            professional_text=to_professionals,
        ),
        "oru_r01_n3_replace.hl7": message(corrected, kind="ORU", control_id="DEMO-ORU-4-RO"),
    }


def _pid(who: SyntheticPatient) -> SegmentSpec:
    return segment(
        "PID",
        {
            3: [
                (who.matricule, "", "", ("TEST-INS-NIR", TEST_INS_AUTHORITY, "ISO"), "INS"),
                (who.ipp, "", "", ("HOPITAL-DEMO", f"{ROOT}.3", "ISO"), "PI"),
            ],
            5: (who.family, who.given, who.given_names, "", "", "", "L"),
            7: who.birth_date,
            8: who.gender,
            11: [
                ("1 rue de la Démonstration", "", "TESTVILLE", "", "", "FRA", "H"),
                ("", "", "", "", "", "", "BDL", "", who.birth_place),
            ],
            18: (f"DOS{who.number:07d}", "", "", ("", f"{ROOT}.5", "ISO"), "AN"),
            32: "VALI",
        },
    )


def _entity(identifier: Identifier) -> str | tuple[str, ...]:
    """EI of TXA-12 and 13."""
    if identifier.extension:
        return identifier.extension, "", identifier.root, "ISO"
    return identifier.root


def _participations(
    who: SyntheticPatient, recipients: tuple[str, ...], reply_to: str, *, to_patient: bool
) -> list[SegmentSpec]:
    rank = {2: "UC"}
    sender = ("899900000001", "DOCTEUR-TEST", "Andrea", "", "", "", "", "", _PERSONS, "D", "", "", "IDNPS")
    structure = ("Hôpital de démonstration", "", "", "", "", _STRUCTURES, "IDNST", "", "", ORGANIZATION)
    found = [segment("PRT", {**rank, 4: ("SB", "Send by", "participation"), 5: sender, 8: structure})]
    for place, address in enumerate(recipients, 1):
        name = (f"8999000010{place:02d}", "CORRESPONDANT", "Test", "", "", "", "", "", _PERSONS, "D", "", "", "IDNPS")
        copies = ("RCT", "Result Copies To", "participation")
        found.append(segment("PRT", {**rank, 4: copies, 5: name, 15: ("", "", "X.400", address)}))
    if to_patient:
        ins = ("TEST-INS-NIR", TEST_INS_AUTHORITY, "ISO")
        name = (who.matricule, who.family, who.given, "", "", "", "", "", ins, "L", "", "", "INS")
        address = f"{who.matricule}@patient.mssante.fr"
        copies = ("RCT", "Result Copies To", "participation")
        found.append(segment("PRT", {**rank, 4: copies, 5: name, 15: ("", "", "X.400", address)}))
    if reply_to:
        copies = ("REPLY", "Reply To", "participation")
        found.append(segment("PRT", {**rank, 4: copies, 15: ("", "", "X.400", reply_to)}))
    return found


def _metadata(place: int, code: str, value_type: str, value: tuple[str | bytes, ...]) -> SegmentSpec:
    return segment("OBX", {1: str(place), 2: value_type, 3: (code, _LABELS[code], "MetaDMPMSS"), 5: value, 11: "F"})


def main(arguments: list[str]) -> int:
    """Write `examples()` into a directory. Returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pfiflow.simulators.messages OUT_DIR\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in examples().items():
        (folder / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
