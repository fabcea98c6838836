"""`pfiflow lint` and `pfiflow schema`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click

from pfiflow.cli.settings import env_file_option, settings, tell_of_settings
from pfiflow.flow.component import Registry
from pfiflow.routefile.lint import Finding
from pfiflow.routefile.lint import lint as find
from pfiflow.routefile.output import as_github, as_json, as_text
from pfiflow.routefile.schema import schema_text
from pfiflow.routefile.testfile_schema import test_schema_text

__all__ = ["lint", "schema"]

_FORMATS: Mapping[str, Callable[[Iterable[Finding]], str]] = {"text": as_text, "json": as_json, "github": as_github}


@click.command()
@env_file_option
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "output", type=click.Choice([*_FORMATS]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
def lint(files: tuple[Path, ...], env_file: Path | None, output: str, *, strict: bool) -> None:
    """Check route FILES without running them. Exit status 1 when something is wrong."""
    findings = find(files, Registry.installed(), environment=settings(env_file))
    click.echo(_FORMATS[output](findings), nl=False)
    tell_of_settings(files, (finding.code for finding in findings))
    failing = {"error", "warning"} if strict else {"error"}
    if any(finding.severity in failing for finding in findings):
        sys.exit(1)


@click.command()
@click.option("--tests", is_flag=True, help="That of test files (*.test.yaml) instead.")
def schema(*, tests: bool) -> None:
    """Print the JSON Schema (draft-07) of route files, made from the installed components; for editors."""
    text = test_schema_text if tests else schema_text
    click.echo(text(Registry.installed()), nl=False)
