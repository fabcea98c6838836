"""A Transmission: what one MDM/ORU of the volet "Transmission de document(s) CDA en HL7v2" 2.1 says, as frozen values."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from attrs import frozen

from pfiflow.cda.values import Code, Identifier

__all__ = [
    "Action",
    "Destinations",
    "Participation",
    "PatientIdentity",
    "Transmission",
    "Visibility",
]


class Action(Enum):
    """What the message asks for; values are ORC-1."""

    NEW = "NW"
    REPLACE = "RO"
    DELETE = "CA"


@frozen
class PatientIdentifier:
    """One repetition of PID-3 (CX): number, authority (HD: namespace, OID), type code."""

    id: str
    authority: str = ""  # CX.4.2, the OID
    type: str = ""  # CX.5: INS, PI…
    namespace: str = ""  # CX.4.1


@frozen
class PatientIdentity:
    """PID. Five INS traits: birth family, first given, birth date, sex, birth place (INSEE, PID-11 type BDL)."""

    ids: tuple[PatientIdentifier, ...]
    birth_family: str = ""
    first_given: str = ""
    given_names: str = ""
    birth_date: str = ""  # yyyymmdd
    gender: str = ""
    birth_place: str = ""
    reliability: str = ""  # PID-32; VALI = validated
    account: str = ""  # PID-18.1, the stay or file number

    def ins(self, *, test_platform: bool) -> PatientIdentifier | None:
        """The INS repetition of PID-3 with a known authority OID, or None. Test OIDs only on a test platform."""
        raise NotImplementedError

    def qualified_ins(self, *, test_platform: bool) -> PatientIdentifier | None:
        """The INS when identity is qualified: matricule, OID, the five traits and PID-32 = VALI; None otherwise."""
        raise NotImplementedError

    @property
    def ordering_key(self) -> str:
        """Key under which this patient's messages keep their order: `<authority OID or namespace>|<id>`, INS first."""
        raise NotImplementedError


@frozen
class Participation:
    """One PRT after the document OBX."""

    kind: Literal["SB", "RCT", "REPLY"]
    person_id: str = ""  # PRT-5.1
    person_family: str = ""
    person_given: str = ""
    person_authority: str = ""  # PRT-5.9.2, OID
    person_id_type: str = ""  # PRT-5.13: IDNPS, RPPS, INS…
    organization_name: str = ""  # PRT-8.1
    organization_id: str = ""  # PRT-8.10
    organization_authority: str = ""  # PRT-8.6.2, OID
    organization_id_type: str = ""  # PRT-8.7: FINEJ, FINEG, IDNST…
    device: str = ""  # PRT-10
    address: str = ""  # PRT-15.4


@frozen
class Visibility:
    """The confidentiality metadata OBX."""

    hidden_from_professionals: bool = False  # MASQUE_PS
    hidden_from_patient: bool = False  # INVISIBLE_PATIENT
    hidden_from_representatives: bool = False  # INVISIBLE_REP_LEGAUX
    secret_connection: bool = False  # CONNEXION_SECRETE
    modifies_confidentiality: bool = False  # MODIF_CONF_CODE


@frozen
class Destinations:
    """Where the CREATEUR wants the document to go."""

    dmp: bool = False  # DESTDMP
    professionals: bool = False  # DESTMSSANTEPS
    patient: bool = False  # DESTMSSANTEPAT
    patient_may_not_answer: bool = False  # NTE-4 = FIN after DESTMSSANTEPAT


@frozen
class Transmission:
    """One accepted message. `raw` is the ER7 exactly as received; `document` the CDA bytes decoded from OBX-5."""

    raw: bytes
    structure: Literal["MDM", "ORU"]
    trigger: str  # T02, T10, T04, R01
    action: Action
    control_id: str  # MSH-10
    sending_application: str
    sending_facility: str
    message_time: str  # MSH-7 as written
    processing_id: str  # MSH-11
    patient: PatientIdentity
    patient_class: str  # PV1-2
    visit_number: str  # PV1-19.1
    type: Code  # OBR-4
    document: bytes
    document_id: Identifier | None  # TXA-12
    parent_id: Identifier | None  # TXA-13
    sender: Participation | None  # PRT SB
    recipients: tuple[Participation, ...]  # PRT RCT
    reply_to: str  # PRT REPLY, address
    visibility: Visibility
    destinations: Destinations
    wants_delivery_receipts: bool  # ACK_RECEPTION
    wants_reading_receipts: bool  # ACK_LECTURE_MSS
    professional_text: str | None = None  # CORPSMAIL_PS
    patient_text: str | None = None  # CORPSMAIL_PATIENT
