"""Lint: everything that can be told of route files without running them, in one list of findings."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from pfiflow.errors import ConfigError, Severity
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.route import FlowDefinition, Place
from pfiflow.routefile.checks import check_channels, check_exclusive, check_options, check_redelivery
from pfiflow.routefile.codes import CODES
from pfiflow.routefile.dataflow import check_flow
from pfiflow.routefile.liveness import check_headers_are_read
from pfiflow.routefile.load import Loaded, read
from pfiflow.routefile.route_checks import check_routes
from pfiflow.routefile.silence import Silencer, silencers

__all__ = ["Finding", "lint"]

_ELSEWHERE: Final = frozenset({"no-reader", "no-writer", "unused", "unresolved", "missing-secret", "open-secret"})
"""What depends on the environment, or on the files looked at together: a comment that ignores it may be of use then."""

_ORDER: Final[Mapping[Severity, int]] = {"error": 0, "warning": 1, "information": 2}


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

    Unresolved placeholders are warnings (codes `unresolved`, `missing-secret`): elsewhere, they may have a value. What
    needs the whole flow (types, channels, ports, headers) is looked at once the files load. Findings that a comment
    silences are left out (`routefile.silence`).
    """
    loaded = read(paths, registry, "lint", os.environ if environment is None else environment)
    findings = {_finding(error, "error") for error in loaded.errors}
    findings |= {_finding(error, "warning") for error in loaded.doubts}
    if loaded.definition is not None:
        findings |= _of_flow(loaded, loaded.definition, registry, str(paths[0]) if paths else "")
    kept = _silenced(findings, loaded, frozenset(path.resolve() for path in paths))
    return tuple(sorted(kept, key=lambda f: (f.file, f.line, f.column, _ORDER[f.severity], f.code, f.message)))


def _finding(error: ConfigError, severity: Severity) -> Finding:
    return Finding(error.file, error.line, error.column, error.code, severity, error.message, error.hint)


def _of_flow(loaded: Loaded, definition: FlowDefinition, registry: Registry, first_file: str) -> set[Finding]:
    findings: set[Finding] = set()

    def found(place: Place | None, code: str, severity: Severity, message: str, hint: str = "") -> None:
        where = place or Place(first_file, 1, 1)
        findings.add(Finding(where.file, where.line, where.column, code, severity, message + where.way, hint))

    def place_in(expression: Expression, offset: int) -> Place | None:
        written = loaded.expressions.get(id(expression))
        return None if written is None else written[1].place_of(offset)

    check_routes(definition, registry, found)
    check_headers_are_read(definition, registry, found)
    check_channels(definition, loaded.channel_places, found)
    check_redelivery(definition, loaded.channel_places, found)
    check_exclusive(definition, registry, loaded.guessed, found)
    check_options(definition, registry, loaded.guessed, found)
    check_flow(definition, registry, loaded.channel_places, place_in, found)
    for name, endpoint in loaded.endpoints.items():
        if name not in loaded.used_endpoints:
            found(endpoint.place, "unused", "warning", f"endpoint {name!r} is declared, and no route uses it.")
    if not definition.routes:
        found(None, "no-routes", "warning", "there is no route here.")
    return findings


def _silenced(findings: Iterable[Finding], loaded: Loaded, given: Collection[Path]) -> Iterator[Finding]:
    """The findings that no comment silences, and what is wrong with the comments themselves.

    A comment of an included file may be of use elsewhere: here, an override has changed what it is about.
    """
    comments = [silencer for root in loaded.roots for silencer in silencers(root)]
    for finding in findings:
        covering = [each for each in comments if each.covers(finding.file, finding.line, finding.code)]
        if finding.severity == "error" or not covering:
            yield finding
        for each in covering:
            each.used = each.used or finding.severity != "error"
    for comment in comments:
        told = loaded.definition is not None and Path(comment.file).resolve() in given
        message = _fault(comment, tell_unused=told)
        if message:
            place = (comment.file, comment.line, comment.column)
            yield Finding(*place, "silencer", "warning", f"{message}.", "Write # lint: ignore[code] and the reason.")


def _fault(comment: Silencer, *, tell_unused: bool) -> str:
    if not comment.code:
        return "this names no code to ignore"
    if comment.code not in CODES:
        return f"{comment.code!r} is no code of a finding"
    if not comment.reason:
        return f"this does not say why {comment.code} is ignored"
    if CODES[comment.code].severity == "error":
        return f"{comment.code} is an error, which cannot be ignored"
    if comment.used or not tell_unused or comment.code in _ELSEWHERE:
        return ""
    return f"there is no finding {comment.code} to ignore here"
