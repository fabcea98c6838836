"""Test files to values: read, converted, and checked against the routes that they test; every error at its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen

from pfiflow.errors import ConfigErrors
from pfiflow.flow import matching as m
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry
from pfiflow.flow.matching import Match
from pfiflow.flow.route import FlowDefinition, Place
from pfiflow.flow.testing import answers_of
from pfiflow.routefile.binder import FAILED, Binder, is_null
from pfiflow.routefile.dataflow import channel_types
from pfiflow.routefile.environment import read_environment
from pfiflow.routefile.leaves import FileName
from pfiflow.routefile.load import load
from pfiflow.routefile.nodes import MAX_BYTES, ListNode, MapNode, Node, Report, ScalarNode, compose, shown
from pfiflow.routefile.steps import walk
from pfiflow.routefile.testfile import AnswerForm, InputForm, TestFile, TestForm

__all__ = ["CONDITIONS", "Condition", "LoadedTests", "load_tests"]


@frozen
class Condition:
    """One word of a match: what its value is, and what it makes of it."""

    hint: Any
    doc: str
    make: Callable[[Any, Place], Match]


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "contains": Condition(str, "A value contains this text.", lambda v, place: m.Contains(v, place=place)),
        "lacks": Condition(str, "No value contains this text.", lambda v, place: m.Lacks(v, place=place)),
        "matches": Condition(
            str, "This regular expression describes a value, all of it.", lambda v, place: m.Matches(v, place=place)
        ),
        "absent": Condition(bool, "There is nothing; false: something.", lambda v, place: m.Absent(v, place=place)),
        "count": Condition(int, "So many values.", lambda v, place: m.Count(v, place=place)),
        "each": Condition(Match, "Every value is so, and there is one.", lambda v, place: m.Each(v, place=place)),
        "some": Condition(Match, "One value at least is so.", lambda v, place: m.Some(v, place=place)),
    }
)
"""The words of a match, besides the names of formats."""


@frozen(slots=False)
class LoadedTests:
    """A test file, and the flow that it tests."""

    path: Path
    file: TestFile
    definition: FlowDefinition
    registry: Registry

    @cached_property
    def channel_types(self) -> Mapping[str, frozenset[Any]]:
        """The types of body that each channel may get from its writers."""
        return channel_types(self.definition, self.registry)


def load_tests(path: Path, registry: Registry) -> LoadedTests:
    """Read a test file and the route files that it names.

    Raises:
        ConfigErrors: everything that is wrong with the test file; or with the route files, when that is right.
    """
    report = Report()
    binder = _TestBinder(report, "keep", {}, registry=registry)
    form = binder.file(path)
    if report.errors or not isinstance(form, TestFile):
        raise ConfigErrors(sorted(report.errors, key=lambda error: (error.line, error.column)))
    environment: dict[str, str] = {}
    for name in form.environment_files:
        environment.update(read_environment(path.parent / name))
    environment.update(form.environment)
    routes = [path.parent / name for name in form.routes]
    if environment:
        definition = load(routes, registry, placeholders="test", environment=environment)
    else:
        definition = load(routes, registry, placeholders="keep")
    _Checker(definition, registry, report).check(form)
    if report.errors:
        raise ConfigErrors(sorted(report.errors, key=lambda error: (error.line, error.column)))
    return LoadedTests(path, form, definition, registry)


@define
class _TestBinder(Binder):
    """Converts what only test files have: matches and scripted answers."""

    registry: Registry = field(kw_only=True)

    def file(self, path: Path) -> Any:
        """The TestFile, or FAILED."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            self.report.add(Place(str(path), 1, 1), f"cannot be read: {error.strerror}.", code="file")
            return FAILED
        root = compose(str(path), path.parent, data, self.report)
        return FAILED if root is None else self.options(root, TestFile, "test file")

    def special(self, hint: Any) -> Callable[[Node], Any] | None:
        """Converters of the types that only a test file knows."""
        if hint in (Match, Match | None):
            return self._match
        if hint is AnswerForm:
            return self._answer
        if hint is FileName:
            return self._file_name
        return None

    def _file_name(self, node: Node) -> Any:
        return self.convert(node, str, "file name")

    def _match(self, node: Node) -> Any:
        """A text or a list of texts: exactly these. A mapping: all that it says."""
        if isinstance(node, ScalarNode) and not is_null(node):
            return m.Is((node.text,), place=node.place)
        if isinstance(node, ListNode):
            if all(isinstance(item, ScalarNode) and not is_null(item) for item in node.items):
                return m.Is(tuple(item.text for item in node.items if isinstance(item, ScalarNode)), place=node.place)
        elif isinstance(node, MapNode) and node.entries:
            found = [self._condition(key, value) for key, value in node.entries]
            return FAILED if any(each is FAILED for each in found) else m.All(tuple(found))
        words = ", ".join((*CONDITIONS, *self.registry.formats))
        expected = f"a text, a list of texts, or a mapping of {words}"
        return self.expected(node, expected, "what is expected", None, "Nothing at all is `absent: true`.")

    def _condition(self, key: ScalarNode, value: Node) -> Any:
        condition = CONDITIONS.get(key.text)
        if condition is not None:
            converted = self.convert(value, condition.hint, key.text, place=key.place)
            return FAILED if converted is FAILED else condition.make(converted, value.place)
        format_ = self.registry.formats.get(key.text)
        if format_ is not None:
            fields = self.convert(value, Mapping[str, Match], key.text, place=key.place)
            return FAILED if fields is FAILED else m.Inside(format_, fields, place=key.place)
        names = (*CONDITIONS, *self.registry.formats)
        hint = self.suggest(key.text, names)
        self.report.add(key.place, f"unknown condition or format {shown(key.text)}.", code="unknown", hint=hint)
        return FAILED

    def _answer(self, node: Node) -> Any:
        """`{component: options}`, with `times` beside it."""
        entries = {key.text: (key, value) for key, value in node.entries} if isinstance(node, MapNode) else {}
        times = 1
        if "times" in entries:
            times = self.convert(entries.pop("times")[1], int, "times")
            if times is FAILED:
                return FAILED
        if len(entries) != 1:
            return self.expected(node, "the name of a sink with its answer, and `times` if need be", "an answer", None)
        ((key, value),) = entries.values()
        component = self.registry.components.get(key.text)
        if component is None or component.kind != "sink":
            names = [each.name for each in self.registry.components.values() if each.kind == "sink"]
            text = f"unknown sink {shown(key.text)}."
            self.report.add(key.place, text, code="component", hint=self.suggest(key.text, names))
            return FAILED
        answer = self.options(value, answers_of(component), f"answer of {component.name}", place=key.place)
        return FAILED if answer is FAILED else AnswerForm(component.name, answer, times, key.place)


@define
class _Checker:
    """Tells of names in a test file that its routes do not have."""

    definition: FlowDefinition
    registry: Registry
    report: Report

    def check(self, form: TestFile) -> None:
        for test in form.tests:
            self._test(test)

    def _test(self, test: TestForm) -> None:
        routes = {route.id: route for route in self.definition.routes}
        for given in test.given:
            self._input(given, routes)
        for name in test.follow:
            self._known(name, routes, "route", test.place)
        for script in test.with_:
            component = self._endpoint(script.endpoint, script.route, script.place)
            for answer in script.answers:
                if component is not None and answer.component != component.name:
                    text = f"endpoint {shown(script.endpoint)} is a {component.name}, not a {answer.component}."
                    self.report.add(answer.place, text, code="component")
        for sent in test.expect.sent:
            self._endpoint(sent.endpoint, sent.route, sent.place)
        for attempt in test.expect.attempts:
            self._endpoint(attempt.endpoint, attempt.route, attempt.place)
        for channel in test.expect.channels:
            self._known(channel, self.definition.channels, "channel", test.expect.place)
        for dead in test.expect.dead:
            self._known(dead.channel, self.definition.channels, "channel", dead.place)
        for line in test.expect.journal:
            if line.route:
                self._known(line.route, routes, "route", line.place)

    def _input(self, given: InputForm, routes: Mapping[str, r.Route]) -> None:
        add = self.report.add
        if bool(given.route) + bool(given.channel) != 1:
            if not (given.after or given.stopped) or given.file or given.text is not None:
                add(given.place, "an input goes to a `route` or into a `channel`, one of them.", code="missing")
            return
        if given.route:
            self._known(given.route, routes, "route", given.place)
            source = routes[given.route].source if given.route in routes else None
            if isinstance(source, r.FromChannel):
                hint = f"Write `channel: {source.channel}`."
                add(given.place, f"route {shown(given.route)} reads a channel.", code="route", hint=hint)
        else:
            self._known(given.channel, self.definition.channels, "channel", given.place)
        if (given.file is None) == (given.text is None):
            add(given.place, "an input has a `file` or a `text`, one of them.", code="missing")
        if given.format:
            self._known(given.format, self.registry.formats, "format", given.place)
        if given.body_type:
            self._known(given.body_type, self.registry.body_types, "body type", given.place)
        if given.file is not None and not given.file.is_file():
            add(given.place, f"there is no file {str(given.file)!r}.", code="file")

    def _known(self, name: str, names: Iterable[str], what: str, place: Place) -> None:
        if name not in set(names):
            hint = Binder(self.report, "keep", {}).suggest(name, names)
            self.report.add(place, f"unknown {what} {shown(name)}.", code="unknown", hint=hint)

    def _endpoint(self, name: str, route: str, place: Place) -> Component | None:
        """The component of a destination; None when it is not there, which is told."""
        steps = [
            (each.id, step)
            for each in self.definition.routes
            for step in (*walk(each.steps), *walk(each.on_rejected))
            if isinstance(step, r.ToEndpoint)
        ]
        if route:
            self._known(route, [each.id for each in self.definition.routes], "route", place)
        for owner, step in steps:
            if name == (step.id or step.sink) and route in {"", owner}:
                return self.registry.component(step.sink, "sink")
        self._known(name, {step.id or step.sink for _, step in steps}, "endpoint", place)
        return None
