"""From elements of a CDA header to values: one function an element type, tolerant of what is absent.

Every function takes the element or None. A nullFlavor counts as absent. Nothing is judged here: `document` refuses what
cannot be used, `rules` reports the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from lxml import etree

from pfiflow.cda.values import (
    Author,
    Code,
    Device,
    Encounter,
    Identifier,
    Order,
    Organization,
    Patient,
    Person,
    ServiceEvent,
)

__all__ = [
    "V3",
    "attribute",
    "author",
    "child",
    "children",
    "code",
    "encounter",
    "follow",
    "identifier",
    "identifiers",
    "location",
    "orders",
    "organization",
    "patient",
    "person",
    "service_event",
    "text",
]

V3: Final = "{urn:hl7-org:v3}"
_ACCESSION: Final = "{urn:dicom-org:ps3-20}accessionNumber"
_MOST_INDEX: Final = 1_000  # keeps the search for a place short in a document made to be long
STRUCTURE_ROOT: Final = "1.2.250.1.71.4.2.2"
"""Authority of the national identifiers of health structures."""

Element = etree._Element  # lxml has no public name for its element type


def child(element: Element | None, name: str) -> Element | None:
    """The first child element of this name in the namespace urn:hl7-org:v3, or None."""
    return None if element is None else next(element.iterchildren(V3 + name), None)


def children(element: Element | None, name: str) -> Iterator[Element]:
    """The child elements of this name in the namespace urn:hl7-org:v3."""
    return iter(()) if element is None else element.iterchildren(V3 + name)


def follow(element: Element | None, *path: str) -> Element | None:
    """The first child of the first child… along the path, or None."""
    for name in path:
        element = child(element, name)
        if element is None:
            return None
    return element


def attribute(element: Element | None, name: str) -> str:
    """The stripped value of an attribute, "" when the element or the attribute is absent, or has a nullFlavor."""
    if element is None or element.get("nullFlavor"):
        return ""
    return (element.get(name) or "").strip()


def text(element: Element | None) -> str:
    """The element's own text with its white space collapsed, "" when absent."""
    return "" if element is None or element.text is None else " ".join(element.text.split())


def location(element: Element) -> str:
    """The XPath of an element, `/ClinicalDocument/author[2]/time`, from the ClinicalDocument that holds it, if any.

    Foreign elements keep their prefix; an index is given where an element of the same name stands before or after.
    """
    steps: list[str] = []
    each: Element | None = element
    while each is not None:
        name = etree.QName(each)
        prefix = f"{each.prefix}:" if each.prefix and name.namespace != V3[1:-1] else ""
        before = sum(1 for _ in islice(each.itersiblings(each.tag, preceding=True), _MOST_INDEX))
        alone = not before and next(each.itersiblings(each.tag), None) is None
        index = f"[{before + 1}]" if before < _MOST_INDEX else f"[position()>{_MOST_INDEX}]"
        steps.append(prefix + name.localname + ("" if alone else index))
        each = None if each.tag == V3 + "ClinicalDocument" else each.getparent()
    return "/" + "/".join(reversed(steps))


def identifier(element: Element | None) -> Identifier | None:
    """An II, or None without a root."""
    root = attribute(element, "root")
    return Identifier(root, attribute(element, "extension")) if root else None


def identifiers(element: Element | None) -> tuple[Identifier, ...]:
    """The `id` children, in document order."""
    return tuple(found for each in children(element, "id") if (found := identifier(each)) is not None)


def code(element: Element | None) -> Code | None:
    """A CD or CE, or None without a code."""
    value = attribute(element, "code")
    if element is None or not value:
        return None
    return Code(
        value,
        (element.get("codeSystem") or "").strip(),
        " ".join((element.get("displayName") or "").split()),
        (element.get("codeSystemName") or "").strip(),
    )


def _grouped(element: Element | None) -> dict[str, list[Element]]:
    """The children by full name: cheaper than a look for each where many are wanted."""
    groups: dict[str, list[Element]] = {}
    if element is not None:
        for each in element:
            groups.setdefault(each.tag, []).append(each)
    return groups


def _first(groups: dict[str, list[Element]], name: str) -> Element | None:
    found = groups.get(V3 + name)
    return found[0] if found else None


def _ids(groups: dict[str, list[Element]]) -> tuple[Identifier, ...]:
    return tuple(found for each in groups.get(V3 + "id", ()) if (found := identifier(each)) is not None)


def organization(element: Element | None) -> Organization | None:
    """An organisation: its national identifier where it has one, its first identifier otherwise."""
    if element is None:
        return None
    parts = _grouped(element)
    ids = _ids(parts)
    national = next((each for each in ids if each.root == STRUCTURE_ROOT), None)
    return Organization(
        national or next(iter(ids), None),
        text(_first(parts, "name")),
        code(_first(parts, "standardIndustryClassCode")),
    )


def person(element: Element | None) -> Person | None:
    """An assignedAuthor or assignedEntity."""
    if element is None:
        return None
    parts = _grouped(element)
    name = _grouped(child(_first(parts, "assignedPerson"), "name"))
    device = _first(parts, "assignedAuthoringDevice")
    return Person(
        ids=_ids(parts),
        family=text(_first(name, "family")),
        given=text(_first(name, "given")),
        prefix=text(_first(name, "prefix")),
        suffix=text(_first(name, "suffix")),
        code=code(_first(parts, "code")),
        organization=organization(_first(parts, "representedOrganization")),
        device=None
        if device is None
        else Device(text(child(device, "manufacturerModelName")), text(child(device, "softwareName"))),
    )


def author(element: Element) -> Author:
    """An `author`."""
    parts = _grouped(element)
    return Author(
        person(_first(parts, "assignedAuthor")) or Person(),
        attribute(_first(parts, "time"), "value"),
        " ".join(attribute(_first(parts, "functionCode"), "displayName").split()),
    )


def _name_parts(name: Element | None, part: str) -> dict[str, str]:
    """The first non-empty part for each qualifier, "" for none."""
    parts: dict[str, str] = {}
    for each in children(name, part):
        value = text(each)
        for qualifier in (each.get("qualifier") or "").split() or ("",):
            if value:
                parts.setdefault(qualifier, value)
    return parts


def patient(role: Element) -> Patient:
    """A patientRole. Older documents qualify the used family name SP, some not at all: both count as used names."""
    element = child(role, "patient")
    parts = _grouped(element)
    name = _first(parts, "name")
    family, given = _name_parts(name, "family"), _name_parts(name, "given")
    place = child(_first(parts, "birthplace"), "place")
    address = child(place, "addr")
    return Patient(
        ids=identifiers(role),
        birth_family=family.get("BR", ""),
        used_family=family.get("CL") or family.get("SP") or family.get("", ""),
        first_birth_given=given.get("BR", ""),
        birth_given_names=given.get("", ""),
        used_given=given.get("CL", ""),
        birth_time=attribute(_first(parts, "birthTime"), "value"),
        gender=attribute(_first(parts, "administrativeGenderCode"), "code"),
        birth_place=text(child(address, "county")),
        birth_place_name=text(child(address, "city")) or text(child(place, "name")),
    )


def orders(root: Element) -> tuple[Order, ...]:
    """Every inFulfillmentOf/order. The accession number goes with the first identifier of its order."""
    found: list[Order] = []
    for fulfillment in children(root, "inFulfillmentOf"):
        for order in children(fulfillment, "order"):
            accession = identifier(next(order.iterchildren(_ACCESSION), None))
            first, *others = identifiers(order) or (None,)
            if first is not None or accession is not None:
                found.append(Order(first, accession))
            found.extend(Order(each) for each in others)
    return tuple(found)


def service_event(element: Element) -> ServiceEvent:
    """A documentationOf/serviceEvent with the translations of its code, each with the code of its first qualifier."""
    parts = _grouped(element)
    act, period = _first(parts, "code"), _grouped(_first(parts, "effectiveTime"))
    performers = parts.get(V3 + "performer", [])
    performer = next((each for each in performers if each.get("typeCode") == "PRF"), next(iter(performers), None))
    return ServiceEvent(
        id=identifier(_first(parts, "id")),
        code=code(act),
        translations=tuple(
            (translation, attribute(follow(each, "qualifier", "name"), "code"))
            for each in children(act, "translation")
            if (translation := code(each)) is not None
        ),
        start=attribute(_first(period, "low"), "value") or attribute(_first(parts, "effectiveTime"), "value"),
        stop=attribute(_first(period, "high"), "value"),
        performer=person(child(performer, "assignedEntity")),
    )


def encounter(element: Element | None) -> Encounter | None:
    """The componentOf/encompassingEncounter."""
    if element is None:
        return None
    period = child(element, "effectiveTime")
    return Encounter(
        ids=identifiers(element),
        code=code(child(element, "code")),
        start=attribute(child(period, "low"), "value") or attribute(period, "value"),
        stop=attribute(child(period, "high"), "value"),
        facility_type=code(follow(element, "location", "healthCareFacility", "code")),
    )
