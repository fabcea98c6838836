"""Write IHE_XDM.zip (ITI-32; CI-SIS volet "Échange"). The same input gives the same bytes, from the same compressor
on the same kind of processor.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import evolve

from pfiflow.xdm.pages import index_htm, readme_txt
from pfiflow.xdm.values import Action, ActionSlot, Sender, Software
from pfiflow.xdm.zipping import FASTEST, write_zip
from pfiflow.xds import ebrim
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet

__all__ = ["pack", "prepare"]

_FOLDER: Final = "IHE_XDM/SUBSET01"
_METADATA: Final = "METADATA.XML"
_ISO_NAME: Final = re.compile(r"[A-Z0-9_]{1,8}\.[A-Z0-9]{1,3}")  # ISO 9660 level 1
_EXTENSIONS: Final = {
    "text/xml": "XML",
    "application/xml": "XML",
    "application/xslt+xml": "XML",
    "application/pdf": "PDF",
    "application/dicom": "DCM",
    "text/plain": "TXT",
}
_MOST_DOCUMENTS: Final = 99_999  # five digits of DOCnnnnn
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # of a zip time stamp


def pack(
    submission: SubmissionSet,
    documents: Sequence[bytes],
    *,
    sender: Sender,
    software: Software,
    action: Action = "",
    action_slot: ActionSlot | None = None,
    level: int = FASTEST,
) -> bytes:
    """An IHE_XDM.zip: README.TXT, INDEX.HTM, IHE_XDM/SUBSET01/METADATA.XML and the documents beside it.

    Args:
        submission: the metadata; entries without `uri` get one (see `prepare`).
        documents: the bytes of each entry, in the order of `submission.entries`.
        sender: for README.TXT and INDEX.HTM.
        software: for README.TXT.
        action: `C` when the documents replace earlier ones, `D` when they are to be deleted: the archive then holds
            the document that is to be deleted, for its id (volet "Transmission" 2.1, examples 2 and 3).
        action_slot: how the action is written.
        level: 0 (stored), 1 (ISA-L), 2 to 9 (zlib).

    Raises:
        Rejected: a value does not fit into ebRIM.
        ValueError: entries and documents do not match (number, size or SHA-1), or a file name is not ISO 9660 level 1.
    """
    if len(submission.entries) != len(documents):
        raise ValueError(f"{len(submission.entries)} entries for {len(documents)} documents")
    submission = prepare(submission, action=action, action_slot=action_slot)
    for number, (entry, document) in enumerate(zip(submission.entries, documents, strict=True), 1):
        _check(number, entry, document)
    names = [entry.uri for entry in submission.entries]
    members = (
        ("README.TXT", readme_txt(sender, software, folder=_FOLDER, names=[_METADATA, *names], action=action)),
        ("INDEX.HTM", index_htm(submission, sender, folder=_FOLDER, action=action)),
        (f"{_FOLDER}/{_METADATA}", ebrim.submit_objects_request(submission)),
        *((f"{_FOLDER}/{name}", document) for name, document in zip(names, documents, strict=True)),
    )
    stamp = _stamp(submission.submission_time)
    return write_zip(members, stamp, level=level)


def prepare(submission: SubmissionSet, *, action: Action = "", action_slot: ActionSlot | None = None) -> SubmissionSet:
    """The submission exactly as `pack` writes it: file names given (`DOC00001.XML`…), action slots added.

    Raises:
        ValueError: no entry, more than 99 999, or a file name that is not ISO 9660 level 1, or that occurs twice.
    """
    if not 0 < len(submission.entries) <= _MOST_DOCUMENTS:
        raise ValueError(f"an archive holds 1 to {_MOST_DOCUMENTS} documents, not {len(submission.entries)}")
    slot = action_slot or ActionSlot()
    extra = tuple((name, (action,)) for name in slot.names) if action else ()
    on_entry = extra if slot.carrier == "entry" else ()
    entries = tuple(
        evolve(
            entry,
            uri=entry.uri or f"DOC{number:05d}.{_EXTENSIONS.get(entry.mime_type, 'BIN')}",
            extra=(*entry.extra, *on_entry),
        )
        for number, entry in enumerate(submission.entries, 1)
    )
    names = {entry.uri for entry in entries}
    if len(names) < len(entries) or _METADATA in names:
        raise ValueError("file names occur twice")
    if not all(map(_ISO_NAME.fullmatch, names)):
        raise ValueError("a file name is not ISO 9660 level 1: A-Z 0-9 _, at most 8 + 3 characters")
    on_submission = extra if slot.carrier == "submission" else ()
    return evolve(submission, entries=entries, extra=(*submission.extra, *on_submission))


def _check(number: int, entry: DocumentEntry, document: bytes) -> None:
    if len(document) != entry.size:
        raise ValueError(f"document {number} has {len(document)} bytes, its entry says {entry.size}")
    if hashlib.sha1(document, usedforsecurity=False).hexdigest() != entry.hash.lower():
        raise ValueError(f"document {number} is not the one that its entry describes: SHA-1 differs")


def _stamp(submission_time: str) -> tuple[int, int, int, int, int, int]:
    try:
        moment = datetime.strptime(submission_time.ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007
    except ValueError:
        return _EARLIEST
    return moment.timetuple()[:6] if 1980 <= moment.year <= 2107 else _EARLIEST
