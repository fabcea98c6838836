"""What one MDM or ORU of the volet "Transmission de document(s) CDA en HL7v2" 2.1 says, as frozen values.

Their representations show nothing that a message says of a person: they may end in a log, and a badly built message
carries a name where a code belongs.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from attrs import frozen

from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS, Code, Identifier
from pfiflow.errors import Problem

__all__ = [
    "IDENTITY_CODES_BESIDE_VALI",
    "Action",
    "Destinations",
    "Participation",
    "PatientIdentifier",
    "PatientIdentity",
    "Transmission",
    "Visibility",
]

IDENTITY_CODES_BESIDE_VALI = frozenset({"HOMD", "HOMA", "IDVER", "RECD", "IDRA", "FILI"})
"""PID-32 codes (table 0445, extension France) that leave a validated identity validated: namesakes, links, provenance.

Any other code beside VALI (DOUT doubtful, FICT fictive, USUR usurped, COLP/COLV collision, DPOT/DOUA duplicate, DESA
and INVA withdrawn, CACH hidden…) says that this may be somebody else: not qualified.
"""


class Action(Enum):
    """What the message asks for; values are ORC-1."""

    NEW = "NW"
    REPLACE = "RO"
    DELETE = "CA"


@frozen(repr=False)
class PatientIdentifier:
    """One repetition of PID-3 (CX): number, authority (HD: namespace, OID), type code."""

    id: str
    authority: str = ""  # CX.4.2, the OID
    type: str = ""  # CX.5: INS, PI…
    namespace: str = ""  # CX.4.1

    def __repr__(self) -> str:
        return f"<PatientIdentifier of {len(self.id)} characters>"


@frozen(repr=False)
class PatientIdentity:
    """PID. Five INS traits: birth family, first given, birth date, sex, birth place (INSEE, PID-11 type BDL)."""

    ids: tuple[PatientIdentifier, ...]
    birth_family: str = ""
    first_given: str = ""
    given_names: str = ""
    birth_date: str = ""  # yyyymmdd
    gender: str = ""
    birth_place: str = ""
    reliability: str = ""  # PID-32; VALI = validated; several codes are joined with `~`
    account: str = ""  # PID-18.1, the stay or file number

    def ins(self, *, test_platform: bool) -> PatientIdentifier | None:
        """The INS repetition of PID-3 with a known authority OID, or None. Test OIDs only on a test platform.

        None as well when PID-3 holds two different INS, of whatever authority: which one is the patient's is a guess.
        """
        found = {
            (i.id, i.authority): i for i in self.ids if i.type == "INS" and i.authority in INS_ROOTS | INS_TEST_ROOTS
        }
        if len(found) != 1:
            return None
        (ins,) = found.values()
        accepted = INS_ROOTS | INS_TEST_ROOTS if test_platform else INS_ROOTS
        return ins if ins.id and ins.authority in accepted else None

    def missing_for_qualification(self, *, test_platform: bool) -> tuple[str, ...]:
        """What keeps the INS from being qualified, as HL7 fields (`PID-32`, `PID-11 (BDL)`…); () when it is."""
        codes = set(self.reliability.split("~"))
        present = {
            "PID-3 (INS)": self.ins(test_platform=test_platform) is not None,
            "PID-5.1 (type L)": bool(self.birth_family),
            "PID-5.2 (type L)": bool(self.first_given),
            "PID-7": len(self.birth_date) == 8,
            "PID-8": bool(self.gender),
            "PID-11 (BDL)": bool(self.birth_place),
            "PID-32 (VALI)": "VALI" in codes and codes <= IDENTITY_CODES_BESIDE_VALI | {"VALI"},
        }
        return tuple(name for name, there in present.items() if not there)

    def qualified_ins(self, *, test_platform: bool) -> PatientIdentifier | None:
        """The INS when identity is qualified: matricule, OID, the five traits and PID-32 = VALI; None otherwise."""
        if self.missing_for_qualification(test_platform=test_platform):
            return None
        return self.ins(test_platform=test_platform)

    @property
    def ordering_key(self) -> str:
        """Key under which this patient's messages keep their order: `<authority OID or namespace>|<id>`.

        The hospital's own number (type PI) before any other, and the INS last: a patient comes in under the number, and
        the INS is found, replaced or withdrawn later, between a document and the message that replaces it.
        It holds an identifier: it is a key of the store, not a thing to log.
        """
        known = INS_ROOTS | INS_TEST_ROOTS
        keys = [(i.authority in known, i.type != "PI", f"{i.authority or i.namespace}|{i.id}") for i in self.ids]
        return min(keys)[-1] if keys else "|"

    def __repr__(self) -> str:
        return f"<PatientIdentity with {len(self.ids)} identifiers>"


@frozen(repr=False)
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

    def __repr__(self) -> str:
        return f"<Participation {self.kind}>"


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


@frozen(repr=False)
class Transmission:
    """One accepted message. `raw` is the ER7 exactly as received; `document` the CDA bytes decoded from OBX-5.

    `warnings` are the broken rules that make nothing doubtful: to journal.
    """

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
    warnings: tuple[Problem, ...] = ()  # rules broken that do not reject

    def __repr__(self) -> str:
        return f"<Transmission {self.structure} {self.action.name}, document of {len(self.document)} bytes>"
