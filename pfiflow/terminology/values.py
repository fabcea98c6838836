"""A value set, an association and their concepts, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from attrs import field, frozen

__all__ = ["Association", "Concept", "ValueSet"]


@frozen
class Concept:
    """One coded concept: `system` is the OID of its code system, or a URN (`ASTM`, `URN`) where the source has one."""

    code: str
    system: str
    display: str = ""


def _by_code(concepts: Iterable[Concept]) -> Mapping[str, tuple[Concept, ...]]:
    index: dict[str, tuple[Concept, ...]] = {}
    for concept in concepts:
        index[concept.code] = (*index.get(concept.code, ()), concept)
    return MappingProxyType(index)


@frozen
class ValueSet:
    """A dated value set (JDV): iterates over its concepts in the order of its source.

    `"11502-2" in value_set` asks for a code in any system; `Concept(code, system) in value_set` for that very one.
    """

    name: str
    oid: str
    version: str  # yyyymmdd, "" when the source gives none
    title: str
    source: str
    concepts: tuple[Concept, ...] = field(repr=False)
    note: str = ""
    _index: Mapping[str, tuple[Concept, ...]] = field(init=False, repr=False, eq=False)

    @_index.default
    def _build_index(self) -> Mapping[str, tuple[Concept, ...]]:
        return _by_code(self.concepts)

    def find(self, code: str, system: str | None = None) -> Concept | None:
        """The concept with this code (and this system, when given), or None. The first one when systems differ."""
        return next((c for c in self._index.get(code, ()) if system is None or c.system == system), None)

    def __contains__(self, item: object) -> bool:
        match item:
            case str():
                return item in self._index
            case Concept(code=code, system=system):
                return self.find(code, system) is not None
        return False

    def __iter__(self) -> Iterator[Concept]:
        return iter(self.concepts)

    def __len__(self) -> int:
        return len(self.concepts)


def _read_only(targets: Mapping[str, Concept]) -> Mapping[str, Concept]:
    return MappingProxyType(dict(targets))


@frozen
class Association:
    """A dated association table (ASS): from a source code to one target concept."""

    name: str
    oid: str
    version: str
    title: str
    source: str
    targets: Mapping[str, Concept] = field(repr=False, converter=_read_only)
    note: str = ""

    def get(self, code: str) -> Concept | None:
        """The concept that `code` maps to, or None."""
        return self.targets.get(code)

    def __len__(self) -> int:
        return len(self.targets)
