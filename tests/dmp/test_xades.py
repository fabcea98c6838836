from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from pfiflow.dmp.canonical import canonical_digest
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.signing import C14N_WITH_COMMENTS, DS
from pfiflow.dmp.xades import SIGNS, XADES, SignatureForm, with_signature
from pfiflow.errors import Rejected
from pfiflow.simulators.certificates import Authority
from tests.dmp.builders import our_schema, signature_of, submission
from tests.dmp.tools import oasis_schema, xmlsec1
from tests.xds.builders import RAW, SENDER_AUTHOR

NAMES = {"ds": DS, "xad": XADES}
IDS = ("--ignore-manifests", "--id-attr:Id", f"{DS}:Manifest", "--id-attr:Id", f"{XADES}:SignedProperties")


def manifest(data: bytes) -> dict[str, tuple[str, str, bool]]:
    """URI → digest value, digest algorithm, whether canonicalised."""
    found = {}
    for reference in etree.fromstring(data).iterfind(".//ds:Manifest/ds:Reference", NAMES):
        method = reference.find("ds:DigestMethod", NAMES)
        assert method is not None
        transform = reference.find("ds:Transforms/ds:Transform", NAMES)
        assert transform is None or transform.get("Algorithm") == C14N_WITH_COMMENTS
        value = reference.findtext("ds:DigestValue", "", NAMES)
        found[reference.get("URI", "")] = (value, method.get("Algorithm", ""), transform is not None)
    return found


def test_the_manifest_names_the_set_and_each_document(seal: Seal) -> None:
    data = signature_of(submission(), (RAW,), seal).data
    assert manifest(data) == {
        "urn:oid:1.2.3.100": ("AA==", f"{DS}sha1", False),
        "urn:oid:1.2.3.9^A1": (canonical_digest(RAW, "sha1"), f"{DS}sha1", True),
    }


def test_other_settings(seal: Seal) -> None:
    data = signature_of(submission(), (RAW,), seal, SignatureForm("sha256", "none")).data
    expected = base64.b64encode(hashlib.sha256(RAW).digest()).decode()
    algorithm = "http://www.w3.org/2001/04/xmlenc#sha256"
    assert manifest(data)["urn:oid:1.2.3.9^A1"] == (expected, algorithm, False)
    assert b"#rsa-sha256" in data
    our_schema("dmp-signature.xsd").assertValid(etree.fromstring(data))


def test_what_is_no_xml_is_hashed_as_it_is(seal: Seal) -> None:
    chosen = submission()
    chosen = evolve(chosen, entries=(evolve(chosen.entries[0], mime_type="application/dicom"),))
    data = signature_of(chosen, (b"\x00DICM",), seal).data
    expected = base64.b64encode(hashlib.sha1(b"\x00DICM").digest()).decode()
    assert manifest(data)["urn:oid:1.2.3.9^A1"] == (expected, f"{DS}sha1", False)
    with pytest.raises(Rejected):
        signature_of(submission(), (b"\x00DICM",), seal)


def test_the_properties_say_when_and_by_whom(seal: Seal) -> None:
    root = etree.fromstring(signature_of(submission(), (RAW,), seal).data)
    assert root.findtext(".//xad:SigningTime", None, NAMES) == "2026-01-02T03:04:06Z"
    der = seal.certificate.public_bytes(Encoding.DER)
    digest = root.findtext(".//xad:CertDigest/xad:DigestValue", "", NAMES)
    assert base64.b64decode(digest) == hashlib.sha1(der).digest()
    assert root.findtext(".//ds:X509SerialNumber", "", NAMES) == str(seal.certificate.serial_number)
    assert root.findtext(".//ds:X509IssuerName", "", NAMES).endswith("O=trustme v1.2.1")
    assert root.findtext(".//ds:SignatureProperty", "", NAMES) == "1.2.840.10065.1.12.1.14"
    types = [reference.get("Type") for reference in root.iterfind("ds:SignedInfo/ds:Reference", NAMES)]
    assert types == [f"{DS}Manifest", f"{XADES}SignedProperties"]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_xmlsec_accepts_it(seal: Seal, authority: Authority, tmp_path: Path, algorithm: str) -> None:
    data = signature_of(submission(), (RAW,), seal, SignatureForm(algorithm)).data  # type: ignore[arg-type]
    assert xmlsec1(data, authority.certificate, tmp_path, *IDS)
    for old, new in ((b"urn:oid:1.2.3.100", b"urn:oid:1.2.3.101"), (b"2026-01-02", b"2026-01-03")):
        assert old in data
        assert not xmlsec1(data.replace(old, new), authority.certificate, tmp_path, *IDS)


def test_our_schema_and_the_one_of_w3c(seal: Seal) -> None:
    root = etree.fromstring(signature_of(submission(), (RAW,), seal).data)
    our_schema("dmp-signature.xsd").assertValid(root)
    # The W3C wants an element in SignatureProperty, every published DMP signature has the purpose there as text alone.
    purpose = root.find(".//ds:SignatureProperty", NAMES)
    assert purpose is not None
    etree.SubElement(purpose, "{urn:x}any")
    oasis_schema().assertValid(root)


def test_the_entry_that_describes_it(seal: Seal) -> None:
    signature = signature_of(submission(), (RAW,), seal)
    entry = signature.entry
    assert (entry.hash, entry.size) == (hashlib.sha1(signature.data).hexdigest(), len(signature.data))
    assert (entry.unique_id, entry.language_code, entry.mime_type) == ("2.25.4242", "art", "text/xml")
    assert [code.code for code in entry.confidentiality_codes] == ["N", "MASQUE_PS", "INVISIBLE_PATIENT"]
    assert entry.creation_time == entry.service_start_time == entry.service_stop_time == "20260102030406"
    assert entry.authors == (SENDER_AUTHOR,)
    assert entry.legal_authenticator == SENDER_AUTHOR.person
    assert (entry.type_code.code, entry.class_code.scheme, entry.format_code.code) == ("E1762", "URN", DS)
    assert entry.healthcare_facility_type_code.code == "SA01"


def test_it_signs_the_submission_set(seal: Seal) -> None:
    chosen = submission()
    signature = signature_of(chosen, (RAW,), seal)
    signed = with_signature(chosen, signature)
    assert signed.entries == (*chosen.entries, signature.entry)
    association = signed.associations[-1]
    assert (association.type, association.source) == (SIGNS, signature.entry.entry_uuid)
    assert association.target == chosen.entry_uuid
