"""Write XDS metadata as ebRIM 3.0: METADATA.XML of an XDM archive, and the object list of ITI-41 (ITI TF-3 §4.2).

The same submission gives the same bytes. Reading is `pfiflow.xds.ebrim_reader`, re-exported here as `parse`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID, uuid5

from pfiflow.errors import Problem, Rejected
from pfiflow.xds import vocabulary as v
from pfiflow.xds.composite import LONGEST
from pfiflow.xds.ebrim_reader import parse
from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry, SubmissionSet

__all__ = ["parse", "registry_objects", "submit_objects_request"]

_LONGEST_LABEL: Final = 1024  # FreeFormText of rim.xsd: LocalizedString/@value
_IDS: Final = UUID("8b7d1d0b-0f0e-5c57-8f0e-6f5a53e6c1b1")  # the namespace of the ids of inner objects

# As a serialiser escapes: what would end the value, and what reading would normalise.
_IN_ATTRIBUTE: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_SPECIAL: Final = re.compile(r'[&<>"\t\n\r]')
_IN_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})


def submit_objects_request(submission: SubmissionSet) -> bytes:
    """The `lcm:SubmitObjectsRequest` document of one submission, in UTF-8 with an XML declaration.

    Raises:
        Rejected: a value does not fit into ebRIM (see `registry_objects`).
    """
    return b"".join(
        (
            b"<?xml version='1.0' encoding='UTF-8'?>\n",
            f'<lcm:SubmitObjectsRequest xmlns:lcm="{v.LCM}" xmlns:rim="{v.RIM}">'.encode(),
            registry_objects(submission),
            b"</lcm:SubmitObjectsRequest>",
        )
    )


def registry_objects(submission: SubmissionSet) -> bytes:
    """The `rim:RegistryObjectList` of one submission in UTF-8, for a request that carries one and declares `rim`.

    One RegistryPackage, one ExtrinsicObject an entry, one HasMember association each, then the submission's own
    associations. Ids of the inner objects derive from the submission's uniqueId and the ids of the outer ones.
    Written as text: half of the cost of a submission would be that of a tree.

    Raises:
        Rejected: a value is longer than `rim.xsd` allows (256 characters in a slot, an identifier or a code), or holds
            a character that XML cannot carry; all of them at once. Labels are cut at 1 024 characters.
    """
    problems = tuple(_problems(submission))
    if problems:
        raise Rejected(*problems)
    # Entry ids may be symbolic, the same in every submission: ids derived from them must not be.
    ids = uuid5(_IDS, submission.unique_id)
    owner = submission.entry_uuid
    parts = [_registry_package(submission, ids)]
    parts += [_extrinsic_object(entry, ids) for entry in submission.entries]
    for index, entry in enumerate(submission.entries):
        member = Association(v.HAS_MEMBER, owner, entry.entry_uuid, (("SubmissionSetStatus", ("Original",)),))
        parts.append(_association(member, _id(ids, owner, "member", index)))
    for index, association in enumerate(submission.associations):
        parts.append(_association(association, _id(ids, owner, "association", index)))
    return f"<rim:RegistryObjectList>{''.join(parts)}</rim:RegistryObjectList>".encode()


def _registry_package(submission: SubmissionSet, ids: UUID) -> str:
    owner = submission.entry_uuid
    node = (
        f'<rim:Classification id="{_id(ids, owner, v.SUBMISSION_SET, 0)}" objectType="{v.CLASSIFICATION}"'
        f' classifiedObject="{_attribute(owner)}" classificationNode="{v.SUBMISSION_SET}"/>'
    )
    content = (
        _slots(_set_slots(submission))
        + _name(submission.title)
        + _authors(ids, owner, v.SET_AUTHOR, submission.authors)
        + _coded(ids, owner, v.SET_CONTENT_TYPE, (submission.content_type_code,))
        + node
        + _external_identifier(ids, owner, v.SET_PATIENT_ID, submission.patient_id)
        + _external_identifier(ids, owner, v.SET_SOURCE_ID, submission.source_id)
        + _external_identifier(ids, owner, v.SET_UNIQUE_ID, submission.unique_id)
    )
    head = f'<rim:RegistryPackage id="{_attribute(owner)}" objectType="{v.REGISTRY_PACKAGE}">'
    return f"{head}{content}</rim:RegistryPackage>"


def _extrinsic_object(entry: DocumentEntry, ids: UUID) -> str:
    owner = entry.entry_uuid
    head = f'<rim:ExtrinsicObject id="{_attribute(owner)}" objectType="{v.DOCUMENT_ENTRY}"'
    parts = [
        f'{head} mimeType="{_attribute(entry.mime_type)}"',
        f' lid="{_attribute(entry.logical_id)}">' if entry.logical_id else ">",
        _slots(_entry_slots(entry)),
        _name(entry.title),
        f'<rim:VersionInfo versionName="{_attribute(entry.version)}"/>' if entry.version else "",
        _authors(ids, owner, v.DOCUMENT_ENTRY_AUTHOR, entry.authors),
    ]
    for scheme, attribute in v.ENTRY_CODES:
        value = getattr(entry, attribute)
        parts.append(_coded(ids, owner, scheme, value if isinstance(value, tuple) else (value,)))
    parts += (
        _external_identifier(ids, owner, v.ENTRY_PATIENT_ID, entry.patient_id),
        _external_identifier(ids, owner, v.ENTRY_UNIQUE_ID, entry.unique_id),
        "</rim:ExtrinsicObject>",
    )
    return "".join(parts)


def _association(association: Association, identifier: str) -> str:
    head = (
        f'<rim:Association id="{identifier}" objectType="{v.ASSOCIATION_TYPE}"'
        f' associationType="{_attribute(association.type)}" sourceObject="{_attribute(association.source)}"'
        f' targetObject="{_attribute(association.target)}"'
    )
    slots = _slots(association.slots)
    return f"{head}>{slots}</rim:Association>" if slots else f"{head}/>"


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


def _slots(slots: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    return "".join(
        f'<rim:Slot name="{_attribute(name)}"><rim:ValueList>{"".join(map(_value, values))}</rim:ValueList></rim:Slot>'
        for name, values in slots
        if values
    )


def _value(text: str) -> str:
    return f"<rim:Value>{text.translate(_IN_TEXT) if _SPECIAL.search(text) else text}</rim:Value>"


def _name(text: str) -> str:
    if not text:
        return ""
    value = _attribute(text[:_LONGEST_LABEL])
    return f'<rim:Name><rim:LocalizedString xml:lang="fr-FR" charset="UTF-8" value="{value}"/></rim:Name>'


def _authors(ids: UUID, owner: str, scheme: str, authors: Iterable[Author]) -> str:
    parts = []
    for index, author in enumerate(authors):
        slots = _slots((name, _values(getattr(author, attribute))) for name, attribute in v.AUTHOR_SLOTS)
        if slots:
            parts.append(_classification(ids, owner, scheme, "", index, slots))
    return "".join(parts)


def _coded(ids: UUID, owner: str, scheme: str, values: Iterable[CodedValue]) -> str:
    return "".join(
        _classification(
            ids,
            owner,
            scheme,
            value.code,
            index,
            _slots((("codingScheme", _values(value.scheme)),)) + _name(value.display),
        )
        for index, value in enumerate(values)
        if value.code
    )


def _classification(ids: UUID, owner: str, scheme: str, code: str, index: int, content: str) -> str:
    head = (
        f'<rim:Classification id="{_id(ids, owner, scheme, index)}" objectType="{v.CLASSIFICATION}"'
        f' classificationScheme="{scheme}" classifiedObject="{_attribute(owner)}"'
        f' nodeRepresentation="{_attribute(code)}"'
    )
    return f"{head}>{content}</rim:Classification>" if content else f"{head}/>"


def _external_identifier(ids: UUID, owner: str, kind: tuple[str, str], value: str) -> str:
    if not value:
        return ""
    scheme, name = kind
    return (
        f'<rim:ExternalIdentifier id="{_id(ids, owner, scheme, 0)}" objectType="{v.EXTERNAL_IDENTIFIER}"'
        f' registryObject="{_attribute(owner)}" identificationScheme="{scheme}" value="{_attribute(value)}">'
        f"{_name(name)}</rim:ExternalIdentifier>"
    )


def _attribute(value: str) -> str:
    return value.translate(_IN_ATTRIBUTE) if _SPECIAL.search(value) else value


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
