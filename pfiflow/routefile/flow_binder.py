"""The parts of a route file that name things: steps, sources, targets, endpoints, channels."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, evolve, field

from pfiflow.errors import ConfigError
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.route import Place
from pfiflow.routefile.binder import FAILED, Binder
from pfiflow.routefile.grammar import EIP_STEPS, NamedEndpoint, RouteSource, Target, Unread
from pfiflow.routefile.leaves import ChannelName, FileName, Name
from pfiflow.routefile.nodes import MapNode, Node, ScalarNode, shown
from pfiflow.routefile.python import python_component
from pfiflow.routefile.templates import step_entries

__all__ = ["FlowBinder"]

_WHERE = {"source": "`from`", "sink": "`to`", "processor": "a step of its own"}


@define
class FlowBinder(Binder):
    """Converts what names components, endpoints and channels.

    `channels` and `endpoints` are set before routes are converted. A name in `broken` was declared with errors of its
    own, told already. With `partial`, a file could not be read: a name that is unknown may well be in it.
    """

    registry: Registry = field(kw_only=True)
    channels: frozenset[str] = frozenset()
    endpoints: Mapping[str, NamedEndpoint] = field(factory=dict)
    broken: set[str] = field(factory=set)
    partial: bool = False
    used: set[str] = field(factory=set)  # names of endpoints
    guessed: set[Place] = field(factory=set)  # where a component's options hold a stand-in

    def special(self, hint: Any) -> Callable[[Node], Any] | None:
        """Converters of the types that only a flow knows."""
        if typing.get_origin(hint) is Unread:
            return Unread
        if hint is ChannelName:
            return self._channel
        if hint is FileName:
            return self._file_name
        if hint == r.Step:
            return self._step
        if hint == RouteSource:
            return self._source
        if hint == Target:
            return self._target
        return None

    def endpoint(self, key: ScalarNode, node: Node) -> Any:
        """A NamedEndpoint, or FAILED."""
        entry = self._one_key(node, f"endpoint {shown(key.text)}", "a component's name with its options")
        if entry is None:
            return FAILED
        component = self._component(entry[0], ("source", "sink"))
        if component is None:
            return FAILED
        guesses = self.guesses
        options = self._options(entry, component)
        if options is FAILED:
            return FAILED
        return NamedEndpoint(key.text, component, options, key.place, guessed=self.guesses > guesses)

    def _step(self, node: Node) -> Any:
        if isinstance(node, MapNode):
            ids = [value for key, value in node.entries if key.text == "id"]
            if ids and self.convert(ids[0], Name, "id") is FAILED:
                return FAILED
            node = evolve(node, entries=step_entries(node))
        entry = self._one_key(node, "a step", "its name, with its options as value")
        if entry is None:
            return FAILED
        key, value = entry
        if key.text == "python":
            return self._python(key, value)
        eip = EIP_STEPS.get(key.text)
        if eip is not None:
            errors = len(self.report.errors)
            converted = self.convert(value, eip.hint, key.text, place=key.place)
            if converted is FAILED:
                return FAILED
            step = eip.make(converted, key.place, self.report)
            if value.place in self.guessed:  # a sink: the step stands where its key does
                self.guessed.add(key.place)
            return step if len(self.report.errors) == errors else FAILED
        component = self._component(key, ("processor",), EIP_STEPS)
        options = FAILED if component is None else self._options(entry, component)
        return FAILED if options is FAILED else r.Process(key.text, options, place=key.place)

    def _python(self, key: ScalarNode, node: Node) -> Any:
        """A processor out of a module of the integrator's own."""
        expected = "module:name, with its options as value"
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            hint = f"Write it as `python: {{{node.text}: {{}}}}`."
            return self.expected(node, f"a mapping of one key: {expected}", "python", None, hint)
        entry = self._one_key(node, "`python`", expected)
        if entry is None:
            return FAILED
        try:
            component = python_component(entry[0].text, entry[0].source.directory)
        except ConfigError as error:
            self.report.add(entry[0].place, error.message, code=error.code, hint=error.hint)
            return FAILED
        options = self._options(entry, component)
        return FAILED if options is FAILED else r.Process(component, options, place=key.place)

    def _source(self, node: Node) -> Any:
        found = self._end(node, "from", "source")
        if isinstance(found, str):
            return r.FromChannel(found, place=node.place)
        return FAILED if found is None else r.FromEndpoint(found[0], found[1], place=node.place)

    def _target(self, node: Node) -> Any:
        found = self._end(node, "to", "sink")
        if isinstance(found, str):
            return r.ToChannel(found, place=node.place)
        return FAILED if found is None else r.ToEndpoint(found[0], found[1], id=found[2], place=node.place)

    def _end(self, node: Node, word: str, kind: str) -> str | tuple[str, Any, str] | None:
        """The name of a channel; or the component, its options and the endpoint's name; or None."""
        entry = self._one_key(node, f"`{word}`", f"channel, endpoint or the name of a {kind}, with its value")
        if entry is None:
            return None
        key, value = entry
        if key.text == "channel":
            channel = self._channel(value)
            return channel if isinstance(channel, str) else None
        if key.text == "endpoint":
            return self._shared(value, node.place, kind)
        component = self._component(key, (kind,), ("channel", "endpoint"))
        if component is None:
            return None
        guesses = self.guesses
        options = self._options(entry, component)
        if self.guesses > guesses:
            self.guessed.add(node.place)
        return None if options is FAILED else (component.name, options, "")

    def _shared(self, value: Node, place: Place, kind: str) -> tuple[str, Any, str] | None:
        name = self.convert(value, str, "endpoint")
        if name is FAILED or name in self.broken:
            return None
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            self._unknown(value, "endpoint", name, self.endpoints)
            return None
        self.used.add(name)
        component = endpoint.component
        if component.kind != kind:
            text = f"endpoint {shown(name)} is a {component.kind} ({component.name}); a {kind} is needed here."
            self.report.add(value.place, text, code="component")
            return None
        if endpoint.guessed:
            self.guessed.add(place)
        return component.name, endpoint.options, name

    def _channel(self, node: Node) -> Any:
        name = self.convert(node, str, "channel")
        if name is not FAILED and name not in self.channels:
            self._unknown(node, "channel", name, self.channels)
            return FAILED
        return name

    def _file_name(self, node: Node) -> Any:
        if isinstance(node, ScalarNode) and "${" in node.text:
            self.report.add(node.place, "include: a file name takes no placeholder.", code="placeholder")
            return FAILED
        return self.convert(node, str, "include")

    def _unknown(self, node: Node, what: str, name: str, names: Iterable[str]) -> None:
        if self.partial:
            return
        hint = self.suggest(name, names)
        self.report.add(node.place, f"unknown {what} {shown(name)}; declare it under `{what}s`.", code=what, hint=hint)

    def _component(self, key: ScalarNode, kinds: tuple[str, ...], words: Iterable[str] = ()) -> Component | None:
        component = self.registry.components.get(key.text)
        if component is not None and component.kind in kinds:
            return component
        what = " or ".join(kinds)
        if component is not None:
            text = f"{shown(key.text)} is a {component.kind}; it stands under {_WHERE[component.kind]}."
            self.report.add(key.place, text, code="component")
            return None
        names = [each.name for each in self.registry.components.values() if each.kind in kinds]
        what = "step" if kinds == ("processor",) else what
        self.report.add(
            key.place,
            f"unknown {what} {shown(key.text)}.",
            code="component",
            hint=self.suggest(key.text, [*names, *words]),
        )
        return None

    def _options(self, entry: tuple[ScalarNode, Node], component: Component) -> Any:
        key, value = entry
        return self.options(value, component.options, component.name, place=key.place)

    def _one_key(self, node: Node, what: str, expected: str) -> tuple[ScalarNode, Node] | None:
        if isinstance(node, MapNode) and len(node.entries) == 1:
            return node.entries[0]
        hint = ""
        if not isinstance(node, MapNode):
            found = "something else"
            if isinstance(node, ScalarNode) and isinstance(node.value, str):
                hint = f"Write it as `{node.text}: {{}}`." if node.text in self.registry.components else ""
                found = "text"
        else:
            found = f"{len(node.entries)} keys"
            hint = "Options are indented below the name." if node.entries else ""
        self.report.add(
            node.place, f"{what} is a mapping of one key: {expected}; found {found}.", code="type", hint=hint
        )
        return None
