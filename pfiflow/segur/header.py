"""MSH of a transmission: which message this is, and whether it is ours."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Literal

from attrs import frozen

from pfiflow.hl7.er7 import CharsetError, Segment
from pfiflow.segur.reading import Reading
from pfiflow.segur.values import Action

__all__ = ["Header", "read_header"]

_STRUCTURES = MappingProxyType({"MDM": ("MDM_T02", "2.6"), "ORU": ("ORU_R01", "2.5")})
_ACTIONS: MappingProxyType[str, MappingProxyType[str, Action | None]] = MappingProxyType(
    {
        "MDM": MappingProxyType({"T02": Action.NEW, "T10": Action.REPLACE, "T04": Action.DELETE}),
        "ORU": MappingProxyType({"R01": None}),  # ORC-1 says it
    }
)
_CHARSETS = frozenset({"UNICODE UTF-8", "8859/15"})
_PROFILE = ("2.1", "CISIS_CDA_HL7_V2")
_DELIVERY_PROFILE = "CISIS_CDA_HL7_LPS"
_TIME = re.compile(r"\d{8}(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,4})?)?)?)?(?:[+-]\d{4})?", re.ASCII)
_WHY_NOT = MappingProxyType(
    {
        "ZAM": "a business receipt goes from the PFI to the CREATEUR, not to the PFI",
        "ACK": "an acknowledgement answers a message; it is not one to transmit",
        "ADT": "patient and stay movements are not part of this exchange",
    }
)


@frozen
class Header:
    """What MSH says."""

    structure: Literal["MDM", "ORU"]
    trigger: str
    action: Action | None  # None: ORC-1 decides (ORU), or the trigger is unknown
    control_id: str
    sending_application: str
    sending_facility: str
    message_time: str
    processing_id: str
    encoding: str  # Python codec of MSH-18


def read_header(reading: Reading) -> Header | None:
    """The header; None when the message is not a transmission at all, and no other rule of the volet applies to it.

    Notes 101, 102, 103, 200 (message type), 201 (event), 202 (processing id), 203 (version).
    """
    msh = reading.message.segments[0]
    try:
        encoding = reading.message.encoding
    except CharsetError as error:
        reading.errors.append(error.problem)
        return None
    kind, trigger, declared = (reading.text(msh, 9, part) for part in (1, 2, 3))
    if kind not in _STRUCTURES:
        if kind:
            why = _WHY_NOT.get(kind, "the PFI takes MDM^T02, MDM^T10, MDM^T04 and ORU^R01")
            reading.error("200", f"unsupported message type: {why}", "MSH-9")
        else:
            reading.missing(msh, 9, "the message type")
        return None
    if any(name == _DELIVERY_PROFILE for _, name in _profiles(reading, msh)):
        reading.error(
            "200",
            f"MSH-21 {_DELIVERY_PROFILE} is the volet for a document that comes from a mail (PFI to LPS); "
            f"a CREATEUR sends {'^'.join(_PROFILE)}",
            "MSH-21",
        )
        return None
    actions = _ACTIONS[kind]
    if trigger not in actions:
        if trigger:
            reading.error("201", f"unsupported event for {kind}: send one of {', '.join(actions)}", "MSH-9.2")
        else:
            reading.missing(msh, 9, "the trigger event", 2)
    structure, version = _STRUCTURES[kind]
    if declared != structure:
        if declared:
            reading.error("200", f"the message structure of {kind} is {structure}", "MSH-9.3")
        else:
            reading.missing(msh, 9, f"the message structure {structure}", 3)
    sent_version = reading.required(msh, 12, "the HL7 version")
    if sent_version and sent_version != version:
        reading.error("203", f"{kind} is in version {version}", "MSH-12")
    _check_profile(reading, msh)
    _check_constants(reading, msh)
    return Header(
        structure="MDM" if kind == "MDM" else "ORU",
        trigger=trigger,
        action=actions.get(trigger),
        control_id=reading.required(msh, 10, "the message control id"),
        sending_application=_hierarchic(reading, msh, 3, "the sending application"),
        sending_facility=_hierarchic(reading, msh, 4, "the sending facility"),
        message_time=reading.text(msh, 7),
        processing_id=reading.text(msh, 11),
        encoding=encoding,
    )


def _hierarchic(reading: Reading, msh: Segment, n: int, what: str) -> str:
    """An HD field: namespace, or the universal id when there is no namespace."""
    value = reading.text(msh, n, 1) or reading.text(msh, n, 2)
    if not value:
        reading.missing(msh, n, what)
    return value


def _profiles(reading: Reading, msh: Segment) -> list[tuple[str, str]]:
    count = msh.repetition_count(21)
    pairs = [(reading.text(msh, 21, 1, 1, r), reading.text(msh, 21, 2, 1, r)) for r in range(1, count + 1)]
    return [pair for pair in pairs if any(pair)]


def _check_profile(reading: Reading, msh: Segment) -> None:
    profiles = _profiles(reading, msh)
    expected = "^".join(_PROFILE)
    if not profiles:
        reading.missing(msh, 21, f"the message profile {expected}")
    elif _PROFILE not in profiles:
        if any(name == _PROFILE[1] for _, name in profiles):
            reading.error("203", f"unsupported version of the volet: send {expected}", "MSH-21")
        else:
            reading.error("103", f"unknown message profile: send {expected}", "MSH-21")


def _check_constants(reading: Reading, msh: Segment) -> None:
    _hierarchic(reading, msh, 5, "the receiving application")
    _hierarchic(reading, msh, 6, "the receiving facility")
    time = reading.required(msh, 7, "the time of the message")
    if time and not _TIME.fullmatch(time):
        reading.error("102", "a time is yyyymmdd[hhmm[ss]][+zzzz]", "MSH-7")
    processing = reading.required(msh, 11, "the processing id")
    if processing and processing not in {"P", "T", "D"}:
        reading.error("202", "the processing id is P (production), T (test) or D (debug)", "MSH-11")
    country = reading.required(msh, 17, "the country code")
    if country and country != "FRA":
        reading.error("103", "the country code is FRA", "MSH-17")
    charset = reading.required(msh, 18, "the character set")
    if charset and charset not in _CHARSETS:
        reading.warning("103", f"the volet allows {' and '.join(sorted(_CHARSETS))}", "MSH-18")
