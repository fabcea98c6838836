"""Write XDS metadata as ebRIM 3.0: METADATA.XML of an XDM archive, and the object list of ITI-41 (ITI TF-3 §4.2).

The same submission gives the same bytes. Reading is `pfiflow.xds.ebrim_reader`, re-exported here as `parse`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID, uuid5

from lxml import etree

from pfiflow.errors import Problem, Rejected
from pfiflow.xds import vocabulary as v
from pfiflow.xds.composite import LONGEST
from pfiflow.xds.ebrim_reader import parse
from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry, SubmissionSet

__all__ = ["parse", "registry_object_list", "submit_objects_request"]

_LONGEST_LABEL: Final = 1024  # FreeFormText of rim.xsd: LocalizedString/@value
_IDS: Final = UUID("8b7d1d0b-0f0e-5c57-8f0e-6f5a53e6c1b1")  # the namespace of the ids of inner objects

_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_SLOT: Final = f"{{{v.RIM}}}Slot"
_VALUE_LIST: Final = f"{{{v.RIM}}}ValueList"
_VALUE: Final = f"{{{v.RIM}}}Value"
_NAME: Final = f"{{{v.RIM}}}Name"
_LOCALIZED: Final = f"{{{v.RIM}}}LocalizedString"
_CLASSIFICATION: Final = f"{{{v.RIM}}}Classification"
_EXTERNAL_IDENTIFIER: Final = f"{{{v.RIM}}}ExternalIdentifier"


def submit_objects_request(submission: SubmissionSet) -> bytes:
    """The `lcm:SubmitObjectsRequest` document of one submission, in UTF-8 with an XML declaration.

    Raises:
        Rejected: a value does not fit into ebRIM (see `registry_object_list`).
    """
    root = etree.Element(f"{{{v.LCM}}}SubmitObjectsRequest", nsmap={"lcm": v.LCM, "rim": v.RIM})
    _fill(root, submission)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def registry_object_list(submission: SubmissionSet) -> etree._Element:
    """The `rim:RegistryObjectList` of one submission, for any request that carries one (ITI-41).

    One RegistryPackage, one ExtrinsicObject an entry, one HasMember association each, then the submission's own
    associations. Ids of the inner objects derive from the submission's uniqueId and the ids of the outer ones.

    Raises:
        Rejected: a value is longer than `rim.xsd` allows (256 characters in a slot, an identifier or a code), or holds
            a character that XML cannot carry; all of them at once. Labels are cut at 1 024 characters.
    """
    parent = etree.Element("parent", nsmap={"rim": v.RIM})
    objects = _fill(parent, submission)
    parent.remove(objects)
    return objects


def _fill(parent: etree._Element, submission: SubmissionSet) -> etree._Element:
    problems = tuple(_problems(submission))
    if problems:
        raise Rejected(*problems)
    objects = etree.SubElement(parent, f"{{{v.RIM}}}RegistryObjectList")
    # Entry ids may be symbolic, the same in every submission: ids derived from them must not be.
    ids = uuid5(_IDS, submission.unique_id)
    _registry_package(objects, submission, ids)
    for entry in submission.entries:
        _extrinsic_object(objects, entry, ids)
    owner = submission.entry_uuid
    for index, entry in enumerate(submission.entries):
        member = Association(v.HAS_MEMBER, owner, entry.entry_uuid, (("SubmissionSetStatus", ("Original",)),))
        _association(objects, member, _id(ids, owner, "member", index))
    for index, association in enumerate(submission.associations):
        _association(objects, association, _id(ids, owner, "association", index))
    return objects


def _registry_package(parent: etree._Element, submission: SubmissionSet, ids: UUID) -> None:
    owner = submission.entry_uuid
    attributes = {"id": owner, "objectType": v.REGISTRY_PACKAGE}
    element = etree.SubElement(parent, f"{{{v.RIM}}}RegistryPackage", attributes)
    _slots(element, _set_slots(submission))
    _name(element, submission.title)
    _authors(element, ids, owner, v.SET_AUTHOR, submission.authors)
    _coded(element, ids, owner, v.SET_CONTENT_TYPE, (submission.content_type_code,))
    etree.SubElement(
        element,
        _CLASSIFICATION,
        {
            "id": _id(ids, owner, v.SUBMISSION_SET, 0),
            "objectType": v.CLASSIFICATION,
            "classifiedObject": owner,
            "classificationNode": v.SUBMISSION_SET,
        },
    )
    _external_identifier(element, ids, owner, v.SET_PATIENT_ID, submission.patient_id)
    _external_identifier(element, ids, owner, v.SET_SOURCE_ID, submission.source_id)
    _external_identifier(element, ids, owner, v.SET_UNIQUE_ID, submission.unique_id)


def _extrinsic_object(parent: etree._Element, entry: DocumentEntry, ids: UUID) -> None:
    owner = entry.entry_uuid
    attributes = {"id": owner, "objectType": v.DOCUMENT_ENTRY, "mimeType": entry.mime_type}
    if entry.logical_id:
        attributes["lid"] = entry.logical_id
    element = etree.SubElement(parent, f"{{{v.RIM}}}ExtrinsicObject", attributes)
    _slots(element, _entry_slots(entry))
    _name(element, entry.title)
    if entry.version:
        etree.SubElement(element, f"{{{v.RIM}}}VersionInfo", {"versionName": entry.version})
    _authors(element, ids, owner, v.DOCUMENT_ENTRY_AUTHOR, entry.authors)
    for scheme, attribute in v.ENTRY_CODES:
        value = getattr(entry, attribute)
        _coded(element, ids, owner, scheme, value if isinstance(value, tuple) else (value,))
    _external_identifier(element, ids, owner, v.ENTRY_PATIENT_ID, entry.patient_id)
    _external_identifier(element, ids, owner, v.ENTRY_UNIQUE_ID, entry.unique_id)


def _association(parent: etree._Element, association: Association, identifier: str) -> None:
    attributes = {
        "id": identifier,
        "objectType": v.ASSOCIATION_TYPE,
        "associationType": association.type,
        "sourceObject": association.source,
        "targetObject": association.target,
    }
    _slots(etree.SubElement(parent, f"{{{v.RIM}}}Association", attributes), association.slots)


def _set_slots(submission: SubmissionSet) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, attribute in v.SET_SLOTS:
        yield name, _values(getattr(submission, attribute))
    yield from submission.extra


def _entry_slots(entry: DocumentEntry) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, attribute in v.ENTRY_SLOTS:
        yield name, _values(getattr(entry, attribute))
    yield from entry.extra


def _values(value: str | int | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return () if value in {"", -1} else (str(value),)


def _slots(parent: etree._Element, slots: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    for name, values in slots:
        if values:
            value_list = etree.SubElement(etree.SubElement(parent, _SLOT, {"name": name}), _VALUE_LIST)
            for value in values:
                etree.SubElement(value_list, _VALUE).text = value


def _name(parent: etree._Element, text: str) -> None:
    if text:
        attributes = {_LANG: "fr-FR", "charset": "UTF-8", "value": text[:_LONGEST_LABEL]}
        etree.SubElement(etree.SubElement(parent, _NAME), _LOCALIZED, attributes)


def _authors(parent: etree._Element, ids: UUID, owner: str, scheme: str, authors: Iterable[Author]) -> None:
    for index, author in enumerate(authors):
        slots = [(name, _values(getattr(author, attribute))) for name, attribute in v.AUTHOR_SLOTS]
        if any(values for _, values in slots):
            _slots(_classification(parent, ids, owner, scheme, "", index), slots)


def _coded(parent: etree._Element, ids: UUID, owner: str, scheme: str, values: Iterable[CodedValue]) -> None:
    for index, value in enumerate(values):
        if value.code:
            element = _classification(parent, ids, owner, scheme, value.code, index)
            _slots(element, (("codingScheme", _values(value.scheme)),))
            _name(element, value.display)


def _classification(
    parent: etree._Element, ids: UUID, owner: str, scheme: str, code: str, index: int
) -> etree._Element:
    attributes = {
        "id": _id(ids, owner, scheme, index),
        "objectType": v.CLASSIFICATION,
        "classificationScheme": scheme,
        "classifiedObject": owner,
        "nodeRepresentation": code,
    }
    return etree.SubElement(parent, _CLASSIFICATION, attributes)


def _external_identifier(parent: etree._Element, ids: UUID, owner: str, kind: tuple[str, str], value: str) -> None:
    if value:
        scheme, name = kind
        attributes = {
            "id": _id(ids, owner, scheme, 0),
            "objectType": v.EXTERNAL_IDENTIFIER,
            "registryObject": owner,
            "identificationScheme": scheme,
            "value": value,
        }
        _name(etree.SubElement(parent, _EXTERNAL_IDENTIFIER, attributes), name)


def _id(ids: UUID, owner: str, role: str, index: int) -> str:
    # uuid5(ids, …), at a fifth of its cost: a submission has thirty of them.
    digest = bytearray(
        hashlib.sha1(ids.bytes + f"{owner}|{role}|{index}".encode(), usedforsecurity=False).digest()[:16]
    )
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return (
        f"urn:uuid:{digest[:4].hex()}-{digest[4:6].hex()}-{digest[6:8].hex()}-{digest[8:10].hex()}-{digest[10:].hex()}"
    )


# -- what rim.xsd and XML allow --------------------------------------------------------------------------------------


def _problems(submission: SubmissionSet) -> Iterator[Problem]:
    for where, text, longest in _texts(submission):
        if len(text) > longest:
            yield Problem(
                "102",
                f"{len(text)} characters, while ebRIM allows {longest}; shorten the value at its source",
                location=where,
                rule="rim.xsd LongName",
            )
        if not text.isprintable() and (place := _unfit(text)) >= 0:
            yield Problem(
                "102",
                f"character {place + 1} (U+{ord(text[place]):04X}) cannot stand in XML; remove it at its source",
                location=where,
                rule="XML 1.0 §2.2",
            )


def _unfit(text: str) -> int:
    return next((i for i, c in enumerate(text) if (c < " " and c not in "\t\n\r") or c in _NOT_XML), -1)


_NOT_XML: Final = frozenset([*map(chr, range(0xD800, 0xE000)), "\ufffe", "\uffff"])


def _texts(submission: SubmissionSet) -> Iterator[tuple[str, str, int]]:
    """Every text that the writer writes: where, the text, how long it may be."""
    yield "SubmissionSet.entryUUID", submission.entry_uuid, LONGEST
    yield "SubmissionSet.title", submission.title[:_LONGEST_LABEL], _LONGEST_LABEL
    for name in ("patient_id", "source_id", "unique_id"):
        yield f"SubmissionSet.{name}", getattr(submission, name), LONGEST
    yield from _slot_texts("SubmissionSet", _set_slots(submission))
    yield from _author_texts("SubmissionSet", submission.authors)
    yield from _code_texts("SubmissionSet.contentTypeCode", submission.content_type_code)
    for number, entry in enumerate(submission.entries, 1):
        where = f"DocumentEntry[{number}]"
        yield f"{where}.title", entry.title[:_LONGEST_LABEL], _LONGEST_LABEL
        for name in ("entry_uuid", "logical_id", "mime_type", "patient_id", "unique_id"):
            yield f"{where}.{name}", getattr(entry, name), LONGEST
        yield f"{where}.version", entry.version, 16
        yield from _slot_texts(where, _entry_slots(entry))
        yield from _author_texts(where, entry.authors)
        for _, attribute in v.ENTRY_CODES:
            value = getattr(entry, attribute)
            for code in value if isinstance(value, tuple) else (value,):
                yield from _code_texts(f"{where}.{attribute}", code)
    for number, association in enumerate(submission.associations, 1):
        where = f"Association[{number}]"
        for name in ("type", "source", "target"):
            yield f"{where}.{name}", getattr(association, name), LONGEST
        yield from _slot_texts(where, association.slots)


def _slot_texts(where: str, slots: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[tuple[str, str, int]]:
    for number, (name, values) in enumerate(slots, 1):
        yield f"{where}.slot[{number}].name", name, LONGEST
        for value in values:
            yield f"{where}.slot[{number}]", value, LONGEST


def _author_texts(where: str, authors: Iterable[Author]) -> Iterator[tuple[str, str, int]]:
    for number, author in enumerate(authors, 1):
        for slot, attribute in v.AUTHOR_SLOTS:
            yield f"{where}.author[{number}].{slot}", getattr(author, attribute), LONGEST


def _code_texts(where: str, value: CodedValue) -> Iterator[tuple[str, str, int]]:
    yield where, value.code, LONGEST
    yield f"{where}.codingScheme", value.scheme, LONGEST
    yield f"{where}.displayName", value.display[:_LONGEST_LABEL], _LONGEST_LABEL
