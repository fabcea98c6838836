"""XDS metadata from a CDA header (CI-SIS volet "Transmission" 2.1, `mapping.md`; forms from PDSM and volet "Partage").

Two targets. `dmp`: what the volet requires must be there and in the DMP's value sets, or the document is Rejected with
every reason at once. `xdm`: ITI-32 makes most attributes "required if known" (ITI TF-3 table 4.3.1-3, column XDM MC),
so an unknown one is left out; only `formatCode` has a fallback that a text names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal
from uuid import UUID, uuid5

from pfiflow import terminology
from pfiflow.cda.values import ClinicalDocument, Code, Patient
from pfiflow.errors import Problem, Rejected
from pfiflow.terminology import Concept, Terminology
from pfiflow.xds import imaging
from pfiflow.xds.authors import document_author, legal_authenticator
from pfiflow.xds.composite import cx, fit, one_line
from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry, SubmissionSet
from pfiflow.xds.times import PARIS, dtm, utc

__all__ = [
    "FORMAT_OUTSIDE_PROFILES",
    "HIDDEN",
    "Target",
    "content_type_of",
    "document_entry",
    "entry_uuid_of",
    "replacement",
    "submission_set",
]

Target = Literal["xdm", "dmp"]

VOLET: Final = "volet Transmission 2.1, mapping XDS"

FORMAT_OUTSIDE_PROFILES = CodedValue(
    "urn:asipSante:modelesHorsProfils:2011", "1.2.250.1.213.1.1.4.2.282", "Document non référencé IHE ou CI-SIS"
)
"""The format of a document that follows no known model (JDV_J60): used for XDM only, when no template is known."""

_HIDDEN_SCHEME: Final = "1.2.250.1.213.1.1.4.13"
HIDDEN: Mapping[str, CodedValue] = MappingProxyType(
    {
        "MASQUE_PS": CodedValue("MASQUE_PS", _HIDDEN_SCHEME, "Masqué aux professionnels de santé"),
        "INVISIBLE_PATIENT": CodedValue("INVISIBLE_PATIENT", _HIDDEN_SCHEME, "Non visible par le patient"),
        "INVISIBLE_REPRESENTANTS_LEGAUX": CodedValue(
            "INVISIBLE_REPRESENTANTS_LEGAUX", _HIDDEN_SCHEME, "Non visible par les représentants légaux du patient"
        ),
        # The HL7v2 table (MetaDMPMSS) spells it otherwise.
        "INVISIBLE_REP_LEGAUX": CodedValue(
            "INVISIBLE_REPRESENTANTS_LEGAUX", _HIDDEN_SCHEME, "Non visible par les représentants légaux du patient"
        ),
    }
)
"""Visibility restrictions as confidentialityCode (JDV_J58), by XDS or HL7v2 name."""

_ACTIVITY: Final = "1.2.250.1.213.2.2"  # TRE_R209-TypeActivite
_CONTENT_TYPES: Mapping[str, CodedValue] = MappingProxyType(
    {
        "I": CodedValue("03", _ACTIVITY, "Hospitalisation complète (non compris hospitalisation de semaine)"),
        "O": CodedValue("07", _ACTIVITY, "Consultations soins externes"),
        "R": CodedValue("19", _ACTIVITY, "Traitement et cure ambulatoire"),
        "N": CodedValue("97", _ACTIVITY, "Type d'activité indifférencié"),
        "E": CodedValue("07", _ACTIVITY, "Consultations soins externes"),  # "?" in the volet
    }
)

_LONGEST_TITLE: Final = 128  # ITI TF-3 §4.2.3.2.25
_GENDERS: Mapping[str, str] = MappingProxyType({"M": "M", "F": "F", "U": "U", "UN": "O"})
_OURS: Final = UUID("5d2b5c56-6a0c-5d0f-9b0a-6f1f6a3f5b7e")  # the namespace of the ids that pfiflow derives
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_NOTHING: Final = CodedValue("", "")


def document_entry(
    document: ClinicalDocument,
    *,
    target: Target,
    entry_uuid: str,
    hidden: tuple[str, ...] = (),
    uri: str = "",
    test_platform: bool = False,
    time_zone: str = PARIS,
    imaging_schemes: Mapping[str, str] = imaging.CODE_SYSTEMS,
    tables: Terminology | None = None,
) -> DocumentEntry:
    """The DocumentEntry of one CDA.

    Args:
        document: the header facts and the exact bytes that will travel: `hash` and `size` are theirs.
        target: whose value sets and obligations apply.
        entry_uuid: `urn:uuid:…` (see `entry_uuid_of`) or a symbolic id.
        hidden: keys of `HIDDEN` that apply, in the order wanted.
        uri: XDM: the file name beside METADATA.XML; `pfiflow.xdm.pack` fills it in when it is "".
        test_platform: a test INS counts as an INS.
        time_zone: of times written without offset; "" keeps the digits as written (see `times.dtm`).
        imaging_schemes: codingScheme of modality and region codes by qualifier (see `imaging`).
        tables: the value sets; the shipped ones by default.

    Raises:
        Rejected: target `dmp` only: every attribute that is missing or outside its value set, each with its XPath.
    """
    tables = tables or terminology.default()
    patient_id = _patient_id(document.patient, test_platform=test_platform)
    event = document.service_events[0] if document.service_events else None
    performer = event.performer.organization if event and event.performer else None
    class_ = tables.class_of(document.code.code, dmp=target == "dmp")
    is_imaging = class_ is not None and class_.code == imaging.CLASS
    entry = DocumentEntry(
        entry_uuid=entry_uuid,
        unique_id=document.id.unique_id,
        patient_id=patient_id,
        class_code=_coded(class_),
        type_code=_coded(document.code, tables.value_set("JDV_J07").find(document.code.code)),
        format_code=_format(document, tables, target),
        healthcare_facility_type_code=_coded(document.encounter.facility_type if document.encounter else None),
        practice_setting_code=_coded(performer.practice_setting if performer else None),
        confidentiality_codes=_confidentiality(document.confidentiality, hidden),
        creation_time=dtm(document.effective_time, time_zone=time_zone),
        language_code=document.language,
        mime_type="application/xslt+xml" if _presents_itself(document.raw) else "text/xml",
        title=one_line(document.title)[:_LONGEST_TITLE],
        hash=hashlib.sha1(document.raw, usedforsecurity=False).hexdigest(),
        size=len(document.raw),
        source_patient_id=_source_patient_id(document.patient, patient_id),
        source_patient_info=tuple(_source_patient_info(document.patient)),
        authors=tuple(document_author(author) for author in document.authors),
        legal_authenticator=legal_authenticator(document.legal_authenticator),
        service_start_time=dtm(event.start, time_zone=time_zone) if event else "",
        service_stop_time=dtm(event.stop, time_zone=time_zone) if event else "",
        event_codes=tuple(imaging.event_codes(document, imaging_schemes)),
        reference_ids=tuple(imaging.reference_ids(document)) if is_imaging else (),
        uri=uri,
    )
    if target == "dmp" and (problems := tuple(_dmp_problems(entry, document.patient, tables, test_platform))):
        raise Rejected(*problems)
    return entry


def submission_set(
    entries: Sequence[DocumentEntry],
    *,
    unique_id: str,
    source_id: str,
    submission_time: datetime,
    content_type: CodedValue,
    author: Author,
    patient_id: str = "",
    title: str = "",
    intended_recipients: tuple[str, ...] = (),
    associations: tuple[Association, ...] = (),
    extra: tuple[tuple[str, tuple[str, ...]], ...] = (),
    entry_uuid: str = "",
) -> SubmissionSet:
    """The SubmissionSet of one sending.

    `unique_id` is an OID, the same on every attempt of the same sending (`XDSDuplicateUniqueIdInRegistry` then means
    "already fed"); `source_id` the OID of the emitting system. `submission_time` is aware: a naive one raises
    ValueError. `author` is the sender (`authors.author_of`), not the CDA's author. By default `patient_id` (CX) is that
    of the entries, and `entry_uuid` derives from `unique_id`.

    Raises:
        Rejected: the entries speak of several patients (REM ECO.2.1.1: one patient a mail).
    """
    patients = {entry.patient_id for entry in entries if entry.patient_id} | ({patient_id} if patient_id else set())
    if len(patients) > 1:
        raise Rejected(
            Problem(
                "207",
                f"the submission holds documents of {len(patients)} patients; send one submission a patient",
                location="SubmissionSet.patientId",
                rule="REM ECO.2.1.1; ITI TF-3 §4.1.4",
            )
        )
    return SubmissionSet(
        entry_uuid=entry_uuid or entry_uuid_of(f"submission {unique_id}"),
        unique_id=unique_id,
        source_id=source_id,
        patient_id=next(iter(patients), ""),
        submission_time=utc(submission_time),
        content_type_code=content_type,
        authors=(author,),
        title=one_line(title)[:_LONGEST_TITLE],
        intended_recipients=intended_recipients,
        entries=tuple(entries),
        associations=associations,
        extra=extra,
    )


def content_type_of(patient_class: str) -> CodedValue:
    """The contentTypeCode (JDV_J59) of a PV1-2; a class that the volet does not map is "97", undifferentiated."""
    return _CONTENT_TYPES.get(patient_class.strip().upper(), _CONTENT_TYPES["N"])


def entry_uuid_of(unique_id: str) -> str:
    """An entryUUID derived from a document's uniqueId: the same on every attempt, and known again at replacement."""
    return f"urn:uuid:{uuid5(_OURS, unique_id)}"


def replacement(entry_uuid: str, *, replaced_entry_uuid: str = "", replaced_unique_id: str = "") -> Association:
    """The RPLC association: `entry_uuid` replaces another entry (ITI TF-3 §4.2.2.2).

    The target is the replaced **entryUUID**. The CDA carries only the uniqueId of what it replaces: for the DMP, ask
    the registry (ITI-18); for XDM, where entry ids are ours, `entry_uuid_of(replaced uniqueId)` is the id that the
    first archive carried. When neither is known, the uniqueId itself is the target: `urn:oid:<root>` for a bare OID,
    which is a URN as the attribute wants it, anything else as it stands.
    """
    if not (target := replaced_entry_uuid):
        if not replaced_unique_id:
            raise ValueError("a replacement needs the entryUUID or the uniqueId of what it replaces")
        target = f"urn:oid:{replaced_unique_id}" if _OID.fullmatch(replaced_unique_id) else replaced_unique_id
    return Association("urn:ihe:iti:2007:AssociationType:RPLC", entry_uuid, target)


# -- attributes ------------------------------------------------------------------------------------------------------


def _coded(code: Code | Concept | None, known: Concept | None = None) -> CodedValue:
    """A coded attribute; the display name that the document does not give comes from the value set."""
    if code is None or not code.code:
        return _NOTHING
    display = code.display or (known.display if known else "")
    return CodedValue(one_line(code.code), one_line(code.system or (known.system if known else "")), one_line(display))


def _format(document: ClinicalDocument, tables: Terminology, target: Target) -> CodedValue:
    known = (
        tables.format_of_media_type(document.media_type)
        if document.level == "N1"
        else tables.format_of_template(document.template_ids)
    )
    if known is None and target == "xdm":
        return FORMAT_OUTSIDE_PROFILES
    return _coded(known)


def _confidentiality(code: Code, hidden: Iterable[str]) -> tuple[CodedValue, ...]:
    unknown = [name for name in hidden if name not in HIDDEN]
    if unknown:
        raise ValueError(f"unknown visibility restriction {unknown[0]!r}; known: {', '.join(HIDDEN)}")
    codes = [_coded(code), *(HIDDEN[name] for name in hidden)]
    return tuple(dict.fromkeys(code for code in codes if code.code))


def _patient_id(patient: Patient, *, test_platform: bool) -> str:
    if ins := patient.ins(test_platform=test_platform):
        return cx(ins.extension, ins.root, "NH")
    # Only XDM gets here in the end: the DMP refuses. A mail to a professional needs no INS.
    local = patient.local_id()
    return cx(local.extension, local.root, "PI") if local else ""


def _source_patient_id(patient: Patient, patient_id: str) -> str:
    local = patient.local_id()
    return cx(local.extension, local.root, "PI") if local else patient_id


def _source_patient_info(patient: Patient) -> Iterator[str]:
    """`PID-5|family^given^^^^^L`, `PID-7|yyyymmdd`, `PID-8|sex`. Name type: L (birth name), else S (name used)."""
    type_ = "L" if patient.birth_family else "S"
    family = patient.birth_family or patient.used_family
    given = patient.first_birth_given or patient.birth_given_names or patient.used_given
    if family or given:
        yield f"PID-5|{fit(family, 120)}^{fit(given, 120)}^^^^^{type_}"
    if birth := dtm(patient.birth_time, time_zone="")[:8]:
        yield f"PID-7|{birth}"
    if gender := _GENDERS.get(patient.gender):
        yield f"PID-8|{gender}"


def _presents_itself(raw: bytes) -> bool:
    """Whether the document element is a style sheet ("CDA auto-présentable"), not ClinicalDocument."""
    at = raw.find(b"<")
    while 0 <= at < len(raw) - 4:
        if raw.startswith(b"<!--", at):
            at = raw.find(b"-->", at)
        elif raw.startswith(b"<?", at):
            at = raw.find(b"?>", at)
        else:
            tag = raw[at + 1 : at + 64].replace(b">", b" ").split(maxsplit=1)
            return bool(tag) and tag[0].rpartition(b":")[2] in {b"stylesheet", b"transform"}
        at = raw.find(b"<", at + 1) if at >= 0 else -1
    return False


# -- what the DMP requires -------------------------------------------------------------------------------------------

_CD: Final = "/ClinicalDocument"
_REQUIRED: Final[tuple[tuple[str, str], ...]] = (
    ("unique_id", "/id"),
    ("creation_time", "/effectiveTime/@value"),
    ("language_code", "/languageCode/@code"),
    ("title", "/title"),
    ("confidentiality_codes", "/confidentialityCode"),
    ("source_patient_id", "/recordTarget/patientRole/id"),
    ("authors", "/author"),
    ("legal_authenticator", "/legalAuthenticator/assignedEntity"),
    ("service_start_time", "/documentationOf[1]/serviceEvent/effectiveTime/low/@value"),
)
_CODED: Final[tuple[tuple[str, str, str], ...]] = (
    ("type_code", "JDV_J66", "/code"),
    ("class_code", "JDV_J57", "/code"),
    ("format_code", "JDV_J60", "/templateId"),
    (
        "healthcare_facility_type_code",
        "JDV_J61",
        "/componentOf/encompassingEncounter/location/healthCareFacility/code",
    ),
    (
        "practice_setting_code",
        "JDV_J04",  # JDV_J62 is the DMP's: not public, J04 is the nearest
        "/documentationOf[1]/serviceEvent/performer/assignedEntity/representedOrganization/standardIndustryClassCode",
    ),
)


def _dmp_problems(
    entry: DocumentEntry, patient: Patient, tables: Terminology, test_platform: bool
) -> Iterator[Problem]:
    if patient.ins(test_platform=test_platform) is None:
        yield _missing("patientId", f"{_CD}/recordTarget/patientRole/id", "an INS; feed the DMP only for a known INS")
    for attribute, path in _REQUIRED:
        if not getattr(entry, attribute):
            yield _missing(attribute, _CD + path, "a usable value")
    for index, author in enumerate(entry.authors, 1):
        family, given = author.person.split("^")[1:3] if author.person else ("", "")
        if not (family and given):
            yield _missing("authorPerson", f"{_CD}/author[{index}]/assignedAuthor", "a name in both parts (RG_2230)")
    for attribute, set_name, path in _CODED:
        value: CodedValue = getattr(entry, attribute)
        if not value.code:
            yield Problem(
                "103",
                f"no {attribute} can be made for the DMP: the document names none, or none that the tables know",
                location=_CD + path,
                rule=f"{VOLET}, {set_name}",
            )
        elif tables.value_set(set_name).find(value.code) is None:
            yield Problem(
                "103",
                f"{attribute} {value.code} is not in {set_name}: the DMP refuses it; send it by MSSanté, or correct it",
                location=_CD + path,
                rule=f"{VOLET}, {set_name}",
            )


def _missing(attribute: str, location: str, wanted: str) -> Problem:
    return Problem("101", f"{attribute} needs {wanted}", location=location, rule=VOLET)
