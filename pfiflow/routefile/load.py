"""Route files to a flow definition: files and their includes read, merged, converted; every error told at its place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import define, evolve, field, frozen

from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.route import ChannelSpec, EngineOptions, FlowDefinition, Place, Route, StoreOptions
from pfiflow.resources import route_path
from pfiflow.routefile.binder import FAILED, Mode, is_null
from pfiflow.routefile.flow_binder import FlowBinder
from pfiflow.routefile.grammar import NamedEndpoint, Override, RouteFile, RouteForm, TemplateForm, check_registry
from pfiflow.routefile.leaves import FileName, options_of
from pfiflow.routefile.nodes import MAX_BYTES, ListNode, MapNode, Node, Report, ScalarNode, compose, shown
from pfiflow.routefile.override import Overrides
from pfiflow.routefile.templates import Templates

__all__ = ["MAX_FILES", "Loaded", "load", "read"]

MAX_FILES = 64
SHIPPED = "pfiflow:"
"""Begins the name of a file that comes with pfiflow, where a file is included."""


@frozen
class Loaded:
    """What reading gave. `definition` is None when there are errors. `guessed` holds the places of sources and sinks
    whose options hold a stand-in for an unresolved placeholder; `doubts` are what only lint tells; `expressions`, by
    their `id()`, say where their text stands; `roots` are the files.
    """

    errors: tuple[ConfigError, ...]
    doubts: tuple[ConfigError, ...]
    definition: FlowDefinition | None
    channel_places: Mapping[str, Place]
    endpoints: Mapping[str, NamedEndpoint]
    used_endpoints: frozenset[str]
    guessed: frozenset[Place]
    expressions: Mapping[int, tuple[Expression, ScalarNode]]
    roots: tuple[MapNode, ...]


def load(
    paths: Sequence[Path],
    registry: Registry,
    *,
    placeholders: Literal["strict", "keep", "test"] = "strict",
    environment: Mapping[str, str] | None = None,
) -> FlowDefinition:
    """The flow that these files (and what they include) describe together.

    Args:
        paths: the route files; their order is the order of their routes.
        registry: the components that they may name.
        placeholders: `strict` fills them in, for a run. `keep` looks nothing up: texts and secrets keep the placeholder
            as written, other options take its default or their own example; so a test needs no secret. `test` fills in
            variables and reads no file: what a file would hold is kept as by `keep`.
        environment: what `${env:…}` reads; by default the process's own.

    Raises:
        ConfigErrors: everything that is wrong, each with file, line and column.
        ConfigError: a component of the registry has a name that route files use for something else.
    """
    loaded = read(paths, registry, placeholders, os.environ if environment is None else environment)
    if loaded.definition is None:
        raise ConfigErrors(loaded.errors)
    return loaded.definition


def read(paths: Sequence[Path], registry: Registry, mode: Mode, environment: Mapping[str, str]) -> Loaded:
    """The same as `load`, with what `lint` wants to know; never raises for the content of files."""
    check_registry(registry)
    report = Report()
    binder = FlowBinder(report, mode, environment, registry=registry)
    files = _Files(binder)
    for path in paths:
        files.read(Path(path), None, ())
    definition, channel_places = _Merger(binder, list(files.roots)).flow()
    return Loaded(
        errors=tuple(sorted(report.errors, key=_position)),
        doubts=tuple(sorted(binder.doubts, key=_position)),
        definition=None if report.errors else definition,
        channel_places=channel_places,
        endpoints=binder.endpoints,
        used_endpoints=frozenset(binder.used),
        guessed=frozenset(binder.guessed),
        expressions=binder.expressions,
        roots=tuple(files.roots),
    )


def _position(error: ConfigError) -> tuple[str, int, int]:
    return error.file, error.line, error.column


@define
class _Files:
    """Reads files and what they include, each once, what is included before what includes it."""

    binder: FlowBinder
    roots: list[MapNode] = field(factory=list)
    _seen: set[Path] = field(factory=set)

    def read(self, path: Path, place: Place | None, trail: tuple[Path, ...], directory: Path | None = None) -> None:
        """Read one file; `place` is where it is included, `trail` the files that led here, `directory` where relative
        paths in it start from when that is not its own.
        """
        where = place or Place(str(path), 1, 1)
        if path.name.endswith(".test.yaml"):
            self._refuse(where, f"{str(path)!r} holds tests, no routes: run them with `pfiflow test`.", "file")
            return
        try:
            identity = path.resolve()
            if identity in trail:
                self._refuse(where, f"this includes {str(path)[-1000:]!r}, which leads here: a circle.", "include")
                return
            if identity in self._seen:
                return
            self._seen.add(identity)
            if len(self._seen) > MAX_FILES:
                self._refuse(where, f"more than {MAX_FILES} files.", "limit")
                return
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a file name"
            self._refuse(where, f"file {str(path)[-1000:]!r} cannot be read: {reason}.", "file")
            return
        root = compose(str(path), directory or path.parent, data, self.binder.report)
        if isinstance(root, MapNode):
            self._include(path, root, (*trail, identity))
            self.roots.append(root)
        elif root is not None:
            self._refuse(root.place, "a route file is a mapping, with `routes`, `channels` and so on.", "type")
        else:
            self.binder.partial = True

    def _refuse(self, place: Place, message: str, code: str) -> None:
        self.binder.partial = True
        self.binder.report.add(place, message, code=code)

    def _include(self, path: Path, root: MapNode, trail: tuple[Path, ...]) -> None:
        node = next((value for key, value in root.entries if key.text == "include"), None)
        if node is None or is_null(node):
            return
        if not isinstance(node, ListNode):
            attribute = options_of(RouteFile)["include"][0]
            self.binder.expected(node, "a list of files", "include", attribute)
            self.binder.partial = True
            return
        for item in node.items:
            name = self.binder.convert(item, FileName, "include")
            if name is FAILED:
                self.binder.partial = True
            elif name.startswith(SHIPPED):
                self._include_shipped(name.removeprefix(SHIPPED), item.place, trail, root.source.directory)
            else:
                # What a shipped file includes is shipped: its relative paths start from where it is used, not from it.
                shipped = path.parent != root.source.directory
                self.read(path.parent / name, item.place, trail, root.source.directory if shipped else None)

    def _include_shipped(self, name: str, place: Place, trail: tuple[Path, ...], directory: Path) -> None:
        try:
            path = route_path(name)
        except ConfigError as error:
            self._refuse(place, f"include: {error.message}.", "file")
        else:
            self.read(path, place, trail, directory)


@define
class _Merger:
    """Makes one flow of the files' sections: what is named must be named once."""

    binder: FlowBinder
    roots: list[MapNode]

    def flow(self) -> tuple[FlowDefinition, Mapping[str, Place]]:
        """The flow (of use only when nothing was reported), and where each channel is declared."""
        binder = self.binder
        for root in self.roots:
            binder.keys_are_right(root.entries, options_of(RouteFile), [], "route file", root.place)
        overrides = self._overrides()
        templates = self._templates(overrides)
        routes = self._route_nodes(templates)
        binder.partial |= templates.failed
        store = self._single("store", StoreOptions, overrides)
        engine = self._single("engine", EngineOptions, overrides)
        named_channels = self._named("channels")
        named_endpoints = self._named("endpoints")
        overrides.named("channels", named_channels)
        overrides.named("endpoints", named_endpoints)
        routes = [_with_steps(node, templates) for node in overrides.routes(routes)]
        binder.channels = frozenset(named_channels)
        channels = {
            name: binder.convert(value, ChannelSpec, f"channel {name}", place=key.place)
            for name, (key, value) in named_channels.items()
        }
        endpoints = {name: binder.endpoint(key, value) for name, (key, value) in named_endpoints.items()}
        binder.broken = {name for name, endpoint in endpoints.items() if endpoint is FAILED}
        binder.endpoints = {name: endpoint for name, endpoint in endpoints.items() if endpoint is not FAILED}
        route_values = self._routes(routes)
        places = {name: key.place for name, (key, _) in named_channels.items()}
        return FlowDefinition(route_values, channels, store, engine), places

    def _sections(self, name: str) -> list[tuple[ScalarNode, Node]]:
        return [(key, value) for root in self.roots for key, value in root.entries if key.text == name]

    def _templates(self, overrides: Overrides) -> Templates:
        templates = Templates(self.binder.report, self.binder.partial)
        named = self._named("templates")
        forms: dict[str, TemplateForm] = {}
        for name, (key, value) in named.items():
            form = self.binder.convert(value, TemplateForm, f"template {name}", place=key.place)
            if form is FAILED:
                templates.broken.add(name)
            else:
                forms[name] = form
        overrides.templates(forms)
        for name, form in forms.items():
            templates.declare(named[name][0], form)
        return templates

    def _overrides(self) -> Overrides:
        parts = [
            self.binder.convert(value, Override, "override", place=key.place)
            for key, value in self._sections("override")
        ]
        return Overrides(self.binder, self.binder.partial, tuple(part for part in parts if isinstance(part, Override)))

    def _route_nodes(self, templates: Templates) -> list[Node]:
        """The items of all `routes`, those of templates written out; their channels and endpoints join the files'."""
        nodes: list[Node] = []
        for _, section in self._sections("routes"):
            if is_null(section):
                continue
            if not isinstance(section, ListNode):
                self.binder.expected(section, "a list of routes", "routes", None)
                continue
            routes, more = templates.routes(section)
            nodes += routes.items
            self.roots += more
        return nodes

    def _single(self, name: str, cls: type, overrides: Overrides) -> Any:
        sections = self._sections(name)
        for key, _ in sections[1:]:
            self._twice(key.place, f"`{name}` is given", sections[0][0].place)
        place, node = (sections[0][0].place, sections[0][1]) if sections else (None, None)
        changed = overrides.section(name, node)
        return cls() if changed is None else self.binder.options(changed, cls, name, place=place or changed.place)

    def _named(self, section: str) -> dict[str, tuple[ScalarNode, Node]]:
        found: dict[str, tuple[ScalarNode, Node]] = {}
        for _, node in self._sections(section):
            if is_null(node):
                continue
            if not isinstance(node, MapNode):
                self.binder.expected(node, "a mapping by name", section, options_of(RouteFile)[section][0])
                self.binder.partial = True
                continue
            for key, value in node.entries:
                self.binder.name(key)
                if key.text in found:
                    what = f"{section.removesuffix('s')} {shown(key.text)} is declared"
                    self._twice(key.place, what, found[key.text][0].place)
                else:
                    found[key.text] = (key, value)
        return found

    def _routes(self, nodes: Sequence[Node]) -> tuple[Route, ...]:
        forms: dict[str, tuple[RouteForm, Place]] = {}
        for node in nodes:
            self._route(node, forms)
        return tuple(
            Route(form.id, form.from_, form.steps, form.on_rejected, place=form.place) for form, _ in forms.values()
        )

    def _route(self, node: Node, forms: dict[str, tuple[RouteForm, Place]]) -> None:
        form = self.binder.convert(node, RouteForm, "route")
        if not isinstance(form, RouteForm):
            return
        place = next((value.place for key, value in _entries(node) if key.text == "id"), node.place)
        if form.id in forms:
            self._twice(place, f"route {shown(form.id)} is declared", forms[form.id][1])
        else:
            forms[form.id] = (form, place)

    def _twice(self, place: Place, what: str, first: Place) -> None:
        text = f"{what} twice; the first is at {first}{first.way}."
        self.binder.report.add(place, text, code="duplicate")


def _with_steps(route: Node, templates: Templates) -> Node:
    """The route, with the uses of templates in its steps written out."""
    if not isinstance(route, MapNode):
        return route
    steps = {"steps", "on-rejected"}
    return evolve(
        route,
        entries=tuple((key, templates.steps(value) if key.text in steps else value) for key, value in route.entries),
    )


def _entries(node: Node) -> Sequence[tuple[ScalarNode, Node]]:
    return node.entries if isinstance(node, MapNode) else ()
