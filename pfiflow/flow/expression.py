"""Conditions and values in route files: CEL expressions, compiled once, never Python `eval`.

An expression sees `body` (the view that its body type declares), `headers`, `id`, `origin`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import cel

from pfiflow.errors import ConfigError

if TYPE_CHECKING:
    from pfiflow.flow.exchange import Exchange

__all__ = ["VARIABLES", "Expression"]

VARIABLES = frozenset({"body", "headers", "id", "origin"})
"""What an expression may name at its top level."""

_PLACE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


class Expression:
    """One compiled CEL expression. Immutable and safe to share between tasks and threads."""

    __slots__ = ("_needs_body", "_program", "text")

    def __init__(self, text: str) -> None:
        """Compile. Raises ConfigError with line and column relative to `text` (both from 1)."""
        self.text = text
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            match = _PLACE.search(str(error))
            line, column, what = (int(match[1]), int(match[2]), match[3]) if match else (1, 1, "not a CEL expression")
            raise ConfigError(f"in expression: {what}", line=line, column=column, code="expression") from None
        unknown = set(self._program.variables()) - VARIABLES
        if unknown:
            name = min(unknown)
            raise ConfigError(
                f"in expression: unknown name {name!r}; an expression sees {', '.join(sorted(VARIABLES))}",
                line=1,
                column=text.find(name) + 1,
                code="expression",
            )
        self._needs_body = "body" in self._program.variables()

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
        context: dict[str, object] = {
            "headers": dict(exchange.headers),
            "id": exchange.id,
            "origin": exchange.origin,
        }
        if self._needs_body:
            context["body"] = {} if view is None else view(exchange.body)
        return self._program.execute(context)
