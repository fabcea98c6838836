from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.flow.route import FlowDefinition
from pfiflow.routefile import Finding, lint, load
from tests.routefile.bakery import bakery


class Load(Protocol):
    """Loads one text as a route file."""

    def __call__(self, text: str, environment: Mapping[str, str] | None = None) -> FlowDefinition: ...


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load_text(write: Callable[[str, str], Path]) -> Load:
    def load_text(text: str, environment: Mapping[str, str] | None = None) -> FlowDefinition:
        return load([write("flow.yaml", text)], bakery(), environment=environment or {})

    return load_text


@pytest.fixture
def errors_of(load_text: Load) -> Callable[[str], tuple[ConfigError, ...]]:
    """The errors of a text that must not load; each has its place."""

    def errors_of(text: str) -> tuple[ConfigError, ...]:
        with pytest.raises(ConfigErrors) as caught:
            load_text(text, {"PIN": "1234"})
        assert all(error.file.endswith("flow.yaml") for error in caught.value.errors)
        assert all(error.line >= 1 and error.column >= 1 for error in caught.value.errors)
        return caught.value.errors

    return errors_of


@pytest.fixture
def lint_text(write: Callable[[str, str], Path]) -> Callable[..., tuple[Finding, ...]]:
    def lint_text(text: str, environment: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
        return lint([write("flow.yaml", text)], bakery(), environment=environment or {})

    return lint_text
