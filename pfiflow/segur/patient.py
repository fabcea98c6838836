"""PID and PV1: who the patient is. What makes identity impossible or doubtful is an error."""

from __future__ import annotations

import re

from pfiflow.cda.identity import has_valid_key, is_matricule
from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS
from pfiflow.hl7.er7 import Segment
from pfiflow.segur.reading import Reading
from pfiflow.segur.values import PatientIdentifier, PatientIdentity

__all__ = ["read_patient", "read_visit"]

_DATE = re.compile(r"(\d{8})(?:\d{2,6}(?:\.\d{1,4})?(?:[+-]\d{4})?)?", re.ASCII)
_SEXES = frozenset("MFUOAN")  # HL7 table 0001
_BIRTH_PLACE = re.compile(r"[0-9A-Z]{5}", re.ASCII)  # code officiel géographique, INSEE
_PATIENT_CLASSES = frozenset("EIONR")
_CLASSES_WITH_VISIT = frozenset("EIOR")


def read_patient(reading: Reading, pid: Segment, message_time: str) -> PatientIdentity:
    """PID as an identity. `message_time` is MSH-7: an identifier that had expired by then (CX.8) is history.

    Notes 101, 102, 103 and 198 (two INS, two birth names or two birth places: a doubt that nobody here can settle).
    """
    family, first_given, given_names = _birth_name(reading, pid)
    gender = reading.text(pid, 8)
    if gender and gender not in _SEXES:
        reading.error("103", "the sex is a code of HL7 table 0001", "PID-8")
    reliabilities = (reading.text(pid, 32, repetition=r) for r in range(1, pid.repetition_count(32) + 1))
    return PatientIdentity(
        ids=_identifiers(reading, pid, message_time),
        birth_family=family,
        first_given=first_given,
        given_names=given_names,
        birth_date=_birth_date(reading, pid),
        gender=gender,
        birth_place=_birth_place(reading, pid),
        reliability="~".join(code for code in reliabilities if code),
        account=reading.text(pid, 18),
    )


def read_visit(reading: Reading, pv1: Segment | None) -> tuple[str, str]:
    """Patient class (PV1-2) and visit number (PV1-19.1); "" when there is no PV1, which an ORU may leave out."""
    if pv1 is None:
        return "", ""
    patient_class = reading.required(pv1, 2, "the patient class")
    if patient_class and patient_class not in _PATIENT_CLASSES:
        reading.warning("103", "the patient class is one of E, I, O, N, R", "PV1-2")
    visit = reading.text(pv1, 19)
    if not visit and patient_class in _CLASSES_WITH_VISIT:
        reading.error("101", "the visit number is required when PV1-2 is E, I, O or R", "PV1-19")
    return patient_class, visit


def _identifiers(reading: Reading, pid: Segment, message_time: str) -> tuple[PatientIdentifier, ...]:
    found: list[PatientIdentifier] = []
    for r in range(1, pid.repetition_count(3) + 1):
        where = "PID-3" if r == 1 else f"PID-3[{r}]"
        number = reading.text(pid, 3, 1, 1, r)
        identifier = PatientIdentifier(
            number,
            authority=reading.authority(pid, 3, 4, r),
            type=reading.text(pid, 3, 5, 1, r),
            namespace=reading.text(pid, 3, 4, 1, r),
        )
        if not number:
            if identifier != PatientIdentifier(""):
                reading.error("101", "an identifier without its number", where)
            continue
        expiry = reading.text(pid, 3, 8, 1, r)[:8]
        if len(expiry) == 8 and expiry.isdigit() and expiry < message_time[:8]:
            continue
        found.append(_checked(reading, identifier, where))
    if not found:
        reading.missing(pid, 3, "a patient identifier")
    known = {(i.id, i.authority) for i in found if i.authority in INS_ROOTS | INS_TEST_ROOTS}
    if len(known) > 1:
        reading.error("198", "two different INS: send the one that is the patient's today", "PID-3")
    return tuple(found)


def _checked(reading: Reading, identifier: PatientIdentifier, where: str) -> PatientIdentifier:
    is_ins = identifier.authority in INS_ROOTS | INS_TEST_ROOTS
    if not (identifier.authority or identifier.namespace):
        reading.warning("101", "an identifier without its assigning authority", f"{where}.4")
    elif identifier.type == "INS" and not is_ins:
        reading.warning("103", "type INS, but the authority is none of the INS: not used as an INS", f"{where}.4")
    if not is_ins:
        return identifier
    if identifier.type != "INS":
        reading.warning("103", "an INS authority, but the type is not INS: not used as an INS", f"{where}.5")
    number = identifier.id.upper()
    if not is_matricule(number):
        reading.error(
            "102", f"a matricule INS has 15 characters, 13 and the key; this has {len(number)} or a wrong form", where
        )
    elif not has_valid_key(number):
        reading.warning("102", "the key of the matricule INS is wrong", where)
    return PatientIdentifier(number, identifier.authority, identifier.type, identifier.namespace)


def _birth_name(reading: Reading, pid: Segment) -> tuple[str, str, str]:
    """Family name, first given name, list of given names of PID-5 type L, or of the repetition without a type."""
    names = [
        (reading.text(pid, 5, 7, 1, r), tuple(reading.text(pid, 5, part, 1, r) for part in (1, 2, 3)))
        for r in range(1, pid.repetition_count(5) + 1)
    ]
    names = [(kind, name) for kind, name in names if name[0]]
    if not names:
        reading.missing(pid, 5, "the patient's name")
        return "", "", ""
    births = {name for kind, name in names if kind == "L"} or {name for kind, name in names if not kind}
    if len(births) > 1:
        reading.error("198", "two different birth names (type L)", "PID-5")
    if not births:
        reading.warning("101", "no birth name (type L): the identity cannot be qualified", "PID-5.7")
        return "", "", ""
    family, first_given, given_names = min(births)
    return family, first_given, given_names


def _birth_date(reading: Reading, pid: Segment) -> str:
    value = reading.text(pid, 7)
    match = _DATE.fullmatch(value)
    if value and not match:
        reading.error("102", "a birth date is yyyymmdd", "PID-7")
    return match[1] if match else ""


def _birth_place(reading: Reading, pid: Segment) -> str:
    """XAD.9 of the PID-11 repetition with type (XAD.7) BDL: lieu de naissance."""
    places = {
        reading.text(pid, 11, 9, 1, r).upper()
        for r in range(1, pid.repetition_count(11) + 1)
        if reading.text(pid, 11, 7, 1, r) == "BDL"
    } - {""}
    if len(places) > 1:
        reading.error("198", "two different birth places (type BDL)", "PID-11")
    if any(not _BIRTH_PLACE.fullmatch(place) for place in places):
        reading.warning("102", "the birth place is an INSEE code of 5 characters", "PID-11.9")
        return ""
    return min(places, default="")
