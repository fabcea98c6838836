"""From a transmission to an order for the DMP (volet Transmission 2.1, `mapping.md`): metadata, VIHF values, gates.

Pure. An order is made anew at each attempt: the submission set's uniqueId comes from the exchange and stays the same,
its time and the VIHF are those of the attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from attrs import evolve, field, frozen

from pfiflow.cda import document as cda
from pfiflow.cda.values import ClinicalDocument
from pfiflow.dmp import gates
from pfiflow.dmp.directory import Directory, person_key
from pfiflow.dmp.gates import GateOptions
from pfiflow.dmp.values import Action, Feeding
from pfiflow.dmp.vihf import AUTOMATE, UNSPECIFIED, Software, Vihf
from pfiflow.errors import Problem, Rejected
from pfiflow.segur import values
from pfiflow.segur.recipients import dmp_refusal
from pfiflow.segur.sending import submission_author, submission_unique_id
from pfiflow.segur.values import Transmission
from pfiflow.xds import from_cda, imaging
from pfiflow.xds.composite import cx
from pfiflow.xds.metadata import DocumentEntry

__all__ = ["FeedingOptions", "feeding"]

_ACTIONS: Mapping[values.Action, Action] = MappingProxyType(
    {values.Action.NEW: "new", values.Action.REPLACE: "replace", values.Action.DELETE: "delete"}
)
_HIDDEN = (
    ("hidden_from_professionals", "MASQUE_PS"),
    ("hidden_from_patient", "INVISIBLE_PATIENT"),
    ("hidden_from_representatives", "INVISIBLE_REPRESENTANTS_LEGAUX"),
)
# Symbolic ids, as the DMP's own samples have them: the registry gives the real ones (dmp-details §3.8).
_DOCUMENT: Final = "Document01"
_SUBMISSION: Final = "SubmissionSet01"


@frozen
class FeedingOptions:
    """What the message does not say.

    Attributes:
        source_id: OID of this PFI: SubmissionSet.sourceId.
        software: the product, for the VIHF.
        directory: roles by professional, sectors by structure.
        sector: of a structure that the directory does not know (`SA01^1.2.250.1.71.4.2.4`); "" refuses its documents.
        responsible: NameID when the message names no person: who is responsible for automatic sending, as
            `<structure>/<id>`.
        automaton: subject-id of such a sending: `software, model, service`.
        authentication: AuthnContextClassRef: how the user has logged in to the source system.
        vihf_version: VIHF_Version.
        gates: settings of the gates.
        imaging_schemes: codingScheme of modality and region codes by qualifier (`xds.imaging`).
        test_platform: test INS authorities count.
    """

    source_id: str
    software: Software
    directory: Directory = field(default=Directory(), repr=False)
    sector: str = ""
    responsible: str = ""
    automaton: str = ""
    authentication: str = UNSPECIFIED
    vihf_version: str = "3.0"
    gates: GateOptions = GateOptions()
    imaging_schemes: Mapping[str, str] = imaging.CODE_SYSTEMS
    test_platform: bool = False


def _read_document(transmission: Transmission) -> ClinicalDocument:
    return cda.read(transmission.document)


def feeding(
    transmission: Transmission,
    options: FeedingOptions,
    *,
    exchange_id: str,
    now: datetime,
    read: Callable[[Transmission], ClinicalDocument] = _read_document,
) -> Feeding:
    """The order that a transmission gives.

    Args:
        transmission: whose DMP flag is set.
        options: the settings.
        exchange_id: of the exchange: the submission set's uniqueId derives from it.
        now: the time of this attempt, aware.
        read: gives what the document says, by default from its bytes.

    Raises:
        Rejected: with every reason why it must not leave: no qualified INS, authorship, metadata outside the DMP's
            value sets, confidentiality.
    """
    document = read(transmission)
    action = _ACTIONS[transmission.action]
    refusal = dmp_refusal(transmission, test_platform=options.test_platform)
    problems = [refusal] if refusal else []
    parent = _parent(transmission, document) if action == "replace" else ""
    if action == "replace" and not parent:
        message = "a replacement needs the id of the document that it replaces (TXA-13 or relatedDocument RPLC)"
        problems.append(Problem("101", message, "TXA-13", rule="volet Transmission 2.1"))
    try:
        entry = _entry(transmission, document, options)
    except Rejected as rejection:
        raise Rejected(*problems, *rejection.problems) from None
    vihf = _vihf(transmission, entry, options)
    submission = from_cda.submission_set(
        (entry,),
        unique_id=submission_unique_id(f"{exchange_id}/dmp"),
        source_id=options.source_id,
        submission_time=now,
        content_type=from_cda.content_type_of(transmission.patient_class),
        author=submission_author(transmission.sender),
        entry_uuid=_SUBMISSION,
    )
    if action == "delete":
        problems += gates.check_authorship(entry, vihf, options.gates)
        submission = evolve(submission, entries=())
    problems += gates.check(submission, vihf, now=now, options=options.gates)
    if any(problem.severity == "error" for problem in problems):
        raise Rejected(*problems)
    return Feeding(
        action=action,
        submission=submission,
        document=b"" if action == "delete" else document.raw,
        unique_id=document.id.unique_id,
        parent_unique_id=parent,
        type_code=document.code.code,
        vihf=vihf,
        warnings=tuple(problems),
    )


def _parent(transmission: Transmission, document: ClinicalDocument) -> str:
    parent = document.replaces or transmission.parent_id
    return parent.unique_id if parent else ""


def _entry(transmission: Transmission, document: ClinicalDocument, options: FeedingOptions) -> DocumentEntry:
    """The document's entry. A deletion sends none: what the DMP has taken once may leave it, whatever its metadata."""
    deletes = transmission.action is values.Action.DELETE
    return from_cda.document_entry(
        document,
        target="xdm" if deletes else "dmp",
        entry_uuid=_DOCUMENT,
        hidden=tuple(code for name, code in _HIDDEN if getattr(transmission.visibility, name)),
        test_platform=options.test_platform,
        imaging_schemes=options.imaging_schemes,
    )


def _vihf(transmission: Transmission, entry: DocumentEntry, options: FeedingOptions) -> Vihf:
    """Who sends, from the PRT "SB"; for a professional who is not in the directory, the role of an automaton."""
    sender = transmission.sender or values.Participation("SB")
    structure = gates.authoring_structure(sender.organization_id, entry, options.gates.correspondence)
    sector = options.directory.sector(sender.organization_id) or options.directory.sector(structure, options.sector)
    ins = transmission.patient.ins(test_platform=options.test_platform)
    person = sender.person_id
    return Vihf(
        structure=structure,
        sector=sector,
        name_id=person_key(person) if person else options.responsible,
        subject=f"{sender.person_family} {sender.person_given}".strip() or options.automaton,
        patient_id=cx(ins.id, ins.authority, "NH") if ins else "",
        software=options.software,
        roles=options.directory.roles(person) if person else (AUTOMATE,),
        secret_connection=transmission.visibility.secret_connection,
        authentication=options.authentication,
        version=options.vihf_version,
    )
