"""What a route file consists of, as options classes: the loader reads by them, the JSON Schema is written from them.

A step is a mapping of one key: the name of an EIP step (`EIP_STEPS`) or of a processor. `from`, `to` and the values
under `endpoints` are mappings of one key as well: the name of a component, or `channel`, or `endpoint`. A step may have
an `id` beside its one key, by which an override names it.

`templates` and `override` hold parts of route files that are read later, at their place: `Unread`.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, NewType, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from pfiflow.errors import ConfigError
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Duration, Range, option
from pfiflow.flow.route import ChannelSpec, EngineOptions, Place, Step, StoreOptions
from pfiflow.routefile.leaves import ChannelName, FileName, Name
from pfiflow.routefile.nodes import Node, Report

__all__ = [
    "EIP_STEPS",
    "OTHER_STEPS",
    "RESERVED",
    "Anything",
    "ComponentPart",
    "EipStep",
    "NamedEndpoint",
    "Override",
    "Parameter",
    "RouteFile",
    "RouteForm",
    "RouteOverride",
    "RouteSource",
    "StepOverride",
    "Target",
    "TemplateForm",
    "TemplateOverride",
    "Unread",
    "check_registry",
    "message_fields",
]

RouteSource: TypeAlias = r.FromChannel | r.FromEndpoint
Target: TypeAlias = r.ToChannel | r.ToEndpoint
Steps: TypeAlias = tuple[Step, ...]

_WHERE = field(default=Place("", 1, 1), kw_only=True, eq=False)  # the loader fills it in

T = TypeVar("T")

Anything = NewType("Anything", object)
"""Whatever YAML can write."""

ComponentPart = NewType("ComponentPart", object)
"""The name of a component or step, with some of its options."""


@frozen
class Unread(Generic[T]):
    """A part of the file that is read as `T` once it is known what it becomes."""

    node: Node


@frozen
class NamedEndpoint:
    """An endpoint that routes share by its name."""

    name: str
    component: Component
    options: Any
    place: Place
    guessed: bool  # an unresolved placeholder stands in its options


@frozen
class RouteForm:
    """One source, and the steps that each of its exchanges goes through."""

    id: Name = option(doc="What operators and logs call the route; unique over all files.", example="to-shop")
    from_: RouteSource = option(doc="Where exchanges come from.", example={"channel": "orders"})
    steps: Steps = option(doc="What each exchange goes through, in order.", example=[{"to": {"channel": "orders"}}])
    on_rejected: Steps = option(
        default=(),
        doc="Steps for an exchange refused or given up; headers error-code, error-message and error-location say why.",
        example=[{"to": {"channel": "refused"}}],
    )
    place: Place = _WHERE


@frozen
class Parameter:
    """What a use of a template gives."""

    doc: str = option(doc="What it is for, in a sentence.", example="The shop's name.")
    type: Literal[
        "text",
        "integer",
        "number",
        "boolean",
        "path",
        "duration",
        "size",
        "address",
        "secret",
        "expression",
        "name",
        "list",
    ] = option(default="text", doc="What may be given; `list` is a list of texts.", example="text")
    default: Unread[Anything] | None = option(default=None, doc="Stands in when a use gives nothing.", example="north")
    example: Unread[Anything] | None = option(default=None, doc="Shown to who uses it wrongly.", example="north")


@frozen
class TemplateForm:
    """Routes, with the channels and endpoints that come with them; or steps. `${parameter:name}` is filled in."""

    doc: str = option(doc="What it is for, in a sentence.", example="A shop of ours.")
    parameters: Mapping[Name, Parameter] = option(
        default={}, doc="What each use gives, by name.", example={"shop": {"doc": "The shop's name.", "type": "name"}}
    )
    routes: Unread[tuple[RouteForm, ...]] | None = option(default=None, doc="The routes.", example=[{"id": "to-shop"}])
    channels: Unread[Mapping[Name, ChannelSpec]] | None = option(default=None, doc="Channels of these routes.")
    endpoints: Unread[Mapping[Name, NamedEndpoint]] | None = option(default=None, doc="Endpoints of these routes.")
    steps: Unread[Steps] | None = option(default=None, doc="The steps.", example=[{"to": {"channel": "orders"}}])


@frozen
class StepOverride:
    """What becomes of a step of an included route, named by its id."""

    before: Unread[Steps] | None = option(default=None, doc="Steps put before it.", example=[{"look-up": {}}])
    after: Unread[Steps] | None = option(default=None, doc="Steps put after it.", example=[{"look-up": {}}])
    set_: Unread[ComponentPart] | None = option(
        default=None, doc="Options that take the place of its own.", example={"throttle": {"rate": 5}}
    )
    replace: Unread[Steps] | None = option(default=None, doc="Steps in its place.", example=[{"look-up": {}}])
    remove: Literal[True] | None = option(default=None, doc="It is taken out.", example=True)
    place: Place = _WHERE


@frozen
class RouteOverride:
    """What becomes of an included route."""

    from_: Unread[ComponentPart] | None = option(
        default=None,
        doc="Another source; or, of the same component, options that take the place of its own.",
        example={"counter": {"seats": 8}},
    )
    steps: Mapping[Name, StepOverride] = option(
        default={}, doc="By the id of a step, wherever it is in the route.", example={"check": {"remove": True}}
    )
    on_rejected: Unread[Steps] | None = option(default=None, doc="Takes the place of all of its own.")
    remove: Literal[True] | None = option(default=None, doc="The whole route is taken out.", example=True)
    place: Place = _WHERE


@frozen
class TemplateOverride:
    """What becomes of an included template of steps. One of routes is no different from others once it is used."""

    steps: Mapping[Name, StepOverride] = option(doc="By the id of a step.", example={"check": {"remove": True}})
    place: Place = _WHERE


@frozen
class Override:
    """Changes to what included files say. Options given here take the place of theirs, the others stay."""

    store: Unread[StoreOptions] | None = option(default=None, doc="Options of the store.")
    engine: Unread[EngineOptions] | None = option(default=None, doc="Limits of the engine.")
    channels: Mapping[Name, Unread[ChannelSpec]] = option(
        default={}, doc="Options of channels, by name.", example={"orders": {"workers": 8}}
    )
    endpoints: Mapping[Name, Unread[ComponentPart]] = option(
        default={}, doc="Options of endpoints, by name; or another component.", example={"van": {"deliver": {}}}
    )
    routes: Mapping[Name, RouteOverride] = option(
        default={}, doc="Routes, by id.", example={"to-shop": {"steps": {"check": {"remove": True}}}}
    )
    templates: Mapping[Name, TemplateOverride] = option(
        default={}, doc="Templates of steps, by name.", example={"check-all": {"steps": {"check": {"remove": True}}}}
    )


@frozen
class RouteFile:
    """A route file: everything in it may also come from included files."""

    include: tuple[FileName, ...] = option(
        default=(),
        doc="Other route files, relative to this one; `pfiflow:` begins the name of one that comes with pfiflow.",
        example=["settings.yaml"],
    )
    store: StoreOptions = option(default=StoreOptions(), doc="Where messages are kept, and for how long.")
    engine: EngineOptions = option(default=EngineOptions(), doc="Limits of the engine.")
    channels: Mapping[Name, ChannelSpec] = option(
        default={}, doc="Durable channels by name.", example={"orders": {"key": "body.customer"}}
    )
    endpoints: Mapping[Name, NamedEndpoint] = option(
        default={}, doc="Endpoints that several routes share, by name.", example={"van": {"deliver": {}}}
    )
    routes: tuple[RouteForm, ...] = option(
        default=(), doc="The routes; `use` stands for those of a template.", example=[{"id": "to-shop"}]
    )
    templates: Mapping[Name, TemplateForm] = option(
        default={}, doc="What is written once and used often, by name.", example={"shop": {"doc": "A shop of ours."}}
    )
    override: Override = option(default=Override(), doc="Changes to what included files say.")


# -- the options of the EIP steps ----------------------------------------------------------------------------------


@frozen
class _WhenBranch:
    """A branch that is taken when its condition holds."""

    when: Expression = option(doc="The condition.", example="body.urgent")
    steps: Steps = option(doc="What the exchange then goes through.", example=[{"to": {"channel": "orders"}}])
    place: Place = _WHERE


@frozen
class _OtherwiseBranch:
    """The last branch, taken when no condition holds."""

    otherwise: Steps = option(doc="What any other exchange goes through.", example=[{"to": {"channel": "refused"}}])
    place: Place = _WHERE


@frozen
class _StepsForm:
    steps: Steps = option(doc="The steps.", example=[{"to": {"channel": "copies"}}])


@frozen
class _FilterForm:
    when: Expression = option(doc="The exchange goes on only when this holds.", example="body.pages > 0")


@frozen
class _EnrichForm:
    steps: Steps = option(
        doc="Steps that run on a copy.", example=[{"set-header": {"address": "body.street + ' ' + body.town"}}]
    )
    headers: tuple[str, ...] = option(doc="Headers of the result to add to the exchange.", example=["address"])


@frozen
class _WireTapForm:
    channel: ChannelName = option(doc="The channel that gets a copy.", example="audit")


@frozen
class _ValidateForm:
    when: Expression = option(doc="The exchange is rejected unless this holds.", example="has(headers.sender)")
    message: str = option(doc="Why it is rejected: no identity, no content.", example="The sender is missing.")
    code: str = option(default="207", doc="Error code of the refusal.", example="101")


@frozen
class _IdempotentForm:
    key: Expression = option(doc="What makes two exchanges the same.", example="body.id")
    scope: str = option(default="", doc="Where the key is unique. Unset: in this route.", example="orders")
    retention: Duration = option(
        default=Duration(30 * 86400.0), doc="How long a key is remembered.", example="30d", validator=Range(above=0)
    )


@frozen
class _ThrottleForm:
    rate: int = option(doc="So many exchanges may pass in the time of `per`.", example=10, validator=Range(minimum=1))
    per: Duration = option(
        default=Duration(1.0),
        doc="The time in which `rate` exchanges may pass.",
        example="1s",
        validator=Range(above=0),
    )


@frozen
class _DelayForm:
    duration: Duration = option(doc="How long each exchange is held.", example="5s")


def message_fields(message: str) -> tuple[str, ...]:
    """The header names in the `{…}` fields of a log message. Raises ValueError."""
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(message)]
    except ValueError:
        raise ValueError("a brace is left open; {{ and }} write braces") from None
    if any(name is not None and (not name or spec or conversion) for name, spec, conversion in fields):
        raise ValueError("a field is {header-name}, nothing else; {{ and }} write braces")
    return tuple(name for name, _, _ in fields if name)


def _is_message(_instance: object, _attribute: object, value: str) -> None:
    message_fields(value)


@frozen
class _LogForm:
    message: str = option(
        doc="The line; {header-name} fields are filled in.", example="stored as {file-name}", validator=_is_message
    )
    level: Literal["debug", "info", "warning", "error"] = option(
        default="info", doc="Level of the line.", example="info"
    )


@frozen
class EipStep:
    """One step that the engine itself knows: the type of its value, and the `Step` made of it."""

    hint: Any
    doc: str
    make: Callable[[Any, Place, Report], Step]


def _choice(branches: tuple[_WhenBranch | _OtherwiseBranch, ...], place: Place, report: Report) -> Step:
    whens = [r.When(b.when, b.steps, place=b.place) for b in branches if isinstance(b, _WhenBranch)]
    otherwise: Steps = ()
    for number, branch in enumerate(branches, 1):
        if isinstance(branch, _OtherwiseBranch):
            otherwise = branch.otherwise
            if number < len(branches):
                report.add(branch.place, "choice: `otherwise` is the last branch, and there is one.", code="order")
    return r.Choice(tuple(whens), otherwise, place=place)


def _validate(f: _ValidateForm, place: Place, _report: Report) -> Step:
    return r.Validate(f.when, f.message, f.code, place=place)


EIP_STEPS: Mapping[str, EipStep] = {
    "choice": EipStep(
        tuple[_WhenBranch | _OtherwiseBranch, ...],
        "Content-based router: the first branch whose `when` holds, else `otherwise`; the exchange goes on after it.",
        _choice,
    ),
    "filter": EipStep(
        _FilterForm,
        "Lets the exchange go on only when the condition holds; otherwise it ends here, successfully.",
        lambda f, place, _: r.Filter(f.when, place=place),
    ),
    "split": EipStep(
        _StepsForm,
        "The body is a sequence: each element goes through the steps, with headers split-index and split-size.",
        lambda f, place, _: r.Split(f.steps, place=place),
    ),
    "multicast": EipStep(
        tuple[_StepsForm, ...],
        "Each branch gets the same exchange; all outputs commit together or none. The original goes on.",
        lambda f, place, _: r.Multicast(tuple(branch.steps for branch in f), place=place),
    ),
    "wire-tap": EipStep(
        _WireTapForm,
        "A copy of the exchange goes to a channel; the original goes on.",
        lambda f, place, _: r.WireTap(f.channel, place=place),
    ),
    "enrich": EipStep(
        _EnrichForm,
        "The steps run on a copy; the named headers of the result are added to the original.",
        lambda f, place, _: r.Enrich(f.steps, f.headers, place=place),
    ),
    "set-header": EipStep(
        Mapping[str, Expression],
        "Sets headers to the values of expressions, by header name.",
        lambda f, place, _: r.SetHeader(f, place=place),
    ),
    "validate": EipStep(_ValidateForm, "Rejects the exchange unless the condition holds.", _validate),
    "idempotent": EipStep(
        _IdempotentForm,
        "A second exchange with the same key ends here: successfully when it has the same body, else rejected.",
        lambda f, place, _: r.Idempotent(f.key, f.scope, f.retention, place=place),
    ),
    "throttle": EipStep(
        _ThrottleForm,
        "Lets only so many exchanges pass in a time; others wait.",
        lambda f, place, _: r.Throttle(f.rate, f.per, place=place),
    ),
    "delay": EipStep(
        _DelayForm,
        "Holds each exchange for a fixed time; its lane waits with it.",
        lambda f, place, _: r.Delay(f.duration, place=place),
    ),
    "log": EipStep(
        _LogForm,
        "Writes one log line with the exchange's id; never the body.",
        lambda f, place, _: r.Log(f.message, f.level, place=place),
    ),
    "to": EipStep(
        Target,
        "Into a channel, or out through a sink (given here, or by the name of an endpoint). The exchange goes on.",
        lambda f, place, _: evolve(f, place=place),
    ),
}

OTHER_STEPS: Mapping[str, tuple[str, object]] = {
    "python": (
        "A processor in a module of your own, as module:name, with its options.",
        {"my_hospital.steps:anonymise": {}},
    ),
    "use": ("The steps of a template, by its name, with its parameters.", {"tell": {"who": "the sender"}}),
}
"""Steps that become others when the file is read: what each is for, and an example."""

RESERVED = frozenset({*EIP_STEPS, *OTHER_STEPS, "channel", "endpoint", "id"})
"""Words of the route file, which no component may be called."""


def check_registry(registry: Registry) -> None:
    """Raises ConfigError when a component has a name that means something else in a route file."""
    taken = sorted(RESERVED & set(registry.components))
    if taken:
        raise ConfigError(f"a component cannot be called {taken[0]!r}: route files use that word", code="component")
