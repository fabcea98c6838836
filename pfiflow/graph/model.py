"""What a picture of routes shows: routes as cards of rows, and the sources, channels and sinks that they join.

A row that sends has a port: an edge leaves from it. Texts are those of the route file; of a component's options only
the address that a source listens on is shown, and nothing that a placeholder would fill in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, TypeAlias

from attrs import define, field, frozen

from pfiflow.flow import route as r
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.route import Place

__all__ = ["Card", "Detail", "Edge", "Graph", "Row", "Terminal", "graph_of"]

Detail: TypeAlias = Literal["routes", "steps"]


@frozen
class Row:
    """One line of a card.

    Attributes:
        text: what it says; a `note` follows in grey.
        kind: `step`; `branch` (a condition, a part of something); `target`, which has the port; `heading`.
        target: the terminal that the port leads to.
        refused: it is run for refused exchanges.
    """

    text: str
    kind: Literal["step", "branch", "target", "heading"] = "step"
    note: str = ""
    indent: int = 0
    target: str = ""
    refused: bool = False


@frozen
class Card:
    """A route."""

    id: str
    title: str
    rows: tuple[Row, ...]


@frozen
class Terminal:
    """A source, a channel or a sink. `subtitle` says more in grey."""

    id: str
    kind: Literal["source", "channel", "sink"]
    title: str
    subtitle: str = ""


@frozen
class Edge:
    """From a terminal to a card, or from a card's row to a terminal."""

    start: str
    end: str
    row: int | None = None
    refused: bool = False


@frozen
class Graph:
    """All of it, in the order of the route files."""

    cards: tuple[Card, ...]
    terminals: tuple[Terminal, ...]
    edges: tuple[Edge, ...]


def graph_of(
    definition: r.FlowDefinition,
    registry: Registry,
    detail: Detail = "routes",
    guessed: Collection[Place] = (),
) -> Graph:
    """The picture of these routes.

    Args:
        definition: what is shown.
        registry: the components that it names.
        detail: `routes` shows what each route processes and where it sends; `steps` shows every step.
        guessed: places of sources whose options hold stand-ins (`Loaded.guessed`): their address is not shown.
    """
    return _Drawer(definition, registry, detail, frozenset(guessed)).graph()


@define
class _Drawer:
    definition: r.FlowDefinition
    registry: Registry
    detail: Detail
    guessed: frozenset[Place]
    terminals: dict[str, Terminal] = field(factory=dict)
    sinks: list[tuple[str, object]] = field(factory=list)  # those without a name

    def graph(self) -> Graph:
        cards: list[Card] = []
        edges: list[Edge] = []
        for route in self.definition.routes:
            card_id = f"route:{route.id}"
            source = self._source(route)
            if source:
                edges.append(Edge(source, card_id))
            rows = self._rows(route)
            cards.append(Card(card_id, route.id, rows))
            edges += [Edge(card_id, row.target, number, row.refused) for number, row in enumerate(rows) if row.target]
        return Graph(tuple(cards), tuple(self.terminals.values()), tuple(edges))

    def _rows(self, route: r.Route) -> tuple[Row, ...]:
        if self.detail == "routes":
            return (*self._summary(route.steps, refused=False), *self._summary(route.on_rejected, refused=True))
        rows = [*self._outline(route.steps, 0, refused=False)]
        if route.on_rejected:
            rows.append(Row("on rejected", "heading", refused=True))
            rows += self._outline(route.on_rejected, 0, refused=True)
        return tuple(rows)

    # -- the two ways to show steps ------------------------------------------------------------------------------------

    def _summary(self, steps: Sequence[r.Step], *, refused: bool) -> Iterator[Row]:
        """Processors by name, and each target once with the condition under which it gets something."""
        flat = [*_flat(steps, ())]
        names = [_name(step) for step, _ in flat if isinstance(step, r.Process | r.Idempotent)]
        if names and not refused:
            yield from (Row(name) for name in dict.fromkeys(names))
        notes: dict[str, list[str]] = {}
        for step, conditions in flat:
            target = self._target(step)
            if target:
                notes.setdefault(target, []).append(" and ".join(conditions))
        for target, when in notes.items():
            title = self.terminals[target].title
            note = "" if "" in when or len(set(when)) > 1 else when[0]
            yield Row(title, "target", "refused" if refused else note, target=target, refused=refused)

    def _outline(self, steps: Sequence[r.Step], indent: int, *, refused: bool) -> Iterator[Row]:
        """Every step on a row, what is inside of it below, indented."""
        for step in steps:
            target = self._target(step)
            if target:
                tap = "tap" if isinstance(step, r.WireTap) else ""
                yield Row(self.terminals[target].title, "target", tap, indent, target, refused)
                continue
            text, note = _text(step)
            yield Row(text, "step", note, indent, refused=refused)
            for label, branch in _parts(step):
                deeper = indent + 1
                if label:
                    yield Row(label, "branch", "", deeper, refused=refused)
                    deeper += 1
                yield from self._outline(branch, deeper, refused=refused)

    # -- terminals -----------------------------------------------------------------------------------------------------

    def _source(self, route: r.Route) -> str:
        match route.source:
            case r.FromChannel(channel=name):
                return self._channel(name)
            case r.FromEndpoint(source=name, options=options, place=place):
                component = self.registry.component(name)
                address = "" if place in self.guessed else component.binds(options) or ""
                return self._add(Terminal(f"source:{route.id}", "source", name, address))
            case _:
                return ""

    def _target(self, step: r.Step) -> str:
        match step:
            case r.ToChannel(channel=name) | r.WireTap(channel=name):
                return self._channel(name)
            case r.ToEndpoint(sink=sink, id=name):
                return self._add(Terminal(f"sink:{name}", "sink", name, sink)) if name else self._inline(step)
            case _:
                return ""

    def _inline(self, step: r.ToEndpoint) -> str:
        """A sink without a name: those with the same options are one, as they are in the engine."""
        for number, (sink, options) in enumerate(self.sinks):
            if (sink, options) == (step.sink, step.options):
                return f"sink:{sink} {number}"
        self.sinks.append((step.sink, step.options))
        return self._add(Terminal(f"sink:{step.sink} {len(self.sinks) - 1}", "sink", step.sink))

    def _channel(self, name: str) -> str:
        spec = self.definition.channels.get(name)
        description = spec.description if spec is not None else ""
        held = spec is not None and spec.hold
        return self._add(Terminal(f"channel:{name}", "channel", name, "held" if held else description))

    def _add(self, terminal: Terminal) -> str:
        self.terminals.setdefault(terminal.id, terminal)
        return terminal.id


# -- texts -----------------------------------------------------------------------------------------------------------


def _flat(steps: Sequence[r.Step], conditions: tuple[str, ...]) -> Iterator[tuple[r.Step, tuple[str, ...]]]:
    """Every step, with the conditions of the branches around it."""
    for step in steps:
        yield step, conditions
        if isinstance(step, r.Choice):
            for when in step.whens:
                yield from _flat(when.steps, (*conditions, _written(when.condition)))
            yield from _flat(step.otherwise, (*conditions, "otherwise"))
        else:
            for _, branch in _parts(step):
                yield from _flat(branch, conditions)


def _parts(step: r.Step) -> Iterator[tuple[str, tuple[r.Step, ...]]]:
    """The steps inside of a step, each part with its label."""
    match step:
        case r.Choice():
            yield from ((_written(when.condition), when.steps) for when in step.whens)
            if step.otherwise:
                yield "otherwise", step.otherwise
        case r.Split() | r.Enrich():
            yield "", step.steps
        case r.Multicast():
            yield from ((f"copy {number}", branch) for number, branch in enumerate(step.branches, 1))
        case _:
            pass


def _name(step: r.Process | r.Idempotent) -> str:
    return "idempotent" if isinstance(step, r.Idempotent) else step.name


def _text(step: r.Step) -> tuple[str, str]:
    """What a row says of a step: its name, and the heart of its options."""
    match step:
        case r.Process() | r.Idempotent():
            return _name(step), ""
        case r.Filter():
            return "filter", _written(step.condition)
        case r.Validate():
            return "validate", "rejects" if step.condition == Expression("false") else _written(step.condition)
        case r.SetHeader():
            return "set-header", ", ".join(step.headers)
        case r.Enrich():
            return "enrich", ", ".join(step.headers)
        case r.Throttle():
            return "throttle", f"{step.rate} per {step.per:g} s"
        case r.Delay():
            return "delay", f"{step.duration:g} s"
        case r.Log():
            return "log", step.message
        case _:
            return type(step).__name__.lower(), ""


def _written(condition: r.Predicate) -> str:
    return " ".join(condition.text.split()) if isinstance(condition, Expression) else "condition"
