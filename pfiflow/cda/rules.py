"""Rules on the header of a document that was read (CI-SIS structuration minimale; DRIM-M for imaging reports).

Severities: what makes identity, routing or XDS metadata impossible or doubtful is an error; the rest of the CI-SIS is a
warning, because the examples published by ANS themselves break some of it. A strict caller rejects on warnings too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from pfiflow import terminology as shipped
from pfiflow.cda.cardinalities import check_cardinalities
from pfiflow.cda.document import is_oid, is_time
from pfiflow.cda.header import V3, Element, attribute, child, children, follow, location
from pfiflow.cda.identity import check_patient
from pfiflow.cda.values import ClinicalDocument, Code
from pfiflow.errors import Problem, Severity
from pfiflow.terminology import Terminology

__all__ = ["IMAGING_REPORT", "MAX_PROBLEMS", "check"]

MAX_PROBLEMS: Final = 200
IMAGING_REPORT: Final = "18748-4"
"""LOINC code of the imaging report."""

_RULE: Final = "CI-SIS structuration minimale"
_XDS: Final = "CI-SIS volet Transmission de documents CDA en HL7v2, XDS mapping"
_DRIM: Final = "DRIM-M"
_ROOT: Final = "/ClinicalDocument"
_UNSTRUCTURED_TEMPLATE: Final = "1.3.6.1.4.1.19376.1.2.20"
_IMAGING_TEMPLATE: Final = "1.2.250.1.213.1.1.1.45"
_COMMON_TEMPLATES: Final = frozenset({"2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1"})
_VERSION: Final = re.compile(r"0{0,8}[1-9][0-9]{0,8}", re.ASCII)
_LANGUAGE: Final = re.compile(r"[a-z]{2}-[A-Z]{2}", re.ASCII)
_PROFESSIONALS: Final = "1.2.250.1.71.4.2.1"
_STRUCTURES: Final = "1.2.250.1.71.4.2.2"
_CUSTODIANS: Final = frozenset({_STRUCTURES, "1.2.250.1.213.4.1"})
_URL_SCHEMES: Final = ("tel:", "fax:", "mailto:", "http:", "https:", "ftp:", "mllp:")
_TELECOM_USES: Final = frozenset({"H", "HP", "HV", "WP", "DIR", "PUB", "EC", "MC", "PG"})
_ADDRESS_USES: Final = frozenset({"H", "HP", "HV", "WP", "TMP"})
_RELATED: Final = frozenset({"ECON", "NOK", "CON", "CAREGIVER", "PAT"})
_MODALITY: Final = "121139"
_REGION: Final = "39111-0"


def check(
    document: ClinicalDocument,
    tree: Element,
    *,
    terminology: Terminology | None = None,
    test_platform: bool = False,
) -> tuple[Problem, ...]:
    """Every rule of the header that the document breaks, errors first; at most `MAX_PROBLEMS`.

    Args:
        document: the header facts, as `pfiflow.cda.document.read_tree` gives them.
        tree: the ClinicalDocument element that they come from.
        terminology: the value sets to check codes against; those shipped with pfiflow by default.
        test_platform: whether test INS are expected here; otherwise each is warned of.
    """
    tables = terminology or shipped.default()
    # Errors come from these three alone, and no number of warnings hides one.
    serious = [
        *_metadata(document, tables),
        *check_patient(document.patient, tree, test_platform=test_platform),
        *_version(document),
    ]
    others = chain(
        _templates(document),
        _value_sets(document, tree, tables),
        _participants(document, tree),
        _imaging(document, tables),
        check_cardinalities(tree),
        _addresses(tree),
    )
    problems = [*serious, *islice(others, MAX_PROBLEMS)]
    return tuple(sorted(problems, key=lambda problem: problem.severity != "error")[:MAX_PROBLEMS])


def _problem(code: str, where: str, message: str, severity: Severity = "warning", rule: str = _RULE) -> Problem:
    return Problem(code, message, f"{_ROOT}{where}", severity=severity, rule=rule)


def _metadata(document: ClinicalDocument, tables: Terminology) -> Iterator[Problem]:
    """What the XDS metadata cannot do without (volet Transmission, `mapping.md`: attributes marked R)."""

    def missing(where: str, what: str) -> Problem:
        return _problem("101", where, f"{what} is required for the XDS metadata.", "error", _XDS)

    event = next(iter(document.service_events), None)
    first = "/documentationOf[1]/serviceEvent"
    setting = f"{first}/performer/assignedEntity/representedOrganization/standardIndustryClassCode"
    facility = "/componentOf/encompassingEncounter/location/healthCareFacility/code"
    performer = event.performer if event else None
    practice = performer.organization.practice_setting if performer and performer.organization else None
    facility_type = document.encounter.facility_type if document.encounter else None
    if not document.language:
        yield missing("/languageCode/@code", "The language")
    if not any(each.person.ids or each.person.family or each.person.device for each in document.authors):
        yield missing("/author/assignedAuthor", "An author with an identifier, a name or a device")
    if document.legal_authenticator is None or not (
        document.legal_authenticator.ids or document.legal_authenticator.family
    ):
        yield missing("/legalAuthenticator/assignedEntity", "A legal authenticator with an identifier or a name")
    if event is None or not event.start:
        yield missing(f"{first}/effectiveTime/low/@value", "The start of the documented act")
    for where, coded, what in (
        (setting, practice, "The practice setting (JDV_J04)"),
        (facility, facility_type, "The type of health care facility (JDV_J02)"),
    ):
        if coded is None:
            yield missing(f"{where}/@code", what)
        elif not coded.system:
            yield missing(f"{where}/@codeSystem", f"{what}: its code system")
    if not document.confidentiality.system:
        yield missing("/confidentialityCode/@codeSystem", "The code system of the confidentiality")
    for number, each in enumerate(document.service_events, start=1):
        for bound, value in (("low", each.start), ("high", each.stop)):
            if value and not is_time(value):
                where = f"/documentationOf[{number}]/serviceEvent/effectiveTime/{bound}/@value"
                yield _problem("102", where, "The time is not a valid HL7 v3 time stamp.", "error", _XDS)
    if tables.class_of(document.code.code) is None:
        yield _problem("103", "/code/@code", "No document class is known for this type (ASS_X04).", "error", _XDS)
    if document.level == "N1" and tables.format_of_media_type(document.media_type) is None:
        where = "/component/nonXMLBody/text/@mediaType"
        yield _problem("103", where, "No document format is known for this media type (ASS_A12).", "error", _XDS)
    if document.level == "N3" and tables.format_of_template(document.template_ids) is None:
        yield _problem("103", "/templateId", "No template gives a document format (ASS_A11).", rule=_XDS)


def _version(document: ClinicalDocument) -> Iterator[Problem]:
    if not _VERSION.fullmatch(document.version):
        yield _problem(
            "102", "/versionNumber/@value", "The version is a positive whole number, of nine digits at most."
        )
    elif document.replaces and document.version == "1":
        yield _problem("207", "/versionNumber/@value", "A document that replaces another is not the first version.")
    if document.replaces == document.id:
        yield _problem("207", "/relatedDocument/parentDocument/id", "The document replaces itself.", "error")
    if document.replaces and not is_oid(document.replaces.root):
        yield _problem("102", "/relatedDocument/parentDocument/id/@root", "The replaced document has no OID.")
    if not _LANGUAGE.fullmatch(document.language or "fr-FR"):
        yield _problem("102", "/languageCode/@code", "The language has the form fr-FR.")


def _templates(document: ClinicalDocument) -> Iterator[Problem]:
    models = [each for each in document.template_ids if each not in _COMMON_TEMPLATES]
    if not models:
        yield _problem("101", "/templateId", "No template names the model of the document.")
    if document.level == "N1":
        if models and models != [_UNSTRUCTURED_TEMPLATE]:
            message = f"An unstructured document names one model, {_UNSTRUCTURED_TEMPLATE}."
            yield _problem("103", "/templateId", message)
        if document.media_type not in {"application/pdf", "text/plain"}:
            where = "/component/nonXMLBody/text/@mediaType"
            yield _problem("103", where, "An unstructured document encapsulates application/pdf or text/plain.")


def _value_sets(document: ClinicalDocument, tree: Element, tables: Terminology) -> Iterator[Problem]:
    """Codes against their value sets: the XDS ones, and those of the patient and the encounter."""
    coded: list[tuple[str, Code | None, str]] = [
        ("/code", document.code, "JDV_J07"),
        ("/confidentialityCode", document.confidentiality, "JDV_J08"),
    ]
    for number, author in enumerate(document.authors, start=1):
        coded.append((f"/author[{number}]/assignedAuthor/code", author.person.code, "JDV_J01"))
    if document.encounter:
        where = "/componentOf/encompassingEncounter"
        coded.append((f"{where}/location/healthCareFacility/code", document.encounter.facility_type, "JDV_J02"))
    if document.service_events and (performer := document.service_events[0].performer) and performer.organization:
        where = "/documentationOf[1]/serviceEvent/performer/assignedEntity/representedOrganization"
        coded.append((f"{where}/standardIndustryClassCode", performer.organization.practice_setting, "JDV_J04"))
    gender = follow(child(tree, "recordTarget"), "patientRole", "patient", "administrativeGenderCode")
    if document.patient.gender and gender is not None:
        system = (gender.get("codeSystem") or "").strip()
        where = "/recordTarget/patientRole/patient/administrativeGenderCode"
        coded.append((where, Code(document.patient.gender, system), "JDV_J143"))
    for where, code, name in coded:
        if code is None:
            continue
        values = tables.value_set(name)
        if code.code not in values:
            version = f" of {values.version}" if values.version else ""
            yield _problem("103", f"{where}/@code", f"The code is not in {name}{version} ({values.oid}).")
        elif values.find(code.code, code.system) is None:
            yield _problem("103", f"{where}/@codeSystem", f"The code is in {name} under another code system.")


def _participants(document: ClinicalDocument, tree: Element) -> Iterator[Problem]:
    """Identifiers and times of those who take part."""
    for number, author in enumerate(document.authors, start=1):
        where = f"/author[{number}]"
        if author.time and not is_time(author.time):
            yield _problem("102", f"{where}/time/@value", "The time is not a valid HL7 v3 time stamp.")
        if not author.person.device and not author.person.family:
            yield _problem("101", f"{where}/assignedAuthor", "An author is a named person or a device.")
        organization = author.person.organization
        if organization and organization.id and organization.id.root != _STRUCTURES:
            message = f"A structure is identified under {_STRUCTURES}."
            yield _problem("103", f"{where}/assignedAuthor/representedOrganization/id/@root", message)
    custodian = document.custodian
    if custodian and custodian.id and custodian.id.root not in _CUSTODIANS:
        where = "/custodian/assignedCustodian/representedCustodianOrganization/id/@root"
        yield _problem("103", where, f"A custodian is identified under {' or '.join(sorted(_CUSTODIANS))}.")
    responsible = document.legal_authenticator
    if responsible and responsible.ids and not any(each.root == _PROFESSIONALS for each in responsible.ids):
        where = "/legalAuthenticator/assignedEntity/id/@root"
        yield _problem("103", where, f"A professional is identified under {_PROFESSIONALS}.")
    if document.legal_authenticator_time and not is_time(document.legal_authenticator_time):
        yield _problem("102", "/legalAuthenticator/time/@value", "The time is not a valid HL7 v3 time stamp.")
    for informant in children(tree, "informant"):
        related = child(informant, "relatedEntity")
        if (child(informant, "assignedEntity") is None) == (related is None):
            yield Problem(
                "198", "Either assignedEntity or relatedEntity is expected.", location(informant), "warning", _RULE
            )
        elif related is not None and related.get("classCode") not in _RELATED:
            where = f"{location(related)}/@classCode"
            yield Problem("103", f"Expected one of {', '.join(sorted(_RELATED))}.", where, "warning", _RULE)


def _imaging(document: ClinicalDocument, tables: Terminology) -> Iterator[Problem]:
    """What the reference to images needs of an imaging report (DRIM-M; referenceIdList and eventCodeList of XDS)."""
    if document.code.code != IMAGING_REPORT or not (
        document.level == "N1" or _IMAGING_TEMPLATE in document.template_ids
    ):
        return  # other models, such as the second reading of a mammography, share the code
    translations = [each for event in document.service_events for each in event.translations]
    studies = [event.id for event in document.service_events if event.id]
    for present, where, what in (
        (any(each.id for each in document.orders), "/inFulfillmentOf/order/id", "the order number"),
        (
            any(each.accession_number for each in document.orders),
            "/inFulfillmentOf/order/ps3-20:accessionNumber",
            "the accession number",
        ),
        (bool(studies), "/documentationOf/serviceEvent/id", "the Study Instance UID"),
    ):
        if not present:
            yield _problem("101", where, f"An imaging report gives {what}; it is absent here.", rule=_DRIM)
    for study in studies:
        if not is_oid(study.root):
            where = "/documentationOf/serviceEvent/id/@root"
            yield _problem("102", where, "A Study Instance UID is an OID.", rule=_DRIM)
    for qualifier, name, what in (
        (_MODALITY, "JDV_ModaliteAcquisition", "modality"),
        (_REGION, "JDV_RegionAnatomique", "anatomical region"),
    ):
        where = f"/documentationOf/serviceEvent/code/translation[qualifier/name/@code='{qualifier}']"
        codes = [code for code, qualified in translations if qualified == qualifier]
        if not codes:
            yield _problem("101", where, f"An imaging report gives the {what}; it is absent here.", rule=_DRIM)
        elif any(tables.value_set(name).find(code.code, code.system) is None for code in codes):
            yield _problem("103", where, f"The {what} is not in {name}.", rule=_DRIM)


def _addresses(tree: Element) -> Iterator[Problem]:
    """Forms of every telecom and addr of the header."""
    for part in tree:
        if part.tag == V3 + "component":
            continue
        for element in part.iter(V3 + "telecom", V3 + "addr"):
            uses = (element.get("use") or "").split()
            is_address = element.tag == V3 + "addr"
            if not (_ADDRESS_USES if is_address else _TELECOM_USES).issuperset(uses):
                yield Problem("103", "This use is not allowed.", f"{location(element)}/@use", "warning", _RULE)
            value = attribute(element, "value")
            if value and not value.startswith(_URL_SCHEMES):
                message = "A telecom starts with tel:, mailto:, fax:, http: or the like."
                yield Problem("102", message, f"{location(element)}/@value", "warning", _RULE)
