"""`pfiflow new`: what it makes, and where it refuses. That it lints, tests and runs is a page: its own README.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pfiflow.simulators.messages import examples
from tests.docs import alone
from tests.system.service import PFIFLOW, run_command


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "my-pfi"
    done = run_command("new", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(folder) in done.stdout.replace("\n", "")
    return folder


def test_it_makes_what_its_readme_names(project: Path) -> None:
    named = re.findall(r"^\| `([^`]+)` \|", (project / "README.md").read_text(), re.MULTILINE)
    assert len(named) >= 7
    assert [name for name in named if not (project / name).exists()] == []
    assert {path.name for path in (project / "messages").iterdir()} == examples().keys()
    assert all(os.access(project / name, os.X_OK) for name in ("simulators", "deploy/fetch-crl", "deploy/mail/start"))
    assert not [path for path in project.rglob("*") if path.name.startswith("dot-")]


def test_git_keeps_settings_certificates_and_documents_out(project: Path) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    for name in (
        "pfiflow.db",
        "certs/client.key",
        "mails/00001.eml",
        "received/00001.hl7",
        "dmp/seal.key",
        "wheels/a.whl",
    ):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).touch()
    seen = git("ls-files", "--others", "--exclude-standard").split()
    assert {".env.example", "routes.yaml", "wheels/.gitignore"} <= set(seen)
    assert not [name for name in seen if re.search(r"\.env$|\.db|\.key|\.eml|\.whl|received", name)]


def test_it_takes_an_empty_folder_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert run_command("new", folder).returncode == 0
    (folder / "routes.yaml").write_text("mine\n")
    done = run_command("new", folder)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert (folder / "routes.yaml").read_text() == "mine\n"
    file = tmp_path / "file"
    file.touch()
    assert run_command("new", file).returncode == 2


def test_settings_that_are_not_loaded_are_told_each_at_its_place(project: Path) -> None:
    done = run_command("run", "routes.yaml", folder=project)
    assert done.returncode == 3
    hint, *lines = done.stderr.splitlines()
    assert hint == ".env is not loaded? `set -a; . ./.env; set +a` does that"
    assert len(lines) > 20
    assert [line for line in lines if not re.match(r"error: \S+\.yaml:\d+:\d+: \S", line)] == []


def test_lint_without_settings_names_those_that_are_missing_and_nothing_else(project: Path) -> None:
    done = run_command("lint", "routes.yaml", folder=project)
    assert done.returncode == 0
    assert done.stderr == ".env is not loaded? `set -a; . ./.env; set +a` does that\n"
    lines = done.stdout.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if "is not set" not in line] == []


def test_it_runs_where_no_memory_may_be_written_and_executed(project: Path) -> None:
    """`MemoryDenyWriteExecute=yes` of the systemd unit, as far as the kernel has it for a process (Linux 6.3)."""
    denied = "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) and sys.exit(77); os.execv(*{!r})"
    done = subprocess.run(
        [sys.executable, "-c", denied.format((str(PFIFLOW), [str(PFIFLOW), "test", "tests"]))],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode == alone.NOT_ALLOWED:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert (done.returncode, done.stderr) == (0, "")  # CDA, PDF, archive and mail are made in it
    assert "passed" in done.stdout
