"""`pfiflow test` as a user sees it: dots, names, differences, choice, exit status, JUnit's XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from pfiflow.cli import main
from tests.system.service import ROOT

ROUTES = """
channels: {kept: {}}
routes:
  - id: intake
    from: {mllp-in: {listen: "127.0.0.1:0"}}
    steps: [{to: {channel: kept}}]
"""
TESTS = """
routes: [a.yaml]
tests:
  - name: A message is kept
    given: [{route: intake, file: MESSAGE}]
    expect: {channels: {kept: [{}]}}
  - name: It goes elsewhere
    given: [{route: intake, file: MESSAGE}]
    expect: {channels: {kept: [{content: {hl7: {MSH-10: DEMO-1-NX}}}]}}
""".replace("MESSAGE", str(ROOT / "examples/messages/mdm_t02_n1.hl7"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(ROUTES)
    (tmp_path / "a.test.yaml").write_text(TESTS)
    return tmp_path


def _test(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["test", *map(str, arguments)])


def test_a_difference_is_shown_with_its_place_and_where_it_begins(folder: Path) -> None:
    result = _test(folder)
    assert result.exit_code == 1
    path = folder / "a.test.yaml"
    assert result.stdout.splitlines()[:6] == [
        f"{path} .F",
        "",
        f"FAILED {path}:7 It goes elsewhere",
        f"  {path}:9:57: channels.kept[1] › content › hl7 › MSH-10",
        "    expected: 'DEMO-1-NX'",
        "    found:    'DEMO-1-NW'",
    ]
    assert "1 failed, 1 passed in" in result.stdout


def test_names_can_be_chosen_and_shown(folder: Path) -> None:
    result = _test(folder, "-k", "is KEPT", "-v")
    assert result.exit_code == 0
    assert "a.test.yaml::A message is kept PASSED" in result.stdout
    assert "elsewhere" not in result.stdout


def test_no_test_and_wrong_files_have_their_own_status(folder: Path, tmp_path: Path) -> None:
    assert _test(folder, "-k", "nothing is called so").exit_code == 2
    (folder / "a.yaml").write_text(ROUTES.replace("kept}}]", "kepd}}]"))
    result = _test(folder)
    assert result.exit_code == 3
    assert "a.yaml:6:28: unknown channel 'kepd'" in result.stderr.replace("\n", "")


def test_exitfirst_stops(folder: Path) -> None:
    text = (folder / "a.test.yaml").read_text()
    (folder / "a.test.yaml").write_text(text.replace("kept: [{}]", "kept: []"))
    assert "1 failed in" in _test(folder, "-x").stdout


def test_results_as_ci_systems_read_them(folder: Path, tmp_path: Path) -> None:
    _test(folder, "--junit-xml", tmp_path / "results.xml")
    suite = ET.parse(tmp_path / "results.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    passed, failed = suite.findall("testcase")
    assert passed.get("name") == "A message is kept"
    assert passed.find("failure") is None
    failure = failed.find("failure")
    assert failure is not None
    assert "expected: 'DEMO-1-NX'" in (failure.text or "")


def test_a_test_file_is_no_route_file(folder: Path) -> None:
    result = CliRunner().invoke(main, ["lint", str(folder / "a.test.yaml")])
    assert result.exit_code == 1
    assert "run them with `pfiflow test`" in result.stdout
