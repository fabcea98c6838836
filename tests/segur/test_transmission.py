"""Each rule of transmission.md: what breaks it gives its code and location, and all of them come at once."""

from __future__ import annotations

import pytest

from pfiflow.cda.values import Code, Identifier
from pfiflow.errors import Rejected
from pfiflow.hl7.er7 import MessageError
from pfiflow.segur.metadata import FLAGS
from pfiflow.segur.reading import MAX_PROBLEMS
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action, Destinations, Visibility
from pfiflow.simulators.messages import Family, document, message, patient
from tests.segur.edits import base, edited, flags, inserted, join, refusal, split, told, value_of, without

INS = "1.2.250.1.213.1.4.10"
WHO = patient(1)
ONE_INS = f"{WHO.matricule}^^^&{INS}&ISO^INS"


@pytest.mark.parametrize("kind", ["MDM", "ORU"])
@pytest.mark.parametrize("action", list(Action))
def test_every_kind_and_action_is_accepted(kind: Family, action: Action) -> None:
    found = read(base(kind, action))
    assert found.warnings == ()
    assert (found.structure, found.action) == (kind, action)
    assert found.document.startswith(b"<?xml")


def test_everything_that_the_message_says_is_read() -> None:
    sent = document("N3", number=7, patient=4, size=9_000, extension=True)
    data = message(
        sent,
        recipients=("Un@demo.mssante.fr", "deux@demo.mssante.fr"),
        reply_to="secretariat@demo.mssante.fr",
        flags={"ACK_RECEPTION": "Y", "CONNEXION_SECRETE": "Y"},
        professional_text="Cher confrère",
        patient_text="Bonjour œuvre",
        close_channel=True,
        control_id="ID-7",
        encoding="iso8859_15",
    )
    found = read(data)
    who = patient(4)
    assert found.raw == data
    assert found.document == sent.data
    assert (found.trigger, found.control_id, found.processing_id) == ("T02", "ID-7", "T")
    assert (found.sending_application, found.sending_facility) == ("DPI-DEMO", "HOPITAL-DEMO")
    assert found.message_time == sent.time
    assert found.type == Code("11490-0", "2.16.840.1.113883.6.1", sent.type.display, "LN")
    assert (found.document_id, found.parent_id) == (sent.id, None)
    assert found.document_id == Identifier("1.2.250.1.71.4.2.2.999999999.1", "7")
    assert (found.patient_class, found.visit_number) == ("I", "SEJ0000004")
    assert found.patient.birth_family == who.family
    assert (found.patient.first_given, found.patient.given_names) == (who.given, who.given_names)
    assert (found.patient.birth_date, found.patient.gender) == (who.birth_date, who.gender)
    assert (found.patient.birth_place, found.patient.reliability) == (who.birth_place, "VALI")
    assert found.patient.account == "DOS0000004"
    assert [(i.id, i.authority, i.type) for i in found.patient.ids] == [
        (who.matricule, INS, "INS"),
        (who.ipp, "1.2.250.1.71.4.2.2.999999999.3", "PI"),
    ]
    assert found.sender is not None
    assert (found.sender.person_id, found.sender.person_authority) == ("899900000001", "1.2.250.1.71.4.2.1")
    assert (found.sender.organization_id, found.sender.organization_id_type) == ("1999999999", "IDNST")
    assert found.sender.organization_authority == "1.2.250.1.71.4.2.2"
    assert [each.address for each in found.recipients] == [
        "Un@demo.mssante.fr",
        "deux@demo.mssante.fr",
        f"{who.matricule}@patient.mssante.fr",
    ]
    assert found.recipients[2].person_authority == INS
    assert found.reply_to == "secretariat@demo.mssante.fr"
    assert found.visibility == Visibility(secret_connection=True)
    assert found.destinations == Destinations(dmp=True, professionals=True, patient=True, patient_may_not_answer=True)
    assert (found.wants_delivery_receipts, found.wants_reading_receipts) == (True, False)
    assert (found.professional_text, found.patient_text) == ("Cher confrère", "Bonjour œuvre")


# What is no transmission at all gives that one error.
FOREIGN = [
    ({"MSH-9": "ZAM^Z01^ZAM_Z01"}, "200", "MSH-9"),
    ({"MSH-9": "ACK^T02^ACK"}, "200", "MSH-9"),
    ({"MSH-9": "ADT^A01^ADT_A01"}, "200", "MSH-9"),
    ({"MSH-9": ""}, "101", "MSH-9"),
    ({"MSH-21": "1.1^CISIS_CDA_HL7_LPS"}, "200", "MSH-21"),
    ({"MSH-18": "KOI8-R"}, "103", "MSH-18"),
]


@pytest.mark.parametrize(("changes", "code", "location"), FOREIGN)
def test_a_foreign_message_gives_one_error(changes: dict[str, str], code: str, location: str) -> None:
    broken = edited(base(), {**changes, "ORC-1": "XX", "PID-5": ""})
    assert told(refusal(broken)) == [(code, location)]


ERRORS: list[tuple[dict[str, str | bytes], list[tuple[str, str]]]] = [
    # MSH
    ({"MSH-3": ""}, [("101", "MSH-3")]),
    ({"MSH-4": ""}, [("101", "MSH-4")]),
    ({"MSH-5": ""}, [("101", "MSH-5")]),
    ({"MSH-6": '""'}, [("101", "MSH-6")]),
    ({"MSH-7": ""}, [("101", "MSH-7")]),
    ({"MSH-7": "6 juin"}, [("102", "MSH-7")]),
    ({"MSH-9": "MDM^T01^MDM_T02"}, [("201", "MSH-9.2")]),
    ({"MSH-9": "MDM^^MDM_T02"}, [("101", "MSH-9.2")]),
    ({"MSH-9": "MDM^T02^MDM_T01"}, [("200", "MSH-9.3")]),
    ({"MSH-9": "MDM^T02"}, [("101", "MSH-9.3")]),
    ({"MSH-10": " "}, [("101", "MSH-10")]),
    ({"MSH-11": ""}, [("101", "MSH-11")]),
    ({"MSH-11": "X"}, [("202", "MSH-11")]),
    ({"MSH-12": ""}, [("101", "MSH-12")]),
    ({"MSH-12": "2.5"}, [("203", "MSH-12")]),
    ({"MSH-17": ""}, [("101", "MSH-17")]),
    ({"MSH-17": "BEL"}, [("103", "MSH-17")]),
    ({"MSH-18": ""}, [("101", "MSH-18")]),
    ({"MSH-21": ""}, [("101", "MSH-21")]),
    ({"MSH-21": "2.0^CISIS_CDA_HL7_V2"}, [("203", "MSH-21")]),
    ({"MSH-21": "2.1^OTHER"}, [("103", "MSH-21")]),
    # PID
    ({"PID-3": ""}, [("101", "PID-3")]),
    ({"PID-3": f"^^^&{INS}&ISO^INS"}, [("101", "PID-3"), ("101", "PID-3")]),
    ({"PID-3": f"12345^^^&{INS}&ISO^INS"}, [("102", "PID-3")]),
    ({"PID-3": f"{ONE_INS}~{patient(2).matricule}^^^&{INS}&ISO^INS"}, [("198", "PID-3")]),
    ({"PID-3": f"{ONE_INS}~{WHO.matricule}^^^&1.2.250.1.213.1.4.8&ISO^INS"}, [("198", "PID-3")]),
    ({"PID-5": ""}, [("101", "PID-5")]),
    ({"PID-5": "UN^A^A^^^^L~DEUX^A^A^^^^L"}, [("198", "PID-5")]),
    ({"PID-7": "01/02/1950"}, [("102", "PID-7")]),
    ({"PID-7": "1950"}, [("102", "PID-7")]),
    ({"PID-8": "H"}, [("103", "PID-8")]),
    ({"PID-11": "^^^^^^BDL^^63113~^^^^^^BDL^^69123"}, [("198", "PID-11")]),
    # PV1
    ({"PV1-2": ""}, [("101", "PV1-2")]),
    ({"PV1-2": "E", "PV1-19": ""}, [("101", "PV1-19")]),
    ({"PV1-2": "I", "PV1-19": ""}, [("101", "PV1-19")]),
    ({"PV1-2": "O", "PV1-19": ""}, [("101", "PV1-19")]),
    ({"PV1-2": "R", "PV1-19": ""}, [("101", "PV1-19")]),
    # ORC, OBR, TXA
    ({"ORC-1": ""}, [("101", "ORC-1")]),
    ({"ORC-1": "SC"}, [("103", "ORC-1")]),
    ({"ORC-1": "RO"}, [("199", "ORC-1")]),
    ({"OBR-4": ""}, [("101", "OBR-4"), ("101", "OBR-4.3")]),
    ({"OBR-4": "11488-4^CR^XX", "OBX-3": "11488-4^CR^XX"}, [("103", "OBR-4.3")]),
    ({"OBR-4": "11488-4^CR"}, [("101", "OBR-4.3")]),
    ({"TXA-1": ""}, [("101", "TXA-1")]),
    ({"TXA-2": ""}, [("101", "TXA-2")]),
    ({"TXA-2": "34112-3"}, [("199", "TXA-2")]),
    ({"TXA-3": ""}, [("101", "TXA-3")]),
    ({"TXA-3": "FT"}, [("103", "TXA-3")]),
    ({"TXA-12": ""}, [("101", "TXA-12")]),
    ({"TXA-12": "^^^ISO"}, [("101", "TXA-12")]),
    ({"TXA-12": "ABC"}, [("102", "TXA-12")]),
    ({"TXA-12": "7^^hospital^ISO"}, [("102", "TXA-12")]),
    ({"TXA-12": "^^1.2.3^ISO"}, [("102", "TXA-12")]),
    ({"TXA-12": "1.2." + "3" * 70}, [("102", "TXA-12")]),
    ({"TXA-13": "ABC"}, [("102", "TXA-13")]),
    ({"TXA-17": ""}, [("101", "TXA-17")]),
    ({"TXA-17": "LA"}, [("103", "TXA-17")]),
    # the document
    ({"OBX-2": ""}, [("101", "OBX-2")]),
    ({"OBX-2": "TX"}, [("102", "OBX-2")]),
    ({"OBX-3": "34112-3^CR^LN"}, [("199", "OBX-3")]),
    ({"OBX-3": "11488-4^CR^TRE_A05"}, [("199", "OBX-3")]),
    ({"OBX-3": "11488-4"}, [("101", "OBX-3.3")]),
    ({"OBX-5": ""}, [("101", "OBX-5.2"), ("101", "OBX-5.3"), ("101", "OBX-5.4"), ("101", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^"}, [("101", "OBX-5.5")]),
    ({"OBX-5": "^application^XML^Base64^PGEvPg=="}, [("103", "OBX-5.2")]),
    ({"OBX-5": "^text^PDF^Base64^PGEvPg=="}, [("103", "OBX-5.3")]),
    ({"OBX-5": "^text^XML^Hex^PGEvPg=="}, [("103", "OBX-5.4")]),
    ({"OBX-5": "^text^XML^Base64^PGEv é"}, [("102", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^PGEv\\X0A\\Pg=="}, [("102", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^PGEv\nPg=="}, [("102", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^PGEvP"}, [("102", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^PGE=PGEv"}, [("102", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^PGEv&Pg=="}, [("102", "OBX-5.5")]),
    ({"OBX-5": "^text^XML^Base64^PGEvPg==^more"}, [("198", "OBX-5")]),
    ({"OBX-5": "^text^XML^Base64^PGEv~Pg=="}, [("198", "OBX-5")]),
    ({"OBX-5": "^text^XML^Base64^PGEv~^^^^Pg=="}, [("198", "OBX-5")]),
    ({"OBX-11": ""}, [("101", "OBX-11")]),
    ({"OBX-11": "P"}, [("103", "OBX-11")]),
    ({"OBX-11": "C"}, [("199", "OBX-11")]),
    # PRT: SB, RCT of a professional, RCT of the patient
    ({"PRT-4": ""}, [("101", "PRT"), ("101", "PRT-4")]),
    ({"PRT-5": ""}, [("101", "PRT-5")]),
    ({"PRT-8": "Hôpital"}, [("101", "PRT-8.10")]),
    ({"PRT[2]-4": "SB"}, [("101", "PRT"), ("198", "PRT[2]")]),
    ({"PRT[2]-15": ""}, [("101", "PRT"), ("101", "PRT[2]-15")]),
    ({"PRT[2]-15": "^^X.400^docteur"}, [("101", "PRT"), ("102", "PRT[2]-15.4")]),
    ({"PRT[2]-15": "^^X.400^a b@demo.fr"}, [("101", "PRT"), ("102", "PRT[2]-15.4")]),
    ({"PRT[2]-15": "^^X.400^a@demo.fr,b@demo.fr"}, [("101", "PRT"), ("102", "PRT[2]-15.4")]),
    ({"PRT[2]-15": "^^X.400^a@demo.fr\\X0D0A\\Bcc: b@demo.fr"}, [("101", "PRT"), ("102", "PRT[2]-15.4")]),
    ({"PRT[2]-15": "^^X.400^a@demo.fr~^^X.400^b@demo.fr"}, [("101", "PRT"), ("198", "PRT[2]-15")]),
    ({"PRT[2]-15": f"^^X.400^{patient(2).matricule}@patient.mssante.fr"}, [("101", "PRT"), ("199", "PRT[2]-15")]),
    ({"PRT[3]-15": "^^X.400^docteur@demo.mssante.fr"}, [("199", "PRT[3]-15")]),
    # metadata
    ({"OBX[2]-3": "MASQUE^?^MetaDMPMSS"}, [("101", "OBX"), ("103", "OBX[2]-3")]),
    ({"OBX[2]-5": ""}, [("101", "OBX[2]-5")]),
    ({"OBX[2]-5": "O"}, [("103", "OBX[2]-5")]),
    ({"OBX[2]-5": "y"}, [("103", "OBX[2]-5")]),
    ({"OBX[2]-5": "N~Y"}, [("198", "OBX[2]-5")]),
    ({"OBX[3]-3": "MASQUE_PS^?^MetaDMPMSS"}, [("101", "OBX"), ("198", "OBX[3]")]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), ERRORS, ids=[str(next(iter(c.items())))[:60] for c, _ in ERRORS])
def test_a_broken_field_is_refused_with_its_code_and_place(
    changes: dict[str, str | bytes], expected: list[tuple[str, str]]
) -> None:
    found = refusal(edited(base(), changes))
    assert told(found) == sorted(expected)
    assert all(each.severity == "error" and each.message and each.rule for each in found)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("MDM", "EVN", [("100", "EVN")]),
        ("MDM", "PID", [("100", "PID")]),
        ("MDM", "PV1", [("100", "PV1")]),
        ("MDM", "ORC", [("100", "ORC")]),
        ("MDM", "OBR", [("100", "OBR")]),
        ("MDM", "TXA", [("100", "TXA")]),
        ("ORU", "PID", [("100", "PID")]),
        ("ORU", "ORC", [("100", "ORC")]),
        ("ORU", "OBR", [("100", "OBR")]),
    ],
)
def test_a_missing_segment(kind: Family, name: str, expected: list[tuple[str, str]]) -> None:
    assert told(refusal(without(base(kind), name))) == expected


def test_no_obx_at_all() -> None:
    bare = join([each for each in split(base()) if not each.startswith((b"OBX", b"PRT"))])
    assert told(refusal(bare)) == [("100", "OBX"), *[("101", "OBX")] * 10]


def test_an_oru_may_leave_out_its_visit() -> None:
    found = read(without(base("ORU"), "PV1"))
    assert (found.patient_class, found.visit_number, found.warnings) == ("", "", ())


@pytest.mark.parametrize("name", ["EVN", "PID", "PV1", "ORC", "OBR", "TXA"])
def test_one_segment_too_many(name: str) -> None:
    again = next(each for each in split(base()) if each.startswith(name.encode()))
    assert told(refusal(inserted(base(), name, again))) == [("198", f"{name}[2]")]


def test_a_misplaced_segment() -> None:
    segments = split(base())
    segments[2], segments[3] = segments[3], segments[2]  # PV1 before PID
    assert told(refusal(join(segments))) == [("100", "PID")]


def test_a_participation_away_from_the_document() -> None:
    stray = split(base())[8]
    assert stray.startswith(b"PRT")
    assert told(refusal(inserted(base(), "OBX", stray))) == [("100", "PRT")]
    assert told(refusal(inserted(base(), "OBX[4]", stray))) == [("100", "PRT[4]")]


def test_segments_outside_the_volet_are_ignored_with_a_warning() -> None:
    found = read(inserted(inserted(base(), "PV1", "PD1|x"), "end", "ZZZ|whatever"))
    assert told(found.warnings) == [("100", "PD1"), ("100", "ZZZ")]
    assert all(each.severity == "warning" for each in found.warnings)


def test_optional_segments_of_the_volet_are_silent() -> None:
    data = inserted(base(), "OBR", "TQ1|1", "TQ2|1")
    assert read(inserted(data, "TXA", "NTE|1||comment")).warnings == ()
    assert read(inserted(base("ORU"), "OBX", "NTE|1||comment", "TQ1|1")).warnings == ()


def test_metadata_before_the_document() -> None:
    segments = split(base())
    at = next(i for i, each in enumerate(segments) if each.startswith(b"OBX|2|"))
    flag = segments.pop(at)
    segments.insert(7, flag)  # before the document
    assert told(refusal(join(segments))) == [("100", "OBX[2]")]


def test_metadata_and_no_document() -> None:
    found = refusal(without(base(), "OBX", "PRT", "PRT[2]", "PRT[3]"))
    assert told(found) == [("101", "OBX"), ("101", "PRT"), ("101", "PRT")]


def test_two_documents() -> None:
    document_obx = b"|".join((b"OBX|2", *split(base())[7].split(b"|")[2:]))
    assert told(refusal(inserted(base(), "OBX[2]", document_obx))) == [("198", "OBX[2]")]
    (problem,) = refusal(inserted(base("ORU"), "OBX[2]", document_obx))
    assert (problem.code, problem.location) == ("207", "OBX[2]")
    assert "N1 and N3" in problem.message


@pytest.mark.parametrize("code", FLAGS)
@pytest.mark.parametrize("kind", ["MDM", "ORU"])
def test_every_flag_is_required(kind: Family, code: str) -> None:
    place = FLAGS.index(code) + 2
    found = refusal(without(base(kind), f"OBX[{place}]"))
    assert told(found) == [("101", "OBX")]
    assert code in found[0].message


def test_the_actions_of_an_oru_come_from_orc() -> None:
    assert told(refusal(edited(base("ORU"), {"ORC-1": "RO"}))) == [("199", "OBX-11")]
    assert read(edited(base("ORU"), {"ORC-1": "RO", "OBX-11": "C"})).action is Action.REPLACE
    assert told(refusal(edited(base("ORU"), {"ORC-1": "XX"}))) == [("103", "ORC-1")]


@pytest.mark.parametrize(("trigger", "control", "status"), [("T10", "RO", "C"), ("T04", "CA", "D"), ("T02", "NW", "F")])
def test_trigger_control_and_status_must_agree(trigger: str, control: str, status: str) -> None:
    data = base("MDM", Action.REPLACE)
    agreeing = edited(data, {"MSH-9": f"MDM^{trigger}^MDM_T02", "ORC-1": control, "OBX-11": status})
    assert read(agreeing).trigger == trigger
    other = "NW" if control != "NW" else "RO"
    assert told(refusal(edited(agreeing, {"ORC-1": other}))) == [("199", "ORC-1")]
    assert told(refusal(edited(agreeing, {"OBX-11": "D" if status != "D" else "F"}))) == [("199", "OBX-11")]


def test_a_replacement_names_what_it_replaces() -> None:
    data = base("MDM", Action.REPLACE)
    assert told(refusal(edited(data, {"TXA-13": ""}))) == [("101", "TXA-13")]
    assert told(refusal(edited(data, {"TXA-13": value_of(data, "TXA-12")}))) == [("199", "TXA-13")]
    assert read(edited(base("MDM", Action.DELETE), {"TXA-13": ""})).parent_id is None


def test_what_the_destinations_require() -> None:
    no_sender = without(base(), "PRT")
    assert told(refusal(no_sender)) == [("101", "PRT")]
    assert read(flags(no_sender, DESTDMP="N")).sender is None
    nobody = without(base(), "PRT[2]")
    assert told(refusal(nobody)) == [("101", "PRT")]
    assert read(flags(nobody, DESTMSSANTEPS="N")).warnings == ()
    device = edited(base(), {"PRT-5": "", "PRT-10": "MODALITE-1"})
    sender = read(device).sender
    assert sender is not None
    assert sender.device == "MODALITE-1"
    incomplete = flags(edited(base(), {"PRT-5": "", "PRT-8": ""}), DESTDMP="N")
    assert told(read(incomplete).warnings) == [("101", "PRT-5"), ("101", "PRT-8.10")]


def test_one_reply_address_which_is_no_patients() -> None:
    reply = "PRT||UC||REPLY^Reply To^participation|||||||||||^^X.400^{}"
    one = reply.format("secretariat@demo.mssante.fr")
    assert read(inserted(base(), "OBX[2]", one)).reply_to == "secretariat@demo.mssante.fr"
    assert told(refusal(inserted(base(), "OBX[2]", one, one))) == [("198", "PRT[5]")]
    to_patient = reply.format(f"{WHO.matricule}@patient.mssante.fr")
    assert told(refusal(inserted(base(), "OBX[2]", to_patient))) == [("207", "PRT[4]-15")]
    assert told(refusal(inserted(base(), "OBX[2]", reply.format("")))) == [("101", "PRT[4]-15")]


WARNINGS: list[tuple[dict[str, str | bytes], list[tuple[str, str]]]] = [
    ({"MSH-18": "8859/1"}, [("103", "MSH-18")]),
    ({"PID-3": f"{WHO.matricule[:13]}00^^^&{INS}&ISO^INS"}, [("102", "PID-3")]),
    ({"PID-3": f"{WHO.matricule}^^^&{INS}&ISO^NH"}, [("103", "PID-3.5")]),
    ({"PID-3": f"{WHO.matricule}^^^&1.2.250.1.213.1.4.13&ISO^INS"}, [("103", "PID-3.4")]),
    ({"PID-3": f"{ONE_INS}~IPP1^^^^PI"}, [("101", "PID-3[2].4")]),
    ({"PID-5": "PAT-BACO^CLAUDE^CLAUDE^^^^D"}, [("101", "PID-5.7")]),
    ({"PID-11": "^^^^^^BDL^^PARIS 13"}, [("102", "PID-11.9")]),
    ({"PV1-2": "P", "PV1-19": ""}, [("103", "PV1-2")]),
    ({"OBR-4": "11488-4^^LN"}, [("101", "OBR-4.2")]),
    ({"TXA-1": "2"}, [("103", "TXA-1")]),
    ({"TXA-13": "1.2.3"}, [("199", "TXA-13")]),
    ({"PRT-2": "AD"}, [("103", "PRT-2")]),
    ({"PRT-5": "899900000001^X^Y^^^^^^A&1.2.3&ISO"}, [("103", "PRT-5.9")]),
    ({"PRT-8": "H^^^^^A&1.2.3&ISO^FINEG^^^1"}, [("103", "PRT-8.6")]),
    ({"PRT-8": "H^^^^^A&1.2.250.1.71.4.2.2&ISO^XX^^^1"}, [("103", "PRT-8.7")]),
    ({"PRT[2]-5": ""}, [("101", "PRT[2]")]),
    ({"PRT[2]-15": "^^^docteur@demo.mssante.fr"}, [("103", "PRT[2]-15.3")]),
    ({"PRT[3]-4": "AUT"}, [("101", "PRT"), ("103", "PRT[3]-4")]),
    ({"OBX[2]-2": "CE"}, [("102", "OBX[2]-2")]),
    ({"OBX[2]-3": "MASQUE_PS^Masqué^Other"}, [("103", "OBX[2]-3.3")]),
    ({"OBX[2]-5": "N^^HL70136"}, [("103", "OBX[2]-5.3")]),
    ({"OBX[2]-11": "C"}, [("103", "OBX[2]-11")]),
    ({"OBX[6]-5": "Y^^expandedYes-NoIndicator"}, [("199", "OBX")]),  # MODIF_CONF_CODE on a first transmission
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), WARNINGS, ids=[str(next(iter(c.items())))[:60] for c, _ in WARNINGS])
def test_what_makes_nothing_doubtful_warns(changes: dict[str, str | bytes], expected: list[tuple[str, str]]) -> None:
    found = read(edited(base(), changes)).warnings
    assert told(found) == sorted(expected)
    assert all(each.severity == "warning" for each in found)


def test_metadata_out_of_order_and_unknown_obx_warn() -> None:
    segments = split(base())
    segments[12], segments[13] = segments[13], segments[12]
    assert told(read(join(segments)).warnings) == [("100", "OBX[4]")]
    assert told(read(inserted(base(), "end", "OBX|99|ST|X^Y^L||text||||||F")).warnings) == [("199", "OBX[12]")]


TOLERATED: list[dict[str, str | bytes]] = [
    {"PRT-4": "SB^^participation", "PRT[2]-4": "RCT^results Copies To^x"},
    {"PRT[2]-15": "^NET^X.400^docteur.test@demo.mssante.fr"},
    {"TXA-12": "1.2.250.1.71.4.2.2.999999999.1.1^Organisation-Y"},
    {"OBX-5": b"^TEXT^XML^Base64^PGEvPg"},  # no padding
    {"OBX-5": b"^text^xml^BASE64^PGEvPg==^~^^&"},  # trailing separators
    {"OBX-5": b"^text^XML^Base64^PGEvPg==\xc2\xa0"},
    {"OBX[4]-3": "INVISIBLE_ REP_LEGAUX^x^MetaDMPMSS", "OBX[11]-3": "ACK_LECTURE^x^MetaDMPMSS"},
    {"PRT-8": "Hôpital^^^^^A  S- PS&1.2.250.1.71.4.2.2&ISO^FINEG^^^300017985\u00a0\u00a0 "},
    {"PID-3": f"\u00a0{WHO.matricule} ^^^Any name - here&{INS}&ISO^INS"},
    {"PID-5": "PAT-BACO^CLAUDE~Used^Name^^^^^D"},
    {"PID-7": "193702020800"},
    {"PRT[3]-5": f"{WHO.matricule}^PAT-BACO^CLAUDE^^^^^^{INS}^L^^^INS"},  # the OID alone in the HD
    {"MSH-3": "^1.2.3^ISO", "MSH-21": " 2.1^ CISIS_CDA_HL7_V2~other^x"},
    {"PRT[2]-15": "^PRN^PH^0102030405~^^X.400^docteur.test@demo.mssante.fr"},
]  # fmt: skip


@pytest.mark.parametrize("changes", TOLERATED, ids=str)
def test_what_official_examples_contain_is_tolerated(changes: dict[str, str | bytes]) -> None:
    found = read(edited(base(), changes))
    assert found.warnings == ()
    assert found.patient.qualified_ins(test_platform=True)
    assert found.recipients[0].address == "docteur.test@demo.mssante.fr"
    assert found.document_id == Identifier("1.2.250.1.71.4.2.2.999999999.1.1")
    if "PRT-8" in changes:
        assert found.sender is not None
        assert found.sender.organization_id == "300017985"


def test_a_namesake_stays_qualified_and_a_doubtful_identity_does_not() -> None:
    assert read(edited(base(), {"PID-32": "VALI~HOMA"})).patient.qualified_ins(test_platform=True)
    for doubt in ("DOUT", "FICT", "USUR", "PROV", "CACH"):
        patient_ = read(edited(base(), {"PID-32": f"VALI~{doubt}"})).patient
        assert patient_.reliability == f"VALI~{doubt}"
        assert patient_.qualified_ins(test_platform=True) is None


def test_an_expired_identifier_is_history() -> None:
    old = f"{patient(2).matricule}^^^&{INS}&ISO^INS^^20200101^20240101"
    found = read(edited(base(), {"PID-3": f"{ONE_INS}~{old}"})).patient
    assert [each.id for each in found.ids] == [WHO.matricule]
    current = old.replace("20240101", "20990101")
    assert told(refusal(edited(base(), {"PID-3": f"{ONE_INS}~{current}"}))) == [("198", "PID-3")]


TEXT = "OBX|12|ED|CORPSMAIL_PS^Corps du mail pour un PS^MetaDMPMSS||^text^^Base64^{}||||||F"


@pytest.mark.parametrize(
    ("data", "text", "warned"),
    [
        ("Qm9uam91cg==", "Bonjour", False),
        ("Qm9uam91cg", "Bonjour", False),
        ("Qm9uam91cmQ", "Bonjourd", False),
        ("Qm9uam91c", "Bonjou", True),  # cut short: the last character holds no byte
        ("w6l0w6k=", "été", False),
        ("w6l0w", "ét", True),  # cut in the middle of a character
        ("", None, False),
    ],
)
def test_the_text_of_a_mail(data: str, text: str | None, warned: bool) -> None:
    found = read(inserted(base(), "end", TEXT.format(data)))
    assert found.professional_text == text
    assert bool(found.warnings) is warned


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("Qm9 uam91cg==", ("102", "OBX[12]-5.5")),
        ("6Q==", ("102", "OBX[12]-5.5")),  # é in ISO 8859, MSH-18 says UTF-8
        ("Qm9u^QUJD", ("198", "OBX[12]-5")),
    ],
)
def test_a_text_that_cannot_be_read(data: str, expected: tuple[str, str]) -> None:
    assert told(refusal(inserted(base(), "end", TEXT.format(data)))) == [expected]


def test_a_text_must_be_base64_and_comes_once() -> None:
    plain = TEXT.replace("^text^^Base64^{}", "Bonjour")
    assert told(refusal(inserted(base(), "end", plain))) == [("103", "OBX[12]-5.4")]
    twice = TEXT.format("QQ=="), TEXT.format("Qg==")
    assert told(refusal(inserted(base(), "end", *twice))) == [("198", "OBX[13]")]


def test_the_channel_closes_only_on_the_patients_flag() -> None:
    note = "NTE|1|||FIN"
    assert read(inserted(base(), "OBX[10]", note)).destinations.patient_may_not_answer
    assert not read(inserted(base(), "OBX[9]", note)).destinations.patient_may_not_answer


def test_every_problem_comes_in_one_refusal() -> None:
    broken = edited(
        base(), {"MSH-12": "2.4", "PID-5": "", "PV1-2": "", "ORC-1": "RO", "TXA-12": "", "OBX[3]-5": "?", "OBX-11": "Z"}
    )
    assert told(refusal(broken)) == sorted(
        [
            ("203", "MSH-12"), ("101", "PID-5"), ("101", "PV1-2"), ("199", "ORC-1"),
            ("101", "TXA-12"), ("103", "OBX[3]-5"), ("103", "OBX-11"),
        ]
    )  # fmt: skip


def test_the_list_of_problems_is_bounded() -> None:
    bad = ["PRT||UC||RCT|||||||||||^^X.400^not an address"] * 300
    found = refusal(inserted(base(), "OBX[2]", *bad))
    assert len(found) == MAX_PROBLEMS + 1
    assert "200 more" in found[-1].message


def test_a_character_outside_the_declared_set_is_located_once() -> None:
    assert told(refusal(edited(base(), {"OBR-4": b"11488-4^CR \xe9^LN"}))) == [("102", "OBR-4.2")]


@pytest.mark.parametrize("data", [b"", b"MSH", b"hello", b"EVN|x\r" + b"MSH|^~\\&|a", base() * 2])
def test_what_is_no_message_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(MessageError):
        read(data)


def test_a_large_document_is_not_looked_at() -> None:
    found = read(message(document("N1", number=3, size=3_000_000), processing_id="P"))
    assert len(found.document) > 2_900_000


def test_nothing_of_the_patient_in_a_representation() -> None:
    found = read(base())
    for secret in (WHO.matricule, WHO.family, WHO.given, WHO.birth_date, WHO.ipp, "docteur.test@"):
        assert secret not in repr(found)
    with pytest.raises(Rejected) as caught:
        read(edited(base(), {"ORC-1": WHO.family, "PID-8": WHO.given, "MSH-12": WHO.matricule}))
    for secret in (WHO.matricule, WHO.family, WHO.given):
        assert secret not in str(caught.value)
