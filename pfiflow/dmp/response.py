"""What an answer of the DMP, or the lack of one, means for an order: `Accepted`, `Deferred` or `Rejected`.

Pure: the endpoint says what it got, `codes` says what that means. The words of an answer may speak of a patient; only
codes are shown, as received but bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from attrs import field, frozen
from lxml import etree

from pfiflow import errors
from pfiflow.dmp import soap
from pfiflow.dmp.codes import CODES, FAULT_CODES, HTTP_STATUSES, Meaning
from pfiflow.errors import Problem, ProtocolError

__all__ = [
    "MAX_ANSWER",
    "RS",
    "Accepted",
    "Deferred",
    "Failure",
    "Outcome",
    "RegistryError",
    "Rejected",
    "failed",
    "outcome",
    "registry_response",
]

RS: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
SUCCESS: Final = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
FAILURE: Final = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
PARTIAL: Final = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
ERROR: Final = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
WARNING: Final = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"

MAX_ANSWER: Final = 8_000_000
"""Where an HTTP client stops reading an answer: ours are a few kilobytes."""

ATTEMPTS: Final = 5
"""How many attempts a RETRY_BOUNDED code gets."""

_MAX_ERRORS: Final = 50
_SHOWN: Final = re.compile(r"[^A-Za-z0-9._-]")
_RULE: Final = "ITI TF-3 §4.2.4"


@frozen
class RegistryError:
    """One rs:RegistryError: its code's last part, and whether it is a warning. The context may name a patient."""

    code: str
    warning: bool = False
    context: str = field(default="", repr=False)
    location: str = field(default="", repr=False)


@frozen
class Accepted:
    """The DMP has done what was asked. `already`: at an earlier attempt, whose answer was lost."""

    already: bool = False
    warnings: tuple[str, ...] = ()  # codes


@frozen
class Deferred:
    """Not now: the order waits and goes by itself.

    Attributes:
        reason: for an operator, without identity.
        code: the code received, "" when there was no answer.
        retry_after: seconds, when the service said so.
        ambiguous: the request may have been carried out: ask ITI-18 by uniqueId before sending it again.
        configuration: we are refused, not the order (certificate, right, address): tell an operator at once.
    """

    reason: str
    code: str = ""
    retry_after: float | None = None
    ambiguous: bool = False
    configuration: bool = False

    def error(self) -> errors.Deferred:
        """The exception that leaves the order in its queue."""
        return errors.Deferred(self.reason, retry_after=self.retry_after)


@frozen
class Rejected:
    """Never: the same order would be refused again. `look_up_again`: unless its entryUUID was out of date."""

    problems: tuple[Problem, ...]
    look_up_again: bool = False

    @property
    def code(self) -> str:
        """The first code received: ERR-5 of the receipt (DMP_ERROR_CODE)."""
        return self.problems[0].detail_code

    def error(self) -> errors.Rejected:
        """The exception that ends the order."""
        return errors.Rejected(*self.problems)


Outcome = Accepted | Deferred | Rejected


class Failure(Enum):
    """How an exchange failed before any answer; values are what an operator reads."""

    UNREACHABLE = "the DMP cannot be reached (name, network or connection refused)"
    TIMEOUT = "the DMP did not take the request in time"
    TLS = "the TLS connection to the DMP was refused: check both sides' certificates and authorities"
    OWN_CERTIFICATE = "our own certificate is out of date or cannot be used: install a new one"
    CUT = "the connection was cut, or no answer came in time, after the request had been sent in part or whole"
    TOO_LONG = "the DMP's answer is longer than any that it should give"


_AMBIGUOUS: Final = frozenset({Failure.CUT, Failure.TOO_LONG})
_LOUD: Final = frozenset({Failure.TLS, Failure.OWN_CERTIFICATE, Failure.TOO_LONG})


def failed(failure: Failure) -> Deferred:
    """The outcome of an exchange without answer: never a loss."""
    return Deferred(failure.value, ambiguous=failure in _AMBIGUOUS, configuration=failure in _LOUD)


def outcome(
    status: int,
    content_type: str,
    body: bytes,
    *,
    retry_after: float | None = None,
    attempt: int = 1,
    same_submission: bool = False,
    codes: Mapping[str, Meaning] = CODES,
    statuses: Mapping[int, Meaning] = HTTP_STATUSES,
) -> Outcome:
    """What the HTTP answer to ITI-41, ITI-57 or ITI-18 means.

    Args:
        status: the HTTP status.
        content_type: the answer's header, "" when there is none.
        body: the answer, at most `MAX_ANSWER` bytes.
        retry_after: of the header Retry-After, in seconds.
        attempt: of this order, from 1.
        same_submission: an earlier attempt sent this submission set uniqueId, and its answer may have been lost.
        codes: what RegistryError codes and Fault subcodes mean.
        statuses: what HTTP statuses mean when the answer is no SOAP.
    """
    try:
        message = soap.read_message(content_type, body) if len(body) <= MAX_ANSWER else None
    except ProtocolError:
        message = None
    answer = message.body if message is not None else None
    name = etree.QName(answer).localname if answer is not None else ""
    judge = _Judge(codes, attempt=attempt, same_submission=same_submission, retry_after=retry_after)
    if answer is not None and name in {"RegistryResponse", "AdhocQueryResponse", "RetrieveDocumentSetResponse"}:
        return judge.registry(*registry_response(answer))
    if answer is not None and name == "Fault":
        return judge.fault(tuple(_fault_codes(answer)))
    return _without_soap(status, statuses, retry_after)


def registry_response(answer: etree._Element) -> tuple[str, tuple[RegistryError, ...]]:
    """The status URN of an answer and its errors, the first fifty."""
    found = []
    for element in answer.iter(f"{{{RS}}}RegistryError"):
        found.append(
            RegistryError(
                code=_shown(element.get("errorCode", "")),
                warning=element.get("severity", "").endswith("Warning"),
                context=element.get("codeContext", "")[:1000],
                location=element.get("location", "")[:1000],
            )
        )
        if len(found) == _MAX_ERRORS:
            break
    return answer.get("status", "").strip(), tuple(found)


class _Judge:
    """What codes mean in the circumstances of one attempt."""

    def __init__(
        self, codes: Mapping[str, Meaning], *, attempt: int, same_submission: bool, retry_after: float | None
    ) -> None:
        self._codes = codes
        self._attempt = attempt
        self._same_submission = same_submission
        self._retry_after = retry_after

    def registry(self, status: str, found: tuple[RegistryError, ...]) -> Outcome:
        failures = tuple(
            error.code
            for error in found
            if not error.warning or self._codes.get(error.code) is Meaning.FAILS_AS_WARNING
        )
        warnings = tuple(error.code for error in found if error.warning)
        if status == SUCCESS and not failures:
            return Accepted(warnings=warnings)
        if not failures:
            what = "only a part" if status == PARTIAL else "neither success nor a reason"
            return Rejected((_problem("", f"the DMP answered {what}; look at the patient's DMP"),))
        return self._of(failures, ambiguous=status == PARTIAL)

    def fault(self, codes: tuple[str, ...]) -> Outcome:
        """`codes`: from the outermost to the innermost. The innermost one known decides."""
        for code in reversed(codes):
            if code in self._codes:
                return self._of((code,), ambiguous=False)
        for code in reversed(codes):
            if code in FAULT_CODES:
                meaning = FAULT_CODES[code]
                shown = codes[-1]
                if meaning is Meaning.RETRY:
                    return Deferred(
                        f"the DMP has a fault of its own ({shown})", shown, self._retry_after, ambiguous=True
                    )
                if meaning is Meaning.CONFIGURATION:
                    return Deferred(_refused_us(shown), shown, self._retry_after, configuration=True)
                break
        return Rejected((_problem(codes[-1] if codes else "", "the DMP refused the request"),))

    def _of(self, codes: tuple[str, ...], *, ambiguous: bool) -> Outcome:
        meanings = {code: self._codes.get(code, Meaning.REFUSED) for code in codes}
        if self._same_submission and all(meaning is Meaning.ALREADY_FED for meaning in meanings.values()):
            return Accepted(already=True)
        waiting = {Meaning.RETRY, Meaning.CONFIGURATION}
        if self._attempt < ATTEMPTS:
            waiting.add(Meaning.RETRY_BOUNDED)
        if set(meanings.values()) <= waiting:
            loud = next((code for code, meaning in meanings.items() if meaning is Meaning.CONFIGURATION), "")
            reason = _refused_us(loud) if loud else f"the DMP cannot take it now ({codes[0]})"
            return Deferred(reason, loud or codes[0], self._retry_after, ambiguous, configuration=bool(loud))
        refused = [code for code, meaning in meanings.items() if meaning not in waiting]
        return Rejected(
            tuple(_problem(code, "the DMP refused the request") for code in dict.fromkeys(refused)),
            look_up_again=all(meanings[code] is Meaning.LOOK_UP_AGAIN for code in refused),
        )


def _without_soap(status: int, statuses: Mapping[int, Meaning], retry_after: float | None) -> Outcome:
    if 200 <= status < 300:
        # It may have been carried out: only the registry knows.
        reason = f"the DMP answered HTTP {status} with something that is no readable SOAP"
        return Deferred(reason, "", retry_after, ambiguous=True)
    by_class = {3: Meaning.CONFIGURATION, 4: Meaning.REFUSED}
    meaning = statuses.get(status) or by_class.get(status // 100, Meaning.RETRY)
    if meaning is Meaning.REFUSED:
        return Rejected((_problem("", f"the DMP refused the request with HTTP {status}"),))
    if meaning is Meaning.CONFIGURATION:
        return Deferred(_refused_us(f"HTTP {status}"), "", retry_after, configuration=True)
    unclear = status not in {408, 421, 425, 429, 503}
    return Deferred(f"the DMP answered HTTP {status}", "", retry_after, ambiguous=unclear)


def _fault_codes(fault: etree._Element) -> Iterator[str]:
    """Local names of the Fault's code and its subcodes, outermost first; SOAP 1.1 has one."""
    namespace = etree.QName(fault).namespace
    if namespace != soap.SOAP12:
        yield _shown((fault.findtext("faultcode") or "").strip())
        return
    code = fault.find(f"{{{namespace}}}Code")
    for _ in range(_MAX_ERRORS):
        if code is None:
            return
        yield _shown((code.findtext(f"{{{namespace}}}Value") or "").strip())
        code = code.find(f"{{{namespace}}}Subcode")


def _shown(code: str) -> str:
    """The last part of a QName or URN, fit to be shown."""
    return _SHOWN.sub("?", re.split(r"[:#/]", code[-200:])[-1])[:80]


def _problem(code: str, message: str) -> Problem:
    shown = f"{message} ({code})" if code else message
    return Problem("207", shown, "DMP", rule=_RULE, detail_code=code)


def _refused_us(code: str) -> str:
    return f"the DMP refuses this platform ({code}): check the certificates, their rights, the clock and the address"
