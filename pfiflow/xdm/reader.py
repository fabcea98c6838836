"""Read IHE_XDM.zip as senders really write it (ITI-32; `mssante-details.md` §1c), and trust nothing of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from pfiflow.errors import Problem, Rejected
from pfiflow.xdm.container import Container, DamagedMember, Member, problem
from pfiflow.xdm.values import Action, Archive, Limits
from pfiflow.xds import ebrim
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet

__all__ = ["unpack"]

_METADATA: Final = re.compile(r"(?:.*/)?ihe_xdm/[^/]+/metadata\.xml")  # over casefolded paths
_KNOWN: Final = re.compile(r"(?:.*/)?(?:index\.html?|readme\.txt|[^/]+\.xslt?|[^/]+\.css)")
_SUSPICIOUS: Final = re.compile(r"(?:.*/)?(?:autorun\.inf|[^/]+\.(?:exe|com|bat|cmd|js|vbs|scr|msi|ps1|zip|jar|lnk))")
_ACTION: Final = re.compile(r"(?:.*[:./#_-])?action", re.IGNORECASE)
_ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {"": "", "C": "C", "CHANGE": "C", "D": "D", "DELETE": "D", "DELETED": "D"}
)
_DIGESTS: Final = {40: "sha1", 64: "sha256", 128: "sha512"}  # by hex digits; a known library writes SHA-512
_NO_ACTION: Final = "the action is none of C (replace) and D (delete): reading it as a first sending could do harm"


def unpack(data: bytes, *, limits: Limits | None = None) -> Archive:
    """The submissions and documents of an XDM archive, every document verified against its hash and size.

    Layout: one `IHE_XDM/<subset>/METADATA.XML` or more, in any case, below any folder. A document is found by its URI:
    beside METADATA.XML, else from the top, else by its bare name beside METADATA.XML, else by its hash.
    Files without metadata are passed over with a warning. Hostile or ambiguous archives are refused as a whole; an
    archive that is sound but for some of its documents is read, and their faults are told.

    Raises:
        Rejected: every problem found, each with the member as location (see `Container` for those of the zip itself),
            when the archive as a whole cannot be trusted, or none of its documents can be used.
    """
    reader = _Reader(Container(data, limits or Limits()), limits or Limits())
    reader.read()
    errors = tuple(p for p in reader.problems if p.severity == "error")
    if errors or not reader.documents:
        raise Rejected(*errors, *(p for found in reader.faults.values() for p in found))
    return Archive(
        submissions=tuple(reader.submissions),
        documents=MappingProxyType(reader.documents),
        actions=MappingProxyType(reader.actions),
        faults=MappingProxyType({entry: tuple(found) for entry, found in reader.faults.items()}),
        warnings=tuple(reader.problems),
    )


class _Reader:
    """One reading: what has been found so far."""

    def __init__(self, container: Container, limits: Limits) -> None:
        self._container = container
        self._limits = limits
        self._contents: dict[str, bytes] = {}
        self._digests: dict[tuple[str, str], str] = {}
        self._described = 0
        self._used: set[str] = set()
        self.submissions: list[SubmissionSet] = []
        self.documents: dict[DocumentEntry, bytes] = {}
        self.actions: dict[DocumentEntry, Action] = {}
        self.faults: dict[DocumentEntry, list[Problem]] = {}
        self.problems: list[Problem] = []

    def read(self) -> None:
        subsets = [m for m in self._container.members.values() if _METADATA.fullmatch(m.key)]
        if not subsets:
            self.problems.append(problem("no IHE_XDM/<subset>/METADATA.XML in the archive: this is no XDM archive"))
        for member in subsets:
            self._used.add(member.key)
            for submission in self._metadata(member):
                self._described += len(submission.entries)
                if self._described > self._limits.entries:
                    raise Rejected(problem(f"more than {self._limits.entries} documents described", member.where))
                self.submissions.append(submission)
                for number, entry in enumerate(submission.entries, 1):
                    self._entry(member, submission, entry, f"{member.where}#DocumentEntry[{number}]")
        if subsets and not self.documents and not self.faults and not self._errors():
            self.problems.append(problem("the metadata describe no document", subsets[0].where))
        patients = {_patient(entry.patient_id) for entry in (*self.documents, *self.faults) if entry.patient_id}
        if len(patients) > 1:
            message = f"documents of {len(patients)} patients in one archive; send one archive a patient"
            self.problems.append(problem(message, rule="REM ECO.2.1.1"))
        self.problems.extend(self._leftovers())

    def _errors(self) -> bool:
        return any(p.severity == "error" for p in self.problems)

    def _metadata(self, member: Member) -> tuple[SubmissionSet, ...]:
        try:
            data = self._container.read(member, longest=self._limits.metadata_size)
            return ebrim.parse(data, max_bytes=self._limits.metadata_size)
        except Rejected as error:
            for found in error.problems:
                where = member.where if found.location in {"", member.where} else f"{member.where}#{found.location}"
                self.problems.append(Problem(found.code, found.message, where, rule=found.rule))
            return ()

    def _entry(self, metadata: Member, submission: SubmissionSet, entry: DocumentEntry, where: str) -> None:
        if entry in self.documents or entry in self.faults:
            self.problems.append(problem("the same entry occurs twice; taken once", where, warning=True))
            return
        action, faults = _action(submission, entry), []
        if action is None:
            faults.append(problem(_NO_ACTION, where, rule="volet Transmission 2.1, action"))
        document = b""
        try:
            member = self._find(metadata, entry)
            if member is None:
                faults.append(problem("the document that the URI names is not in the archive", where))
            else:
                self._used.add(member.key)
                document = self._content(member)
                faults += self._integrity(entry, member)
        except DamagedMember as damage:
            faults += damage.problems
        self.problems += (each for each in faults if each.severity != "error")
        if errors := [each for each in faults if each.severity == "error"]:
            self.faults[entry] = errors
        else:
            self.documents[entry], self.actions[entry] = document, action or ""

    def _find(self, metadata: Member, entry: DocumentEntry) -> Member | None:
        members = self._container.members
        folder = metadata.key.rpartition("/")[0]
        root = folder.rsplit("/", 2)[0] if folder.count("/") > 1 else ""
        uri = entry.uri.replace("\\", "/").casefold()
        if uri:
            bare = uri.rpartition("/")[2]
            for name in dict.fromkeys((uri, unquote(uri))):
                for path in (_join(folder, name), _join(root, name), _join("", name), _join(folder, bare)):
                    if path in members and path != metadata.key:
                        return members[path]
        if algorithm := _DIGESTS.get(len(entry.hash)):
            # Inflating is bounded by the limits of the container, and done once a member.
            for member in members.values():
                if (
                    member.key.startswith(folder + "/")
                    and member.key not in self._used
                    and self._same(member, algorithm, entry)
                ):
                    return member
        return None

    def _same(self, member: Member, algorithm: str, entry: DocumentEntry) -> bool:
        if entry.size not in {-1, member.info.file_size}:
            return False
        try:
            return self._digest(member, algorithm) == entry.hash
        except DamagedMember:
            return False

    def _digest(self, member: Member, algorithm: str) -> str:
        """The hash of a member, computed once: many entries may point to one large file."""
        key = member.key, algorithm
        if key not in self._digests:
            self._digests[key] = hashlib.new(algorithm, self._content(member), usedforsecurity=False).hexdigest()
        return self._digests[key]

    def _integrity(self, entry: DocumentEntry, member: Member) -> Iterator[Problem]:
        where, rule, size = member.where, "ITI-32 §3.32.4.1.4", member.info.file_size
        if entry.size == -1:
            yield problem("the metadata give no size", where, rule=rule, warning=True)
        elif entry.size != size:
            yield problem(f"{size} bytes, while the metadata say {entry.size}", where, rule=rule)
        algorithm = _DIGESTS.get(len(entry.hash))
        if not entry.hash:
            yield problem("the metadata give no hash", where, rule=rule, warning=True)
        elif algorithm is None or self._digest(member, algorithm) != entry.hash:
            yield problem("the document is not the one that the metadata describe: the hash differs", where, rule=rule)
        elif algorithm != "sha1":
            yield problem(f"the hash is {algorithm}, not SHA-1", where, rule=rule, warning=True)

    def _content(self, member: Member) -> bytes:
        if member.key not in self._contents:
            self._contents[member.key] = self._container.read(member)
        return self._contents[member.key]

    def _leftovers(self) -> Iterator[Problem]:
        for member in self._container.members.values():
            if member.key in self._used or _KNOWN.fullmatch(member.key):
                continue
            what = "a program or archive" if _SUSPICIOUS.fullmatch(member.key) else "a file"
            yield problem(f"{what} without metadata; passed over", member.where, warning=True)


def _join(folder: str, uri: str) -> str:
    """`uri` seen from `folder`, "" when it climbs out of the archive or is absolute."""
    if uri.startswith("/") or re.match("[a-z][a-z0-9+.-]*:", uri):
        return ""
    parts: list[str] = []
    for part in f"{folder}/{uri}".split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _action(submission: SubmissionSet, entry: DocumentEntry) -> Action | None:
    """The action of an entry: its slots, else the submission's, else an RPLC association; None when not understood."""
    for slots in (entry.extra, submission.extra):
        values = {value.upper() for name, found in slots if _ACTION.fullmatch(name) for value in found}
        if values:
            actions = {_ACTIONS.get(value) for value in values}
            return actions.pop() if len(actions) == 1 else None
    for association in submission.associations:
        if association.source == entry.entry_uuid and association.type.lower().endswith(":rplc"):
            return "C"
    return ""


def _patient(patient_id: str) -> tuple[str, str]:
    """Number and authority of a CX: types and dates after them differ between writers."""
    components = patient_id.split("^")
    authority = components[3].split("&") if len(components) > 3 else []
    return components[0], authority[1] if len(authority) > 1 else "".join(authority)
