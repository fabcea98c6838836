"""The embedded store: one SQLite file in WAL mode, group commit, claims on a connection of their own.

The threads are in `running.py`; the event loop only queues and wakes.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal, TypeVar

import anyio

from pfiflow.store import claims, operations, purge
from pfiflow.store.api import (
    ChannelStatus,
    Claim,
    JournalEntry,
    LedgerEntry,
    Message,
    MessageSummary,
    Purged,
    Record,
    State,
    StoreError,
    StoreFullError,
    UnitOfWork,
)
from pfiflow.store.leases import Lease, Leases, Signals
from pfiflow.store.lockfile import LockFile
from pfiflow.store.running import Running, Statistics
from pfiflow.store.schema import MIGRATIONS, translate
from pfiflow.store.units import Applied
from pfiflow.store.writer import Job

__all__ = ["Role", "SqliteStore", "Statistics"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

Role = Literal["engine", "operator"]


class _LaneLostError(StoreError):
    """A lane whose head can neither be read nor set aside."""


class SqliteStore:
    """`Store` in one SQLite file. Keeps every promise of `pfiflow.store.api`.

    With `role="operator"` it opens beside a running engine, for what operators ask: `commit` and the claims are the
    engine's alone. The engine notices what an operator changed within a second.

    Bind it to one event loop (asyncio): `open` and every other call in the same one.
    """

    def __init__(
        self,
        path: str | Path,
        role: Role = "engine",
        *,
        busy_timeout: float = 10.0,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self.path = Path(path)
        self.role = role
        self._busy_timeout = busy_timeout
        self._migrations = migrations
        self._lock = LockFile(self.path)
        self._leases = Leases()
        self._signals = Signals()
        self._running: Running | None = None
        self._last = Statistics(0, 0, 0)

    # -- life ----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open, migrate the schema, start the threads.

        Raises StoreLockedError when an engine runs on the file, StoreError when it is not a store, is damaged, is too
        new, or (operator) does not exist.
        """
        if self._running is not None:
            raise StoreError(f"store {self.path} is open already")
        if self.role == "engine":
            self._lock.acquire()
        self._leases = Leases()
        running = Running(self.path, self._migrations, self._busy_timeout, self._signals.wake_all)
        try:
            await anyio.to_thread.run_sync(running.connect, self.role == "engine")
        except BaseException as error:
            self._lock.release()
            known = translate(error, self.path)
            if known is error:
                raise
            raise known from error
        running.start(asyncio.get_running_loop())
        self._running = running

    async def aclose(self) -> None:
        """Commit what is queued, answer what was asked, close. Again: does nothing."""
        running, self._running = self._running, None
        if running is None:
            return
        with anyio.CancelScope(shield=True):
            await running.stop()
            self._lock.release()
            self._last = running.statistics()

    def statistics(self) -> Statistics:
        """Counts since `open`; once closed, of the time that it was open."""
        running = self._running
        return self._last if running is None else running.statistics()

    def _open(self) -> Running:
        if self._running is None:
            raise StoreError(f"store {self.path} is not open")
        return self._running

    def _engine(self) -> Running:
        if self.role != "engine":
            raise StoreError("an operator's store neither commits nor claims: that is the engine's")
        return self._open()

    # -- commits -------------------------------------------------------------------------------------------------------

    async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
        """See `Store.commit`."""
        running = self._engine()
        lease = None
        if unit.settle is not None and (lease := self._leases.of_head(unit.settle.sequence)) is not None:
            lease.settling += 1
        digests: tuple[bytes, ...] = ()

        def prepare() -> None:
            nonlocal digests
            digests = running.units.digests(unit)

        job = Job(
            lambda cursor: running.units.apply(cursor, unit, digests),
            asyncio.get_running_loop().create_future(),
            done=partial(self._committed, lease),
            prepare=prepare,
            size=sum([len(entry.payload) for entry in unit.enqueue]),
        )
        running.writer.submit(job)
        applied: Applied = await job.future
        return applied.sequences

    def _committed(self, lease: Lease | None, applied: Applied | None, error: BaseException | None) -> None:
        if lease is not None:
            lease.settling -= 1
        if error is None and applied is not None:
            for channel, count in applied.channels.items():
                self._signals.wake(channel, count)
            settled = applied.settled
            if settled is not None:
                if lease is None:  # settled without a claim: whoever waits may find the lane's next
                    self._signals.wake(settled.channel)
                else:
                    lease.settled = True
                    lease.due = settled.due
                    lease.generation = self._signals.generation(lease.channel)
        if lease is not None and lease.released:
            self._give_back(lease)

    async def _change(self, action: Callable[[sqlite3.Cursor], T], size: int = 0) -> T:
        job = Job(action, asyncio.get_running_loop().create_future(), size=size)
        self._open().writer.submit(job)
        result: T = await job.future
        return result

    # -- claims --------------------------------------------------------------------------------------------------------

    async def claim(self, channel: str, *, now: float, latest: float = inf) -> Claim | None:
        """See `Store.claim`. A message that cannot be read is set aside as dead, and the next one taken."""
        running = self._engine()
        while True:
            generation = self._signals.generation(channel)
            taken = await running.reader.ask(partial(self._take, channel, now, latest), unclaimed=self._drop_taken)
            if taken is None:
                self._signals.exhausted(channel, generation)
                return None
            lease, message = taken
            if isinstance(message, Message):
                return Claim(channel, lease.key, lease.token, message)
            try:
                await self._set_aside(lease, message, now)
            except _LaneLostError:
                continue
            self._give_back(lease)

    def _take(
        self, channel: str, now: float, latest: float, connection: sqlite3.Connection
    ) -> tuple[Lease, Message | claims.Unreadable] | None:
        """In the claims' thread, the only one that takes leases."""
        leased = self._leases.keys(channel)  # before the snapshot: see Leases.keys
        lane = claims.choose_lane(connection, channel, now, latest, leased)
        if lane is None:
            return None
        key, head = lane
        message = claims.load_message(connection, head)
        return self._leases.take(channel, key, head), message

    def _drop_taken(self, taken: tuple[Lease, object] | None) -> None:
        if taken is not None:
            self._give_back(taken[0])

    async def _set_aside(self, lease: Lease, unreadable: claims.Unreadable, now: float) -> None:
        """Make the lane's head dead. Should even that fail, its lane stays leased, so that the other lanes go on."""
        running = self._open()
        text = "message %d of channel %s cannot be read (%s): %s"
        facts = (unreadable.sequence, lease.channel, unreadable.cause)
        try:
            lease.due = await self._change(
                lambda cursor: running.units.set_aside(cursor, unreadable, lease.channel, lease.key, now)
            )
        except StoreFullError:
            self._give_back(lease)
            raise
        except StoreError as error:
            logger.error(text, *facts, f"its lane is held up until the next start ({error})")  # noqa: TRY400
            raise _LaneLostError from error
        except BaseException:
            self._give_back(lease)
            raise
        lease.settled = True
        lease.generation = self._signals.generation(lease.channel)
        logger.error(text, *facts, "set aside as dead")

    async def next(self, claim: Claim, *, now: float) -> Claim | None:
        """See `Store.next`. Asks the database only when the lane is not empty."""
        running = self._engine()
        lease = self._leases.find(claim.channel, claim.key, claim.token)
        if lease is None:
            raise StoreError(f"the lane of message {claim.message.sequence} is not held under this claim any more")
        while True:
            if lease.settled and (lease.due is None or lease.due > now):
                self._finish(lease)
                return None
            generation = self._signals.generation(lease.channel)
            try:
                message = await running.reader.ask(partial(self._follow, lease, now))
            except BaseException:
                self._give_back(lease)
                raise
            if message is None:
                lease.generation = generation
                self._finish(lease)
                return None
            self._leases.move(lease, message.sequence)
            if isinstance(message, Message):
                return Claim(lease.channel, lease.key, lease.token, message)
            try:
                await self._set_aside(lease, message, now)
            except _LaneLostError:
                return None

    @staticmethod
    def _follow(lease: Lease, now: float, connection: sqlite3.Connection) -> Message | claims.Unreadable | None:
        lane = claims.read_lane(connection, lease.channel, lease.key)
        if lane is None or lane[1] > now:
            return None
        return claims.load_message(connection, lane[0])

    async def release(self, claim: Claim) -> None:
        """See `Store.release`. A lane that is not held under this claim any more is left as it is."""
        lease = self._leases.find(claim.channel, claim.key, claim.token)
        if lease is not None:
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        if self._leases.drop(lease):
            self._signals.wake(lease.channel)

    def _finish(self, lease: Lease) -> None:
        """Free a lane that had nothing due, waking the others only when something has come since that was known."""
        if self._leases.drop(lease) and self._signals.generation(lease.channel) != lease.generation:
            self._signals.wake(lease.channel)

    async def wait(self, channel: str, *, timeout: float) -> None:
        """See `Store.wait`."""
        self._engine()
        await self._signals.wait(channel, timeout)

    async def next_due(self, channel: str) -> float | None:
        """See `Store.next_due`; 0.0 when a lane is due now, None for a held channel."""
        running = self._engine()

        def ask(connection: sqlite3.Connection) -> float | None:
            return claims.earliest_due(connection, channel, self._leases.keys(channel))

        return await running.reader.ask(ask)

    async def find_ledger(self, scope: str, key: str, *, now: float) -> LedgerEntry | None:
        """See `Store.find_ledger`."""
        return await self._open().reader.ask(lambda connection: claims.find_ledger(connection, scope, key, now))

    async def find_record(self, kind: str, key: str) -> Record | None:
        """See `Store.find_record`."""
        return await self._open().reader.ask(lambda connection: claims.find_record(connection, kind, key))

    async def declare_channels(self, names: Mapping[str, bool]) -> None:
        """See `Store.declare_channels`."""
        await self._change(lambda cursor: operations.declare_channels(cursor, names))

    # -- what operators ask --------------------------------------------------------------------------------------------

    async def channels(self) -> Sequence[ChannelStatus]:
        """See `Store.channels`."""
        return await self._open().lister.ask(operations.list_channels)

    async def messages(
        self, *, channel: str | None = None, state: State | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[MessageSummary]:
        """See `Store.messages`."""
        ask = partial(operations.list_messages, channel=channel, state=state, after=after, limit=limit)
        return await self._open().lister.ask(ask)

    async def message(self, sequence: int) -> tuple[MessageSummary, bytes] | None:
        """See `Store.message`."""
        return await self._open().lister.ask(lambda connection: operations.read_message(connection, sequence))

    async def journal(
        self, *, exchange_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> Sequence[JournalEntry]:
        """See `Store.journal`."""
        ask = partial(operations.list_journal, exchange_id=exchange_id, after=after, limit=limit)
        return await self._open().lister.ask(ask)

    async def records(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[Record]:
        """See `Store.records`."""
        ask = partial(operations.list_records, kind=kind, after=after, limit=limit)
        return await self._open().lister.ask(ask)

    async def replay(self, sequence: int, *, now: float, by: str = "") -> None:
        """See `Store.replay`."""
        channel = await self._change(lambda cursor: operations.replay(cursor, sequence, now, by))
        self._signals.wake(channel)

    async def discard(self, sequence: int, *, now: float, by: str = "") -> None:
        """See `Store.discard`."""
        await self._change(lambda cursor: operations.discard(cursor, sequence, now, by))

    async def set_hold(self, channel: str, *, hold: bool, now: float, by: str = "") -> None:
        """See `Store.set_hold`."""
        await self._change(lambda cursor: operations.set_hold(cursor, channel, now, by, hold=hold))
        self._signals.wake_all()

    async def purge(
        self, *, done_before: float, dead_before: float, journal_before: float, records_before: float = 0.0, now: float
    ) -> Purged:
        """See `Store.purge`. In small transactions, with a rest as long as each: it may take half of the writer."""
        total = Purged(0, 0, 0, 0, 0)
        some = partial(purge.purge_messages, done_before=done_before, dead_before=dead_before)
        while (part := await self._purge(some)).messages:
            total = purge.add(total, part)
        window = purge.JournalWindow(0, 0)
        while True:
            lines = partial(purge.purge_journal, before=journal_before, after=window.last)
            window = await self._purge(lines)
            if not window.removed:
                break
            total = purge.add(total, Purged(0, 0, 0, window.removed, 0))
        while entries := await self._purge(partial(purge.purge_ledger, now=now)):
            total = purge.add(total, Purged(0, 0, 0, 0, entries))
        while records := await self._purge(partial(purge.purge_records, before=records_before)):
            total = purge.add(total, Purged(0, 0, 0, 0, 0, records))
        return total

    async def _purge(self, action: Callable[[sqlite3.Cursor], T]) -> T:
        started = time.monotonic()
        removed = await self._change(action, purge.BATCH_BYTES)
        await asyncio.sleep(time.monotonic() - started)
        return removed
