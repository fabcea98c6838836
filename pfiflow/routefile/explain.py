"""Walks a message through a flow, sending nothing, and tells what each step did, changed and decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from pfiflow.errors import Deferred, Rejected
from pfiflow.flow import route as r
from pfiflow.flow.component import Registry
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import Expression
from pfiflow.flow.pipeline import Ended, SeenBefore, Work
from pfiflow.flow.route import Place
from pfiflow.flow.trace import Decided, StepBegan, StepEnded, TraceEvent
from pfiflow.routefile.cel_syntax import parse, paths_in
from pfiflow.routefile.grammar import EIP_STEPS

__all__ = ["Decision", "Explainer", "StepTold", "Walk", "step_name"]

_NAMES: Mapping[type, str] = {
    r.Choice: "choice",
    r.Filter: "filter",
    r.Split: "split",
    r.Multicast: "multicast",
    r.WireTap: "wire-tap",
    r.Enrich: "enrich",
    r.SetHeader: "set-header",
    r.Validate: "validate",
    r.Idempotent: "idempotent",
    r.Throttle: "throttle",
    r.Delay: "delay",
    r.Log: "log",
}
assert set(_NAMES.values()) <= set(EIP_STEPS)


def step_name(step: r.Step) -> str:
    """A step as a route file calls it: `read-order`, `choice`, `to orders`."""
    match step:
        case r.Process():
            return step.name
        case r.ToChannel(channel=channel):
            return f"to channel {channel}"
        case r.ToEndpoint(sink=sink, id=endpoint):
            return f"to endpoint {endpoint}" if endpoint else f"to {sink}"
        case _:
            return _NAMES[type(step)]


@define
class Decision:
    """A condition that was looked at, what it came to, and what it was about: the values that it names."""

    condition: str
    holds: bool
    values: Mapping[str, str]
    place: Place | None


@define
class StepTold:
    """What one step did.

    Attributes:
        name: as the route file calls it.
        place: where it stands there.
        part: the exchange's id, where it is a part of a split: `.2`.
        body: `type → type` when the body's type changed.
        view: what conditions see of the new body, by path.
        set_headers: headers added or changed, with their values; the former value of those changed.
        decisions: conditions looked at, in order.
        put: channel and key of each message that it put into a channel.
        remembered: idempotency keys and records.
        notes: lines for the journal.
        end: why nothing goes on from here, each problem a line; empty when the exchange went on.
        steps: what happened inside of it.
    """

    name: str
    place: Place | None
    part: str = ""
    body: str = ""
    view: dict[str, str] = field(factory=dict)
    set_headers: dict[str, tuple[str | None, str]] = field(factory=dict)
    decisions: list[Decision] = field(factory=list)
    put: list[tuple[str, str]] = field(factory=list)
    remembered: list[str] = field(factory=list)
    notes: list[str] = field(factory=list)
    end: list[str] = field(factory=list)
    steps: list[StepTold] = field(factory=list)


@define
class Walk:
    """One exchange's way through one route: its steps, or (`refused`) those of `on-rejected`."""

    route: str
    exchange_id: str
    headers: Mapping[str, str]
    body: str
    refused: bool = False
    steps: list[StepTold] = field(factory=list)


@define
class _Open:
    """A step that has begun, and how much its unit of work held then."""

    event: StepBegan
    told: StepTold
    counts: tuple[int, int, int, int]


@define
class Explainer:
    """A trace that keeps what it is told, to be explained: pass `trace` to the engine or the tester."""

    registry: Registry
    definition: r.FlowDefinition
    walks: list[Walk] = field(factory=list)
    _open: list[_Open] = field(factory=list)
    _work: Work | None = None

    def trace(self, event: TraceEvent) -> None:
        """See `Trace`."""
        match event:
            case StepBegan():
                self._begin(event)
            case Decided():
                self._open[-1].told.decisions.append(self._decision(event))
            case StepEnded():
                self._end(event)

    def _begin(self, event: StepBegan) -> None:
        exchange = event.exchange
        if not self._open and event.work is not self._work:
            self._work = event.work
            refused = any(event.step is each for route in self.definition.routes for each in route.on_rejected)
            body = type(exchange.body).__name__
            self.walks.append(Walk(event.route, exchange.id, exchange.headers, body, refused))
        place = getattr(event.step, "place", None)
        parent = self._open[-1].event.exchange.id if self._open else exchange.id
        told = StepTold(step_name(event.step), place, exchange.id.removeprefix(parent))
        (self._open[-1].told.steps if self._open else self.walks[-1].steps).append(told)
        self._open.append(_Open(event, told, _counts(event.work)))

    def _decision(self, event: Decided) -> Decision:
        condition = event.where.condition
        text = condition.text if isinstance(condition, Expression) else getattr(condition, "__name__", "a function")
        return Decision(text, event.holds, self._values(text, event.exchange), event.where.place)

    def _values(self, text: str, exchange: Exchange[Any]) -> dict[str, str]:
        """What the expression names, as it is now; a member that is not there is left out."""
        node = parse(text)
        values: dict[str, str] = {}
        seen = {"headers": exchange.headers, "body": self._view(exchange.body), "id": exchange.id}
        for path in sorted(paths_in(node)) if node is not None else ():
            value: Any = seen
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None and not isinstance(value, Mapping):
                values[".".join(path)] = _plain(value)
        return values

    def _view(self, body: object) -> Mapping[str, object]:
        try:
            return self.registry.body_type_of(body).view(body)
        except TypeError:
            return {}

    def _end(self, event: StepEnded) -> None:
        opened = self._open.pop()
        told, before = opened.told, opened.event.exchange
        if event.result is not None and not isinstance(event.step, r.Choice):  # its steps have told
            after = event.result
            told.set_headers = {
                name: (before.headers.get(name), value)
                for name, value in after.headers.items()
                if before.headers.get(name) != value
            }
            if type(after.body) is not type(before.body):
                told.body = f"{type(before.body).__name__} → {type(after.body).__name__}"
                told.view = dict(_flat(self._view(after.body)))
        if event.failure is not None:
            told.end = [] if any(step.end for step in told.steps) else _reasons(event.failure)
        if not told.steps:  # what happened inside of it is told there
            queued, noted, keyed, recorded = opened.counts
            told.put = [(entry.channel, entry.key) for entry in event.work.enqueue[queued:]]
            told.notes = [_note(line.event, line.facts) for line in event.work.journal[noted:]]
            told.remembered = [f"key {entry.key} in scope {entry.scope}" for entry in event.work.ledger[keyed:]]
            told.remembered += [f"{record.kind} {record.key}" for record in event.work.records[recorded:]]


def _counts(work: Work) -> tuple[int, int, int, int]:
    return len(work.enqueue), len(work.journal), len(work.ledger), len(work.records)


def _note(event: str, facts: Mapping[str, str]) -> str:
    return " ".join((event, *(f"{name}={value}" for name, value in facts.items() if value)))


def _reasons(failure: BaseException) -> list[str]:
    match failure:
        case Rejected():
            return [f"refused: {problem.severity} {problem}" for problem in failure.problems]
        case Deferred():
            return [f"deferred: {failure.message}"]
        case Ended():
            return ["ends here, successfully"]
        case SeenBefore():
            return [f"seen before, with the {failure.kind} content: it ends here"]
        case _:
            return [f"defect: {type(failure).__name__}: {failure}"]


def _flat(values: Mapping[str, object], before: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        path = f"{before}{name}"
        found += _flat(value, f"{path}.") if isinstance(value, Mapping) else [(path, _plain(value))]
    return found


def _plain(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
