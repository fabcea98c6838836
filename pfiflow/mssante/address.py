"""MSSanté mailbox addresses: what is one, which ones are patients', and how a patient's is kept out of texts.

The local part of a patient's address is the matricule INS: an identity, so it never appears in a log or an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pfiflow.errors import Problem, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PATIENT_DOMAIN", "is_mailbox", "is_patient", "mask_address", "mask_text", "patient_address"]

PATIENT_DOMAIN = "patient.mssante.fr"
"""Domain of the mailboxes of Mon espace santé."""

_MATRICULE = re.compile(r"[0-9]{5}(?:[0-9]{2}|2[AB])[0-9]{8}")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAILBOX = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_PATIENT_IN_TEXT = re.compile(rf"[A-Za-z0-9._%+-]{{1,64}}@{re.escape(PATIENT_DOMAIN)}", re.IGNORECASE)


def is_mailbox(address: str) -> bool:
    """Whether `address` is an ASCII dot-atom mailbox (RFC 5321 §4.1.2, without quoted strings or literals).

    Narrow on purpose: what passes can be written into a header or an SMTP command as it stands.
    """
    return len(address) <= 254 and address.find("@") <= 64 and _MAILBOX.fullmatch(address) is not None


def is_patient(address: str) -> bool:
    """Whether `address` is a patient's mailbox of Mon espace santé."""
    return address.rpartition("@")[2].lower() == PATIENT_DOMAIN


def patient_address(matricule: str) -> str:
    """The patient's address, `<matricule INS>@patient.mssante.fr` (REM MSS/va1.19).

    Args:
        matricule: the 15 characters of a **qualified** INS, 13 and the 2-digit key; Corsica's 2A and 2B occur.

    Raises:
        Rejected: the matricule does not have that shape. The message does not quote it.
    """
    if _MATRICULE.fullmatch(matricule) is None:
        raise Rejected(
            Problem(
                code="102",
                message=(
                    f"the matricule INS has {len(matricule)} characters or a foreign one; "
                    "a patient's address needs its 13 characters and 2-digit key"
                ),
                location="PID-3",
                rule="REM MSS/va1.19",
            )
        )
    return f"{matricule}@{PATIENT_DOMAIN}"


def mask_address(address: str) -> str:
    """`address` as it may be shown: a patient's loses its local part."""
    return f"***@{PATIENT_DOMAIN}" if is_patient(address) else address


def mask_text(text: str, addresses: Iterable[str] = ()) -> str:
    """`text` without any patient's address, nor the bare local part of the patients' addresses among `addresses`."""
    for address in addresses:
        if is_patient(address):
            text = text.replace(address.rpartition("@")[0], "***")
    return _PATIENT_IN_TEXT.sub(f"***@{PATIENT_DOMAIN}", text)
