"""Reads a CDA R2 document: its header as values, its tree for those who need more.

`read` refuses only what makes identity, routing or metadata impossible; `pfiflow.cda.rules.check` judges the rest, and
`pfiflow.cda.schema.SchemaChecker` the structure. A document may be wrapped (CI-SIS, structuration minimale): inside a
`ds:Signature`, or inside an `xsl:stylesheet` that shows itself ("auto-présentable"). The one ClinicalDocument inside is
then read; the signature is not verified and the stylesheet is never run, and `raw` keeps the whole wrapper.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Final, Literal, TypeVar

from lxml import etree

from pfiflow.cda import header
from pfiflow.cda.header import Element, attribute, child, children, follow
from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS, ClinicalDocument, Identifier, Patient
from pfiflow.cda.xml import MAX_BYTES, parse
from pfiflow.errors import Problem, Rejected

__all__ = ["is_oid", "is_time", "read", "read_tree", "root"]

Value = TypeVar("Value")

_DOCUMENT: Final = header.V3 + "ClinicalDocument"
_UNSTRUCTURED: Final = header.V3 + "nonXMLBody"
_STRUCTURED: Final = header.V3 + "structuredBody"
_WRAPPERS: Final = frozenset(
    {"{http://www.w3.org/2000/09/xmldsig#}Signature", "{http://www.w3.org/1999/XSL/Transform}stylesheet"}
)
_HAS_TEXT: Final = etree.XPath("boolean(text())")  # .text would decode and copy the whole encapsulated document
_RULE: Final = "CI-SIS structuration minimale"
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,63}", re.ASCII)
_TIME: Final = re.compile(
    r"[12][0-9]{3}"
    r"((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])(([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?)?)?)?"
    r"([+-](0[0-9]|1[0-4])[0-5][0-9])?",
    re.ASCII,
)


def is_oid(value: str) -> bool:
    """Whether a string is an ISO OID of at most 128 characters."""
    return len(value) <= 128 and _OID.fullmatch(value) is not None


def is_time(value: str) -> bool:
    """Whether a string is an HL7 v3 TS: `YYYY[MM[DD[HH[MM[SS[.f]]]]]][±ZZZZ]`, every part within its range."""
    return _TIME.fullmatch(value) is not None


def read(data: bytes, *, max_bytes: int = MAX_BYTES) -> ClinicalDocument:
    """The header facts of one document.

    Raises:
        Rejected: not well-formed XML, not a CDA R2 document, or with every problem that makes identity, routing or
            metadata impossible (codes 101, 102, 198, 207; locations are XPaths).
    """
    return read_tree(data, max_bytes=max_bytes)[0]


def read_tree(data: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[ClinicalDocument, Element]:
    """The header facts of one document, and its ClinicalDocument element, for one parse. Raises as `read` does."""
    element = _document_element(parse(data, max_bytes=max_bytes))
    return _read(data, element), element


def root(document: ClinicalDocument) -> Element:
    """The ClinicalDocument element of a document that was read before: parses its bytes again."""
    return _document_element(parse(document.raw))


def _document_element(element: Element) -> Element:
    if element.tag == _DOCUMENT:
        return element
    name = etree.QName(element)
    if name.localname == "ClinicalDocument":
        problem = "The root element ClinicalDocument is not in the namespace urn:hl7-org:v3."
    elif element.tag not in _WRAPPERS:
        problem = "The root element is not a ClinicalDocument, a ds:Signature or an xsl:stylesheet."
    else:
        inner = list(islice(element.iter(_DOCUMENT), 2))
        if len(inner) == 1:
            return inner[0]
        number = "no" if not inner else "more than one"
        problem = f"The {name.localname} wraps {number} ClinicalDocument; exactly one is expected."
    raise Rejected(Problem("207", problem, "/*", rule=_RULE))


class _Refusals:
    """What is required of a header, and every problem met on the way."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.problems: list[Problem] = []

    def refuse(self, code: str, location: str, message: str) -> None:
        self.problems.append(Problem(code, message, f"/ClinicalDocument/{location}", rule=_RULE))

    def only(self, name: str) -> Element | None:
        """The one child of this name. None after a refusal when there is none; the first after a refusal of several."""
        found = list(islice(children(self.element, name), 2))
        if not found:
            self.refuse("101", name, "This element is required and absent.")
        elif len(found) > 1:
            self.refuse("198", name, "This element is repeated; exactly one is expected.")
        return found[0] if found else None

    def required(self, name: str, reader: Callable[[Element | None], Value | None], where: str = "") -> Value | None:
        """What the reader finds in the one child of this name. None or "" only after a refusal."""
        element = self.only(name)
        value = reader(element)
        if element is not None and not value:
            self.refuse("101", name + where, "A value is required here: nullFlavor and empty values are not accepted.")
        return value


def _read(data: bytes, element: Element) -> ClinicalDocument:
    header_of = _Refusals(element)
    document_id = header_of.required("id", header.identifier, "/@root")
    if document_id is not None and not is_oid(document_id.root):
        header_of.refuse("102", "id/@root", "The document identifier must be an OID: XDS uniqueId takes nothing else.")
    type_code = header_of.required("code", header.code, "/@code")
    if type_code is not None and not type_code.system:
        header_of.refuse("101", "code/@codeSystem", "The document type has no code system.")
    title = header_of.required("title", header.text)
    time = header_of.required("effectiveTime", _value, "/@value")
    if time and not is_time(time):
        header_of.refuse("102", "effectiveTime/@value", "The creation time is not a valid HL7 v3 time stamp.")
    confidentiality = header_of.required("confidentialityCode", header.code, "/@code")
    patient = _patient(header_of)
    level, media_type = _body(header_of)
    replaces = _replaces(header_of)
    if header_of.problems:
        raise Rejected(*header_of.problems)
    assert document_id is not None
    assert type_code is not None
    assert title
    assert time
    assert confidentiality is not None
    return ClinicalDocument(
        raw=data,
        id=document_id,
        code=type_code,
        title=title,
        effective_time=time,
        confidentiality=confidentiality,
        patient=patient,
        level=level,
        language=attribute(child(element, "languageCode"), "code"),
        set_id=header.identifier(child(element, "setId")),
        version=attribute(child(element, "versionNumber"), "value"),
        template_ids=tuple(filter(None, (attribute(each, "root") for each in children(element, "templateId")))),
        authors=tuple(header.author(each) for each in children(element, "author")),
        custodian=header.organization(
            follow(element, "custodian", "assignedCustodian", "representedCustodianOrganization")
        ),
        legal_authenticator=header.person(follow(element, "legalAuthenticator", "assignedEntity")),
        legal_authenticator_time=attribute(follow(element, "legalAuthenticator", "time"), "value"),
        encounter=header.encounter(follow(element, "componentOf", "encompassingEncounter")),
        service_events=tuple(
            header.service_event(event)
            for each in children(element, "documentationOf")
            for event in children(each, "serviceEvent")
        ),
        orders=header.orders(element),
        replaces=replaces,
        media_type=media_type,
    )


def _value(element: Element | None) -> str:
    return attribute(element, "value")


def _patient(header_of: _Refusals) -> Patient:
    """The patient. Two different INS, or no identifier at all, leave in doubt whose document it is."""
    role = child(header_of.only("recordTarget"), "patientRole")
    where = "recordTarget/patientRole"
    if role is None:
        if child(header_of.element, "recordTarget") is not None:
            header_of.refuse("101", where, "This element is required and absent.")
        return Patient(())
    patient = header.patient(role)
    if not any(each.extension for each in patient.ids):
        header_of.refuse("101", f"{where}/id", "The patient has no identifier with an extension.")
    matricules = {each for each in patient.ids if each.root in INS_ROOTS | INS_TEST_ROOTS}
    if len(matricules) > 1:
        header_of.refuse("207", f"{where}/id", "The patient has several different INS; at most one is expected.")
    return patient


def _body(header_of: _Refusals) -> tuple[Literal["N1", "N3"], str]:
    """The level of the document and, for an N1, the media type of what it encapsulates."""
    component = header_of.only("component")
    bodies = [] if component is None else list(islice(component.iterchildren(_UNSTRUCTURED, _STRUCTURED), 2))
    if len(bodies) == 1 and bodies[0].tag == _STRUCTURED:
        return "N3", ""
    content = child(bodies[0], "text") if bodies else None
    media_type = (content.get("mediaType") or "").strip() if content is not None else ""
    if component is not None and len(bodies) != 1:
        header_of.refuse("198", "component", "Exactly one nonXMLBody or structuredBody is expected.")
    elif component is not None and (content is None or not _HAS_TEXT(content)):
        header_of.refuse("101", "component/nonXMLBody/text", "The encapsulated document is absent or empty.")
    elif component is not None and not media_type:
        header_of.refuse("101", "component/nonXMLBody/text/@mediaType", "The media type is required and absent.")
    return "N1", media_type


def _replaces(header_of: _Refusals) -> Identifier | None:
    """The document that this one replaces, if any."""
    related = [each for each in children(header_of.element, "relatedDocument") if each.get("typeCode") == "RPLC"]
    if not related:
        return None
    if len(related) > 1:
        header_of.refuse("198", "relatedDocument", "Several documents are replaced; at most one is expected.")
    parent = header.identifier(follow(related[0], "parentDocument", "id"))
    if parent is None:
        where = "relatedDocument/parentDocument/id"
        header_of.refuse("101", where, "The document says that it replaces another, and not which one.")
    return parent
