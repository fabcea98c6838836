"""ANS's own example messages (../shared/vectors/hl7, not part of the project)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfiflow.cda import document as cda
from pfiflow.cda.values import Identifier
from pfiflow.segur.rules import (
    check_confidentiality,
    check_destinations,
    check_document,
    check_identity,
    check_recipients,
    check_type,
    dmp_refusal,
    patient_address,
    patient_mail_refusal,
    professional_recipients,
)
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action
from tests.segur.edits import refusal, told

MESSAGES = {
    "transmission_mdm_t02_n1.er7": Action.NEW,
    "transmission_mdm_t10_n1.er7": Action.REPLACE,
    "transmission_mdm_t04_n1.er7": Action.DELETE,
    "transmission_oru_submit_n3.hl7": Action.NEW,
    "transmission_oru_replace_n3.hl7": Action.REPLACE,
}


def data_of(shared: Path, name: str) -> bytes:
    return (shared / "vectors" / "hl7" / name).read_bytes()


@pytest.mark.parametrize("name", MESSAGES)
def test_every_transmission_passes_in_lenient_mode(shared: Path, name: str) -> None:
    found = read(data_of(shared, name))
    header = cda.read(found.document)
    assert found.action is MESSAGES[name]
    assert found.patient.qualified_ins(test_platform=True)
    problems = (
        *found.warnings,
        *check_destinations(found, "lenient"),
        *check_identity(found, header),
        *check_document(found, header),
        *check_type(found, header),
        *check_confidentiality(header),
        *check_recipients(found),
    )
    is_oru = found.structure == "ORU"
    # the cut text of the mail, and the IPP that only the document has
    assert told(problems) == ([("102", "OBX[12]-5.5"), ("207", "PID-3")] if is_oru else [])
    assert {each.severity for each in problems} <= {"warning"}
    assert professional_recipients(found) == ("adam.hoda@test-ci-sis.mssante.fr",)
    assert dmp_refusal(found, test_platform=True) is None
    assert found.professional_text is not None
    assert found.professional_text.startswith("Cher confrère")


def test_the_mdm_leave_the_strict_matrix(shared: Path) -> None:
    strict = {name: told(check_destinations(read(data_of(shared, name)), "strict")) for name in MESSAGES}
    assert strict == {
        "transmission_mdm_t02_n1.er7": [("207", "OBX[4]-5")],
        "transmission_mdm_t10_n1.er7": [("207", "OBX[3]-5")],
        "transmission_mdm_t04_n1.er7": [("207", "OBX[3]-5")],
        "transmission_oru_submit_n3.hl7": [],
        "transmission_oru_replace_n3.hl7": [],
    }


def test_a_namespace_in_the_document_id_is_ignored(shared: Path) -> None:
    found = read(data_of(shared, "transmission_mdm_t10_n1.er7"))
    assert found.document_id == Identifier("1.2.250.1.71.4.2.2.120456789.71024000082")
    assert found.parent_id == Identifier("1.2.250.1.71.4.2.2.120456789.71024000081")


def test_spaces_after_an_identifier_are_trimmed(shared: Path) -> None:
    sender = read(data_of(shared, "transmission_mdm_t02_n1.er7")).sender
    assert sender is not None
    assert sender.organization_id == "300017985"


def test_the_wrong_patient_address_refuses_that_mail_alone(shared: Path) -> None:
    wrong = read(data_of(shared, "transmission_oru_submit_n3.hl7"))
    refusal_ = patient_mail_refusal(wrong, test_platform=True)
    assert refusal_ is not None
    assert refusal_.location == "PRT[3]-15"
    right = read(data_of(shared, "transmission_oru_replace_n3.hl7"))
    assert patient_address(right, test_platform=True) == "279035121518989@patient.mssante.fr"
    assert patient_mail_refusal(right, test_platform=False) is not None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("delivery_mdm_t02_n1.er7", ("200", "MSH-21")),
        ("delivery_mdm_t10_n1.er7", ("200", "MSH-21")),
        ("receipt_z01_dmp.er7", ("200", "MSH-9")),
        ("receipt_z02_mss.er7", ("200", "MSH-9")),
        ("receipt_z03_reading.er7", ("200", "MSH-9")),
        ("ack_t10.er7", ("200", "MSH-9")),
    ],
)
def test_messages_of_other_flows_are_refused(shared: Path, name: str, expected: tuple[str, str]) -> None:
    assert told(refusal(data_of(shared, name))) == [expected]
