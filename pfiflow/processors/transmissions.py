"""The transmissions taken in last, with their documents as read: what intake has read is not read again to be sent."""

from __future__ import annotations

from attrs import define, field

from pfiflow.cda import document as cda
from pfiflow.cda.header import Element
from pfiflow.cda.values import ClinicalDocument
from pfiflow.processors.recent import Recent
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Transmission

__all__ = ["RECENT", "RecentTransmissions"]

# A message, its document and the document's tree take some three times the message. More of them would serve a longer
# queue, but each makes intake write to memory that is new to the processor's caches.
_ITEMS = 8
_SIZE = 2 * 2**20  # bytes of messages
_LARGEST = 2**20


@define(eq=False)
class _Known:
    """A transmission as read from its message, what its document says, and the tree of that for whoever comes first."""

    transmission: Transmission
    document: ClinicalDocument | None = None
    trees: list[Element] = field(factory=list)  # at most one


@define(eq=False)
class RecentTransmissions:
    """A bounded memory of transmissions, by the bytes of their messages. Safe between threads."""

    _known: Recent[_Known] = field(init=False, factory=lambda: Recent[_Known](_ITEMS, _SIZE, _LARGEST))

    def take_in(self, raw: bytes) -> Transmission:
        """A message as it comes in, read. Raises as `segur.transmission.read`."""
        transmission = read(raw)
        self._known.put(raw, _Known(transmission))
        return transmission

    def checked(self, transmission: Transmission, document: ClinicalDocument, tree: Element) -> None:
        """Keep what was read of the document. The tree is given away: the caller uses it no more."""
        if (known := self._find(transmission)) is not None:
            known.document, known.trees = document, [tree]

    def decode(self, raw: bytes) -> Transmission:
        """The transmission in a message, remembered or read. Raises as `segur.transmission.read`."""
        known = self._known.get(raw)
        return read(raw) if known is None else known.transmission

    def document(self, transmission: Transmission) -> ClinicalDocument:
        """What the document says. Raises as `cda.document.read`."""
        known = self._find(transmission)
        return cda.read(transmission.document) if known is None or known.document is None else known.document

    def tree(self, transmission: Transmission) -> tuple[ClinicalDocument, Element]:
        """What the document says, and its tree, which is then the caller's alone: trees are not shared by threads.

        Raises as `cda.document.read_tree`.
        """
        known = self._find(transmission)
        if known is not None and known.document is not None:
            try:
                return known.document, known.trees.pop()
            except IndexError:
                pass  # another has it
        return cda.read_tree(transmission.document)

    def _find(self, transmission: Transmission) -> _Known | None:
        """What is known of this very value: one that a step has changed is another, though its message is the same."""
        known = self._known.get(transmission.raw)
        return known if known is not None and known.transmission is transmission else None


RECENT = RecentTransmissions()
"""The process's."""
