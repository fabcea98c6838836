"""PID of an MDM to the LPS, from the CDA's recordTarget (volet LPS 1.1; PAM France; annexe INS)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS, ClinicalDocument, Identifier
from pfiflow.errors import Problem
from pfiflow.hl7.er7 import SegmentSpec, segment
from pfiflow.hl7.writer import FieldValue
from pfiflow.segur.values import PatientIdentifier, PatientIdentity

__all__ = ["identity_of", "pid"]

_NAMESPACES: Final = MappingProxyType(
    {
        "1.2.250.1.213.1.4.8": "ASIP-SANTE-INS-NIR",
        "1.2.250.1.213.1.4.9": "ASIP-SANTE-INS-NIA",
        "1.2.250.1.213.1.4.10": "ASIP-SANTE-INS-NIR",
        "1.2.250.1.213.1.4.11": "ASIP-SANTE-INS-NIR",
    }
)
"""CX-4.1 by authority (annexe INS of the CI-SIS)."""

_SEXES: Final = MappingProxyType({"UN": "U"})  # HL7 v3 → table 0001


def identity_of(document: ClinicalDocument, problems: list[Problem], *, test_platform: bool) -> PatientIdentity:
    """The identity that PID carries: the document's own identifiers, all of them and nothing else (PID-3).

    PID-32 is VALI when the document has an INS with its five traits: an INS may travel only with a qualified identity
    (annexe INS). A test INS on a platform that is none is a problem.
    """
    patient = document.patient
    ids = tuple(_identifier(each) for each in patient.ids if each.extension)
    if not test_platform and any(each.authority in INS_TEST_ROOTS for each in ids):
        message = "the document carries a test INS, and this is no test platform"
        problems.append(Problem("207", message, "recordTarget/patientRole/id", rule="annexe INS", detail_code="906"))
    qualified = patient.ins(test_platform=test_platform) is not None and patient.has_five_traits()
    return PatientIdentity(
        ids=ids,
        birth_family=patient.birth_family,
        first_given=patient.first_birth_given,
        given_names=patient.birth_given_names,
        birth_date=patient.birth_time[:8],
        gender=_SEXES.get(patient.gender, patient.gender),
        birth_place=patient.birth_place,
        reliability="VALI" if qualified else "",
    )


def pid(document: ClinicalDocument, identity: PatientIdentity) -> SegmentSpec:
    """PID-3 identifiers, 5 birth name (L) and used name (D), 7, 8, 11 birth place (BDL), 32."""
    patient = document.patient
    names: list[tuple[str, ...]] = []
    if identity.birth_family or identity.first_given:
        birth = (identity.birth_family, identity.first_given, identity.given_names)
        names.append((*birth, "", "", "", "L"))
    if patient.used_family or patient.used_given:
        used = (patient.used_family or identity.birth_family, patient.used_given or identity.first_given)
        names.append((*used, "", "", "", "", "D"))
    fields: dict[int, FieldValue] = {
        3: [_cx(each) for each in identity.ids],
        5: names,
        7: identity.birth_date,
        8: identity.gender,
        32: identity.reliability,
    }
    if identity.birth_place:
        fields[11] = ("", "", "", "", "", "", "BDL", "", identity.birth_place)
    return segment("PID", fields)


def _identifier(identifier: Identifier) -> PatientIdentifier:
    is_ins = identifier.root in INS_ROOTS | INS_TEST_ROOTS
    return PatientIdentifier(
        identifier.extension,
        authority=identifier.root,
        type="INS" if is_ins else "PI",
        namespace=_NAMESPACES.get(identifier.root, ""),
    )


def _cx(identifier: PatientIdentifier) -> tuple[str | tuple[str, ...], ...]:
    return (identifier.id, "", "", (identifier.namespace, identifier.authority, "ISO"), identifier.type)
