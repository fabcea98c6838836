"""What must hold before anything leaves for the DMP. Values in, problems out: a gate that fails is no crash.

`xds.from_cda.document_entry(target="dmp")` has already refused what one document's metadata lack or hold outside the
DMP's value sets (type in JDV_J66, class, format, facility, setting, INS). Here is what only the whole request shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from attrs import frozen

from pfiflow import terminology
from pfiflow.dmp.directory import structure_key
from pfiflow.dmp.vihf import Vihf
from pfiflow.errors import Problem, Severity
from pfiflow.terminology import Terminology
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet
from pfiflow.xds.times import utc

__all__ = ["GateOptions", "authoring_structure", "check", "check_authorship", "institutions", "is_minor"]

_CUMULATION: Final = "DMP parameter cumul-invisible_patient-masque_ps"
_AUTHORSHIP: Final = "EX_2.1-1140"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@frozen
class GateOptions:
    """Settings of the gates.

    Attributes:
        correspondence: structure (EG) → the structure (EJ) that it belongs to, as FINESS or Struct_IdNat: a sender's
            structure and an author's are the same establishment when one maps to the other, or both to a third.
        hidden_from_all: allow INVISIBLE_PATIENT together with MASQUE_PS, once the DMP's parameter does.
    """

    correspondence: Mapping[str, str] = _NONE
    hidden_from_all: bool = False


def check(
    submission: SubmissionSet,
    vihf: Vihf,
    *,
    now: datetime,
    missing_for_qualification: tuple[str, ...] = (),
    options: GateOptions = GateOptions(),
    tables: Terminology | None = None,
) -> tuple[Problem, ...]:
    """Every reason not to send this submission (without its signature document); () when it may leave.

    Args:
        submission: with its entries; for a deletion, with none: their rules then do not apply.
        vihf: the values that will be signed.
        now: when the request is made.
        missing_for_qualification: what keeps the INS from being qualified, as HL7 fields
            (`PatientIdentity.missing_for_qualification`).
        options: the settings.
        tables: the value sets; the shipped ones by default.
    """
    tables = tables or terminology.default()
    return (
        *_identity(submission, vihf, missing_for_qualification),
        *vihf.problems(),
        *_sector(vihf, tables),
        *(problem for entry in submission.entries for problem in _authorship(entry, vihf, options)),
        *(
            problem
            for entry in submission.entries
            for problem in _confidentiality(entry, vihf, options, tables, utc(now)[:8])
        ),
        *_times(submission, now),
    )


def authoring_structure(structure: str, entry: DocumentEntry, correspondence: Mapping[str, str] = _NONE) -> str:
    """The Struct_IdNat that the VIHF should carry: that of the author's institution which is the sender's structure.

    The DMP compares the two character by character, so where they are the same establishment by `correspondence`, the
    author's form goes into the VIHF. Without a match, the sender's own.
    """
    own = structure_key(structure)
    group = _group(own, correspondence)
    theirs = institutions(entry)
    exact = next((each for each in theirs if structure_key(each) == own), "")
    return exact or next((each for each in theirs if _group(structure_key(each), correspondence) == group), own)


def institutions(entry: DocumentEntry) -> tuple[str, ...]:
    """The identifiers (XON-10) of the authors' institutions, in their order."""
    found = (author.institution.split("^") for author in entry.authors if author.institution)
    return tuple(dict.fromkeys(parts[9] for parts in found if len(parts) > 9 and parts[9]))


def _group(key: str, correspondence: Mapping[str, str]) -> str:
    by_key = {structure_key(one): structure_key(other) for one, other in correspondence.items()}
    return by_key.get(key, key)


def _identity(submission: SubmissionSet, vihf: Vihf, missing: tuple[str, ...]) -> Iterator[Problem]:
    rule = "volet Transmission 2.1: the DMP needs a qualified INS"
    if missing:
        message = f"the INS is not qualified, the message lacks {', '.join(missing)}; nothing of it goes to the DMP"
        yield Problem("207", message, "PID-3", rule=rule, detail_code="903")
    if not submission.patient_id.endswith("^NH"):
        message = "the patient is not identified by an INS; nothing goes to the DMP without one"
        yield Problem("101", message, "SubmissionSet.patientId", rule=rule, detail_code="903")
    elif submission.patient_id != vihf.patient_id:
        message = "the VIHF's resource-id and the submission's patientId are not the same patient"
        yield Problem("207", message, "VIHF/resource-id", rule="XDSPatientIdDoesNotMatch", detail_code="904")


def _sector(vihf: Vihf, tables: Terminology) -> Iterator[Problem]:
    code = vihf.sector.partition("^")[0]
    if code and tables.value_set("JDV_J61").find(code) is None:
        message = f"sector {code} is not in JDV_J61; correct the directory of structures"
        yield Problem("103", message, "VIHF/Secteur_Activite", rule="volet Transmission 2.1, VIHF")


def _authorship(entry: DocumentEntry, vihf: Vihf, options: GateOptions) -> Iterator[Problem]:
    theirs = institutions(entry)
    if vihf.structure in theirs:
        return
    same = authoring_structure(vihf.structure, entry, options.correspondence)
    if same in theirs:
        message = f"the VIHF says structure {vihf.structure}, the document's author {same}: same place, other form"
        advice = "sign with the author's form"
    elif theirs:
        message = f"the VIHF says structure {vihf.structure}, the document's authors {_some(theirs)}"
        advice = "the DMP refuses it; correct PRT-8.10 or the document, or map one to the other in `correspondence`"
    else:
        message = f"the VIHF says structure {vihf.structure}, while no author of the document has a structure"
        advice = "the DMP takes a document only from its author's structure; correct the document"
    location = "/ClinicalDocument/author/assignedAuthor/representedOrganization/id"
    yield Problem("207", f"{message}; {advice}", location, rule=_AUTHORSHIP)


def _some(identifiers: tuple[str, ...]) -> str:
    return ", ".join(identifiers[:5]) + (" …" if len(identifiers) > 5 else "")


def check_authorship(entry: DocumentEntry, vihf: Vihf, options: GateOptions = GateOptions()) -> tuple[Problem, ...]:
    """The authorship rule alone: what a deletion, whose submission has no entry, must satisfy too."""
    return tuple(_authorship(entry, vihf, options))


def _confidentiality(
    entry: DocumentEntry, vihf: Vihf, options: GateOptions, tables: Terminology, today: str
) -> Iterator[Problem]:
    codes = {code.code for code in entry.confidentiality_codes}
    known = tables.value_set("JDV_J58")
    for code in sorted(codes):
        if known.find(code) is None:
            message = f"confidentialityCode {code} is not in JDV_J58; correct it"
            yield Problem(
                "103", message, "/ClinicalDocument/confidentialityCode", rule="volet Transmission 2.1, JDV_J58"
            )
    if not options.hidden_from_all and {"INVISIBLE_PATIENT", "MASQUE_PS"} <= codes:
        message = (
            "the document is hidden from the patient and from professionals at once, which the DMP refuses while its "
            "parameter forbids it; drop one of the two, or set `hidden_from_all`"
        )
        yield Problem("207", message, "OBX (MetaDMPMSS)", rule=_CUMULATION)
    if vihf.secret_connection and "INVISIBLE_REPRESENTANTS_LEGAUX" not in codes:
        message = (
            "a secret connection is for a minor's documents that legal representatives do not see: "
            "set INVISIBLE_REP_LEGAUX too, or drop CONNEXION_SECRETE"
        )
        # The official messages ask for one for an adult, without that code: pointless, but nobody is told a secret.
        severity: Severity = "error" if is_minor(entry, today) else "warning"
        yield Problem("207", message, "OBX (MetaDMPMSS)", severity, rule="EX_0.1-1100")


def is_minor(entry: DocumentEntry, today: str) -> bool:
    """Under 18 at `today` (yyyymmdd); an unknown birth date counts as a minor's."""
    born = next((line.removeprefix("PID-7|") for line in entry.source_patient_info if line.startswith("PID-7|")), "")
    return not (len(born) >= 8 and born[:8].isdecimal()) or int(today) - int(born[:8]) < 18_00_00


def _times(submission: SubmissionSet, now: datetime) -> Iterator[Problem]:
    """A document made after its submission: a clock is wrong somewhere. The DMP orders these times (EX_GEN-1460)."""
    limit = min(utc(now), submission.submission_time) if submission.submission_time else utc(now)
    for entry in _later(submission.entries, limit):
        message = f"the document's creation time {entry.creation_time} is later than its submission: check the clocks"
        yield Problem("207", message, "/ClinicalDocument/effectiveTime", "warning", rule="EX_GEN-1460")


def _later(entries: Iterable[DocumentEntry], limit: str) -> Iterator[DocumentEntry]:
    for entry in entries:
        digits = entry.creation_time
        if len(digits) >= 8 and digits[:14] > limit[: len(digits)]:
            yield entry
