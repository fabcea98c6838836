"""Where in the message a thing stands that a `Transmission` no longer says: looked up only when there is a problem."""

from __future__ import annotations

from pfiflow.errors import ProtocolError
from pfiflow.hl7.er7 import parse
from pfiflow.segur.metadata import canonical_code
from pfiflow.segur.values import Participation, Transmission

__all__ = ["flag_location", "recipient_location"]


def flag_location(transmission: Transmission, code: str) -> str:
    """`OBX[8]-5` of the metadata `code`; `OBX-5` when the message is not there to be asked."""
    try:
        for obx in parse(transmission.raw).all("OBX"):
            if canonical_code(obx.text(3)) == code:
                return f"{obx.location}-5"
    except ProtocolError:
        pass
    return "OBX-5"


def recipient_location(transmission: Transmission, recipient: Participation) -> str:
    """`PRT[3]-15` of a recipient; `PRT-15` when the message is not there to be asked."""
    place = next(i for i, each in enumerate(transmission.recipients) if each is recipient)
    try:
        found = [prt for prt in parse(transmission.raw).all("PRT") if prt.text(4).strip().upper() == "RCT"]
    except ProtocolError:
        found = []
    return f"{found[place].location}-15" if place < len(found) else "PRT-15"
