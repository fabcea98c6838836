"""The destination matrix, and message against document."""

from __future__ import annotations

from itertools import product

import pytest
from attrs import evolve

from pfiflow.cda.values import Code, Identifier
from pfiflow.segur.rules import (
    Mode,
    check_confidentiality,
    check_destinations,
    check_document,
    check_processing,
    check_type,
)
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action, Destinations, Visibility
from pfiflow.simulators.messages import Family, document, message
from pfiflow.terminology import ValueSet
from tests.segur.edits import base, both, edited, flags, told

# The table of the volet, written again: PS, PAT → the triples (masked, hidden from patient, hidden from
# representatives) that pass, and what CONNEXION_SECRETE and DESTDMP may be.
TABLE = {
    ("Y", "Y"): ({("N", "N", "N")}, {"Y", "N"}, {"Y", "N"}),
    ("Y", "N"): ({("N", "Y", "N")}, {"Y", "N"}, {"Y", "N"}),
    ("N", "Y"): ({(m, "N", r) for m in "YN" for r in "YN"}, {"N"}, {"N"}),
}


@pytest.mark.parametrize(("professionals", "patient"), [("Y", "Y"), ("Y", "N"), ("N", "Y"), ("N", "N")])
def test_all_combinations_against_the_table(professionals: str, patient: str) -> None:
    read_once = read(base())
    for masked, hidden, representatives, secret, dmp in product("YN", repeat=5):
        transmission = evolve(
            read_once,
            visibility=Visibility(masked == "Y", hidden == "Y", representatives == "Y", secret == "Y"),
            destinations=Destinations(dmp == "Y", professionals == "Y", patient == "Y"),
        )
        strict = check_destinations(transmission, "strict")
        lenient = check_destinations(transmission, "lenient")
        if (professionals, patient) == ("N", "N"):
            expected = dmp == "Y"
            assert (not strict, not lenient) == (expected, expected)
            continue
        triples, secrets, dmps = TABLE[professionals, patient]
        allowed = (masked, hidden, representatives) in triples and secret in secrets and dmp in dmps
        assert (not strict) is allowed
        dangerous = (patient == "Y" and hidden == "Y") or (professionals == "Y" and masked == "Y")
        assert (not lenient) is not dangerous
        assert {each.location for each in lenient} <= {each.location for each in strict}


@pytest.mark.parametrize("code", ["MODIF_CONF_CODE", "ACK_RECEPTION", "ACK_LECTURE_MSS"])
def test_the_other_flags_are_free(code: str) -> None:
    assert check_destinations(read(flags(base(), **{code: "Y"})), "strict") == ()


def test_each_refused_flag_is_explained_at_its_place() -> None:
    data = flags(base(), MASQUE_PS="Y", INVISIBLE_PATIENT="Y", INVISIBLE_REP_LEGAUX="Y")
    strict = check_destinations(read(data), "strict")
    assert told(strict) == [("207", "OBX[2]-5"), ("207", "OBX[3]-5"), ("207", "OBX[4]-5")]
    assert "INVISIBLE_REP_LEGAUX must be N with DESTMSSANTEPS Y, DESTMSSANTEPAT Y" in strict[2].message
    assert told(check_destinations(read(data), "lenient")) == [("207", "OBX[2]-5"), ("207", "OBX[3]-5")]


def test_no_destination_is_refused() -> None:
    nowhere = read(flags(base(), DESTDMP="N", DESTMSSANTEPS="N", DESTMSSANTEPAT="N"))
    modes: tuple[Mode, ...] = ("lenient", "strict")
    for mode in modes:
        (problem,) = check_destinations(nowhere, mode)
        assert "no destination" in problem.message


def test_an_unknown_mode_is_a_defect() -> None:
    with pytest.raises(ValueError, match="lenient or strict"):
        check_destinations(read(base()), "loose")  # type: ignore[arg-type]


def test_a_transmission_without_its_bytes_still_gets_a_place() -> None:
    lost = evolve(read(flags(base(), INVISIBLE_PATIENT="Y")), raw=b"")
    assert told(check_destinations(lost, "lenient")) == [("207", "OBX-5")]


@pytest.mark.parametrize(("sent", "refused"), [("P", False), ("T", True), ("D", True)])
def test_a_test_message_does_not_reach_real_recipients(sent: str, refused: bool) -> None:
    transmission = read(edited(base(), {"MSH-11": sent}))
    assert told(check_processing(transmission, test_platform=False)) == ([("202", "MSH-11")] if refused else [])
    assert check_processing(transmission, test_platform=True) == ()


@pytest.mark.parametrize("code", ["N", "R", "V", ""])
def test_confidentiality(code: str) -> None:
    _, header = both(base())
    restricted = evolve(header, confidentiality=Code(code))
    assert (check_confidentiality(restricted) == ()) is (code == "N")
    assert check_confidentiality(restricted, frozenset({"N", "R", "V", ""})) == ()


def test_a_faultless_message_agrees_with_its_document() -> None:
    kinds: tuple[Family, ...] = ("MDM", "ORU")
    for kind, action in product(kinds, Action):
        transmission, header = both(base(kind, action))
        assert check_document(transmission, header) == ()
        assert check_type(transmission, header) == ()


def test_an_id_with_an_extension_agrees() -> None:
    transmission, header = both(message(document(number=8, extension=True)))
    assert check_document(transmission, header) == ()


@pytest.mark.parametrize(
    ("changes", "expected", "severity"),
    [
        ({"TXA-12": "1.2.3"}, ("207", "TXA-12"), "error"),
        ({"TXA-12": "2^^1.2.250.1.71.4.2.2.999999999.1^ISO"}, ("207", "TXA-12"), "error"),
        ({"TXA-13": "1.2.3"}, ("207", "TXA-13"), "error"),
        ({"OBR-4": "34112-3^CR^LN", "OBX-3": "34112-3^CR^LN", "TXA-2": "34112-3"}, ("207", "OBR-4"), "error"),
        (
            {"OBR-4": "11488-4^CR^TRE_A05", "OBX-3": "11488-4^CR^TRE_A05"},
            ("207", "OBR-4.3"),
            "warning",
        ),
    ],
)
def test_a_message_about_another_document(
    changes: dict[str, str | bytes], expected: tuple[str, str], severity: str
) -> None:
    (problem,) = check_document(*both(edited(base("MDM", Action.REPLACE), changes)))
    assert (problem.code, problem.location, problem.severity) == (*expected, severity)


def test_replacements() -> None:
    transmission, header = both(base("MDM", Action.REPLACE))
    alone = evolve(header, replaces=None)
    assert told(check_document(transmission, alone)) == [("207", "/ClinicalDocument/relatedDocument")]
    itself = check_document(transmission, evolve(header, replaces=header.id))
    assert told(itself) == [("207", "/ClinicalDocument/relatedDocument"), ("207", "TXA-13")]
    new, _ = both(base())
    (warning,) = check_document(evolve(new, document_id=header.id), header)
    assert (warning.severity, warning.location) == ("warning", "/ClinicalDocument/relatedDocument")
    deletion, deleted = both(base("MDM", Action.DELETE))
    (warning,) = check_document(evolve(deletion, parent_id=Identifier("1.2")), deleted)
    assert (warning.severity, warning.location) == ("warning", "TXA-13")


def test_an_oru_is_held_to_its_document_too() -> None:
    transmission, header = both(base("ORU", Action.REPLACE))
    assert told(check_document(transmission, evolve(header, replaces=None))) == [
        ("207", "/ClinicalDocument/relatedDocument")
    ]
    assert told(check_document(evolve(transmission, type=Code("34112-3")), header)) == [("207", "OBR-4")]


def test_the_type_is_in_the_value_sets() -> None:
    transmission, header = both(base())
    unknown = evolve(header, code=Code("0000-0", "2.16.840.1.113883.6.1"))
    assert told(check_type(transmission, unknown)) == [("103", "OBR-4"), ("103", "OBR-4")]
    not_dmp = evolve(transmission, destinations=Destinations(professionals=True))
    assert told(check_type(not_dmp, unknown)) == [("103", "OBR-4")]
    asked: list[str] = []

    def lookup(name: str) -> ValueSet:
        asked.append(name)
        return ValueSet(name, "", "", "", "", ())

    assert len(check_type(transmission, header, lookup)) == 2
    assert asked == ["JDV_J07", "JDV_J66"]
