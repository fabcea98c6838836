"""`pfiflow list` and `pfiflow describe`: what a route file can name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from pfiflow.flow.component import Registry
from pfiflow.routefile.describe import Described, Header, Kind, OptionDoc, described
from pfiflow.routefile.describe import describe as find
from pfiflow.routefile.reference import as_markdown, pages

__all__ = ["describe", "list_names"]

_KINDS: Final[Mapping[str, Kind]] = {
    "sources": "source",
    "sinks": "sink",
    "processors": "processor",
    "steps": "step",
    "sections": "section",
    "body-types": "body-type",
}


@click.command("list")
@click.argument("kind", required=False, type=click.Choice([*_KINDS]))
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_names(kind: str | None, output: str) -> None:
    """List what a route file can name: all of it, or one KIND."""
    everything = described(Registry.installed())
    kinds = _KINDS if kind is None else {kind: _KINDS[kind]}
    chosen = [each for each in everything if each.kind in kinds.values()]
    if output == "json":
        names = [{"name": each.name, "kind": each.kind, "doc": each.doc} for each in chosen]
        click.echo(json.dumps(names, ensure_ascii=False, indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, each_kind in kinds.items():
        table.add_row(Text(title, style="bold"), "")
        for each in chosen:
            if each.kind == each_kind:
                table.add_row(f"  {each.name}", Text(each.doc))
    Console(highlight=False, emoji=False).print(table)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that there is.")
@click.option("--format", "output", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option(
    "--output", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write the reference's pages there."
)
def describe(names: tuple[str, ...], output: str, folder: Path | None, *, everything: bool) -> None:
    """Describe the sources, sinks, steps, sections or body types of these NAMES: options, types, defaults, examples."""
    registry = Registry.installed()
    if folder is not None:
        if not everything or output != "markdown":
            raise click.UsageError("--output goes with --all --format markdown.")
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in pages(registry).items():
            (folder / file).write_text(text, encoding="utf-8")
        return
    if bool(names) == everything:
        raise click.UsageError("give NAMES, or --all; `pfiflow list` shows the names.")
    found = described(registry) if everything else tuple(each for name in names for each in find(registry, name))
    if output == "json":
        click.echo(json.dumps([attrs.asdict(each) for each in found], ensure_ascii=False, indent=2))
    elif output == "markdown":
        click.echo(as_markdown(found), nl=False)
    else:
        Console(highlight=False, emoji=False).print(Group(*(part for each in found for part in _shown(each))))


def _shown(entry: Described) -> Iterator[RenderableType]:
    yield Text.assemble((entry.name, "bold"), f"  {entry.kind}")
    yield Text(entry.doc)
    if entry.takes:
        yield Text(f"Takes: {entry.takes}.")
    if entry.accepts or entry.gives:
        yield Text(f"Body: {entry.accepts or 'any'} → {entry.gives or 'the same'}.")
    if entry.example:
        yield Padding(Syntax(entry.example, "yaml", background_color="default", word_wrap=True), (1, 0, 1, 2))
    if entry.options:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for title in ("option", "type", "default", ""):
            table.add_column(title, overflow="fold")
        _add_options(table, entry.options)
        yield table
    for title, headers in (("reads header", entry.reads), ("sets header", entry.sets), ("field", entry.fields)):
        if headers:
            yield Padding(_headers(title, headers), (1, 0, 0, 0))
    yield Text()


def _add_options(table: Table, options: Iterable[OptionDoc], indent: str = "") -> None:
    for option in options:
        default = Text("required", style="bold") if option.required else Text(option.default)
        example = (
            f"  e.g. {option.example}" if option.example not in {"", option.default} and not option.options else ""
        )
        kind = Text(option.type.replace("`", ""), style="dim")
        table.add_row(f"{indent}{option.name}", kind, default, Text.assemble(option.doc, (example, "dim")))
        if "step" not in option.type:
            _add_options(table, option.options, f"{indent}  ")


def _headers(title: str, headers: Iterable[Header]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title, overflow="fold")
    table.add_column("")
    for header in headers:
        values = f"  One of: {', '.join(value or 'nothing' for value in header.values)}." if header.values else ""
        sometimes = "" if header.always else "  Not always."
        table.add_row(header.name, Text(f"{header.doc}{values}{sometimes}"))
    return table
