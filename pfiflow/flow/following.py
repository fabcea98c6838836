"""Following an exchange from where it was handed in to its end: through every channel, all of its parts, until nothing
of it waits any more.

It is known in this process alone, by what its own units of work put into channels and settle; nothing is asked of the
store. Who has dropped a `Sent` follows nothing, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import anyio
from attrs import define, field, frozen

from pfiflow.flow.component import Receipt
from pfiflow.store.api import Dead, JournalEntry, Message, Retry, Store, UnitOfWork

__all__ = ["Journey", "Journeys", "Outcome", "Sent"]


@frozen
class Outcome:
    """What became of an exchange, once nothing of it waits.

    Attributes:
        exchange_id: its id.
        dead: its messages that were given up (permanently refused, or too often failed): why, and their numbers, by
            which `pfiflow messages show` and `replay` know them.
        journal: what happened to it and to its parts, oldest first.
    """

    exchange_id: str
    dead: tuple[Dead, ...]
    journal: tuple[JournalEntry, ...]

    @property
    def succeeded(self) -> bool:
        """Whether all of it went where it was to go."""
        return not self.dead


@define(eq=False)
class Journey:
    """What of one exchange is under way: being handed in, or waiting in a channel."""

    exchange_id: str
    under_way: int = 1
    dead: list[Dead] = field(factory=list)
    _ended: anyio.Event = field(init=False, factory=anyio.Event)

    def count(self, more: int) -> None:
        """So many messages more are under way, or fewer."""
        self.under_way += more
        if not self.under_way:
            self._ended.set()

    async def end(self) -> None:
        """Return once nothing is under way."""
        await self._ended.wait()


@define(eq=False)
class Journeys:
    """The exchanges that somebody follows, by their ids."""

    _followed: WeakValueDictionary[str, Journey] = field(init=False, factory=WeakValueDictionary)
    _worked_on: dict[int, Journey] = field(init=False, factory=dict)

    def begin(self, exchange_id: str) -> Journey:
        """Follow an exchange that is about to be handed in."""
        journey = self._followed[exchange_id] = Journey(exchange_id)
        return journey

    def _of(self, exchange_id: str) -> Journey | None:
        return self._followed.get(exchange_id.partition(".")[0]) if self._followed else None

    @contextmanager
    def working_on(self, message: Message) -> Iterator[None]:
        """While a message is worked on, its journey is known by its number."""
        journey = self._of(message.exchange_id)
        if journey is None:
            yield
            return
        self._worked_on[message.sequence] = journey
        try:
            yield
        finally:
            del self._worked_on[message.sequence]

    @contextmanager
    def committing(self, unit: UnitOfWork) -> Iterator[None]:
        """A unit of work: what it puts into channels is under way before it can be claimed; what it settles, after."""
        enqueued = [journey for each in unit.enqueue if (journey := self._of(each.exchange_id)) is not None]
        for journey in enqueued:
            journey.count(1)
        try:
            yield
        except BaseException:
            for journey in enqueued:
                journey.count(-1)
            raise
        if unit.settle is None or isinstance(unit.settle, Retry):
            return
        settled = self._worked_on.get(unit.settle.sequence)
        if settled is not None:
            if isinstance(unit.settle, Dead):
                settled.dead.append(unit.settle)
            settled.count(-1)


@frozen
class Sent(Receipt):
    """The receipt of an exchange that the program handed in itself, which it may follow to its end."""

    _journey: Journey = field(kw_only=True, repr=False, eq=False)
    _store: Store = field(kw_only=True, repr=False, eq=False)

    async def outcome(self, timeout: float | None = None) -> Outcome:
        """Wait until all that came of the exchange has been delivered or given up, on every way, and say how it ended.

        A channel that is held, or that no route reads, keeps it waiting. Raises TimeoutError after so many seconds;
        the exchange goes on, and may be asked for again.
        """
        with anyio.move_on_after(timeout) as waiting:
            await self._journey.end()
        if waiting.cancelled_caught:
            text = f"exchange {self._journey.exchange_id} is not at its end: {self._journey.under_way} messages wait"
            raise TimeoutError(text)
        journal: list[JournalEntry] = []
        while lines := await self._store.journal(
            exchange_id=self._journey.exchange_id, after=journal[-1].line if journal else 0
        ):
            journal += lines
        return Outcome(self._journey.exchange_id, tuple(self._journey.dead), tuple(journal))
