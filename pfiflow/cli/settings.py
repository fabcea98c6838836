"""Settings from a file: NAME=VALUE lines, read again at each reload, which a process's own environment cannot be."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from pfiflow.errors import ConfigError

__all__ = ["env_file_option", "read_env_file", "settings", "tell_of_settings"]

logger = logging.getLogger("pfiflow.run")

_MISSING = frozenset({"unresolved", "missing-secret"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

env_file_option = click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings as NAME=VALUE lines, for ${env:NAME}; the environment wins over it. Read again at each reload.",
)


def settings(env_file: Path | None) -> Mapping[str, str]:
    """What `${env:…}` reads: the process's environment, over the file's lines. Raises ConfigError."""
    if env_file is None:
        return os.environ
    values = read_env_file(env_file)
    hidden = sorted(name for name, value in values.items() if os.environ.get(name, value) != value)
    if hidden:
        logger.warning("the environment of this process hides %s of %s", ", ".join(hidden), env_file)
    return {**values, **os.environ}


def read_env_file(path: Path) -> dict[str, str]:
    """The settings of a file: one NAME=VALUE a line, comments after `#`, a value in quotes without them.

    Nothing in a value is special. Raises ConfigError with the line; no value is in the message.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"the settings cannot be read: {reason}.", file=str(path), line=1, column=1) from None
    values: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        name, value = name.removeprefix("export ").strip(), value.strip()
        if not equals or not _NAME.fullmatch(name):
            hint = "Example: PFI_MAILBOX=pfi@hopital.mssante.example"
            raise ConfigError("expected NAME=VALUE.", file=str(path), line=number, column=1, code="settings", hint=hint)
        quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
        values[name] = value[1:-1] if quoted else value
    return values


def tell_of_settings(files: Sequence[Path], codes: Iterable[str]) -> None:
    """Say how to load the `.env` beside the route files, on standard error, if a placeholder found nothing."""
    if _MISSING.isdisjoint(codes):
        return
    for settings_file in (file.parent / ".env" for file in files):
        if settings_file.is_file():
            where = settings_file if settings_file.is_absolute() else f"./{settings_file}"
            click.echo(f"{settings_file} is not loaded? `set -a; . {where}; set +a` does that", err=True)
            return
