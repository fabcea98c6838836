"""From a transmission to an order for the DMP."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from pfiflow.dmp.directory import Directory
from pfiflow.dmp.gates import GateOptions
from pfiflow.dmp.values import Feeding
from pfiflow.dmp.vihf import AUTOMATE, Software
from pfiflow.errors import Problem, Rejected
from pfiflow.segur.feeding import FeedingOptions, feeding
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action, Participation, PatientIdentifier, Transmission
from pfiflow.simulators.documents import ORGANIZATION, SyntheticDocument
from pfiflow.simulators.messages import document, message

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPTIONS = FeedingOptions(
    source_id="1.2.250.1.999.1",
    software=Software("pfiflow", "0.1", "DEV000000"),
    directory=Directory.load(
        "professional,profession,profession_label,specialty,specialty_label\n99900000001,10,Médecin,SM26,Généraliste",
        f"structure,sector\n{ORGANIZATION},SA01",
    ),
    responsible=f"{ORGANIZATION}/responsable-pfi",
    automaton="pfiflow, pfiflow, PFI",
    test_platform=True,
)
FIRST = document("N1", number=1, patient=1, size=0)
SECOND = document("N1", number=2, patient=1, size=0, replaces=FIRST)


def transmission(
    sent: SyntheticDocument = FIRST, action: Action | None = None, flags: dict[str, str] | None = None
) -> Transmission:
    return read(message(sent, action=action, flags=flags))


def order(of: Transmission, options: FeedingOptions = OPTIONS, exchange_id: str = "exchange") -> Feeding:
    return feeding(of, options, exchange_id=exchange_id, now=NOW)


def refusals(of: Transmission, options: FeedingOptions = OPTIONS) -> list[Problem]:
    with pytest.raises(Rejected) as caught:
        order(of, options)
    return [problem for problem in caught.value.problems if problem.severity == "error"]


def test_a_first_document() -> None:
    made = order(transmission())
    (entry,) = made.submission.entries
    assert (made.action, made.parent_unique_id, made.warnings) == ("new", "", ())
    assert made.unique_id == entry.unique_id == FIRST.id.unique_id
    assert made.document == FIRST.data
    assert made.document_hash == entry.hash
    assert made.type_code == entry.type_code.code == "11488-4"
    assert made.submission.submission_time == "20260301120000"
    assert made.submission.content_type_code.code == "03"
    assert made.submission.source_id == "1.2.250.1.999.1"
    assert made.submission.authors[0].institution.endswith(f"^{ORGANIZATION}")
    assert (entry.entry_uuid, made.submission.entry_uuid) == ("Document01", "SubmissionSet01")


def test_the_vihf_says_who_sends() -> None:
    vihf = order(transmission()).vihf
    assert vihf.structure == ORGANIZATION
    assert vihf.sector == "SA01^1.2.250.1.71.4.2.4"
    assert vihf.name_id == "899900000001"
    assert vihf.subject == "DOCTEUR-TEST Andrea"
    assert vihf.patient_id == f"{FIRST.patient.matricule}^^^&1.2.250.1.213.1.4.10&ISO^NH"
    assert [role.code for role in vihf.roles] == ["10", "SM26"]
    assert (vihf.version, vihf.secret_connection, vihf.software.homologation) == ("3.0", False, "DEV000000")


def test_a_professional_nobody_knows_has_the_role_of_an_automaton() -> None:
    assert order(transmission(), evolve(OPTIONS, directory=Directory(), sector="SA07^x")).vihf.roles == (AUTOMATE,)


def test_without_a_person_the_one_responsible_answers() -> None:
    sender = Participation("SB", organization_id=ORGANIZATION, organization_id_type="IDNST", device="PFI")
    vihf = order(evolve(transmission(), sender=sender)).vihf
    assert (vihf.name_id, vihf.subject) == (f"{ORGANIZATION}/responsable-pfi", "pfiflow, pfiflow, PFI")
    assert vihf.roles == (AUTOMATE,)


def test_a_secret_connection_goes_into_the_vihf() -> None:
    made = order(transmission(flags={"CONNEXION_SECRETE": "Y", "INVISIBLE_REP_LEGAUX": "Y"}))
    assert made.vihf.secret_connection
    codes = [code.code for code in made.submission.entries[0].confidentiality_codes]
    assert codes == ["N", "INVISIBLE_REPRESENTANTS_LEGAUX"]


def test_ids_stay_over_attempts_and_times_do_not() -> None:
    later = feeding(transmission(), OPTIONS, exchange_id="exchange", now=NOW.replace(hour=13))
    first = order(transmission())
    assert later.submission.unique_id == first.submission.unique_id
    assert later.submission.submission_time != first.submission.submission_time
    assert order(transmission(), exchange_id="other").submission.unique_id != first.submission.unique_id
    assert first.submission.unique_id.startswith("2.25.")


def test_a_replacement_names_what_it_replaces() -> None:
    made = order(transmission(SECOND))
    assert (made.action, made.parent_unique_id) == ("replace", FIRST.id.unique_id)
    assert made.submission.associations == ()  # the DMP's entryUUID is asked for later


def test_a_replacement_of_nothing_is_refused() -> None:
    orphan = evolve(transmission(FIRST), action=Action.REPLACE)
    assert [(p.code, p.location) for p in refusals(orphan)] == [("101", "TXA-13")]


def test_a_deletion_carries_no_document() -> None:
    made = order(transmission(FIRST, Action.DELETE))
    assert (made.action, made.document, made.document_hash) == ("delete", b"", "")
    assert made.submission.entries == ()
    assert made.submission.patient_id == made.vihf.patient_id
    assert made.unique_id == FIRST.id.unique_id


def test_a_deletion_needs_an_author_s_structure_too() -> None:
    other = evolve(transmission(FIRST, Action.DELETE), sender=_of("1120456789"))
    assert [p.rule for p in refusals(other, evolve(OPTIONS, sector="SA01"))] == ["EX_2.1-1140"]


def test_a_type_that_left_the_value_set_can_still_be_deleted() -> None:
    sent = FIRST.data.replace(b'code="11488-4"', b'code="00000-0"')
    assert order(evolve(transmission(FIRST, Action.DELETE), document=sent)).action == "delete"
    assert any("JDV_J66" in p.rule for p in refusals(evolve(transmission(), document=sent)))


# -- gates ------------------------------------------------------------------------------------------------------------


def test_an_unqualified_ins_is_refused() -> None:
    doubtful = evolve(transmission(), patient=evolve(transmission().patient, reliability="DOUT"))
    (problem,) = refusals(doubtful)
    assert problem.location == "PID"
    assert "PID-32" in problem.message


def test_a_test_ins_is_refused_in_production() -> None:
    assert any("test platform" in p.message for p in refusals(transmission(), evolve(OPTIONS, test_platform=False)))


def test_another_patient_in_the_message_than_in_the_document_is_refused() -> None:
    patient = transmission().patient
    ins = PatientIdentifier("2" + "9" * 14, "1.2.250.1.213.1.4.10", "INS")
    assert any("904" in p.detail_code for p in refusals(evolve(transmission(), patient=evolve(patient, ids=(ins,)))))


def test_no_dmp_flag_no_order() -> None:
    assert any("not a destination" in p.message for p in refusals(transmission(flags={"DESTDMP": "N"})))


def test_every_reason_is_told_at_once() -> None:
    wrong = evolve(
        transmission(flags={"MASQUE_PS": "Y", "INVISIBLE_PATIENT": "Y", "DESTMSSANTEPAT": "N"}),
        sender=_of("1120456789"),
        patient=evolve(transmission().patient, reliability=""),
    )
    problems = refusals(wrong, evolve(OPTIONS, directory=Directory()))
    assert {p.rule for p in problems} >= {"EX_2.1-1140", "DMP parameter cumul-invisible_patient-masque_ps"}
    assert any("Secteur_Activite" in p.location for p in problems)
    assert any(p.location == "PID" for p in problems)


def test_no_sender_is_refused() -> None:
    places = {p.location for p in refusals(evolve(transmission(), sender=None), evolve(OPTIONS, responsible=""))}
    assert places >= {"VIHF/Identifiant_Structure", "VIHF/NameID"}


def test_a_correspondence_makes_a_sender_an_author() -> None:
    other = evolve(transmission(), sender=_of("300017985"))
    assert "EX_2.1-1140" in {p.rule for p in refusals(other)}
    gates = GateOptions({"300017985": ORGANIZATION})
    assert order(other, evolve(OPTIONS, gates=gates)).vihf.structure == ORGANIZATION


def test_no_message_shows_an_identity() -> None:
    wrong = evolve(transmission(), patient=evolve(transmission().patient, reliability=""), sender=None)
    text = " ".join(map(str, refusals(wrong, evolve(OPTIONS, test_platform=False))))
    patient = FIRST.patient
    assert not any(fact in text for fact in (patient.matricule, patient.family, patient.birth_date))
    assert patient.matricule not in repr(order(transmission()))


def _of(structure: str) -> Participation:
    sender = transmission().sender
    assert sender is not None
    return evolve(sender, organization_id=structure)


# -- the official messages --------------------------------------------------------------------------------------------

OFFICIAL = Path(__file__).parents[2] / ".." / "shared" / "vectors" / "hl7"
needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official examples are not beside this checkout")


def official(name: str) -> Transmission:
    data = (OFFICIAL / f"transmission_{name}").read_bytes()
    return read(data.replace(b"\r\n", b"\r").replace(b"\n", b"\r"))


@needs_official
@pytest.mark.parametrize(
    ("name", "action", "parent"),
    [
        ("mdm_t02_n1.er7", "new", ""),
        ("mdm_t10_n1.er7", "replace", "1.2.250.1.71.4.2.2.120456789.71024000081"),
        ("mdm_t04_n1.er7", "delete", ""),
        ("oru_submit_n3.hl7", "new", ""),
        ("oru_replace_n3.hl7", "replace", "1.2.250.1.213.1.1.12"),
    ],
)
def test_official_messages(name: str, action: str, parent: str) -> None:
    gates = GateOptions({"300017985": "120456789"})
    made = order(official(name), evolve(OPTIONS, sector="SA01^1.2.250.1.71.4.2.4", gates=gates))
    assert (made.action, made.parent_unique_id) == (action, parent)
    assert made.vihf.structure in {"1120456789", "1120459876"}


@needs_official
def test_official_structures_differ_without_a_correspondence() -> None:
    (problem,) = refusals(official("mdm_t02_n1.er7"), evolve(OPTIONS, sector="SA01^1.2.250.1.71.4.2.4"))
    assert "1300017985" in problem.message
    assert "1120456789" in problem.message
