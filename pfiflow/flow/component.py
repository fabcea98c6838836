"""Components: what a route file can name. Built-ins and an integrator's own register the same way.

A component is found through the entry-point group `pfiflow.components`; each entry point names a tuple of
`Component`, `BodyType` and `Format` values. `Registry` is a plain value: two engines in one process may use two.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, Protocol, TypeVar

from attrs import field, frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.exchange import Exchange, Note
from pfiflow.flow.format import Format
from pfiflow.store.api import Record

__all__ = [
    "ENTRY_POINT_GROUP",
    "BodyType",
    "Component",
    "Double",
    "Field",
    "NoOptions",
    "Processor",
    "Receipt",
    "Receive",
    "Records",
    "Registry",
    "Sink",
    "Source",
]

ENTRY_POINT_GROUP = "pfiflow.components"

T = TypeVar("T")

Processor = Callable[[Exchange[Any]], Exchange[Any] | Awaitable[Exchange[Any]]]
"""One responsibility: takes an exchange, returns a new one. Raises Rejected, Deferred, or anything else (a defect)."""


@frozen
class Receipt:
    """What became of an exchange that a source handed in.

    `duplicate` is None for a first copy; otherwise `"same"` (same identity and content: answer as the first time)
    or `"other"` (same identity, other content: refuse).
    """

    exchange: Exchange[Any]
    duplicate: Literal["same", "other"] | None = None


class Receive(Protocol):
    """How a source hands an exchange to its route. Returns once the unit of work is durable, never before.

    Nothing else that a source does is known to the engine: `journal` is where it says so. A call raises Rejected
    (permanent refusal), Deferred (temporary: overload, full disk, stopping), or the defect itself.
    """

    async def __call__(self, exchange: Exchange[Any], /) -> Receipt: ...

    def new_id(self) -> str:
        """An id for an exchange that is about to be handed in.

        For a source that will speak of it in the journal, whatever becomes of it; otherwise leave the id empty.
        """
        ...

    async def journal(self, *notes: Note, exchange_id: str = "", rationed: bool = False) -> None:
        """Write facts to the journal beside any unit of work; returns once they are durable.

        For what a source does on its own behalf (it logged in, a connection was lost), and for what it does with an
        exchange once that is settled or without handing it in (it acknowledged, set aside, refused at the door).
        Facts are as `Note` says.

        While the store fails this waits, since the thing is done. When the engine stops before the store works again,
        the log says that a line was lost. Raises nothing.

        Args:
            notes: one a line.
            exchange_id: the exchange that they are about, if any.
            rationed: of what may repeat without end while a peer fails: ten lines of an event follow each other, then
                one in a quarter of an hour, over all lives of the route's source. The next rationed line that is
                written has the fact `unwritten`: the events withheld since, each with its count.
        """
        ...


class Source(Protocol):
    """Lets exchanges in. The only code, with sinks, that does I/O.

    `run` opens what it needs, calls `started()` with a human-readable address once it accepts, and serves until
    cancelled. It acknowledges to its peer only after `receive` has returned. `stop_accepting` is called first on a
    drain: no new exchange after it; those in flight finish, then `run` is cancelled.
    """

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None: ...
    async def stop_accepting(self) -> None: ...


class Sink(Protocol):
    """Sends one exchange outside. Returns the exchange, with notes and headers about the outcome.

    Raises Deferred (nothing lost, try again; its headers are kept for the next attempt) or Rejected (permanent).
    `aclose` is called once, when the engine stops.
    """

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]: ...
    async def aclose(self) -> None: ...


class Records(Protocol):
    """Looks up what exchanges have recorded with `with_memory`."""

    async def find_record(self, kind: str, key: str, /) -> Record | None: ...


@frozen
class NoOptions:
    """Options of a component that has none."""


@frozen
class Field:
    """What is known of a header, or of a field of a body's view: for lint, documentation and nothing else.

    Attributes:
        doc: one sentence.
        type: str, bool, int, float or list; a header is always text.
        values: all that it can be; empty: anything.
        always: it is there whenever the step has succeeded; of a header that is read: it must be there.
    """

    doc: str
    type: type = str
    values: tuple[str, ...] = ()
    always: bool = True


@frozen
class Double:
    """How a component takes part in tests without its network; see `double.py`.

    Attributes:
        build: for a sink: `(options, outside) -> Sink`, and the `Records` after them when the component uses some;
            for a source: `(options) -> Peer`.
        answers: for a sink: the options class of one scripted answer, all of whose options have defaults; these
            together are the answer of a destination that takes what it gets.
    """

    build: Callable[..., Any]
    answers: type = NoOptions


@frozen
class Component:
    """One name usable in a route file.

    Attributes:
        name: kebab-case, e.g. `mllp-in`.
        kind: source, sink or processor.
        options: the options class (see `options.py`).
        build: makes the source, sink or processor from an options instance. Called once per use in a route,
            at engine start; it does no I/O.
        doc: what it is for, one or two sentences.
        accepts: body type of the exchange that comes in (object: any). Ignored for a source.
        gives: body type of the exchange that goes out (object: the same as came in). Ignored for a sink whose
            exchange is unchanged. A sequence to be split says of what: `tuple[Order, ...]`.
        threaded: a processor whose work is long (milliseconds) and releases the GIL: the engine runs it in a thread.
        sets: headers that it sets.
        reads: headers that it reads.
        sets_more: it may set headers that `sets` does not name.
        uses_records: it looks up lasting facts: `build` then takes a `Records` after the options.
        binds: for a source: the `host:port` it will listen on, from its options, for lint.
        repeats: for a source: why it may hand in the same exchange twice, in words for humans; empty: it does not.
        claims: what nothing else may use while this does, from its options, in words for humans (a mailbox's folder, a
            file): for lint.
        check: raises ConfigError for options that do not go together: lint tells it before a start does.
        example: options that its example has besides those that are required, as a route file writes them.
        double: how it is tested without its network; None: by its body and headers alone.
    """

    name: str
    kind: Literal["source", "sink", "processor"]
    build: Callable[..., Any]
    doc: str
    options: type = NoOptions
    accepts: type = object
    gives: type = object
    threaded: bool = False
    sets: Mapping[str, Field] = field(factory=dict)
    reads: Mapping[str, Field] = field(factory=dict)
    sets_more: bool = False
    uses_records: bool = False
    double: Double | None = None
    binds: Callable[[Any], str | None] = field(default=lambda _options: None)
    repeats: str = ""
    claims: Callable[[Any], str | None] = field(default=lambda _options: None)
    check: Callable[[Any], None] = field(default=lambda _options: None)
    example: Mapping[str, object] = field(factory=dict)


@frozen
class BodyType(Generic[T]):
    """A type of body that may cross a channel or be looked into by an expression.

    `encode`/`decode` make it durable: decode(encode(x)) is x for every purpose. `view` gives small values (str, bool,
    int, lists and maps of them) to expressions, under `body`; never documents. `fields` says what the view holds, by
    dotted path (`customer.name`), for lint and documentation; empty: not said.
    """

    name: str
    type: type[T]
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    view: Callable[[T], Mapping[str, object]] = field(default=lambda _body: {})
    fields: Mapping[str, Field] = field(factory=dict)


def _identity(data: bytes) -> bytes:
    return data


BYTES: BodyType[bytes] = BodyType("bytes", bytes, _identity, _identity)
"""The body type that every registry knows."""


@frozen
class Registry:
    """The components and body types that an engine and its route files know, and the formats of tests. Immutable."""

    components: Mapping[str, Component]
    body_types: Mapping[str, BodyType[Any]]
    formats: Mapping[str, Format] = field(factory=dict)
    _by_type: Mapping[type, BodyType[Any]] = field(init=False, repr=False, eq=False)

    @_by_type.default
    def _index(self) -> Mapping[type, BodyType[Any]]:
        return {body_type.type: body_type for body_type in self.body_types.values()}

    @classmethod
    def of(cls, *items: Component | BodyType[Any] | Format) -> Registry:
        """A registry of exactly these (and `bytes`). Raises ConfigError when a name occurs twice."""
        components: dict[str, Component] = {}
        body_types: dict[str, BodyType[Any]] = {BYTES.name: BYTES}
        formats: dict[str, Format] = {}
        tables: Mapping[type, dict[str, Any]] = {Component: components, BodyType: body_types, Format: formats}
        for item in items:
            known = tables[type(item)]
            if item.name in known:
                raise ConfigError(f"component name {item.name!r} is registered twice", code="component")
            known[item.name] = item
        return cls(components, body_types, formats)

    @classmethod
    def installed(cls, *more: Component | BodyType[Any] | Format) -> Registry:
        """Everything installed under the entry-point group `pfiflow.components`, built-ins included, and `more`."""
        items: list[Component | BodyType[Any] | Format] = []
        for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
            loaded: Iterable[Component | BodyType[Any] | Format] = entry_point.load()
            items.extend(loaded)
        return cls.of(*items, *more)

    def component(self, name: str | Component, kind: str | None = None) -> Component:
        """The component of that name (and kind). Raises ConfigError with the nearest known name.

        One that a route carries itself, registered nowhere, is itself.
        """
        if isinstance(name, Component):
            return name
        found = self.components.get(name)
        if found is not None and kind in {None, found.kind}:
            return found
        names = [c.name for c in self.components.values() if kind in {None, c.kind}]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(names))}."
        raise ConfigError(f"unknown {kind or 'component'} {name!r}.", code="component", hint=hint)

    def body_type_of(self, body: object) -> BodyType[Any]:
        """The body type of this value. Raises TypeError when none is registered for it."""
        try:
            return self._by_type[type(body)]
        except KeyError:
            msg = f"no body type is registered for {type(body).__qualname__}; it cannot cross a channel"
            raise TypeError(msg) from None
