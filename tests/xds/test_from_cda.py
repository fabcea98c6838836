from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve

from pfiflow.cda.values import Author, Code, Encounter, Identifier, Person, ServiceEvent
from pfiflow.errors import Rejected
from pfiflow.xds.from_cda import (
    FORMAT_OUTSIDE_PROFILES,
    content_type_of,
    document_entry,
    entry_uuid_of,
    replacement,
)
from pfiflow.xds.metadata import CodedValue
from tests.xds.builders import DOCTOR, DOCUMENT, INS, IPP, LOINC, PATIENT, RAW, TEST_INS, entry_of, submission_of


def test_every_attribute_of_the_table() -> None:
    entry = document_entry(
        DOCUMENT, target="dmp", entry_uuid="Document01", hidden=("MASQUE_PS", "INVISIBLE_REP_LEGAUX"), uri="A.XML"
    )
    assert entry.entry_uuid == "Document01"
    assert entry.unique_id == "1.2.3.9^A1"
    assert entry.patient_id == "279035121518989^^^&1.2.250.1.213.1.4.8&ISO^NH"
    assert entry.source_patient_id == "IPP42^^^&1.2.3.4.5&ISO^PI"
    assert entry.source_patient_info == ("PID-5|PAT-TROIS^DOMINIQUE^^^^^L", "PID-7|19790328", "PID-8|F")
    assert entry.class_code == CodedValue("10", "1.2.250.1.213.1.1.4.1", "Compte rendu")
    assert entry.type_code == CodedValue("11502-2", LOINC, "CR d'examens biologiques")
    assert (entry.format_code.code, entry.format_code.scheme) == (
        "urn:ihe:iti:xds-sd:pdf:2008",
        "1.3.6.1.4.1.19376.1.2.3",
    )
    assert entry.healthcare_facility_type_code.code == "SA01"
    assert entry.practice_setting_code.code == "ETABLISSEMENT"
    assert [(c.code, c.scheme) for c in entry.confidentiality_codes] == [
        ("N", "2.16.840.1.113883.5.25"),
        ("MASQUE_PS", "1.2.250.1.213.1.1.4.13"),
        ("INVISIBLE_REPRESENTANTS_LEGAUX", "1.2.250.1.213.1.1.4.13"),
    ]
    assert entry.creation_time == "20210401114745"
    assert (entry.service_start_time, entry.service_stop_time) == ("20210104124700", "20210104")
    assert entry.language_code == "fr-FR"
    assert entry.mime_type == "text/xml"
    assert entry.title == "Compte rendu d'examens biologiques"
    assert (entry.hash, entry.size) == (hashlib.sha1(RAW).hexdigest(), len(RAW))
    assert entry.legal_authenticator == "810001234567^DUPONT^Jeanne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    assert [author.role for author in entry.authors] == ["Biologiste"]
    assert [code.code for code in entry.event_codes] == ["18723-7"]
    assert entry.reference_ids == ()  # of imaging documents only
    assert entry.uri == "A.XML"
    assert (entry.logical_id, entry.version, entry.extra) == ("", "", ())


def test_every_problem_of_a_dmp_document_at_once() -> None:
    poor = evolve(
        DOCUMENT,
        code=Code("101881-1", LOINC),  # in JDV_J66, but no table gives its class
        title="",
        effective_time="hier",
        language="",
        patient=evolve(PATIENT, ids=(IPP,)),
        authors=(Author(evolve(DOCTOR, given="")), Author(Person())),
        legal_authenticator=None,
        encounter=None,
        service_events=(),
        level="N3",
        template_ids=("1.2.3",),
    )
    with pytest.raises(Rejected) as caught:
        document_entry(poor, target="dmp", entry_uuid="Document01")
    cd = "/ClinicalDocument"
    found = [(problem.code, problem.location) for problem in caught.value.problems]
    event = f"{cd}/documentationOf[1]/serviceEvent"
    assert sorted(found) == sorted(
        [
            ("101", f"{cd}/recordTarget/patientRole/id"),
            ("101", f"{cd}/effectiveTime/@value"),
            ("101", f"{cd}/languageCode/@code"),
            ("101", f"{cd}/title"),
            ("101", f"{cd}/legalAuthenticator/assignedEntity"),
            ("101", f"{event}/effectiveTime/low/@value"),
            ("101", f"{cd}/author[1]/assignedAuthor"),
            ("101", f"{cd}/author[2]/assignedAuthor"),
            ("103", f"{cd}/code"),
            ("103", f"{cd}/templateId"),
            ("103", f"{cd}/componentOf/encompassingEncounter/location/healthCareFacility/code"),
            ("103", f"{event}/performer/assignedEntity/representedOrganization/standardIndustryClassCode"),
        ]
    )
    assert all(problem.rule for problem in caught.value.problems)
    assert "DUPONT" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "attribute"),
    [
        ({"code": Code("EXPORT_DUI", "1.2.250.1.213.1.1.4.12")}, "type_code EXPORT_DUI is not in JDV_J66"),
        ({"encounter": Encounter(facility_type=Code("SA66", "1.2.250.1.71.4.2.4"))}, "SA66 is not in JDV_J61"),
    ],
)
def test_what_the_dmp_does_not_know(changed: dict[str, Any], attribute: str) -> None:
    document = evolve(DOCUMENT, **changed)
    with pytest.raises(Rejected, match=attribute):
        document_entry(document, target="dmp", entry_uuid="Document01")
    assert document_entry(document, target="xdm", entry_uuid="Document01")


def test_xdm_leaves_out_what_is_unknown() -> None:
    poor = evolve(
        DOCUMENT,
        code=Code("00000-0", LOINC),
        effective_time="hier",
        patient=evolve(PATIENT, ids=()),
        authors=(),
        legal_authenticator=None,
        encounter=None,
        service_events=(),
        level="N3",
        template_ids=(),
    )
    entry = entry_of(poor)
    assert entry.class_code.code == entry.creation_time == entry.patient_id == entry.source_patient_id == ""
    assert entry.format_code == FORMAT_OUTSIDE_PROFILES


def test_the_format_of_an_n3_comes_from_its_templates() -> None:
    document = evolve(DOCUMENT, level="N3", template_ids=("2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.29"))
    assert entry_of(document, target="dmp").format_code.code == "urn:asip:ci-sis:ldl-ses:2017"


def test_a_test_ins_counts_on_a_test_platform_only() -> None:
    document = evolve(DOCUMENT, patient=evolve(PATIENT, ids=(IPP, TEST_INS)))
    assert entry_of(document, test_platform=True).patient_id == "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
    assert entry_of(document).patient_id == "IPP42^^^&1.2.3.4.5&ISO^PI"
    with pytest.raises(Rejected, match="patientId"):
        entry_of(document, target="dmp")


def test_the_ins_stands_in_for_a_missing_ipp() -> None:
    entry = entry_of(evolve(DOCUMENT, patient=evolve(PATIENT, ids=(INS,))))
    assert entry.source_patient_id == entry.patient_id == "279035121518989^^^&1.2.250.1.213.1.4.8&ISO^NH"


def test_names_without_birth_name_and_odd_traits() -> None:
    patient = evolve(
        PATIENT,
        birth_family="",
        first_birth_given="",
        birth_given_names="",
        used_given="D^J",
        birth_time="19790328120000+0100",
        gender="UN",
    )
    assert entry_of(evolve(DOCUMENT, patient=patient)).source_patient_info == (
        "PID-5|TROIS^D\\S\\J^^^^^S",
        "PID-7|19790328",
        "PID-8|O",
    )
    nobody = evolve(patient, used_family="", used_given="", birth_time="", gender="")
    assert entry_of(evolve(DOCUMENT, patient=nobody)).source_patient_info == ()


@pytest.mark.parametrize(
    ("raw", "mime_type"),
    [
        (b"<ClinicalDocument/>", "text/xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <xsl:stylesheet> --><ClinicalDocument/>", "text/xml"),
        (b"<?xml version='1.0'?><?x <y> ?><xsl:stylesheet xmlns:xsl='x'>", "application/xslt+xml"),
        (b"<stylesheet>", "application/xslt+xml"),
        (b"<xsl:transform\n a='b'>", "application/xslt+xml"),
        (b"<!-- never closed <xsl:stylesheet>", "text/xml"),
        (b"", "text/xml"),
    ],
)
def test_a_document_that_shows_itself(raw: bytes, mime_type: str) -> None:
    assert entry_of(evolve(DOCUMENT, raw=raw)).mime_type == mime_type


def test_the_time_zone_is_a_setting() -> None:
    document = evolve(DOCUMENT, effective_time="20210401134745")
    assert entry_of(document, time_zone="America/Martinique").creation_time == "20210401174745"
    assert entry_of(document, time_zone="").creation_time == "20210401134745"


def test_a_long_title_is_cut_and_put_on_one_line() -> None:
    assert entry_of(evolve(DOCUMENT, title="a\n b" * 100)).title == ("a b" * 100)[:128]


def test_an_unknown_restriction_is_a_defect() -> None:
    with pytest.raises(ValueError, match="SECRET"):
        entry_of(hidden=("SECRET",))


def test_a_label_that_the_document_does_not_give() -> None:
    assert entry_of(evolve(DOCUMENT, code=Code("11502-2", LOINC))).type_code.display


@pytest.mark.parametrize(
    ("patient_class", "code"),
    [("I", "03"), ("O", "07"), ("R", "19"), ("N", "97"), ("E", "07"), ("", "97"), ("i", "03")],
)
def test_content_types(patient_class: str, code: str) -> None:
    content_type = content_type_of(patient_class)
    assert (content_type.code, content_type.scheme) == (code, "1.2.250.1.213.2.2")
    assert content_type.display


def test_a_submission_set() -> None:
    when = datetime(2026, 7, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    submission = submission_of(entry_of(), submission_time=when, title=" Un\nenvoi ", intended_recipients=("CH",))
    assert submission.submission_time == "20260630223000"
    assert submission.patient_id == entry_of().patient_id
    assert submission.title == "Un envoi"
    assert submission.entry_uuid.startswith("urn:uuid:")
    assert submission.entry_uuid == submission_of(entry_of()).entry_uuid
    assert submission.content_type_code.code == "03"
    assert submission.intended_recipients == ("CH",)


def test_one_patient_a_submission() -> None:
    other = evolve(entry_of(), patient_id="2^^^&1.2&ISO^PI")
    with pytest.raises(Rejected, match="2 patients"):
        submission_of(entry_of(), other)
    with pytest.raises(Rejected, match="2 patients"):
        submission_of(entry_of(), patient_id="2^^^&1.2&ISO^PI")


def test_entry_ids_are_the_same_each_time() -> None:
    assert entry_uuid_of("1.2.3^4") == entry_uuid_of("1.2.3^4") != entry_uuid_of("1.2.3^5")


@pytest.mark.parametrize(
    ("known", "target"),
    [
        ({"replaced_entry_uuid": "urn:uuid:x", "replaced_unique_id": "1.2"}, "urn:uuid:x"),
        ({"replaced_unique_id": "1.2.3"}, "urn:oid:1.2.3"),
        ({"replaced_unique_id": "1.2.3^A"}, "1.2.3^A"),
        ({"replaced_unique_id": "90E1C8EC-F951-4B26-A305-A34848818DD6"}, "90E1C8EC-F951-4B26-A305-A34848818DD6"),
    ],
)
def test_a_replacement(known: dict[str, str], target: str) -> None:
    association = replacement("urn:uuid:new", **known)
    assert association.type == "urn:ihe:iti:2007:AssociationType:RPLC"
    assert (association.source, association.target) == ("urn:uuid:new", target)


def test_a_replacement_of_nothing_is_a_defect() -> None:
    with pytest.raises(ValueError, match="replaces"):
        replacement("urn:uuid:new")


def test_only_the_first_act_gives_times_and_setting() -> None:
    second = ServiceEvent(code=Code("X", LOINC), start="2020", performer=DOCTOR)
    document = evolve(DOCUMENT, service_events=(*DOCUMENT.service_events, second))
    entry = entry_of(document)
    assert entry.service_start_time == "20210104124700"
    assert [code.code for code in entry.event_codes] == ["18723-7", "X"]
    assert entry_of(evolve(DOCUMENT, id=Identifier("1.2"))).unique_id == "1.2"
