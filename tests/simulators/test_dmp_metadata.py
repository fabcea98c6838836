"""Each rule on metadata broken once: refused, with the place told, and nothing changed."""

from __future__ import annotations

import pytest
from attrs import evolve
from lxml import etree

from pfiflow.dmp.submission import XDS
from pfiflow.simulators.dmp_service import Service
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import Author, CodedValue
from tests.simulators.dmp_asking import LOINC, METADATA, OTHER_PATIENT, Edit, ask, associations, fresh, of_type, without
from tests.simulators.dmp_client import Sender, edited, entry_of

FUTURE = "20990101000000"

XDS_NAMES = {
    "authors": "author",
    "confidentiality_codes": "confidentialityCode",
    "event_codes": "eventCodeList",
}


def attribute_name(attribute: str) -> str:
    """`creation_time` → `creationTime`: our attributes and the standard's."""
    first, *others = attribute.split("_")
    return XDS_NAMES.get(attribute, first + "".join(map(str.title, others)))


ENTRY: dict[str, tuple[dict[str, object], str]] = {
    "unknown type": ({"type_code": CodedValue("99999-9", LOINC, "x")}, METADATA),
    "type of another scheme": ({"type_code": CodedValue("11488-4", "1.2.3", "x")}, METADATA),
    "type outside of the DMP's": ({"type_code": CodedValue("51851-4", LOINC, "x")}, METADATA),
    "class of another type": ({"class_code": CodedValue("31", "1.2.250.1.213.1.1.4.1", "Imagerie")}, METADATA),
    "unknown format": ({"format_code": CodedValue("urn:x", "1.2.250.1.213.1.1.4.2.282", "x")}, METADATA),
    "unknown facility": ({"healthcare_facility_type_code": CodedValue("SA00", "1.2.250.1.71.4.2.4", "x")}, METADATA),
    "unknown setting": ({"practice_setting_code": CodedValue("X", "1.2.250.1.213.1.1.4.9", "x")}, METADATA),
    "no setting": ({"practice_setting_code": CodedValue("", "")}, METADATA),
    "no type": ({"type_code": CodedValue("", "")}, METADATA),
    "unknown confidentiality": ({"confidentiality_codes": (CodedValue("X", "2.16.840.1.113883.5.25", "x"),)}, METADATA),
    "no confidentiality": ({"confidentiality_codes": ()}, METADATA),
    "visibility without confidentiality": (
        {"confidentiality_codes": (CodedValue("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "x"),)}, METADATA
    ),
    "no title": ({"title": ""}, METADATA),
    "long title": ({"title": "x" * 129}, METADATA),
    "no language": ({"language_code": ""}, METADATA),
    "odd language": ({"language_code": "french"}, METADATA),
    "no creation time": ({"creation_time": ""}, METADATA),
    "creation time with an offset": ({"creation_time": "20260101120000+0100"}, METADATA),
    "creation time to come": ({"creation_time": FUTURE}, METADATA),
    "no service start": ({"service_start_time": ""}, METADATA),
    "odd service stop": ({"service_stop_time": "yesterday"}, METADATA),
    "no author": ({"authors": ()}, METADATA),
    "author without given name": (
        {"authors": (Author("810001234567^X^^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS", "X^^^^^^^^^1999999999"),)},
        METADATA,
    ),
    "author of another structure": (
        {
            "authors": (
                Author(
                    "810001234567^X^Y^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS",
                    "CH^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1111111111",
                ),
            )
        },
        METADATA,
    ),
    "no legal authenticator": ({"legal_authenticator": ""}, METADATA),
    "no source patient": ({"source_patient_id": ""}, METADATA),
    "odd mime type": ({"mime_type": "application/pdf"}, METADATA),
    "another patient": ({"patient_id": OTHER_PATIENT}, "XDSPatientIdDoesNotMatch"),
    "wrong hash": ({"hash": "0" * 40}, METADATA),
    "no hash": ({"hash": ""}, METADATA),
    "wrong size": ({"size": 1}, METADATA),
    "no size": ({"size": -1}, METADATA),
    "uniqueId that is no OID": ({"unique_id": "x"}, METADATA),
    "uniqueId of another document": ({"unique_id": "1.2.3"}, METADATA),
    "event without scheme": ({"event_codes": (CodedValue("X", "", "x"),)}, METADATA),
    "hidden from all": (
        {
            "confidentiality_codes": (
                CodedValue("N", "2.16.840.1.113883.5.25", "Normal"),
                CodedValue("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "x"),
                CodedValue("INVISIBLE_PATIENT", "1.2.250.1.213.1.1.4.13", "x"),
            )
        },
        METADATA,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENTRY)
def test_a_spoilt_entry_is_refused(service: Service, sender: Sender, case: str) -> None:
    change, code = ENTRY[case]
    made = fresh()
    entry = entry_of(made)
    submission = sender.submission(entry)
    spoilt = evolve(submission, entries=(evolve(entry, **change),))  # type: ignore[arg-type]
    answer = ask(service, sender.provide(spoilt, (made.data,), signed_set=spoilt))
    assert (code, f"DocumentEntry[1].{attribute_name(next(iter(change)))}") in {
        (error.code, error.location) for error in answer.errors
    }
    assert all(": " in error.context for error in answer.errors), "each error names its rule"
    assert made.patient.matricule.encode() not in answer.body
    assert service.registry.entries() == ()
    assert service.registry.submissions == ()


SET: dict[str, tuple[dict[str, object], str]] = {
    "no uniqueId": ({"unique_id": ""}, METADATA),
    "uniqueId that is no OID": ({"unique_id": "x-1"}, METADATA),
    "no sourceId": ({"source_id": ""}, METADATA),
    "no submission time": ({"submission_time": ""}, METADATA),
    "submission time to come": ({"submission_time": FUTURE}, METADATA),
    "no content type": ({"content_type_code": CodedValue("", "")}, METADATA),
    "unknown content type": ({"content_type_code": CodedValue("98", "1.2.250.1.213.2.2", "x")}, METADATA),
    "no author": ({"authors": ()}, METADATA),
    "patient without INS": ({"patient_id": "1^^^&1.2&ISO^PI"}, "XDSPatientIdDoesNotMatch"),
    "another patient": ({"patient_id": OTHER_PATIENT}, "XDSPatientIdDoesNotMatch"),
}  # fmt: skip


@pytest.mark.parametrize("case", SET)
def test_a_spoilt_submission_set_is_refused(service: Service, sender: Sender, case: str) -> None:
    change, code = SET[case]
    made = fresh()
    submission = sender.submission(entry_of(made))
    patient = submission.patient_id
    spoilt = evolve(submission, **change)  # type: ignore[arg-type]
    answer = ask(service, sender.provide(spoilt, (made.data,), patient_id=patient))
    assert (code, f"SubmissionSet.{attribute_name(next(iter(change)))}") in {
        (error.code, error.location) for error in answer.errors
    }
    assert service.registry.submissions == ()


def test_the_vihf_is_for_the_patient_of_the_submission(service: Service, sender: Sender) -> None:
    made = fresh()
    request = sender.provide(sender.submission(entry_of(made)), (made.data,), patient_id=OTHER_PATIENT)
    assert ask(service, request).codes == ("XDSPatientIdDoesNotMatch",)


def test_everything_wrong_with_metadata_is_told_at_once(service: Service, sender: Sender) -> None:
    made = fresh()
    entry = evolve(entry_of(made), title="", language_code="", type_code=CodedValue("99999-9", LOINC, "x"))
    answer = ask(service, sender.provide(sender.submission(entry), (made.data,)))
    assert {error.location for error in answer.errors} >= {
        "DocumentEntry[1].title", "DocumentEntry[1].languageCode", "DocumentEntry[1].typeCode",
    }  # fmt: skip


def reference_status(root: etree._Element) -> None:
    next(associations(root, "HasMember")[0].iter(f"{{{v.RIM}}}Value")).text = "Reference"


def slot_last(root: etree._Element) -> None:
    entry = next(root.iter(f"{{{v.RIM}}}ExtrinsicObject"))
    entry.append(entry[0])


def lower_case(root: etree._Element) -> None:
    next(root.iter(f"{{{v.RIM}}}Classification")).tag = f"{{{v.RIM}}}classification"


def unclassified(root: etree._Element) -> None:
    del next(root.iter(f"{{{v.RIM}}}Classification")).attrib["classifiedObject"]


def renamed_document(root: etree._Element) -> None:
    next(root.iter(f"{{{XDS}}}Document")).set("id", "Nobody")


SHAPE: dict[str, tuple[Edit, set[str]]] = {
    "no HasMember": (without("HasMember"), {METADATA}),
    "HasMember by reference": (reference_status, {METADATA}),
    "no signs": (without("signs"), {METADATA}),
    "an association that nobody takes": (of_type("signs", "urn:ihe:iti:2007:AssociationType:APND"), {METADATA}),
    "a slot in the wrong place": (slot_last, {METADATA}),
    "a name in lower case": (lower_case, {METADATA}),
    "a classification of nothing": (unclassified, {METADATA}),
    "a Document of no entry": (renamed_document, {"XDSMissingDocument", "XDSMissingDocumentMetadata"}),
}


@pytest.mark.parametrize("case", SHAPE)
def test_a_spoilt_request_is_refused(service: Service, sender: Sender, case: str) -> None:
    edit, codes = SHAPE[case]
    assert set(ask(service, edited(sender.submit(fresh()), edit)).codes) == codes
    assert service.registry.submissions == ()
