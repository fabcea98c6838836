"""Nodes to option values, driven by the options classes: types, defaults, examples and validators come from there.

Nothing here raises for a wrong file: each error goes to the report with its place, and `FAILED` comes back, so that
everything wrong is told at once.
"""

from __future__ import annotations

import collections.abc
import difflib
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, SimpleNamespace
from typing import Any, Final, Literal, TypeAlias

import attrs
from attrs import define, field, frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Secret
from pfiflow.flow.route import Place
from pfiflow.routefile import placeholders as p
from pfiflow.routefile.leaves import LEAVES, Name, as_yaml, is_options, members, option_name, options_of
from pfiflow.routefile.nodes import ListNode, MapNode, Node, Report, ScalarNode, shown

__all__ = ["FAILED", "Binder", "Mode", "is_null"]

Mode: TypeAlias = Literal["strict", "keep", "lint", "test"]
"""What becomes of placeholders. `strict`: filled in, an unresolved one is an error. `lint`: filled in, an unresolved
one is told apart and something of its type stands in. `keep`: nothing is looked up; defaults and stand-ins only.
`test`: variables are filled in as in `strict`; files are not read, something of their type stands in.
"""


class _Failed:
    """What comes back when the error is in the report already."""


FAILED: Final = _Failed()


@frozen
class _Filled:
    """A scalar's text with its placeholders filled in. `guessed`: one had no value, the text is as written."""

    text: str
    literal: bool
    guessed: bool = False


def is_null(node: Node) -> bool:
    """Whether this is nothing: an empty value, `~` or `null`."""
    return isinstance(node, ScalarNode) and node.value is None


@define
class Binder:
    """Converts nodes for one set of files."""

    report: Report
    mode: Mode
    environment: Mapping[str, str]
    doubts: list[ConfigError] = field(factory=list)  # for lint: what may be right elsewhere
    expressions: dict[int, tuple[Expression, ScalarNode]] = field(factory=dict)  # those written out, by their `id()`
    guesses: int = 0  # scalars converted with a stand-in so far
    fillings: int = 0  # scalars converted with a value that must not be shown, so far

    def special(self, hint: Any) -> Callable[[Node], Any] | None:
        """A converter for a type that is not an option type; a subclass gives some."""
        del hint
        return None

    def convert(
        self,
        node: Node,
        hint: Any,
        name: str,
        *,
        place: Place | None = None,
        attribute: attrs.Attribute[Any] | None = None,
    ) -> Any:
        """The value of this type, or FAILED. `name` is what messages call it; `place` where its name stands."""
        special = self.special(hint)
        if special is not None:
            return special(node)
        kinds = members(hint)
        if NoneType in kinds:
            if is_null(node):
                return None
            kinds = tuple(kind for kind in kinds if kind is not NoneType)
        if len(kinds) > 1:
            return self._union(node, kinds, name)
        (kind,) = kinds
        special = self.special(kind)
        if special is not None:
            return special(node)
        if kind in LEAVES:
            return self._leaf(node, kind, name, attribute)
        origin = typing.get_origin(kind)
        if origin is Literal:
            return self._literal(node, typing.get_args(kind), name)
        if origin is tuple:
            return self._list(node, typing.get_args(kind)[0], name, attribute)
        if origin is collections.abc.Mapping:
            return self._mapping(node, typing.get_args(kind), name, attribute)
        if is_options(kind):
            return self.options(node, kind, name, place=place)
        raise TypeError(f"{name}: an option of type {kind} cannot be written in a route file")

    # -- collections -----------------------------------------------------------------------------------------------

    def _list(self, node: Node, hint: Any, name: str, attribute: attrs.Attribute[Any] | None) -> Any:
        if not isinstance(node, ListNode):
            return self.expected(node, "a list", name, attribute)
        items = [self.convert(item, hint, name) for item in node.items]
        return FAILED if any(item is FAILED for item in items) else tuple(items)

    def _mapping(self, node: Node, hints: tuple[Any, ...], name: str, attribute: attrs.Attribute[Any] | None) -> Any:
        if not isinstance(node, MapNode):
            return self.expected(node, "a mapping", name, attribute)
        key_hint, hint = hints
        values: dict[str, Any] = {}
        failed = False
        for key, item in node.entries:
            value = self.convert(item, hint, key.text, place=key.place)
            good_key = self.name(key) if key_hint is Name else key.text
            failed |= value is FAILED or good_key is FAILED
            values[key.text] = value
        return FAILED if failed else values

    def name(self, key: ScalarNode) -> Any:
        """The key as a name, or FAILED."""
        return self._parsed(key, _Filled(key.text, literal=True), Name, shown(key.text), None)

    def options(self, node: Node, cls: type, name: str, *, place: Place | None = None) -> Any:
        """An instance of the options class, or FAILED. Where nothing is required, nothing need be written."""
        known = options_of(cls)
        required = [key for key, (attribute, _) in known.items() if attribute.default is attrs.NOTHING]
        where = place or node.place
        entries: tuple[tuple[ScalarNode, Node], ...] = ()
        if isinstance(node, MapNode):
            entries = node.entries
        elif not is_null(node):
            return self.expected(node, f"a mapping of options ({', '.join(known) or 'none'})", name, None)
        failed = not self.keys_are_right(entries, known, required, name, where)
        before = self.fillings
        values: dict[str, Any] = {}
        places: dict[str, tuple[Place, bool]] = {}
        for key, item in entries:
            if key.text in known:
                attribute, hint = known[key.text]
                fillings = self.fillings
                value = self.convert(item, hint, key.text, place=key.place, attribute=attribute)
                failed |= value is FAILED
                values[attribute.name] = value
                places[attribute.name] = (item.place, self.fillings > fillings)
        failed |= not self._values_are_right(cls, values, places)
        if failed:
            return FAILED
        if "place" not in known and any(attribute.name == "place" for attribute in attrs.fields(cls)):
            values["place"] = where
        return self._instance(cls, values, name, where, hide=self.fillings > before)

    def keys_are_right(
        self,
        entries: Iterable[tuple[ScalarNode, Node]],
        known: Mapping[str, tuple[attrs.Attribute[Any], Any]],
        required: list[str],
        name: str,
        place: Place,
    ) -> bool:
        given = [key.text for key, _ in entries]
        for key, _ in entries:
            if key.text not in known:
                hint = self.suggest(key.text, [each for each in known if each not in given] or list(known))
                self.report.add(key.place, f"{name}: unknown option {shown(key.text)}.", code="unknown", hint=hint)
        missing = [key for key in required if key not in given]
        if missing:
            examples = ", ".join(
                f"{key}: {as_yaml(example)}"
                for key in missing
                if (example := known[key][0].metadata.get("example")) is not None
            )
            text = f"{name}: required and missing: {', '.join(missing)}."
            self.report.add(place, text, code="missing", hint=f"Example: {examples}" if examples else "")
        return not missing and all(key in known for key in given)

    def _values_are_right(self, cls: Any, values: Mapping[str, Any], places: Mapping[str, tuple[Place, bool]]) -> bool:
        """Run each option's own validator, so that every wrong value is told at its place."""
        right = True
        defaults = {each.name: each.default for each in attrs.fields(cls) if each.name not in values}
        for attribute in attrs.fields(cls):
            value = values.get(attribute.name, FAILED)
            if attribute.validator is None or value is FAILED:
                continue
            place, hide = places[attribute.name]
            try:
                attribute.validator(SimpleNamespace(**defaults, **values), attribute, value)
            except (ValueError, TypeError) as error:
                right = False
                text = "this value is refused" if hide else str(error).removesuffix(".")
                self.report.add(place, f"{option_name(attribute)}: {text}.", code="value", hint=_example(attribute))
        return right

    def _instance(self, cls: type, values: Mapping[str, Any], name: str, place: Place, *, hide: bool) -> Any:
        arguments = {attribute.alias: attribute.name for attribute in attrs.fields(cls)}
        try:
            return cls(**{alias: values[field_name] for alias, field_name in arguments.items() if field_name in values})
        except (ValueError, TypeError, ConfigError) as error:
            text = "these options do not go together" if hide else str(error).removesuffix(".")
            self.report.add(place, f"{name}: {text}.", code="value")
            return FAILED

    def _union(self, node: Node, kinds: tuple[Any, ...], name: str) -> Any:
        """One of several options classes: the first option of each tells them apart."""
        by_key = {next(iter(options_of(kind))): kind for kind in kinds}
        if isinstance(node, MapNode):
            for key, _ in node.entries:
                if key.text in by_key:
                    return self.options(node, by_key[key.text], name)
        return self.expected(node, f"a mapping with {' or '.join(by_key)}", name, None)

    # -- scalars ---------------------------------------------------------------------------------------------------

    def _literal(self, node: Node, choices: tuple[Any, ...], name: str) -> Any:
        expected = f"one of {', '.join(as_yaml(choice) for choice in choices)}"
        filled = self._fill(node) if isinstance(node, ScalarNode) else None
        if filled is None or not isinstance(node, ScalarNode):
            return self.expected(node, expected, name, None)
        if isinstance(filled, _Failed):
            return FAILED
        if filled.guessed:
            return choices[0]
        for choice in choices:
            value = node.value if filled.literal else filled.text
            if type(value) is type(choice) and value == choice:
                return choice
        hint = self.suggest(filled.text, [str(choice) for choice in choices], known=False) if filled.literal else ""
        self.report.add(node.place, f"{name}: expected {expected}.", code="value", hint=hint)
        return FAILED

    def _leaf(self, node: Node, kind: Any, name: str, attribute: attrs.Attribute[Any] | None) -> Any:
        leaf = LEAVES[kind]
        if not isinstance(node, ScalarNode):
            return self.expected(node, leaf.expected, name, attribute)
        if kind is Secret:
            return self._secret(node, name, attribute)
        filled = self._fill(node)
        if isinstance(filled, _Failed):
            return FAILED
        if filled.literal and leaf.quoted and not isinstance(node.value, str):
            text_like = kind in {str, Expression} and node.value is not None
            quote = f'Put it in quotes: "{node.text}".' if text_like else ""
            return self.expected(node, leaf.expected, name, attribute, quote)
        if filled.literal and not leaf.quoted and node.style:
            return self.expected(node, leaf.expected, name, attribute)
        if filled.guessed and kind not in {str, Expression}:
            filled = _Filled(_stand_in(attribute, leaf.sample), literal=False, guessed=True)
        value = self._parsed(node, filled, kind, name, attribute)
        return node.source.directory / value if leaf.relative and value is not FAILED else value

    def _parsed(
        self, node: ScalarNode, filled: _Filled, kind: Any, name: str, attribute: attrs.Attribute[Any] | None
    ) -> Any:
        try:
            value = LEAVES[kind].parse(filled.text)
        except ConfigError as error:  # an expression, which knows the place inside of it
            if filled.literal:
                index = _index(filled.text, error.line, error.column)
                self.report.add(node.place_of(index), f"{name}: {error.message}", code=error.code, hint=error.hint)
            else:
                hint = "A placeholder stands inside quotes there, such as headers.site == '${env:SITE}'."
                text = f"{name}: no expression once its placeholders are filled in."
                self.report.add(node.place, text, code=error.code, hint=hint)
        except ValueError as error:
            hidden = "" if filled.literal else "; a placeholder's value is not shown"
            self.report.add(node.place, f"{name}: {error}{hidden}.", code="type", hint=_example(attribute))
        else:
            if isinstance(value, Expression) and filled.literal:
                self.expressions[id(value)] = (value, node)
            return value
        return FAILED

    def _secret(self, node: ScalarNode, name: str, attribute: attrs.Attribute[Any] | None) -> Any:
        """A secret is exactly one reference, without a default; nothing else, so that no route file holds one."""
        try:
            pieces = p.parse(node.text)
        except p.PlaceholderError:
            pieces = ()
        reference = pieces[0] if len(pieces) == 1 else None
        if not isinstance(reference, p.Reference) or reference.default is not None:
            text = (
                f"{name}: a secret is written as a reference only: ${{env:NAME}} or ${{file:path}}, without a default."
            )
            self.report.add(node.place, text, code="secret", hint=_example(attribute))
            return FAILED
        filled = self._fill(node, "missing-secret")
        if isinstance(filled, _Failed):
            return FAILED
        if not filled.text:
            self.report.add(node.place, f"{name}: {reference} is empty.", code="secret")
            return FAILED
        if self.mode == "lint" and p.is_open(reference, node.source.directory):
            self._doubt(node.place, f"{name}: every user of this machine can read {reference}.", "open-secret")
        return Secret(filled.text)

    def _fill(self, node: ScalarNode, code: str = "unresolved") -> _Filled | _Failed:
        """The text with its placeholders filled in; `code` names one that has no value."""
        if "${" not in node.text:
            return _Filled(node.text, literal=True)
        try:
            pieces = p.parse(node.text)
        except p.PlaceholderError as error:
            self.report.add(node.place_of(error.index), f"{error}.", code="placeholder")
            return FAILED
        self.fillings += 1
        values: list[str] = []
        missing = False
        errors = len(self.report.errors)
        for piece in pieces:
            if isinstance(piece, str):
                values.append(piece)
                continue
            try:
                values.append(self._value(piece, node))
            except p.UnresolvedError as error:
                missing = True
                self._unresolved(piece, node.place_of(piece.index), str(error), code)
        if not missing:
            return _Filled("".join(values), literal=False)
        self.guesses += 1
        refused = len(self.report.errors) > errors
        return FAILED if refused else _Filled(node.text, literal=False, guessed=True)

    def _value(self, reference: p.Reference, node: ScalarNode) -> str:
        if self.mode != "keep" and not (self.mode == "test" and reference.kind == "file"):
            return p.resolve(reference, environment=self.environment, directory=node.source.directory)
        if reference.default is None:
            raise p.UnresolvedError(f"{reference} is not looked up")
        return reference.default

    def _unresolved(self, reference: p.Reference, place: Place, message: str, code: str) -> None:
        if self.mode == "strict" or (self.mode == "test" and reference.kind == "env"):
            self.report.add(place, f"{message}.", code=code)
        elif self.mode == "lint":
            self._doubt(place, f"{message}.", code)

    def _doubt(self, place: Place, message: str, code: str) -> None:
        self.doubts.append(ConfigError(message, file=place.file, line=place.line, column=place.column, code=code))

    # -- messages --------------------------------------------------------------------------------------------------

    def suggest(self, wrong: str, names: Iterable[str], *, known: bool = True) -> str:
        """`Did you mean …?`, or (with `known`) what there is."""
        names = sorted(names)
        if self.report.suggestions <= 0:
            return ""
        self.report.suggestions -= 1
        near = difflib.get_close_matches(wrong[:100], names, 1)
        if near:
            return f"Did you mean {near[0]!r}?"
        return f"Known: {', '.join(names) or 'none'}." if known else ""

    def expected(
        self, node: Node, expected: str, name: str, attribute: attrs.Attribute[Any] | None, hint: str = ""
    ) -> _Failed:
        text = f"{name}: expected {expected}{_found(node)}."
        self.report.add(node.place, text, code="type", hint=hint or _example(attribute))
        return FAILED


def _found(node: Node) -> str:
    if isinstance(node, ListNode):
        return ", found a list"
    if isinstance(node, MapNode):
        return ", found a mapping"
    value = node.value
    if value is None:
        return ", found nothing"
    if isinstance(value, bool):
        return f", found {node.text}"
    if isinstance(value, str):
        return ", found text"
    return ", found a number" if math.isfinite(value) else ", found no finite number"


def _example(attribute: attrs.Attribute[Any] | None) -> str:
    example = attribute.metadata.get("example") if attribute is not None else None
    return "" if attribute is None or example is None else f"Example: {option_name(attribute)}: {as_yaml(example)}"


def _stand_in(attribute: attrs.Attribute[Any] | None, sample: str) -> str:
    example = attribute.metadata.get("example") if attribute is not None else None
    if isinstance(example, bool):
        return "true" if example else "false"
    return str(example) if isinstance(example, str | int | float) and "${" not in str(example) else sample


def _index(text: str, line: int, column: int) -> int:
    """Offset of a line and column (both from 1) in a text."""
    lines = text.split("\n")[: line - 1]
    return min(sum(len(each) + 1 for each in lines) + column - 1, len(text))
