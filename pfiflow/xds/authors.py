"""Authors, legal authenticator and intended recipients as XDS strings (volet "Transmission"; forms of the PDSM)."""

from __future__ import annotations

from pfiflow.cda import values as cda
from pfiflow.xds.composite import (
    LONGEST,
    ORGANIZATION_ROOT,
    PERSON_ROOT,
    escape,
    fit,
    national_organization_id,
    national_person_id,
    one_line,
    xcn,
    xon,
    xtn,
)
from pfiflow.xds.metadata import Author

__all__ = ["author_of", "document_author", "legal_authenticator", "recipient_of"]

_INS = cda.INS_ROOTS | cda.INS_TEST_ROOTS


def document_author(author: cda.Author) -> Author:
    """The XDS author of one CDA author: a professional, a device, or the patient (who has no institution)."""
    person = author.person
    by_patient = any(identifier.root in _INS for identifier in person.ids)
    return Author(
        person=_person(person),
        institution="" if by_patient else _institution(person.organization),
        role=fit(author.function),
        specialty=_specialty(person.code),
    )


def legal_authenticator(person: cda.Person | None) -> str:
    """XCN of legalAuthenticator/assignedEntity; "" when there is none."""
    return _person(person) if person else ""


def author_of(
    *,
    person_id: str = "",
    person_id_type: str = "",
    person_authority: str = PERSON_ROOT,
    family: str = "",
    given: str = "",
    organization_name: str = "",
    organization_id: str = "",
    organization_id_type: str = "",
    organization_authority: str = ORGANIZATION_ROOT,
    device: str = "",
    role: str = "",
    specialty: str = "",
) -> Author:
    """The author of a SubmissionSet from plain values: those of the PRT "SB" (PRT-5, PRT-8, PRT-10).

    A bare RPPS, ADELI, FINESS, SIREN or SIRET gets the prefix that makes it national (XCN-13 `IDNPS`, XON-7 `IDNST`).
    Without person, the device is the author (XCN-10 `U`).
    """
    if device and not (person_id or family or given):
        person = xcn(device, device, device, authority="", name_type="U", id_type="RI")
    else:
        identifier = national_person_id(person_id, person_id_type)
        kind = _person_kind(person_authority or PERSON_ROOT, identifier)
        authority = person_authority or PERSON_ROOT
        person = xcn(identifier, family, given, authority=authority, name_type="D", id_type=kind)
    return Author(
        person=person,
        institution=xon(
            organization_name,
            national_organization_id(organization_id, organization_id_type),
            authority=organization_authority or ORGANIZATION_ROOT,
        ),
        role=fit(role),
        specialty=one_line(specialty),
    )


def recipient_of(author: Author | None = None, *, address: str = "") -> str:
    """One intendedRecipient, `XON|XCN|XTN`: the structure and person of `author`, and a mail address; "" for nothing.

    ITI TF-3 §4.2.3.3.7. Trailing empty fields are left out.
    """
    parts = (author.institution if author else "", author.person if author else "", xtn(address))
    return "|".join(parts).rstrip("|")


def _person_kind(root: str, identifier: str) -> str:
    if root in _INS:
        return "NH"
    if root == PERSON_ROOT:
        # "structure/number" is a number of the structure's own (PDSM; ANS style sheet).
        return "EI" if "/" in identifier else "IDNPS"
    return "EI"


def _person(person: cda.Person) -> str:
    best = next((i for i in person.ids if i.root == PERSON_ROOT and i.extension), None)
    best = best or next((i for i in person.ids if i.root in _INS and i.extension), None)
    best = best or next((i for i in person.ids if i.extension), None) or next(iter(person.ids), None)
    # An identifier without extension is its root: it has no other authority.
    identifier = (best.extension or best.root) if best else ""
    authority = best.root if best and best.extension else ""
    if device := person.device:
        names = [name for name in (device.software, device.model) if name] or [person.family, person.given]
        return xcn(identifier, names[0], names[-1], authority=authority, name_type="U", id_type="RI")
    kind = _person_kind(authority, identifier) if identifier else ""
    return xcn(identifier, person.family, person.given, authority=authority, name_type="D", id_type=kind)


def _institution(organization: cda.Organization | None) -> str:
    if organization is None:
        return ""
    identifier = organization.id
    if identifier is None:
        return xon(organization.name, "")
    if not identifier.extension:
        return xon(organization.name, identifier.root, authority="")
    return xon(organization.name, identifier.extension, authority=identifier.root)


def _specialty(code: cda.Code | None) -> str:
    """`code^display^codeSystem` (JDV_J01); the display name gives way where the slot value is too long."""
    if code is None or not code.code:
        return ""
    head, tail = escape(code.code), escape(code.system)
    return f"{head}^{fit(code.display, LONGEST - len(head) - len(tail) - 2)}^{tail}"
