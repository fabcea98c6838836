"""The store's contract: what an engine and an operator ask of it, in values. Two implementations keep it
(`sqlite.py`, `memory.py`) and one conformance suite tests both.

Promises:

* `commit` returns only when the whole unit of work is durable (fsync included), and is atomic: all of it or nothing.
* Order is by sequence number, never by clock. A channel is FIFO per key: the messages of one (channel, key) form a
  **lane**; a lane is worked by one claim at a time, oldest message first; a message that waits for its retry holds its
  lane alone.
* A payload is stored once by content hash, however many messages refer to it, and goes when nothing refers to it.
* A dead letter leaves its lane (the next message may go) and keeps its payload until an operator or the retention
  removes it.
* Nothing unfinished is ever purged.

Times are POSIX seconds given by the caller: the store reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import inf
from typing import Literal, Protocol

from attrs import define, field, frozen

from pfiflow.errors import PfiflowError

__all__ = [
    "ChannelStatus",
    "Claim",
    "ContentHash",
    "Dead",
    "Done",
    "DuplicateKeyError",
    "Enqueue",
    "JournalEntry",
    "LedgerEntry",
    "Message",
    "MessageSummary",
    "Purged",
    "Record",
    "Retry",
    "State",
    "Store",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "UnitOfWork",
]

State = Literal["waiting", "done", "dead"]


class StoreError(PfiflowError):
    """The store cannot do what was asked (I/O error, wrong schema version…). Nothing of the unit of work was kept."""


class StoreLockedError(StoreError):
    """Another process runs on this store."""


class StoreFullError(StoreError):
    """No space left on the device. Nothing of the unit of work was kept; it may succeed later."""


class DuplicateKeyError(StoreError):
    """A ledger key of the unit of work is there already; nothing of the unit of work was kept."""

    def __init__(self, entry: LedgerEntry) -> None:
        super().__init__(f"ledger key already recorded in scope {entry.scope!r}")
        self.entry = entry  # the one that was there first


@define(eq=False)
class ContentHash:
    """The SHA-256 of a payload, computed when it is first asked: the store asks in the thread that writes.

    `bytes()` of it is the digest. Safe between threads: at worst two compute the same.
    """

    payload: bytes = field(repr=False)
    _digest: bytes = field(default=b"", init=False)

    def __bytes__(self) -> bytes:
        if not self._digest:
            self._digest = sha256(self.payload).digest()
        return self._digest


@frozen
class Enqueue:
    """One message to put into a channel."""

    channel: str
    key: str
    exchange_id: str
    body_type: str
    payload: bytes
    headers: Mapping[str, str] = field(factory=dict)
    origin: str = ""
    received: float = 0.0  # Exchange.received
    due: float = 0.0  # not before
    digest: bytes | ContentHash | None = None  # SHA-256 of the payload, when somebody else asks for it too


@frozen
class LedgerEntry:
    """An idempotency key: (scope, key) is unique until `expires`; `digest` tells same content from other content."""

    scope: str
    key: str
    digest: bytes | ContentHash
    exchange_id: str
    expires: float


@frozen
class JournalEntry:
    """One line of the journal. Facts are ids, counts and codes."""

    at: float
    exchange_id: str
    route: str
    event: str
    facts: Mapping[str, str] = field(factory=dict)
    line: int = 0  # given by the store, rising; what `Store.journal(after=…)` goes on from


@frozen
class Record:
    """A lasting fact about something outside, by (kind, key): what was submitted, what was sent. The last one stays."""

    kind: str
    key: str
    at: float
    exchange_id: str
    facts: Mapping[str, str] = field(factory=dict)


@frozen
class Done:
    """The message was dealt with. Ledger entries of the same unit of work belong to it: a replay removes them."""

    sequence: int


@frozen
class Retry:
    """The message waits until `due`. `headers` are merged into the stored ones."""

    sequence: int
    due: float
    cause: str
    headers: Mapping[str, str] = field(factory=dict)
    defect: bool = False  # an unexpected exception rather than a temporary refusal: counted in `Message.defects`
    counted: bool = True  # in `Message.attempts`; False when the attempt says nothing of this message


@frozen
class Dead:
    """The message is given up: permanently refused, too many attempts, or unreadable. `headers` as in `Retry`."""

    sequence: int
    cause: str
    detail: str = ""  # problems, or a traceback
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class UnitOfWork:
    """What one exchange changes, committed atomically."""

    settle: Done | Retry | Dead | None = None
    enqueue: tuple[Enqueue, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    at: float = 0.0  # now
    records: tuple[Record, ...] = ()


@frozen
class Message:
    """A message claimed for delivery.

    `attempts` counts the attempts that have failed so far (each `Retry`, and a `Dead`), `defects` those of them that
    failed by an unexpected exception. `headers` are the enqueued ones and, over them, what `Retry` and `Dead` merged.
    """

    sequence: int
    channel: str
    key: str
    exchange_id: str
    body_type: str
    payload: bytes
    headers: Mapping[str, str]
    origin: str
    received: float
    enqueued: float
    attempts: int
    defects: int


@frozen
class Claim:
    """A lane held by one worker, and its head. `token` proves the lease."""

    channel: str
    key: str
    token: int
    message: Message


@frozen
class MessageSummary:
    """What an operator sees of a message: no payload."""

    sequence: int
    channel: str
    key: str
    exchange_id: str
    state: State
    body_type: str
    size: int  # payload bytes
    headers: Mapping[str, str]
    origin: str
    received: float
    enqueued: float
    due: float
    attempts: int
    defects: int
    cause: str
    detail: str


@frozen
class ChannelStatus:
    """Counts of one channel."""

    channel: str
    held: bool
    waiting: int
    dead: int
    done: int
    oldest: float | None  # `enqueued` of the oldest waiting message


@frozen
class Purged:
    """What a purge removed."""

    messages: int
    payloads: int
    payload_bytes: int
    journal: int
    ledger: int
    records: int = 0


class Store(Protocol):
    """See the module's promises. Every method may raise StoreError."""

    async def open(self) -> None:
        """Open, migrate the schema, recover. Raises StoreLockedError when another process runs on it."""

    async def aclose(self) -> None:
        """Finish what is queued for commit, then close."""

    async def commit(self, unit: UnitOfWork) -> tuple[int, ...]:
        """Make the unit durable; gives the sequence numbers of its `enqueue`, in order.

        Raises DuplicateKeyError, StoreFullError, StoreError; then nothing of it is kept. Once called it completes even
        if the caller is cancelled.
        """

    async def claim(self, channel: str, *, now: float, latest: float = inf) -> Claim | None:
        """Take the lane of this channel whose due head is oldest, or None (nothing due, all leased, or held).

        A head due after `latest` is due: nobody waits so long, its time comes from a clock that ran ahead.

        Oldest by sequence number. Of the heads that had to wait for their due time, the one whose time came first
        stands for all in that comparison. A head that cannot be read is set aside as dead, journaled, and the next
        lane taken.
        """

    async def next(self, claim: Claim, *, now: float) -> Claim | None:
        """After the head was settled: the same lane with its next due message, or None; then the lane is released.

        Raises StoreError when the lane is not held under this claim any more.
        """

    async def release(self, claim: Claim) -> None:
        """Give the lane back without settling its head (the worker stops). Harmless when it was given back already.

        When a commit that settles the head is still on its way (its caller was cancelled), the lane is free once that
        commit is done.
        """

    async def wait(self, channel: str, *, timeout: float) -> None:
        """Return when something may have become claimable in this channel, or after `timeout` seconds.

        At once when that has happened since the start of the last `claim` that gave None. A due time that comes is no
        such event: bound `timeout` by `next_due`.
        """

    async def next_due(self, channel: str) -> float | None:
        """When the earliest unleased lane of this channel is due (0.0: now); None when there is none, or it is held."""

    async def find_ledger(self, scope: str, key: str, *, now: float) -> LedgerEntry | None:
        """The unexpired ledger entry, or None. A hint only: `commit` decides."""

    async def find_record(self, kind: str, key: str) -> Record | None:
        """The record of that kind and key, or None."""

    async def declare_channels(self, names: Mapping[str, bool]) -> None:
        """Make these channels known, with their initial hold switch; an operator's hold or release survives."""

    # -- what operators ask ---------------------------------------------------------------------------------------

    async def channels(self) -> Sequence[ChannelStatus]:
        """Every known channel."""

    async def messages(
        self, *, channel: str | None = None, state: State | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[MessageSummary]:
        """Messages by sequence number."""

    async def message(self, sequence: int) -> tuple[MessageSummary, bytes] | None:
        """One message with its payload."""

    async def journal(
        self, *, exchange_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> Sequence[JournalEntry]:
        """Journal lines, oldest first; for an exchange id, those of its parts (`<id>.…`) as well."""

    async def records(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[Record]:
        """Records of a kind by key, those after a key."""

    async def replay(self, sequence: int, *, now: float, by: str = "") -> None:
        """Make a dead or done message wait again, due now, with its attempts reset; its ledger rows are removed.

        It takes its old place, by sequence number, in its lane. Headers merged by attempts stay on a dead message (what
        was achieved is not done twice) and are dropped from a done one (a wanted resend goes wholly). Raises StoreError
        when there is no such message or it waits (it may be worked on at this moment). Journaled, as `discard` and
        `set_hold` are: `by` is who wanted it.
        """

    async def discard(self, sequence: int, *, now: float, by: str = "") -> None:
        """Mark a dead message done, by an operator's decision. Raises StoreError when it is not dead."""

    async def set_hold(self, channel: str, *, hold: bool, now: float, by: str = "") -> None:
        """Hold or release a channel. What is claimed goes on. Raises StoreError for an unknown channel."""

    async def purge(
        self, *, done_before: float, dead_before: float, journal_before: float, records_before: float = 0.0, now: float
    ) -> Purged:
        """Remove finished messages, journal lines, records and expired ledger rows older than these.

        Never anything unfinished.
        """
