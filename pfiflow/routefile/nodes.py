"""YAML text to nodes that know their place, on PyYAML's parser.

Refused, with the place: a second document, directives, tags, anchors and aliases (a name under `endpoints` says the
same once, and nothing can grow like a billion laughs), a key given twice, keys that are not text, nesting or a file
beyond the limits, bytes that are not UTF-8.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml
from attrs import define, evolve, field, frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.route import Place
from pfiflow.routefile.scalars import Core, core, source_offset

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "ListNode",
    "MapNode",
    "Node",
    "Report",
    "ScalarNode",
    "SourceFile",
    "compose",
    "shown",
]

MAX_BYTES = 2**20
MAX_DEPTH = 100

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events, sixteen times as fast
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEYOND_UNICODE = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")
_LINE_END = re.compile(r"\r\n|\r|\n")


@define
class Report:
    """Collects what is wrong. `suggestions` runs out, so that a file of nothing but errors is still read quickly."""

    errors: list[ConfigError] = field(factory=list)
    suggestions: int = 200

    def add(self, place: Place, message: str, *, code: str, hint: str = "") -> None:
        """Record an error at this place."""
        text, line, column = message + place.way, place.line, place.column
        self.errors.append(ConfigError(text, file=place.file, line=line, column=column, code=code, hint=hint))


@frozen
class SourceFile:
    """One file as read. `name` is shown to humans; relative paths in it start from `directory`."""

    name: str
    directory: Path
    text: str

    def place(self, offset: int) -> Place:
        """The place of a character of `text`."""
        ends = list(_LINE_END.finditer(self.text, 0, offset))
        return Place(self.name, len(ends) + 1, offset - (ends[-1].end() if ends else 0) + 1)


@frozen(eq=False)
class ScalarNode:
    """A scalar. `style` is `""` (plain), a quote, `|` or `>`; `start` and `end` are offsets in the file's text."""

    place: Place
    text: str
    style: str
    source: SourceFile
    start: int
    end: int

    @property
    def value(self) -> Core:
        """By the core schema when plain, otherwise text."""
        return self.text if self.style else core(self.text)

    def place_of(self, index: int) -> Place:
        """The place in the file of character `index` of the text."""
        raw = self.source.text[self.start : self.end]
        offset = min(source_offset(raw, self.style, self.text, index), len(raw))
        ends = list(_LINE_END.finditer(raw, 0, offset))
        if not ends:
            return evolve(self.place, column=self.place.column + offset)
        return evolve(self.place, line=self.place.line + len(ends), column=offset - ends[-1].end() + 1)


@frozen(eq=False)
class ListNode:
    """A sequence."""

    place: Place
    items: tuple[Node, ...]
    source: SourceFile


@frozen(eq=False)
class MapNode:
    """A mapping, its keys in their order, each once."""

    place: Place
    entries: tuple[tuple[ScalarNode, Node], ...]
    source: SourceFile


Node: TypeAlias = ScalarNode | ListNode | MapNode


@define
class _Open:
    """A collection whose end has not come yet."""

    kind: Literal["list", "map"]
    place: Place
    items: list[Any] = field(factory=list)
    key: ScalarNode | None = None
    keys: dict[str, Place] = field(factory=dict)
    skip_value: bool = False


class _GivenUp(Exception):
    """The error is recorded; the rest of the file cannot be understood."""


def compose(name: str, directory: Path, data: bytes, report: Report) -> Node | None:
    """The node tree of one file, or None when it cannot be understood (the reason is in `report`).

    An empty file is an empty mapping.
    """
    start = Place(name, 1, 1)
    if len(data) > MAX_BYTES:
        report.add(start, f"the file is longer than {MAX_BYTES} bytes.", code="limit", hint="Split it with `include`.")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = SourceFile(name, directory, data[: error.start].decode("utf-8", "replace")).place(error.start)
        place = Place(name, max(place.line, 1), max(place.column, 1))
        report.add(place, "the file is not UTF-8 text.", code="yaml", hint="Save it as UTF-8.")
        return None
    source = SourceFile(name, directory, text)
    odd = _NOT_TEXT.search(text)
    if odd:
        report.add(
            source.place(odd.start()),
            f"character U+{ord(odd[0]):04X} cannot stand in a route file.",
            code="yaml",
            hint=f'Write it as "\\u{ord(odd[0]):04X}", in double quotes.',
        )
        return None
    try:
        return _Composer(source, report).run()
    except _GivenUp:
        return None


@define
class _Composer:
    source: SourceFile
    report: Report
    stack: list[_Open] = field(factory=list)
    root: Node | None = None

    def run(self) -> Node:
        documents = 0
        try:
            for event in yaml.parse(self.source.text, Loader=_LOADER):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    self._document(event, documents)
                elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                    self._node(event)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except (yaml.YAMLError, ValueError, OverflowError):  # PyYAML's own scanner lets chr() and int() fail
            wrong = _BEYOND_UNICODE.search(self.source.text)
            self._give_up(self.source.place(wrong.start() if wrong else 0), "not YAML: a number too large to be read.")
        return self.root or MapNode(Place(self.source.name, 1, 1), (), self.source)

    def _place(self, mark: Any) -> Place:
        return Place(self.source.name, mark.line + 1, mark.column + 1)

    def _give_up(self, place: Place, message: str, hint: str = "", code: str = "yaml") -> None:
        self.report.add(place, message, code=code, hint=hint)
        raise _GivenUp

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        place = self._place(mark) if mark else Place(self.source.name, 1, 1)
        message = f"not YAML: {error.problem or error.context or 'it cannot be read'}"
        if error.context and error.context_mark and error.problem:
            message += f", {error.context} that starts at line {error.context_mark.line + 1}"
        lines = self.source.text.splitlines()
        line = lines[place.line - 1] if place.line <= len(lines) else ""
        hint = "YAML indents with spaces, never with tabs." if "\t" in line[: place.column] else ""
        self._give_up(place, f"{message}.", hint)

    def _document(self, event: yaml.DocumentStartEvent, number: int) -> None:
        if number > 1:
            self._give_up(self._place(event.start_mark), "a route file holds one document.", "Use `include` instead.")
        if event.version or event.tags:
            self._give_up(self._place(event.start_mark), "directives are not used in route files.", "Leave it out.")

    def _node(self, event: yaml.Event) -> None:
        place = self._place(event.start_mark)
        if isinstance(event, yaml.CollectionEndEvent):
            self._close()
            return
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._give_up(
                place,
                "anchors and aliases are not used in route files.",
                "Give what is shared a name under `endpoints`, or a file of its own.",
            )
        if getattr(event, "tag", None):
            self.report.add(place, "tags are not used in route files.", code="yaml", hint="Leave it out.")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, place)
            return
        if len(self.stack) >= MAX_DEPTH:
            self._give_up(place, f"nested more than {MAX_DEPTH} levels deep.", code="limit")
        if self.stack and self._expects_key():
            self._give_up(place, "a key is text, not a list or a mapping.")
        self.stack.append(_Open("list" if isinstance(event, yaml.SequenceStartEvent) else "map", place))

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> None:
        style = event.style or ""
        if style == '"' and _SURROGATE.search(event.value):
            self._give_up(place, "half of a surrogate pair is no character.", "Write it as \\U and 8 hex digits.")
        first: Any = event.start_mark
        last: Any = event.end_mark
        node = ScalarNode(place, event.value, style, self.source, first.index, last.index)
        if self.stack and self._expects_key():
            self._key(node)
        else:
            self._add(node)

    def _expects_key(self) -> bool:
        top = self.stack[-1]
        return top.kind == "map" and top.key is None

    def _key(self, node: ScalarNode) -> None:
        top = self.stack[-1]
        top.key = node
        if not isinstance(node.value, str):
            self.report.add(
                node.place,
                f"a key is text; {shown(node.text)} is not." if node.text else "a key is missing before this colon.",
                code="yaml",
                hint="Put it in quotes." if node.text else "",
            )
        if node.text in top.keys:
            first = top.keys[node.text]
            top.skip_value = True
            self.report.add(
                node.place,
                f"key {shown(node.text)} is given twice; the first is at line {first.line}, column {first.column}.",
                code="duplicate",
            )
        else:
            top.keys[node.text] = node.place

    def _close(self) -> None:
        top = self.stack.pop()
        items = tuple(top.items)
        self._add(
            ListNode(top.place, items, self.source) if top.kind == "list" else MapNode(top.place, items, self.source)
        )

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if top.kind == "list":
            top.items.append(node)
            return
        if not top.skip_value:
            top.items.append((top.key, node))
        top.key, top.skip_value = None, False


def shown(text: str) -> str:
    """A name as it is quoted in messages: never long, never with control characters."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
