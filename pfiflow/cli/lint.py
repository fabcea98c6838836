"""`pfiflow lint` and `pfiflow schema`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pfiflow.flow.component import Registry
from pfiflow.routefile.lint import format_findings
from pfiflow.routefile.lint import lint as find
from pfiflow.routefile.schema import json_schema

__all__ = ["lint", "schema"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
def lint(files: tuple[Path, ...], output: str, *, strict: bool) -> None:
    """Check route FILES without running them. Exit status 1 when something is wrong."""
    findings = find(files, Registry.installed())
    text = format_findings(findings, output)
    if text:
        click.echo(text)
    failing = {"error", "warning"} if strict else {"error"}
    if any(finding.severity in failing for finding in findings):
        sys.exit(1)


@click.command()
def schema() -> None:
    """Print the JSON Schema (draft-07) of route files, made from the installed components; for editors."""
    click.echo(json.dumps(json_schema(Registry.installed()), indent=2, ensure_ascii=False))
