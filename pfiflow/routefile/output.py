"""Findings as text for people, JSON for programs, annotations for a GitHub workflow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from pfiflow.errors import Severity
from pfiflow.routefile.codes import CODES
from pfiflow.routefile.lint import Finding

__all__ = ["as_github", "as_json", "as_text"]


def as_text(findings: Iterable[Finding]) -> str:
    """One finding a line: `file:line:column: severity: message hint [code]`."""
    return "".join(f"{finding}\n" for finding in findings)


def as_json(findings: Iterable[Finding]) -> str:
    """A JSON list of objects with the fields of `Finding`."""
    return json.dumps([attrs.asdict(finding) for finding in findings], ensure_ascii=False, indent=2) + "\n"


_COMMANDS: Final[Mapping[Severity, str]] = {"error": "error", "warning": "warning", "information": "notice"}


def as_github(findings: Iterable[Finding]) -> str:
    """Workflow commands: GitHub shows each beside its line in a pull request.

    Source: docs.github.com, "Workflow commands for GitHub Actions", setting a message.
    """
    return "".join(map(_annotation, findings))


def _annotation(finding: Finding) -> str:
    title = CODES[finding.code].title if finding.code in CODES else finding.code
    properties = {
        "file": finding.file,
        "line": str(finding.line),
        "col": str(finding.column),
        "title": f"{title} [{finding.code}]",
    }
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    hint = f" {finding.hint}" if finding.hint else ""
    return f"::{_COMMANDS[finding.severity]} {listed}::{_data(finding.message + hint)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
