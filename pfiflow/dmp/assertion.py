"""Verify a VIHF: its signature, its signer and its dates, then read it (the simulator's side, and the tests').

What is read is what the signature covers, nothing else: the values come from the very octets whose digest matched, so
that no second assertion, no moved element and no comment changes them (signature wrapping).
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification
from lxml import etree

from pfiflow.cda import xml
from pfiflow.cda.values import Code
from pfiflow.dmp.seal import distinguished_name, seals
from pfiflow.dmp.signing import DIGESTS, DS, ENVELOPED, EXCLUSIVE, SIGNATURES, Algorithm, digest, verifies
from pfiflow.dmp.vihf import (
    CONFIDENTIALITY,
    HL7V3,
    PURPOSE_OF_USE,
    RESOURCE_ID,
    ROLE,
    SAML,
    SUBJECT_ID,
    X509_SUBJECT,
    Software,
    Vihf,
)
from pfiflow.errors import Problem, Rejected

__all__ = ["INVALID_CERTIFICATE", "Verified", "verify"]

INVALID_CERTIFICATE: Final = "DMPInvalidCertificate"
"""The `detail_code` of what is wrong with the signer; that of everything else is empty."""

SKEW: Final = timedelta(minutes=5)
LIFETIME: Final = timedelta(minutes=15)

_ORDER: Final = ("Issuer", "Signature", "Subject", "AuthnStatement", "AttributeStatement")
_RULE: Final = "volet Transmission 2.1, VIHF"


@frozen
class Verified:
    """A VIHF that is what its signer signed."""

    vihf: Vihf
    assertion_id: str
    issued: datetime
    signer: x509.Certificate = field(repr=False)


def verify(
    assertion: bytes | etree._Element,
    trusted: Sequence[x509.Certificate],
    *,
    now: datetime,
    intermediates: Sequence[x509.Certificate] = (),
    algorithms: Sequence[Algorithm] = ("sha256",),
    skew: timedelta = SKEW,
    lifetime: timedelta = LIFETIME,
) -> Verified:
    """The VIHF of an assertion, once everything about it has been checked.

    Args:
        assertion: the element in its envelope (`SoapMessage.header("Security", WSSE)[0]`), or a document of its own.
        trusted: the certificates of the accepted authorities; each is an anchor.
        now: aware.
        intermediates: certificates that may lead from the signer to one of `trusted`.
        algorithms: the accepted ones.
        skew: how far a clock may be ahead or behind.
        lifetime: how long after IssueInstant an assertion is good, when it has no Conditions.

    Raises:
        Rejected: the first thing that is wrong; a signer's fault has detail code `INVALID_CERTIFICATE`.
    """
    root = xml.parse(assertion) if isinstance(assertion, bytes) else assertion
    _check_shape(root)
    signature = root[1]
    certificate = _certificate(signature)
    signed = _without_signature(root)
    _check_signature(signed, signature, certificate, algorithms)
    _check_signer(signed, certificate, trusted, intermediates, now)
    issued = _check_dates(signed, now, skew, lifetime)
    return Verified(_read(signed), signed.get("ID", ""), issued, certificate)


def _check_shape(root: etree._Element) -> None:
    if root.tag != _saml("Assertion"):
        raise _refused("what is in wsse:Security is no SAML 2.0 assertion", "Security")
    names = [etree.QName(child) for child in root.iterchildren(etree.Element)]
    names = [name for name in names if name.localname != "Conditions"]
    wanted = [(DS if name == "Signature" else SAML, name) for name in _ORDER]
    if [(name.namespace, name.localname) for name in names] != wanted:
        raise _refused(f"the assertion's children must be {', '.join(_ORDER)}, once each in this order", "Assertion")
    if etree.QName(root[1]).localname != "Signature":
        raise _refused("the signature must come right after the Issuer", "Assertion/Signature")
    if root.get("Version") != "2.0" or not root.get("ID"):
        raise _refused("the assertion needs Version 2.0 and an ID", "Assertion")
    top = root.getroottree().getroot()
    identifier = root.get("ID")
    for element in top.iter(etree.Element):
        if element is not root and identifier in {element.get("ID"), element.get("Id"), element.get("id")}:
            raise _refused(
                "another element has the assertion's ID: what the signature covers is in doubt", "Assertion/@ID"
            )


def _check_signature(
    signed: etree._Element, signature: etree._Element, certificate: x509.Certificate, algorithms: Sequence[Algorithm]
) -> None:
    place = "Assertion/Signature"
    info = signature.find(_ds("SignedInfo"))
    references = [] if info is None else info.findall(_ds("Reference"))
    if info is None or len(references) != 1:
        raise _refused("the signature must have one SignedInfo with one Reference", place)
    reference = references[0]
    if reference.get("URI") != f"#{signed.get('ID')}":
        raise _refused(
            "the signature refers to something else than this assertion", f"{place}/SignedInfo/Reference/@URI"
        )
    transforms = reference.findall(f"{_ds('Transforms')}/{_ds('Transform')}")
    if [each.get("Algorithm") for each in transforms] != [ENVELOPED, EXCLUSIVE]:
        raise _refused(
            "the transforms must be enveloped-signature, then exclusive C14N", f"{place}/SignedInfo/Reference"
        )
    method = _algorithm_of(info, "SignatureMethod", SIGNATURES, algorithms)
    digest_method = _algorithm_of(reference, "DigestMethod", DIGESTS, algorithms)
    canonicalization = info.find(_ds("CanonicalizationMethod"))
    if canonicalization is None or canonicalization.get("Algorithm") != EXCLUSIVE:
        raise _refused("SignedInfo must be canonicalised by exclusive C14N", f"{place}/SignedInfo")
    covered = _canonical(signed, _prefixes(transforms[1]))
    if digest(covered, digest_method) != "".join((reference.findtext(_ds("DigestValue")) or "").split()):
        raise _refused("the assertion is not what was signed: its digest differs", f"{place}/SignedInfo/Reference")
    value = _base64(signature.findtext(_ds("SignatureValue")) or "", f"{place}/SignatureValue")
    if not verifies(_public_key(certificate), value, _canonical(info, _prefixes(canonicalization)), method):
        raise _refused("the signature is not the one of its certificate's key", f"{place}/SignatureValue")


def _check_signer(
    signed: etree._Element,
    certificate: x509.Certificate,
    trusted: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    place = "Assertion/Signature/KeyInfo"
    if not seals(certificate):
        raise _refused(
            "Not a valid signature certificate: key usage without nonRepudiation", place, INVALID_CERTIFICATE
        )
    policy = verification.PolicyBuilder().store(verification.Store(list(trusted))).time(now.astimezone(UTC))
    policy = policy.extension_policies(
        ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=verification.ExtensionPolicy.permit_all()
    )
    try:
        policy.build_client_verifier().verify(certificate, list(intermediates))
    except (verification.VerificationError, ValueError):  # ValueError: a certificate that is malformed inside
        valid = False
    else:
        valid = True
    if not valid:
        message = "the signer's certificate is out of date, or of no accepted authority"
        raise _refused(message, place, INVALID_CERTIFICATE)
    issuer = signed.find(_saml("Issuer"))
    subject = certificate.subject
    names = {distinguished_name(subject), distinguished_name(subject, encoded_order=True)}
    if issuer is None or issuer.get("Format") != X509_SUBJECT or _text(issuer) not in names:
        raise _refused("the Issuer is not the subject of the signer's certificate", "Assertion/Issuer")


def _check_dates(signed: etree._Element, now: datetime, skew: timedelta, lifetime: timedelta) -> datetime:
    issued = _moment(signed.get("IssueInstant", ""), "Assertion/@IssueInstant")
    start, end = issued, issued + lifetime
    conditions = signed.find(_saml("Conditions"))
    if conditions is not None:
        if value := conditions.get("NotBefore"):
            start = max(start, _moment(value, "Assertion/Conditions/@NotBefore"))
        if value := conditions.get("NotOnOrAfter"):
            end = min(end, _moment(value, "Assertion/Conditions/@NotOnOrAfter"))
    if now < start - skew:
        raise _refused("the assertion is of the future: a clock is wrong", "Assertion/@IssueInstant")
    if now >= end + skew:
        raise _refused("the assertion is too old, or a clock is wrong", "Assertion/@IssueInstant")
    statement = signed.find(_saml("AuthnStatement"))
    instant = "" if statement is None else statement.get("AuthnInstant", "")
    if _moment(instant, "Assertion/AuthnStatement/@AuthnInstant") > now + skew:
        raise _refused("the authentication is of the future", "Assertion/AuthnStatement/@AuthnInstant")
    return issued


def _read(signed: etree._Element) -> Vihf:
    attributes: dict[str, list[etree._Element]] = {}
    for element in signed.iterfind(f"{_saml('AttributeStatement')}/{_saml('Attribute')}"):
        name = element.get("Name", "")
        if name in attributes:
            raise _refused(f"the attribute {name[:80]} comes twice", "Assertion/AttributeStatement")
        attributes[name] = element.findall(_saml("AttributeValue"))

    def one(name: str) -> str:
        return next((_text(value) for value in attributes.get(name, ())), "")

    if (one("Authentification_Mode") or one("Authentification_mode")) != "INDIRECTE":
        raise _refused("Authentification_Mode is not INDIRECTE", "Assertion/AttributeStatement")
    if one("Ressource_URN") != "urn:dmp":
        raise _refused("Ressource_URN is not urn:dmp", "Assertion/AttributeStatement")
    purpose = next(_coded(attributes.get(PURPOSE_OF_USE, ()), "PurposeOfUse"), None)
    if purpose is None or purpose.code != "normal":
        raise _refused("PurposeOfUse is not the normal access", "Assertion/AttributeStatement")
    statement = signed.find(_saml("AuthnStatement"))
    assert statement is not None
    context = f"{_saml('AuthnContext')}/{_saml('AuthnContextClassRef')}"
    vihf = Vihf(
        structure=one("Identifiant_Structure"),
        sector=one("Secteur_Activite"),
        name_id=(signed.findtext(f"{_saml('Subject')}/{_saml('NameID')}") or "").strip(),
        subject=one(SUBJECT_ID),
        patient_id=one(RESOURCE_ID),
        software=Software(one("LPS_Nom"), one("LPS_Version"), one("LPS_ID_HOMOLOGATION_DMP"), one("LPS_ID")),
        roles=tuple(_coded(attributes.get(ROLE, ()), "Role")),
        secret_connection=bool(one(CONFIDENTIALITY)),
        authentication=(statement.findtext(context) or "").strip(),
        authenticated=_moment(statement.get("AuthnInstant", ""), "Assertion/AuthnStatement/@AuthnInstant"),
        version=one("VIHF_Version"),
    )
    if problems := vihf.problems():
        raise Rejected(*problems)
    return vihf


def _coded(values: Sequence[etree._Element], name: str) -> Iterator[Code]:
    for value in values:
        for element in value.iterfind(f"{{{HL7V3}}}{name}"):
            get = element.get
            yield Code(get("code", ""), get("codeSystem", ""), get("displayName", ""), get("codeSystemName", ""))


def _certificate(signature: etree._Element) -> x509.Certificate:
    place = "Assertion/Signature/KeyInfo"
    found = signature.findall(f"{_ds('KeyInfo')}/{_ds('X509Data')}/{_ds('X509Certificate')}")
    certificate = None
    if len(found) == 1:
        with contextlib.suppress(ValueError):
            certificate = x509.load_der_x509_certificate(_base64(found[0].text or "", place))
    if certificate is None:
        raise _refused("KeyInfo must hold one X.509 certificate, the signer's", place, INVALID_CERTIFICATE)
    return certificate


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _without_signature(root: etree._Element) -> etree._Element:
    """A copy of the assertion, with the declarations that were in scope, after the transform enveloped-signature."""
    copy = xml.parse(etree.tostring(root, with_tail=False, encoding="UTF-8"))
    signature = copy[1]
    if signature.tail:
        copy[0].tail = (copy[0].tail or "") + signature.tail
    copy.remove(signature)
    return copy


def _canonical(element: etree._Element, prefixes: list[str]) -> bytes:
    try:
        return etree.tostring(
            element, method="c14n", exclusive=True, with_comments=False, with_tail=False, inclusive_ns_prefixes=prefixes
        )
    except etree.C14NError:
        pass
    raise _refused("the assertion has no canonical form (a namespace that is no absolute URI)", "Assertion")


def _prefixes(transform: etree._Element) -> list[str]:
    element = transform.find(f"{{{EXCLUSIVE}}}InclusiveNamespaces")
    return [] if element is None else element.get("PrefixList", "").split()


def _algorithm_of(parent: etree._Element, name: str, known: object, accepted: Sequence[Algorithm]) -> Algorithm:
    assert isinstance(known, type(DIGESTS))
    method = parent.find(_ds(name))
    uri = "" if method is None else method.get("Algorithm", "")
    for algorithm in accepted:
        if known[algorithm] == uri:
            return algorithm
    raise _refused(f"the {name} is not one of those accepted: {', '.join(accepted)}", f"Assertion/Signature//{name}")


def _base64(text: str, place: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        pass
    raise _refused("this is no base64", place)


def _moment(value: str, place: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _refused("this is no UTC date and time", place)
    return moment


def _text(element: etree._Element) -> str:
    return (element.text or "").strip()


def _saml(name: str) -> str:
    return f"{{{SAML}}}{name}"


def _ds(name: str) -> str:
    return f"{{{DS}}}{name}"


def _refused(message: str, location: str, detail_code: str = "") -> Rejected:
    return Rejected(Problem("207", message, location, rule=_RULE, detail_code=detail_code))
