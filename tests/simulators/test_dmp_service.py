"""A right request is taken; each way of spoiling one is refused with its own code, and changes nothing."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPMessage

import pytest
from attrs import evolve
from cryptography import x509
from lxml import etree

from pfiflow.dmp import soap, update
from pfiflow.dmp.soap import Outgoing
from pfiflow.dmp.submission import ACTION, XDS, provide_and_register
from pfiflow.dmp.update import APPROVED
from pfiflow.dmp.vihf import AUTOMATE, SAML
from pfiflow.dmp.xades import SignatureDocument, with_signature
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dmp_door import BASE, Incoming, Settings
from pfiflow.simulators.dmp_registry import Registry
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import ORGANIZATION, SyntheticDocument, document
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry
from tests.simulators.dmp_client import Got, Sender, edited, entry_of, hashed, seal_of, unique

HEADER = f"{{{soap.SOAP12}}}Header"
NUMBERS = itertools.count(1)
ALREADY = "XDSDuplicateUniqueIdInRegistry"
METADATA = "XDSRepositoryMetadataError"
DENIED = "DMPAccessDeniedByRightsService"


@pytest.fixture(scope="module")
def authorities(dmp_authority: Authority) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(dmp_authority.certificate.read_bytes())


@pytest.fixture
def service(authorities: list[x509.Certificate]) -> Service:
    return Service(Registry(), authorities, Settings())


@pytest.fixture
def sender(dmp_sender: Sender) -> Sender:
    return dmp_sender


def fresh(**options: object) -> SyntheticDocument:
    return document(number=next(NUMBERS), **options)  # type: ignore[arg-type]


def ask(service: Service, outgoing: Outgoing, *, path: str = "", body: bytes | None = None, kind: str = "") -> Got:
    where = path or ("repository" if outgoing.action == ACTION else "registry")
    content = b"".join(outgoing.parts) if body is None else body
    processed = service.process(
        Incoming(f"{BASE}/{where}", kind or outgoing.content_type, content), now=datetime.now(UTC)
    )
    answer = processed.answer
    got = Got(answer.status, answer.content_type, answer.body, HTTPMessage())
    if got.message.body is not None and got.message.body.tag == f"{{{soap.SOAP12}}}Fault":
        assert got.status == 500
        assert processed.codes == (got.fault[0],)
    else:
        assert got.status == 200
        assert processed.codes == got.codes
        assert got.message.addressing("Action") == processed.context.action
    return got


def fed(service: Service, sender: Sender, made: SyntheticDocument) -> str:
    """Submits a document; its entryUUID."""
    assert ask(service, sender.submit(made)).succeeded
    return service.registry.entries(unique_id=entry_of(made).unique_id)[0].entry_uuid


# -- what is right ---------------------------------------------------------------------------------------------------


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


# -- what the door refuses: a Fault ----------------------------------------------------------------------------------

Edit = Callable[[etree._Element], None]


def header(root: etree._Element, name: str, namespace: str = soap.WSA) -> etree._Element:
    found = root.find(f"{HEADER}/{{{namespace}}}{name}")
    assert found is not None
    return found


def removed(name: str, namespace: str = soap.WSA) -> Edit:
    return lambda root: header(root, name, namespace).getparent().remove(header(root, name, namespace))  # type: ignore[union-attr]


def written(name: str, text: str) -> Edit:
    def edit(root: etree._Element) -> None:
        header(root, name).text = text

    return edit


def doubled(name: str) -> Edit:
    def edit(root: etree._Element) -> None:
        header(root, name).addnext(etree.fromstring(etree.tostring(header(root, name), with_tail=False)))

    return edit


def not_understood(root: etree._Element) -> None:
    del header(root, "Action").attrib[f"{{{soap.SOAP12}}}mustUnderstand"]


def stranger(root: etree._Element) -> None:
    block = etree.SubElement(root[0], "{urn:x}Strange")
    block.set(f"{{{soap.SOAP12}}}mustUnderstand", "1")


def assertion(root: etree._Element) -> etree._Element:
    return header(root, "Security", soap.WSSE)[0]


def attribute(name: str, text: str) -> Edit:
    def edit(root: etree._Element) -> None:
        for element in assertion(root).iter(f"{{{SAML}}}Attribute"):
            if element.get("Name") == name:
                element[0].text = text

    return edit


def signature_value(root: etree._Element) -> None:
    value = next(assertion(root).iter("{http://www.w3.org/2000/09/xmldsig#}SignatureValue"))
    octets = bytearray(base64.b64decode(value.text or ""))
    octets[7] ^= 1
    value.text = base64.b64encode(octets).decode()


def two_assertions(root: etree._Element) -> None:
    assertion(root).addnext(etree.fromstring(etree.tostring(assertion(root), with_tail=False)))


def other_body(root: etree._Element) -> None:
    root[1][0].tag = f"{{{XDS}}}RetrieveDocumentSetRequest"


def soap11(root: etree._Element) -> None:
    for element in root.iter(f"{{{soap.SOAP12}}}*"):
        element.tag = f"{{{soap.SOAP11}}}{etree.QName(element).localname}"


DOOR: dict[str, tuple[Edit, str]] = {
    "no Action": (removed("Action"), "MessageAddressingHeaderRequired"),
    "no MessageID": (removed("MessageID"), "MessageAddressingHeaderRequired"),
    "no To": (removed("To"), "MessageAddressingHeaderRequired"),
    "no ReplyTo": (removed("ReplyTo"), "MessageAddressingHeaderRequired"),
    "two Actions": (doubled("Action"), "InvalidCardinality"),
    "two MessageIDs": (doubled("MessageID"), "InvalidCardinality"),
    "another Action": (written("Action", update.ACTION), "ActionNotSupported"),
    "an unknown Action": (written("Action", "urn:x"), "ActionNotSupported"),
    "a MessageID that is no UUID": (written("MessageID", "1"), "InvalidAddressingHeader"),
    "an Action that need not be understood": (not_understood, "InvalidAddressingHeader"),
    "another service's address": (written("To", "https://localhost/x/registry"), "DestinationUnreachable"),
    "an empty address": (written("To", ""), "DestinationUnreachable"),
    "an answer elsewhere": (
        lambda root: setattr(header(root, "ReplyTo")[0], "text", "http://x"), "OnlyAnonymousAddressSupported"
    ),
    "a header that must be understood": (stranger, "MustUnderstand"),
    "SOAP 1.1": (soap11, "VersionMismatch"),
    "another body": (other_body, "Sender"),
    "no Security": (removed("Security", soap.WSSE), "InvalidSecurity"),
    "two assertions": (two_assertions, "InvalidSecurity"),
    "a tampered patient": (
        attribute("urn:oasis:names:tc:xacml:2.0:resource:resource-id", "1^^^&1.2&ISO^NH"), "FailedCheck"
    ),
    "a tampered structure": (attribute("Identifiant_Structure", "1000000000"), "FailedCheck"),
    "a tampered signature": (signature_value, "FailedCheck"),
    "a renewed date": (lambda root: assertion(root).set("IssueInstant", "2031-01-01T00:00:00.000Z"), "FailedCheck"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOOR)
def test_a_spoilt_envelope_is_a_fault(service: Service, sender: Sender, case: str) -> None:
    edit, code = DOOR[case]
    assert ask(service, edited(sender.submit(fresh()), edit)).fault[0] == code
    assert service.registry.entries() == ()


def test_every_request_is_new(service: Service, sender: Sender) -> None:
    request = sender.submit(fresh())
    assert ask(service, request).succeeded
    assert ask(service, request).fault[0] == "DuplicateMessageID"
    renamed = edited(request, written("MessageID", "urn:uuid:0b5c3bd4-64a3-4d9c-8f0e-3c1d9e0f7a11"))
    code, reason = ask(service, renamed).fault
    assert code == "InvalidSecurityToken"
    assert "before" in reason


@pytest.mark.parametrize("minutes", [-60, 60])
def test_a_wrong_clock_is_said(service: Service, sender: Sender, minutes: int) -> None:
    late = evolve(sender, clock=timedelta(minutes=minutes))
    assert ask(service, late.submit(fresh())).fault[0] == "MessageExpired"


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_may_be_a_little_wrong(service: Service, sender: Sender, minutes: int) -> None:
    assert ask(service, evolve(sender, clock=timedelta(minutes=minutes)).submit(fresh())).succeeded


def test_the_seal_must_be_one(
    service: Service, sender: Sender, dmp_authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    expired = dmp_authority.issue_seal(ORGANIZATION, not_after=datetime.now(UTC) - timedelta(days=1))
    for credentials in (
        stranger.issue_seal(ORGANIZATION),
        dmp_authority.issue_seal(ORGANIZATION, signs=False),
        expired,
    ):
        wrong = evolve(sender, seal=seal_of(credentials))
        assert ask(service, wrong.submit(fresh())).fault[0] == "DMPInvalidCertificate"


@pytest.mark.parametrize(
    "change",
    [
        {"structure": ""}, {"sector": "SA99^1.2.250.1.71.4.2.4"}, {"sector": "SA01"}, {"version": "2.0"},
        {"roles": ()}, {"roles": (AUTOMATE, AUTOMATE, AUTOMATE)}, {"name_id": ""}, {"subject": ""},
    ],
)  # fmt: skip
def test_a_vihf_that_says_too_little_is_refused(service: Service, sender: Sender, change: dict[str, object]) -> None:
    made = fresh()
    values = evolve(sender.vihf(entry_of(made).patient_id), **change)  # type: ignore[arg-type]
    assert ask(service, evolve(sender, values=values).submit(made)).fault[0] == "InvalidSecurityToken"


def test_the_seal_may_have_to_name_the_structure(service: Service, sender: Sender, dmp_authority: Authority) -> None:
    other = evolve(sender, seal=seal_of(dmp_authority.issue_seal("1111111111")))
    assert ask(service, other.submit(fresh())).succeeded
    service.settings = Settings(seal_of_structure=True)
    assert ask(service, other.submit(fresh())).fault[0] == "InvalidSecurityToken"


MTOM: dict[str, Callable[[bytes, str], tuple[bytes, str]]] = {
    "cut": lambda body, kind: (body[: len(body) // 2], kind),
    "without its last delimiter": lambda body, kind: (body[:-4], kind),
    "empty": lambda _, kind: (b"", kind),
    "another boundary": lambda body, kind: (body, kind.replace("MIMEBoundary", "MIMEOther")),
    "no boundary": lambda body, kind: (body, kind.replace("boundary=", "border=")),
    "another start": lambda body, kind: (body, kind.replace("root@", "roots@")),
    "a reference to nothing": lambda body, kind: (body.replace(b"cid:document1@", b"cid:document9@"), kind),
    "an unused part": lambda body, kind: (body.replace(b'"cid:document1@', b'"cid:document2@'), kind),
    "no media type": lambda body, _: (body, ""),
    "HTML": lambda _, __: (b"<html/>", "text/html"),
    "a DOCTYPE": lambda body, kind: (body.replace(b"<soap:Envelope", b"<!DOCTYPE x><soap:Envelope", 1), kind),
    "another action": lambda body, kind: (body, kind.replace(ACTION, update.ACTION)),
}


@pytest.mark.parametrize("case", MTOM)
def test_a_broken_mtom_is_a_fault(service: Service, sender: Sender, case: str) -> None:
    request = sender.submit(fresh())
    body, kind = MTOM[case](b"".join(request.parts), request.content_type)
    found = ask(service, request, body=body, kind=kind or " ").fault[0]
    assert found == ("ActionMismatch" if case == "another action" else "Sender")
    assert service.registry.entries() == ()


def test_a_submission_goes_as_mtom_and_a_deletion_does_not(service: Service, sender: Sender) -> None:
    made = fresh()
    message = soap.read_message((request := sender.submit(made)).content_type, b"".join(request.parts))
    assert (
        ask(service, soap.plain(etree.tostring(message.envelope), action=ACTION, message_id="x")).fault[0] == "Sender"
    )
    request = sender.delete("urn:uuid:1", entry_of(made).patient_id)
    packed = soap.multipart(b"".join(request.parts), (), action=update.ACTION, message_id=request.message_id)
    assert ask(service, packed).fault[0] == "Sender"


# -- what metadata must say ------------------------------------------------------------------------------------------

LOINC = "2.16.840.1.113883.6.1"
FUTURE = "20990101000000"
OTHER_PATIENT = "230016311300148^^^&1.2.250.1.213.1.4.10&ISO^NH"

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


# -- associations, schema, documents ---------------------------------------------------------------------------------


def associations(root: etree._Element, kind: str) -> list[etree._Element]:
    return [e for e in root.iter(f"{{{v.RIM}}}Association") if e.get("associationType", "").endswith(kind)]


def without(kind: str) -> Edit:
    def edit(root: etree._Element) -> None:
        for element in associations(root, kind)[:1]:
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)

    return edit


def of_type(kind: str, other: str) -> Edit:
    return lambda root: associations(root, kind)[0].set("associationType", other)


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


def test_documents_are_what_their_entries_say(service: Service, sender: Sender) -> None:
    made, other = fresh(), fresh(patient=1)
    cut = made.data[:-10]

    def provided(entry: DocumentEntry, content: bytes) -> tuple[str, ...]:
        return ask(service, sender.provide(sender.submission(hashed(entry, content)), (content,))).codes

    assert provided(entry_of(made), made.data.replace(b"</title>", b" </title>", 1)) == ()
    assert provided(evolve(entry_of(made), patient_id=entry_of(other).patient_id), made.data) == (
        "XDSPatientIdDoesNotMatch",
    )
    assert provided(evolve(entry_of(other), unique_id="1.2.3"), other.data) == (METADATA,)
    unsigned = Settings(signature="optional")
    service.settings = unsigned
    submission = sender.submission(hashed(entry_of(made), cut))
    assert ask(service, sender.provide(submission, (cut,), signed=False)).codes == ("InvalidDocumentContent",)
    service.settings = evolve(unsigned, documents=False)
    assert ask(service, sender.provide(sender.submission(hashed(entry_of(other), cut)), (cut,), signed=False)).succeeded


def test_two_documents_with_one_id_are_refused(service: Service, sender: Sender) -> None:
    made = fresh()
    entry = entry_of(made)
    submission = sender.submission(entry, evolve(entry, entry_uuid="Document02"))
    assert ask(service, sender.provide(submission, (made.data, made.data))).codes == (
        "XDSRepositoryDuplicateUniqueIdInMessage",
    )


def test_two_documents_of_one_submission(service: Service, sender: Sender) -> None:
    first, second = fresh(), fresh()
    submission = sender.submission(entry_of(first), evolve(entry_of(second), entry_uuid="Document02"))
    assert ask(service, sender.provide(submission, (first.data, second.data))).succeeded
    assert [entry.document for entry in service.registry.entries()] == [first.data, second.data]


# -- the signature of the submission ---------------------------------------------------------------------------------


def spoilt(old: bytes, new: bytes) -> Callable[[SignatureDocument], SignatureDocument]:
    def spoil(signature: SignatureDocument) -> SignatureDocument:
        data = signature.data.replace(old, new)
        assert data != signature.data
        return SignatureDocument(data, hashed(signature.entry, data))

    return spoil


def described(**change: object) -> Callable[[SignatureDocument], SignatureDocument]:
    return lambda signature: evolve(signature, entry=evolve(signature.entry, **change))  # type: ignore[arg-type]


SIGNATURE: dict[str, Callable[[SignatureDocument], SignatureDocument]] = {
    "no null digest": spoilt(b">AA==<", b">AB==<"),
    "another purpose": spoilt(b"1.2.840.10065.1.12.1.14<", b"1.2.840.10065.1.12.1.1<"),
    "another manifest": spoilt(b"IHEManifest", b"OurManifest"),
    "a changed value": spoilt(b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    "no XML": spoilt(b"</ds:Signature>", b""),
    "another element": spoilt(b"ds:Signature>", b"ds:Signatures>"),
    "another time": spoilt(b"<xad:SigningTime>20", b"<xad:SigningTime>19"),
    "another language": described(language_code="fr-FR"),
    "visible": described(confidentiality_codes=(CodedValue("N", "2.16.840.1.113883.5.25", "Normal"),)),
    "no event": described(event_codes=()),
    "a wrong hash": described(hash="0" * 40),
}


@pytest.mark.parametrize("case", SIGNATURE)
def test_a_spoilt_signature_is_refused(service: Service, sender: Sender, case: str) -> None:
    made = fresh()
    request = sender.provide(sender.submission(entry_of(made)), (made.data,), spoil_signature=SIGNATURE[case])
    assert ask(service, request).codes == (METADATA,)
    assert service.registry.submissions == ()


def test_a_signature_of_something_else_is_refused(service: Service, sender: Sender, dmp_authority: Authority) -> None:
    made, other = fresh(), fresh()
    submission = sender.submission(entry_of(made))
    for request in (
        sender.provide(submission, (made.data,), signed_documents=(other.data,)),
        sender.provide(submission, (made.data,), signed_set=evolve(submission, unique_id=unique())),
        sender.provide(submission, (made.data,), signed_set=sender.submission(entry_of(other))),
    ):
        answer = ask(service, request)
        assert answer.codes == (METADATA,)
        assert all("signature" in error.context for error in answer.errors)
    colleague = evolve(sender, seal=seal_of(dmp_authority.issue_seal(ORGANIZATION)))
    message = soap.read_message((theirs := colleague.submit(made)).content_type, b"".join(theirs.parts))
    signature = bytes(list(message.attachments.values())[1])

    def exchanged(ours: SignatureDocument) -> SignatureDocument:
        return SignatureDocument(signature, hashed(ours.entry, signature))

    answer = ask(service, sender.provide(submission, (made.data,), spoil_signature=exchanged))
    assert any("not the VIHF's" in error.context for error in answer.errors)


def test_two_signatures_are_refused(service: Service, sender: Sender) -> None:
    made = fresh()
    submission = sender.submission(entry_of(made))

    def kept(signature: SignatureDocument) -> SignatureDocument:
        held.append(signature)
        return signature

    held: list[SignatureDocument] = []
    sender.provide(submission, (made.data,), spoil_signature=kept)
    twice = with_signature(submission, SignatureDocument(held[0].data, evolve(held[0].entry, entry_uuid="Signature02")))
    call = sender.call("repository", submission.patient_id)
    renamed = SignatureDocument(held[0].data, evolve(held[0].entry, unique_id=unique()))
    request = provide_and_register(twice, (made.data, held[0].data), call, signature=renamed)
    assert METADATA in ask(service, request).codes


# -- the registry ----------------------------------------------------------------------------------------------------


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


# -- ITI-57 ----------------------------------------------------------------------------------------------------------


def set_slot(name: str, value: str) -> Edit:
    def edit(root: etree._Element) -> None:
        for slot in root.iter(f"{{{v.RIM}}}Slot"):
            if slot.get("name") == name:
                next(slot.iter(f"{{{v.RIM}}}Value")).text = value

    return edit


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


# -- ITI-18 ----------------------------------------------------------------------------------------------------------


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
