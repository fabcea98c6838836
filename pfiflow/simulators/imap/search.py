"""SEARCH of a simulated server (RFC 3501 §6.4.4): every key of the RFC, each a test of one mail.

Texts are looked for in the mail as it is, without case, not in its decoded parts; headers are decoded (RFC 2047).
"""

from __future__ import annotations

import email
import email.policy
import email.utils
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from attrs import frozen

from pfiflow.simulators.imap.syntax import Cursor, Malformed, sequence
from pfiflow.simulators.mailboxes import StoredMail

__all__ = ["BadCharset", "Candidate", "Criterion", "Scope", "read_criterion"]


class BadCharset(Exception):
    """The client's character set is not known: NO [BADCHARSET]."""


@frozen
class Candidate:
    """A mail as a session sees it."""

    number: int
    mail: StoredMail
    recent: bool


@frozen
class Scope:
    """What `*` means."""

    last_number: int
    last_uid: int


Criterion = Callable[[Candidate], bool]

_FLAGS: Final = {
    "ANSWERED": r"\Answered", "DELETED": r"\Deleted", "DRAFT": r"\Draft", "FLAGGED": r"\Flagged", "SEEN": r"\Seen",
}  # fmt: skip
_HEADERS: Final = ("BCC", "CC", "FROM", "SUBJECT", "TO")
_DATES: Final = ("BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE")
_DEEPEST = 20  # parentheses, NOT and OR in each other


def read_criterion(cursor: Cursor, scope: Scope) -> Criterion:
    """All that follows SEARCH. Raises Malformed, BadCharset."""
    if cursor.skip(b"CHARSET "):
        if cursor.astring().upper() not in {b"UTF-8", b"US-ASCII"}:
            raise BadCharset
        cursor.space()
    found = [_key(cursor, scope, 0)]
    while not cursor.ended:
        cursor.space()
        found.append(_key(cursor, scope, 0))
    return _all(found)


def _all(criteria: list[Criterion]) -> Criterion:
    return lambda candidate: all(criterion(candidate) for criterion in criteria)


def _key(cursor: Cursor, scope: Scope, depth: int) -> Criterion:
    if depth > _DEEPEST:
        raise Malformed("the search is too deep")
    if cursor.ahead(b"("):
        return _all([_key(cursor, scope, depth + 1) for _ in cursor.each()])
    if any(cursor.ahead(digit.encode("ascii")) for digit in "0123456789*"):
        numbers = tuple(sequence(cursor.sequence_set(), scope.last_number))
        return lambda candidate: any(candidate.number in each for each in numbers)
    name = cursor.atom()
    match name:
        case "ALL":
            return lambda _: True
        case "NEW":
            return lambda candidate: candidate.recent and r"\Seen" not in candidate.mail.flags
        case "OLD" | "RECENT":
            return lambda candidate: candidate.recent is (name == "RECENT")
    if name.removeprefix("UN") in _FLAGS:
        return _flag(_FLAGS[name.removeprefix("UN")], wanted=not name.startswith("UN"))
    cursor.space()
    match name:
        case "NOT":
            negated = _key(cursor, scope, depth + 1)
            return lambda candidate: not negated(candidate)
        case "OR":
            first = _key(cursor, scope, depth + 1)
            cursor.space()
            second = _key(cursor, scope, depth + 1)
            return lambda candidate: first(candidate) or second(candidate)
        case "UID":
            uids = tuple(sequence(cursor.sequence_set(), scope.last_uid))
            return lambda candidate: any(candidate.mail.uid in each for each in uids)
        case "KEYWORD" | "UNKEYWORD":
            return _flag(cursor.flag(), wanted=name == "KEYWORD")
        case "LARGER" | "SMALLER":
            size, sign = cursor.number(), 1 if name == "LARGER" else -1
            return lambda candidate: sign * len(candidate.mail.content) > sign * size
        case "HEADER":
            field = cursor.astring().decode("ascii", "replace")
            cursor.space()
            return _header(field, cursor.astring())
        case "BODY" | "TEXT":
            return _text(cursor.astring().lower(), whole=name == "TEXT")
    if name in _HEADERS:
        return _header(name, cursor.astring())
    if name in _DATES:
        return _date(name, cursor.astring())
    raise Malformed(f"{name[:30]} is no search key")


def _flag(flag: str, *, wanted: bool) -> Criterion:
    flag = flag.lower()
    return lambda candidate: any(flag == each.lower() for each in candidate.mail.flags) is wanted


def _header(field: str, text: bytes) -> Criterion:
    looked_for = text.decode("utf-8", "replace").lower()

    def test(candidate: Candidate) -> bool:
        head = candidate.mail.content.partition(b"\r\n\r\n")[0]
        values = email.message_from_bytes(head, policy=email.policy.default).get_all(field, [])
        return any(looked_for in str(value).lower() for value in values)

    return test


def _text(text: bytes, *, whole: bool) -> Criterion:
    def test(candidate: Candidate) -> bool:
        content = candidate.mail.content
        return text in (content if whole else content.partition(b"\r\n\r\n")[2]).lower()

    return test


def _date(name: str, text: bytes) -> Criterion:
    """Days, whatever the hour and time zone."""
    try:
        day = datetime.strptime(text.decode("ascii", "replace"), "%d-%b-%Y").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise Malformed("a date is expected, such as 1-Feb-2026") from None
    sent = name.startswith("SENT")

    def test(candidate: Candidate) -> bool:
        own = _sent(candidate.mail.content) if sent else candidate.mail.received.date()
        if own is None:
            return False
        match name.removeprefix("SENT"):
            case "BEFORE":
                return own < day
            case "ON":
                return own == day
        return own >= day

    return test


def _sent(mail: bytes) -> date | None:
    header = email.message_from_bytes(mail.partition(b"\r\n\r\n")[0]).get("Date", "")
    try:
        return email.utils.parsedate_to_datetime(header).date()
    except ValueError:
        return None
