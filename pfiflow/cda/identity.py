"""The patient of a document: matricule INS and the traits that go with it (CI-SIS, référentiel INS).

What is impossible (a matricule of the wrong form) is an error; what published examples get wrong all the same (the key)
is a warning. No message quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from pfiflow.cda.header import Element, child, children, follow, location
from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS, Identifier, Patient
from pfiflow.errors import Problem

__all__ = ["check_patient", "has_valid_key", "is_matricule"]

_RULE: Final = "CI-SIS structuration minimale, recordTarget"
_INS: Final = "Référentiel INS"
_ROLE: Final = "/ClinicalDocument/recordTarget/patientRole"
_INS_ARC: Final = "1.2.250.1.213.1.4."
_MATRICULE: Final = re.compile(r"[1-9][0-9]{5}[0-9AB][0-9]{8}", re.ASCII)
_PLACE: Final = re.compile(r"[0-9][0-9AB][0-9]{3}", re.ASCII)
_DATE: Final = re.compile(r"[12][0-9]{3}(0[0-9]|1[0-2])([0-2][0-9]|3[01])", re.ASCII)  # lunar dates: month or day 00
_QUALIFIERS: Final = {"family": frozenset({"BR", "CL"}), "given": frozenset({"BR", "CL", ""})}


def is_matricule(value: str) -> bool:
    """Whether a string has the form of a matricule INS: 13 characters (A or B for Corsica) and a key of 2 digits."""
    return _MATRICULE.fullmatch(value) is not None


def has_valid_key(matricule: str) -> bool:
    """Whether the last two digits are 97 less the rest of the first thirteen by 97; 2A counts as 19, 2B as 18."""
    if not is_matricule(matricule):
        return False
    number, key = matricule[:13].replace("2A", "19", 1).replace("2B", "18", 1), matricule[13:]
    return number.isdecimal() and 97 - int(number) % 97 == int(key)


def check_patient(patient: Patient, document: Element, *, test_platform: bool) -> Iterator[Problem]:
    """Every doubt about the patient's identity. `document` is the ClinicalDocument that `patient` was read from."""
    matricules = [each for each in patient.ids if each.root in INS_ROOTS | INS_TEST_ROOTS]
    for place, each in enumerate(patient.ids, start=1):
        where = f"{_ROLE}/id[{place}]" if len(patient.ids) > 1 else f"{_ROLE}/id"
        if each in matricules:
            yield from _check_ins(each, where, first=place == 1, test_platform=test_platform)
        elif each.root.startswith(_INS_ARC):
            yield _warning("103", f"{where}/@root", "Unknown INS authority: this identifier does not count as an INS.")
    if matricules:
        for trait, missing in (
            ("patient/name/family[@qualifier='BR']", not patient.birth_family),
            ("patient/name/given[@qualifier='BR']", not patient.first_birth_given),
            ("patient/name/given[not(@qualifier)]", not patient.birth_given_names),
            ("patient/birthTime/@value", not patient.birth_time),
            ("patient/administrativeGenderCode/@code", not patient.gender),
            ("patient/birthplace/place/addr/county", not patient.birth_place),
        ):
            if missing:
                yield _warning("101", f"{_ROLE}/{trait}", "This trait is mandatory with an INS.")
    if patient.birth_time and _DATE.fullmatch(patient.birth_time[:8]) is None:
        yield _warning("102", f"{_ROLE}/patient/birthTime/@value", "The birth date is not of the form yyyymmdd.")
    if patient.birth_place and _PLACE.fullmatch(patient.birth_place) is None:
        where = f"{_ROLE}/patient/birthplace/place/addr/county"
        yield _warning("102", where, "The birth place is not an INSEE code of five characters.")
    name = follow(child(document, "recordTarget"), "patientRole", "patient", "name")
    for part, allowed in _QUALIFIERS.items():
        for element in islice(children(name, part), 20):
            if not allowed.issuperset((element.get("qualifier") or "").split() or ("",)):
                expected = " or ".join(sorted(filter(None, allowed))) + (" or absent" if "" in allowed else "")
                yield _warning(
                    "103",
                    f"{location(element)}/@qualifier",
                    f"The qualifier of a name part of the patient is {expected}.",
                )


def _check_ins(ins: Identifier, where: str, *, first: bool, test_platform: bool) -> Iterator[Problem]:
    if not is_matricule(ins.extension):
        length = len(ins.extension)
        message = (
            f"A matricule INS has 15 characters, a key of two digits included; this one has {length} or other signs."
        )
        yield Problem("102", message, f"{where}/@extension", rule=_INS)
    elif not has_valid_key(ins.extension):
        yield _warning("102", f"{where}/@extension", "The key of the matricule INS is wrong.", _INS)
    if ins.root in INS_TEST_ROOTS and not test_platform:
        message = "The authority is one of test INS: it does not count as an INS here."
        yield _warning("103", f"{where}/@root", message, _INS)
    if not first:
        yield _warning("100", where, "The INS comes first among the identifiers of the patient.")


def _warning(code: str, where: str, message: str, rule: str = _RULE) -> Problem:
    return Problem(code, message, where, severity="warning", rule=rule)
