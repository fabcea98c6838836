"""What a source is given of its route: the way in for exchanges, and a journal for what it does besides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import anyio
from attrs import define, evolve, field

from pfiflow.errors import Deferred
from pfiflow.flow.admission import Admission
from pfiflow.flow.compiled import CompiledRoute
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange, Note
from pfiflow.flow.pipeline import Work

__all__ = ["Entrance", "Ration"]

AnyExchange: TypeAlias = Exchange[Any]

_BURST: Final = 10  # lines of one event that may follow each other at once
_EVERY: Final = 900.0  # seconds in which one more may be written


@define(eq=False)
class Ration:
    """How many lines of each event may be written: `burst` at once, then one `every` so many seconds.

    A peer that fails all day would otherwise fill the journal. What is withheld is counted, and the next line says it.
    """

    burst: int = _BURST
    every: float = _EVERY
    _spent: dict[str, tuple[float, float]] = field(init=False, factory=dict)  # event → lines owed, as of then
    _withheld: dict[str, int] = field(init=False, factory=dict)

    def allowed(self, notes: tuple[Note, ...], now: float) -> Iterator[Note]:
        """Those of the notes that may be written now; the first one says what was withheld before it."""
        for note in notes:
            owed, then = self._spent.get(note.event, (0.0, now))
            owed = max(0.0, owed - max(0.0, now - then) / self.every)
            if owed > self.burst - 1:
                self._spent[note.event] = owed, now
                self._withheld[note.event] = self._withheld.get(note.event, 0) + 1
                continue
            self._spent[note.event] = owed + 1, now
            yield self._with_withheld(note)

    def _with_withheld(self, note: Note) -> Note:
        if not self._withheld:
            return note
        told = " ".join(f"{event}:{count}" for event, count in self._withheld.items())
        self._withheld.clear()
        return evolve(note, facts={**note.facts, "unwritten": told})


@define(eq=False)
class Entrance:
    """`Receive` of one route; outlives the sources that the route has one after the other, and its pipelines.

    What comes in while `closed` waits, until a reload has taken effect or is refused.
    """

    compiled: CompiledRoute
    admission: Admission
    stopping: anyio.Event
    closed: anyio.Event | None = None
    _ration: Ration = field(init=False, factory=Ration)

    async def __call__(self, exchange: AnyExchange, /) -> Receipt:
        """See `Receive`."""
        if self.closed is not None:
            await self.closed.wait()
        if self.stopping.is_set():
            raise Deferred("the engine is stopping")
        compiled = self.compiled
        with compiled.in_flight:
            return await self.admission.receive(compiled, exchange)

    def open(self) -> None:
        """Let in what waits."""
        if self.closed is not None:
            self.closed.set()
            self.closed = None

    def new_id(self) -> str:
        """See `Receive`."""
        return self.admission.new_id(self.admission.settlement.clock.now())

    async def journal(self, *notes: Note, exchange_id: str = "", rationed: bool = False) -> None:
        """See `Receive`."""
        settlement = self.admission.settlement
        now = settlement.clock.now()
        written = tuple(self._ration.allowed(notes, now)) if rationed else notes
        if written:
            work = Work(self.compiled.id, now)
            work.record(Exchange(exchange_id, None, notes=written))
            with self.compiled.in_flight:
                await settlement.settle(work, None)
