"""`pfiflow new`: a project to begin with. Its files are in `project/`, as they are written, but for `dot-` in names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import click

__all__ = ["new"]

_PROJECT = Path(__file__).with_name("project")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def new(folder: Path) -> None:
    """Make a project in FOLDER: routes, settings, tests, messages to try with, and what deployment needs.

    It lints, tests, and runs against the simulators as it stands. FOLDER must not be there, or be empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty; name a folder that is not there yet")
    from pfiflow.simulators.messages import examples

    for path, name in _files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)  # with its mode: scripts stay executable
    messages = folder / "messages"
    messages.mkdir()
    for message, data in examples().items():
        (messages / message).write_bytes(data)
    click.echo(f"{folder} is ready; its README.md says how to go on")


def _files() -> Iterator[tuple[Path, Path]]:
    """Each file of the project, and what it is called there."""
    for path in sorted(_PROJECT.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            inside = path.relative_to(_PROJECT)
            yield path, inside.with_name(inside.name.replace("dot-", ".", 1))
