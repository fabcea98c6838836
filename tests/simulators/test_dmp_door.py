"""Each way of spoiling an envelope, its VIHF or its MTOM is a Fault of its own, and changes nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pfiflow.dmp import soap, update
from pfiflow.dmp.soap import Outgoing
from pfiflow.dmp.submission import ACTION, XDS
from pfiflow.dmp.vihf import AUTOMATE, SAML
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dmp_door import Settings
from pfiflow.simulators.dmp_registry import Registry
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import ORGANIZATION
from tests.simulators.dmp_asking import OTHER_PATIENT, Edit, ask, fresh
from tests.simulators.dmp_client import Sender, edited, entry_of, seal_of

PIECES = st.binary(max_size=3) | st.sampled_from([b"\r\n--", b"<", b"]]>", b"&a;", b'"'])
CUT = st.tuples(st.floats(0, 1), st.integers(0, 200), PIECES)
HEADER = f"{{{soap.SOAP12}}}Header"


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


@pytest.fixture(scope="module")
def requests(dmp_sender: Sender) -> tuple[Outgoing, Outgoing]:
    return dmp_sender.submit(fresh()), dmp_sender.find("1.2.3", OTHER_PATIENT)


@given(which=st.booleans(), cuts=st.lists(CUT, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_request_breaks_the_service(
    authorities: list[x509.Certificate],
    requests: tuple[Outgoing, Outgoing],
    which: bool,
    cuts: list[tuple[float, int, bytes]],
) -> None:
    body = bytearray(b"".join(requests[which].parts))
    for place, length, piece in cuts:
        start = int(place * len(body))
        body[start : start + length] = piece
    service = Service(Registry(), authorities, Settings())
    assert ask(service, requests[which], body=bytes(body)).status in {200, 500}
