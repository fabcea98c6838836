"""Who works which lane, and who waits for work: the part of a store that lives and dies with its process.

Leases are not stored. A store has one engine process (a lock file holds that), so a crash takes its leases with it
and the lanes are free at the next start.
"""

from __future__ import annotations

import asyncio
import itertools
import threading

import anyio
from attrs import define, field

__all__ = ["Lease", "Leases", "Signals"]


@define(eq=False)
class Lease:
    """One lane in the hands of one worker.

    Attributes:
        sequence: the head that the worker has.
        settling: how many commits that settle this head are on their way; the lane cannot be given back meanwhile,
            or the head would be claimed a second time.
        settled: whether the head was settled; then `due` is when the lane's next head is due, None when there is none,
            and `generation` the channel's when that was learnt.
    """

    channel: str
    key: str
    token: int
    sequence: int
    settling: int = 0
    released: bool = False
    settled: bool = False
    due: float | None = None
    generation: int = 0


class Leases:
    """Lanes held in this process. A lane is taken in the reading thread and given back in the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = itertools.count(1)
        self._lanes: dict[str, dict[str, Lease]] = {}
        self._heads: dict[int, Lease] = {}

    def keys(self, channel: str) -> frozenset[str]:
        """The keys leased in a channel.

        Take this copy before the snapshot of the lanes: what was released before the copy was committed before it,
        so that the snapshot shows it. The other order hands out a message that was dealt with in between.
        """
        with self._lock:
            return frozenset(self._lanes.get(channel, ()))

    def take(self, channel: str, key: str, sequence: int) -> Lease:
        """Lease a free lane."""
        with self._lock:
            lease = Lease(channel, key, next(self._tokens), sequence)
            self._lanes.setdefault(channel, {})[key] = lease
            self._heads[sequence] = lease
            return lease

    def find(self, channel: str, key: str, token: int) -> Lease | None:
        """The lease, when the token still proves it."""
        lease = self._lanes.get(channel, {}).get(key)
        return lease if lease is not None and lease.token == token else None

    def of_head(self, sequence: int) -> Lease | None:
        """The lease under which this message is worked on."""
        return self._heads.get(sequence)

    def move(self, lease: Lease, sequence: int) -> None:
        """The worker goes on with the lane's next message."""
        with self._lock:
            self._heads.pop(lease.sequence, None)
            lease.sequence = sequence
            lease.settled = False
            self._heads[sequence] = lease

    def drop(self, lease: Lease) -> bool:
        """Free the lane, or remember to once its head's settling is committed. Whether it is free now."""
        with self._lock:
            lease.released = True
            if lease.settling:
                return False
            held = self._lanes.get(lease.channel, {})
            if held.get(lease.key) is lease:
                del held[lease.key]
                self._heads.pop(lease.sequence, None)
            return True


@define(eq=False)
class _Signal:
    generation: int = 1
    exhausted: int = 0
    waiters: dict[asyncio.Future[None], None] = field(factory=dict)  # in order of arrival

    def rouse(self, count: int) -> None:
        """Wake that many of those who wait. One that is being cancelled does not count: it would take no message."""
        while count and self.waiters:
            waiter = next(iter(self.waiters))
            del self.waiters[waiter]
            if not waiter.done():
                waiter.set_result(None)
                count -= 1


class Signals:
    """Wake-ups of workers, without a lost one. Event loop only.

    Each event that may make something claimable raises the channel's generation. A claim that finds nothing notes the
    generation at which it began. `wait` sleeps only when that generation is still the current one.
    """

    def __init__(self) -> None:
        self._signals: dict[str, _Signal] = {}

    def _of(self, channel: str) -> _Signal:
        return self._signals.setdefault(channel, _Signal())

    def generation(self, channel: str) -> int:
        """The channel's current generation."""
        return self._of(channel).generation

    def exhausted(self, channel: str, generation: int) -> None:
        """A claim that began at this generation found nothing."""
        signal = self._of(channel)
        signal.exhausted = max(signal.exhausted, generation)

    def wake(self, channel: str, count: int = 1) -> None:
        """That many lanes more may have become claimable: as many workers look, the others sleep on."""
        signal = self._of(channel)
        signal.generation += 1
        signal.rouse(count)

    def wake_all(self) -> None:
        """Something may have become claimable anywhere."""
        for channel, signal in self._signals.items():
            self.wake(channel, len(signal.waiters))

    async def wait(self, channel: str, timeout: float) -> None:
        """Return at the next wake-up since the last claim that found nothing, or after `timeout` seconds."""
        signal = self._of(channel)
        if signal.generation != signal.exhausted:
            await anyio.lowlevel.checkpoint()
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        signal.waiters[waiter] = None
        try:
            with anyio.move_on_after(timeout):
                await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                signal.rouse(1)  # this wake-up is for another worker now
            raise
        finally:
            signal.waiters.pop(waiter, None)
