"""Order and number of the segments of an MDM or ORU of the volet, and the groups that the OBX open.

MDM: MSH EVN PID PV1 {ORC [{TQ1 [{TQ2}]}] OBR [{NTE}]} TXA {OBX [{PRT}] [{NTE}]}, with one ORC group (cardinality 1..1).
ORU: MSH PID [PV1] ORC OBR [{NTE}] [{TQ1}] {OBX [{PRT}] [{NTE}]}.
Segments that the volet does not name are ignored, as it says, with a warning: the CREATEUR answers for what is in them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from attrs import define, field

from pfiflow.hl7.er7 import Segment
from pfiflow.segur.reading import Reading

__all__ = ["ObservationGroup", "check_structure"]

Structure = Literal["MDM", "ORU"]

_ORDER = MappingProxyType(
    {
        "MDM": ("MSH", "EVN", "PID", "PV1", "ORC", "OBR", "TXA", "OBX"),
        "ORU": ("MSH", "PID", "PV1", "ORC", "OBR", "OBX"),
    }
)
_OPTIONAL = frozenset({("ORU", "PV1")})
_UNORDERED = frozenset({"NTE", "TQ1", "TQ2", "PRT"})  # PRT and NTE belong to the segment before them


@define
class ObservationGroup:
    """An OBX with the PRT and NTE that follow it."""

    obx: Segment
    value_type: str  # OBX-2
    code: str  # OBX-3.1 as written
    table: str  # OBX-3.3
    participations: list[Segment] = field(factory=list)
    notes: list[Segment] = field(factory=list)


def check_structure(reading: Reading, structure: Structure) -> tuple[ObservationGroup, ...]:
    """The OBX groups, in order. Notes 100 (missing or misplaced segment) and 198 (one segment too many)."""
    message, order = reading.message, _ORDER[structure]
    for name in order:
        found = message.all(name)
        if not found and (structure, name) not in _OPTIONAL:
            reading.error("100", f"segment {name} is required in {structure}", name)
        if name != "OBX":
            for extra in found[1:]:
                reading.error("198", f"one {name} is allowed: send one patient and one order a message", extra.location)
    groups: list[ObservationGroup] = []
    rank, before = 0, ""
    for segment in message.segments:
        name = segment.name
        if name in order:
            if order.index(name) < rank:
                reading.error("100", f"misplaced: the order is {' '.join(order)}", segment.location)
            rank = max(rank, order.index(name))
            if name == "OBX":
                groups.append(
                    ObservationGroup(
                        segment, reading.text(segment, 2), reading.text(segment, 3), reading.text(segment, 3, 3)
                    )
                )
        elif name == "PRT":
            if before not in {"OBX", "PRT"}:
                reading.error("100", "misplaced: PRT follows the OBX of the document", segment.location)
            elif groups:
                groups[-1].participations.append(segment)
        elif name == "NTE":
            if groups:
                groups[-1].notes.append(segment)
        elif name not in _UNORDERED:
            reading.warning("100", f"{name} is not in the volet's {structure}: ignored", segment.location)
            continue
        before = name
    return tuple(groups)
