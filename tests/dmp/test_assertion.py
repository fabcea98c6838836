from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pfiflow.dmp import soap
from pfiflow.dmp.assertion import INVALID_CERTIFICATE, verify
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.signing import DS, signature_value
from pfiflow.dmp.vihf import SAML, VihfForm
from pfiflow.errors import Rejected
from pfiflow.simulators.certificates import Authority
from tests.dmp.builders import ASSERTION_ID, MESSAGE_ID, NOW, STRUCTURE, VIHF, assertion

NAMES = {"saml": SAML, "ds": DS}
Trusted = Sequence[x509.Certificate]


def refusal(data: bytes, trusted: Trusted, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        verify(data, trusted, **{"now": NOW, **options})
    return caught.value


def in_envelope(data: bytes) -> etree._Element:
    envelope = soap.envelope(b"<x/>", action="urn:a", message_id=MESSAGE_ID, to="https://dmp.test", security=data)
    security = soap.read_message("application/soap+xml", envelope).header("Security", soap.WSSE)
    assert security is not None
    return security


def test_in_its_envelope(seal: Seal, trusted: Trusted) -> None:
    assert verify(in_envelope(assertion(seal))[0], trusted, now=NOW).vihf == VIHF


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Paul", b"Saul"),
        (STRUCTURE.encode() + b"<", b"1999999999<"),
        (b">INDIRECTE<", b">DIRECTE<"),
        (b'code="10"', b'code="21"'),
        (b"279035121518989", b"179035121518989"),
        (b"<saml:Subject>", b"<saml:Subject> "),
        (b'Version="2.0"', b'Version="2.0" xmlns:zz="urn:z" zz:a="b"'),
    ],
)
def test_nothing_can_be_changed(seal: Seal, trusted: Trusted, old: bytes, new: bytes) -> None:
    data = assertion(seal)
    assert old in data
    assert "digest differs" in str(refusal(data.replace(old, new), trusted))


def test_a_digest_made_anew_needs_the_key(seal: Seal, trusted: Trusted) -> None:
    root = etree.fromstring(assertion(seal))
    value = root.find(".//ds:DigestValue", NAMES)
    assert value is not None
    value.text = base64.b64encode(bytes(32)).decode()
    assert "digest differs" in str(refusal(etree.tostring(root), trusted))
    # Signed for somebody else: its SignedInfo under our SignatureValue.
    other = etree.fromstring(assertion(seal, evolve(VIHF, structure="1999999999")))
    signature = other.find(".//ds:SignatureValue", NAMES)
    original = etree.fromstring(assertion(seal)).find(".//ds:SignatureValue", NAMES)
    assert signature is not None
    assert original is not None
    signature.text = original.text
    assert "not the one of its certificate" in str(refusal(etree.tostring(other), trusted))


def test_a_comment_splits_no_name(seal: Seal, trusted: Trusted) -> None:
    commented = assertion(seal).replace(b"MARTIN", b"MAR<!-- x -->TIN")
    assert verify(commented, trusted, now=NOW).vihf.subject == VIHF.subject


def wrapped_beside(data: bytes) -> bytes:
    """The signed assertion kept aside, a forged one in its place with the same ID."""
    forged = data.replace(b"Paul", b"Evil")
    return forged.replace(b"</saml:AttributeStatement>", b"</saml:AttributeStatement>" + data, 1)


def wrapped_inside_signature(data: bytes) -> bytes:
    """The signed assertion inside the Object of the forged one's signature."""
    forged = data.replace(b"Paul", b"Evil").replace(ASSERTION_ID.encode(), b"_evil", 1)
    return forged.replace(b"</ds:Signature>", b"<ds:Object>" + data + b"</ds:Object></ds:Signature>", 1)


def other_reference(data: bytes) -> bytes:
    return data.replace(b'ID="' + ASSERTION_ID.encode(), b'ID="_evil')


def two_references(data: bytes) -> bytes:
    start = data.index(b"<ds:Reference ")
    end = data.index(b"</ds:Reference>") + len(b"</ds:Reference>")
    return data[:end] + data[start:end] + data[end:]


def signature_last(data: bytes) -> bytes:
    start, end = data.index(b"<ds:Signature "), data.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    return data[:start] + data[end:].replace(b"</saml:Assertion>", data[start:end] + b"</saml:Assertion>")


def without_signature(data: bytes) -> bytes:
    start, end = data.index(b"<ds:Signature "), data.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    return data[:start] + data[end:]


def other_transform(data: bytes) -> bytes:
    return data.replace(
        b'Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"', b'Transform Algorithm="urn:x"'
    )


def no_certificate(data: bytes) -> bytes:
    return data.replace(b"<ds:X509Certificate>", b"<ds:X509Certificate>!")


@pytest.mark.parametrize(
    "attack",
    [
        wrapped_beside,
        wrapped_inside_signature,
        other_reference,
        two_references,
        signature_last,
        without_signature,
        other_transform,
        no_certificate,
    ],
)
def test_no_wrapping(seal: Seal, trusted: Trusted, attack: Callable[[bytes], bytes]) -> None:
    data = attack(assertion(seal))
    etree.fromstring(data)
    refusal(data, trusted)


def signed_anew(data: bytes, seal: Seal, old: bytes, new: bytes) -> bytes:
    """An assertion whose SignedInfo says something else, signed by the rightful signer."""
    start, end = data.index(b"<ds:SignedInfo>"), data.index(b"</ds:SignedInfo>") + len(b"</ds:SignedInfo>")
    info = data[start:end].replace(old, new)
    assert info != data[start:end]
    canonical = info.replace(b"<ds:SignedInfo>", b'<ds:SignedInfo xmlns:ds="%s">' % DS.encode())
    head, _, rest = data[end:].partition(b"<ds:SignatureValue>")
    value = signature_value(canonical, seal, "sha256").encode()
    return data[:start] + info + head + b"<ds:SignatureValue>" + value + rest[rest.index(b"</ds:SignatureValue>") :]


def test_what_the_signer_refers_to(seal: Seal, trusted: Trusted) -> None:
    data = assertion(seal)
    uri = b'URI="#' + ASSERTION_ID.encode()
    prefixes = b'PrefixList="ds saml #default xsi"'
    assert verify(signed_anew(data, seal, prefixes, b'PrefixList="xsi"'), trusted, now=NOW).vihf == VIHF
    assert "something else" in str(refusal(signed_anew(data, seal, uri, b'URI="#_other'), trusted))
    assert "something else" in str(refusal(signed_anew(data, seal, uri + b'"', b'URI=""'), trusted))
    enveloped = f'"{DS}enveloped-signature"'.encode()
    assert "transforms" in str(refusal(signed_anew(data, seal, enveloped, b'"urn:x"'), trusted))


def test_an_id_twice_in_the_envelope(seal: Seal, trusted: Trusted) -> None:
    security = in_envelope(assertion(seal))
    etree.SubElement(security, "x", {"Id": ASSERTION_ID})
    with pytest.raises(Rejected, match="another element has"):
        verify(security[0], trusted, now=NOW)


def test_a_stranger_and_a_certificate_that_is_no_seal(
    seal: Seal, authority: Authority, trusted: Trusted, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    issued = stranger.issue_seal(STRUCTURE)
    foreign = Seal.load(issued.certificate.read_bytes(), issued.key.read_bytes())
    assert refusal(assertion(foreign), trusted).problems[0].detail_code == INVALID_CERTIFICATE
    issued = authority.issue_seal(STRUCTURE, signs=False)
    tls = Seal.load(issued.certificate.read_bytes(), issued.key.read_bytes())
    problem = refusal(assertion(tls), trusted).problems[0]
    assert (problem.detail_code, "nonRepudiation" in problem.message) == (INVALID_CERTIFICATE, True)
    issued = authority.issue_seal(STRUCTURE, not_after=NOW - timedelta(seconds=1))
    old = Seal.load(issued.certificate.read_bytes(), issued.key.read_bytes())
    assert refusal(assertion(old), trusted).problems[0].detail_code == INVALID_CERTIFICATE


def test_an_intermediate_authority(
    authority: Authority, trusted: Trusted, tmp_path_factory: pytest.TempPathFactory
) -> None:
    child = Authority(tmp_path_factory.mktemp("child"), "child", parent=authority)
    issued = child.issue_seal(STRUCTURE)
    seal = Seal.load(issued.certificate.read_bytes(), issued.key.read_bytes())
    refusal(assertion(seal), trusted)
    between = x509.load_pem_x509_certificates(child.certificate.read_bytes())
    assert verify(assertion(seal), trusted, now=NOW, intermediates=between).vihf == VIHF


def test_clocks(seal: Seal, trusted: Trusted) -> None:
    data = assertion(seal)
    assert verify(data, trusted, now=NOW - timedelta(minutes=4)).vihf == VIHF
    assert verify(data, trusted, now=NOW + timedelta(minutes=19)).vihf == VIHF
    assert "of the future" in str(refusal(data, trusted, now=NOW - timedelta(minutes=6)))
    assert "too old" in str(refusal(data, trusted, now=NOW + timedelta(minutes=21)))


def test_sha1_only_where_it_is_accepted(seal: Seal, trusted: Trusted) -> None:
    data = assertion(seal, form=VihfForm("sha1", issuer_in_encoded_order=True))
    assert "not one of those accepted" in str(refusal(data, trusted))
    assert verify(data, trusted, now=NOW, algorithms=("sha256", "sha1")).vihf == VIHF


def test_a_signed_assertion_of_another_issuer(seal: Seal, trusted: Trusted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.dmp.vihf.distinguished_name", lambda *_, **__: "CN=SOMEBODY ELSE")
    assert "not the subject" in str(refusal(assertion(seal), trusted))


@given(place=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_one_byte_elsewhere_changes_nothing_or_is_refused(seal: Seal, trusted: Trusted, place: int, byte: int) -> None:
    data = bytearray(assertion(seal))
    data[place % len(data)] = byte
    with contextlib.suppress(Rejected):
        assert verify(bytes(data), trusted, now=NOW).vihf == VIHF
