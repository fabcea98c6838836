"""IHE XDM archives: pack and unpack."""

from pfiflow.xdm.archive import Action, ActionSlot, Archive, Limits, Sender, Software, pack, prepare, unpack

__all__ = ["Action", "ActionSlot", "Archive", "Limits", "Sender", "Software", "pack", "prepare", "unpack"]
