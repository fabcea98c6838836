"""Settings from a file, over the environment (`tests/routefile` has what its lines may say)."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pfiflow.cli import main
from pfiflow.cli.settings import settings


def test_the_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what an administrator writes there and reloads is what holds."""
    path = tmp_path / "x.env"
    path.write_text("PFI_A=of the file\n")
    monkeypatch.setenv("PFI_A", "of the process")
    monkeypatch.setenv("PFI_B", "of the process")
    values = settings(path)
    assert (values["PFI_A"], values["PFI_B"]) == ("of the file", "of the process")
    assert settings(None)["PFI_A"] == "of the process"


def test_lint_takes_them_too(tmp_path: Path) -> None:
    routes, file = tmp_path / "a.yaml", tmp_path / "a.env"
    routes.write_text('store: {path: "${env:PFI_ONLY_HERE}"}\n')
    file.write_text("PFI_ONLY_HERE=here.db\n")
    lint = ["lint", str(routes)]
    assert "PFI_ONLY_HERE is not set" in CliRunner().invoke(main, lint).output
    assert "PFI_ONLY_HERE" not in CliRunner().invoke(main, [*lint, "--env-file", str(file)]).output
