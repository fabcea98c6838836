"""Settings from a file: NAME=VALUE lines, read again at each reload, which a process's own environment cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from pfiflow.routefile.environment import read_environment

__all__ = ["env_file_option", "settings", "tell_of_settings"]

_MISSING = frozenset({"unresolved", "missing-secret"})

env_file_option = click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings as NAME=VALUE lines, for ${env:NAME}; over the environment. Read again at each reload.",
)


def settings(env_file: Path | None) -> Mapping[str, str]:
    """What `${env:…}` reads: the file's lines, over the process's environment. Raises ConfigError."""
    return os.environ if env_file is None else {**os.environ, **read_environment(env_file)}


def tell_of_settings(files: Sequence[Path], codes: Iterable[str]) -> None:
    """Say how to load the `.env` beside the route files, on standard error, if a placeholder found nothing."""
    if _MISSING.isdisjoint(codes):
        return
    for settings_file in (file.parent / ".env" for file in files):
        if settings_file.is_file():
            where = settings_file if settings_file.is_absolute() else f"./{settings_file}"
            click.echo(f"{settings_file} is not loaded? `set -a; . {where}; set +a` does that", err=True)
            return
