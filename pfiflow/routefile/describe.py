"""What there is to write in a route file: components, steps, sections and body types, from their declarations alone.

`pfiflow list`, `pfiflow describe` and docs/reference show these values; nothing about an option is written elsewhere.
"""

from __future__ import annotations

import collections.abc
import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Final, Literal, TypeAlias

import attrs
from attrs import frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.component import BodyType, Component, Field, Registry
from pfiflow.flow.options import Range, is_secret
from pfiflow.flow.route import Step
from pfiflow.routefile.grammar import (
    EIP_STEPS,
    OTHER_STEPS,
    ComponentPart,
    EipStep,
    NamedEndpoint,
    RouteFile,
    RouteSource,
    Target,
)
from pfiflow.routefile.leaves import LEAVES, as_yaml, is_options, members, options_of, written
from pfiflow.routefile.state import elements, type_name

__all__ = ["Described", "Header", "Kind", "OptionDoc", "describe", "described", "example_of"]

Kind: TypeAlias = Literal["source", "sink", "processor", "step", "section", "body-type"]


@frozen
class OptionDoc:
    """One option, its `default` and `example` as route files write them; `options` of the mapping that it takes."""

    name: str
    type: str
    doc: str
    required: bool
    secret: bool
    default: str
    example: str
    options: tuple[OptionDoc, ...]


@frozen
class Header:
    """A header that a component sets or reads, or a field that a body shows to expressions."""

    name: str
    type: str
    doc: str
    values: tuple[str, ...]
    always: bool


@frozen
class Described:
    """One thing to write in a route file.

    Attributes:
        takes: what stands as its value, when that is not a mapping of `options`.
        accepts: the body that it takes; empty: any, or none.
        gives: the body that it gives; empty: the one that came in.
        example: the shortest that does something, as a route file writes it.
    """

    name: str
    kind: Kind
    doc: str
    takes: str = ""
    options: tuple[OptionDoc, ...] = ()
    accepts: str = ""
    gives: str = ""
    reads: tuple[Header, ...] = ()
    sets: tuple[Header, ...] = ()
    sets_more: bool = False
    fields: tuple[Header, ...] = ()
    example: str = ""


def described(registry: Registry) -> tuple[Described, ...]:
    """Everything, by kind and name."""
    components = sorted(registry.components.values(), key=lambda each: each.name)
    of_kind = {kind: [each for each in components if each.kind == kind] for kind in ("source", "sink", "processor")}
    return (
        *(_component(each, registry) for kind in of_kind for each in of_kind[kind]),
        *(_eip(name, EIP_STEPS[name]) for name in sorted(EIP_STEPS)),
        *(Described(name, "step", doc, example=block({name: value})) for name, (doc, value) in OTHER_STEPS.items()),
        *_sections(),
        *(_body_type(each) for each in sorted(registry.body_types.values(), key=lambda each: each.name)),
    )


def describe(registry: Registry, name: str) -> tuple[Described, ...]:
    """What is called so: one, or several of different kinds. Raises ConfigError with the nearest names."""
    everything = described(registry)
    found = tuple(each for each in everything if each.name == name)
    if found:
        return found
    near = difflib.get_close_matches(name, {each.name for each in everything}, 3, 0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "`pfiflow list` shows what there is."
    raise ConfigError(f"nothing is called {name!r} in a route file.", code="component", hint=hint)


# -- components and steps ----------------------------------------------------------------------------------------------


def _component(component: Component, registry: Registry) -> Described:
    names = {each.type: each.name for each in registry.body_types.values()}
    options = {**_needed(component.options), **component.example}
    step = {component.name: options} if options else {component.name: {}}
    return Described(
        component.name,
        component.kind,
        component.doc,
        options=tuple(_options(component.options)),
        accepts="" if component.kind == "source" else _body(component.accepts, names),
        gives=_body(component.gives, names),
        reads=_headers(component.reads),
        sets=_headers(component.sets),
        sets_more=component.sets_more,
        example=block({"source": {"from": step}, "sink": {"to": step}}.get(component.kind, step)),
    )


def _body(kind: Any, names: Mapping[type, str]) -> str:
    if kind is object:
        return ""
    element = elements(kind)
    return names.get(kind) or (f"sequence of {_body(element, names)}" if element else type_name(kind))


def _headers(fields: Mapping[str, Field]) -> tuple[Header, ...]:
    return tuple(
        Header(name, _FIELD_TYPES.get(each.type, each.type.__name__), each.doc, each.values, each.always)
        for name, each in fields.items()
    )


_FIELD_TYPES: Final[Mapping[type, str]] = {str: "text", bool: "true or false", int: "whole number", float: "number"}


def _body_type(body_type: BodyType[Any]) -> Described:
    doc = (body_type.type.__doc__ or "").strip().partition("\n\n")[0] if body_type.type is not bytes else "Bytes."
    return Described(body_type.name, "body-type", " ".join(doc.split()), fields=_headers(body_type.fields))


def _eip(name: str, eip: EipStep) -> Described:
    takes = "" if is_options(eip.hint) else _type(eip.hint, None)
    forms = [kind for kind in members(_inner(eip.hint)) if is_options(kind)]
    options = [option for form in forms for option in _options(form)]
    if len(forms) > 1:  # what one form needs, another has not
        options = [attrs.evolve(option, required=False) for option in options]
    unique = tuple({option.name: option for option in options}.values())
    example = _EXAMPLES[name] if name in _EXAMPLES else example_of(eip.hint)
    return Described(name, "step", eip.doc, takes, unique, example=block({name: example}))


_EXAMPLES: Final[Mapping[str, object]] = {
    "set-header": {"priority": "headers.customer == 'station' ? 'high' : 'low'"},
    "to": {"channel": "orders"},
}


def _sections() -> Iterator[Described]:
    for option, (attribute, hint) in options_of(RouteFile).items():
        inner = next((kind for kind in members(_inner(hint)) if is_options(kind) and kind is not NamedEndpoint), None)
        yield Described(
            option,
            "section",
            attribute.metadata["doc"],
            "" if is_options(hint) else _type(hint, attribute),
            tuple(_options(inner)) if inner is not None else (),
            example=block({option: attribute.metadata["example"]}) if attribute.metadata.get("example") else "",
        )


# -- options -----------------------------------------------------------------------------------------------------------


def _options(cls: Any, above: tuple[Any, ...] = ()) -> Iterator[OptionDoc]:
    for name, (attribute, hint) in options_of(cls).items():
        inner = [kind for kind in members(_inner(hint)) if is_options(kind) and kind is not NamedEndpoint]
        nested = [option for kind in inner if kind not in {cls, *above} for option in _options(kind, (cls, *above))]
        example = attribute.metadata.get("example")
        yield OptionDoc(
            name,
            _type(hint, attribute),
            attribute.metadata["doc"],
            attribute.default is attrs.NOTHING,
            is_secret(hint),
            _default(attribute, hint),
            "" if example is None else as_yaml(example),
            tuple({each.name: each for each in nested}.values()),
        )


def _default(attribute: attrs.Attribute[Any], hint: Any) -> str:
    make = getattr(attribute.default, "factory", None)  # of an attrs.Factory
    default = attribute.default if make is None else make()
    if default is attrs.NOTHING or default is None or default in ("", (), {}) or attrs.has(type(default)):
        return ""
    return as_yaml(written(default, hint))


def _inner(hint: Any) -> Any:
    """What a list holds, or a mapping has as values, however deep."""
    kinds = [kind for kind in members(hint) if kind is not NoneType]
    if len(kinds) != 1:
        return hint
    arguments = typing.get_args(kinds[0])
    origin = typing.get_origin(kinds[0])
    if origin is tuple:
        return _inner(arguments[0])
    if origin is collections.abc.Mapping:
        return _inner(arguments[1])
    return kinds[0]


def _type(hint: Any, attribute: attrs.Attribute[Any] | None) -> str:
    """A type in words."""
    if hint == Step:
        return "step"
    if hint in {RouteSource, Target}:
        return f"channel, endpoint or {'source' if hint == RouteSource else 'sink'}"
    kinds = [kind for kind in members(hint) if kind is not NoneType]
    words = " or ".join(dict.fromkeys(_one(kind) for kind in kinds))
    validator = attribute.validator if attribute is not None else None
    if isinstance(validator, Range):
        words += _limits(validator, kinds[0])
    return words


def _one(kind: Any) -> str:
    if kind in LEAVES:
        return LEAVES[kind].called
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{as_yaml(each)}`" for each in arguments)
    if origin is tuple:
        return f"list of {_plural(arguments[0])}"
    if origin is collections.abc.Mapping:
        return f"mapping of {LEAVES[arguments[0]].called} to {_type(arguments[1], None)}"
    if kind is NamedEndpoint or is_options(kind):
        return "source or sink" if kind is NamedEndpoint else "mapping"
    if kind is ComponentPart:
        return "a component or step, with some of its options"
    return _type(arguments[0], None) if arguments else str(getattr(kind, "__name__", kind)).lower()


def _plural(hint: Any) -> str:
    words = _type(hint, None)
    return f"{words}s" if hint == Step or words in {"path", "secret", "name", "file name", "mapping"} else words


def _limits(limits: Range, kind: Any) -> str:
    parts = [
        ("more than", limits.above),
        ("at least", limits.minimum),
        ("at most", limits.maximum),
    ]
    told = [f"{words} {as_yaml(written(limit, kind) if limit else 0)}" for words, limit in parts if limit is not None]
    return f", {' and '.join(told)}"


# -- examples ----------------------------------------------------------------------------------------------------------


def example_of(hint: Any) -> object:
    """Something of this type as a route file writes it: the examples of what must be there."""
    kinds = [kind for kind in members(hint) if kind is not NoneType]
    if len(kinds) == 1 and typing.get_origin(kinds[0]) is tuple:
        return [example_of(each) for each in members(typing.get_args(kinds[0])[0])]
    return _needed(kinds[0]) if is_options(kinds[0]) else LEAVES[kinds[0]].sample


def _needed(cls: Any) -> dict[str, object]:
    needed = {}
    for name, (attribute, hint) in options_of(cls).items():
        if attribute.default is attrs.NOTHING:
            example = attribute.metadata.get("example")
            needed[name] = example_of(hint) if example is None else example
    return needed


def block(value: object, indent: str = "") -> str:
    """A value as indented YAML, one option a line."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            lines += _entry(f"{indent}{key}:", item, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            inner = block(item, f"{indent}  ")
            lines.append(f"{indent}- {inner[len(indent) + 2 :]}" if inner.startswith(indent) else f"{indent}- {inner}")
    else:
        return as_yaml(value)
    return "\n".join(lines)


def _entry(key: str, item: object, indent: str) -> list[str]:
    is_deep = isinstance(item, Mapping | list | tuple) and len(as_yaml(item)) > _SHORT
    holds_mappings = isinstance(item, Mapping) and any(isinstance(each, Mapping) for each in item.values())
    if item and (is_deep or holds_mappings or (isinstance(item, Mapping) and not indent)):
        return [key, block(item, f"{indent}  ")]
    return [f"{key} {as_yaml(item)}"]


_SHORT: Final = 60
