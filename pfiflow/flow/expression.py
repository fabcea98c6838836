"""Conditions and values in route files: CEL expressions, compiled once, never Python `eval`.

An expression sees `body` (the view that its body type declares), `headers`, `id`, `origin`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import cel

from pfiflow.errors import ConfigError

if TYPE_CHECKING:
    from pfiflow.flow.exchange import Exchange

__all__ = ["FUNCTIONS", "VARIABLES", "Expression"]

VARIABLES = frozenset({"body", "headers", "id", "origin"})
"""What an expression may name at its top level."""

MAX_LENGTH = 4096  # characters of one expression

FUNCTIONS = frozenset(
    {
        *("bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"),
        *("contains", "endsWith", "matches", "size", "startsWith"),
        *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds"),
        *("getMinutes", "getMonth", "getSeconds"),
    }
)
"""What an expression may call, besides the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`."""

_PLACE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_UNEXPECTED = re.compile(r"(?:mismatched|extraneous) input '(.*)' expecting .*", re.DOTALL)
_TOKEN = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<name>[A-Za-z_]\w*)""", re.DOTALL)
_MEMBER = re.compile(
    r"""\s*(?:\.\s*(?P<dotted>[A-Za-z_]\w*)(?!\w|\s*\()|\[\s*(?P<q>["'])(?P<quoted>[\w.-]+)(?P=q)\s*\])"""
)
_HARD_TO_CUT = re.compile(r"""\\|\"{3}|'{3}|//""")  # where `_TOKEN` may take a string's end for its beginning
_LOOP_VARIABLE = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


class Expression:
    """One compiled CEL expression. Immutable and safe to share between tasks and threads."""

    __slots__ = ("_members", "_program", "text")

    def __init__(self, text: str) -> None:
        """Compile. Raises ConfigError with line and column relative to `text` (both from 1)."""
        self.text = text
        if len(text) > MAX_LENGTH:
            raise _error(f"longer than {MAX_LENGTH} characters", text, 0)
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            match = _PLACE.search(str(error))
            line, column, what = (int(match[1]), int(match[2]), match[3]) if match else (1, 1, "not a CEL expression")
            raise ConfigError(f"in expression: {_plain(what)}.", line=line, column=column, code="expression") from None
        variables = set(self._program.variables())
        unknown = variables - VARIABLES - set(_LOOP_VARIABLE.findall(text))
        if unknown:
            name, offset = _first(text, unknown)
            raise _error(f"unknown name {name!r}", text, offset, _name_hint(text, name, offset))
        unknown = {name for name in self._program.functions() if name.isidentifier()} - FUNCTIONS
        if unknown:
            name, offset = _first(text, unknown, fields=True)
            near = difflib.get_close_matches(name, sorted(FUNCTIONS), 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(FUNCTIONS))}."
            raise _error(f"unknown function {name!r}", text, offset, hint)
        # The evaluator copies what it is given at every call: it is given only what the text names.
        self._members = {name: _members(text, name) for name in sorted(VARIABLES & variables)}

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def evaluate(self, exchange: Exchange[Any], view: Callable[[Any], Mapping[str, object]] | None = None) -> Any:
        """The value for this exchange; `view` makes what `body` shows (see `BodyType.view`), only when it is asked for.

        Raises KeyError for a header or a field that is not there (`has(headers.x)` asks), TypeError for mixed types.
        """
        context: dict[str, object] = {}
        for name, members in self._members.items():
            match name:
                case "headers":
                    context[name] = _only(members, exchange.headers)
                case "body":
                    context[name] = {} if view is None else _only(members, view(exchange.body))
                case _:
                    context[name] = getattr(exchange, name)
        return self._program.execute(context)


def _only(members: frozenset[str] | None, values: Mapping[str, object]) -> dict[str, object]:
    if members is None:
        return dict(values)
    return {name: values[name] for name in members if name in values}


def _members(text: str, variable: str) -> frozenset[str] | None:
    """The members of a variable that an expression names, as `x.name` or `x["name"]`; None: it may use all of it."""
    if _HARD_TO_CUT.search(text):
        return None
    found = set()
    for token in _TOKEN.finditer(text):
        if token["name"] == variable and not text[: token.start()].rstrip().endswith("."):
            member = _MEMBER.match(text, token.end())
            if member is None:
                return None
            found.add(member["dotted"] or member["quoted"])
    return frozenset(found) or None


def _error(what: str, text: str, offset: int, hint: str = "") -> ConfigError:
    before = text[:offset]
    line, column = before.count("\n") + 1, offset - before.rfind("\n")
    return ConfigError(f"in expression: {what}.", line=line, column=column, code="expression", hint=hint)


def _plain(what: str) -> str:
    """The parser's message without its list of every token that it would have liked."""
    if what.startswith("token recognition error"):
        return "something that is not CEL starts here; a string left open"
    match = _UNEXPECTED.fullmatch(what)
    if match is None:
        return what.removesuffix(".")
    return "it ends too early" if match[1] == "<EOF>" else f"unexpected {match[1]!r}"


def _first(text: str, names: set[str], *, fields: bool = False) -> tuple[str, int]:
    """The name that comes first outside string literals, and its offset. With `fields`, also behind a dot."""
    for token in _TOKEN.finditer(text):
        if token["name"] in names and (fields or not text[: token.start()].rstrip().endswith(".")):
            return token["name"], token.start()
    return min(names), 0


def _name_hint(text: str, name: str, offset: int) -> str:
    start = re.search(r"\bheaders\.([\w-]+-)$", text[:offset])
    if start:
        return f'A name with a hyphen stands in brackets: headers["{start[1]}{name}"].'
    near = difflib.get_close_matches(name, sorted(VARIABLES), 1)
    return f"Did you mean {near[0]!r}?" if near else f"An expression sees {', '.join(sorted(VARIABLES))}."
