"""Settings from a file: what a line may say, and that no value is told when it says something else."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from pfiflow.cli import main
from pfiflow.cli.settings import read_env_file, settings
from pfiflow.errors import ConfigError

TEXT = """\
# a comment
PFI_A=plain

export PFI_B = 'with spaces # and all '
PFI_C="double $quotes"
PFI_D=
PFI_E=a=b
PFI_F='
PFI_G=été # no comment
"""


def test_what_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text(TEXT, encoding="utf-8")
    assert read_env_file(path) == {
        "PFI_A": "plain",
        "PFI_B": "with spaces # and all ",
        "PFI_C": "double $quotes",
        "PFI_D": "",
        "PFI_E": "a=b",
        "PFI_F": "'",
        "PFI_G": "été # no comment",
    }


@pytest.mark.parametrize(("data", "line"), [(b"A=1\nsecret-word\n", 2), (b"1A=secret-word", 1), (b"A=\xff", 1)])
def test_a_wrong_line_is_told_without_what_it_holds(data: bytes, line: int, tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_env_file(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert "secret-word" not in str(caught.value)


def test_the_environment_wins_and_the_log_says_which_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.env"
    path.write_text("PFI_A=of the file\nPFI_B=of the file\nPFI_C=same\n")
    monkeypatch.setenv("PFI_A", "of the process")
    monkeypatch.setenv("PFI_C", "same")
    with caplog.at_level(logging.WARNING, "pfiflow.run"):
        values = settings(path)
    assert (values["PFI_A"], values["PFI_B"]) == ("of the process", "of the file")
    assert [record.getMessage() for record in caplog.records] == [
        f"the environment of this process hides PFI_A of {path}"
    ]


def test_lint_takes_them_too(tmp_path: Path) -> None:
    routes, file = tmp_path / "a.yaml", tmp_path / "a.env"
    routes.write_text('store: {path: "${env:PFI_ONLY_HERE}"}\n')
    file.write_text("PFI_ONLY_HERE=here.db\n")
    lint = ["lint", str(routes)]
    assert "PFI_ONLY_HERE is not set" in CliRunner().invoke(main, lint).output
    assert "PFI_ONLY_HERE" not in CliRunner().invoke(main, [*lint, "--env-file", str(file)]).output
