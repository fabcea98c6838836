"""Templates: what a file writes once and uses often, with typed parameters.

A template holds `routes` (and the channels and endpoints that come with them), or `steps`. A `use` in a list of routes
or of steps stands for what the template holds, its `${parameter:…}` filled in. All of it happens on nodes, before
anything is converted: what comes out is read, checked and overridden as if it had been written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import define, evolve, field, frozen

from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Address, Duration, Secret, Size, option
from pfiflow.flow.route import Place
from pfiflow.routefile import placeholders as p
from pfiflow.routefile.binder import FAILED, Binder, is_null
from pfiflow.routefile.grammar import EIP_STEPS, Parameter, TemplateForm
from pfiflow.routefile.leaves import Name, options_of
from pfiflow.routefile.nodes import ListNode, MapNode, Node, Report, ScalarNode, shown

__all__ = ["MAX_USES", "Templates", "step_entries"]

MAX_USES: Final = 1000
MAX_NODES: Final = 200_000

_TYPES: Final[Mapping[str, Any]] = {
    "text": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "path": Path,
    "duration": Duration,
    "size": Size,
    "address": Address,
    "secret": Secret,
    "expression": Expression,
    "name": Name,
    "list": tuple[str, ...],
}


def step_entries(node: MapNode) -> tuple[tuple[ScalarNode, Node], ...]:
    """The entries of a step but its `id`."""
    return tuple(entry for entry in node.entries if entry[0].text != "id")


@frozen
class _Template:
    """A template, and the options class that its parameters make."""

    name: str
    form: TemplateForm
    place: Place
    arguments: type


@define
class Templates:
    """The templates of one set of files, and what their uses come to."""

    report: Report
    partial: bool  # a file could not be read: what is unknown may well be in it
    known: dict[str, _Template] = field(factory=dict)
    broken: set[str] = field(factory=set)  # declared with errors of their own
    used: set[str] = field(factory=set)
    failed: bool = False  # a use of routes came to nothing: what would have come with it is missing
    _uses: int = 0
    _nodes: int = 0

    def declare(self, key: ScalarNode, form: TemplateForm) -> None:
        """Make a template known."""
        if self._is_right(key, form):
            self.known[key.text] = _Template(key.text, form, key.place, _arguments(key.text, form.parameters))
        else:
            self.broken.add(key.text)

    def _is_right(self, key: ScalarNode, form: TemplateForm) -> bool:
        errors = len(self.report.errors)
        if (form.routes is None) == (form.steps is None):
            self.report.add(key.place, "a template holds either `routes` or `steps`.", code="template")
        if form.steps is not None and (form.channels is not None or form.endpoints is not None):
            text = "a template of steps holds no channels and no endpoints; a template of routes does."
            self.report.add(key.place, text, code="template")
        checker = Binder(self.report, "keep", {})
        for declared, parameter in form.parameters.items():
            if parameter.default is not None and not is_null(parameter.default.node):
                checker.convert(parameter.default.node, _TYPES[parameter.type], declared)
        for part in (form.routes, form.steps, form.channels, form.endpoints):
            for scalar in _scalars(part.node) if part is not None else ():
                for start, _, name in p.parameters(scalar.text):
                    if name not in form.parameters:
                        hint = f"Declared: {', '.join(sorted(form.parameters)) or 'none'}."
                        text = f"template {shown(key.text)} has no parameter {shown(name)}."
                        self.report.add(scalar.place_of(start), text, code="parameter", hint=hint)
        return len(self.report.errors) == errors

    # -- routes ----------------------------------------------------------------------------------------------------

    def routes(self, section: ListNode) -> tuple[ListNode, tuple[MapNode, ...]]:
        """A list of routes with its uses written out, and the channels and endpoints that come with them."""
        items: list[Node] = []
        more: list[MapNode] = []
        for item in section.items:
            use = _use_of(item)
            if use is None:
                items.append(item)
                continue
            found = self._instance(use, "routes")
            if found is None:
                self.failed = True
                continue
            template, values = found
            if template.form.routes is not None:
                routes = self._filled(template.form.routes.node, values, use[0].place)
                items += routes.items if isinstance(routes, ListNode) else [routes]
            for name in ("channels", "endpoints"):
                part = getattr(template.form, name)
                if part is not None:
                    key = evolve(use[0], text=name)
                    node = self._filled(part.node, values, use[0].place)
                    more.append(MapNode(use[0].place, ((key, node),), use[0].source))
        return evolve(section, items=tuple(items)), tuple(more)

    # -- steps -----------------------------------------------------------------------------------------------------

    def steps(self, node: Node, trail: tuple[str, ...] = ()) -> Node:
        """The same, uses in lists of steps (those inside of steps included) written out."""
        if isinstance(node, MapNode):
            return evolve(node, entries=tuple((key, self.steps(value, trail)) for key, value in node.entries))
        if not isinstance(node, ListNode):
            return node
        items: list[Node] = []
        for item in node.items:
            use = _use_of(item)
            if use is not None:
                items += self._steps_of(use, trail)
            elif isinstance(item, MapNode):
                items.append(self._inside(item, trail))
            else:
                items.append(item)
        return evolve(node, items=tuple(items))

    def _inside(self, item: MapNode, trail: tuple[str, ...]) -> MapNode:
        """A step, or a branch of one."""
        inside = {"when", "otherwise", "steps", *EIP_STEPS}
        entries = tuple((key, self.steps(value, trail) if key.text in inside else value) for key, value in item.entries)
        return evolve(item, entries=entries)

    def _steps_of(self, use: tuple[ScalarNode, Node], trail: tuple[str, ...]) -> tuple[Node, ...]:
        found = self._instance(use, "steps")
        if found is None:
            return ()
        template, values = found
        assert template.form.steps is not None
        if template.name in trail:
            text = f"template {shown(template.name)} uses itself, through {' and '.join(map(shown, trail))}."
            self.report.add(use[0].place, text, code="template")
            return ()
        filled = self._filled(template.form.steps.node, values, use[0].place)
        expanded = self.steps(filled, (*trail, template.name))
        return expanded.items if isinstance(expanded, ListNode) else (expanded,)

    # -- uses ------------------------------------------------------------------------------------------------------

    def _instance(self, use: tuple[ScalarNode, Node], kind: str) -> tuple[_Template, Mapping[str, Node]] | None:
        """The template that a use names, and the node for each of its parameters."""
        key, value = use
        if not isinstance(value, MapNode) or len(value.entries) != 1:
            text = "`use` is a mapping of one key: the name of a template, with its parameters as value."
            self.report.add(key.place, text, code="type", hint="Example: use: {mailbox: {username: a@b.example}}")
            return None
        name, given = value.entries[0]
        if name.text in self.broken or (self.partial and name.text not in self.known):
            return None
        template = self.known.get(name.text)
        checker = Binder(self.report, "keep", {})
        if template is None:
            hint = checker.suggest(name.text, self.known)
            text = f"unknown template {shown(name.text)}; declare it under `templates`."
            self.report.add(name.place, text, code="template", hint=hint)
            return None
        self.used.add(template.name)
        if getattr(template.form, kind) is None:
            text = f"template {shown(template.name)} holds no {kind}."
            self.report.add(name.place, text, code="template")
            return None
        self._uses += 1
        if self._uses > MAX_USES:
            if self._uses == MAX_USES + 1:
                self.report.add(name.place, f"templates are used more than {MAX_USES} times.", code="limit")
            return None
        if checker.options(given, template.arguments, template.name, place=name.place) is FAILED:
            return None
        defaults = {str(name): parameter.default for name, parameter in template.form.parameters.items()}
        values = {name: default.node for name, default in defaults.items() if default is not None}
        if isinstance(given, MapNode):
            values |= {key.text: node for key, node in given.entries}
        return template, values

    def _filled(self, node: Node, values: Mapping[str, Node], via: Place) -> Node:
        """The node as it stands at one use."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self.report.add(via, f"templates come to more than {MAX_NODES} lines and values.", code="limit")
            return evolve(node, place=evolve(node.place, via=via))
        match node:
            case ScalarNode():
                return self._filled_scalar(node, values, via)
            case ListNode():
                items = tuple(self._filled(item, values, via) for item in node.items)
                return evolve(node, place=_through(node.place, via), items=items)
            case MapNode():
                entries = []
                for key, value in node.entries:
                    filled_key = self._filled_text(key, values, via)
                    entries.append((filled_key, self._filled(value, values, via)))
                return evolve(node, place=_through(node.place, via), entries=tuple(entries))

    def _filled_scalar(self, node: ScalarNode, values: Mapping[str, Node], via: Place) -> Node:
        named = p.parameters(node.text)
        if len(named) == 1 and named[0][:2] == (0, len(node.text)):  # a parameter alone: all that was given for it
            return self._argument(values[named[0][2]], _through(node.place, via))
        return self._filled_text(node, values, via)

    def _argument(self, node: Node, via: Place) -> Node:
        self._nodes += 1
        moved = node if node.place.via is not None else evolve(node, place=evolve(node.place, via=via))
        if isinstance(moved, ListNode) and self._nodes <= MAX_NODES:
            return evolve(moved, items=tuple(self._argument(item, via) for item in moved.items))
        return moved

    def _filled_text(self, node: ScalarNode, values: Mapping[str, Node], via: Place) -> ScalarNode:
        place = _through(node.place, via)
        named = p.parameters(node.text)
        if not named:
            return evolve(node, place=place)
        pieces: list[str] = []
        position = 0
        for start, end, name in named:
            value = values[name]
            pieces.append(node.text[position:start])
            if isinstance(value, ScalarNode):
                pieces.append(value.text)
            else:
                text = f"parameter {shown(name)} is a list: it stands alone, never within a text."
                self.report.add(_through(node.place_of(start), via), text, code="parameter")
            position = end
        text = "".join([*pieces, node.text[position:]])
        return evolve(node, place=place, text=text, style=node.style or '"', start=node.start, end=node.start)


def _through(place: Place, via: Place) -> Place:
    return evolve(place, via=via)


def _use_of(node: Node) -> tuple[ScalarNode, Node] | None:
    """The `use` of an item in a list of routes or steps; its `id` is for overrides, which were applied before."""
    if not isinstance(node, MapNode):
        return None
    entries = step_entries(node)
    return entries[0] if len(entries) == 1 and entries[0][0].text == "use" else None


def _scalars(node: Node) -> Iterator[ScalarNode]:
    match node:
        case ScalarNode():
            yield node
        case ListNode():
            for item in node.items:
                yield from _scalars(item)
        case MapNode():
            for key, value in node.entries:
                yield key
                yield from _scalars(value)


def _arguments(template: str, parameters: Mapping[Any, Parameter]) -> type:
    """An options class with these parameters: arguments are then checked, and explained, as options are."""
    fields: dict[str, Any] = {}
    hints: dict[str, Any] = {}
    for name, parameter in parameters.items():
        default: Any = attrs.NOTHING if parameter.default is None else None
        example = _plain(parameter.example.node) if parameter.example is not None else None
        fields[f"{name.replace('-', '_')}_"] = option(doc=parameter.doc, default=default, example=example)
        hints[f"{name.replace('-', '_')}_"] = _TYPES[parameter.type]
    cls = attrs.make_class(f"Template {template}", fields, frozen=True, kw_only=True)
    cls.__annotations__ = hints
    options_of(cls)
    return cls


def _plain(node: Node) -> object:
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [_plain(item) for item in node.items]
        case MapNode():
            return {key.text: _plain(value) for key, value in node.entries}
