"""PatientIdentity: which INS, qualified or not, and the ordering key."""

from __future__ import annotations

import pytest
from attrs import evolve

from pfiflow.segur.values import PatientIdentifier, PatientIdentity

TEST, REAL = "1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.8"
INS = PatientIdentifier("279035121518989", REAL, "INS")
IPP = PatientIdentifier("IPP1", "1.2.3", "PI")
QUALIFIED = PatientIdentity(
    (IPP, INS), "PAT-TROIS", "DOMINIQUE", "DOMINIQUE", "19790328", "F", "63220", "VALI", "405660"
)


def test_the_ins() -> None:
    assert QUALIFIED.ins(test_platform=False) == INS
    test_ins = evolve(INS, authority=TEST)
    tested = evolve(QUALIFIED, ids=(test_ins,))
    assert tested.ins(test_platform=True) == test_ins
    assert tested.ins(test_platform=False) is None
    assert evolve(QUALIFIED, ids=(IPP,)).ins(test_platform=True) is None
    assert evolve(QUALIFIED, ids=(evolve(INS, type="NH"),)).ins(test_platform=True) is None
    assert evolve(QUALIFIED, ids=(INS, INS)).ins(test_platform=False) == INS
    assert evolve(QUALIFIED, ids=(INS, test_ins)).ins(test_platform=False) is None
    assert evolve(QUALIFIED, ids=(evolve(INS, id=""),)).ins(test_platform=False) is None


def test_qualified() -> None:
    assert QUALIFIED.qualified_ins(test_platform=False) == INS
    assert QUALIFIED.missing_for_qualification(test_platform=False) == ()


@pytest.mark.parametrize(
    ("name", "value", "missing"),
    [
        ("birth_family", "", "PID-5.1 (type L)"),
        ("first_given", "", "PID-5.2 (type L)"),
        ("birth_date", "197903", "PID-7"),
        ("gender", "", "PID-8"),
        ("birth_place", "", "PID-11 (BDL)"),
        ("reliability", "", "PID-32 (VALI)"),
        ("reliability", "VALI~DOUT", "PID-32 (VALI)"),
        ("reliability", "HOMA", "PID-32 (VALI)"),
        ("ids", (IPP,), "PID-3 (INS)"),
    ],
)
def test_each_thing_that_is_missing(name: str, value: object, missing: str) -> None:
    identity = evolve(QUALIFIED, **{name: value})  # type: ignore[arg-type]
    assert identity.qualified_ins(test_platform=False) is None
    assert identity.missing_for_qualification(test_platform=False) == (missing,)


def test_the_ordering_key_is_the_same_before_and_after_the_ins_is_known() -> None:
    assert evolve(QUALIFIED, ids=(IPP,)).ordering_key == "1.2.3|IPP1"
    assert evolve(QUALIFIED, ids=(INS, IPP)).ordering_key == "1.2.3|IPP1"
    assert evolve(QUALIFIED, ids=(IPP, INS)).ordering_key == "1.2.3|IPP1"
    other = PatientIdentifier("0", "1.1", "AN")
    assert evolve(QUALIFIED, ids=(other, INS, IPP)).ordering_key == "1.2.3|IPP1"
    assert evolve(QUALIFIED, ids=(INS,)).ordering_key == f"{REAL}|279035121518989"
    local = PatientIdentifier("7", namespace="HOPITAL")
    assert evolve(QUALIFIED, ids=(local,)).ordering_key == "HOPITAL|7"
    assert PatientIdentity(()).ordering_key == "|"


def test_the_representation_shows_nobody() -> None:
    for secret in ("279035121518989", "IPP1", "TROIS", "DOMINIQUE", "1979", "63220", "405660"):
        assert secret not in f"{QUALIFIED!r} {QUALIFIED.ids!r}"
