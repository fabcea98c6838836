"""The DMP simulator's rules on metadata: what a submission must say, in which words (dmp-details §3; ITI TF-3 §4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from attrs import frozen
from lxml import etree

from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS
from pfiflow.dmp import xades
from pfiflow.dmp.answers import XdsError
from pfiflow.dmp.gates import institutions, is_minor
from pfiflow.dmp.vihf import Vihf
from pfiflow.simulators.dmp_registry import RPLC
from pfiflow.terminology import Terminology
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry, SubmissionSet
from pfiflow.xds.times import utc

__all__ = ["Metadata", "check_associations", "check_entries", "check_set", "is_signature", "read_associations"]

SKEW: Final = timedelta(minutes=5)

_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_UNIQUE_ID: Final = re.compile(r"(?=.{1,128}\Z)[0-2](\.(0|[1-9][0-9]*))+(\^[^\^]{1,64})?")
_DTM: Final = re.compile(r"[0-9]{4}([0-9]{2}){0,5}")
_LANGUAGE: Final = re.compile(r"[a-z]{2}-[A-Z]{2}")
_HASH: Final = re.compile(r"[0-9a-f]{40}")
_PATIENT: Final = re.compile(r"[^\^&]{15}\^\^\^&([0-9.]+)&ISO\^NH")
_SOURCE_PATIENT: Final = re.compile(r"[^\^&]+\^\^\^&[0-9.]+&ISO\^(PI|NH)")
_MIME_TYPES: Final = frozenset({"text/xml", "application/xslt+xml", "application/dicom"})
_NORMAL: Final = "2.16.840.1.113883.5.25"

_CODED: Final[tuple[tuple[str, str, str], ...]] = (
    ("class_code", "classCode", "JDV_J57"),
    ("type_code", "typeCode", "JDV_J66"),
    ("format_code", "formatCode", "JDV_J60"),
    ("healthcare_facility_type_code", "healthcareFacilityTypeCode", "JDV_J61"),
    ("practice_setting_code", "practiceSettingCode", "JDV_J04"),  # JDV_J62 is not public
)

_FORMS: Final[Mapping[str, tuple[str, re.Pattern[str]]]] = MappingProxyType(
    {
        "unique_id": ("uniqueId", _UNIQUE_ID),
        "patient_id": ("patientId", _PATIENT),
        "source_patient_id": ("sourcePatientId", _SOURCE_PATIENT),
        "creation_time": ("creationTime", _DTM),
        "service_start_time": ("serviceStartTime", _DTM),
        "hash": ("hash", _HASH),
    }
)
"""Attribute of `DocumentEntry` → its XDS name and the form that its mandatory value has."""


@frozen
class Metadata:
    """One request's metadata, and who checks them.

    `code` is the error code of a rule that has none of its own: `XDSRepositoryMetadataError` in ITI-41,
    `XDSRegistryMetadataError` in ITI-57.
    """

    submission: SubmissionSet
    vihf: Vihf
    code: str
    tables: Terminology
    now: datetime
    hidden_from_all: bool = False
    signature_required: bool = True

    def error(self, rule: str, message: str, location: str, code: str = "") -> XdsError:
        """A rule broken."""
        return XdsError(code or self.code, f"{rule}: {message}", location)


def read_associations(request: etree._Element) -> tuple[Association, ...]:
    """Every association of a SubmitObjectsRequest, HasMember included, which the reader of metadata leaves out."""
    return tuple(
        Association(
            element.get("associationType", ""),
            element.get("sourceObject", ""),
            element.get("targetObject", ""),
            tuple(
                (slot.get("name", ""), tuple((value.text or "").strip() for value in slot.iter(f"{{{v.RIM}}}Value")))
                for slot in element.iterfind(f"{{{v.RIM}}}Slot")
            ),
        )
        for element in request.iter(f"{{{v.RIM}}}Association")
    )


def is_signature(entry: DocumentEntry) -> bool:
    """Whether the entry is the signature of the submission, by its typeCode."""
    return entry.type_code.code == xades.TYPE.code


def check_set(metadata: Metadata) -> Iterator[XdsError]:
    """The submission set's own attributes (dmp-details §3.2), and whose it is."""
    submission, error = metadata.submission, metadata.error
    where = "SubmissionSet"
    for name, value, form in (
        ("uniqueId", submission.unique_id, _OID),
        ("sourceId", submission.source_id, _OID),
        ("submissionTime", submission.submission_time, re.compile("[0-9]{14}")),
    ):
        if not form.fullmatch(value):
            yield error("ITI TF-3 4.2.3.3", f"{name} is missing or not in its form", f"{where}.{name}")
    if not _is_ins(submission.patient_id):
        yield error("ITI TF-3 4.2.3.3", "patientId is missing or is no INS in CX form", f"{where}.patientId")
    if submission.submission_time > utc(metadata.now + SKEW):
        yield error("EX_GEN-1460", "submissionTime is in the future", f"{where}.submissionTime")
    yield from _coded(metadata, submission.content_type_code, "contentTypeCode", "JDV_J59", f"{where}.contentTypeCode")
    if len(submission.authors) != 1:
        yield error("PDSM", "a submission set has exactly one author", f"{where}.author")
    for author in submission.authors:
        yield from _author(metadata, author, f"{where}.author")
    if submission.patient_id != metadata.vihf.patient_id:
        message = "the VIHF's resource-id is not the submission's patientId"
        yield error("VIHF resource-id", message, f"{where}.patientId", "XDSPatientIdDoesNotMatch")


def check_entries(metadata: Metadata) -> Iterator[XdsError]:
    """Every document entry (dmp-details §3.3 to §3.6, §3.10)."""
    entries = metadata.submission.entries
    documents = [entry for entry in entries if not is_signature(entry)]
    signatures = [entry for entry in entries if is_signature(entry)]
    if not documents:
        yield metadata.error("TD2.1", "no document is submitted", "RegistryObjectList")
    if len(signatures) > 1 or (metadata.signature_required and not signatures):
        message = f"a submission has one signature document, not {len(signatures)}"
        yield metadata.error("TD2.1 submission signature", message, "RegistryObjectList")
    for number, entry in enumerate(entries, 1):
        where = f"DocumentEntry[{number}]"
        yield from _common(metadata, entry, where)
        if entry in documents:
            yield from _document(metadata, entry, where)
        else:
            yield from _signature(metadata, entry, where)
    for what, values in (
        ("uniqueId", [metadata.submission.unique_id, *(entry.unique_id for entry in entries)]),
        ("id", [metadata.submission.entry_uuid, *(entry.entry_uuid for entry in entries)]),
    ):
        if len(set(values)) != len(values):
            message = f"the same {what} is given to two objects of the request"
            yield metadata.error("ITI TF-3 4.2.4", message, what, "XDSRepositoryDuplicateUniqueIdInMessage")


def check_associations(metadata: Metadata, associations: tuple[Association, ...]) -> Iterator[XdsError]:
    """Associations of ITI-41: HasMember for each entry, `signs`, RPLC, and no other."""
    submission, error = metadata.submission, metadata.error
    signatures = {entry.entry_uuid for entry in submission.entries if is_signature(entry)}
    ids = {entry.entry_uuid for entry in submission.entries}
    members = [each for each in associations if each.type == v.HAS_MEMBER]
    for entry in submission.entries:
        mine = [each for each in members if each.target == entry.entry_uuid]
        if len(mine) != 1 or mine[0].source != submission.entry_uuid:
            yield error("ITI TF-3 4.2.1.4", "each entry is HasMember of the submission set, once", "Association")
        elif dict(mine[0].slots).get("SubmissionSetStatus") != ("Original",):
            message = "the HasMember of a new entry has SubmissionSetStatus Original"
            yield error("ITI TF-3 4.2.1.4", message, "Association/SubmissionSetStatus")
    if any(each.target not in ids for each in members):
        message = "a HasMember names no entry of the request"
        yield error("ITI TF-3 4.2.1.4", message, "Association/@targetObject", "UnresolvedReferenceException")
    signs = [each for each in associations if each.type == xades.SIGNS]
    for identifier in signatures:
        if [(each.source, each.target) for each in signs] != [(identifier, submission.entry_uuid)]:
            yield error("TD2.1 submission signature", "the signature `signs` the submission set, once", "Association")
    if signs and not signatures:
        yield error("TD2.1 submission signature", "a `signs` association without signature", "Association")
    replacements = [each for each in associations if each.type == RPLC]
    if len({each.source for each in replacements}) != len(replacements):
        yield error("TD2.1b", "an entry replaces one other at most", "Association")
    if len({each.target for each in replacements}) != len(replacements):
        yield error("TD2.1b", "an entry is replaced once", "Association")
    for each in replacements:
        if each.source not in ids - signatures:
            yield error("TD2.1b", "the source of RPLC is a document of the request", "Association/@sourceObject")
    known = {v.HAS_MEMBER, xades.SIGNS, RPLC}
    for kind in sorted({each.type for each in associations} - known):
        yield error("TD2.1", f"association type {kind[-60:]} is not accepted here", "Association/@associationType")


# -- attributes ------------------------------------------------------------------------------------------------------


def _common(metadata: Metadata, entry: DocumentEntry, where: str) -> Iterator[XdsError]:
    error = metadata.error
    for attribute, (name, form) in _FORMS.items():
        if not form.fullmatch(getattr(entry, attribute)):
            yield error("ITI TF-3 4.2.3.2", f"{name} is missing or not in its form", f"{where}.{name}")
    if entry.service_stop_time and not _DTM.fullmatch(entry.service_stop_time):
        yield error("ITI TF-3 4.2.3.2", "serviceStopTime is not in its form", f"{where}.serviceStopTime")
    if not _is_ins(entry.patient_id):
        yield error("ITI TF-3 4.2.3.2", "patientId is no INS", f"{where}.patientId")
    if entry.patient_id != metadata.submission.patient_id:
        message = "the entry's patientId is not the submission set's"
        yield error("ITI TF-3 4.1.4", message, f"{where}.patientId", "XDSPatientIdDoesNotMatch")
    if entry.size < 0:
        yield error("ITI TF-3 4.2.3.2", "size is missing or no number", f"{where}.size")
    if not 1 <= len(entry.title) <= 128:
        yield error("ITI TF-3 4.2.3.2", "title is missing or longer than 128", f"{where}.title")
    if entry.mime_type not in _MIME_TYPES:
        yield error("ITI TF-3 4.2.3.2", "mimeType is none that the DMP takes", f"{where}.mimeType")
    if entry.creation_time > utc(metadata.now + SKEW):
        yield error("EX_GEN-1460", "creationTime is in the future", f"{where}.creationTime")
    if not entry.authors:
        yield error("ITI TF-3 4.2.3.2", "author is missing", f"{where}.author")
    for author in entry.authors:
        yield from _author(metadata, author, f"{where}.author")
    if not _is_person(entry.legal_authenticator):
        yield error("RG_2230", "legalAuthenticator is missing or lacks a name", f"{where}.legalAuthenticator")
    for attribute, name, value_set in _CODED:
        yield from _coded(metadata, getattr(entry, attribute), name, value_set, f"{where}.{name}")
    yield from _confidentiality(metadata, entry, where)
    expected = metadata.tables.class_of(entry.type_code.code, dmp=True)
    if expected is not None and entry.class_code.code != expected.code:
        message = f"class {entry.class_code.code[:40]} is not the one of type {entry.type_code.code[:40]}"
        yield error("ASS_X16", message, f"{where}.classCode")
    for code in entry.event_codes:
        if not (code.code and code.scheme):
            yield error("ITI TF-3 4.2.3.2", "a code of eventCodeList lacks code or scheme", f"{where}.eventCodeList")


def _document(metadata: Metadata, entry: DocumentEntry, where: str) -> Iterator[XdsError]:
    error = metadata.error
    if not _LANGUAGE.fullmatch(entry.language_code):
        yield error("ITI TF-3 4.2.3.2", "languageCode is missing or not in its form", f"{where}.languageCode")
    if metadata.vihf.structure not in institutions(entry):
        message = "Identifiant_Structure of the VIHF is not the authorInstitution of one of the authors"
        yield error("EX_2.1-1140", message, f"{where}.author")
    codes = {code.code for code in entry.confidentiality_codes}
    if not metadata.hidden_from_all and {"MASQUE_PS", "INVISIBLE_PATIENT"} <= codes:
        message = "MASQUE_PS and INVISIBLE_PATIENT together are not allowed by the DMP's parameters"
        yield error("cumul-invisible_patient-masque_ps", message, f"{where}.confidentialityCode")
    told = "INVISIBLE_REPRESENTANTS_LEGAUX" not in codes and is_minor(entry, utc(metadata.now)[:8])
    if metadata.vihf.secret_connection and told:
        message = "a minor's secret connection submits only what legal representatives do not see"
        yield error("EX_0.1-1100", message, f"{where}.confidentialityCode")


def _signature(metadata: Metadata, entry: DocumentEntry, where: str) -> Iterator[XdsError]:
    rule = "TD2.1 submission signature"
    codes = {code.code for code in entry.confidentiality_codes}
    wanted = (
        (entry.language_code == "art", "languageCode is `art`"),
        (entry.mime_type == "text/xml", "mimeType is text/xml"),
        (codes == {"N", "MASQUE_PS", "INVISIBLE_PATIENT"}, "confidentiality is N, MASQUE_PS, INVISIBLE_PATIENT"),
        ([code.code for code in entry.event_codes] == [xades.PURPOSE], "eventCodeList is the purpose of signature"),
        (entry.format_code.code == "http://www.w3.org/2000/09/xmldsig#", "formatCode is XML-DSig"),
    )
    for holds, what in wanted:
        if not holds:
            yield metadata.error(rule, f"the signature's {what}", where)


def _coded(metadata: Metadata, value: CodedValue, name: str, value_set: str, where: str) -> Iterator[XdsError]:
    if not value.code:
        yield metadata.error(value_set, f"{name} is missing", where)
    elif metadata.tables.value_set(value_set).find(value.code, value.scheme) is None:
        message = f"{name} {value.code[:60]} of {value.scheme[:60] or 'no scheme'} is not in the value set"
        yield metadata.error(value_set, message, where)


def _confidentiality(metadata: Metadata, entry: DocumentEntry, where: str) -> Iterator[XdsError]:
    where = f"{where}.confidentialityCode"
    codes = entry.confidentiality_codes
    if not 1 <= len(codes) <= 4 or codes[0].scheme != _NORMAL:
        yield metadata.error("JDV_J58", "one to four codes, the first of N, R, V", where)
    if len({code.code for code in codes}) != len(codes):
        yield metadata.error("JDV_J58", "a code is given twice", where)
    for code in codes:
        yield from _coded(metadata, code, "confidentialityCode", "JDV_J58", where)


def _author(metadata: Metadata, author: Author, where: str) -> Iterator[XdsError]:
    if not _is_person(author.person):
        yield metadata.error("RG_2230", "authorPerson lacks its identifier or one of its names", where)


def _is_person(xcn: str) -> bool:
    parts = xcn.split("^")
    return len(parts) > 9 and all(parts[:3])


def _is_ins(patient_id: str) -> bool:
    match = _PATIENT.fullmatch(patient_id)
    return match is not None and match[1] in INS_ROOTS | INS_TEST_ROOTS
