from __future__ import annotations

from pathlib import Path

import pytest

import pfiflow.resources as resources
from pfiflow.errors import ConfigError
from pfiflow.resources import route_path, schema_path


def test_a_schema_is_found() -> None:
    assert schema_path("cda-header.xsd").read_text(encoding="utf-8").startswith("<?xml")


def test_the_installed_place_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pfiflow"
    for folder in (package / "_routes", tmp_path / "routes", tmp_path / "schemas"):
        folder.mkdir(parents=True)
    (tmp_path / "routes" / "outbound.yaml").write_text("checkout")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert route_path("outbound.yaml").read_text() == "checkout"
    (package / "_routes" / "outbound.yaml").write_text("wheel")
    assert route_path("outbound.yaml").read_text() == "wheel"


@pytest.mark.parametrize("name", ["absent.xsd", "", "..", "../pyproject.toml", "/etc/passwd"])
def test_what_is_not_there_is_said(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema_path(name)
    assert caught.value.code == "resource"
