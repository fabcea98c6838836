"""The XAdES signature of a submission set: an IHE DSG manifest, and the entry that describes it (dmp-details §3.10)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.serialization import Encoding

from pfiflow.dmp.canonical import canonical_digest
from pfiflow.dmp.seal import Seal, distinguished_name
from pfiflow.dmp.signing import (
    C14N_WITH_COMMENTS,
    DIGESTS,
    DS,
    SIGNATURES,
    Algorithm,
    attribute,
    certificate_text,
    digest,
    signature_value,
    text,
)
from pfiflow.xds.from_cda import HIDDEN, entry_uuid_of
from pfiflow.xds.metadata import Association, CodedValue, DocumentEntry, SubmissionSet
from pfiflow.xds.times import utc

__all__ = ["SIGNS", "TYPE", "XADES", "SignatureDocument", "SignatureForm", "sign_submission", "with_signature"]

XADES: Final = "http://uri.etsi.org/01903/v1.1.1#"
SIGNS: Final = "urn:ihe:iti:2007:AssociationType:signs"
PURPOSE: Final = "1.2.840.10065.1.12.1.14"  # ASTM: source
TYPE: Final = CodedValue("E1762", "ASTM", "Full Document")
"""The typeCode of a signature document."""

_ID: Final = "S0"
_MANIFEST: Final = "IHEManifest"
_PROPERTIES: Final = "S0-SignedProperties"
_NULL: Final = "AA=="
_XML_TYPES: Final = frozenset({"text/xml", "application/xml", "application/xslt+xml"})


@frozen
class SignatureForm:
    """What the sources leave open; the defaults are the only form seen accepted (dmp-details §3.10)."""

    algorithm: Algorithm = "sha1"
    transform: Literal["c14n", "none"] = "c14n"  # of XML documents, before their digest


@frozen
class SignatureDocument:
    """The signature's bytes, and the entry that describes them."""

    data: bytes = field(repr=False)
    entry: DocumentEntry = field(repr=False)


def sign_submission(
    submission: SubmissionSet,
    documents: Sequence[bytes],
    seal: Seal,
    *,
    now: datetime,
    unique_id: str,
    entry_uuid: str = "",
    form: SignatureForm = SignatureForm(),
) -> SignatureDocument:
    """Signs a submission set with the structure's seal.

    Args:
        submission: with one entry or more; the signature's facility, practice setting and author come from it.
        documents: the bytes of each entry, in their order.
        seal: whose signature it is.
        now: the signing time, aware.
        unique_id: of the signature document, an OID of its own.
        entry_uuid: of its entry; by default derived from `unique_id`.
        form: what is unsettled.

    Raises:
        Rejected: a document that its entry calls XML is none.
    """
    algorithm = form.algorithm
    references = [_reference(f"urn:oid:{submission.unique_id}", _NULL, algorithm)]
    for entry, document in zip(submission.entries, documents, strict=True):
        canonical = form.transform == "c14n" and entry.mime_type in _XML_TYPES
        value = canonical_digest(document, algorithm) if canonical else digest(document, algorithm)
        references.append(_reference(f"urn:oid:{entry.unique_id}", value, algorithm, transformed=canonical))
    data = _signature("".join(references), seal, now, algorithm)
    return SignatureDocument(data, _entry(submission, data, now, unique_id, entry_uuid))


def with_signature(submission: SubmissionSet, signature: SignatureDocument) -> SubmissionSet:
    """The submission set with its signature as one more entry, which signs the set."""
    signs = Association(SIGNS, signature.entry.entry_uuid, submission.entry_uuid)
    return evolve(
        submission,
        entries=(*submission.entries, signature.entry),
        associations=(*submission.associations, signs),
    )


# -- the signature, written canonically: each part that is hashed is written once with the declarations in scope ------


def _signature(references: str, seal: Seal, now: datetime, algorithm: Algorithm) -> bytes:
    manifest = f' Id="{_MANIFEST}">{references}</ds:Manifest>'
    properties = f' Id="{_PROPERTIES}">{_signed_properties(seal, now, algorithm)}</xad:SignedProperties>'
    ds, both = f' xmlns:ds="{DS}"', f' xmlns:ds="{DS}" xmlns:xad="{XADES}"'
    manifest_digest = digest(f"<ds:Manifest{ds}{manifest}".encode(), algorithm)
    properties_digest = digest(f"<xad:SignedProperties{both}{properties}".encode(), algorithm)
    signed_info = (
        f'<ds:CanonicalizationMethod Algorithm="{C14N_WITH_COMMENTS}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{SIGNATURES[algorithm]}"></ds:SignatureMethod>'
        f"{_reference('#' + _MANIFEST, manifest_digest, algorithm, kind=DS + 'Manifest')}"
        f"{_reference('#' + _PROPERTIES, properties_digest, algorithm, kind=XADES + 'SignedProperties')}"
        "</ds:SignedInfo>"
    )
    value = signature_value(f"<ds:SignedInfo{ds}>{signed_info}".encode(), seal, algorithm)
    return (
        f'<ds:Signature{ds} Id="{_ID}"><ds:SignedInfo>{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue>'
        f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate_text(seal)}</ds:X509Certificate></ds:X509Data>"
        "</ds:KeyInfo>"
        f'<ds:Object><ds:SignatureProperties><ds:SignatureProperty Id="purposeOfSignature" Target="#{_ID}">{PURPOSE}'
        "</ds:SignatureProperty></ds:SignatureProperties></ds:Object>"
        f"<ds:Object><ds:Manifest{manifest}</ds:Object>"
        f'<ds:Object><xad:QualifyingProperties xmlns:xad="{XADES}" Target="#{_ID}"><xad:SignedProperties{properties}'
        "</xad:QualifyingProperties></ds:Object></ds:Signature>"
    ).encode()


def _reference(uri: str, value: str, algorithm: Algorithm, *, kind: str = "", transformed: bool = False) -> str:
    type_ = f' Type="{kind}"' if kind else ""
    transforms = (
        f'<ds:Transforms><ds:Transform Algorithm="{C14N_WITH_COMMENTS}"></ds:Transform></ds:Transforms>'
        if transformed
        else ""
    )
    return (
        f'<ds:Reference{type_} URI="{attribute(uri)}">{transforms}'
        f'<ds:DigestMethod Algorithm="{DIGESTS[algorithm]}"></ds:DigestMethod>'
        f"<ds:DigestValue>{value}</ds:DigestValue></ds:Reference>"
    )


def _signed_properties(seal: Seal, now: datetime, algorithm: Algorithm) -> str:
    certificate = seal.certificate
    return (
        "<xad:SignedSignatureProperties>"
        f"<xad:SigningTime>{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</xad:SigningTime>"
        "<xad:SigningCertificate><xad:Cert><xad:CertDigest>"
        f'<xad:DigestMethod Algorithm="{DIGESTS[algorithm]}"></xad:DigestMethod>'
        f"<xad:DigestValue>{digest(certificate.public_bytes(Encoding.DER), algorithm)}</xad:DigestValue>"
        "</xad:CertDigest><xad:IssuerSerial>"
        f"<ds:X509IssuerName>{text(distinguished_name(certificate.issuer))}</ds:X509IssuerName>"
        f"<ds:X509SerialNumber>{certificate.serial_number}</ds:X509SerialNumber>"
        "</xad:IssuerSerial></xad:Cert></xad:SigningCertificate>"
        "<xad:SignaturePolicyIdentifier><xad:SignaturePolicyImplied></xad:SignaturePolicyImplied>"
        "</xad:SignaturePolicyIdentifier></xad:SignedSignatureProperties>"
        "<xad:SignedDataObjectProperties></xad:SignedDataObjectProperties>"
    )


def _entry(submission: SubmissionSet, data: bytes, now: datetime, unique_id: str, entry_uuid: str) -> DocumentEntry:
    first, time = submission.entries[0], utc(now)
    author = submission.authors[0].person if submission.authors else ""
    return DocumentEntry(
        entry_uuid=entry_uuid or entry_uuid_of(unique_id),
        unique_id=unique_id,
        patient_id=submission.patient_id,
        class_code=CodedValue("urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN", "Digital Signature"),
        type_code=TYPE,
        format_code=CodedValue(DS, "URN", "Default Signature Style"),
        healthcare_facility_type_code=first.healthcare_facility_type_code,
        practice_setting_code=first.practice_setting_code,
        confidentiality_codes=(
            CodedValue("N", "2.16.840.1.113883.5.25", "Normal"),
            HIDDEN["MASQUE_PS"],
            HIDDEN["INVISIBLE_PATIENT"],
        ),
        creation_time=time,
        language_code="art",
        mime_type="text/xml",
        title="Source",
        hash=hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        size=len(data),
        source_patient_id=submission.patient_id,
        authors=submission.authors,
        legal_authenticator=author,
        service_start_time=time,
        service_stop_time=time,
        event_codes=(CodedValue(PURPOSE, "1.2.840.10065.1.12", "Source"),),
    )
