"""An order to the DMP, ready to be carried out by `conversation`."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from pfiflow.dmp.vihf import Vihf
from pfiflow.errors import Problem
from pfiflow.xds.metadata import SubmissionSet

__all__ = ["Action", "Feeding"]

Action = Literal["new", "replace", "delete"]


@frozen
class Feeding:
    """One document to submit, to put in another's place, or to delete; made anew at each attempt.

    Attributes:
        action: what is asked for.
        submission: what the DMP gets told: with the document's entry, with none for a deletion. Its uniqueId is the
            same on every attempt, its time is that of this one.
        document: the CDA exactly as its entry hashes it; b"" for a deletion.
        unique_id: of the document.
        parent_unique_id: of the document that this one replaces; "" unless `action` is replace.
        type_code: of the document.
        vihf: who asks, for which patient.
        warnings: rules broken that do not keep it from leaving: to journal.
    """

    action: Action
    submission: SubmissionSet = field(repr=False)
    document: bytes = field(repr=False)
    unique_id: str
    parent_unique_id: str
    type_code: str
    vihf: Vihf = field(repr=False)
    warnings: tuple[Problem, ...] = ()

    @property
    def document_hash(self) -> str:
        """SHA-1 of the document, in hexadecimal; "" for a deletion."""
        return self.submission.entries[0].hash if self.submission.entries else ""
