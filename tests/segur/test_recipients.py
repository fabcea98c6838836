"""Nothing goes to the wrong mailbox."""

from __future__ import annotations

import pytest
from attrs import evolve

from pfiflow.errors import Rejected
from pfiflow.segur.recipients import (
    check_recipients,
    dmp_refusal,
    patient_address,
    patient_mail_refusal,
    professional_recipients,
)
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Participation, PatientIdentifier, Transmission
from pfiflow.simulators.messages import document, message, patient
from tests.segur.edits import base, edited, flags, inserted, without

INS = "1.2.250.1.213.1.4.10"
NIR = "1.2.250.1.213.1.4.8"
WHO = patient(1)
MINE = f"{WHO.matricule}@patient.mssante.fr"


def refused(transmission: Transmission, *, test_platform: bool = True) -> str:
    """The refusal's location, which is also what patient_address raises."""
    refusal = patient_mail_refusal(transmission, test_platform=test_platform)
    assert refusal is not None
    assert (refusal.code, refusal.severity) == ("207", "error")
    for secret in (WHO.matricule, WHO.family, WHO.given):
        assert secret not in str(refusal)
    with pytest.raises(Rejected) as caught:
        patient_address(transmission, test_platform=test_platform)
    assert caught.value.problems == (refusal,)
    return refusal.location


def real(transmission: Transmission, matricule: str = WHO.matricule) -> Transmission:
    """The same patient with an INS of the real authority."""
    ids = (PatientIdentifier(matricule, NIR, "INS"),)
    return evolve(transmission, patient=evolve(transmission.patient, ids=ids), recipients=transmission.recipients[:1])


def test_the_address_is_built_from_the_qualified_ins() -> None:
    transmission = read(base())
    assert patient_mail_refusal(transmission, test_platform=True) is None
    assert patient_address(transmission, test_platform=True) == MINE
    alone = read(without(base(), "PRT[3]"))  # no RCT of the patient: the address is built all the same
    assert patient_address(alone, test_platform=True) == MINE
    assert patient_address(real(transmission), test_platform=False) == MINE
    assert patient_address(real(transmission), test_platform=True) == MINE


def test_not_asked_is_refused() -> None:
    assert refused(read(flags(base(), DESTMSSANTEPAT="N"))) == "OBX[9]-5"


def test_invisible_to_the_patient() -> None:
    assert refused(read(flags(base(), INVISIBLE_PATIENT="Y"))) == "OBX[3]-5"


@pytest.mark.parametrize(
    ("born", "minor"),
    [("20070106", False), ("20070107", True), ("20200101", True), ("19370202", False), ("", True)],
)
def test_a_minor_whose_representatives_must_not_see(born: str, minor: bool) -> None:
    data = edited(flags(base(), INVISIBLE_REP_LEGAUX="Y"), {"PID-7": born, "MSH-7": "20250106"})
    transmission = read(data)
    if minor:
        assert refused(transmission) == "OBX[4]-5"
    else:
        assert patient_address(transmission, test_platform=True) == MINE


@pytest.mark.parametrize(
    "changes",
    [
        {"PID-32": ""},
        {"PID-32": "PROV"},
        {"PID-32": "VALI~DOUT"},
        {"PID-5": "PAT-BACO^^^^^^L"},
        {"PID-5": "PAT-BACO^CLAUDE^^^^^D"},
        {"PID-7": ""},
        {"PID-8": ""},
        {"PID-11": ""},
        {"PID-11": "^^^^^^H^^63113"},
        {"PID-3": f"{WHO.ipp}^^^&1.2.3&ISO^PI"},
        {"PID-3": f"{WHO.matricule}^^^&{INS}&ISO^NH"},
    ],
    ids=str,
)
def test_without_a_qualified_ins_neither_patient_nor_dmp(changes: dict[str, str | bytes]) -> None:
    transmission = read(edited(base(), changes))
    assert refused(transmission) == "PID"
    refusal = dmp_refusal(transmission, test_platform=True)
    assert refusal is not None
    assert refusal.detail_code == "905"
    assert professional_recipients(transmission) == ("docteur.test@demo.mssante.fr",)


def test_a_test_ins_counts_on_a_test_platform_only() -> None:
    transmission = read(base())
    assert refused(transmission, test_platform=False) == "PID"
    refusal = patient_mail_refusal(transmission, test_platform=False)
    assert refusal is not None
    assert "test platform" in refusal.message
    assert dmp_refusal(transmission, test_platform=False) is not None
    assert dmp_refusal(transmission, test_platform=True) is None


def test_two_ins_are_none() -> None:
    transmission = read(base())
    ids = (*transmission.patient.ids, PatientIdentifier(patient(2).matricule, NIR, "INS"))
    doubtful = evolve(transmission, patient=evolve(transmission.patient, ids=ids))
    assert refused(doubtful) == refused(doubtful, test_platform=False) == "PID"


def test_a_real_ins_has_its_key_right() -> None:
    transmission = read(base())
    wrong = WHO.matricule[:13] + ("00" if WHO.matricule[13:] != "00" else "01")
    assert refused(real(transmission, wrong), test_platform=False) == "PID-3"
    assert dmp_refusal(real(transmission, wrong), test_platform=False) is not None
    assert refused(real(transmission, WHO.matricule[:13]), test_platform=False) == "PID-3"
    tested = read(without(edited(base(), {"PID-3": f"{wrong}^^^&{INS}&ISO^INS"}), "PRT[3]"))
    assert patient_mail_refusal(tested, test_platform=True) is None


@pytest.mark.parametrize(
    "address",
    [
        f"{patient(2).matricule}@patient.mssante.fr",
        f"277{WHO.matricule}@patient.mssante.fr",
        f"{WHO.matricule}@patient.mssante.fra",
        f"{WHO.matricule}@hopital.mssante.fr",
        f"{WHO.matricule}@patient.mssante.fr.demo.fr",
        f"{WHO.matricule[:13]}@patient.mssante.fr",
    ],
)
def test_an_address_that_differs_refuses_the_patients_mail_alone(address: str) -> None:
    transmission = read(edited(base(), {"PRT[3]-15": f"^^X.400^{address}"}))
    assert refused(transmission) == "PRT[3]-15"
    assert professional_recipients(transmission) == ("docteur.test@demo.mssante.fr",)
    nobody_named = read(edited(base(), {"PRT[3]-5": "", "PRT[3]-15": f"^^X.400^{address}"}))
    assert refused(nobody_named) == "PRT[3]-15"
    assert professional_recipients(nobody_named) == ("docteur.test@demo.mssante.fr",)


def test_case_does_not_make_an_address_differ() -> None:
    transmission = read(edited(base(), {"PRT[3]-15": f"^^X.400^{WHO.matricule}@PATIENT.MSSante.fr"}))
    assert patient_address(transmission, test_platform=True) == MINE


def test_prt_naming_another_ins_refuses() -> None:
    other = f"{patient(2).matricule}^X^Y^^^^^^&{INS}&ISO^L^^^INS"
    assert refused(read(edited(base(), {"PRT[3]-5": other}))) == "PRT[3]-15"


def test_a_second_patients_address_refuses() -> None:
    second = f"PRT||UC||RCT|||||||||||^^X.400^{patient(2).matricule}@patient.mssante.fr"
    assert refused(read(inserted(base(), "OBX[2]", second))) == "PRT[4]-15"


def test_professionals_each_once_in_order_never_a_patient() -> None:
    data = message(
        document(number=1, patient=1, size=0),
        recipients=("B.b@demo.mssante.fr", "a@demo.mssante.fr", "b.B@DEMO.mssante.fr"),
    )
    assert professional_recipients(read(data)) == ("B.b@demo.mssante.fr", "a@demo.mssante.fr")
    assert professional_recipients(read(flags(data, DESTMSSANTEPS="N"))) == ()


def test_a_transmission_made_by_hand_is_held_to_the_same() -> None:
    transmission = evolve(
        read(base()),
        recipients=(
            Participation("RCT", address="a@demo.fr\r\nBcc: b@demo.fr"),
            Participation("RCT", address=MINE),
            Participation("RCT", person_id_type="INS", address="c@demo.fr"),
        ),
        reply_to="x y",
    )
    assert professional_recipients(transmission) == ()
    assert [each.location for each in check_recipients(transmission)] == ["PRT[2]-15", "PRT", "PRT"]
    to_patient = evolve(transmission, reply_to=MINE)
    assert [each.code for each in check_recipients(to_patient)] == ["102", "101", "207"]
    assert check_recipients(read(base())) == ()
    assert [each.location for each in check_recipients(evolve(transmission, raw=b""))] == ["PRT-15", "PRT", "PRT"]
