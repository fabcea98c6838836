from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from pfiflow.cda.values import Author as CdaAuthor
from pfiflow.cda.values import ClinicalDocument, Identifier
from pfiflow.dmp.gates import GateOptions, authoring_structure, check, check_authorship, institutions
from pfiflow.dmp.vihf import Vihf
from pfiflow.errors import Problem
from pfiflow.xds.metadata import CodedValue, SubmissionSet
from tests.dmp.builders import NOW, STRUCTURE, VIHF
from tests.xds.builders import DOCTOR, DOCUMENT, FINESS, HOSPITAL, entry_of, submission_of


def entries(*hidden: str, document: ClinicalDocument = DOCUMENT) -> SubmissionSet:
    return submission_of(entry_of(document, target="dmp", entry_uuid="Document01", hidden=hidden))


def problems(submission: SubmissionSet | None = None, vihf: Vihf = VIHF, **options: object) -> tuple[Problem, ...]:
    return check(submission or entries(), vihf, **{"now": NOW, **options})  # type: ignore[arg-type]


def by_structure(*identifiers: str) -> ClinicalDocument:
    """A document with one author for each structure."""
    people = [
        evolve(DOCTOR, organization=evolve(HOSPITAL, id=evolve(FINESS, extension=each) if each else None))
        for each in identifiers
    ]
    return evolve(DOCUMENT, authors=tuple(CdaAuthor(person) for person in people))


def test_what_is_right_may_leave() -> None:
    assert problems() == ()
    assert problems(submission_of(patient_id=VIHF.patient_id)) == ()


def test_an_ins_that_is_not_qualified() -> None:
    (problem,) = problems(missing_for_qualification=("PID-32 (VALI)", "PID-8"))
    assert "PID-32 (VALI), PID-8" in problem.message
    assert problem.location == "PID-3"


def test_the_same_patient_in_both() -> None:
    (problem,) = problems(vihf=evolve(VIHF, patient_id="179035121518989^^^&1.2.250.1.213.1.4.8&ISO^NH"))
    assert problem.rule == "XDSPatientIdDoesNotMatch"
    assert "9035121518989" not in str(problem)
    local = evolve(entries(), patient_id="IPP42^^^&1.2.3&ISO^PI")
    assert [each.location for each in problems(local)] == ["SubmissionSet.patientId"]


def test_the_vihf_and_its_sector() -> None:
    assert [each.location for each in problems(vihf=evolve(VIHF, subject=""))] == ["VIHF/subject-id"]
    (problem,) = problems(vihf=evolve(VIHF, sector="XX99^1.2.250.1.71.4.2.4"))
    assert "XX99 is not in JDV_J61" in problem.message


def test_the_authors_structure() -> None:
    assert problems(entries(document=by_structure("1999999999", STRUCTURE))) == ()
    (problem,) = problems(vihf=evolve(VIHF, structure="1300017985"))
    assert "1300017985" in problem.message
    assert STRUCTURE in problem.message
    assert problem.rule == "EX_2.1-1140"


def test_an_author_without_structure() -> None:
    (problem,) = problems(entries(document=by_structure("")))
    assert "no author of the document has a structure" in problem.message


def test_another_form_of_the_same_structure() -> None:
    bare = entries(document=by_structure("120459876"))
    (problem,) = problems(bare)
    assert "same place, other form" in problem.message
    chosen = authoring_structure(STRUCTURE, bare.entries[0])
    assert chosen == "120459876"
    assert problems(bare, evolve(VIHF, structure=chosen)) == ()


@pytest.mark.parametrize(
    "correspondence",
    [
        {"300017985": "120459876"},
        {"1120459876": "1300017985"},
        {"300017985": "1750000000", "120459876": "750000000"},
    ],
)
def test_the_correspondence_of_structures(correspondence: dict[str, str]) -> None:
    entry = entries().entries[0]
    assert authoring_structure("1300017985", entry, correspondence) == STRUCTURE
    assert authoring_structure("300017985", entry, correspondence) == STRUCTURE
    assert authoring_structure("1300017985", entry) == "1300017985"
    options = GateOptions(correspondence)
    (problem,) = problems(vihf=evolve(VIHF, structure="1300017985"), options=options)
    assert "sign with the author's form" in problem.message


def test_the_exact_structure_before_a_corresponding_one() -> None:
    entry = entries(document=by_structure("1999999999", STRUCTURE)).entries[0]
    assert institutions(entry) == ("1999999999", STRUCTURE)
    assert authoring_structure(STRUCTURE, entry, {"999999999": "120459876"}) == STRUCTURE


def test_hidden_from_all() -> None:
    hidden = entries("MASQUE_PS", "INVISIBLE_PATIENT")
    (problem,) = problems(hidden)
    assert problem.rule.startswith("DMP parameter")
    assert problems(hidden, options=GateOptions(hidden_from_all=True)) == ()
    assert problems(entries("MASQUE_PS")) == problems(entries("INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX")) == ()


def born(date: str) -> ClinicalDocument:
    return evolve(DOCUMENT, patient=evolve(DOCUMENT.patient, birth_time=date))


@pytest.mark.parametrize(
    ("date", "severity"),
    [("20080103", "error"), ("20080102", "warning"), ("", "error"), ("2008", "error"), ("19790328", "warning")],
)
def test_a_secret_connection_hides_a_minor_from_representatives(date: str, severity: str) -> None:
    secret = evolve(VIHF, secret_connection=True)
    (problem,) = problems(entries(document=born(date)), secret)
    assert (problem.rule, problem.severity) == ("EX_0.1-1100", severity)
    assert problems(entries("INVISIBLE_REP_LEGAUX", document=born(date)), secret) == ()


def test_authorship_of_a_deletion() -> None:
    entry = entries().entries[0]
    assert check_authorship(entry, VIHF) == ()
    (problem,) = check_authorship(entry, evolve(VIHF, structure="1300017985"))
    assert problem.rule == "EX_2.1-1140"


def test_an_unknown_confidentiality() -> None:
    submission = entries()
    entry = evolve(submission.entries[0], confidentiality_codes=(CodedValue("Z", "1.2"),))
    (problem,) = problems(evolve(submission, entries=(entry,)))
    assert "Z is not in JDV_J58" in problem.message


def test_a_document_of_the_future_is_a_warning() -> None:
    late = evolve(DOCUMENT, effective_time="20260102040407+0100")
    (problem,) = problems(entries(document=late))
    assert (problem.severity, problem.rule) == ("warning", "EX_GEN-1460")
    assert problems(entries(document=evolve(DOCUMENT, effective_time="20260102040406+0100"))) == ()
    assert problems(entries(document=evolve(DOCUMENT, effective_time="20260102"))) == ()
    assert problems(now=NOW - timedelta(days=5000)) != ()


def test_everything_at_once() -> None:
    wrong = evolve(VIHF, structure="1", name_id="", patient_id="x")
    found = problems(entries("MASQUE_PS", "INVISIBLE_PATIENT"), wrong, missing_for_qualification=("PID-7",))
    assert len(found) == 5


def test_two_documents_two_answers() -> None:
    other = evolve(by_structure("1999999999"), id=Identifier("1.2.3.10"))
    first = entry_of(DOCUMENT, target="dmp", entry_uuid="Document01")
    second = entry_of(other, target="dmp", entry_uuid="Document02")
    assert len(problems(submission_of(first, second))) == 1
