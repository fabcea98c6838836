"""Is the document about the patient of the message? PID against recordTarget, before anything leaves.

How names compare. The reference identity (INSi) is written in capitals without diacritics, while hospitals and
documents write the same registered name with accents, ligatures, and hyphen, apostrophe or space in turn. So case,
diacritics, ligatures and whatever is no letter or digit are set aside; one differing letter is a difference. Nothing
phonetic, nothing abbreviated: a "nearly the same" patient is another patient. Dates, sex, places and identifiers
compare exactly.
"""

from __future__ import annotations

import unicodedata
from types import MappingProxyType

from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS, ClinicalDocument, Patient
from pfiflow.errors import Problem, Severity
from pfiflow.segur.values import PatientIdentity, Transmission

__all__ = ["check_identity", "comparable_name"]

_RULE = "volet Transmission 2.1, PID-3 and recordTarget/patientRole; référentiel INS"
_NO_INS, _DIFFERENT, _OTHER = "903", "904", "906"  # table 0533 of the volet PFI → LPS
_INS = INS_ROOTS | INS_TEST_ROOTS
_LIGATURES = str.maketrans({"Œ": "OE", "Æ": "AE", "Ø": "O", "Ł": "L", "Đ": "D"})
_SEXES = MappingProxyType({"UN": "U", "O": "U", "A": "U", "N": "U"})  # HL7 v3 UN, table 0001 other, ambiguous, n/a


def comparable_name(name: str) -> str:
    """A name as it compares: capitals, without diacritics, ligatures, hyphens, apostrophes, spaces."""
    decomposed = unicodedata.normalize("NFKD", name.upper().translate(_LIGATURES))
    return "".join(c for c in decomposed if c.isalnum())


def check_identity(transmission: Transmission, document: ClinicalDocument) -> tuple[Problem, ...]:
    """Every disagreement between PID and recordTarget. Names the field, never shows a value.

    Errors: INS that differ, or two INS in one document; different identifiers of one authority; no common identifier at
    all; a trait on both sides that differs; an INS on one side only when the DMP or the patient is a destination.
    Warnings: an INS on one side only (professionals alone), identifiers or traits on one side only.
    """
    mine, theirs = transmission.patient, document.patient
    needs_ins = transmission.destinations.dmp or transmission.destinations.patient
    return (*_identifiers(mine, theirs, needs_ins=needs_ins), *_traits(mine, theirs))


def _identifiers(mine: PatientIdentity, theirs: Patient, *, needs_ins: bool) -> list[Problem]:
    ours = {(i.authority, i.id.upper() if i.authority in _INS else i.id) for i in mine.ids}
    others = {(i.root, i.extension.upper() if i.root in _INS else i.extension) for i in theirs.ids}
    our_ins = {each for each in ours if each[0] in _INS}
    their_ins = {each for each in others if each[0] in _INS}
    problems = []
    if len(their_ins) > 1:
        problems.append(_problem("two different INS in the document", "PID-3", _OTHER))
    elif our_ins and their_ins and our_ins != their_ins:
        problems.append(
            _problem("the INS of PID-3 is not the INS of the document: another patient's document?", "PID-3")
        )
    elif bool(our_ins) != bool(their_ins):
        severity: Severity = "error" if needs_ins or not ours & others else "warning"
        missing = "the document has no INS, PID-3 has one" if our_ins else "PID-3 has no INS, the document has one"
        problems.append(_problem(missing, "PID-3", _NO_INS, severity))
    problems.extend(
        _problem("one authority identifies another patient in the document than in PID-3", "PID-3")
        for authority in {root for root, _ in ours} & {root for root, _ in others} - _INS - {""}
        if {each for each in ours if each[0] == authority}.isdisjoint(others)
    )
    if not problems and not ours & others:
        message = "PID-3 and the document have no identifier in common; give each of PID-3 its authority's OID"
        problems.append(_problem(message, "PID-3"))
    if not problems and ours != others:
        message = f"PID-3 must hold the document's identifiers; {len(ours ^ others)} of them are on one side only"
        problems.append(_problem(message, "PID-3", "", "warning"))
    return problems


def _traits(mine: PatientIdentity, theirs: Patient) -> list[Problem]:
    name = comparable_name
    sex, other_sex = (_SEXES.get(code, code) for code in (mine.gender, theirs.gender))
    compared = (
        ("PID-5.1", "birth family name", name(mine.birth_family), name(theirs.birth_family)),
        ("PID-5.2", "first given name", name(mine.first_given), name(theirs.first_birth_given)),
        ("PID-7", "birth date", mine.birth_date, theirs.birth_time[:8]),
        ("PID-8", "sex", sex, other_sex),
        ("PID-11", "birth place", mine.birth_place.upper(), theirs.birth_place.strip().upper()),
    )
    problems = []
    for location, what, one, other in compared:
        if one and other and one != other:
            problems.append(_problem(f"the {what} differs from the document's: another patient's document?", location))
        elif bool(one) != bool(other):
            where = "PID" if one else "the document"
            problems.append(_problem(f"the {what} is in {where} only: not compared", location, "", "warning"))
    return problems


def _problem(message: str, location: str, detail: str = _DIFFERENT, severity: Severity = "error") -> Problem:
    return Problem("207", message, location, severity, _RULE, detail)
