"""PRT of an MDM to the LPS (volet LPS 1.1; PRT is pre-adopted from HL7 2.9)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from pfiflow.cda.document import is_oid
from pfiflow.hl7.er7 import SegmentSpec, segment, unescape
from pfiflow.hl7.writer import FieldValue
from pfiflow.segur.participations import PERSONS, STRUCTURES
from pfiflow.segur.values import Participation
from pfiflow.xds.metadata import SubmissionSet

__all__ = ["participation", "sender_of"]

_LABELS: Final = MappingProxyType({"SB": "Send by", "RCT": "Result Copies To", "REPLY": "Reply To"})
_NAMESPACES: Final = MappingProxyType({PERSONS: "ASIP-SANTE-PS", STRUCTURES: "ASIP-SANTE-ST"})


def sender_of(submission: SubmissionSet, address: str) -> Participation:
    """The sender: the mail's address, and who the author of the submission set is, as far as it says.

    authorPerson is an XCN, authorInstitution an XON (ITI TF-3 §4.2.3.1.4). A system (XCN-10 `U`) is PRT-10.
    """
    author = submission.authors[0] if submission.authors else None
    person, institution = (
        _components(author.person if author else ""),
        _components(author.institution if author else ""),
    )
    is_device = person[9] == "U"
    return Participation(
        "SB",
        person_id="" if is_device else person[0],
        person_family="" if is_device else person[1],
        person_given="" if is_device else person[2],
        person_authority="" if is_device else _oid(person[8]),
        person_id_type="" if is_device else person[12],
        organization_name=institution[0],
        organization_id=institution[9],
        organization_authority=_oid(institution[5]),
        organization_id_type=institution[6],
        device=(person[0] or person[1]) if is_device else "",
        address=address,
    )


def participation(who: Participation) -> SegmentSpec:
    """PRT-2 UC, 4 the kind, 5 the person, 8 the organisation, 10 the device, 15 the address."""
    fields: dict[int, FieldValue] = {
        2: "UC",
        4: (who.kind, _LABELS[who.kind], "participation"),
        10: who.device,
        15: ("", "", "X.400", who.address),
    }
    if who.person_id or who.person_family:
        authority = _hd(who.person_authority) if who.person_id else ""
        names = (who.person_id, who.person_family, who.person_given, "", "", "", "", "")
        fields[5] = (*names, authority, "D", "", "", who.person_id_type)
    if who.organization_id or who.organization_name:
        authority = _hd(who.organization_authority) if who.organization_id else ""
        kind = who.organization_id_type if who.organization_id else ""
        fields[8] = (who.organization_name, "", "", "", "", authority, kind, "", "", who.organization_id)
    return segment("PRT", fields)


def _hd(authority: str) -> str | tuple[str, ...]:
    """An OID with its namespace and `ISO`; anything else is a namespace by itself."""
    return (_NAMESPACES.get(authority, ""), authority, "ISO") if is_oid(authority) else authority


def _components(value: str) -> list[str]:
    """The first 13 components of an XCN or XON, unescaped but for their subcomponents."""
    parts = value.split("^", 13)[:13]
    return [part.strip() if "&" in part else unescape(part).strip() for part in parts] + [""] * (13 - len(parts))


def _oid(hd: str) -> str:
    parts = hd.split("&")
    return parts[1].strip() if len(parts) > 1 else parts[0].strip()
