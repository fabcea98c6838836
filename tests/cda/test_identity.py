from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.cda.document import read_tree
from pfiflow.cda.header import Element
from pfiflow.cda.identity import check_patient, has_valid_key, is_matricule
from pfiflow.errors import Problem
from tests.cda.samples import UNSTRUCTURED, changed, drop, edited, find

ROLE = "/ClinicalDocument/recordTarget/patientRole"


def problems(data: bytes, *, test_platform: bool = True) -> list[Problem]:
    document, tree = read_tree(data)
    found = list(check_patient(document.patient, tree, test_platform=test_platform))
    for problem in found:
        for content in ("PAT-TROIS", "279035121518989", "DOMINIQUE", "51215", "DUPONT"):
            assert content not in str(problem)
    return found


@pytest.mark.parametrize(
    "value", ["279035121518989", "2A90351215189", "1790351215189B0", "", "27903512151898", "x" * 15]
)
def test_form_of_a_matricule(value: str) -> None:
    assert is_matricule(value) == (value == "279035121518989")


def test_key_of_a_matricule() -> None:
    assert has_valid_key("279035121518989")
    assert not has_valid_key("279035121518988")
    assert not has_valid_key("27903512151898")
    assert not has_valid_key("279035A21518989")
    for department, stands_for in (("2A", "19"), ("2B", "18")):
        number = f"18505{department}123456"
        key = 97 - int(number.replace(department, stands_for)) % 97
        assert has_valid_key(f"{number}{key:02}")
        assert not has_valid_key(f"{number}{(key + 1) % 98:02}")


@given(st.integers(10**12, 10**13 - 1))
def test_one_key_alone_fits_a_number(number: int) -> None:
    keys = [key for key in range(100) if has_valid_key(f"{number}{key:02}")]
    assert keys == [97 - number % 97]


def test_the_sample_is_beyond_doubt() -> None:
    assert problems(UNSTRUCTURED.encode()) == []


def _set(path: str, name: str, value: str) -> Callable[[Element], object]:
    return lambda tree: find(tree, path).set(name, value)


PATIENT = "recordTarget/patientRole/patient"


@pytest.mark.parametrize(
    ("edit", "code", "where", "severity"),
    [
        (_set("recordTarget/patientRole/id", "extension", "27903512151898"), "102", "id[1]/@extension", "error"),
        (_set("recordTarget/patientRole/id", "extension", "27903512151898X"), "102", "id[1]/@extension", "error"),
        (_set("recordTarget/patientRole/id", "extension", "279035121518988"), "102", "id[1]/@extension", "warning"),
        (_set("recordTarget/patientRole/id", "root", "1.2.250.1.213.1.4.13"), "103", "id[1]/@root", "warning"),
        (
            lambda tree: find(tree, "recordTarget/patientRole").insert(2, find(tree, "recordTarget/patientRole/id")
            ),
            "100",
            "id[2]",
            "warning",
        ),
        (drop(f"{PATIENT}/birthTime"), "101", "patient/birthTime/@value", "warning"),
        (_set(f"{PATIENT}/birthTime", "value", "28/03/1979"), "102", "patient/birthTime/@value", "warning"),
        (drop(f"{PATIENT}/administrativeGenderCode"), "101", "patient/administrativeGenderCode/@code", "warning"),
        (drop(f"{PATIENT}/birthplace"), "101", "patient/birthplace/place/addr/county", "warning"),
        (drop(f"{PATIENT}/name/family"), "101", "patient/name/family[@qualifier='BR']", "warning"),
        (drop(f"{PATIENT}/name/given"), "101", "patient/name/given[not(@qualifier)]", "warning"),
        (
            lambda tree: setattr(find(tree, f"{PATIENT}/birthplace/place/addr/county"), "text", "DOMPREMY"),
            "102",
            "patient/birthplace/place/addr/county",
            "warning",
        ),
        (_set(f"{PATIENT}/name/given", "qualifier", "SP"), "103", "patient/name/given[1]/@qualifier", "warning"),
    ],
)  # fmt: skip
def test_every_doubt_is_said(edit: Callable[[Element], object], code: str, where: str, severity: str) -> None:
    found = problems(edited(edit))
    assert (code, f"{ROLE}/{where}", severity) in [(each.code, each.location, each.severity) for each in found]


def test_an_unqualified_family_name_is_warned_of() -> None:
    found = problems(changed(UNSTRUCTURED, ('<family qualifier="CL">', "<family>")))
    assert [each.location for each in found] == [f"{ROLE}/patient/name/family[2]/@qualifier"]


def test_without_ins_the_traits_are_free() -> None:
    def edit(tree: Element) -> None:
        drop("recordTarget/patientRole/id")(tree)
        for trait in ("birthTime", "birthplace", "name/family"):
            drop(f"{PATIENT}/{trait}")(tree)

    assert problems(edited(edit)) == []


def test_a_test_ins_counts_on_a_test_platform_only() -> None:
    assert problems(UNSTRUCTURED.encode(), test_platform=True) == []
    (problem,) = problems(UNSTRUCTURED.encode(), test_platform=False)
    assert (problem.severity, problem.location) == ("warning", f"{ROLE}/id[1]/@root")
    real = changed(UNSTRUCTURED, ('root="1.2.250.1.213.1.4.10"', 'root="1.2.250.1.213.1.4.8"'))
    assert problems(real, test_platform=False) == []


@pytest.mark.parametrize("date", ["19790300", "19790000", "19790328", "197903281200"])
def test_lunar_dates_are_dates(date: str) -> None:
    assert problems(changed(UNSTRUCTURED, ('birthTime value="19790328"', f'birthTime value="{date}"'))) == []
