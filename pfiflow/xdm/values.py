"""What an XDM archive is made of, and what reading one gives, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from attrs import frozen

from pfiflow.errors import Problem
from pfiflow.xds.metadata import Action, DocumentEntry, SubmissionSet

__all__ = ["Action", "ActionSlot", "Archive", "Limits", "Sender", "Software"]


@frozen
class Sender:
    """Who sends: the section "Emetteur" of README.TXT, the header of INDEX.HTM. "" leaves a line out."""

    name: str
    organization: str
    address: str = ""
    phone: str = ""
    email: str = ""


@frozen
class Software:
    """The sending application: the section "Application de l'émetteur" of README.TXT."""

    name: str
    version: str
    publisher: str


@frozen
class ActionSlot:
    """How the extra metadata "action" is written (docs/decisions/0003-xdm-action.md).

    Attributes:
        names: names of the slots; with several, each carries the value.
        carrier: `entry` puts them on every ExtrinsicObject, `submission` on the RegistryPackage.
    """

    names: tuple[str, ...] = ("action",)
    carrier: Literal["entry", "submission"] = "entry"


@frozen
class Limits:
    """What `unpack` accepts. Sizes in bytes, uncompressed. There is no cap on the ratio: metadata compresses well."""

    entries: int = 200
    entry_size: int = 60_000_000
    total_size: int = 150_000_000
    metadata_size: int = 5_000_000


@frozen
class Archive:
    """An XDM archive that has been read and verified.

    Attributes:
        submissions: one a METADATA.XML, in the order of the archive; their entries as the sender wrote them.
        documents: the bytes of every entry that is without fault; one at least.
        faults: why each other entry cannot be used: its document is missing, damaged, not the one described, or its
            action is unknown. They say nothing against the others, each of which met its own size and hash.
        actions: `C` or `D` for every entry that says so in its metadata, else "" (a first sending, or a sender that
            relies on the CDA's relatedDocument: the caller adds that evidence).
        warnings: what was tolerated, with severity `warning`.
    """

    submissions: tuple[SubmissionSet, ...]
    documents: Mapping[DocumentEntry, bytes]
    actions: Mapping[DocumentEntry, Action]
    faults: Mapping[DocumentEntry, tuple[Problem, ...]] = MappingProxyType({})
    warnings: tuple[Problem, ...] = ()
