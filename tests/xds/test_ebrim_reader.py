"""What other writers emit, each defect seen in the wild (`mssante-details.md` §1c; `cda-xds.md` §2.5)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.xds.ebrim import parse, submit_objects_request
from pfiflow.xds.metadata import Association
from tests.xds.builders import IMAGING, entry_of, submission_of

RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
FOLDER = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"
REPLACES = "urn:ihe:iti:2007:AssociationType:RPLC"
HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"


def slot(name: str, *values: str) -> str:
    return f"<Slot name='{name}'><ValueList>{''.join(f'<Value>{value}</Value>' for value in values)}</ValueList></Slot>"


def identifier(name: str, value: str, scheme: str = "urn:uuid:x") -> str:
    return (
        f"<ExternalIdentifier identificationScheme='{scheme}' value='{value}'>"
        f"<Name><LocalizedString value='{name}'/></Name></ExternalIdentifier>"
    )


def package(id_: str = "SubmissionSet01", *parts: str, node: str = NODE) -> str:
    classification = f"<Classification classificationNode='{node}'/>" if node else ""
    return f"<RegistryPackage id='{id_}'>{''.join(parts)}{classification}</RegistryPackage>"


def document(id_: str = "Document01", *parts: str) -> str:
    return f"<ExtrinsicObject id='{id_}' mimeType='text/xml'>{''.join(parts)}</ExtrinsicObject>"


def member(source: str, target: str) -> str:
    return f"<Association associationType='{HAS_MEMBER}' sourceObject='{source}' targetObject='{target}'/>"


def metadata(*objects: str) -> bytes:
    listed = f"<RegistryObjectList xmlns='{RIM}'>{''.join(objects)}</RegistryObjectList>"
    return f"<SubmitObjectsRequest>{listed}</SubmitObjectsRequest>".encode()


def test_symbolic_ids_and_missing_references() -> None:
    (submission,) = parse(
        metadata(
            package("SubmissionSet01", slot("submissionTime", "2026"), identifier("XDSSubmissionSet.uniqueId", "1.2")),
            document("Document01", slot("hash", "ABCDEF"), slot("size", " 12 ")),
            member("SubmissionSet01", "Document01"),
        )
    )
    assert (submission.entry_uuid, submission.unique_id, submission.submission_time) == (
        "SubmissionSet01",
        "1.2",
        "2026",
    )
    (entry,) = submission.entries
    assert (entry.entry_uuid, entry.hash, entry.size) == ("Document01", "abcdef", 12)
    assert entry.class_code.code == entry.unique_id == ""


def test_a_request_around_the_submission() -> None:
    data = submit_objects_request(submission_of(entry_of()))
    inner = data[data.index(b"?>") + 2 :]
    request = b"<x:ProvideAndRegisterDocumentSetRequest xmlns:x='urn:ihe:iti:xds-b:2007'>" + inner
    assert parse(request + b"</x:ProvideAndRegisterDocumentSetRequest>") == (submission_of(entry_of()),)


def test_the_classification_of_the_submission_set_at_list_level() -> None:
    outer = (
        f"<Classification classifiedObject='S' classificationNode='{NODE.upper().replace('URN:UUID', 'urn:uuid')}'/>"
    )
    (submission,) = parse(metadata(package("S", node=""), package("F", node=FOLDER), outer, document()))
    assert submission.entry_uuid == "S"
    assert len(submission.entries) == 1


def test_a_single_package_needs_no_classification() -> None:
    assert len(parse(metadata(package("S", node=""), package("F", node=FOLDER), document()))) == 1
    with pytest.raises(Rejected, match="submission set"):
        parse(metadata(package("S", node=""), package("T", node=""), document()))
    with pytest.raises(Rejected, match="submission set"):
        parse(metadata(document()))


def test_entries_go_to_their_submission_set() -> None:
    first, second = parse(
        metadata(
            package("A"),
            package("B"),
            document("D1"),
            document("D2"),
            document("D3"),
            member("B", "D1"),
            member("A", "D2"),
            f"<Association associationType='{REPLACES}' sourceObject='D1' targetObject='old'/>",
        )
    )
    assert [entry.entry_uuid for entry in first.entries] == ["D2", "D3"]  # D3 is nobody's
    assert [entry.entry_uuid for entry in second.entries] == ["D1"]
    assert Association(REPLACES, "D1", "old") in second.associations


def test_an_identifier_is_what_its_name_says() -> None:
    # A published style sheet gives the patientId the scheme of the uniqueId.
    unique = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
    parts = (
        identifier("XDSDocumentEntry.patientId", "P", unique),
        identifier("XDSDocumentEntry.uniqueId", "U", unique),
    )
    (submission,) = parse(metadata(package(), document("D", *parts)))
    assert (submission.entries[0].patient_id, submission.entries[0].unique_id) == ("P", "U")


def test_an_identifier_without_name_is_what_its_scheme_says() -> None:
    part = "<ExternalIdentifier identificationScheme='58A6F841-87B3-4A3E-92FD-A8FFEFF98427' value=' P '/>"
    (submission,) = parse(metadata(package(), document("D", part)))
    assert submission.entries[0].patient_id == "P"


def test_slots_and_elements_in_another_case() -> None:
    data = metadata(package(), document("D", slot("SourcePatientInfo", "PID-8|F"), slot("uri", "A.XML")))
    (submission,) = parse(data.replace(b"Classification", b"classification"))
    assert submission.entries[0].source_patient_info == ("PID-8|F",)
    assert submission.entries[0].uri == "A.XML"
    assert submission.entries[0].extra == ()


def test_the_author_scheme_of_the_other_object() -> None:
    scheme = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
    person = slot("authorPerson", "P", "Q")
    author = f"<Classification classificationScheme='{scheme}'>{person}</Classification>"
    (submission,) = parse(metadata(package("S", author), document()))
    assert [a.person for a in submission.authors] == ["P"]


def test_a_leading_blank_in_a_coding_scheme() -> None:
    scheme = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
    coding = slot("codingScheme", " 1.2")
    code = f"<Classification classificationScheme='{scheme}' nodeRepresentation='X'>{coding}</Classification>"
    (submission,) = parse(metadata(package(), document("D", code)))
    assert (submission.entries[0].type_code.code, submission.entries[0].type_code.scheme) == ("X", "1.2")


def test_a_uri_in_pieces() -> None:
    (submission,) = parse(metadata(package(), document("D", slot("URI", "2|B.XML", "1|A/"))))
    assert submission.entries[0].uri == "A/B.XML"


def test_unknown_slots_are_kept_and_ids_invented_where_there_is_none() -> None:
    data = metadata(package(), document("", slot("urn:x:y", "1", "", "2")), document("", slot("size", "much")))
    (submission,) = parse(data)
    assert [entry.entry_uuid for entry in submission.entries] == ["entry1", "entry2"]
    assert submission.entries[0].extra == (("urn:x:y", ("1", "2")),)
    assert submission.entries[1].size == -1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no xml",
        b"<a>",
        b"<a/>",
        b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        b"<a>" * 100 + b"</a>" * 100,
        metadata(*[package(f"S{n}") for n in range(51)]),
    ],
)
def test_what_cannot_be_metadata_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        parse(data)


def test_a_document_that_is_too_long() -> None:
    with pytest.raises(Rejected):
        parse(metadata(package(), document()), max_bytes=100)


@settings(max_examples=300)
@given(st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    good = bytearray(submit_objects_request(submission_of(entry_of(IMAGING))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good) - 1))
        length = data.draw(st.integers(0, 60))
        good[at : at + length] = data.draw(st.binary(max_size=12) | st.sampled_from([b"<", b"&", b"'", b"<Slot/>"]))
    with contextlib.suppress(Rejected):  # anything else is a defect
        parse(bytes(good))
