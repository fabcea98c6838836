"""Read ebRIM 3.0 metadata as other writers really emit it (`mssante-details.md` §1c, §5; `cda-xds.md` §2.5).

Accepted beyond the standard: any wrapper around the RegistryObjectList, any case of element and slot names, symbolic or
missing ids, a missing classifiedObject or HasMember, several RegistryPackages, classifications at list level,
identifiers under a wrong scheme but with the right name, the URI slot in its numbered form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from lxml import etree

from pfiflow.cda import xml
from pfiflow.errors import Problem, Rejected
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry, SubmissionSet

__all__ = ["MAX_BYTES", "parse"]

MAX_BYTES: Final = 5_000_000
"""The longest METADATA.XML accepted: two hundred entries take well under two megabytes."""

MAX_SETS: Final = 50

_FOLDER: Final = "d9d542f3-6cc4-48b6-8870-ea235fbc94c2"
_NUMBERED: Final = re.compile(r"[0-9]{1,3}\|")
_NOTHING: Final = CodedValue("", "")

_Slots = list[tuple[str, tuple[str, ...]]]


def parse(data: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[SubmissionSet, ...]:
    """The submission sets of an ebRIM document, each with its entries and its associations beyond HasMember.

    Texts are stripped. What is missing is as `DocumentEntry` says. Slots that XDS does not define are in `extra`.
    An entry that no HasMember claims belongs to the first submission set.

    Raises:
        Rejected: no well-formed or no acceptable XML (see `pfiflow.cda.xml.parse`), or no submission set in it.
    """
    objects = _Objects(xml.parse(data, max_bytes=max_bytes, max_depth=64, max_tags=100_000))
    packages = objects.submission_sets()
    if len(packages) > MAX_SETS:
        raise Rejected(Problem("207", f"more than {MAX_SETS} submission sets in one document", "//rim:RegistryPackage"))
    if not packages:
        raise Rejected(
            Problem(
                "207",
                "no RegistryPackage is classified as an XDS submission set; send METADATA.XML with one",
                location="//rim:RegistryPackage",
                rule="ITI TF-3 §4.2.1.1",
            )
        )
    members = objects.members([_attribute(package, "id") for package in packages])
    return tuple(
        objects.submission_set(package, members[number], first=number == 0) for number, package in enumerate(packages)
    )


class _Objects:
    """The registry objects of one document, by kind."""

    def __init__(self, root: etree._Element) -> None:
        kinds: defaultdict[str, list[etree._Element]] = defaultdict(list)
        for element in root.iter(etree.Element):
            kinds[_local(element)].append(element)
        self.packages = kinds["registrypackage"]
        self.documents = [e for e in kinds["extrinsicobject"] if not _is(_attribute(e, "objectType"), "folder")]
        self.ids = [_attribute(e, "id") or f"entry{n}" for n, e in enumerate(self.documents, 1)]
        self.associations = [_association(e) for e in kinds["association"]]
        # Classifications and identifiers at list level say whose they are; those inside an object are the object's.
        outer = [e for e in kinds["classification"] + kinds["externalidentifier"] if not _inside(e)]
        self.outer: defaultdict[str, list[etree._Element]] = defaultdict(list)
        for element in outer:
            self.outer[_attribute(element, "classifiedObject") or _attribute(element, "registryObject")].append(element)

    def submission_sets(self) -> list[etree._Element]:
        nodes = [
            {_uuid(_attribute(e, "classificationNode")) for e in self._parts(package, "classification")}
            for package in self.packages
        ]
        found = [p for p, n in zip(self.packages, nodes, strict=True) if _uuid(v.SUBMISSION_SET) in n]
        if found:
            return found
        # One package that says nothing of what it is can only be the submission set.
        rest = [p for p, n in zip(self.packages, nodes, strict=True) if _FOLDER not in n]
        return rest if len(rest) == 1 else []

    def members(self, packages: list[str]) -> list[list[int]]:
        """For each package, the numbers of its entries, in the order of the document."""
        places = {identifier: place for place, identifier in reversed([*enumerate(packages)])}
        owner = {
            association.target: places[association.source]
            for association in reversed(self.associations)
            if _is(association.type, "HasMember") and association.source in places
        }
        members: list[list[int]] = [[] for _ in packages]
        for number, identifier in enumerate(self.ids):
            members[owner.get(identifier, 0)].append(number)
        return members

    def submission_set(self, package: etree._Element, members: list[int], *, first: bool) -> SubmissionSet:
        owner = _attribute(package, "id")
        slots = _slots(package)
        classifications = self._parts(package, "classification")
        identifiers = self._identifiers(package)
        mine = {owner, *(self.ids[number] for number in members)}
        return SubmissionSet(
            entry_uuid=owner,
            unique_id=identifiers.get("uniqueid", ""),
            source_id=identifiers.get("sourceid", ""),
            patient_id=identifiers.get("patientid", ""),
            submission_time=_take_one(slots, "submissionTime"),
            content_type_code=next(_codes(classifications, v.SET_CONTENT_TYPE), _NOTHING),
            authors=tuple(_authors(classifications)),
            title=_name(package),
            intended_recipients=_take(slots, "intendedRecipient"),
            entries=tuple(self._entry(number) for number in members),
            associations=tuple(
                association
                for association in self.associations
                if not _is(association.type, "HasMember")
                and (association.source in mine or association.target in mine or first)
            ),
            extra=tuple(slots),
        )

    def _entry(self, number: int) -> DocumentEntry:
        element = self.documents[number]
        slots = _slots(element)
        classifications = self._parts(element, "classification")
        identifiers = self._identifiers(element)
        schemes = {attribute: scheme for scheme, attribute in v.ENTRY_CODES}

        def one(attribute: str) -> CodedValue:
            return next(_codes(classifications, schemes[attribute]), _NOTHING)

        size = _take_one(slots, "size")
        return DocumentEntry(
            entry_uuid=self.ids[number],
            unique_id=identifiers.get("uniqueid", ""),
            patient_id=identifiers.get("patientid", ""),
            class_code=one("class_code"),
            type_code=one("type_code"),
            format_code=one("format_code"),
            healthcare_facility_type_code=one("healthcare_facility_type_code"),
            practice_setting_code=one("practice_setting_code"),
            confidentiality_codes=tuple(_codes(classifications, schemes["confidentiality_codes"])),
            creation_time=_take_one(slots, "creationTime"),
            language_code=_take_one(slots, "languageCode"),
            mime_type=_attribute(element, "mimeType"),
            title=_name(element),
            hash=_take_one(slots, "hash").lower(),
            size=int(size) if re.fullmatch(r"[0-9]{1,15}", size) else -1,
            source_patient_id=_take_one(slots, "sourcePatientId"),
            source_patient_info=_take(slots, "sourcePatientInfo"),
            authors=tuple(_authors(classifications)),
            legal_authenticator=_take_one(slots, "legalAuthenticator"),
            service_start_time=_take_one(slots, "serviceStartTime"),
            service_stop_time=_take_one(slots, "serviceStopTime"),
            event_codes=tuple(_codes(classifications, schemes["event_codes"])),
            reference_ids=_take(slots, "urn:ihe:iti:xds:2013:referenceIdList"),
            uri=_uri(_take(slots, "URI")),
            logical_id=_attribute(element, "lid"),
            version=next((_attribute(e, "versionName") for e in element if _local(e) == "versioninfo"), ""),
            extra=tuple(slots),
        )

    def _parts(self, owner: etree._Element, kind: str) -> list[etree._Element]:
        outer = self.outer.get(_attribute(owner, "id"), ())
        return [e for e in (*owner, *outer) if _local(e) == kind]

    def _identifiers(self, owner: etree._Element) -> Mapping[str, str]:
        """`patientid`, `uniqueid`, `sourceid` → value. A name of XDS says what it is, the scheme only in its absence.

        (A published style sheet writes the patientId under the scheme of the uniqueId.)
        """
        found: dict[str, str] = {}
        for element in self._parts(owner, "externalidentifier"):
            kind = _name(element).rpartition(".")[2].lower()
            if kind not in {"patientid", "uniqueid", "sourceid"}:
                kind = _IDENTIFIER_KINDS.get(_uuid(_attribute(element, "identificationScheme")), "")
            found.setdefault(kind, _attribute(element, "value"))
        return found


def _local(element: etree._Element) -> str:
    return _local_name(str(element.tag))


@lru_cache(256)
def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def _attribute(element: etree._Element, name: str) -> str:
    return (element.get(name) or "").strip()


def _inside(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and _local(parent) in {"extrinsicobject", "registrypackage", "association"}


def _uuid(value: str) -> str:
    return value.strip().lower().removeprefix("urn:uuid:")


def _is(type_: str, name: str) -> bool:
    return re.split(r"[:/#]", type_)[-1].lower() == name.lower()


_IDENTIFIER_KINDS: Final = {
    _uuid(scheme): name.rpartition(".")[2].lower()
    for scheme, name in (
        v.ENTRY_PATIENT_ID,
        v.ENTRY_UNIQUE_ID,
        v.SET_PATIENT_ID,
        v.SET_SOURCE_ID,
        v.SET_UNIQUE_ID,
    )
}
_AUTHOR_SCHEMES: Final = frozenset(map(_uuid, v.AUTHOR_SCHEMES))


def _association(element: etree._Element) -> Association:
    return Association(
        type=_attribute(element, "associationType"),
        source=_attribute(element, "sourceObject"),
        target=_attribute(element, "targetObject"),
        slots=tuple(_slots(element)),
    )


def _slots(owner: etree._Element) -> _Slots:
    slots: _Slots = []
    for slot in owner:
        if _local(slot) == "slot":
            texts = [(e.text or "").strip() for e in slot.iter(etree.Element) if _local(e) == "value"]
            slots.append((_attribute(slot, "name"), tuple(filter(None, texts))))
    return slots


def _take(slots: _Slots, name: str) -> tuple[str, ...]:
    """The values of a slot, which leaves the list; its name in any case, when there is none in the right one."""
    lower = name.lower()
    names = {slot[0] for slot in slots}
    wanted = {name} if name in names else {other for other in names if other.lower() == lower}
    found = [slot for slot in slots if slot[0] in wanted]
    if found:
        slots[:] = [slot for slot in slots if slot[0] not in wanted]
    return tuple(value for _, values in found for value in values)


def _take_one(slots: _Slots, name: str) -> str:
    return next(iter(_take(slots, name)), "")


def _uri(values: tuple[str, ...]) -> str:
    """The URI slot; one longer than a value may be is cut into `1|…`, `2|…` (ITI TF-3 §4.2.3.2.27)."""
    if values and all(_NUMBERED.match(value) for value in values):
        pieces = sorted((int(value.partition("|")[0]), value.partition("|")[2]) for value in values)
        return "".join(piece for _, piece in pieces)
    return next(iter(values), "")


def _name(owner: etree._Element) -> str:
    for child in owner:
        if _local(child) == "name":
            return next((_attribute(e, "value") for e in child if _local(e) == "localizedstring"), "")
    return ""


def _codes(classifications: Iterable[etree._Element], scheme: str) -> Iterator[CodedValue]:
    wanted = _uuid(scheme)
    for element in classifications:
        if _uuid(_attribute(element, "classificationScheme")) == wanted:
            coding = _take_one(_slots(element), "codingScheme")
            yield CodedValue(_attribute(element, "nodeRepresentation"), coding, _name(element))


def _authors(classifications: Iterable[etree._Element]) -> Iterator[Author]:
    for element in classifications:
        if _uuid(_attribute(element, "classificationScheme")) in _AUTHOR_SCHEMES:
            slots = _slots(element)
            yield Author(**{attribute: _take_one(slots, slot) for slot, attribute in v.AUTHOR_SLOTS})
