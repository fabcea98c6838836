"""The example project, run as its reader would: lint, `pfiflow test`, pytest with the plugin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.system.service import ROOT

PROJECT = ROOT / "examples/research"
PFIFLOW = str(Path(sys.executable).with_name("pfiflow"))


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=100, check=False)


def test_its_routes_are_clean() -> None:
    done = _run(PFIFLOW, "lint", "routes/research.yaml")
    assert done.returncode == 0, done.stdout
    assert "error" not in done.stdout


def test_its_yaml_tests_pass() -> None:
    done = _run(PFIFLOW, "test", "routes/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_pytest_runs_both_kinds() -> None:
    done = _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout


def test_pytest_shows_a_difference_of_a_yaml_test(tmp_path: Path) -> None:
    messages = str(ROOT / "examples/messages")
    for name in ("research.yaml", "research.test.yaml"):
        text = (PROJECT / "routes" / name).read_text().replace("../../messages", messages)
        (tmp_path / name).write_text(text.replace("AA}", "AX}"))
    (tmp_path / "pytest.ini").write_text("[pytest]\npfiflow_tests = true\n")
    (tmp_path / "research.py").write_text((PROJECT / "routes/research.py").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "pythonpath=."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "expected: 'AX'" in done.stdout
    assert re.search(r"research\.test\.yaml:11:\d+: answers\[1\] › content › hl7 › MSA-1", done.stdout)
