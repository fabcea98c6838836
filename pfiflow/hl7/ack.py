"""General acknowledgements (volet 2.1, "le message d'acquittement"; HL7 2.5/2.6 §2.9, §2.15.5, §2.15.8).

MSH is the received one turned round: 3↔5, 4↔6, the same MSH-11, 12, 17 and 18, no MSH-21 (neither the guide's table
nor the official example has one). What is mirrored is copied byte for byte: MSA-2 is MSH-10 as the peer wrote it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal, TypeAlias, cast

from attrs import frozen

from pfiflow.errors import Problem, Severity
from pfiflow.hl7.charset import hl7_name
from pfiflow.hl7.er7 import Message, Segment, parse
from pfiflow.hl7.faults import CharsetError, MessageError
from pfiflow.hl7.separators import DEFAULT_SEPARATORS
from pfiflow.hl7.tables import APPLICATION_ERRORS, MESSAGE_ERRORS, SEVERITIES
from pfiflow.hl7.writer import FieldValue, SegmentSpec, build, segment

__all__ = ["MAX_ERRORS", "AckCode", "Acknowledgement", "AnyAckCode", "acknowledge", "error_location", "parse_ack"]

AckCode: TypeAlias = Literal["AA", "AE", "AR"]
AnyAckCode: TypeAlias = Literal["AA", "AE", "AR", "CA", "CE", "CR"]

MAX_ERRORS = 50
"""ERR segments in one acknowledgement; the last one says how many problems were left out."""

_DOCUMENT = ("OBX", "1", "5")
_MIRROR_LIMIT = 500  # bytes of one mirrored field: no identifier is longer, and an ACK is no amplifier
_USER_MESSAGE_LIMIT = 250  # ERR-8, HL7 2.5
_TEXT_LIMIT = 2000  # characters kept of a text in a peer's answer
_CONTROLS = bytes((*range(0x20), 0x7F))
_LOCATION = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+)(?:\.(\d+))?)?)?", re.ASCII)
_SEVERITY_OF = cast("dict[str, Severity]", {letter: severity for severity, letter in SEVERITIES.items()})


def acknowledge(
    message: Message | None,
    code: AckCode,
    problems: tuple[Problem, ...] = (),
    *,
    control_id: str,
    now: datetime,
    head: bytes = b"",
) -> bytes:
    """The ACK to send, ended by CR, in the character set of the message.

    Args:
        message: the message received; None when it could not be read.
        code: AA (responsibility is taken), AE (the message is wrong), AR (may be sent again later).
        problems: on AE and AR, one ERR each, errors first; not written on AA (the volet has no ERR there).
        control_id: MSH-10 of the acknowledgement.
        now: MSH-7, to the second, with its offset when it has one.
        head: when `message` is None, the beginning of what was received: whatever its MSH still says is mirrored.

    An XPath (a location beginning with `/`) is no ERL: ERR-2 then says the document, OBX^1^5, and ERR-7 the XPath; any
    other location that is no HL7 path goes to ERR-7 alone. A code that is not in HL70357 becomes 207, with it in ERR-5.
    """
    received = message or _header_of(head)
    encoding, charset = _charset(received)
    segments = [_msh(received, charset, control_id, now), _msa(received, code)]
    if code != "AA":
        segments += [_err(problem) for problem in _chosen(problems)]
    separators = received.separators if received else DEFAULT_SEPARATORS
    return build(segments, separators=separators, encoding=encoding, replace=True)


@frozen
class Acknowledgement:
    """What a peer answered. `errors` come from ERR, or from MSA-3 of a refusal without ERR."""

    code: AnyAckCode
    control_id: str  # MSA-2: the MSH-10 that it answers
    errors: tuple[Problem, ...] = ()

    @property
    def accepted(self) -> bool:
        """The peer has taken the responsibility (AA) or at least stored the message (CA)."""
        return self.code in ("AA", "CA")


def parse_ack(data: bytes) -> Acknowledgement:
    """Read an acknowledgement, tolerant of the character set of its texts: an AA stays one.

    Raises:
        MessageError: not ER7, no MSA, or an MSA-1 out of table 0008.
    """
    message = parse(data)
    msa = message.first("MSA")
    if msa is None:
        raise MessageError(Problem("100", "the answer holds no MSA", location="MSA"))
    code = _text(msa, 1)
    if code not in ("AA", "AE", "AR", "CA", "CE", "CR"):
        raise MessageError(Problem("103", "MSA-1 is none of AA, AE, AR, CA, CE, CR", location="MSA-1"))
    errors = tuple(_problem(err) for err in message.all("ERR")[:MAX_ERRORS])
    remark = _text(msa, 3)
    if not errors and remark and code not in ("AA", "CA"):
        errors = (Problem("207", remark),)
    return Acknowledgement(cast("AnyAckCode", code), _text(msa, 2), errors)


def error_location(location: str) -> tuple[str, ...]:
    """ERL components of a `Problem.location`: `PID-3[2].4.2` → PID, 1, 3, 2, 4, 2. () when it is no HL7 path."""
    match = _LOCATION.fullmatch(location)
    if not match:
        return ()
    name, occurrence, *rest = match.groups(default="")
    return (name, occurrence or "1", *rest)


def _header_of(head: bytes) -> Message | None:
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0].translate(None, _CONTROLS)
    try:
        return parse(line)
    except MessageError:
        return None


def _charset(received: Message | None) -> tuple[str, str]:
    """(Python codec, MSH-18) to answer in. An unknown set is not echoed: ASCII then, which UTF-8 contains."""
    try:
        encoding = received.encoding if received else "utf-8"
    except CharsetError:
        return "ascii", "UNICODE UTF-8"
    return encoding, hl7_name(encoding)


def _mirror(received: Message | None, number: int, component: int = 0) -> bytes:
    if received is None:
        return b""
    msh = received.segments[0]
    value = msh.component(number, component) if component else msh.field(number)
    return value.translate(None, _CONTROLS) if len(value) <= _MIRROR_LIMIT else b""


def _msh(received: Message | None, charset: str, control_id: str, now: datetime) -> SegmentSpec:
    trigger = _mirror(received, 9, 2)
    return segment(
        "MSH",
        {
            3: _mirror(received, 5),
            4: _mirror(received, 6),
            5: _mirror(received, 3),
            6: _mirror(received, 4),
            7: now.strftime("%Y%m%d%H%M%S%z"),
            9: ("ACK", trigger, "ACK") if trigger else "ACK",
            10: control_id,
            11: _mirror(received, 11) or "P",
            12: _version(received),
            17: _mirror(received, 17) or "FRA",
            18: charset,
        },
    )


def _version(received: Message | None) -> bytes:
    """MSH-12 as received when ERR means the same in it; otherwise what the volet has for this family of messages."""
    if _mirror(received, 12, 1) in (b"2.5", b"2.5.1", b"2.6", b"2.7"):
        return _mirror(received, 12)
    return b"2.5" if _mirror(received, 9, 1) == b"ORU" else b"2.6"


def _msa(received: Message | None, code: AckCode) -> SegmentSpec:
    return segment("MSA", {1: code, 2: _mirror(received, 10)})


def _chosen(problems: tuple[Problem, ...]) -> list[Problem]:
    if not problems:
        return [Problem("207", "the message was refused; the journal of the platform says why")]
    found = sorted(problems, key=lambda problem: list(SEVERITIES).index(problem.severity))
    if len(found) > MAX_ERRORS:
        left = len(found) - MAX_ERRORS + 1
        found[MAX_ERRORS - 1 :] = [
            Problem("207", f"{left} further problems are not listed", severity=found[0].severity)
        ]
    return found


def _err(problem: Problem) -> SegmentSpec:
    code, detail = problem.code, problem.detail_code
    if code not in MESSAGE_ERRORS:
        code, detail = "207", detail or problem.code
    where: tuple[str, ...] = error_location(problem.location)
    diagnostic = "" if where else problem.location
    if diagnostic.startswith("/"):
        where = _DOCUMENT
    message = f"{problem.message} [{problem.rule}]" if problem.rule else problem.message
    if len(message) > _USER_MESSAGE_LIMIT:
        message = message[: _USER_MESSAGE_LIMIT - 1] + "…"
    fields: dict[int, FieldValue] = {
        2: where,
        3: (code, MESSAGE_ERRORS[code], "messageErrorCondition"),
        4: SEVERITIES[problem.severity],
        7: diagnostic,
        8: message,
    }
    if code == "207" and detail:
        known = detail in APPLICATION_ERRORS
        fields[5] = (detail, APPLICATION_ERRORS.get(detail, ""), "applicationErrorCondition" if known else "L")
    return segment("ERR", fields)


def _text(of: Segment, n: int, component: int = 1) -> str:
    try:
        return of.text(n, component)[:_TEXT_LIMIT]
    except CharsetError:
        return of.component(n, component).decode("latin-1")[:_TEXT_LIMIT]


def _problem(err: Segment) -> Problem:
    severity = _SEVERITY_OF.get(_text(err, 4).strip(), "error")
    label, diagnostic, message = _text(err, 3, 2).strip(), _text(err, 7), _text(err, 8)
    return Problem(
        _text(err, 3).strip() or "207",
        message or diagnostic or label,
        location=diagnostic if diagnostic.startswith("/") else _path(err),
        severity=severity,
        detail_code=_text(err, 5).strip(),
    )


def _path(err: Segment) -> str:
    """ERR-2 as a location: PID^1^3^2^4^2 → PID-3[2].4.2."""
    name, occurrence, number, repetition, component, subcomponent = (_text(err, 2, i).strip() for i in range(1, 7))
    path = name if occurrence in ("", "1") else f"{name}[{occurrence}]"
    if number:
        path += f"-{number}" + (f"[{repetition}]" if repetition not in ("", "1") else "")
        path += f".{component}" if component else ""
        path += f".{subcomponent}" if component and subcomponent else ""
    return path
