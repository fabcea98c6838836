"""Headers that are set, and that nothing reads afterwards: a step is missing, or a name is wrong.

Steps are looked at from the end. What leaves through a channel or a sink may be read by anybody, and so may what comes
to a processor that does not say which headers it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final

from attrs import define, frozen

from pfiflow.flow import route as r
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.routefile.cel_syntax import headers_in, parse, paths_in
from pfiflow.routefile.grammar import message_fields
from pfiflow.routefile.look import Found
from pfiflow.routefile.steps import branches, component_of

__all__ = ["check_headers_are_read"]


@frozen
class _Read:
    """Headers that are read later: these, or with `but` all except these."""

    names: frozenset[str] = frozenset()
    but: bool = False

    def __contains__(self, name: str) -> bool:
        return (name in self.names) is not self.but

    def also(self, names: Iterable[str]) -> _Read:
        """These are read as well."""
        more = frozenset(names)
        return _Read(self.names - more, but=True) if self.but else _Read(self.names | more)

    def without(self, names: Iterable[str]) -> _Read:
        """What is read of these is what is set here."""
        gone = frozenset(names)
        return _Read(self.names | gone, but=True) if self.but else _Read(self.names - gone)

    def __or__(self, other: _Read) -> _Read:
        if self.but and other.but:
            return _Read(self.names & other.names, but=True)
        if self.but or other.but:
            everything, some = (self, other) if self.but else (other, self)
            return _Read(everything.names - some.names, but=True)
        return _Read(self.names | other.names)


_NOTHING: Final = _Read()
_EVERYTHING: Final = _Read(but=True)


def check_headers_are_read(definition: r.FlowDefinition, registry: Registry, found: Found) -> None:
    """Reports each `set-header` whose header nothing reads."""
    looker = _Backwards(registry, found)
    for route in definition.routes:
        for steps in (route.steps, route.on_rejected):
            looker.before(steps, _NOTHING)


@define
class _Backwards:
    registry: Registry
    found: Found

    def before(self, steps: Sequence[r.Step], read: _Read) -> _Read:
        """What is read from before these steps on, when `read` is after them."""
        return reduce(lambda after, step: self._step(step, after), reversed(steps), read)

    def _step(self, step: r.Step, read: _Read) -> _Read:
        match step:
            case r.SetHeader():
                return self._set_header(step, read)
            case r.ToChannel() | r.WireTap() | r.ToEndpoint():
                return _EVERYTHING
            case r.Process():
                component = component_of(step, self.registry)
                if component is None or not component.reads or component.sets_more:
                    return _EVERYTHING
                return read.also(component.reads)
            case r.Choice():
                ends = [self.before(branch, read) for branch in branches(step)]
                conditions = [_named(when.condition) for when in step.whens]
                return reduce(_Read.__or__, (*ends, *conditions))
            case r.Split() | r.Multicast():
                inside = [self.before(branch, _NOTHING) for branch in branches(step)]
                return reduce(_Read.__or__, inside, read)
            case r.Enrich():
                return self.before(step.steps, _NOTHING.also(step.headers)) | read.without(step.headers)
            case r.Filter() | r.Validate():
                return read | _named(step.condition)
            case r.Idempotent():
                return read | _named(step.key)
            case r.Log():
                return read.also(message_fields(step.message))
            case _:
                return read

    def _set_header(self, step: r.SetHeader, read: _Read) -> _Read:
        for name in step.headers:
            if name not in read:
                text = f"nothing that comes after this reads header {name!r}."
                self.found(step.place, "no-effect", "warning", text, "Send the exchange on, or leave it out.")
        return reduce(_Read.__or__, map(_named, step.headers.values()), read.without(step.headers))


def _named(value: r.Predicate) -> _Read:
    """The headers that an expression reads; all of them, when that cannot be told."""
    node = parse(value.text) if isinstance(value, Expression) else None
    if node is None or ("headers",) in paths_in(node):
        return _EVERYTHING
    return _Read(headers_in(node))
