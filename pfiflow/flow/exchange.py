"""Exchange: one message on its way through a route."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from attrs import evolve, field, frozen

__all__ = ["Exchange", "Memory", "Note"]

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


def _read_only(facts: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(facts))


@frozen
class Note:
    """One fact for the journal: what happened (`event`, a short kebab-case word) and its details.

    Facts are ids, counts and codes; never content, never anybody's identity.
    """

    event: str
    facts: Mapping[str, str] = field(default=MappingProxyType({}), converter=_read_only)


@frozen
class Memory:
    """One lasting fact, by (kind, key): kept in the store, found again by components that ask for `Records`."""

    kind: str
    key: str
    facts: Mapping[str, str] = field(default=MappingProxyType({}), converter=_read_only)


@frozen(slots=True)
class Exchange(Generic[T_co]):
    """One message on its way: immutable; a step returns a new one.

    Attributes:
        id: unique and stable over redeliveries; what is sent outside derives its identity from it.
        body: a value of one of the registered body types (plain `bytes` included).
        headers: str → str, small; kept with the message in a channel.
        origin: which source let it in, e.g. `mllp-in 127.0.0.1:51312`.
        received: POSIX seconds at which the first source took it; the same on every attempt.
        notes: facts that the unit of work writes to the journal.
        memories: lasting facts that the unit of work records.
    """

    id: str
    body: T_co
    headers: Mapping[str, str] = field(factory=dict)
    origin: str = ""
    received: float = 0.0
    notes: tuple[Note, ...] = ()
    memories: tuple[Memory, ...] = ()

    def with_body(self, body: U) -> Exchange[U]:
        """The same exchange carrying another body."""
        return evolve(self, body=body)  # type: ignore[arg-type,return-value]

    def with_headers(self, headers: Mapping[str, str]) -> Exchange[T_co]:
        """The same exchange with these headers added or replaced."""
        return evolve(self, headers={**self.headers, **headers})

    def with_note(self, event: str, /, **facts: object) -> Exchange[T_co]:
        """The same exchange with one more fact for the journal (values are written with `str`)."""
        note = Note(event, {name: str(value) for name, value in facts.items()})
        return evolve(self, notes=(*self.notes, note))

    def with_memory(self, kind: str, key: str, /, **facts: object) -> Exchange[T_co]:
        """The same exchange with one lasting fact to record (values are written with `str`)."""
        memory = Memory(kind, key, {name: str(value) for name, value in facts.items()})
        return evolve(self, memories=(*self.memories, memory))

    def part(self, number: int, body: U) -> Exchange[U]:
        """Part `number` (from 1) of this exchange, with an id derived from it, the same on every attempt."""
        changed: Any = evolve(self, id=f"{self.id}.{number}", body=body, notes=(), memories=())  # type: ignore[arg-type]
        return changed  # type: ignore[no-any-return]
