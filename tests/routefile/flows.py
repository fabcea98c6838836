"""Short route files for lint, and what it finds in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pfiflow.routefile import Finding

__all__ = ["Lint", "codes", "flow", "marked", "messages", "places", "route"]

Lint = Callable[..., tuple[Finding, ...]]


def route(steps: str, source: str = "{counter: {listen: 'x:1'}}", name: str = "r", rejected: str = "") -> str:
    """Four lines, the steps on the third from column 13; a fourth with `rejected`."""
    more = f"    on-rejected: [{rejected}]\n" if rejected else ""
    return f"  - id: {name}\n    from: {source}\n    steps: [{steps}]\n{more}"


def flow(*routes: str, channels: str = "a: , b: , c: ") -> str:
    """Channels on the first line, `routes:` on the second, then the routes."""
    return f"channels: {{{channels}}}\nroutes:\n" + "".join(routes)


def codes(findings: Iterable[Finding]) -> list[tuple[int, int, str, str]]:
    """What was found, without its words."""
    return [(f.line, f.column, f.severity, f.code) for f in findings]


def places(findings: Iterable[Finding], code: str) -> list[tuple[int, int]]:
    """Where this was found."""
    return [(f.line, f.column) for f in findings if f.code == code]


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A text without its marks (¤), and the places that they stood before."""
    found = []
    while (at := text.find("¤")) >= 0:
        text = text[:at] + text[at + 1 :]
        found.append((text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)))
    return text, found


def messages(findings: Iterable[Finding], code: str) -> list[str]:
    """In which words this was found, hints included."""
    return [f"{f.message} {f.hint}".strip() for f in findings if f.code == code]
