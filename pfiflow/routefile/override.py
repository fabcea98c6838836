"""Overrides: what a file changes in the files that it includes, on their nodes, before anything is converted.

Mappings are merged key by key, anything else takes the place of what was there: so an option that is not named keeps
its value, and each error stands in the file that wrote what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from attrs import define, evolve

from pfiflow.flow.route import Place
from pfiflow.routefile.binder import Binder, is_null
from pfiflow.routefile.grammar import EIP_STEPS, Override, RouteOverride, StepOverride, TemplateForm, Unread
from pfiflow.routefile.nodes import ListNode, MapNode, Node, Report, ScalarNode, shown
from pfiflow.routefile.templates import step_entries

__all__ = ["Overrides", "merged"]

Named: TypeAlias = dict[str, tuple[ScalarNode, Node]]


def merged(base: Node, over: Node) -> Node:
    """`base` with what `over` says instead."""
    if not isinstance(over, MapNode) or not (isinstance(base, MapNode) or is_null(base)):
        return over
    entries = {key.text: (key, value) for key, value in (base.entries if isinstance(base, MapNode) else ())}
    for key, value in over.entries:
        entries[key.text] = (key, merged(entries[key.text][1], value) if key.text in entries else value)
    return MapNode(base.place, tuple(entries.values()), base.source)


def _component(base: Node, over: Node) -> Node:
    """A component with its options: those of the same one are merged, another takes its place."""
    same = _name_of(base) is not None and _name_of(base) == _name_of(over)
    return merged(base, over) if same else over


def _name_of(node: Node) -> str | None:
    return node.entries[0][0].text if isinstance(node, MapNode) and len(node.entries) == 1 else None


@define
class Overrides:
    """The overrides of one set of files, in their order: what comes later is told of what comes earlier."""

    binder: Binder
    partial: bool  # a file could not be read: what is unknown may well be in it
    parts: tuple[Override, ...]

    @property
    def report(self) -> Report:
        """Where errors go."""
        return self.binder.report

    # -- sections --------------------------------------------------------------------------------------------------

    def section(self, name: str, node: Node | None) -> Node | None:
        """`store` or `engine`, changed."""
        for part in self.parts:
            unread = getattr(part, name)
            if unread is not None:
                node = unread.node if node is None else merged(node, unread.node)
        return node

    def named(self, section: str, found: Named) -> None:
        """`channels` or `endpoints`: change those found."""
        change = merged if section == "channels" else _component
        for part in self.parts:
            for name, unread in getattr(part, section).items():
                if name in found:
                    key, node = found[name]
                    found[name] = key, change(node, unread.node)
                else:
                    self._unknown(unread.node.place, section.removesuffix("s"), name, found)

    def routes(self, nodes: list[Node]) -> list[Node]:
        """The routes, changed."""
        for part in self.parts:
            for name, change in part.routes.items():
                index = next((n for n, node in enumerate(nodes) if _text_of(node, "id") == name), None)
                if index is None:
                    self._unknown(change.place, "route", name, [_text_of(node, "id") for node in nodes])
                    continue
                node = nodes.pop(index)
                if change.remove:
                    if change.from_ or change.steps or change.on_rejected:
                        text = f"route {shown(name)} is removed: there is nothing else to change in it."
                        self.report.add(change.place, text, code="override")
                elif isinstance(node, MapNode):
                    nodes.insert(index, self._route(name, node, change))
        for node in nodes:
            self._check_ids(node, "route")
        return nodes

    def templates(self, forms: dict[str, TemplateForm]) -> None:
        """The templates of steps, changed."""
        for part in self.parts:
            for name, change in part.templates.items():
                form = forms.get(name)
                if form is None:
                    self._unknown(change.place, "template", name, forms)
                elif form.steps is None:
                    text = f"template {shown(name)} holds routes: override them by their ids, under `routes`."
                    self.report.add(change.place, text, code="override")
                else:
                    changed = self._all_steps(f"template {shown(name)}", (form.steps.node,), change.steps)
                    forms[name] = evolve(form, steps=Unread(changed[0]))
        for form in forms.values():
            if form.steps is not None:
                self._check_ids(form.steps.node, "template")

    def _unknown(self, place: Place, what: str, name: str, known: Any) -> None:
        if not self.partial:
            hint = self.binder.suggest(name, [each for each in known if each])
            text = f"there is no {what} {shown(name)} to override; include the file that declares it."
            self.report.add(place, text, code="override", hint=hint)

    # -- one route -------------------------------------------------------------------------------------------------

    def _route(self, name: str, node: MapNode, change: RouteOverride) -> MapNode:
        entries = {key.text: (key, value) for key, value in node.entries}
        if change.from_ is not None:
            key, source = entries.get("from", (node.entries[0][0], change.from_.node))
            entries["from"] = evolve(key, text="from"), _component(source, change.from_.node)
        if change.on_rejected is not None:
            key, _ = entries.get("on-rejected", node.entries[0])
            entries["on-rejected"] = evolve(key, text="on-rejected"), change.on_rejected.node
        parts = [part for part in _PARTS if part in entries]
        changed = self._all_steps(f"route {shown(name)}", tuple(entries[part][1] for part in parts), change.steps)
        entries |= {part: (entries[part][0], steps) for part, steps in zip(parts, changed, strict=True)}
        return evolve(node, entries=tuple(entries.values()))

    def _all_steps(self, where: str, lists: tuple[Node, ...], changes: Mapping[Any, StepOverride]) -> tuple[Node, ...]:
        """Lists of steps, changed; each change must find its step in one of them."""
        done: set[str] = set()
        changed = tuple(self._steps(node, changes, done) for node in lists)
        for step_id, change in changes.items():
            if step_id not in done:
                hint = self.binder.suggest(step_id, [key.text for node in lists for key in _ids_in(node)])
                text = f"{where} has no step with the id {shown(step_id)}."
                self.report.add(change.place, text, code="override", hint=hint)
        return changed

    def _steps(self, node: Node, changes: Mapping[Any, StepOverride], done: set[str]) -> Node:
        if isinstance(node, MapNode):
            return evolve(node, entries=tuple((key, self._steps(value, changes, done)) for key, value in node.entries))
        if not isinstance(node, ListNode):
            return node
        items: list[Node] = []
        for item in node.items:
            if not isinstance(item, MapNode):
                items.append(item)
                continue
            inside = evolve(
                item,
                entries=tuple(
                    (key, self._steps(value, changes, done) if key.text in _INSIDE else value)
                    for key, value in item.entries
                ),
            )
            step_id = _text_of(item, "id")
            if step_id in changes:
                done.add(step_id)
                items += self._step(inside, changes[step_id])
            else:
                items.append(inside)
        return evolve(node, items=tuple(items))

    def _step(self, step: MapNode, change: StepOverride) -> list[Node]:
        ways = [way for way in (change.set_, change.replace, change.remove) if way is not None]
        if len(ways) > 1:
            self.report.add(change.place, "`set`, `replace` and `remove` exclude each other.", code="override")
        elif not ways and change.before is None and change.after is None:
            text = "this changes nothing: it says neither before, after, set, replace nor remove."
            self.report.add(change.place, text, code="override")
        middle: list[Node] = [step]
        if change.remove:
            middle = []
        elif change.replace is not None:
            middle = self._list(change.replace.node)
        elif change.set_ is not None:
            middle = [self._set(step, change.set_.node)]
        before = self._list(change.before.node) if change.before is not None else []
        after = self._list(change.after.node) if change.after is not None else []
        return [*before, *middle, *after]

    def _set(self, step: MapNode, over: Node) -> MapNode:
        bare = evolve(step, entries=step_entries(step))
        if _name_of(bare) is None or _name_of(bare) != _name_of(over):
            name = shown(_name_of(bare) or "")
            text = f"this step is a {name}: `set` gives options of the same, `replace` gives another step."
            self.report.add(over.place, text, code="override")
            return step
        changed = merged(bare, over)
        ids = tuple(entry for entry in step.entries if entry[0].text == "id")
        return evolve(step, entries=(*ids, *(changed.entries if isinstance(changed, MapNode) else ())))

    def _list(self, node: Node) -> list[Node]:
        if isinstance(node, ListNode):
            return list(node.items)
        self.binder.expected(node, "a list of steps", "override", None)
        return []

    def _check_ids(self, node: Node, what: str) -> None:
        seen: dict[str, ScalarNode] = {}
        for key in _ids_of(node):
            first = seen.setdefault(key.text, key)
            if first is not key:
                text = f"step id {shown(key.text)} is given twice in this {what}; the first is at {first.place}."
                self.report.add(key.place, text, code="duplicate")


_PARTS = ("steps", "on-rejected")  # of a route
_INSIDE = frozenset({"otherwise", "steps", *EIP_STEPS})


def _text_of(node: Node, name: str) -> str:
    for key, value in node.entries if isinstance(node, MapNode) else ():
        if key.text == name and isinstance(value, ScalarNode):
            return value.text
    return ""


def _ids_of(node: Node) -> Iterator[ScalarNode]:
    """The ids of the steps of a route, or of a list of steps; those inside of others included."""
    if isinstance(node, ListNode):
        yield from _ids_in(node)
    for key, value in node.entries if isinstance(node, MapNode) else ():
        if key.text in _PARTS:
            yield from _ids_in(value)


def _ids_in(node: Node) -> Iterator[ScalarNode]:
    if isinstance(node, MapNode):
        for _, value in node.entries:
            yield from _ids_in(value)
    elif isinstance(node, ListNode):
        for item in node.items:
            for key, value in item.entries if isinstance(item, MapNode) else ():
                if key.text == "id" and isinstance(value, ScalarNode):
                    yield value
                elif key.text in _INSIDE:
                    yield from _ids_in(value)
