"""Business receipts to the CREATEUR: `ZAM^Z01|Z02|Z03^ZAM_Z01`, HL7 2.6 (volet Transmission 2.1, "accusés métier").

    Z01   what the DMP answered to an order
    Z02   what became of the mail to one MSSanté recipient: delivered (DSN), or refused
    Z03   that one reader has read it (MDN), or could not integrate it

Structure: MSH EVN OBX [OBX] [ERR]. From plain values to bytes; the caller sends a receipt only if it was asked for
(ACK_RECEPTION: Z01 and Z02; ACK_LECTURE_MSS: Z03).

Where the guide's page and the official examples differ, the example is written: the table of ERR-5 of a Z01 is
`DMPERRORCODE` (page: DMP_ERROR_CODE), its ERR-3 says "Application internal error" (page: "Application error", as in
our Z02 and Z03, of which no negative example exists), and an OBX ends with an empty OBX-12.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal, TypeAlias

from attrs import frozen

from pfiflow.hl7.charset import hl7_name
from pfiflow.hl7.er7 import Message, parse
from pfiflow.hl7.tables import APPLICATION_ERRORS
from pfiflow.hl7.writer import FieldValue, SegmentSpec, build, segment
from pfiflow.mssante.address import mask_address
from pfiflow.segur.smtp_errors import SMTP_ERRORS, nearest_code

__all__ = [
    "Addressee",
    "Failure",
    "Name",
    "Original",
    "Party",
    "ReceiptKind",
    "control_id",
    "dmp_receipt",
    "mail_receipt",
    "original_of",
    "reading_failure",
    "reading_receipt",
    "smtp_failure",
]

ReceiptKind = Literal["Z01", "Z02", "Z03"]

Name: TypeAlias = str | tuple[str, ...]
"""An HD: its namespace, or its components."""


@frozen
class Party:
    """One end of an HL7 connection: MSH-3 and 4, or MSH-5 and 6."""

    application: Name
    facility: Name


@frozen
class Original:
    """What a receipt repeats of the message that it is about."""

    control_id: str  # its MSH-10
    sender: Party  # its MSH-3 and 4: who gets the receipt
    receiver: Party  # its MSH-5 and 6: the name that we have there
    processing_id: str = "P"  # MSH-11
    encoding: str = "utf-8"  # Python codec of MSH-18


@frozen(repr=False)
class Addressee:
    """A mailbox and whose it is; `repr` masks a patient's."""

    address: str
    id: str = ""  # PRT-5.1 (or 8.10) of the RCT

    def __repr__(self) -> str:
        return f"<Addressee {mask_address(self.address)}>"


@frozen
class Failure:
    """ERR of a negative receipt: a code and its label in the table of the kind; words for a human in ERR-8."""

    code: str
    label: str
    explanation: str = ""


@frozen
class _Kind:
    status: tuple[str, str]  # OBX-3 of the first OBX
    addressee: tuple[str, str] | None  # of the second
    error: str  # ERR-3.2
    table: str  # ERR-5.3


_KINDS: Mapping[ReceiptKind, _Kind] = MappingProxyType(
    {
        "Z01": _Kind(
            ("ACK_RECEPTION_DMP", "Accusé de réception DMP"), None, "Application internal error", "DMPERRORCODE"
        ),
        "Z02": _Kind(
            ("ACK_RECEPTION_MSS", "Accusé de réception MSSanté"),
            ("DESTINATAIRE_MSS", "Destinataire MSSanté"),
            "Application error",
            "SMTPERRORCODE",
        ),
        "Z03": _Kind(
            ("ACK_LECTURE_MSS", "Accusé de lecture"),
            ("LECTEUR_MSS", "Lecteur du courriel MSSanté"),
            "Application error",
            "applicationErrorCondition",
        ),
    }
)
_TABLE = "AckMetierZAM"
_FINAL = b"F|"  # OBX-11, and an empty OBX-12 as in the official examples
_LONGEST_HEADER = 4096  # bytes of MSH
_LONGEST_EXPLANATION = 250  # ERR-8, HL7 2.5


def control_id(exchange_id: str, kind: ReceiptKind, addressee: str = "") -> str:
    """MSH-10 of a receipt, 20 characters: the same for the same exchange, kind and address, on every attempt."""
    seed = "".join(f"{len(part)}:{part}" for part in (exchange_id, kind, addressee.lower()))
    return base64.b32encode(hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()).decode("ascii")[:20]


def dmp_receipt(original: Original, *, control_id: str, now: datetime, failure: Failure | None = None) -> bytes:
    """`ZAM^Z01`: the DMP took the document, or refused it for `failure` (code and label of its annexe A7-1)."""
    return _receipt("Z01", original, None, control_id, now, failure)


def mail_receipt(
    original: Original, recipient: Addressee, *, control_id: str, now: datetime, failure: Failure | None = None
) -> bytes:
    """`ZAM^Z02`: the mail reached the recipient's server, or did not for `failure` (see `smtp_failure`)."""
    return _receipt("Z02", original, recipient, control_id, now, failure)


def reading_receipt(
    original: Original, reader: Addressee, *, control_id: str, now: datetime, failure: Failure | None = None
) -> bytes:
    """`ZAM^Z03`: the reader has read the mail, or could not integrate the document for `failure`."""
    return _receipt("Z03", original, reader, control_id, now, failure)


def smtp_failure(code: str, explanation: str = "") -> Failure:
    """ERR of a Z02 for an SMTP code (0: no answer came). ERR-8 says the code that was mapped to one of the table."""
    known = nearest_code(code)
    if known != code and not explanation and code not in {"", "0"}:
        explanation = f"SMTP {code}"
    return Failure(known, SMTP_ERRORS[known], explanation)


def reading_failure(code: str, explanation: str = "") -> Failure:
    """ERR of a Z03 for a code of the table applicationErrorCondition; a foreign code goes without a label."""
    return Failure(code, APPLICATION_ERRORS.get(code, ""), explanation)


def original_of(message: Message | bytes) -> Original:
    """What a receipt repeats of a message, from its MSH. Raises MessageError: no ER7, or an unknown character set."""
    if isinstance(message, bytes):
        message = parse(re.split(rb"[\r\n]", message[:_LONGEST_HEADER], maxsplit=1)[0])
    return Original(
        control_id=message.get("MSH-10"),
        sender=Party(_name(message, 3), _name(message, 4)),
        receiver=Party(_name(message, 5), _name(message, 6)),
        processing_id=message.get("MSH-11") or "P",
        encoding=message.encoding,
    )


def _name(message: Message, number: int) -> Name:
    parts = [message.segments[0].text(number, component) for component in (1, 2, 3)]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def _receipt(
    event: ReceiptKind,
    original: Original,
    addressee: Addressee | None,
    control_id: str,
    now: datetime,
    failure: Failure | None,
) -> bytes:
    kind = _KINDS[event]
    time = now.strftime("%Y%m%d%H%M%S%z")
    status = ("N" if failure else "Y", "", "expandedYes-NoIndicator")
    segments = [
        segment(
            "MSH",
            {
                3: original.receiver.application,
                4: original.receiver.facility,
                5: original.sender.application,
                6: original.sender.facility,
                7: time,
                9: ("ZAM", event, "ZAM_Z01"),
                10: control_id,
                11: original.processing_id,
                12: "2.6",
                17: "FRA",
                18: hl7_name(original.encoding),
                21: ("2.1", "CISIS_CDA_HL7_V2"),
            },
        ),
        segment("EVN", {2: time}),
        _observation("1", "CWE", kind.status, original.control_id, status),
    ]
    if kind.addressee is not None and addressee is not None:
        mailbox = ("", "", "X.400", addressee.address)
        segments.append(_observation("2", "XTN", kind.addressee, addressee.id, mailbox))
    if failure is not None:
        segments.append(_error(kind, failure))
    return build(segments, encoding=original.encoding, replace=True)


def _observation(number: str, value_type: str, code: tuple[str, str], sub_id: str, value: FieldValue) -> SegmentSpec:
    return segment("OBX", {1: number, 2: value_type, 3: (*code, _TABLE), 4: sub_id, 5: value, 11: _FINAL})


def _error(kind: _Kind, failure: Failure) -> SegmentSpec:
    return segment(
        "ERR",
        {
            3: ("207", kind.error, "messageErrorCondition"),
            4: "E",
            5: (failure.code, failure.label, kind.table),
            8: failure.explanation[:_LONGEST_EXPLANATION],
        },
    )
