"""Which answer a mail gets, if any: an MDN, the standard error mail, or none and why."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from attrs import frozen

from pfiflow.mssante.answers import may_answer, may_notify
from pfiflow.mssante.reading import ReceivedMail

__all__ = ["AnswerKind", "Choice", "choose"]

AnswerKind = Literal["mdn", "error-mail", ""]

_ANSWERED: Final = frozenset({"xdm", "encrypted"})
"""Mails that brought a document, or claim to. What else a mailbox gets is for a person to look at, not to answer."""


@frozen
class Choice:
    """The answer to the sender; `reason` says why there is none. `answerable`: the mail is of a kind that gets one."""

    kind: AnswerKind
    reason: str = ""
    answerable: bool = True


def choose(mail: ReceivedMail, *, failed: bool, ours: Collection[str]) -> Choice:
    """The answer to the sender of a mail that has been dealt with (volet LPS; RFC 8098 §2.1; RFC 3834 §2).

    An MDN where one is asked for and may be sent; else, on an error, the standard mail where any answer may be sent.

    Args:
        mail: the mail received.
        failed: one of its documents at least could not be integrated.
        ours: our own mailboxes, never answered.
    """
    if mail.kind not in _ANSWERED:
        return Choice("", f"a mail of kind {mail.kind} is not answered", answerable=False)
    no_notice = may_notify(mail, ours)
    if not no_notice:
        return Choice("mdn")
    if not failed:
        return Choice("", no_notice)
    no_answer = may_answer(mail, ours)
    return Choice("", no_answer) if no_answer else Choice("error-mail")
