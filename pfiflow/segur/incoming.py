"""From a received mail to the documents to deliver: the archive opened, each CDA read, its action found.

One mail is about one patient (REM SC.MSS/CONF.23): whatever leaves that in doubt refuses the whole mail. A document
that is missing, damaged or no CDA is refused alone: each is sent, acknowledged and answered about for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from pfiflow import xdm
from pfiflow.cda import document as cda
from pfiflow.cda.values import INS_ROOTS, INS_TEST_ROOTS, ClinicalDocument
from pfiflow.errors import Problem, Rejected
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.segur.values import Action, Visibility
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet

__all__ = ["FaultyDocument", "IncomingDocument", "IncomingMail", "action_of", "open_mail", "visibility_of"]

_ACTIONS: Final = MappingProxyType({"D": Action.DELETE, "C": Action.REPLACE})
_XML: Final = frozenset({"text/xml", "application/xml", "application/xslt+xml", ""})
_INS: Final = INS_ROOTS | INS_TEST_ROOTS
_RULE: Final = "REM SC.MSS/CONF.23"


@frozen(repr=False)
class IncomingDocument:
    """One document of a mail, and what is asked of it.

    Attributes:
        number, count: its place among the documents of the mail, from 1.
        visibility: from the entry's confidentiality codes; `modifies_confidentiality` is not known of an archive.
    """

    document: ClinicalDocument
    entry: DocumentEntry
    submission: SubmissionSet
    action: Action
    visibility: Visibility
    number: int = 1
    count: int = 1

    def __repr__(self) -> str:
        return f"<IncomingDocument {self.number}/{self.count} {self.action.name} of {len(self.document.raw)} bytes>"


@frozen
class FaultyDocument:
    """One document of a mail that cannot be delivered, and why: errors alone, to be told to the sender.

    Attributes:
        number, count: as in `IncomingDocument`.
    """

    problems: tuple[Problem, ...]
    number: int = 1
    count: int = 1


@frozen
class IncomingMail:
    """The documents of a mail, in the order of the archive, and what was tolerated. One at least is deliverable."""

    documents: tuple[IncomingDocument | FaultyDocument, ...]
    warnings: tuple[Problem, ...] = ()

    @property
    def deliverable(self) -> tuple[IncomingDocument, ...]:
        """The documents without those that are faulty."""
        return tuple(each for each in self.documents if isinstance(each, IncomingDocument))

    @property
    def faulty(self) -> tuple[FaultyDocument, ...]:
        """The documents that cannot be delivered."""
        return tuple(each for each in self.documents if isinstance(each, FaultyDocument))


def open_mail(mail: ReceivedMail, *, limits: xdm.Limits | None = None) -> IncomingMail:
    """The documents of an `xdm` mail.

    Raises:
        Rejected: the mail carries no archive, or several; the archive is damaged or hostile as a whole (see
            `xdm.unpack`); the documents are about several patients, or two of them have one id; none is deliverable.
    """
    archive = xdm.unpack(mail.archive().content, limits=limits)
    problems: list[Problem] = [*mail.problems, *archive.warnings]
    found: list[IncomingDocument | FaultyDocument] = []
    for place, (submission, entry) in enumerate(_entries(archive), 1):
        where = f"document[{place}]"  # a file name may hold a patient's
        if entry.mime_type.strip().lower() not in _XML:
            message = f"a document of type {_shown(entry.mime_type)}, no CDA: not delivered"
            problems.append(Problem("207", message, where, severity="warning", rule="REM ECO.2.1.1"))
            continue
        if entry in archive.faults:
            found.append(FaultyDocument(tuple(map(_with_code, archive.faults[entry]))))
            continue
        try:
            document = cda.read(archive.documents[entry])
            action = action_of(document, archive.actions.get(entry, ""))
        except Rejected as error:
            found.append(FaultyDocument(tuple(_with_code(_within(where, each)) for each in error.problems)))
            continue
        found.append(IncomingDocument(document, entry, submission, action, visibility_of(entry)))
        problems += _against_metadata(document, entry, where)
    opened = IncomingMail(tuple(_distinct(found, problems)))
    problems += _patients(opened.deliverable)
    errors = [problem for problem in problems if problem.severity == "error"]
    if not opened.deliverable:
        errors += [problem for each in opened.faulty for problem in each.problems]
    if not opened.documents and not errors:
        errors = [Problem("207", "the archive holds no CDA document", "archive", rule=_RULE, detail_code="906")]
    if errors:
        raise Rejected(*errors)
    count = len(opened.documents)
    documents = (evolve(each, number=number, count=count) for number, each in enumerate(opened.documents, 1))
    return IncomingMail(tuple(documents), tuple(problems))


def _entries(archive: xdm.Archive) -> Iterator[tuple[SubmissionSet, DocumentEntry]]:
    """Every entry once, in the order of the archive."""
    seen: set[DocumentEntry] = set()
    for submission in archive.submissions:
        for entry in submission.entries:
            if entry not in seen:
                seen.add(entry)
                yield submission, entry


def _with_code(problem: Problem) -> Problem:
    """What this platform finds wrong with a document is, to its sender, 906 unless something else is said."""
    return evolve(problem, detail_code="906") if problem.code == "207" and not problem.detail_code else problem


def action_of(document: ClinicalDocument, archive_action: xdm.Action) -> Action:
    """What is asked: the extra metadata "action" (C, D), else the CDA's own relatedDocument RPLC, else a first sending.

    Raises:
        Rejected: a replacement of which the document does not say what it replaces: TXA-13 could not be written.
    """
    action = _ACTIONS.get(archive_action) or (Action.REPLACE if document.replaces else Action.NEW)
    if action is Action.REPLACE and document.replaces is None:
        raise Rejected(
            Problem(
                "207",
                "the archive says that the document replaces another (action C), the document does not say which",
                "/ClinicalDocument/relatedDocument",
                rule="volet LPS 1.1, TXA-13",
                detail_code="900",
            )
        )
    return action


def visibility_of(entry: DocumentEntry) -> Visibility:
    """MASQUE_PS, INVISIBLE_PATIENT and INVISIBLE_REP(RESENTANTS)_LEGAUX among the entry's confidentiality codes."""
    codes = {"".join(value.code.split()).upper() for value in entry.confidentiality_codes}
    return Visibility(
        hidden_from_professionals="MASQUE_PS" in codes,
        hidden_from_patient="INVISIBLE_PATIENT" in codes,
        hidden_from_representatives=bool(codes & {"INVISIBLE_REPRESENTANTS_LEGAUX", "INVISIBLE_REP_LEGAUX"}),
    )


def _shown(mime_type: str) -> str:
    return mime_type if mime_type.isascii() and len(mime_type) <= 60 and mime_type.count("/") == 1 else "unknown"


def _within(where: str, problem: Problem) -> Problem:
    return Problem(
        problem.code,
        problem.message,
        f"{where}#{problem.location}" if problem.location else where,
        problem.severity,
        problem.rule,
        problem.detail_code,
    )


def _distinct(
    found: Sequence[IncomingDocument | FaultyDocument], problems: list[Problem]
) -> Iterator[IncomingDocument | FaultyDocument]:
    """The documents, one id once. The same id with other bytes or another action cannot be understood."""
    known: dict[str, IncomingDocument] = {}
    for each in found:
        if isinstance(each, FaultyDocument):
            yield each
            continue
        first = known.setdefault(each.document.id.unique_id, each)
        if first is each:
            yield each
        elif first.document.raw == each.document.raw and first.action is each.action:
            message = "the same document twice in one mail: delivered once"
            problems.append(Problem("207", message, "ClinicalDocument/id", severity="warning"))
        else:
            message = "two documents with one id, which differ: none is processed"
            problems.append(Problem("207", message, "ClinicalDocument/id", rule=_RULE, detail_code="906"))


def _against_metadata(document: ClinicalDocument, entry: DocumentEntry, where: str) -> Iterator[Problem]:
    """METADATA.XML and CDA must speak of one patient (CONF.24); another uniqueId is worth a warning."""
    components = entry.patient_id.split("^")
    authority = components[3].split("&") if len(components) > 3 else []
    root = authority[1] if len(authority) > 1 else "".join(authority)
    ours = {each.extension.upper() for each in document.patient.ids if each.root in _INS}
    if root in _INS and ours and components[0].upper() not in ours:
        message = "patientId in METADATA.XML is not the INS of the document: another patient's document?"
        yield Problem("207", message, where, rule="REM SC.MSS/CONF.24", detail_code="904")
    if entry.unique_id and entry.unique_id != document.id.unique_id:
        message = "uniqueId in METADATA.XML is not the document's id; the document's is used"
        yield Problem("207", message, where, severity="warning", rule="volet Transmission 2.1, mapping")


def _patients(found: Sequence[IncomingDocument]) -> Iterator[Problem]:
    """Every document must share an identifier with the first one, and no two INS may differ."""
    if not found:
        return
    ids = [{(i.root, i.extension.upper()) for i in each.document.patient.ids if i.extension} for each in found]
    ins = {identifier for each in ids for identifier in each if identifier[0] in _INS}
    if len(ins) > 1 or any(each.isdisjoint(ids[0]) for each in ids[1:]):
        message = "documents of several patients in one mail: none is processed; send one mail a patient"
        yield Problem("207", message, "recordTarget", rule=_RULE, detail_code="906")
