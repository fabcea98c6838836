"""What a message that was read may do: the destination matrix, and the agreement of message and document.

Each check returns the problems it finds, () when all is well; the caller rejects on an error and journals a warning.
The rules of identity and of recipients have their own modules; their names are here too, so that one import is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Literal

from pfiflow import terminology
from pfiflow.cda.values import ClinicalDocument
from pfiflow.errors import Problem, Severity
from pfiflow.segur.identity import check_identity
from pfiflow.segur.places import flag_location
from pfiflow.segur.recipients import (
    check_recipients,
    dmp_refusal,
    patient_address,
    patient_mail_refusal,
    professional_recipients,
)
from pfiflow.segur.values import Action, Transmission
from pfiflow.terminology import ValueSet

__all__ = [
    "MATRIX",
    "NORMAL_CONFIDENTIALITY",
    "Mode",
    "check_confidentiality",
    "check_destinations",
    "check_document",
    "check_identity",
    "check_processing",
    "check_recipients",
    "check_type",
    "dmp_refusal",
    "patient_address",
    "patient_mail_refusal",
    "professional_recipients",
]

Mode = Literal["lenient", "strict"]

NORMAL_CONFIDENTIALITY = frozenset({"N"})
"""Confidentiality codes that may be shared by default (R restricted and V very restricted may not)."""

MATRIX = MappingProxyType(
    {
        # (DESTMSSANTEPS, DESTMSSANTEPAT): what each of the other flags must be
        (True, True): MappingProxyType({"MASQUE_PS": False, "INVISIBLE_PATIENT": False, "INVISIBLE_REP_LEGAUX": False}),
        (True, False): MappingProxyType({"MASQUE_PS": False, "INVISIBLE_PATIENT": True, "INVISIBLE_REP_LEGAUX": False}),
        (False, True): MappingProxyType({"INVISIBLE_PATIENT": False, "CONNEXION_SECRETE": False, "DESTDMP": False}),
    }
)
"""The volet's table of what may go to MSSanté: a flag that a row does not name is free, any other case an error."""

_RULE = "volet Transmission 2.1, règles de gestion MSSanté"
_PLATFORM = "HL7 2.5/2.6, MSH-11"
_DOCUMENT = "volet Transmission 2.1, TXA and OBR"


def check_destinations(transmission: Transmission, mode: Mode) -> tuple[Problem, ...]:
    """Every refused combination of visibility and destinations (207).

    Both modes: some destination; never to the patient what is hidden from the patient; never to professionals what is
    masked from them (no row of the table lets that pass). `strict`: the table, where MSSanté is a destination at all.
    Hiding from legal representatives concerns the patient's mail alone: `patient_mail_refusal`.
    """
    flags = _flags(transmission)
    to_professionals, to_patient = flags["DESTMSSANTEPS"], flags["DESTMSSANTEPAT"]
    if mode not in {"lenient", "strict"}:
        raise ValueError(f"mode is lenient or strict, not {mode!r}")
    if not (flags["DESTDMP"] or to_professionals or to_patient):
        return (Problem("207", "no destination: DESTDMP, DESTMSSANTEPS and DESTMSSANTEPAT are N", "OBX", rule=_RULE),)
    broken: dict[str, str] = {}
    if to_patient and flags["INVISIBLE_PATIENT"]:
        broken["INVISIBLE_PATIENT"] = "is Y: a document hidden from the patient does not go to the patient"
    if to_professionals and flags["MASQUE_PS"]:
        broken["MASQUE_PS"] = "is Y: a document masked from professionals does not go to professionals"
    if mode == "strict":
        sent = f"DESTMSSANTEPS {_yes(to_professionals)}, DESTMSSANTEPAT {_yes(to_patient)}"
        for code, expected in MATRIX.get((to_professionals, to_patient), {}).items():
            if flags[code] is not expected:
                broken.setdefault(code, f"must be {_yes(expected)} with {sent} (strict table)")
    return tuple(
        Problem("207", f"{code} {why}", flag_location(transmission, code), rule=_RULE) for code, why in broken.items()
    )


def check_processing(transmission: Transmission, *, test_platform: bool) -> tuple[Problem, ...]:
    """A test or debug message (MSH-11 T, D) does not go to real recipients: 202 on a production platform."""
    if test_platform or transmission.processing_id == "P":
        return ()
    message = f"MSH-11 is {transmission.processing_id}: this platform is in production and sends to real recipients"
    return (Problem("202", message, "MSH-11", rule=_PLATFORM),)


def check_confidentiality(
    document: ClinicalDocument, allowed: frozenset[str] = NORMAL_CONFIDENTIALITY
) -> tuple[Problem, ...]:
    """Refuses a document of restricted confidentiality (207): it should not be shared."""
    code = document.confidentiality.code
    if code in allowed:
        return ()
    return (
        Problem(
            "207",
            f"confidentiality {code or 'unknown'} is not to be shared here; allowed: {', '.join(sorted(allowed))}",
            "/ClinicalDocument/confidentialityCode",
            rule='volet Transmission 2.1, DESTDMP, "point d\'attention"',
        ),
    )


def check_document(transmission: Transmission, document: ClinicalDocument) -> tuple[Problem, ...]:
    """Does the message speak of the document that it carries? TXA-12, TXA-13, OBR-4 against the CDA header.

    Errors: another id, another type, a replacement whose document replaces nothing or another one than TXA-13.
    Warnings: another code system for the same type; a replacing document sent as new; TXA-13 differing on a deletion.
    """
    problems: list[Problem] = []

    def found(message: str, location: str, severity: Severity = "error") -> None:
        problems.append(Problem("207", message, location, severity, _DOCUMENT))

    if transmission.document_id is not None and transmission.document_id != document.id:
        found("the document's id in the message is not ClinicalDocument/id", "TXA-12")
    if transmission.type.code != document.code.code:
        found("the type in the message is not ClinicalDocument/code: is it the right document?", "OBR-4")
    elif transmission.type.system != document.code.system:
        found("the coding system in the message is not the one of ClinicalDocument/code", "OBR-4.3", "warning")
    replacing = transmission.action is Action.REPLACE
    if document.replaces is None:
        if replacing:
            message = "a replacement is asked, but the document replaces none (relatedDocument RPLC)"
            found(message, "/ClinicalDocument/relatedDocument")
    else:
        if document.replaces == document.id:
            found("the document replaces itself", "/ClinicalDocument/relatedDocument")
        if transmission.action is Action.NEW:
            message = "the document replaces another, but the message sends it as new"
            found(message, "/ClinicalDocument/relatedDocument", "warning")
        elif transmission.parent_id is not None and transmission.parent_id != document.replaces:
            message = "the replaced document's id is not relatedDocument/parentDocument/id"
            found(message, "TXA-13", "error" if replacing else "warning")
    return tuple(problems)


def check_type(
    transmission: Transmission,
    document: ClinicalDocument,
    value_set: Callable[[str], ValueSet] = terminology.value_set,
) -> tuple[Problem, ...]:
    """The type is in JDV_J07, and in JDV_J66 when the DMP is a destination (103). `value_set` looks a table up by name.

    The document's code is looked up: `check_document` holds it equal to OBR-4.
    """
    names = ("JDV_J07", "JDV_J66") if transmission.destinations.dmp else ("JDV_J07",)
    code = document.code
    return tuple(
        Problem("103", f"the document type is not in {name}", "OBR-4", rule=_DOCUMENT)
        for name in names
        if value_set(name).find(code.code, code.system or None) is None
    )


def _flags(transmission: Transmission) -> dict[str, bool]:
    visibility, destinations = transmission.visibility, transmission.destinations
    return {
        "MASQUE_PS": visibility.hidden_from_professionals,
        "INVISIBLE_PATIENT": visibility.hidden_from_patient,
        "INVISIBLE_REP_LEGAUX": visibility.hidden_from_representatives,
        "CONNEXION_SECRETE": visibility.secret_connection,
        "DESTDMP": destinations.dmp,
        "DESTMSSANTEPS": destinations.professionals,
        "DESTMSSANTEPAT": destinations.patient,
    }


def _yes(flag: bool) -> str:
    return "Y" if flag else "N"
