"""What was read last, found again by its bytes.

A body that crosses a channel is written to the store and read from it; reading it again may cost more than all else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from attrs import define, field

__all__ = ["Recent"]

T = TypeVar("T")

_BEGINNING = 2048  # bytes: MSH with its control id, the first headers of a mail


@define(eq=False)
class Recent(Generic[T]):
    """Values by the bytes that they were read from; the longest unused go first. Safe between threads.

    Bytes are looked up by their length and beginning, then compared: to hash a document would cost as much as reading
    some. Of several that begin alike, the last one is kept.

    Attributes:
        items: most values kept.
        size: most bytes of what they were read from, all together.
        largest: most bytes of one; a larger one is not kept.
    """

    items: int
    size: int
    largest: int
    _values: OrderedDict[tuple[int, bytes], tuple[bytes, T]] = field(init=False, factory=OrderedDict)
    _held: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def get(self, raw: bytes) -> T | None:
        """What was kept for these bytes, or None."""
        if len(raw) > self.largest:
            return None
        with self._lock:
            place = len(raw), raw[:_BEGINNING]
            found = self._values.get(place)
            if found is None or found[0] != raw:
                return None
            self._values.move_to_end(place)
            return found[1]

    def put(self, raw: bytes, value: T) -> None:
        """Keep a value, in the place of what was kept for the same bytes."""
        if len(raw) > self.largest:
            return
        with self._lock:
            place = len(raw), raw[:_BEGINNING]
            if self._values.pop(place, None) is None:
                self._held += len(raw)
            self._values[place] = raw, value
            while len(self._values) > self.items or self._held > self.size:
                (size, _), _ = self._values.popitem(last=False)
                self._held -= size
