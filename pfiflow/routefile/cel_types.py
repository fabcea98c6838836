"""What is wrong with an expression where it stands: names that nothing gives, types that do not go together.

An expression is looked at with what is known of the exchange there: the headers that may be set, and the fields that
the body's type declares. What is not known is `any`, and nothing is said about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias

import cel
from attrs import define, field, frozen

from pfiflow.routefile.cel_syntax import Call, Literal, Name, Node, Select, path_of
from pfiflow.routefile.cel_syntax import Collection as Items
from pfiflow.routefile.conditions import shown_present

__all__ = ["ANY", "Kind", "Problem", "Scene", "Shape", "examine", "near", "written"]

Kind: TypeAlias = str
"""`text`, `number`, `boolean`, `list`, `map`, `null`, `bytes`, `time`, `duration`, or `any`."""

ANY: Final = "any"

Shape: TypeAlias = "Mapping[str, Shape | Kind]"
"""What a view shows: kinds by name, nested."""


@frozen
class Problem:
    """Something wrong at an offset of the expression; `elsewhere`: a header that other ways have, and this lacks."""

    code: str
    message: str
    at: int
    hint: str = ""
    elsewhere: bool = False


@frozen
class Scene:
    """What is known of the exchange where an expression stands.

    Attributes:
        body: what `body` shows; None: not known.
        body_name: what the body is called in messages.
        always: headers that are set whatever way led here.
        sometimes: headers that are set on some way.
        more: other headers may be set.
        elsewhere: headers that something in the flow sets: for suggestions.
    """

    body: Shape | None
    body_name: str
    always: frozenset[str]
    sometimes: frozenset[str]
    more: bool
    elsewhere: frozenset[str] = frozenset()


def examine(node: Node, scene: Scene, *, condition: bool) -> tuple[Problem, ...]:
    """Everything that is certainly wrong; with `condition`, the whole is to be true or false."""
    examiner = _Examiner(scene)
    kind = examiner.kind(node, frozenset())
    if condition and kind not in {"boolean", ANY}:
        examiner.add(
            "not-a-condition", f"a condition is true or false; this is {_called(kind)}", node, _asked(node, kind)
        )
    return tuple(dict.fromkeys(examiner.problems))


def near(wrong: str, names: Iterable[str]) -> str:
    """`Did you mean …?`, or nothing."""
    found = difflib.get_close_matches(wrong, sorted(names), 1)
    return f"Did you mean {found[0]!r}?" if found else ""


def _called(kind: Kind) -> str:
    return {"text": "text", "number": "a number", "list": "a list", "map": "a mapping", "null": "nothing"}.get(
        kind, kind
    )


def _asked(node: Node, kind: Kind) -> str:
    path = path_of(node)
    if kind == "text" and path[:1] == ("headers",):
        return f'Compare it with a text, as in {written(path)} == "…", or ask for it: has({written(path)}).'
    return "Compare it with something." if kind in {"text", "number"} else ""


def written(path: tuple[str, ...]) -> str:
    """A chain as an expression writes it."""
    return path[0] + "".join(f".{name}" if name.isidentifier() else f'["{name}"]' for name in path[1:])


_RESULTS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("int", "uint", "double", "size"), "number"),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "matches", "has", "all", "exists", "exists_one"), "boolean"),
    **dict.fromkeys(("map", "filter"), "list"),
    **dict.fromkeys(("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear"), "number"),
    **dict.fromkeys(("getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"), "number"),
    "string": "text",
    "bytes": "bytes",
    "timestamp": "time",
    "duration": "duration",
}
_OF_TEXT: Final = frozenset({"contains", "startsWith", "endsWith", "matches"})
_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
_ORDERED: Final = frozenset({"text", "number", "time", "duration", "bytes", "boolean"})
_SUMS: Final[Mapping[tuple[Kind, Kind], Kind]] = {
    **{(kind, kind): kind for kind in ("text", "number", "list", "bytes", "duration")},
    ("time", "duration"): "time",
    ("duration", "time"): "time",
}
_DIFFERENCES: Final[Mapping[tuple[Kind, Kind], Kind]] = {
    ("number", "number"): "number",
    ("duration", "duration"): "duration",
    ("time", "duration"): "time",
    ("time", "time"): "duration",
}


@define
class _Examiner:
    scene: Scene
    problems: list[Problem] = field(factory=list)
    local: list[str] = field(factory=list)  # variables of macros

    def add(self, code: str, message: str, node: Node, hint: str = "", *, elsewhere: bool = False) -> None:
        self.problems.append(Problem(code, f"{message}.", node.at, hint, elsewhere))

    def kind(self, node: Node, present: frozenset[str]) -> Kind:
        """The kind of a value; `present` are headers that the conditions around it have asked for."""
        match node:
            case Literal(kind=kind):
                return kind
            case Name() | Select():
                return self._named(node, present)
            case Items(kind=kind, items=items):
                for item in items:
                    self.kind(item, present)
                return kind
            case Call():
                return self._call(node, present)

    # -- names ---------------------------------------------------------------------------------------------------------

    def _named(self, node: Name | Select, present: frozenset[str]) -> Kind:
        path = path_of(node)
        if not path or path[0] in self.local:
            if isinstance(node, Select):
                self.kind(node.of, present)
            return ANY
        match path[0]:
            case "headers":
                return self._header(path[1:], node, present)
            case "body":
                return self._field(path, node)
            case "id" | "origin" if len(path) == 1:
                return "text"
            case "id" | "origin":
                self.add("unknown-field", f"{path[0]} is text, and has nothing below it", node)
        return ANY

    def _header(self, path: tuple[str, ...], node: Node, present: frozenset[str]) -> Kind:
        if not path:
            return "map"
        if len(path) > 1:
            self.add("unknown-field", f"header {path[0]!r} is text, and has nothing below it", node)
            return ANY
        self.header(path[0], node, present, needed=True)
        return "text"

    def header(self, name: str, node: Node, present: frozenset[str], *, needed: bool) -> None:
        """A header that is read here; `needed`: it must be there."""
        scene = self.scene
        if scene.more or name in scene.always or name in present:
            return
        if name in scene.sometimes:
            if needed:
                hint = f"Ask first, as in has({written(('headers', name))}) && …, or set it on every way."
                text = f"header {name!r} is set on some of the ways that lead here only"
                self.add("header-not-always", text, node, hint, elsewhere=True)
            return
        elsewhere = name in scene.elsewhere
        where = "on no way that leads here" if elsewhere else "by nothing in this flow"
        text = f"header {name!r} is set {where}"
        self.add("unknown-header", text, node, near(name, scene.sometimes), elsewhere=elsewhere)

    def _field(self, path: tuple[str, ...], node: Node) -> Kind:
        shape: Shape | Kind | None = self.scene.body
        if shape is None:
            return ANY
        for depth, name in enumerate(path[1:], 1):
            if isinstance(shape, str):
                if shape != ANY:
                    self.add(
                        "unknown-field", f"{written(path[:depth])} is {_called(shape)}, and has nothing below it", node
                    )
                return ANY
            if name not in shape:
                known = near(name, shape) or (f"Known: {', '.join(sorted(shape))}." if shape else "")
                text = f"{written(path[: depth + 1])}: {self.scene.body_name} shows no {name!r} to expressions"
                self.add("unknown-field", text, node, known)
                return ANY
            shape = shape[name]
        return shape if isinstance(shape, str) else "map"

    # -- operators and functions ---------------------------------------------------------------------------------------

    def _call(self, node: Call, present: frozenset[str]) -> Kind:
        match node.function, node.arguments:
            case ("&&" | "||") as sign, (left, right):
                self._truth(left, present, node)
                self._truth(right, present | shown_present(left, truth=sign == "&&"), node)
                return "boolean"
            case "!", (inner,):
                self._truth(inner, present, node)
                return "boolean"
            case "?", (condition, yes, no):
                self._truth(condition, present, node)
                first = self.kind(yes, present | shown_present(condition, truth=True))
                second = self.kind(no, present | shown_present(condition, truth=False))
                return first if first == second else ANY
            case "has", (of,):
                self._asked_for(of, present)
                return "boolean"
            case function, arguments if function in _MACROS and node.method and len(arguments) >= 2:
                return self._macro(node, present)
        kinds = [self.kind(each, present) for each in node.arguments]
        return self._checked(node, kinds)

    def _truth(self, node: Node, present: frozenset[str], around: Call) -> None:
        kind = self.kind(node, present)
        if kind not in {"boolean", ANY}:
            text = f"{around.function} joins what is true or false; this is {_called(kind)}"
            self.add("not-a-condition", text, node, _asked(node, kind))

    def _asked_for(self, node: Node, present: frozenset[str]) -> None:
        path = path_of(node)
        if len(path) == 2 and path[0] == "headers":
            self.header(path[1], node, present, needed=False)
        else:
            self.kind(node, present)

    def _macro(self, node: Call, present: frozenset[str]) -> Kind:
        target, variable, *bodies = node.arguments
        self.kind(target, present)
        self.local.append(variable.name if isinstance(variable, Name) else "")
        for body in bodies:
            self.kind(body, present)
        self.local.pop()
        return _RESULTS[node.function]

    def _checked(self, node: Call, kinds: list[Kind]) -> Kind:
        function = node.function
        match function, kinds:
            case "==" | "!=", [left, right]:
                if ANY not in kinds and "null" not in kinds and left != right:
                    self._differ(node, left, right, "compares")
                return "boolean"
            case "<" | "<=" | ">" | ">=", [left, right]:
                if ANY not in kinds and (left != right or left not in _ORDERED):
                    self._differ(node, left, right, "compares")
                return "boolean"
            case "in", [_, right]:
                if right not in {"list", "map", ANY}:
                    text = f"`in` looks in a list; this is {_called(right)}"
                    self.add("types-differ", text, node.arguments[1], 'A list is written ["a", "b"].')
                return "boolean"
            case "+", [left, right]:
                return self._result(node, _SUMS, left, right, "adds")
            case "-", [left, right]:
                return self._result(node, _DIFFERENCES, left, right, "subtracts")
            case "*" | "/" | "%", [left, right]:
                return self._result(node, {("number", "number"): "number"}, left, right, "computes with")
            case "-", [only]:
                return only
            case "[]", _:
                return ANY
        if function in _OF_TEXT and node.method:
            self._of_text(node, kinds)
        return _RESULTS.get(function, ANY)

    def _result(self, node: Call, table: Mapping[tuple[Kind, Kind], Kind], left: Kind, right: Kind, does: str) -> Kind:
        if ANY in {left, right}:
            return ANY
        result = table.get((left, right))
        if result is None:
            self._differ(node, left, right, does)
        return result or ANY

    def _differ(self, node: Call, left: Kind, right: Kind, does: str) -> None:
        hint = ""
        if {left, right} == {"text", "number"}:
            hint = "int(…) makes a number of a text, string(…) a text of a number."
        elif {left, right} == {"text", "boolean"}:
            hint = 'A header is text: compare it with "true".'
        text = f"{node.function} {does} {_called(left)} with {_called(right)}"
        self.add("types-differ", text.replace("adds", "adds up"), node, hint)

    def _of_text(self, node: Call, kinds: Collection[Kind]) -> None:
        for argument, kind in zip(node.arguments, kinds, strict=True):
            if kind not in {"text", ANY}:
                self.add("types-differ", f"{node.function} is for text; this is {_called(kind)}", argument)
        pattern = node.arguments[-1]
        if node.function == "matches" and isinstance(pattern, Literal) and isinstance(pattern.value, str):
            try:
                cel.evaluate("''.matches(pattern)", {"pattern": pattern.value})
            except Exception:  # noqa: BLE001 - the evaluator raises what it likes for a wrong pattern
                self.add("types-differ", "matches: this is no regular expression", pattern)
