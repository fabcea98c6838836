"""A synthetic document with every header fact that metadata come from, and what to make of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from pfiflow.cda.values import (
    Author,
    ClinicalDocument,
    Code,
    Encounter,
    Identifier,
    Order,
    Organization,
    Patient,
    Person,
    ServiceEvent,
)
from pfiflow.xds.authors import author_of
from pfiflow.xds.from_cda import content_type_of, document_entry, entry_uuid_of, submission_set
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet

LOINC = "2.16.840.1.113883.6.1"
INS = Identifier("1.2.250.1.213.1.4.8", "279035121518989")
TEST_INS = Identifier("1.2.250.1.213.1.4.10", "279035121518989")
IPP = Identifier("1.2.3.4.5", "IPP42")
RPPS = Identifier("1.2.250.1.71.4.2.1", "810001234567")
FINESS = Identifier("1.2.250.1.71.4.2.2", "1120459876")
HOSPITAL = Organization(FINESS, "CH des Charmes", Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9", "Etablissement"))
DOCTOR = Person(
    ids=(RPPS,),
    family="DUPONT",
    given="Jeanne",
    code=Code("G15_10/SM03", "1.2.250.1.213.1.1.4.5", "Médecin - Biologie médicale (SM)"),
    organization=HOSPITAL,
)
PATIENT = Patient(
    ids=(INS, IPP),
    birth_family="PAT-TROIS",
    used_family="TROIS",
    first_birth_given="DOMINIQUE",
    birth_given_names="DOMINIQUE MARIE",
    birth_time="19790328",
    gender="F",
    birth_place="51215",
)
RAW = "<?xml version='1.0'?><!-- <x> --><ClinicalDocument xmlns='urn:hl7-org:v3'>é</ClinicalDocument>".encode()

DOCUMENT = ClinicalDocument(
    raw=RAW,
    id=Identifier("1.2.3.9", "A1"),
    code=Code("11502-2", LOINC, "CR d'examens biologiques"),
    title="Compte rendu d'examens biologiques",
    effective_time="20210401134745+0200",
    confidentiality=Code("N", "2.16.840.1.113883.5.25", "Normal"),
    patient=PATIENT,
    level="N1",
    language="fr-FR",
    authors=(Author(DOCTOR, "20210401134745+0200", "Biologiste"),),
    custodian=HOSPITAL,
    legal_authenticator=DOCTOR,
    encounter=Encounter(facility_type=Code("SA01", "1.2.250.1.71.4.2.4", "Etablissement public de santé")),
    service_events=(
        ServiceEvent(
            id=Identifier("1.2.250.1.213.1.1.9", "20211"),
            code=Code("18723-7", LOINC, "Hématologie"),
            start="20210104134700+0100",
            stop="20210104",
            performer=DOCTOR,
        ),
    ),
    orders=(Order(id=Identifier("1.2.7", "P1")),),
    media_type="application/pdf",
)

IMAGING = evolve(
    DOCUMENT,
    code=Code("18748-4", LOINC, "CR d'imagerie médicale"),
    service_events=(
        ServiceEvent(
            id=Identifier("1.2.840.99.1"),
            code=Code("24727-0", LOINC, "CT Head"),
            translations=(
                (Code("ACQH004", "1.2.250.1.215.300.1", "Scanographie"), ""),
                (Code("CT", "1.2.840.10008.2.16.4", "Tomodensitométrie"), "121139"),
                (Code("774007", "2.16.840.1.113883.6.96", "tête et/ou cou"), "39111-0"),
            ),
            start="20210104134700+0100",
            performer=DOCTOR,
        ),
        ServiceEvent(
            id=Identifier("1.2.840.99.2"),
            code=Code("36235-0", LOINC, "CT Neck"),
            translations=((Code("CT", "1.2.840.10008.2.16.4", "Tomodensitométrie"), "121139"),),
        ),
        ServiceEvent(code=Code("", "", "")),
    ),
    orders=(
        Order(id=Identifier("1.2.7", "P1"), accession_number=Identifier("1.2.8", "ACC1")),
        Order(id=Identifier("1.2.7", "P1"), accession_number=Identifier("1.2.8", "ACC2")),
    ),
)

SENDER_AUTHOR = author_of(
    person_id="10001234567",
    person_id_type="RPPS",
    family="Martin",
    given="Paul",
    organization_name="CH des Charmes",
    organization_id="120459876",
    organization_id_type="FINEJ",
)
WHEN = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def entry_of(document: ClinicalDocument = DOCUMENT, **options: Any) -> DocumentEntry:
    options = {"target": "xdm", "entry_uuid": entry_uuid_of(document.id.unique_id), **options}
    return document_entry(document, **options)


def submission_of(*entries: DocumentEntry, **options: Any) -> SubmissionSet:
    defaults: dict[str, Any] = {
        "unique_id": "1.2.3.100",
        "source_id": "1.2.3",
        "submission_time": WHEN,
        "content_type": content_type_of("I"),
        "author": SENDER_AUTHOR,
        "title": "Envoi",
    }
    return submission_set(entries, **{**defaults, **options})
