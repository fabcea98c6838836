"""Route files to a flow definition: files and their includes read, merged, converted; every error told at its place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import define, field, frozen

from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.route import ChannelSpec, EngineOptions, FlowDefinition, Place, Route, StoreOptions
from pfiflow.routefile.binder import FAILED, Mode, is_null
from pfiflow.routefile.flow_binder import FlowBinder
from pfiflow.routefile.grammar import NamedEndpoint, RouteFile, RouteForm, check_registry
from pfiflow.routefile.leaves import FileName, options_of
from pfiflow.routefile.nodes import MAX_BYTES, ListNode, MapNode, Node, Report, ScalarNode, compose, shown

__all__ = ["MAX_FILES", "Loaded", "load", "read"]

MAX_FILES = 64


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
    placeholders: Literal["strict", "keep"] = "strict",
    environment: Mapping[str, str] | None = None,
) -> FlowDefinition:
    """The flow that these files (and what they include) describe together.

    Args:
        paths: the route files; their order is the order of their routes.
        registry: the components that they may name.
        placeholders: `strict` fills them in, for a run. `keep` looks nothing up: texts and secrets keep the placeholder
            as written, other options take its default or their own example; so a test needs no secret.
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
    definition, channel_places = _Merger(binder, files.roots).flow()
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

    def read(self, path: Path, place: Place | None, trail: tuple[Path, ...]) -> None:
        """Read one file; `place` is where it is included, `trail` the files that led here."""
        where = place or Place(str(path), 1, 1)
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
        root = compose(str(path), path.parent, data, self.binder.report)
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
            else:
                self.read(path.parent / name, item.place, trail)


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
        store = self._single("store", StoreOptions)
        engine = self._single("engine", EngineOptions)
        named_channels = self._named("channels")
        named_endpoints = self._named("endpoints")
        binder.channels = frozenset(named_channels)
        channels = {
            name: binder.convert(value, ChannelSpec, f"channel {name}", place=key.place)
            for name, (key, value) in named_channels.items()
        }
        endpoints = {name: binder.endpoint(key, value) for name, (key, value) in named_endpoints.items()}
        binder.broken = {name for name, endpoint in endpoints.items() if endpoint is FAILED}
        binder.endpoints = {name: endpoint for name, endpoint in endpoints.items() if endpoint is not FAILED}
        routes = self._routes()
        places = {name: key.place for name, (key, _) in named_channels.items()}
        return FlowDefinition(routes, channels, store, engine), places

    def _sections(self, name: str) -> list[tuple[ScalarNode, Node]]:
        return [(key, value) for root in self.roots for key, value in root.entries if key.text == name]

    def _single(self, name: str, cls: type) -> Any:
        sections = self._sections(name)
        for key, _ in sections[1:]:
            self._twice(key.place, f"`{name}` is given", sections[0][0].place)
        if not sections:
            return cls()
        key, value = sections[0]
        return self.binder.options(value, cls, name, place=key.place)

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

    def _routes(self) -> tuple[Route, ...]:
        forms: dict[str, tuple[RouteForm, Place]] = {}
        for _, section in self._sections("routes"):
            if is_null(section):
                continue
            if not isinstance(section, ListNode):
                self.binder.expected(section, "a list of routes", "routes", None)
                continue
            for node in section.items:
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
        text = f"{what} twice; the first is at {first.file}:{first.line}:{first.column}."
        self.binder.report.add(place, text, code="duplicate")


def _entries(node: Node) -> Sequence[tuple[ScalarNode, Node]]:
    return node.entries if isinstance(node, MapNode) else ()
