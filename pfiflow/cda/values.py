"""What a CDA R2 header says, as frozen values. Strings are stripped; an absent or nullFlavor value is "" or None.

Names follow the CDA R2 and CI-SIS "structuration minimale" vocabulary.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

__all__ = [
    "INS_ROOTS",
    "INS_TEST_ROOTS",
    "Author",
    "ClinicalDocument",
    "Code",
    "Device",
    "Encounter",
    "Identifier",
    "Order",
    "Organization",
    "Patient",
    "Person",
    "ServiceEvent",
]

INS_ROOTS = frozenset({"1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9"})
"""Authorities of a real INS: NIR and NIA."""

INS_TEST_ROOTS = frozenset({"1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.11"})
"""Authorities of a test INS: accepted only on a platform that says it is one."""


@frozen
class Identifier:
    """An HL7 v3 II: `root` is an OID; `extension` is "" when the root alone identifies."""

    root: str
    extension: str = ""

    @property
    def unique_id(self) -> str:
        """The XDS `uniqueId` form: `root` or `root^extension` (ITI TF-3 4.2.3.2.26)."""
        return f"{self.root}^{self.extension}" if self.extension else self.root


@frozen
class Code:
    """An HL7 v3 CD/CE. `system` is the OID of the code system."""

    code: str
    system: str = ""
    display: str = ""
    system_name: str = ""


@frozen
class Organization:
    """An organisation of the header. `id` is its national identifier (root 1.2.250.1.71.4.2.2) when known."""

    id: Identifier | None = None
    name: str = ""
    practice_setting: Code | None = None  # standardIndustryClassCode, JDV_J04


@frozen
class Device:
    """An authoring device."""

    model: str = ""  # manufacturerModelName
    software: str = ""  # softwareName


@frozen
class Person:
    """A professional, or the patient as author. `ids` are in document order, without those that have a nullFlavor."""

    ids: tuple[Identifier, ...] = ()
    family: str = ""
    given: str = ""
    prefix: str = ""  # civilité, JDV_J245
    suffix: str = ""  # titre, JDV_J246
    code: Code | None = None  # assignedAuthor/code or assignedEntity/code: specialty, JDV_J01
    organization: Organization | None = None
    device: Device | None = None  # set instead of the names when the author is a device


@frozen
class Author:
    """One `author`: who, in what function, when (HL7 v3 TS as written)."""

    person: Person
    time: str = ""
    function: str = ""  # functionCode/@displayName, the XDS authorRole


@frozen
class Patient:
    """recordTarget/patientRole. Birth names carry qualifier BR, the used family name CL."""

    ids: tuple[Identifier, ...]
    birth_family: str = ""
    used_family: str = ""
    first_birth_given: str = ""  # given[@qualifier='BR']
    birth_given_names: str = ""  # given without qualifier: the list of birth given names
    used_given: str = ""  # given[@qualifier='CL']
    birth_time: str = ""  # HL7 v3 TS as written, normally yyyymmdd
    gender: str = ""  # administrativeGenderCode/@code: M, F, U
    birth_place: str = ""  # INSEE COG code, 5 characters: birthplace/place/addr/county
    birth_place_name: str = ""

    def ins(self, *, test_platform: bool) -> Identifier | None:
        """The matricule INS with its authority OID, or None. Test authorities count only on a test platform."""
        roots = INS_ROOTS | INS_TEST_ROOTS if test_platform else INS_ROOTS
        return next((i for i in self.ids if i.root in roots and i.extension), None)

    def local_id(self) -> Identifier | None:
        """The first identifier that is no INS (the hospital's IPP), or None."""
        known = INS_ROOTS | INS_TEST_ROOTS
        return next((i for i in self.ids if i.root not in known and i.extension), None)

    def has_five_traits(self) -> bool:
        """Birth family name, first birth given name, birth date, sex and birth place are all present."""
        return all((self.birth_family, self.first_birth_given, self.birth_time, self.gender, self.birth_place))


@frozen
class Order:
    """inFulfillmentOf/order: prescription or imaging order, with its DICOM accession number when there is one."""

    id: Identifier | None = None
    accession_number: Identifier | None = None  # ps3-20:accessionNumber


@frozen
class ServiceEvent:
    """documentationOf/serviceEvent, one documented act."""

    id: Identifier | None = None  # in imaging, root = Study Instance UID
    code: Code | None = None
    translations: tuple[tuple[Code, str], ...] = ()  # (code, qualifier code or "")
    start: str = ""  # effectiveTime/low (or @value), HL7 v3 TS as written
    stop: str = ""
    performer: Person | None = None


@frozen
class Encounter:
    """componentOf/encompassingEncounter."""

    ids: tuple[Identifier, ...] = ()
    code: Code | None = None
    start: str = ""
    stop: str = ""
    facility_type: Code | None = None  # location/healthCareFacility/code, JDV_J02


@frozen
class ClinicalDocument:
    """Header facts of one CDA R2 document, and its exact bytes."""

    raw: bytes
    id: Identifier
    code: Code
    title: str
    effective_time: str
    confidentiality: Code
    patient: Patient
    level: Literal["N1", "N3"]  # nonXMLBody or structuredBody
    language: str = ""
    set_id: Identifier | None = None
    version: str = ""
    template_ids: tuple[str, ...] = ()  # roots, in document order
    authors: tuple[Author, ...] = ()
    custodian: Organization | None = None
    legal_authenticator: Person | None = None
    legal_authenticator_time: str = ""
    encounter: Encounter | None = None
    service_events: tuple[ServiceEvent, ...] = ()
    orders: tuple[Order, ...] = ()
    replaces: Identifier | None = None  # relatedDocument[@typeCode='RPLC']/parentDocument/id
    media_type: str = ""  # N1: nonXMLBody/text/@mediaType
