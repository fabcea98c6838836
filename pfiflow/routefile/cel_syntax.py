"""The syntax tree of a CEL expression, for lint: what it names, and how its conditions are put together.

The evaluator (`flow.expression`) compiles and runs expressions; it shows no tree. This reads the texts that it has
compiled, and gives None for the few that it does not understand: lint then says nothing about them.
"""

from __future__ import annotations

import ast
import re
from typing import Final, TypeAlias

from attrs import define, field, frozen

__all__ = ["Call", "Collection", "Literal", "Name", "Node", "Select", "headers_in", "parse", "path_of", "paths_in"]

_AT = field(default=0, eq=False, kw_only=True)  # offset in the expression's text


@frozen
class Literal:
    """A constant. `kind` is `text`, `number`, `boolean`, `null` or `bytes`."""

    kind: str
    value: object
    at: int = _AT


@frozen
class Name:
    """A variable."""

    name: str
    at: int = _AT


@frozen
class Select:
    """A member with a name that is written: `x.name`, `x["name"]`."""

    of: Node
    name: str
    at: int = _AT


@frozen
class Call:
    """An operator, function, macro or method. `x[i]` is `[]`, a condition `c ? a : b` is `?`; `!` and `-` take one.

    A method's target is its first argument.
    """

    function: str
    arguments: tuple[Node, ...]
    method: bool = False
    at: int = _AT


@frozen
class Collection:
    """A list, or a map (its keys and values in turn)."""

    kind: str
    items: tuple[Node, ...]
    at: int = _AT


Node: TypeAlias = Literal | Name | Select | Call | Collection

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<text>[bBrR]{0,2}(?:\"{3}.*?(?<!\\)\"{3}|'{3}.*?(?<!\\)'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_STRENGTH: Final = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
}
_CONSTANTS: Final = {"true": ("boolean", True), "false": ("boolean", False), "null": ("null", None)}


class _NotUnderstood(Exception):
    """Something that this does not read."""


@frozen
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Node | None:
    """The tree of an expression that compiles, or None."""
    try:
        return _Parser(tuple(_tokens(text))).whole()
    except (_NotUnderstood, RecursionError):
        return None


def _below(node: Node) -> tuple[Node, ...]:
    match node:
        case Select(of=of):
            return (of,)
        case Call(arguments=items) | Collection(items=items):
            return items
        case _:
            return ()


def path_of(node: Node) -> tuple[str, ...]:
    """`("body", "customer", "name")` for `body.customer.name`; empty when the node is no such chain."""
    match node:
        case Name(name=name):
            return (name,)
        case Select(of=of, name=name):
            before = path_of(of)
            return (*before, name) if before else ()
        case _:
            return ()


def paths_in(node: Node) -> frozenset[tuple[str, ...]]:
    """What it looks at: the longest chains, such as `("body", "customer", "name")`."""
    path = path_of(node)
    return frozenset({path}) if path else frozenset().union(*map(paths_in, _below(node)))


def headers_in(node: Node) -> frozenset[str]:
    """The headers that it names."""
    return frozenset(path[1] for path in paths_in(node) if path[0] == "headers" and len(path) > 1)


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _NotUnderstood
        if match.lastgroup != "space":
            tokens.append(_Token(match.lastgroup, match[0], at))
        at = match.end()
    tokens.append(_Token("end", "", at))
    return tokens


@define
class _Parser:
    """Precedence climbing over the grammar of the CEL specification ("Syntax")."""

    tokens: tuple[_Token, ...]
    position: int = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._next.kind != "end":
            raise _NotUnderstood
        return node

    @property
    def _next(self) -> _Token:
        return self.tokens[self.position]

    def _take(self) -> _Token:
        token = self._next
        self.position += 1
        return token

    def _is(self, sign: str) -> bool:
        """Takes the sign, or the word `in`, when it comes next."""
        if self._next.text == sign and self._next.kind in {"sign", "name"}:
            self.position += 1
            return True
        return False

    def _needs(self, sign: str) -> None:
        if not self._is(sign):
            raise _NotUnderstood

    def _expression(self) -> Node:
        condition = self._binary(1)
        at = self._next.at
        if not self._is("?"):
            return condition
        yes = self._binary(1)
        self._needs(":")
        return Call("?", (condition, yes, self._expression()), at=at)

    def _binary(self, weakest: int) -> Node:
        left = self._unary()
        while (strength := self._strength()) >= weakest:
            sign = self._take()
            left = Call(sign.text, (left, self._binary(strength + 1)), at=sign.at)
        return left

    def _strength(self) -> int:
        token = self._next
        return _STRENGTH.get(token.text, 0) if token.kind == "sign" or token.text == "in" else 0

    def _unary(self) -> Node:
        at = self._next.at
        for sign in ("!", "-"):
            if self._is(sign):
                return Call(sign, (self._unary(),), at=at)
        return self._member(self._primary())

    def _member(self, node: Node) -> Node:
        while True:
            at = self._next.at
            if self._is("."):
                name = self._take()
                if name.kind != "name":
                    raise _NotUnderstood
                if self._is("("):
                    node = Call(name.text, (node, *self._items(")")), method=True, at=name.at)
                else:
                    node = Select(node, name.text, at=name.at)
            elif self._is("["):
                key = self._expression()
                self._needs("]")
                named = isinstance(key, Literal) and isinstance(key.value, str)
                node = Select(node, str(key.value), at=key.at) if named else Call("[]", (node, key), at=at)  # type: ignore[union-attr]
            else:
                return node

    def _primary(self) -> Node:
        token = self._take()
        match token.kind, token.text:
            case "sign", "(":
                node = self._expression()
                self._needs(")")
                return node
            case "sign", "[":
                return Collection("list", self._items("]"), at=token.at)
            case "sign", "{":
                return Collection("map", self._entries(), at=token.at)
            case "name", ("true" | "false" | "null") as word:
                return Literal(*_CONSTANTS[word], at=token.at)
            case "name", name:
                return Call(name, self._items(")"), at=token.at) if self._is("(") else Name(name, at=token.at)
            case "number", number:
                return Literal("number", _number(number), at=token.at)
            case "text", written:
                return _text(written, token.at)
            case _:
                raise _NotUnderstood

    def _items(self, end: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._is(end):
            items.append(self._expression())
            if not self._is(","):
                self._needs(end)
                break
        return tuple(items)

    def _entries(self) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._is("}"):
            items.append(self._expression())
            self._needs(":")
            items.append(self._expression())
            if not self._is(","):
                self._needs("}")
                break
        return tuple(items)


def _number(text: str) -> float | int:
    digits = text.rstrip("uU")
    try:
        return int(digits, 16) if digits[:2] in {"0x", "0X"} else int(digits)
    except ValueError:
        return float(digits)


def _text(written: str, at: int) -> Literal:
    """CEL's escapes are Python's, but for two that nobody needs."""
    prefix = re.match("[bBrR]*", written)
    kind = "bytes" if prefix and "b" in prefix[0].lower() else "text"
    try:
        value = ast.literal_eval(written if kind == "text" else re.sub("[bB]", "", written, count=1))
    except (SyntaxError, ValueError):
        raise _NotUnderstood from None
    return Literal(kind, value, at=at)
