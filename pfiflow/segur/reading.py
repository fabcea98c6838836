"""Reading fields while collecting every broken rule: what the readers of this package share."""

from __future__ import annotations

import re

from attrs import define, field

from pfiflow.cda.values import Identifier
from pfiflow.errors import Problem, Severity
from pfiflow.hl7.er7 import CharsetError, Message, Segment

__all__ = ["MAX_PROBLEMS", "VOLET", "Reading", "is_oid"]

VOLET = 'volet "Transmission de document(s) CDA en HL7v2" 2.1'

MAX_PROBLEMS = 100
"""Problems of one severity kept for one message; the rest is counted, so that an acknowledgement stays readable."""

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_NULL = '""'


def is_oid(text: str) -> bool:
    """Whether `text` is an OID of at most 64 characters, the limit of XDS (ITI TF-3 4.2.3.2.26)."""
    return len(text) <= 64 and _OID.fullmatch(text) is not None


@define
class Reading:
    """One message being read, and the problems found so far. Methods read values trimmed, or note a `Problem`.

    Trimmed means: without the spaces and no-break spaces around it, which official examples carry; the HL7 null
    (two double quotes) reads as absent.
    """

    message: Message
    errors: list[Problem] = field(factory=list)
    warnings: list[Problem] = field(factory=list)
    _unlisted: dict[str, int] = field(factory=dict)
    _unreadable: set[str] = field(factory=set)

    def text(self, segment: Segment, n: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """One value; "" when it is absent or (a 102 error is noted once) not in the character set of MSH-18."""
        try:
            value = segment.text(n, component, subcomponent, repetition).strip()
        except CharsetError as error:
            where = error.problem.location
            if where not in self._unreadable:
                self._unreadable.add(where)
                self._note(self.errors, error.problem)
            return ""
        return "" if value == _NULL else value

    def required(self, segment: Segment, n: int, what: str, component: int = 1) -> str:
        """One value; its absence is a 101 error."""
        value = self.text(segment, n, component)
        if not value:
            self.missing(segment, n, what, component)
        return value

    def authority(self, segment: Segment, n: int, component: int, repetition: int = 1) -> str:
        """The OID of an HD component: subcomponent 2, or 1 when an OID stands there alone. "" when there is none."""
        universal = self.text(segment, n, component, 2, repetition)
        if universal:
            return universal
        namespace = self.text(segment, n, component, 1, repetition)
        return namespace if is_oid(namespace) else ""

    def document_identifier(self, segment: Segment, n: int, what: str, *, required: bool) -> Identifier | None:
        """TXA-12, TXA-13 (EI): `extension^^root^ISO`, or the bare OID; any namespace in component 2 is ignored."""
        first, root = self.text(segment, n, 1), self.text(segment, n, 3)
        identifier = Identifier(root, first) if root else Identifier(first)
        if not (first or root):
            if required:
                self.missing(segment, n, what)
            return None
        if not is_oid(identifier.root) or (root and not first):
            self.error(
                "102",
                f"{what} is neither <extension>^^<OID>^ISO nor a bare OID of at most 64 characters",
                f"{segment.location}-{n}",
            )
            return None
        return identifier

    def missing(self, segment: Segment, n: int, what: str, component: int = 1) -> None:
        """Note a 101 error."""
        where = f"{segment.location}-{n}.{component}" if component > 1 else f"{segment.location}-{n}"
        self.error("101", f"{what} is required", where)

    def error(self, code: str, message: str, location: str) -> None:
        """Note a problem that rejects the message."""
        self._note(self.errors, Problem(code, message, location, rule=VOLET))

    def warning(self, code: str, message: str, location: str) -> None:
        """Note a problem that makes nothing doubtful."""
        self._note(self.warnings, Problem(code, message, location, "warning", rule=VOLET))

    def note(self, severity: Severity, code: str, message: str, location: str) -> None:
        """Note an error, or anything less as a warning."""
        (self.error if severity == "error" else self.warning)(code, message, location)

    def _note(self, problems: list[Problem], problem: Problem) -> None:
        if len(problems) < MAX_PROBLEMS:
            problems.append(problem)
        else:
            self._unlisted[problem.severity] = self._unlisted.get(problem.severity, 0) + 1

    def all_errors(self) -> tuple[Problem, ...]:
        """The errors, and one more that counts those not kept."""
        return self._closed(self.errors, "error")

    def all_warnings(self) -> tuple[Problem, ...]:
        """The warnings, and one more that counts those not kept."""
        return self._closed(self.warnings, "warning")

    def _closed(self, problems: list[Problem], severity: Severity) -> tuple[Problem, ...]:
        unlisted = self._unlisted.get(severity, 0)
        more = (Problem("199", f"{unlisted} more problems are not listed", severity=severity),) if unlisted else ()
        return (*problems, *more)
