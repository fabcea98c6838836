"""What a test of routes sees: values, and the clock that goes when it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import anyio
from attrs import Factory, define, field, frozen

from pfiflow.errors import Problem
from pfiflow.store.api import JournalEntry, MessageSummary, Record

__all__ = ["START", "Answered", "Attempt", "Outcome", "Seen", "Sent", "VirtualClock"]

Outcome = Literal["accepted", "duplicate", "refused", "deferred", "defect"]

START = 1_767_250_800.0
"""When a test begins: 2026-01-01 08:00 in Paris."""


@define
class VirtualClock:
    """A clock that goes when it is told. `now` is POSIX seconds."""

    time: float = START

    def now(self) -> float:
        """POSIX seconds."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """The time passes at once."""
        self.time += max(seconds, 0.0)
        await anyio.lowlevel.checkpoint()


@frozen
class Sent:
    """What left by a sink, as its protocol sent it.

    Attributes:
        route: whose step sent it.
        endpoint: the endpoint's name, or its component's when it stands in the route itself.
        component: the sink's component.
        options: the options of the sink: where it sends to, and as whom.
        content: the bytes.
        facts: what goes with them: the envelope of a mail, the address of a request.
        at: seconds since the test began.
        exchange_id: of the exchange.
    """

    route: str
    endpoint: str
    component: str
    options: Any
    content: bytes = field(repr=False)
    facts: Mapping[str, str]
    at: float
    exchange_id: str


@frozen
class Attempt:
    """One attempt to send, and what came of it."""

    route: str
    endpoint: str
    at: float
    outcome: Outcome
    cause: str = ""


@frozen
class Answered:
    """What a source made of one message, and said to its peer."""

    outcome: Outcome
    problems: tuple[Problem, ...] = ()
    content: bytes = field(default=b"", repr=False)
    facts: Mapping[str, str] = Factory(dict)
    exchange_id: str = ""


@frozen
class Seen:
    """What came of a test.

    Attributes:
        answered: what sources made of each message given, in order.
        sent: what left, in order.
        attempts: every attempt to send, in order.
        waiting: by channel, the messages in it with their stored bytes, oldest first.
        dead: dead letters, oldest first.
        records: lasting facts.
        journal: its lines.
        unused: destinations with answers that were scripted, and never asked for.
        started: when the test began, in POSIX seconds.
    """

    answered: tuple[Answered, ...]
    sent: tuple[Sent, ...]
    attempts: tuple[Attempt, ...]
    waiting: Mapping[str, Sequence[tuple[MessageSummary, bytes]]]
    dead: tuple[MessageSummary, ...]
    records: tuple[Record, ...]
    journal: tuple[JournalEntry, ...]
    unused: tuple[str, ...]
    started: float
