"""`python: {module:name: {}}`: a processor out of a module of the integrator's own, with no registration.

`name` is one of:

* a function `Exchange -> Exchange`, sync or async; it takes no options;
* a frozen attrs class whose fields are made with `option(...)`: they are its options; `__call__` takes an exchange;
* a `Component` of kind processor, which says all of it itself.

The body types that it takes and gives are read from its annotations: `Exchange[Order]`. A module is looked for as
Python does; then in the folder of the route file that names it, which is put at the end of the module path, so that it
hides nothing that is installed.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
from attrs import frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.component import Component, NoOptions
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.outcome import describe

__all__ = ["python_component"]

_POSITIONAL = frozenset({inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD})
_REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


@frozen
class _Constant:
    """A component's `build` for what needs no building. Equal for equal things: a reload compares it."""

    value: Callable[[Exchange[Any]], Any]

    def __call__(self, _options: object) -> Callable[[Exchange[Any]], Any]:
        return self.value


def _itself(options: Callable[[Exchange[Any]], Any]) -> Callable[[Exchange[Any]], Any]:
    return options


def python_component(reference: str, directory: Path) -> Component:
    """The processor that `module:name` means. `directory` is where the route file lies. Raises ConfigError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        hint = "Example: python: {my_hospital.steps:anonymise: {}}"
        raise ConfigError("python: expected module:name.", code="python", hint=hint)
    module = _module(match[1], directory)
    try:
        found = getattr(module, match[2])
    except AttributeError:
        near = difflib.get_close_matches(match[2], dir(module), 1)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        where = getattr(module, "__file__", None) or "it"
        text = f"python: module {match[1]!r} ({where}) has no {match[2]!r}."
        raise ConfigError(text, code="python", hint=hint) from None
    return _component(reference, found)


def _module(name: str, directory: Path) -> ModuleType:
    folder = str(directory.resolve())
    module = _imported(name)
    if module is None and folder not in sys.path:
        sys.path.append(folder)
        module = _imported(name)
    if module is not None:
        return module
    text = f"python: there is no module {name!r}, neither in {folder} nor installed in {sys.prefix}."
    hint = f"Put {name.partition('.')[0]}.py (or a package of that name) beside the route file, or install it there."
    raise ConfigError(text, code="python", hint=hint)


def _imported(name: str) -> ModuleType | None:
    """The module; None when there is none of that name. Raises ConfigError when there is one, and it fails."""
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        text = f"python: module {name!r} cannot be imported: it needs {error.name!r}, which is not installed."
        hint = f"Install it where pfiflow is installed: {sys.prefix}."
        raise ConfigError(text, code="python", hint=hint) from error
    except Exception as error:
        raise ConfigError(f"python: module {name!r} cannot be imported: {_where(error)}.", code="python") from error


def _where(error: Exception) -> str:
    """What went wrong, and in which line of whose file."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} at {error.filename}:{error.lineno}"
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""
    return f"{describe(error)}{place}"


def _component(reference: str, found: Any) -> Component:
    if isinstance(found, Component):
        if found.kind != "processor":
            text = f"python: {reference} is a {found.kind}; a step is a processor."
            hint = "Register it under the entry-point group pfiflow.components, and name it under `from` or `to`."
            raise ConfigError(text, code="python", hint=hint)
        return found
    doc = (inspect.getdoc(found) or "").partition("\n\n")[0]
    if isinstance(found, type):
        if not attrs.has(found) or "__call__" not in dir(found):
            raise _no_processor(reference, "a class that is no attrs class with a method `__call__`")
        accepts, gives = _body_types(reference, found.__call__, skip=1)
        return Component(reference, "processor", _itself, doc, found, accepts, gives, sets_more=True)
    if not callable(found):
        raise _no_processor(reference, f"a {type(found).__name__}")
    accepts, gives = _body_types(reference, found)
    return Component(reference, "processor", _Constant(found), doc, NoOptions, accepts, gives, sets_more=True)


def _no_processor(reference: str, found: str) -> ConfigError:
    hint = "It may be a function Exchange -> Exchange, an attrs class with `__call__`, or a Component."
    return ConfigError(f"python: {reference} is {found}, no processor.", code="python", hint=hint)


def _body_types(reference: str, function: Callable[..., Any], skip: int = 0) -> tuple[type, type]:
    """What its annotations say that it takes and gives; `object` where they say nothing."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):  # written in C: nothing is known of it
        return object, object
    needed = [each for each in parameters if each.default is each.empty and each.kind in _POSITIONAL]
    named = [each for each in parameters if each.default is each.empty and each.kind is each.KEYWORD_ONLY]
    if not parameters or parameters[0].kind not in {*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL}:
        raise _no_processor(reference, "something that takes no exchange")
    if len(needed) > 1 or named:
        count = len(needed) + len(named)
        raise _no_processor(reference, f"something that needs {count} arguments, not an exchange alone")
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - names that only a type checker knows: nothing is known of the types
        return object, object
    return _body_type(hints.get(parameters[0].name)), _body_type(hints.get("return"))


def _body_type(hint: Any) -> type:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Exchange and arguments:
        origin = typing.get_origin(arguments[0])
        body = arguments[0] if origin is tuple else origin or arguments[0]
        return body if origin is tuple or isinstance(body, type) else object
    return object
