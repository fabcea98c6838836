"""The one exception hierarchy. It lies under every layer, so that flow and health code share it without meeting.

Redelivery keys on the family, never on message text:

* `Rejected`: permanent, never retried; carries every `Problem` found, not only the first.
* `Deferred`: temporary, retried by policy, never lost.
* `ProtocolError`: the peer broke its protocol; the endpoint answers or closes.
* `ConfigError`: a route file or a setting is wrong; says where (file, line, column).
* anything else is a defect: a bounded number of retries, then a dead letter with its traceback.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ConfigError",
    "ConfigErrors",
    "Deferred",
    "PfiflowError",
    "Problem",
    "ProtocolError",
    "Rejected",
    "Severity",
]

Severity = Literal["error", "warning", "information"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


@frozen
class Problem:
    """One rule broken: what, where, why.

    Attributes:
        code: the code in the vocabulary of the standard at hand; for anything that can reach an HL7 acknowledgement,
            a code of table HL70357 (`"101"` required field missing, `"103"` table value, `"207"` application error…).
        message: one sentence for a human: what is wrong, what is expected, what to do next. No identity, no content.
        location: where: an HL7 path (`PID-3.1`, `OBX[2]-5`), an XPath, an archive member, `file:line:column`.
        severity: `error` rejects; `warning` is journaled and rejects only where a strict mode says so.
        rule: the source of the rule (volet §, RFC, ITI, schematron id), when there is one.
        detail_code: a finer application code (ERR-5), when the standard has one.
    """

    code: str
    message: str
    location: str = ""
    severity: Severity = "error"
    rule: str = ""
    detail_code: str = ""

    def __str__(self) -> str:
        where = f" at {self.location}" if self.location else ""
        return f"{self.code}{where}: {self.message}"


class PfiflowError(Exception):
    """Root of every error that pfiflow raises on purpose."""


class ConfigError(PfiflowError):
    """A route file, a setting or a command line is wrong.

    Printed as `file:line:column: message`; line and column count from 1, 0 when unknown.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, column: int = 0, code: str = "config", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{place}{self.message}{hint}"


class ConfigErrors(ConfigError):
    """Everything that is wrong with some files, in their order. Prints one error a line.

    Its own file, line and column are those of the first error.
    """

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(
            first.message, file=first.file, line=first.line, column=first.column, code=first.code, hint=first.hint
        )
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class ProtocolError(PfiflowError):
    """The peer broke the protocol (framing, sequence, timing). The endpoint answers or closes the connection."""


class Deferred(PfiflowError):
    """A temporary refusal: try again later, by the channel's redelivery policy. Never loses the message.

    Attributes:
        retry_after: seconds to wait before the next attempt, when the peer said so; None lets the policy decide.
        headers: headers to keep on the stored message, so that the next attempt knows what this one achieved
            (for example, which recipients of a mail have accepted it already).
        unavailable: the destination as a whole cannot be reached: no other message would fare better. The channel
            then probes it with one message at a time, and the time spent so counts against no message's attempts.
        hold: nothing more may go this way before somebody has looked: the channel is held until it is released.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] = _NOTHING,
        unavailable: bool = False,
        hold: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.headers = headers
        self.unavailable = unavailable
        self.hold = hold


class Rejected(PfiflowError):
    """A permanent refusal: retrying the same bytes cannot succeed. Carries at least one error `Problem`.

    Attributes:
        problems: everything that is wrong.
        headers: what the route's `on_rejected` steps get to know (for example, how each recipient was refused).
    """

    def __init__(self, *problems: Problem, headers: Mapping[str, str] = _NOTHING) -> None:
        if not problems:
            msg = "Rejected needs at least one Problem"
            raise ValueError(msg)
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
        self.headers = headers
