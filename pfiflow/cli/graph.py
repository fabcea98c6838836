"""`pfiflow graph`: a picture of route files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pfiflow.errors import ConfigErrors
from pfiflow.flow.component import Registry
from pfiflow.graph import as_mermaid, as_svg, graph_of
from pfiflow.graph.model import Detail
from pfiflow.routefile.load import read

__all__ = ["graph"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "output", type=click.Choice(["mermaid", "svg"]), default="mermaid", show_default=True)
@click.option(
    "--detail",
    type=click.Choice(["routes", "steps"]),
    default="routes",
    show_default=True,
    help="What each route processes and where it sends, or every step.",
)
@click.option("--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
def graph(files: tuple[Path, ...], output: str, detail: Detail, file: Path | None) -> None:
    """Draw route FILES: sources, routes, channels, endpoints. No setting is looked up, nothing leaves this machine."""
    registry = Registry.installed()
    loaded = read(files, registry, "keep", {})
    if loaded.definition is None:
        raise ConfigErrors(loaded.errors)
    picture = graph_of(loaded.definition, registry, detail, loaded.guessed)
    text = as_svg(picture, " ".join(path.stem for path in files)) if output == "svg" else as_mermaid(picture)
    if file is None:
        click.echo(text, nl=False)
    else:
        file.write_text(text, encoding="utf-8")
        click.echo(f"{file} written", file=sys.stderr)
