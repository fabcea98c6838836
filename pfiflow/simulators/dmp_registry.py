"""The registry of the DMP simulator: patients, documents, their versions and statuses, for a test to ask.

Thread-safe: the server changes it in its thread, a test reads it in another. What is handed out is frozen.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from attrs import evolve, field, frozen

from pfiflow.dmp import xades
from pfiflow.dmp.gates import institutions
from pfiflow.xds.metadata import CodedValue, DocumentEntry, SubmissionSet

__all__ = ["RPLC", "Entry", "PatientState", "Registry", "Status"]

Status = Literal["Approved", "Deprecated", "Deleted"]
PatientState = Literal["open", "closed", "unknown"]

RPLC: Final = "urn:ihe:iti:2007:AssociationType:RPLC"


@frozen
class Entry:
    """One document entry as the registry keeps it.

    Attributes:
        entry_uuid: given by the registry: only ITI-18 tells it.
        status: its availabilityStatus, by its last part.
        metadata: as submitted, with the registry's entryUUID.
        submission: uniqueId of the submission set that brought it.
        replaces: entryUUID of the version before; "" for a first one.
        replaced_by: entryUUID of the version after; "" for the last one.
        structures: whose document it is: the structures of its authors.
        document: its bytes; b"" when the registry does not keep them, or was read from a journal.
    """

    entry_uuid: str
    status: Status
    metadata: DocumentEntry = field(repr=False)
    submission: str
    replaces: str = ""
    replaced_by: str = ""
    structures: tuple[str, ...] = ()
    document: bytes = field(default=b"", repr=False)

    @property
    def unique_id(self) -> str:
        """The document's uniqueId."""
        return self.metadata.unique_id

    @property
    def patient_id(self) -> str:
        """The patient, as CX."""
        return self.metadata.patient_id

    @property
    def is_signature(self) -> bool:
        """Whether it is the XAdES signature of a submission, not a document of the patient."""
        return self.metadata.type_code.code == xades.TYPE.code


class Registry:
    """What the simulated DMP holds. A patient is named by CX, or by matricule alone.

    Attributes:
        unlisted: the state of a patient nobody has spoken of.
    """

    def __init__(
        self, *, journal: Path | None = None, unlisted: PatientState = "open", keep_documents: bool = True
    ) -> None:
        """A registry, empty unless its journal says otherwise.

        Args:
            journal: a file that gets one JSON line at each change of an entry, and is read first when it is there: a
                simulator that starts again knows what it knew, but for the bytes and most metadata of documents.
            unlisted: the state of a patient nobody has spoken of.
            keep_documents: keep the bytes of documents, not only their hash.
        """
        self.unlisted: PatientState = unlisted
        self._journal = journal
        self._keep = keep_documents
        self._lock = threading.Lock()
        self._patients: dict[str, PatientState] = {}
        self._entries: dict[str, Entry] = {}
        self._submissions: dict[str, None] = {}
        self._by_unique_id: dict[str, list[str]] = {}
        if journal is not None and journal.exists():
            self._read(journal)

    # -- what a test asks ---------------------------------------------------------------------------------------------

    def entries(self, *, patient: str = "", unique_id: str = "", status: Status | None = None) -> tuple[Entry, ...]:
        """The documents of patients, oldest first, without signatures; those that fit what is given."""
        found = self.find(unique_id) if unique_id else self._all()
        return tuple(
            entry
            for entry in found
            if not entry.is_signature
            and _matricule(patient) in {"", _matricule(entry.patient_id)}
            and status in {None, entry.status}
        )

    def signatures(self) -> tuple[Entry, ...]:
        """The signature documents, oldest first."""
        return tuple(entry for entry in self._all() if entry.is_signature)

    def entry(self, entry_uuid: str) -> Entry | None:
        """The entry with this entryUUID, of any status."""
        with self._lock:
            return self._entries.get(entry_uuid)

    def find(self, unique_id: str) -> tuple[Entry, ...]:
        """Every entry with this uniqueId, signatures too, oldest first."""
        with self._lock:
            return tuple(self._entries[identifier] for identifier in self._by_unique_id.get(unique_id, ()))

    def knows(self, submission: str) -> bool:
        """Whether a submission set with this uniqueId is registered."""
        with self._lock:
            return submission in self._submissions

    @property
    def submissions(self) -> tuple[str, ...]:
        """The uniqueIds of the submission sets registered, oldest first."""
        with self._lock:
            return tuple(self._submissions)

    def state(self, patient: str) -> PatientState:
        """Whether the patient has a DMP, and an open one."""
        with self._lock:
            return self._patients.get(_matricule(patient), self.unlisted)

    # -- what a test says ---------------------------------------------------------------------------------------------

    def open(self, patient: str) -> None:
        """The patient has an open DMP."""
        self._set_state(patient, "open")

    def close(self, patient: str) -> None:
        """The patient's DMP is closed: everything about it is answered `DMPClosed`."""
        self._set_state(patient, "closed")

    def forget(self, patient: str) -> None:
        """The patient has no DMP: everything about it is answered `XDSUnknownPatientId`."""
        self._set_state(patient, "unknown")

    def _set_state(self, patient: str, state: PatientState) -> None:
        with self._lock:
            self._patients[_matricule(patient)] = state

    # -- what the server does -----------------------------------------------------------------------------------------

    def register(self, submission: SubmissionSet, documents: Sequence[bytes | memoryview]) -> tuple[Entry, ...]:
        """Take a submission that every check has passed; what it replaces becomes Deprecated.

        Args:
            submission: its entries with the ids of the request; the registry gives each an entryUUID of its own.
            documents: the bytes of each entry, in their order.
        """
        targets = {each.source: each.target for each in submission.associations if each.type == RPLC}
        with self._lock:
            self._submissions[submission.unique_id] = None
            added = []
            for metadata, document in zip(submission.entries, documents, strict=True):
                replaced = targets.get(metadata.entry_uuid, "")
                identifier = f"urn:uuid:{uuid4()}"
                entry = Entry(
                    entry_uuid=identifier,
                    status="Approved",
                    metadata=evolve(metadata, entry_uuid=identifier, logical_id=identifier, version="1"),
                    submission=submission.unique_id,
                    replaces=replaced,
                    structures=institutions(metadata),
                    document=bytes(document) if self._keep else b"",
                )
                added.append(entry)
                self._change(entry, submission.unique_id)
                if replaced:
                    old = evolve(self._entries[replaced], status="Deprecated", replaced_by=identifier)
                    self._change(old, submission.unique_id)
            return tuple(added)

    def delete(self, entry_uuids: Iterable[str], submission: str) -> None:
        """Mark entries as Deleted, by the submission set with this uniqueId."""
        with self._lock:
            self._submissions[submission] = None
            for identifier in entry_uuids:
                self._change(evolve(self._entries[identifier], status="Deleted"), submission)

    def _all(self) -> tuple[Entry, ...]:
        with self._lock:
            return tuple(self._entries.values())

    def _change(self, entry: Entry, submission: str) -> None:
        self._keep_entry(entry)
        self._write(entry, submission)

    def _keep_entry(self, entry: Entry) -> None:
        if entry.entry_uuid not in self._entries:
            self._by_unique_id.setdefault(entry.unique_id, []).append(entry.entry_uuid)
        self._entries[entry.entry_uuid] = entry

    def _write(self, entry: Entry, submission: str) -> None:
        if self._journal is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "submission": submission,
            "entryUUID": entry.entry_uuid,
            "uniqueId": entry.unique_id,
            "status": entry.status,
            "patientId": entry.patient_id,
            "typeCode": entry.metadata.type_code.code,
            "hash": entry.metadata.hash,
            "size": entry.metadata.size,
            "structures": entry.structures,
            "registeredBy": entry.submission,
            "replaces": entry.replaces,
            "replacedBy": entry.replaced_by,
        }
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _read(self, journal: Path) -> None:
        for text in journal.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line, when the process was killed while writing it
                line = json.loads(text)
                self._submissions[line["submission"]] = None
                self._keep_entry(_restored(line))


def _restored(line: Mapping[str, Any]) -> Entry:
    unknown = CodedValue("", "")
    metadata = DocumentEntry(
        entry_uuid=line["entryUUID"],
        unique_id=line["uniqueId"],
        patient_id=line["patientId"],
        class_code=unknown,
        type_code=CodedValue(line["typeCode"], ""),
        format_code=unknown,
        healthcare_facility_type_code=unknown,
        practice_setting_code=unknown,
        confidentiality_codes=(),
        creation_time="",
        language_code="",
        mime_type="",
        title="",
        hash=line["hash"],
        size=line["size"],
    )
    return Entry(
        entry_uuid=line["entryUUID"],
        status=line["status"],
        metadata=metadata,
        submission=line["registeredBy"],
        replaces=line["replaces"],
        replaced_by=line["replacedBy"],
        structures=tuple(line["structures"]),
    )


def _matricule(patient: str) -> str:
    return patient.partition("^")[0]
