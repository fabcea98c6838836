from __future__ import annotations

from attrs import evolve

from pfiflow.cda.values import Author, Code, Device, Identifier, Organization, Person
from pfiflow.xds import metadata
from pfiflow.xds.authors import author_of, document_author, legal_authenticator, recipient_of
from tests.xds.builders import DOCTOR, FINESS, RPPS, TEST_INS


def test_a_professional() -> None:
    assert document_author(Author(DOCTOR, "", "Biologiste")) == metadata.Author(
        person="810001234567^DUPONT^Jeanne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS",
        institution="CH des Charmes^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1120459876",
        role="Biologiste",
        specialty="G15_10/SM03^Médecin - Biologie médicale (SM)^1.2.250.1.213.1.1.4.5",
    )


def test_an_identifier_of_the_structure() -> None:
    person = evolve(DOCTOR, ids=(Identifier(RPPS.root, "3120459876/17"),))
    assert legal_authenticator(person).endswith("&1.2.250.1.71.4.2.1&ISO^D^^^EI")


def test_the_national_identifier_wins_over_others() -> None:
    person = evolve(DOCTOR, ids=(Identifier("1.9", "X"), Identifier("1.8"), RPPS))
    assert legal_authenticator(person).startswith("810001234567^")
    person = evolve(DOCTOR, ids=(Identifier("1.9", "X"), Identifier("1.8")))
    assert legal_authenticator(person) == "X^DUPONT^Jeanne^^^^^^&1.9&ISO^D^^^EI"
    person = evolve(DOCTOR, ids=(Identifier("1.8"),))
    assert legal_authenticator(person) == "1.8^DUPONT^Jeanne^^^^^^^D^^^EI"


def test_a_device() -> None:
    device = Person(ids=(Identifier(RPPS.root, "3120459876/9"),), device=Device("Modèle", "Logiciel"))
    author = document_author(Author(device))
    assert author.person == "3120459876/9^Logiciel^Modèle^^^^^^&1.2.250.1.71.4.2.1&ISO^U^^^RI"
    only_one = evolve(device, device=Device("", "Logiciel"))
    assert document_author(Author(only_one)).person.split("^")[1:3] == ["Logiciel", "Logiciel"]


def test_an_author_without_organisation() -> None:
    assert document_author(Author(evolve(DOCTOR, organization=None))).institution == ""


def test_an_organisation_half_known() -> None:
    named = evolve(DOCTOR, organization=Organization(None, "CH & Fils"))
    assert document_author(Author(named)).institution == "CH \\T\\ Fils"
    numbered = evolve(DOCTOR, organization=Organization(FINESS))
    assert document_author(Author(numbered)).institution == "^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1120459876"
    by_root = evolve(DOCTOR, organization=Organization(Identifier("1.2.7"), "CH"))
    assert document_author(Author(by_root)).institution == "CH^^^^^^^^^1.2.7"


def test_the_patient_as_author_has_no_institution() -> None:
    patient = Person(ids=(TEST_INS,), family="PAT-TROIS", given="DOMINIQUE", organization=Organization(FINESS, "CH"))
    author = document_author(Author(patient))
    assert author.person == "279035121518989^PAT-TROIS^DOMINIQUE^^^^^^&1.2.250.1.213.1.4.10&ISO^D^^^NH"
    assert author.institution == ""


def test_a_long_specialty_keeps_code_and_system() -> None:
    person = evolve(DOCTOR, code=Code("G15", "1.2.3", "x" * 300))
    specialty = document_author(Author(person)).specialty
    assert len(specialty) == 256
    assert (specialty[:5], specialty[-6:]) == ("G15^x", "^1.2.3")
    assert document_author(Author(evolve(DOCTOR, code=None))).specialty == ""


def test_the_sender_from_plain_values() -> None:
    author = author_of(
        person_id="10001234567",
        person_id_type="RPPS",
        family="MARTIN",
        given="Paul",
        organization_name="CH",
        organization_id="300017985",
        organization_id_type="FINEG",
    )
    assert author.person == "810001234567^MARTIN^Paul^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    assert author.institution == "CH^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1300017985"


def test_a_device_sends() -> None:
    assert author_of(device="PFI-1").person == "PFI-1^PFI-1^PFI-1^^^^^^^U^^^RI"
    assert author_of(device="PFI-1", family="MARTIN").person == "^MARTIN^^^^^^^^D"
    assert author_of() == metadata.Author()


def test_a_recipient() -> None:
    author = author_of(family="HODA", given="Adam", organization_name="CH|A")
    assert recipient_of(author, address="a@b.fr") == "CH\\F\\A|^HODA^Adam^^^^^^^D|^^Internet^a@b.fr"
    assert recipient_of(address="a@b.fr") == "||^^Internet^a@b.fr"
    assert recipient_of(author_of(organization_name="CH")) == "CH"
    assert recipient_of() == ""
