"""The directive `requirement-register`: docs/requirements.yaml as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["setup"]

_STATES = {
    "covered": "covered",
    "setting": "with a setting",
    "partly": "partly",
    "missing": "**missing**",
    "not-applicable": "not applicable",
}
_WORDING = {"V": "verified", "D": "draft", "F": "function"}


class RequirementRegister(SphinxDirective):
    """Counts, then one row a requirement."""

    def run(self) -> list[nodes.Node]:
        """The rendered tables."""
        path = Path(self.env.srcdir) / "requirements.yaml"
        self.env.note_dependency(str(path))
        lines = StringList(list(_markdown(yaml.safe_load(path.read_text()))), source=str(path))
        parent = nodes.container()
        self.state.nested_parse(lines, self.content_offset, parent)
        return parent.children


def _markdown(entries: list[dict[str, Any]]) -> Iterator[str]:
    counts = Counter(entry["state"] for entry in entries)
    yield ", ".join(f"{counts[state]} {words}" for state, words in _STATES.items()) + f", of {len(entries)}."
    yield ""
    yield "| id | asks | state | held by | left to do, or to know |"
    yield "|---|---|---|---|---|"
    for entry in entries:
        tests = "<br>".join(f"`{test.rpartition('/')[2]}`" for test in entry.get("tests", ()))
        code = "<br>".join(f"`{path}`" for path in entry.get("code", ()))
        cells = (
            f"{entry['id']} ({_WORDING[entry['wording']]})",
            entry["asks"],
            _STATES[entry["state"]],
            "<br><br>".join(filter(None, (code, tests))),
            entry.get("left", ""),
        )
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("requirement-register", RequirementRegister)
    return {"version": "1", "parallel_read_safe": True}
