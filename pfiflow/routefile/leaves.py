"""The scalar types that an option can have: what a route file writes for each, and what comes of it.

One table feeds the loader (parsing, messages), the JSON Schema (patterns) and the stand-ins for unresolved
placeholders.
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NewType

import attrs
from attrs import frozen

from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Address, Duration, Secret, Size, parse_address, parse_duration, parse_size
from pfiflow.routefile.scalars import core

__all__ = [
    "HOLDS_PARAMETER",
    "HOLDS_PLACEHOLDER",
    "LEAVES",
    "NAME_PATTERN",
    "ChannelName",
    "FileName",
    "Leaf",
    "Name",
    "as_yaml",
    "is_options",
    "members",
    "option_name",
    "options_of",
    "written",
]

Name = NewType("Name", str)
"""What an author calls a route, a channel or an endpoint."""

ChannelName = NewType("ChannelName", str)
"""The name of a declared channel."""

FileName = NewType("FileName", str)
"""Another route file; relative to the one that names it."""

HOLDS_PLACEHOLDER = r"\$\{(env|file|parameter):[^{}]+\}"
"""A text that a placeholder will change, as a regular expression for the schema."""

HOLDS_PARAMETER = r"\$\{parameter:[^{}]+\}"
"""The same for what a template alone may leave open: a name, a list."""

NAME_PATTERN = "[a-z][a-z0-9]*(-[a-z0-9]+)*"
_NAME = re.compile(NAME_PATTERN)
_LONGEST_NAME = 100


@frozen
class Leaf:
    """One scalar type.

    Attributes:
        called: its name in the reference.
        expected: what to write, in words.
        parse: the value from the scalar's text, placeholders filled in. Raises ValueError with a message.
        sample: what stands in for an unresolved placeholder when the option has no example.
        schema: its JSON Schema.
        quoted: whether it is text: a plain number or boolean must be quoted.
        relative: whether it starts from the directory of the file that writes it.
        named: the schema definition that holds it, when it is worth one.
    """

    called: str
    expected: str
    parse: Callable[[str], Any]
    sample: str
    schema: Mapping[str, object]
    quoted: bool = True
    named: str = ""
    relative: bool = False


def _name(text: str) -> str:
    if len(text) > _LONGEST_NAME or not _NAME.fullmatch(text):
        raise ValueError("expected a name of lower-case letters, digits and hyphens, such as to-shop")
    return text


def _whole(text: str) -> int:
    value = core(text)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")  # noqa: TRY004 - a text of the wrong form
    return value


def _number(text: str) -> float:
    value = core(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("expected a number")
    return float(value)


def _truth(text: str) -> bool:
    value = core(text)
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - a text of the wrong form
    return value


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return Path(text)


_FILLED = f"|.*{HOLDS_PLACEHOLDER}.*"

LEAVES: Mapping[Any, Leaf] = {
    str: Leaf("text", "text", str, "text", {"type": "string"}),
    int: Leaf(
        "whole number",
        "a whole number",
        _whole,
        "1",
        {"type": ["integer", "string"], "pattern": HOLDS_PLACEHOLDER},
        quoted=False,
    ),
    float: Leaf(
        "number", "a number", _number, "1", {"type": ["number", "string"], "pattern": HOLDS_PLACEHOLDER}, quoted=False
    ),
    bool: Leaf(
        "true or false",
        "true or false",
        _truth,
        "false",
        {"type": ["boolean", "string"], "pattern": HOLDS_PLACEHOLDER},
        quoted=False,
    ),
    Path: Leaf("path", "a path", _path, "path", {"type": "string", "minLength": 1}, relative=True),
    Duration: Leaf(
        "duration",
        "a duration with its unit, such as 30s",
        parse_duration,
        "1s",
        {"type": "string", "pattern": rf"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d){_FILLED})$"},
        named="duration",
    ),
    Size: Leaf(
        "size",
        "a size with its unit, such as 16MiB",
        parse_size,
        "1B",
        {"type": "string", "pattern": rf"^([0-9]+(B|kB|KiB|MB|MiB|GB|GiB){_FILLED})$"},
        named="size",
    ),
    Address: Leaf(
        "address",
        "an address host:port",
        parse_address,
        "localhost:0",
        {"type": "string", "pattern": rf"^(.+:[0-9]+{_FILLED})$"},
        named="address",
    ),
    Secret: Leaf(
        "secret",
        "a reference to a secret, such as ${env:NAME} or ${file:path}",
        Secret,
        "unresolved",
        {"type": "string", "pattern": r"^\$\{(env:[A-Za-z_][A-Za-z0-9_]*|(file|parameter):[^{}]+)\}$"},
        named="secret",
    ),
    Expression: Leaf("expression", "an expression in quotes", Expression, "true", {"type": "string", "minLength": 1}),
    Name: Leaf(
        "name",
        "a name",
        _name,
        "name",
        {"type": "string", "pattern": f"^{NAME_PATTERN}$|{HOLDS_PARAMETER}"},
        named="name",
    ),
    ChannelName: Leaf("channel", "the name of a channel", str, "channel", {"type": "string"}),
    FileName: Leaf("file name", "a file name", str, "file", {"type": "string", "minLength": 1}),
}


def is_options(hint: object) -> bool:
    """Whether this type is an options class: a nested mapping."""
    return isinstance(hint, type) and hint not in LEAVES and attrs.has(hint)


def members(hint: object) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return typing.get_args(hint)
    return (hint,)


def option_name(attribute: attrs.Attribute[Any]) -> str:
    """How a route file writes an option: kebab-case, `from_` as `from`."""
    return attribute.name.strip("_").replace("_", "-")


@lru_cache(maxsize=1024)
def options_of(cls: type) -> Mapping[str, tuple[attrs.Attribute[Any], Any]]:
    """The options of a class by the names that a route file writes, each with its resolved type."""
    hints = typing.get_type_hints(cls)
    return {
        option_name(attribute): (attribute, hints[attribute.name])
        for attribute in attrs.fields(cls)
        if "doc" in attribute.metadata
    }


def as_yaml(value: object) -> str:
    """An example as one line of a route file."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_yaml(str(key))}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_yaml(item) for item in value) + "]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z0-9./_$][^#,\[\]{}:]*", value) and isinstance(core(value), str)
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def written(value: object, hint: object) -> object:
    """A default as a route file would write it (the inverse of parsing), for the schema and the documentation."""
    kinds = members(hint)
    if value is None or isinstance(value, bool):
        return value
    if Duration in kinds and isinstance(value, int | float):
        return _with_unit(value, (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)))
    if Size in kinds and isinstance(value, int):
        return _with_unit(value, (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)))
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, Mapping):
        item = (typing.get_args(hint) or (object, object))[1]
        return {str(key): written(each, item) for key, each in value.items()}
    if isinstance(value, tuple | list | frozenset):
        item = (typing.get_args(hint) or (object,))[0]
        return [written(each, item) for each in value]
    return str(value)


def _with_unit(value: float, units: tuple[tuple[str, float], ...]) -> str:
    for unit, factor in units:
        count = round(value / factor, 6)
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    unit, factor = units[-1]
    return f"{value / factor:g}{unit}"
