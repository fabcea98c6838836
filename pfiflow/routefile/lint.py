"""Lint: everything that can be told of route files without running them, in one list of findings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
from attrs import frozen

from pfiflow.errors import ConfigError, Severity
from pfiflow.flow.component import Registry
from pfiflow.flow.route import FlowDefinition, Place
from pfiflow.routefile.body_types import check_body_types
from pfiflow.routefile.checks import check_channels, check_headers, check_ports, check_routes
from pfiflow.routefile.load import Loaded, read

__all__ = ["Finding", "as_json", "as_text", "lint"]

_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "information": 2}


@frozen
class Finding:
    """One thing to know about a route file. Line and column count from 1.

    An `error` stops a start or loses messages; a `warning` is probably not meant; `information` is worth knowing.
    """

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}{hint} [{self.code}]"


def lint(
    paths: Sequence[Path], registry: Registry, *, environment: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """What is wrong or doubtful in these files (and what they include), by place.

    Unresolved placeholders are warnings (code `unresolved`): elsewhere, they may have a value. What needs the whole
    flow (types, channels, ports, headers) is looked at once the files load.
    """
    loaded = read(paths, registry, "lint", os.environ if environment is None else environment)
    findings = [_finding(error, "error") for error in loaded.errors]
    findings += [_finding(error, "warning") for error in loaded.unresolved]
    if loaded.definition is not None:
        findings += _of_flow(loaded, loaded.definition, registry, str(paths[0]) if paths else "")
    return tuple(sorted(set(findings), key=lambda f: (f.file, f.line, f.column, _ORDER[f.severity], f.code, f.message)))


def _finding(error: ConfigError, severity: Severity) -> Finding:
    return Finding(error.file, error.line, error.column, error.code, severity, error.message, error.hint)


def _of_flow(loaded: Loaded, definition: FlowDefinition, registry: Registry, first_file: str) -> list[Finding]:
    findings: list[Finding] = []

    def found(place: Place | None, code: str, severity: Severity, message: str, hint: str = "") -> None:
        where = place or Place(first_file, 1, 1)
        findings.append(Finding(where.file, where.line, where.column, code, severity, message, hint))

    check_routes(definition, found)
    check_channels(definition, loaded.channel_places, found)
    check_ports(definition, registry, loaded.guessed, found)
    check_headers(definition, registry, loaded.channel_places, found)
    check_body_types(definition, registry, lambda place, code, message: found(place, code, "error", message))
    for name, endpoint in loaded.endpoints.items():
        if name not in loaded.used_endpoints:
            found(endpoint.place, "unused", "warning", f"endpoint {name!r} is declared, and no route uses it.")
    if not definition.routes:
        found(None, "no-routes", "warning", "there is no route here.")
    return findings


def as_text(findings: Iterable[Finding]) -> str:
    """One finding a line: `file:line:column: severity: message hint [code]`."""
    return "".join(f"{finding}\n" for finding in findings)


def as_json(findings: Iterable[Finding]) -> str:
    """A JSON list of objects with the fields of `Finding`."""
    return json.dumps([attrs.asdict(finding) for finding in findings], ensure_ascii=False, indent=2)
