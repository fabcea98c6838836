"""The VIHF: the signed SAML 2.0 assertion that says for whom a request is made (volet "Transmission", `mapping.md`).

Only the indirect authentication of a structure by its seal. `pfiflow.dmp.assertion` verifies one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from attrs import field, frozen

from pfiflow.cda.values import Code
from pfiflow.dmp.seal import Seal, distinguished_name
from pfiflow.dmp.signing import (
    DIGESTS,
    DS,
    ENVELOPED,
    EXCLUSIVE,
    SIGNATURES,
    Algorithm,
    attribute,
    certificate_text,
    digest,
    signature_value,
    text,
)
from pfiflow.errors import Problem

__all__ = [
    "AUTOMATE",
    "CONFIDENTIALITY",
    "HL7V3",
    "INVISIBLE_TO_REPRESENTATIVES",
    "PREFIX_LIST",
    "PURPOSE_OF_USE",
    "RESOURCE_ID",
    "ROLE",
    "SAML",
    "SUBJECT_ID",
    "UNSPECIFIED",
    "X509_SUBJECT",
    "XSI",
    "Software",
    "Vihf",
    "VihfForm",
    "sign",
]

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
HL7V3: Final = "urn:hl7-org:v3"
PREFIX_LIST: Final = "ds saml #default xsi"
X509_SUBJECT: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"
UNSPECIFIED: Final = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"

SUBJECT_ID: Final = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
ROLE: Final = "urn:oasis:names:tc:xacml:2.0:subject:role"
RESOURCE_ID: Final = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
PURPOSE_OF_USE: Final = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
CONFIDENTIALITY: Final = "urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"

AUTOMATE: Final = Code("AUTOMATE", "1.2.250.1.213.1.1.4.6", "AUTOMATE")
"""The role when nothing better is known."""
INVISIBLE_TO_REPRESENTATIVES: Final = Code(
    "INVISIBLE_REPRESENTANTS_LEGAUX",
    "1.2.250.1.213.1.1.4.13",
    "Non visible par les représentants légaux du patient",
)


@frozen
class Software:
    """The product that builds the VIHF (LPS). `homologation` is the DMP homologation number: treated as a secret."""

    name: str
    version: str
    homologation: str = field(repr=False)
    id: str = ""  # LPS_ID, optional


@frozen
class Vihf:
    """Who asks, for which patient. No representation shows an identity.

    `authenticated` is when the user logged in to the source system (aware); None: the moment of signing.
    """

    structure: str  # Identifiant_Structure: PRT-8.10 of SB, as a Struct_IdNat
    sector: str  # Secteur_Activite, `code^1.2.250.1.71.4.2.4`, JDV_J61
    name_id: str = field(repr=False)  # the professional, or who is responsible for the automatic processing
    subject: str = field(repr=False)  # `NOM Prénom`, or `software, model, service`
    patient_id: str = field(repr=False)  # resource-id: CX `INS^^^&OID&ISO^NH`
    software: Software
    roles: tuple[Code, ...] = (AUTOMATE,)  # profession, then the specialty that some professions have
    secret_connection: bool = False  # CONNEXION_SECRETE
    authentication: str = UNSPECIFIED  # AuthnContextClassRef
    authenticated: datetime | None = None
    version: str = "3.0"  # VIHF_Version; the volet's table says 4.0, every sample 3.0

    def problems(self) -> tuple[Problem, ...]:
        """Every mandatory field that is empty."""
        return tuple(_missing(self))


@frozen
class VihfForm:
    """What the sources contradict each other about; the defaults are dmp-details §2's."""

    algorithm: Algorithm = "sha256"
    mode_attribute: str = "Authentification_Mode"  # older samples: Authentification_mode
    purpose_system_name: str = "mode acces VIHF 1.0"  # older samples: … 2.0
    issuer_in_encoded_order: bool = False  # True: `C=FR, ST=…, CN=…`, as in the volet's example


def sign(vihf: Vihf, seal: Seal, *, now: datetime, assertion_id: str, form: VihfForm = VihfForm()) -> bytes:
    """The assertion, signed, as canonical UTF-8 without XML declaration.

    Put it into `wsse:Security` byte for byte, where no default namespace and none of the prefixes `ds`, `saml`, `xsi`
    is bound (`soap.envelope` does). Make one for each request.

    Args:
        vihf: the values; `problems()` says what is missing.
        seal: the certificate's subject becomes the Issuer.
        now: IssueInstant, aware.
        assertion_id: unique, an XML name (`_` and a UUID).
        form: what is unsettled between the sources.
    """
    names = "".join(
        f'<saml:Attribute Name="{name}">{values}</saml:Attribute>' for name, values in _attributes(vihf, form)
    )
    issuer = distinguished_name(seal.certificate.subject, encoded_order=form.issuer_in_encoded_order)
    head = (
        f'<saml:Assertion xmlns:saml="{SAML}" xmlns:xsi="{XSI}" ID="{attribute(assertion_id)}"'
        f' IssueInstant="{_instant(now)}" Version="2.0">'
        f'<saml:Issuer Format="{X509_SUBJECT}">{text(issuer)}</saml:Issuer>'
    ).encode()
    tail = (
        f"<saml:Subject><saml:NameID>{text(vihf.name_id)}</saml:NameID></saml:Subject>"
        f'<saml:AuthnStatement AuthnInstant="{_instant(vihf.authenticated or now)}"><saml:AuthnContext>'
        f"<saml:AuthnContextClassRef>{text(vihf.authentication)}</saml:AuthnContextClassRef>"
        "</saml:AuthnContext></saml:AuthnStatement>"
        f"<saml:AttributeStatement>{names}</saml:AttributeStatement></saml:Assertion>"
    ).encode()
    signed_info = (
        f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{SIGNATURES[form.algorithm]}"></ds:SignatureMethod>'
        f'<ds:Reference URI="#{attribute(assertion_id)}"><ds:Transforms>'
        f'<ds:Transform Algorithm="{ENVELOPED}"></ds:Transform><ds:Transform Algorithm="{EXCLUSIVE}">'
        f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="{PREFIX_LIST}"></ec:InclusiveNamespaces>'
        f'</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="{DIGESTS[form.algorithm]}"></ds:DigestMethod>'
        f"<ds:DigestValue>{digest(head + tail, form.algorithm)}</ds:DigestValue></ds:Reference>"
    )
    canonical = f'<ds:SignedInfo xmlns:ds="{DS}">{signed_info}</ds:SignedInfo>'.encode()
    signature = (
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>{signed_info}</ds:SignedInfo>'
        f"<ds:SignatureValue>{signature_value(canonical, seal, form.algorithm)}</ds:SignatureValue>"
        f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate_text(seal)}</ds:X509Certificate></ds:X509Data>"
        "</ds:KeyInfo></ds:Signature>"
    ).encode()
    return b"".join((head, signature, tail))


def _attributes(vihf: Vihf, form: VihfForm) -> Iterator[tuple[str, str]]:
    yield "VIHF_Version", _value(text(vihf.version))
    yield form.mode_attribute, _value("INDIRECTE")
    yield "Identifiant_Structure", _value(text(vihf.structure))
    yield "Secteur_Activite", _value(text(vihf.sector))
    yield SUBJECT_ID, _value(text(vihf.subject))
    yield ROLE, "".join(_value(_coded("Role", role)) for role in vihf.roles)
    yield RESOURCE_ID, _value(text(vihf.patient_id))
    yield "Ressource_URN", _value("urn:dmp")
    purpose = Code("normal", "1.2.250.1.213.1.1.4.248", "Accès normal", form.purpose_system_name)
    yield PURPOSE_OF_USE, _value(_coded("PurposeOfUse", purpose))
    if vihf.secret_connection:
        yield CONFIDENTIALITY, _value(INVISIBLE_TO_REPRESENTATIVES.code)
    if vihf.software.id:
        yield "LPS_ID", _value(text(vihf.software.id))
    yield "LPS_Nom", _value(text(vihf.software.name))
    yield "LPS_Version", _value(text(vihf.software.version))
    yield "LPS_ID_HOMOLOGATION_DMP", _value(text(vihf.software.homologation))


def _value(content: str) -> str:
    return f"<saml:AttributeValue>{content}</saml:AttributeValue>"


def _coded(name: str, code: Code) -> str:
    """An HL7 v3 CE; attributes in canonical order."""
    system_name = f' codeSystemName="{attribute(code.system_name)}"' if code.system_name else ""
    return (
        f'<{name} xmlns="{HL7V3}" code="{attribute(code.code)}" codeSystem="{attribute(code.system)}"{system_name}'
        f' displayName="{attribute(code.display)}" xsi:type="CE"></{name}>'
    )


def _instant(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a VIHF's times need a time zone")
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _missing(vihf: Vihf) -> Iterator[Problem]:
    mandatory = (
        ("Identifiant_Structure", vihf.structure, "the structure of the sender (PRT-8.10 of SB)"),
        ("Secteur_Activite", vihf.sector, "the sector of the structure; add it to the directory of structures"),
        ("NameID", vihf.name_id, "who sends (PRT-5.1 of SB), or who is responsible for automatic sending"),
        ("subject-id", vihf.subject, "the name of who sends (PRT-5.2, .3 of SB)"),
        ("resource-id", vihf.patient_id, "the patient's INS"),
        ("role", "".join(role.code for role in vihf.roles[:1]), "a role, AUTOMATE when none is known"),
        ("LPS_Nom", vihf.software.name, "the product's name, a setting"),
        ("LPS_Version", vihf.software.version, "the product's version"),
        ("LPS_ID_HOMOLOGATION_DMP", vihf.software.homologation, "the DMP homologation number, a setting"),
    )
    for name, value, wanted in mandatory:
        if not value.strip():
            yield Problem("101", f"the VIHF's {name} needs {wanted}", f"VIHF/{name}", rule="volet Transmission, VIHF")
