"""PID against recordTarget: a document of another patient never passes."""

from __future__ import annotations

import pytest
from attrs import evolve

from pfiflow.cda.values import Identifier
from pfiflow.segur.identity import check_identity, comparable_name
from pfiflow.segur.values import Destinations, PatientIdentifier
from pfiflow.simulators.messages import document, message, patient
from tests.segur.edits import base, both, edited, header_of

INS = "1.2.250.1.213.1.4.10"
IPP = "1.2.250.1.71.4.2.2.999999999.3"
PROFESSIONALS = Destinations(professionals=True)


def test_the_same_patient_agrees() -> None:
    assert check_identity(*both(base())) == ()


def test_every_trait_of_another_patient_is_told_and_none_is_shown() -> None:
    transmission, _ = both(base())
    other = header_of(document("N1", number=1, patient=2, size=0).data)
    found = check_identity(transmission, other)
    assert all(each.severity == "error" and each.code == "207" and each.detail_code == "904" for each in found)
    assert [each.location for each in found] == ["PID-3", "PID-3", "PID-5.1", "PID-5.2", "PID-7", "PID-8", "PID-11"]
    said = " ".join(map(str, found))
    for who in (patient(1), patient(2)):
        for secret in (who.matricule, who.family, who.given, who.birth_date, who.ipp, who.birth_place):
            assert secret not in said


@pytest.mark.parametrize(
    ("field", "value"),
    [("PID-7", "19370203"), ("PID-8", "F"), ("PID-11", "^^^^^^BDL^^63113"), ("PID-5", "PAT-BACI^CLAUDE^X^^^^L")],
)
def test_one_differing_trait_is_an_error(field: str, value: str) -> None:
    (problem,) = check_identity(*both(edited(base(), {field: value})))
    assert problem.severity == "error"
    assert problem.location.startswith(field)


@pytest.mark.parametrize("name", ["pat-baco", "PAT BACO", "Pat'Baco", "PÂT-BÂÇÔ", "PAT\u2010BACO", "PATBACO"])
def test_one_name_in_many_spellings(name: str) -> None:
    assert check_identity(*both(edited(base(), {"PID-5": f"{name}^Cläude^X^^^^L"}))) == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("LEBŒUF", "Leboeuf", True),
        ("D'ARTAGNAN", "d\u2019Artagnan", True),
        ("MÜLLER", "MULLER", True),
        ("NUÑEZ", "NUNEZ", True),
        ("DUPONT", "DUPOND", False),
        ("DUPONT", "DUPONT MARTIN", False),
        ("JEAN-PIERRE", "JEAN", False),
        ("Groß", "GROSS", True),
    ],
)
def test_how_names_compare(one: str, other: str, same: bool) -> None:
    assert (comparable_name(one) == comparable_name(other)) is same


def test_a_trait_on_one_side_only_warns() -> None:
    transmission, header = both(edited(base(), {"PID-7": "", "PID-11": ""}))
    found = check_identity(transmission, evolve(header, patient=evolve(header.patient, gender="")))
    assert [(each.severity, each.location) for each in found] == [
        ("warning", "PID-7"),
        ("warning", "PID-8"),
        ("warning", "PID-11"),
    ]


@pytest.mark.parametrize("destinations", [Destinations(dmp=True), Destinations(patient=True), PROFESSIONALS])
@pytest.mark.parametrize("side", ["message", "document"])
def test_an_ins_on_one_side_only(side: str, destinations: Destinations) -> None:
    transmission, header = both(base())
    local = tuple(i for i in transmission.patient.ids if i.authority != INS)
    if side == "document":
        transmission = evolve(transmission, patient=evolve(transmission.patient, ids=local))
    else:
        header = evolve(header, patient=evolve(header.patient, ids=(Identifier(IPP, patient(1).ipp),)))
    found = check_identity(evolve(transmission, destinations=destinations), header)
    assert found[0].severity == ("warning" if destinations is PROFESSIONALS else "error")
    assert found[0].detail_code == "903"
    assert {each.location for each in found} == {"PID-3"}


def test_two_ins_in_the_document_are_a_doubt() -> None:
    transmission, header = both(base())
    ids = (*header.patient.ids, Identifier("1.2.250.1.213.1.4.8", patient(1).matricule))
    (problem, *_) = check_identity(transmission, evolve(header, patient=evolve(header.patient, ids=ids)))
    assert (problem.severity, problem.detail_code) == ("error", "906")


def test_the_same_ins_and_another_local_number_of_one_authority() -> None:
    transmission, header = both(base())
    ids = (header.patient.ids[0], Identifier(IPP, "IPP9999999"))
    (problem,) = check_identity(transmission, evolve(header, patient=evolve(header.patient, ids=ids)))
    assert (problem.severity, problem.location) == ("error", "PID-3")


def test_no_identifier_in_common() -> None:
    transmission, header = both(base())
    local = (PatientIdentifier("IPP0000001", type="PI", namespace="HOPITAL"),)
    nobody = evolve(header, patient=evolve(header.patient, ids=(Identifier(IPP, "IPP0000001"),)))
    found = check_identity(evolve(transmission, patient=evolve(transmission.patient, ids=local)), nobody)
    assert [(each.severity, each.location) for each in found] == [("error", "PID-3")]
    assert "OID" in found[0].message


def test_one_identifier_more_on_a_side_warns() -> None:
    only_ins = f"{patient(1).matricule}^^^&{INS}&ISO^INS"
    (problem,) = check_identity(*both(edited(base(), {"PID-3": only_ins})))
    assert (problem.severity, problem.location) == ("warning", "PID-3")


def test_a_corsican_ins_in_lower_case_is_the_same() -> None:
    data = message(document(number=9, patient=5, size=0))
    assert "2A" in patient(5).matricule
    lower = data.replace(
        b"|" + patient(5).matricule.encode() + b"^^^", b"|" + patient(5).matricule.lower().encode() + b"^^^"
    )
    assert lower != data
    assert check_identity(*both(lower)) == ()
