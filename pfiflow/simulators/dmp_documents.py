"""The DMP simulator's check of documents against their metadata: bytes, and for a CDA what it says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from pfiflow.cda import document
from pfiflow.dmp.answers import XdsError
from pfiflow.errors import Rejected
from pfiflow.simulators.dmp_metadata import is_signature
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet

__all__ = ["check"]

_METADATA = "XDSRepositoryMetadataError"
_CONTENT = "InvalidDocumentContent"


def check(
    submission: SubmissionSet, documents: Mapping[str, bytes | memoryview], *, look_inside: bool
) -> Iterator[XdsError]:
    """Hash and size of each document; with `look_inside`, uniqueId, patient and type of each CDA as well."""
    for number, entry in enumerate(submission.entries, 1):
        content = documents[entry.entry_uuid]
        where = f"DocumentEntry[{number}]"
        if len(content) != entry.size:
            yield XdsError(_METADATA, f"size: {entry.size} declared, {len(content)} received", f"{where}.size")
        if hashlib.sha1(content, usedforsecurity=False).hexdigest() != entry.hash:
            yield XdsError(_METADATA, "hash: not the SHA-1 of the document received", f"{where}.hash")
        if look_inside and entry.mime_type != "application/dicom" and not is_signature(entry):
            yield from _inside(entry, bytes(content), where)


def _inside(entry: DocumentEntry, content: bytes, where: str) -> Iterator[XdsError]:
    try:
        header = document.read(content)
    except Rejected as refused:
        problem = refused.problems[0]
        yield XdsError(_CONTENT, f"EX_2.1-1090: no readable CDA ({problem.location})", where)
        return
    if header.id.unique_id != entry.unique_id:
        yield XdsError(_METADATA, "uniqueId: not the id of the CDA", f"{where}.uniqueId")
    if header.code.code != entry.type_code.code:
        yield XdsError(_METADATA, "typeCode: not the code of the CDA", f"{where}.typeCode")
    matricule = entry.patient_id.partition("^")[0]
    if all(identifier.extension != matricule for identifier in header.patient.ids):
        yield XdsError("XDSPatientIdDoesNotMatch", "patientId: not a patient of the CDA", f"{where}.patientId")
