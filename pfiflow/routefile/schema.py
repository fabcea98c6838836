"""The JSON Schema (draft-07) of route files, for editors, from the same classes that the loader reads by.

It says the structure: names of steps, components and options, types, patterns, choices, what is required. Names that a
file declares itself (channels, endpoints), unique ids and expressions are for `lint`. A value that a placeholder fills
in is accepted wherever a scalar is.
"""

from __future__ import annotations

import collections.abc
import json
import re
import typing
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, TypeAlias

import attrs
from attrs import define, field

from pfiflow.flow.component import Registry
from pfiflow.flow.options import Range
from pfiflow.flow.route import Step
from pfiflow.routefile.grammar import (
    EIP_STEPS,
    OTHER_STEPS,
    Anything,
    ComponentPart,
    NamedEndpoint,
    RouteFile,
    RouteForm,
    RouteSource,
    Target,
    Unread,
    check_registry,
)
from pfiflow.routefile.leaves import (
    HOLDS_PARAMETER,
    HOLDS_PLACEHOLDER,
    LEAVES,
    Name,
    is_options,
    members,
    options_of,
    written,
)

__all__ = ["PLACEHOLDER", "Schema", "SchemaWriter", "json_schema", "schema_text"]

Schema: TypeAlias = dict[str, Any]

PLACEHOLDER: Schema = {"type": "string", "pattern": HOLDS_PLACEHOLDER}
"""The definition `placeholder`, which choices refer to."""


def json_schema(registry: Registry) -> Schema:
    """The schema of route files that use this registry. Raises ConfigError for a component with a reserved name."""
    check_registry(registry)
    return SchemaWriter(registry).schema()


def schema_text(registry: Registry) -> str:
    """The same as the text of a file."""
    return json.dumps(json_schema(registry), ensure_ascii=False, indent=1) + "\n"


@define
class SchemaWriter:
    """Writes the schema of options classes; `definitions` grows with what several of them share."""

    registry: Registry
    definitions: dict[str, Schema] = field(factory=dict)
    named: dict[type, str] = field(factory=dict)  # options classes that have a definition

    def schema(self) -> Schema:
        """The schema of a route file."""
        root = self.options(RouteFile)
        for part in ("include", "channels", "endpoints", "routes", "templates"):  # all of it may be commented out
            root["properties"][part] = _or_null(root["properties"][part])
        self.definitions["placeholder"] = PLACEHOLDER
        self.definitions["steps"] = {"type": "array", "items": _reference("step")}
        self.definitions["step"] = self._step()
        channel = {"channel": {"type": "string", "description": "The name of a channel."}}
        shared = {"endpoint": {"type": "string", "description": "A name under `endpoints`."}}
        self.definitions["source"] = _one_of({**channel, **shared, **self._components("source")})
        self.definitions["target"] = _one_of({**channel, **shared, **self._components("sink")})
        self.definitions["use"] = {
            "description": "The name of a template, with its parameters.",
            **_one_key({"type": "object"}, self._one(Name)),
        }
        self.definitions["endpoint"] = _one_of({**self._components("source"), **self._components("sink")})
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "pfiflow route file",
            **root,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def _step(self) -> Schema:
        eips = {name: {"description": eip.doc, **self._type(eip.hint)} for name, eip in EIP_STEPS.items()}
        python = {
            "description": OTHER_STEPS["python"][0],
            **_one_key({"type": ["object", "null"]}, {"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"}),
        }
        named: Schema = {"id": {"description": "A name for overrides.", **self._one(Name)}}
        steps = {**eips, **self._components("processor"), "python": python, "use": _reference("use")}
        counted: Schema = {"if": {"required": ["id"]}, "then": {"minProperties": 2}, "else": {"maxProperties": 1}}
        return {**_one_of({**named, **steps}), "maxProperties": 2, **counted}

    def _components(self, kind: str) -> Schema:
        names = sorted(c.name for c in self.registry.components.values() if c.kind == kind)
        for name in names:
            component = self.registry.components[name]
            schema = {"description": component.doc, **self.options(component.options)}
            self.definitions[f"component-{name}"] = schema
        return {name: _reference(f"component-{name}") for name in names}

    def options(self, cls: type) -> Schema:
        """The schema of an options class: a mapping of its options."""
        known = options_of(cls)
        required = [name for name, (attribute, _) in known.items() if attribute.default is attrs.NOTHING]
        schema: Schema = {"type": "object"} if required else {"type": ["object", "null"]}
        if required:
            schema["required"] = required
        schema["properties"] = {name: self._option(attribute, hint) for name, (attribute, hint) in known.items()}
        schema["additionalProperties"] = False
        return schema

    def _option(self, attribute: attrs.Attribute[Any], hint: Any) -> Schema:
        schema: Schema = {"description": attribute.metadata["doc"], **self._type(hint)}
        validator = attribute.validator
        if isinstance(validator, Range) and "type" in schema and {"integer", "number"} & set(schema["type"]):
            limits = {"minimum": validator.minimum, "maximum": validator.maximum, "exclusiveMinimum": validator.above}
            schema.update({name: limit for name, limit in limits.items() if limit is not None})
        make_default = getattr(attribute.default, "factory", None)  # of an attrs.Factory
        default = attribute.default if make_default is None else make_default()
        if default not in (attrs.NOTHING, None, "", (), {}) and not is_options(type(default)):
            schema["default"] = written(default, hint)
        example = attribute.metadata.get("example")
        if example is not None:
            schema["examples"] = [example]
        return schema

    def special(self, hint: Any) -> Schema | None:
        """The schema of a type that is no option type; a subclass gives some."""
        if hint == Step:
            return _reference("step")
        if hint == RouteSource:
            return {"allOf": [_reference("source")]}
        if hint == Target:
            return {"allOf": [_reference("target")]}
        if hint == RouteForm:
            return {
                "if": {"required": ["use"]},
                "then": _one_of({"use": _reference("use")}),
                "else": self._nested(hint),
            }
        if typing.get_origin(hint) is Unread:
            return self._type(typing.get_args(hint)[0])
        if hint is Anything:
            return {}
        if hint is ComponentPart:
            return _one_key({"type": ["object", "array", "null"]})
        if hint is NamedEndpoint:
            return _reference("endpoint")
        return None

    def _type(self, hint: Any) -> Schema:
        special = self.special(hint)
        if special is not None:
            return special
        kinds = [kind for kind in members(hint) if kind is not NoneType]
        read = typing.get_origin(kinds[0]) is Unread
        one = self._type if read else self._one
        schema = one(kinds[0]) if len(kinds) == 1 else {"anyOf": [self._one(kind) for kind in kinds]}
        return _or_null(schema) if NoneType in members(hint) else schema

    def _one(self, kind: Any) -> Schema:
        if kind in LEAVES:
            leaf = LEAVES[kind]
            schema: Schema = dict(leaf.schema)
            if "pattern" in schema:  # editors show this; a description here would hide the option's own
                schema["patternErrorMessage"] = f"Expected {leaf.expected}."
            if not leaf.named:
                return schema
            self.definitions[leaf.named] = schema
            return {"allOf": [_reference(leaf.named)]}
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Literal:
            return {"anyOf": [{"enum": list(arguments)}, _reference("placeholder")]}
        if origin is tuple:
            if arguments[0] == Step:
                return {"allOf": [_reference("steps")]}
            items = self._type(arguments[0])
            return {"type": ["array", "string"], "pattern": f"^{HOLDS_PARAMETER}$", "items": items}
        if origin is collections.abc.Mapping:
            values: Schema = {"type": "object", "additionalProperties": self._type(arguments[1])}
            return {**values, "propertyNames": self._one(Name)} if arguments[0] is Name else values
        if is_options(kind):
            return self._nested(kind)
        raise TypeError(f"an option of type {kind} cannot be written in a route file")

    def _nested(self, cls: type) -> Schema:
        """A nested options class as a definition, so that what several components share is written once."""
        if cls not in self.named:
            base = re.sub(r"(?<!^)(?=[A-Z])", "-", re.sub("(Form|Options|Spec)$", "", cls.__name__.strip("_"))).lower()
            taken = set(self.named.values())
            name = base if base not in taken else f"{base}-{sum(each.startswith(base) for each in taken) + 1}"
            self.named[cls] = name
            self.definitions[f"options-{name}"] = self.options(cls)
        return {"allOf": [_reference(f"options-{self.named[cls]}")]}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _one_of(properties: Mapping[str, Schema]) -> Schema:
    """A mapping of exactly one of these keys."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": dict(properties),
        "additionalProperties": False,
    }


def _one_key(value: Schema, names: Schema | None = None) -> Schema:
    """A mapping of one key, which the schema does not know."""
    schema: Schema = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": value}
    return {**schema, "propertyNames": names} if names else schema


def _or_null(schema: Schema) -> Schema:
    kinds = schema.get("type")
    if kinds is None:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
