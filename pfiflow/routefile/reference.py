"""The reference as Markdown pages: `make reference` writes them into docs/reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pfiflow.flow.component import Registry
from pfiflow.flow.expression import FUNCTIONS, VARIABLES
from pfiflow.routefile.dataflow import ENGINE_HEADERS
from pfiflow.routefile.describe import Described, Header, Kind, OptionDoc, described

__all__ = ["as_markdown", "pages"]

_PAGES: Final[Mapping[Kind, tuple[str, str, str]]] = {
    "section": ("route-files", "Route files", "A route file is a mapping of these sections; each may be left out."),
    "source": ("sources", "Sources", "A source stands under `from` of a route, or by name under `endpoints`."),
    "sink": ("sinks", "Sinks", "A sink stands under `to` among steps, or by name under `endpoints`."),
    "processor": ("processors", "Processors", "A processor is a step: its name, with its options below."),
    "step": ("steps", "Steps of the engine", "Enterprise Integration Patterns, under the names that Camel gives them."),
    "body-type": ("body-types", "Body types", "What crosses channels, and what `body` shows to expressions."),
}
_GENERATED: Final = "<!-- Written by `make reference`. Do not edit: change the declarations in the code. -->\n\n"


def pages(registry: Registry) -> Mapping[str, str]:
    """The pages by file name."""
    everything = described(registry)
    of_kind = {kind: [each for each in everything if each.kind == kind] for kind in _PAGES}
    texts = {f"{file}.md": _page(title, intro, of_kind[kind]) for kind, (file, title, intro) in _PAGES.items()}
    texts["expressions.md"] = _GENERATED + _expressions()
    texts["index.md"] = _GENERATED + _index(of_kind)
    return texts


def as_markdown(entries: Iterable[Described]) -> str:
    """These entries, one section each."""
    return "\n".join("\n".join(_entry(each)) for each in entries)


def _page(title: str, intro: str, entries: Sequence[Described]) -> str:
    return f"{_GENERATED}# {title}\n\n{intro}\n\n{as_markdown(entries)}"


def _index(of_kind: Mapping[Kind, Sequence[Described]]) -> str:
    lines = ["# Reference", "", "Everything that a route file can name, from the code that reads it.", ""]
    lines += ["`pfiflow list` and `pfiflow describe NAME` show the same in a terminal, with your own components.", ""]
    files = [*(file for file, _, _ in _PAGES.values()), "expressions"]
    lines += ["```{toctree}", ":hidden:", "", *files, "```", ""]
    for kind, (file, title, _) in _PAGES.items():
        rows = ((f"[`{each.name}`]({file}.md#{each.name})", _first(each.doc)) for each in of_kind[kind])
        lines += [f"## [{title}]({file}.md)", "", *_table(("", ""), rows)]
    lines += ["## Shipped routes", "", "![The shipped routes](routes.svg)", "", "[Every step](steps.svg).", ""]
    lines += [
        "## [Expressions](expressions.md)",
        "",
        "Conditions and values: what they see, and what they can call.",
        "",
    ]
    return "\n".join(lines)


def _expressions() -> str:
    lines = ["# Expressions", "", "Conditions and values are [CEL](https://cel.dev) expressions. They see", ""]
    told = {
        "body": "the small view that the [type of the body](body-types.md) declares; never a document",
        "headers": 'the headers, all of them text; a name with a hyphen stands in brackets: `headers["mail-kind"]`',
        "id": "the exchange's id, the same on every attempt",
        "origin": "which source let the exchange in, such as `mllp-in 127.0.0.1:51312`",
    }
    lines += _table(("name", "is"), ((f"`{name}`", told[name]) for name in sorted(VARIABLES)))
    lines += ["They call these functions, and the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`:", ""]
    lines += [", ".join(f"`{name}`" for name in sorted(FUNCTIONS)) + ".", ""]
    lines += ["A header that is not there makes an expression fail; `has(headers.name)` asks.", ""]
    for where, headers in ENGINE_HEADERS.items():
        lines += [f"## Headers that `{where}` sets", ""]
        lines += _table(("header", ""), ((f"`{name}`", field.doc) for name, field in headers.items()))
    return "\n".join(lines)


def _entry(entry: Described) -> Iterator[str]:
    yield f"## {entry.name}"
    yield ""
    yield entry.doc
    yield ""
    if entry.takes:
        yield f"Takes: {entry.takes}."
        yield ""
    if entry.accepts or entry.gives:
        yield f"Body: {_code(entry.accepts) or 'any'} → {_code(entry.gives) or 'the same'}."
        yield ""
    if entry.example:
        yield "```yaml"
        yield entry.example
        yield "```"
        yield ""
    if entry.options:
        rows = ((f"`{name}`", *rest) for name, *rest in _option_rows(entry.options))
        yield from _table(("option", "type", "default", "", "example"), rows)
    for title, headers in (("Reads header", entry.reads), ("Sets header", entry.sets), ("Field", entry.fields)):
        if headers:
            yield from _table((title.lower(), "", ""), map(_header, headers))
    if entry.sets_more:
        yield "It may set other headers too."
        yield ""


def _option_rows(options: Iterable[OptionDoc], above: str = "") -> Iterator[tuple[str, ...]]:
    for option in options:
        default = "**required**" if option.required else _code(option.default)
        doc = f"{option.doc} A reference only: `${{env:…}}` or `${{file:…}}`." if option.secret else option.doc
        example = "" if option.options or option.example == option.default else _code(option.example)
        yield f"{above}{option.name}", option.type, default, doc, example
        if "step" not in option.type:
            yield from _option_rows(option.options, f"{above}{option.name}.")


def _header(header: Header) -> tuple[str, ...]:
    values = ", ".join(f"`{value}`" if value else "nothing" for value in header.values)
    kind = "" if header.type == "text" else f"{header.type[0].upper()}{header.type[1:]}. "
    return f"`{header.name}`", f"{kind}{header.doc}", values or ("" if header.always else "not always")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _first(doc: str) -> str:
    return doc.partition(". ")[0].rstrip(".")


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""
