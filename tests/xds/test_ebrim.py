from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pfiflow.errors import Rejected
from pfiflow.xds import vocabulary as v
from pfiflow.xds.ebrim import parse, submit_objects_request
from pfiflow.xds.from_cda import replacement
from pfiflow.xds.metadata import Association, Author, CodedValue, SubmissionSet
from tests.xds.builders import DOCUMENT, IMAGING, entry_of, submission_of
from tests.xds.strategies import SUBMISSIONS

NS = {"rim": v.RIM, "lcm": v.LCM}
OWN = etree.XMLSchema(etree.parse(Path(__file__).parents[2] / "schemas" / "xdm-metadata.xsd"))


def registry_object_list(submission: SubmissionSet) -> etree._Element:
    return etree.fromstring(submit_objects_request(submission))[0]


def full() -> SubmissionSet:
    first = entry_of(
        IMAGING,
        hidden=("MASQUE_PS",),
        uri="DOC00001.XML",
        entry_uuid="urn:uuid:" + "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
    )
    second = evolve(
        entry_of(DOCUMENT, uri="DOC00002.XML"), logical_id="urn:uuid:l", version="2", extra=(("urn:x:a", ("1", "2")),)
    )
    return submission_of(
        first,
        second,
        associations=(replacement(second.entry_uuid, replaced_unique_id="1.2.3^A"),),
        intended_recipients=("||^^Internet^a@b.fr",),
        extra=(("action", ("C",)),),
    )


def test_our_own_schema_accepts_what_we_write() -> None:
    OWN.assertValid(etree.fromstring(submit_objects_request(full())))


@given(SUBMISSIONS)
def test_reading_gives_back_what_was_written_and_the_bytes_repeat(submission: SubmissionSet) -> None:
    data = submit_objects_request(submission)
    assert parse(data) == (submission,)
    assert submit_objects_request(submission) == data


def test_oasis_accepts_what_we_write(shared: Path) -> None:
    schema = etree.XMLSchema(etree.parse(shared / "xsd/xds/ebRS30/lcm.xsd"))
    root = etree.fromstring(submit_objects_request(full()))
    schema.assertValid(root)
    slot = root.find(".//rim:ExtrinsicObject/rim:Slot", NS)
    assert slot is not None
    parent = slot.getparent()
    assert parent is not None
    parent.append(slot)  # the control: a slot after the classifications
    assert not schema.validate(root)


@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        (".//rim:ExtrinsicObject/rim:Classification", "classifiedObject"),
        (".//rim:RegistryPackage/rim:ExternalIdentifier", "registryObject"),
        (".//rim:ExtrinsicObject", "mimeType"),
        (".//rim:Association", "sourceObject"),
        (".//rim:ExtrinsicObject/rim:Classification", "classificationScheme"),
    ],
)
def test_our_own_schema_refuses_what_is_missing_or_elsewhere(path: str, attribute: str) -> None:
    root = etree.fromstring(submit_objects_request(full()))
    element = root.find(path, NS)
    assert element is not None
    good = element.get(attribute)
    del element.attrib[attribute]
    assert not OWN.validate(root)
    element.set(attribute, "urn:uuid:00000000-0000-0000-0000-0000000000ff")
    assert OWN.validate(root) is (attribute == "mimeType")
    assert good is not None
    element.set(attribute, good)
    assert OWN.validate(root)


def test_children_come_in_the_order_of_the_schema() -> None:
    order = ["Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier"]
    for element in registry_object_list(full()).iter(f"{{{v.RIM}}}RegistryPackage", f"{{{v.RIM}}}ExtrinsicObject"):
        places = [order.index(etree.QName(child).localname) for child in element]
        assert places == sorted(places)


def test_every_entry_is_a_member_and_the_replacement_is_said() -> None:
    submission = full()
    associations = registry_object_list(submission).findall("rim:Association", NS)
    members = [a for a in associations if a.get("associationType") == v.HAS_MEMBER]
    assert [a.get("targetObject") for a in members] == [entry.entry_uuid for entry in submission.entries]
    assert {a.get("sourceObject") for a in members} == {submission.entry_uuid}
    assert [a.findtext("rim:Slot/rim:ValueList/rim:Value", namespaces=NS) for a in members] == ["Original"] * 2
    (replaces,) = [a for a in associations if a not in members]
    assert replaces.get("sourceObject") == submission.entries[1].entry_uuid
    assert replaces.get("targetObject") == "1.2.3^A"


def test_ids_are_unique() -> None:
    ids = [element.get("id") for element in registry_object_list(full()).iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_inner_ids_differ_between_submissions_even_under_symbolic_names() -> None:
    def inner(unique_id: str) -> set[str | None]:
        submission = submission_of(entry_of(entry_uuid="Document01"), unique_id=unique_id, entry_uuid="SubmissionSet01")
        ids = {element.get("id") for element in registry_object_list(submission).iter() if element.get("id")}
        return ids - {"Document01", "SubmissionSet01"}

    assert len(inner("1.2.3")) > 10
    assert not inner("1.2.3") & inner("1.2.4")


def test_what_is_unknown_is_left_out() -> None:
    nothing = CodedValue("", "")
    entry = evolve(
        entry_of(), class_code=nothing, title="", patient_id="", creation_time="", authors=(Author(),), size=-1, hash=""
    )
    objects = registry_object_list(submission_of(entry, title="", author=Author()))
    document = objects.find("rim:ExtrinsicObject", NS)
    assert document is not None
    slots = {slot.get("name") for slot in document.findall("rim:Slot", NS)}
    assert not slots & {"creationTime", "size", "hash"}
    assert document.find("rim:Name", NS) is None
    schemes = {c.get("classificationScheme") for c in document.findall("rim:Classification", NS)}
    assert not schemes & {v.DOCUMENT_ENTRY_AUTHOR, v.ENTRY_CODES[0][0]}
    assert len(document.findall("rim:ExternalIdentifier", NS)) == 1


def test_a_long_label_is_cut_while_a_long_value_is_refused() -> None:
    entry = evolve(
        entry_of(),
        type_code=CodedValue("1", "2", "x" * 2000),
        unique_id="1" * 257,
        extra=(("urn:x:long", ("y" * 257,)), ("n" * 257, ("y",))),
        authors=(Author(role="r" * 300),),
    )
    association = Association("t" * 300, "s", "t")
    with pytest.raises(Rejected) as caught:
        registry_object_list(submission_of(entry, associations=(association,)))
    assert {problem.location for problem in caught.value.problems} == {
        "DocumentEntry[1].unique_id",
        "DocumentEntry[1].slot[12]",
        "DocumentEntry[1].slot[13].name",
        "DocumentEntry[1].author[1].authorRole",
        "Association[1].type",
    }
    label = registry_object_list(submission_of(evolve(entry_of(), type_code=entry.type_code)))
    assert max(len(e.get("value", "")) for e in label.iter(f"{{{v.RIM}}}LocalizedString")) == 1024


@given(st.sampled_from("\x00\x01\x0b\x1f\ud800\udfff\ufffe\uffff"))
def test_what_xml_cannot_carry_is_refused(character: str) -> None:
    submission = submission_of(evolve(entry_of(), title=f"a{character}b"))
    with pytest.raises(Rejected, match="cannot stand in XML") as caught:
        submit_objects_request(submission)
    assert caught.value.problems[0].location == "DocumentEntry[1].title"


def test_line_ends_survive() -> None:
    submission = submission_of(evolve(entry_of(), title="a\r\nb\tc", extra=(("urn:x", ("a\r\nb\tc",)),)))
    assert parse(submit_objects_request(submission)) == (submission,)
