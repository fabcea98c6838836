"""What the service does with right requests, and what its registry refuses."""

from __future__ import annotations

import pytest
from attrs import evolve
from cryptography import x509
from lxml import etree

from pfiflow.dmp import soap
from pfiflow.dmp.update import APPROVED
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dmp_door import Settings
from pfiflow.simulators.dmp_registry import Registry
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import ORGANIZATION
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import Association
from tests.simulators.dmp_asking import (
    ALREADY,
    DENIED,
    METADATA,
    OTHER_PATIENT,
    Edit,
    ask,
    fed,
    fresh,
    of_type,
    set_slot,
    without,
)
from tests.simulators.dmp_client import Sender, edited, entry_of, hashed, unique


def test_a_document_lives_from_approved_to_deleted(service: Service, sender: Sender) -> None:
    first = fresh(patient=7)
    second = fresh(patient=7, replaces=first)
    patient = entry_of(first).patient_id
    answer = ask(service, sender.submit(first))
    assert answer.succeeded
    assert answer.message.multipart
    (entry,) = service.registry.entries()
    assert (entry.status, entry.patient_id, entry.document) == ("Approved", patient, first.data)
    assert entry.structures == (ORGANIZATION,)
    assert len(service.registry.signatures()) == 1

    assert ask(service, sender.find(entry.unique_id, patient)).found == (entry.entry_uuid,)
    assert ask(service, sender.submit(second, replaces=entry.entry_uuid)).succeeded
    old, new = service.registry.entries(patient=patient)
    assert (old.status, old.replaced_by) == ("Deprecated", new.entry_uuid)
    assert (new.status, new.replaces) == ("Approved", old.entry_uuid)
    assert new.entry_uuid != old.entry_uuid

    answer = ask(service, sender.delete(new.entry_uuid, patient))
    assert answer.succeeded
    assert answer.message.addressing("Action") == "urn:ihe:iti:2010:UpdateDocumentSet-Response"
    assert [each.status for each in service.registry.entries()] == ["Deprecated", "Deleted"]
    assert ask(service, sender.find(new.unique_id, patient)).found == ()
    assert ask(service, sender.find(old.unique_id, patient)).found == (old.entry_uuid,)


@pytest.mark.parametrize("level", ["N1", "N3"])
@pytest.mark.parametrize("hidden", [(), ("MASQUE_PS",), ("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")])
def test_right_submissions_are_taken(service: Service, sender: Sender, level: str, hidden: tuple[str, ...]) -> None:
    made = fresh(level=level)
    request = sender.submit(made, hidden=hidden)
    assert ask(service, request).succeeded
    (entry,) = service.registry.entries()
    assert [code.code for code in entry.metadata.confidentiality_codes] == ["N", *hidden]


def test_the_answer_relates_to_the_request(service: Service, sender: Sender) -> None:
    request = sender.find("1.2.3", entry_of(fresh()).patient_id)
    answer = ask(service, request)
    assert answer.message.addressing("RelatesTo") == request.message_id
    assert not answer.message.multipart


def test_what_is_not_settled_is_a_setting(service: Service, sender: Sender) -> None:
    made = fresh()
    submission = sender.submission(entry_of(made, ("MASQUE_PS", "INVISIBLE_PATIENT")))
    unsigned = sender.provide(submission, (made.data,), signed=False)
    assert ask(service, unsigned).codes == (METADATA,)
    service.settings = Settings(
        signature="optional", hidden_from_all=True, same_document="accept", mtom_answers=False, leaf_class=True
    )
    for _ in range(2):
        answer = ask(service, sender.submit(made, hidden=("MASQUE_PS", "INVISIBLE_PATIENT")))
        assert answer.succeeded
        assert not answer.message.multipart
    assert len(service.registry.entries()) == 2
    assert ask(service, sender.provide(sender.submission(entry_of(made)), (made.data,), signed=False)).succeeded


def test_a_patient_needs_an_open_dmp(service: Service, sender: Sender) -> None:
    made = fresh(patient=3)
    uuid = fed(service, sender, made)
    patient = entry_of(made).patient_id
    for refuse, code in ((service.registry.close, "DMPClosed"), (service.registry.forget, "XDSUnknownPatientId")):
        refuse(made.patient.matricule)
        assert ask(service, sender.submit(fresh(patient=3))).codes == (code,)
        assert ask(service, sender.find(entry_of(made).unique_id, patient)).codes == (code,)
        assert ask(service, sender.delete(uuid, patient)).codes == (code,)
    assert ask(service, sender.submit(fresh(patient=4))).succeeded
    service.registry.open(patient)
    assert ask(service, sender.submit(fresh(patient=3))).succeeded


def test_only_listed_patients_have_a_dmp(authorities: list[x509.Certificate], sender: Sender) -> None:
    service = Service(Registry(unlisted="unknown"), authorities, Settings())
    made = fresh()
    assert ask(service, sender.submit(made)).codes == ("XDSUnknownPatientId",)
    service.registry.open(entry_of(made).patient_id)
    assert ask(service, sender.submit(made)).succeeded


def test_ids_that_have_been_seen(service: Service, sender: Sender) -> None:
    made = fresh()
    identifier = unique()
    assert ask(service, sender.submit(made, unique_id=identifier)).succeeded
    assert ask(service, sender.submit(made, unique_id=identifier)).codes == (ALREADY,)
    assert ask(service, sender.submit(fresh(), unique_id=identifier)).codes == (ALREADY,)
    assert ask(service, sender.submit(made)).codes == (ALREADY,)
    changed = made.data.replace(b"</title>", b" </title>", 1)
    entry = hashed(entry_of(made), changed)
    assert ask(service, sender.provide(sender.submission(entry), (changed,))).codes == ("XDSNonIdenticalHash",)
    assert len(service.registry.entries()) == 1


def test_what_may_be_replaced(service: Service, sender: Sender, dmp_authority: Authority) -> None:
    first = fresh(patient=5)
    uuid = fed(service, sender, first)
    assert ask(service, sender.submit(fresh(patient=5, replaces=first), replaces=f"urn:uuid:{'0' * 8}")).codes == (
        "UnresolvedReferenceException",
    )
    assert ask(service, sender.submit(fresh(patient=6), replaces=uuid)).codes == ("XDSPatientIdDoesNotMatch",)
    assert ask(service, sender.submit(fresh(patient=5, replaces=first), replaces=uuid)).succeeded
    assert ask(service, sender.submit(fresh(patient=5, replaces=first), replaces=uuid)).codes == (
        "XDSRegistryDeprecatedDocumentError",
    )
    assert len(service.registry.entries()) == 2


def test_a_structure_touches_its_own_documents_only(service: Service, sender: Sender) -> None:
    made = fresh(patient=8)
    uuid = fed(service, sender, made)
    other = evolve(sender, structure="1111111111")
    entry = entry_of(fresh(patient=8))
    institution = "CH^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1111111111"
    assert ask(service, other.delete(uuid, entry.patient_id)).codes == (DENIED,)
    service.settings = Settings(documents=False)
    theirs = evolve(entry, authors=tuple(evolve(author, institution=institution) for author in entry.authors))
    content = b"<theirs/>"
    submission = other.submission(hashed(theirs, content), replaces=uuid)
    assert ask(service, other.provide(submission, (content,))).codes == (DENIED,)
    assert [each.status for each in service.registry.entries()] == ["Approved"]


@pytest.mark.parametrize(
    ("source", "target"), [("SubmissionSet01", "x"), ("Signature01", "x")], ids=["of the set", "by the signature"]
)
def test_an_odd_replacement_is_refused(service: Service, sender: Sender, source: str, target: str) -> None:
    made = fresh()
    submission = evolve(sender.submission(entry_of(made)), entry_uuid="SubmissionSet01")
    association = Association("urn:ihe:iti:2007:AssociationType:RPLC", source, target)
    request = sender.provide(evolve(submission, associations=(association,)), (made.data,))
    assert ask(service, request).codes == (METADATA,)


STATUS = "urn:oasis:names:tc:ebxml-regrep:StatusType:"
UPDATES: dict[str, tuple[Edit, set[str]]] = {
    "archived": (set_slot("NewStatus", "urn:asip:ci-sis:2010:StatusType:Archived"), {DENIED}),
    "approved again": (set_slot("NewStatus", APPROVED), {DENIED}),
    "said to be deprecated": (set_slot("OriginalStatus", f"{STATUS}Deprecated"), {"XDSMetadataUpdateError"}),
    "another association": (
        of_type("UpdateAvailabilityStatus", "urn:ihe:iti:2010:AssociationType:SubmitAssociation"),
        {"XDSRegistryMetadataError"},
    ),
    "nothing": (without("UpdateAvailabilityStatus"), {"XDSRegistryMetadataError"}),
    "no submission time": (set_slot("submissionTime", "now"), {"XDSRegistryMetadataError"}),
}


@pytest.mark.parametrize("case", UPDATES)
def test_a_pfi_deletes_and_nothing_else(service: Service, sender: Sender, case: str) -> None:
    edit, codes = UPDATES[case]
    made = fresh()
    uuid = fed(service, sender, made)
    assert set(ask(service, edited(sender.delete(uuid, entry_of(made).patient_id), edit)).codes) == codes
    assert [each.status for each in service.registry.entries()] == ["Approved"]


def test_metadata_are_not_updated(service: Service, sender: Sender) -> None:
    made = fresh()
    uuid = fed(service, sender, made)
    request = sender.submit(made)
    message = soap.read_message(request.content_type, b"".join(request.parts))
    entry = next(message.envelope.iter(f"{{{v.RIM}}}ExtrinsicObject"))

    def add(root: etree._Element) -> None:
        next(root.iter(f"{{{v.RIM}}}RegistryPackage")).addnext(entry)

    assert ask(service, edited(sender.delete(uuid, entry_of(made).patient_id), add)).codes == (DENIED,)


def test_what_may_be_deleted(service: Service, sender: Sender) -> None:
    made = fresh(patient=9)
    uuid = fed(service, sender, made)
    patient = entry_of(made).patient_id
    assert ask(service, sender.delete("urn:uuid:0", patient)).codes == ("UnresolvedReferenceException",)
    assert ask(service, sender.delete(uuid, OTHER_PATIENT)).codes == ("XDSPatientIdDoesNotMatch",)
    submission = evolve(sender.submission(), patient_id=patient)
    assert ask(service, sender.delete(uuid, OTHER_PATIENT, submission=submission)).codes == (
        "XDSPatientIdDoesNotMatch",
    )
    assert ask(service, sender.delete(uuid, patient, submission=submission)).succeeded
    assert ask(service, sender.delete(uuid, patient, submission=submission)).codes == (ALREADY,)
    assert ask(service, sender.delete(uuid, patient)).codes == ("UnresolvedReferenceException",)
    assert ask(service, sender.submit(fresh(patient=9, replaces=made), replaces=uuid)).codes == (
        "XDSRegistryDeprecatedDocumentError",
    )


def test_a_question_of_another_patient_finds_nothing(service: Service, sender: Sender) -> None:
    made = fresh()
    fed(service, sender, made)
    assert ask(service, sender.find(entry_of(made).unique_id, OTHER_PATIENT)).found == ()
    assert ask(service, sender.find("1.2.3.4'", entry_of(made).patient_id)).found == ()


def query_of(root: etree._Element) -> etree._Element:
    return next(root.iter(f"{{{v.RIM}}}AdhocQuery"))


def leaf_class(root: etree._Element) -> None:
    root[1][0][0].set("returnType", "LeafClass")


def one_more(root: etree._Element) -> None:
    query_of(root).append(etree.fromstring(etree.tostring(query_of(root)[0]).replace(b"UniqueId", b"EntryUUID")))


QUERIES: dict[str, tuple[Edit, str]] = {
    "FindDocuments": (
        lambda root: query_of(root).set("id", "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"), "XDSUnknownStoredQuery"
    ),
    "no uniqueId": (
        lambda root: query_of(root)[0].set("name", "$XDSDocumentEntryEntryUUID"), "XDSStoredQueryMissingParam"
    ),
    "two parameters": (one_more, "XDSStoredQueryParamNumber"),
    "a value without quotes": (set_slot("$XDSDocumentEntryUniqueId", "1.2.3"), "XDSRegistryError"),
    "LeafClass": (leaf_class, DENIED),
}  # fmt: skip


@pytest.mark.parametrize("case", QUERIES)
def test_another_question_is_refused(service: Service, sender: Sender, case: str) -> None:
    edit, code = QUERIES[case]
    answer = ask(service, edited(sender.find("1.2.3", entry_of(fresh()).patient_id), edit))
    assert answer.codes == (code,)
    assert answer.message.body is not None
    assert etree.QName(answer.message.body).localname == "AdhocQueryResponse"
