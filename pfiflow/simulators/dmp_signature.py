"""The DMP simulator's check of a submission's XAdES signature, by lxml's canonicaliser and not by what wrote it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from pfiflow.cda import xml
from pfiflow.dmp.signing import C14N_WITH_COMMENTS, DIGESTS, DS, SIGNATURES, Algorithm, verifies
from pfiflow.dmp.xades import PURPOSE, XADES
from pfiflow.errors import Rejected

__all__ = ["SignedSubmission", "check"]

_DS: Final = f"{{{DS}}}"
_XADES: Final = f"{{{XADES}}}"
_NULL: Final = "AA=="
_CLOCK: Final = timedelta(minutes=20)
_ALGORITHMS: Final[Mapping[str, Algorithm]] = {DIGESTS["sha1"]: "sha1", DIGESTS["sha256"]: "sha256"}


@frozen
class SignedSubmission:
    """What a signature must cover: the set's uniqueId, and each document by its uniqueId."""

    unique_id: str
    documents: Mapping[str, bytes | memoryview]


def check(data: bytes, covered: SignedSubmission, seal: x509.Certificate, *, now: datetime) -> Iterator[str]:
    """What is wrong with a signature document; nothing when it is good.

    Args:
        data: the XAdES document.
        covered: what it must sign.
        seal: the certificate of the VIHF, which must be the signer's here as well.
        now: aware.
    """
    try:
        root = xml.parse(data, keep_comments=True, max_bytes=1_000_000)
    except Rejected:
        yield "the signature is no acceptable XML"
        return
    if root.tag != f"{_DS}Signature":
        yield "the root element is no ds:Signature"
        return
    texts = root.findall(f"{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate")
    if not texts or _decoded(texts[0]) != seal.public_bytes(Encoding.DER):
        yield "the signer's certificate is not the VIHF's"
    yield from _signed_info(root, seal)
    yield from _manifest(root, covered)
    yield from _properties(root, seal, now)


def _signed_info(root: etree._Element, seal: x509.Certificate) -> Iterator[str]:
    info = root.find(f"{_DS}SignedInfo")
    if info is None:
        yield "there is no SignedInfo"
        return
    method = _algorithm_uri(info, "SignatureMethod")
    algorithm = next((name for name, uri in SIGNATURES.items() if uri == method), "")
    canonicalization = _algorithm_uri(info, "CanonicalizationMethod")
    value = root.find(f"{_DS}SignatureValue")
    signature = b"" if value is None else _decoded(value)
    if canonicalization not in {C14N_WITH_COMMENTS, C14N_WITH_COMMENTS.partition("#")[0]}:
        yield "SignedInfo is not canonicalised by Canonical XML 1.0"
    elif algorithm not in {"sha1", "sha256"} or not verifies(
        seal.public_key(), signature, _canonical(info), "sha1" if algorithm == "sha1" else "sha256"
    ):
        yield "SignatureValue is not the seal's signature of SignedInfo"
    references = info.findall(f"{_DS}Reference")
    kinds = {reference.get("Type", ""): reference for reference in references}
    if len(references) != 2 or set(kinds) != {f"{DS}Manifest", f"{XADES}SignedProperties"}:
        yield "SignedInfo must refer to the manifest and to the signed properties"
        return
    for kind, tag in ((f"{DS}Manifest", f"{_DS}Manifest"), (f"{XADES}SignedProperties", f"{_XADES}SignedProperties")):
        reference = kinds[kind]
        found = [e for e in root.iter(tag) if f"#{e.get('Id')}" == reference.get("URI")]
        if len(found) != 1 or not _digest_matches(reference, _canonical(found[0])):
            yield f"the digest of {tag.rpartition('}')[2]} differs"


def _manifest(root: etree._Element, covered: SignedSubmission) -> Iterator[str]:
    manifests = list(root.iter(f"{_DS}Manifest"))
    if len(manifests) != 1 or manifests[0].get("Id") != "IHEManifest":
        yield "there must be one Manifest, with Id IHEManifest"
        return
    references = {reference.get("URI", ""): reference for reference in manifests[0].findall(f"{_DS}Reference")}
    own = f"urn:oid:{covered.unique_id}"
    wanted = {f"urn:oid:{unique_id}": document for unique_id, document in covered.documents.items()}
    if set(references) != {own, *wanted}:
        yield "the manifest must refer to the submission set and to each document, by urn:oid:<uniqueId>"
    if own in references and _digest_text(references[own]) != _NULL:
        yield "the digest of the submission set is AA=="
    for uri in sorted(set(references) & set(wanted)):
        content = bytes(wanted[uri])
        if references[uri].find(f"{_DS}Transforms") is not None:
            try:
                content = etree.tostring(
                    xml.parse(content, keep_comments=True).getroottree(), method="c14n", with_comments=True
                )
            except Rejected:
                yield "a document that is to be canonicalised is no XML"
                continue
        if not _digest_matches(references[uri], content):
            yield "the digest of a document differs"


def _properties(root: etree._Element, seal: x509.Certificate, now: datetime) -> Iterator[str]:
    signed = next(root.iter(f"{_XADES}SignedSignatureProperties"), None)
    if signed is None:
        yield "there are no XAdES 1.1.1 signed properties"
        return
    try:
        moment = datetime.fromisoformat((signed.findtext(f"{_XADES}SigningTime") or "").strip())
        timely = abs(now - moment) <= _CLOCK
    except (ValueError, TypeError):
        timely = False
    if not timely:
        yield "SigningTime is not about now"
    digest = signed.find(f"{_XADES}SigningCertificate/{_XADES}Cert/{_XADES}CertDigest")
    if digest is None or not _digest_matches(digest, seal.public_bytes(Encoding.DER), _XADES):
        yield "the digest of the signing certificate differs"
    serial = next(signed.iter(f"{_DS}X509SerialNumber"), None)
    if serial is None or (serial.text or "").strip() != str(seal.serial_number):
        yield "the serial number of the signing certificate differs"
    if not any((e.text or "").strip() == PURPOSE for e in root.iter(f"{_DS}SignatureProperty")):
        yield "the purpose of the signature is missing"


def _canonical(element: etree._Element) -> bytes:
    # As a document of its own: lxml's inclusive canonicalisation of a part writes spurious declarations.
    alone = xml.parse(etree.tostring(element, with_tail=False, encoding="UTF-8"), keep_comments=True)
    return etree.tostring(alone, method="c14n", with_comments=True)


def _digest_matches(reference: etree._Element, content: bytes, namespace: str = _DS) -> bool:
    method = reference.find(f"{namespace}DigestMethod")
    algorithm = _ALGORITHMS.get("" if method is None else method.get("Algorithm", ""))
    if algorithm is None:
        return False
    value = hashlib.new(algorithm, content, usedforsecurity=False).digest()
    return base64.b64encode(value).decode() == _digest_text(reference, namespace)


def _digest_text(reference: etree._Element, namespace: str = _DS) -> str:
    return "".join((reference.findtext(f"{namespace}DigestValue") or "").split())


def _algorithm_uri(parent: etree._Element, name: str) -> str:
    element = parent.find(_DS + name)
    return "" if element is None else element.get("Algorithm", "")


def _decoded(element: etree._Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except ValueError:
        return b""
