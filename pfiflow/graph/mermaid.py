"""A graph as Mermaid text: GitHub, GitLab and many wikis draw it (a code block `mermaid`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from pfiflow.graph.model import Card, Graph, Terminal

__all__ = ["as_mermaid"]

_SHAPES: Final[Mapping[str, tuple[str, str]]] = {"source": ("([", "])"), "channel": ("[(", ")]"), "sink": ("[[", "]]")}
_SPECIAL: Final[Mapping[str, str]] = {
    **{character: f"#{ord(character)};" for character in "#`|\\"},
    '"': "#quot;",
    "<": "#lt;",
    ">": "#gt;",
    "&": "#amp;",
}
_STYLES: Final = (
    "classDef source fill:#f0fdfa,stroke:#0f766e,color:#0f766e",
    "classDef channel fill:#fffbeb,stroke:#b45309,color:#b45309",
    "classDef sink fill:#eef2ff,stroke:#4338ca,color:#4338ca",
    "classDef route fill:#ffffff,stroke:#94a3b8,color:#0f172a,text-align:left",
)


def as_mermaid(graph: Graph) -> str:
    """A flowchart from left to right; what refused exchanges take is dashed."""
    ids = (*(each.id for each in graph.terminals), *(each.id for each in graph.cards))
    names = {each: f"n{number}" for number, each in enumerate(ids)}
    lines = ["flowchart LR", *(f"  {line}" for line in _body(graph, names)), *(f"  {style}" for style in _STYLES)]
    return "\n".join(lines) + "\n"


def _body(graph: Graph, names: Mapping[str, str]) -> Iterator[str]:
    for terminal in graph.terminals:
        yield _terminal(terminal, names[terminal.id])
    for card in graph.cards:
        yield f'{names[card.id]}["{_card(card)}"]:::route'
    rows = {card.id: card.rows for card in graph.cards}
    for edge in graph.edges:
        arrow = "-.->" if edge.refused else "-->"
        note = rows[edge.start][edge.row].note if edge.row is not None else ""
        label = f'|"{_escaped(note)}"|' if note else ""
        yield f"{names[edge.start]} {arrow}{label} {names[edge.end]}"


def _terminal(terminal: Terminal, name: str) -> str:
    opening, closing = _SHAPES[terminal.kind]
    more = f"<br/><small>{_escaped(terminal.subtitle)}</small>" if terminal.subtitle else ""
    return f'{name}{opening}"{_escaped(terminal.title)}{more}"{closing}:::{terminal.kind}'


def _card(card: Card) -> str:
    rows = [f"<b>{_escaped(card.title)}</b>"]
    for row in card.rows:
        indent = "&emsp;" * row.indent
        note = f" <i>{_escaped(row.note)}</i>" if row.note and row.kind != "target" else ""
        mark = {"target": "→ ", "branch": "◇ "}.get(row.kind, "")
        rows.append(f"{indent}{mark}{_escaped(row.text)}{note}")
    return "<br/>".join(rows)


def _escaped(text: str) -> str:
    """Characters that mean something to Mermaid, or to the HTML that it makes, as its entities."""
    special = {
        '"': "#quot;",
        "<": "#lt;",
        ">": "#gt;",
        "&": "#amp;",
        "#": "#35;",
        "`": "#96;",
        "|": "#124;",
        "\\": "#92;",
    }
    return "".join(special.get(character, character) for character in text)
