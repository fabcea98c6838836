"""Writes a DSN as a mail server does (RFC 3461 §6, RFC 3464, RFC 6522)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Literal

from attrs import frozen

from pfiflow.simulators.mail import ReceivedMail

__all__ = ["Fate", "delivery_report", "wanted"]

Action = Literal["delivered", "failed", "relayed"]

_TEXT = """\
Ceci est un message automatique de {reporter}.

{lines}
"""
_WORDS: dict[Action, str] = {
    "delivered": "a été remis à",
    "failed": "n'a pas pu être remis à",
    "relayed": "a été transmis, sans confirmation de remise, à",
}


@frozen
class Fate:
    """What became of a mail for one recipient.

    Attributes:
        parameters: NOTIFY and ORCPT of RCPT, as the client gave them.
        status: enhanced status (RFC 3463).
        diagnostic: the server's answer; "" when there is none to quote.
    """

    recipient: str
    parameters: str
    action: Action
    status: str
    diagnostic: str = ""


def wanted(fate: Fate) -> bool:
    """Whether the sender is told (RFC 3461 §4.1): a success when asked for, a failure unless declined."""
    found = re.search(r"\bNOTIFY=(\S+)", fate.parameters, re.IGNORECASE)
    if found is None:
        return fate.action == "failed"
    return ("FAILURE" if fate.action == "failed" else "SUCCESS") in found[1].upper().split(",")


def delivery_report(
    mail: ReceivedMail, fates: Sequence[Fate], *, reporter: str, identifier: str, date: datetime
) -> bytes | None:
    """The DSN on these recipients; None when nobody is to be told: of a null sender, or of nothing wanted.

    The mail comes back whole when it failed and RET=FULL asked for that; its headers otherwise.

    Args:
        mail: what was sent, with its envelope.
        fates: what became of it.
        reporter: the server's name.
        identifier: Message-ID of the report, without brackets; its boundary too.
        date: now, aware.
    """
    told = [fate for fate in fates if wanted(fate)]
    if not told or not mail.sender:
        return None
    failed = any(fate.action == "failed" for fate in told)
    whole = failed and "RET=FULL" in mail.mail_parameters.upper().split()
    lines = "\n".join(f"Votre message {_WORDS[fate.action]} {fate.recipient}. {fate.diagnostic}" for fate in told)
    envelope = _parameter(mail.mail_parameters, "ENVID")
    fields = [f"Reporting-MTA: dns; {reporter}", *([f"Original-Envelope-Id: {envelope}"] if envelope else [])]
    for fate in told:
        original = _parameter(fate.parameters, "ORCPT")
        fields += [
            "",
            *([f"Original-Recipient: {original}"] if original else []),
            f"Final-Recipient: rfc822; {fate.recipient}",
            f"Action: {fate.action}",
            f"Status: {fate.status}",
            *([f"Diagnostic-Code: smtp; {fate.diagnostic}"] if fate.diagnostic else []),
        ]
    boundary = f"=_{identifier.partition('@')[0]}"
    head = [
        f"From: MAILER-DAEMON@{reporter}",
        f"To: {mail.sender}",
        f"Subject: {'Non remise' if failed else 'Remise'} de votre message",
        f"Date: {format_datetime(date)}",
        f"Message-ID: <{identifier}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
    ]
    returned = mail.content if whole else mail.content.partition(b"\r\n\r\n")[0] + b"\r\n"
    parts = (
        ('text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit', _TEXT.format(reporter=reporter, lines=lines)),
        ("message/delivery-status", "\n".join([*fields, ""])),
        ("message/rfc822" if whole else "text/rfc822-headers", ""),
    )
    blocks = [f"--{boundary}\nContent-Type: {kind}\n\n{content}" for kind, content in parts]
    text = "\n".join([*head, "", *blocks]).replace("\n", "\r\n").encode()
    return text + returned + f"\r\n--{boundary}--\r\n".encode("ascii")


def _parameter(parameters: str, name: str) -> str:
    """A parameter's value out of xtext (RFC 3461 §4)."""
    found = re.search(rf"\b{name}=(\S+)", parameters, re.IGNORECASE)
    value = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), found[1]) if found else ""
    return "".join(filter(str.isprintable, value))
