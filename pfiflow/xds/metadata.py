"""XDS metadata as frozen values (ITI TF-3 §4.2.3; CI-SIS mapping of the volet "Transmission", `mapping.md`).

String forms (XON, XCN, CX, CXi) are the ones that travel in ebRIM slots.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

__all__ = ["Association", "Author", "CodedValue", "DocumentEntry", "SubmissionSet"]


@frozen
class CodedValue:
    """A coded attribute: code, codingScheme (OID or URN), display name."""

    code: str
    scheme: str
    display: str = ""


@frozen
class Author:
    """authorPerson (XCN), authorInstitution (XON), authorRole, authorSpecialty; "" when unknown."""

    person: str = ""
    institution: str = ""
    role: str = ""
    specialty: str = ""


@frozen(cache_hash=True)  # archives keep their documents by it
class DocumentEntry:
    """One document's metadata. Times are DTM digits in UTC; `hash` is SHA-1 hex of exactly `size` bytes.

    In an entry that somebody else wrote, an attribute may be missing: "" for a string, a `CodedValue` without code,
    () for a list, -1 for `size`.
    """

    entry_uuid: str  # urn:uuid:…, or a symbolic id
    unique_id: str
    patient_id: str  # CX
    class_code: CodedValue
    type_code: CodedValue
    format_code: CodedValue
    healthcare_facility_type_code: CodedValue
    practice_setting_code: CodedValue
    confidentiality_codes: tuple[CodedValue, ...]
    creation_time: str
    language_code: str
    mime_type: str
    title: str
    hash: str
    size: int
    source_patient_id: str = ""
    source_patient_info: tuple[str, ...] = ()
    authors: tuple[Author, ...] = ()
    legal_authenticator: str = ""
    service_start_time: str = ""
    service_stop_time: str = ""
    event_codes: tuple[CodedValue, ...] = ()
    reference_ids: tuple[str, ...] = ()  # CXi
    uri: str = ""  # XDM only: file name beside METADATA.XML
    logical_id: str = ""
    version: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()  # extra metadata slots: (name, values), in order


@frozen
class Association:
    """An association between two objects: type URN, source and target ids, slots."""

    type: str
    source: str
    target: str
    slots: tuple[tuple[str, tuple[str, ...]], ...] = ()


@frozen
class SubmissionSet:
    """One submission, its entries, and the associations beyond HasMember (RPLC…)."""

    entry_uuid: str
    unique_id: str
    source_id: str
    patient_id: str
    submission_time: str  # DTM, UTC
    content_type_code: CodedValue
    authors: tuple[Author, ...] = ()
    title: str = ""
    intended_recipients: tuple[str, ...] = ()  # XON|XCN|XTN
    entries: tuple[DocumentEntry, ...] = ()
    associations: tuple[Association, ...] = field(default=())
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()  # extra metadata slots: (name, values), in order


Action = Literal["", "C", "D"]
"""The XDM extra metadata `action`: first sending, replacement (change), deletion."""
