"""The XDM archive: `pack` and `unpack`, with the values that they take and give."""

from __future__ import annotations

from pfiflow.xdm.reader import unpack
from pfiflow.xdm.values import Action, ActionSlot, Archive, Limits, Sender, Software
from pfiflow.xdm.writer import pack, prepare

__all__ = [
    "Action",
    "ActionSlot",
    "Archive",
    "Limits",
    "Sender",
    "Software",
    "pack",
    "prepare",
    "unpack",
]
