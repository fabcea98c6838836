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


@define(eq=False)
class Recent(Generic[T]):
    """Values by the bytes that they were read from; the longest unused go first. Safe between threads.

    Attributes:
        items: most values kept.
        size: most bytes of what they were read from, all together.
        largest: most bytes of one; a larger one is not kept.
    """

    items: int
    size: int
    largest: int
    _values: OrderedDict[bytes, T] = field(init=False, factory=OrderedDict)
    _held: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def get(self, raw: bytes) -> T | None:
        """What was kept for these bytes, or None."""
        if len(raw) > self.largest:
            return None
        with self._lock:
            value = self._values.get(raw)
            if value is not None:
                self._values.move_to_end(raw)
            return value

    def put(self, raw: bytes, value: T) -> None:
        """Keep a value, in the place of what was kept for the same bytes."""
        if len(raw) > self.largest:
            return
        with self._lock:
            if raw not in self._values:
                self._held += len(raw)
            self._values[raw] = value
            while len(self._values) > self.items or self._held > self.size:
                old, _ = self._values.popitem(last=False)
                self._held -= len(old)
