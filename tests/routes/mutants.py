"""Mutants of a route file: one small change each, such as a tired hand makes.

A file is read into plain structures, changed, and written as flow YAML; comments are lost, so findings of lint are
compared with those of the file written so without a change.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from pfiflow.routefile.nodes import ListNode, MapNode, Node, Report, ScalarNode, compose

__all__ = ["Mutant", "mutants_of", "tree_of", "written"]

Way = tuple[str | int, ...]


@frozen
class Text:
    """A scalar: text, or (plain, and no text) a number, a truth value, nothing."""

    text: str
    plain: bool


@frozen
class Mutant:
    """One change. `way` leads to it: keys, and numbers in lists."""

    way: Way
    what: str
    tree: Any

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.way))}: {self.what}"


def tree_of(path: Path) -> Any:
    """The file as dicts, lists and `Text`."""
    node = compose(path.name, path.parent, path.read_bytes(), Report())
    assert node is not None
    return _plain(node)


def _plain(node: Node) -> Any:
    match node:
        case MapNode():
            return {key.text: _plain(value) for key, value in node.entries}
        case ListNode():
            return [_plain(item) for item in node.items]
        case ScalarNode():
            return Text(node.text, plain=not isinstance(node.value, str))


def written(tree: Any) -> str:
    """The tree as a file."""
    match tree:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {written(tree[key])}" for key in tree) + "}"
        case list():
            return "[" + ", ".join(map(written, tree)) + "]"
        case Text(text=text, plain=True):
            return text or "null"
        case _:
            return json.dumps(tree.text, ensure_ascii=False)


def mutants_of(tree: Any) -> Iterator[Mutant]:
    """Every mutant of a file."""
    for way, node in _places(tree, ()):
        for what, changed in _changes(node, way):
            yield Mutant(way, what, _with(tree, way, changed))


def _places(node: Any, way: Way) -> Iterator[tuple[Way, Any]]:
    yield way, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _places(value, (*way, key))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from _places(item, (*way, number))


def _with(tree: Any, way: Way, changed: Any) -> Any:
    if not way:
        return changed
    copied = copy.copy(tree)
    copied[way[0]] = _with(tree[way[0]], way[1:], changed)
    return copied


def _changes(node: Any, way: Way) -> Iterator[tuple[str, Any]]:
    match node:
        case dict():
            for key in node:
                yield f"without {key!r}", {name: value for name, value in node.items() if name != key}
        case list():
            for number, item in enumerate(node):
                yield f"without item {number} ({_short(item)})", [*node[:number], *node[number + 1 :]]
            for number in range(len(node) - 1):
                swapped = [*node[:number], node[number + 1], node[number], *node[number + 2 :]]
                yield f"items {number} and {number + 1} swapped", swapped
        case Text():
            for text in dict.fromkeys(_texts(node, way)):
                if text != node.text:
                    yield f"{node.text!r} → {text!r}", Text(text, node.plain)


def _short(item: Any) -> str:
    text = written(item)
    return text if len(text) < 50 else f"{text[:49]}…"


_ENUMS: dict[str, Sequence[str]] = {
    "on-ack-timeout": ("retry", "hold", "dead-letter"),
    "destinations": ("lenient", "strict"),
    "done": ("flag", "move"),
    "level": ("info", "warning"),
}
_CHANNELS = ("mail", "dmp", "receipts", "delivery", "answers", "reports")
_ENDPOINTS = ("operator", "dpi", "dmp", "dpi-documents")


def _texts(node: Text, way: Way) -> Iterator[str]:
    text, key = node.text, way[-1]
    if node.plain:
        if re.fullmatch(r"\d+", text):
            yield from (str(int(text) + 1), str(max(int(text) - 1, 1)))
        return
    if key in _ENUMS:
        yield from _ENUMS[str(key)]
    elif key == "channel":
        yield from _CHANNELS
    elif key == "endpoint":
        yield from _ENDPOINTS
    elif re.fullmatch(r"\d+(ms|s|m|h|d)", text):
        number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
        yield from (f"{int(number) * 2}{unit}", f"{number}{ {'s': 'm', 'm': 'h', 'h': 'd', 'd': 'h'}[unit] }")
    elif key in {"when", "key"} or way[-2:-1] == ("set-header",):
        yield from _expressions(text)
    else:
        yield from _other_texts(text)


def _expressions(text: str) -> Iterator[str]:
    yield from ("true", "false")
    yield f"!({text})"
    yield text.replace("==", "!=").replace(" in ", " == ")
    for found in re.finditer(r'"[^"]*"|\'[^\']*\'', text):  # each literal, and each header's name
        inner = found[0][1:-1]
        yield f"{text[: found.start()]}{found[0][0]}{inner}x{found[0][0]}{text[found.end() :]}"
        if inner:
            yield f"{text[: found.start()]}{found[0][0] * 2}{text[found.end() :]}"
    parts = text.split(" + ")
    for number in range(len(parts) if len(parts) > 1 else 0):
        yield " + ".join([*parts[:number], *parts[number + 1 :]])


def _other_texts(text: str) -> Iterator[str]:
    placeholders = re.findall(r"\$\{env:(\w+)", text)
    for name in placeholders:
        yield text.replace(f"env:{name}", "env:PFI_OTHER")
        yield text.replace(f"env:{name}", "env:PFI_OID" if name != "PFI_OID" else "env:PFI_NIL")
    if default := re.search(r":-([^}]*)\}", text):
        yield text.replace(default[0], f":-{ {'true': 'false', 'false': 'true'}.get(default[1], default[1] + '1') }}}")
        yield text.replace(default[0], "}")
    if text:
        yield f"{text}x"
