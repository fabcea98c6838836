"""The in-memory twin's messages and lanes."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from attrs import define, field

from pfiflow.store.api import Enqueue, State

__all__ = ["Lane", "Lanes", "Stored", "oldest_due"]


@define(eq=False)
class Stored:
    """One message; its payload is kept apart, by digest."""

    sequence: int
    entry: Enqueue
    digest: bytes
    enqueued: float
    due: float
    state: State = "waiting"
    attempts: int = 0
    defects: int = 0
    progress: dict[str, str] = field(factory=dict)
    cause: str = ""
    detail: str = ""
    settled: float = 0.0


@define(eq=False)
class Lane:
    """Waiting sequences, oldest first. `due` 0.0: the head was due already when it became the head."""

    waiting: list[int] = field(factory=list)
    due: float = 0.0


class Lanes:
    """The lanes that have waiting messages."""

    def __init__(self, messages: Mapping[int, Stored]) -> None:
        self._messages = messages
        self._lanes: dict[tuple[str, str], Lane] = {}

    def of(self, channel: str, key: str) -> Lane | None:
        """The lane, when something waits in it."""
        return self._lanes.get((channel, key))

    def free(self, channel: str, leased: AbstractSet[str]) -> list[Lane]:
        """The channel's lanes but those of the leased keys."""
        return [lane for (name, key), lane in self._lanes.items() if name == channel and key not in leased]

    def append(self, stored: Stored, at: float) -> None:
        """A new message, the last of its lane."""
        lane = self.of(stored.entry.channel, stored.entry.key)
        if lane is None:
            self.refresh(stored, at)
        else:
            lane.waiting.append(stored.sequence)

    def refresh(self, stored: Stored, at: float) -> None:
        """Bring the message's lane in line with its state."""
        place = stored.entry.channel, stored.entry.key
        lane = self._lanes.setdefault(place, Lane())
        if stored.state == "waiting":
            if stored.sequence not in lane.waiting:
                insort(lane.waiting, stored.sequence)
        elif stored.sequence in lane.waiting:
            lane.waiting.remove(stored.sequence)
        if not lane.waiting:
            del self._lanes[place]
        else:
            due = self._messages[lane.waiting[0]].due
            lane.due = due if due > at else 0.0


def oldest_due(lanes: Sequence[Lane], now: float, latest: float) -> int | None:
    """The head to claim: see `Store.claim`."""
    ready = (lane.waiting[0] for lane in lanes if lane.due == 0)
    delayed = sorted((lane.due, lane.waiting[0]) for lane in lanes if 0 < lane.due <= now)
    beyond = sorted((lane.due, lane.waiting[0]) for lane in lanes if lane.due > latest)
    return min((*ready, *(head for _, head in (*delayed[:1], *beyond[:1]))), default=None)
