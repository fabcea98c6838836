"""Mail addresses of a message: a conservative form, and which of them are patients' mailboxes.

Conservative on purpose: what an address could mean must not depend on who reads it. No quoting, comment, display name,
list, source route, `%` or `!` routing, address literal, IDN, control character or space. An MSSanté address needs none.
"""

from __future__ import annotations

import re

__all__ = ["PATIENT_DOMAIN", "is_mail_address", "is_patient_mailbox", "same_address"]

PATIENT_DOMAIN = "patient.mssante.fr"
"""Domain of the patients' mailboxes (Mon espace santé); the local part is the matricule INS."""

_ATOM = r"[A-Za-z0-9_+=&'-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])", re.ASCII)
_MATRICULE = re.compile(r"\d{6}[0-9AB]\d{6}(?:\d{2})?|\d{13,}", re.ASCII | re.IGNORECASE)


def is_mail_address(text: str) -> bool:
    """Whether `text` is a `Mailbox` of RFC 5321 4.1.2 in its plain form: dot-atom `@` domain, ASCII, no quoting.

    Lengths of RFC 5321 4.5.3.1: local part 64, the whole 254. Of the atom characters, those that a relay or a shell
    could read as something else (`%`, `!`, `|`, `/`, a back quote…) are refused.
    """
    local, at, domain = text.rpartition("@")
    return (
        bool(at)
        and len(text) <= 254
        and len(local) <= 64
        and _LOCAL.fullmatch(local) is not None
        and _DOMAIN.fullmatch(domain) is not None
    )


def is_patient_mailbox(address: str) -> bool:
    """Whether mail to this address could reach a patient's mailbox, typing errors included.

    True for PATIENT_DOMAIN, any domain that begins with the label `patient` (`patient.mssante.f` occurs in official
    text), and any local part in the form of a matricule INS. Such an address is never a professional's.
    """
    local, _, domain = address.lower().rpartition("@")
    return (
        domain == PATIENT_DOMAIN
        or domain.startswith("patient.")
        or domain.endswith("." + PATIENT_DOMAIN)
        or _MATRICULE.fullmatch(local) is not None
    )


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are one mailbox: MSSanté operators do not tell upper from lower case."""
    return one.lower() == other.lower()
