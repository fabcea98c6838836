"""What the LPS answered, as the sender of the mail is told it (volet LPS, ACK and error codes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from attrs import frozen

from pfiflow.errors import Problem
from pfiflow.hl7.ack import Acknowledgement
from pfiflow.hl7.tables import APPLICATION_ERRORS
from pfiflow.mssante.answers import Fault

__all__ = ["Outcome", "code_of_refusal", "fault_of_problems", "label_of", "outcome_of"]

_APPLICATION_ERROR: Final = "207"
_OTHER: Final = "906"

_TECHNICAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "100": "Segments absents ou dans un ordre incorrect",
        "101": "Champ requis absent",
        "102": "Type de donnée incorrect",
        "103": "Valeur absente de la table attendue",
        "198": "Cardinalité non conforme",
        "199": "Autre erreur de syntaxe HL7",
        "200": "Type de message non pris en charge",
        "201": "Évènement non pris en charge",
        "202": "Mode de traitement non pris en charge",
        "203": "Version HL7 non prise en charge",
        "207": "Erreur applicative",
    }
)
"""HL70357 (ERR-3) in French, for people; `pfiflow.hl7.tables` has the labels that HL7 messages carry."""


@frozen
class Outcome:
    """What became of one document.

    Attributes:
        status: `delivered` (AA: the LPS has taken it); `refused` (AE: for good, the sender is told); `later` (AR: for
            a passing reason, to be sent again under the same MSH-10).
        code: when refused, ERR-5 if ERR-3 is 207 and ERR-5 is there, else ERR-3.
        label: in French, from the tables: the peer's free text may name a patient and stays in `problems`.
        problems: what the LPS said.
    """

    status: Literal["delivered", "refused", "later"]
    code: str = ""
    label: str = ""
    problems: tuple[Problem, ...] = ()

    def fault(self, number: int = 1, count: int = 1) -> Fault:
        """The refusal as mails tell it, of document `number` of `count`."""
        return Fault(self.code, self.label, f"document {number} sur {count}" if count > 1 else "")


def outcome_of(acknowledgement: Acknowledgement) -> Outcome:
    """AA and CA: delivered; AR and CR: later; AE and CE: refused, by the first error (severity E, else any)."""
    code = acknowledgement.code
    if acknowledgement.accepted:
        return Outcome("delivered", problems=acknowledgement.errors)
    if code in {"AR", "CR"}:
        return Outcome("later", problems=acknowledgement.errors)
    error_code = _code_of(acknowledgement.errors)
    return Outcome("refused", error_code, label_of(error_code), acknowledgement.errors)


def fault_of_problems(problems: Sequence[Problem]) -> Fault:
    """The fault of a mail that this platform itself cannot process: its first application code, else 906."""
    code = next((p.detail_code for p in problems if p.detail_code in APPLICATION_ERRORS), _OTHER)
    return Fault(code, label_of(code))


def code_of_refusal(code: str, detail_code: str) -> str:
    """The code that the sender is told, of a refusal's first error: ERR-5 where it counts, else ERR-3."""
    return _code_of((Problem(code, "", detail_code=detail_code),))


def label_of(code: str) -> str:
    """The words of an error code in French. A code out of the tables, which are open, gets general words."""
    return APPLICATION_ERRORS.get(code) or _TECHNICAL.get(code) or "Erreur signalée par le système destinataire"


def _code_of(errors: Sequence[Problem]) -> str:
    first = next((e for e in errors if e.severity == "error"), None) or next(iter(errors), None)
    if first is None:
        return _APPLICATION_ERROR
    # A peer that gives ERR-5 without 207 still means it.
    known = first.detail_code in APPLICATION_ERRORS
    code = first.detail_code if first.detail_code and (first.code == _APPLICATION_ERROR or known) else first.code
    return code if code.isascii() and code.isalnum() and len(code) <= 10 else _APPLICATION_ERROR
