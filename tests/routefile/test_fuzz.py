"""Whatever becomes of a route file, only ConfigErrors come out of it, each with its file, line and column."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import ConfigErrors
from pfiflow.routefile import as_json, as_text, lint, load
from tests.routefile.bakery import bakery
from tests.routefile.examples import RIGHT, WRONG

REGISTRY = bakery()
TEXTS = [*RIGHT.values(), *(wrong.text for wrong in WRONG.values())]
PIECES = [
    *("{", "}", "[", "]", ":", ": ", ",", "- ", "'", '"', "#", "|", ">", "&a ", "*a", "!!str ", "\n", "\t", "  ", "?"),
    *("null", "true", "1", "1.5", "-3", ".nan", "x", "é", "𝒳", "\\", "\\u0041", "\x00", "\ufeff", "\u2028"),
    *("${env:A}", "${env:A:-b}", "${file:f}", "${", "$${", "${env:", "choice", "steps", "to", "channel", "shop", "id"),
    *("templates:", "override:", "use", "python", "a:b", "remove: true", "${parameter:name}", "${parameter:", "note"),
    *("body.x ==", "(" * 50, "30s", "1MiB", "a:1", "include: [a.yaml]", "---\n", "%YAML 1.2\n"),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A route file with a few pieces cut out, put in, repeated or moved."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        insert = draw(st.sampled_from(PIECES) | st.text(max_size=3) | st.just(text[start:end] * 2))
        text = text[:start] + insert + text[end:]
    return text


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "flow.yaml"


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_only_config_errors_come_out(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for mode in ("strict", "keep"):
        try:
            load([path], REGISTRY, placeholders=mode, environment={"A": "1"})
        except ConfigErrors as group:
            lines = text.count("\n") + text.count("\r") + 1
            for error in group.errors:
                assert Path(error.file).parent == path.parent
                assert 1 <= error.line <= lines + 1
                assert error.column >= 1
                assert error.message
            str(group).encode()


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_lint_always_answers(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    findings = lint([path], REGISTRY, environment={})
    assert all(finding.line >= 1 and finding.column >= 1 and finding.code for finding in findings)
    as_text(findings).encode()
    as_json(findings).encode()
