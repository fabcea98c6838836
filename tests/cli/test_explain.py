"""`pfiflow explain` on the shipped routes: what it prints of a message's way, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pfiflow.cli import main
from tests.system.service import ROOT

N1 = str(ROOT / "examples/messages/mdm_t02_n1.hl7")
OUTBOUND = str(ROOT / "routes/outbound.yaml")
INBOUND = str(ROOT / "routes/inbound.yaml")
MAIL = str(ROOT / "examples/mails/xdm.eml")
SETTINGS = [f"--env-file={ROOT / 'routes' / name}.env.example" for name in ("outbound", "inbound")]


def _explain(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], env={"PFI_TEST_PLATFORM": "true", **environment})


def _walks(*arguments: str) -> list[dict[str, Any]]:
    walks: list[dict[str, Any]] = json.loads(_explain(*arguments, "--format", "json").stdout)["walks"]
    return walks


def _line_of(path: str, text: str) -> int:
    lines = (ROOT / path).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_each_step_is_told_with_its_place_what_it_changed_and_why() -> None:
    result = _explain(OUTBOUND, "--message", N1)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    read = next(number for number, line in enumerate(lines) if line.lstrip().startswith("read-transmission"))
    line = _line_of("routes/outbound.yaml", "read-transmission:")
    assert lines[read].split() == ["read-transmission", f"{OUTBOUND}:{line}:9"]
    assert lines[read + 1].strip() == "body bytes → Transmission"
    assert "      header action = new" in lines
    assert "      when body.destinations.dmp holds (body.destinations.dmp = true)" in lines
    assert "          into channel dmp, key 1.2.250.1.71.4.2.2.999999999.3|IPP0000001" in lines
    assert "          header audience = patient (was professionals)" in lines
    assert "answer to its sender: accepted" in lines
    assert lines[-3:] == ["waits in channel dmp", "waits in channel mail", "waits in channel mail"]


def test_a_refusal_is_told_with_all_its_problems() -> None:
    result = _explain(OUTBOUND, "--message", N1, PFI_TEST_PLATFORM="false")
    assert result.exit_code == 1
    assert "refused: error 202 at MSH-11" in result.stdout
    assert "refused: warning 103 at /ClinicalDocument/" in result.stdout
    assert "answer to its sender: refused" in result.stdout


def test_follow_goes_on_over_channels_and_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("PFI_TEST_PLATFORM=true\n")
    walks = _walks(
        INBOUND, "--message", MAIL, "--route", "mailbox", "--follow", *SETTINGS, f"--env-file={tmp_path / 'more'}"
    )
    assert [(walk["route"], walk["refused"]) for walk in walks] == [
        ("mailbox", False),
        ("delivery", False),
        ("answers", False),
    ]
    enrich = walks[1]["steps"][0]
    assert [step["name"] for step in enrich["steps"]] == ["mdm-build", "choice"]
    assert set(enrich["set_headers"]) == {"mdm-control-id", "document-id", "document-action", "document-type"}
    assert enrich["steps"][1]["steps"][0]["name"] == "to endpoint dpi-documents"


def test_what_follows_a_refusal_is_told_as_such() -> None:
    # The settings files say that this is no test platform: a test identity is not delivered.
    walks = _walks(INBOUND, "--message", MAIL, "--route", "mailbox", "--follow", *SETTINGS)
    assert [(walk["route"], walk["refused"]) for walk in walks] == [
        ("mailbox", False),
        ("delivery", False),
        ("delivery", True),
        ("answers", False),
    ]


def test_the_route_is_asked_for_where_several_have_a_source() -> None:
    result = _explain(INBOUND, "--message", N1)
    assert result.exit_code == 3
    assert "transmission, mailbox" in result.stderr


def test_a_condition_that_does_not_hold_is_told_with_what_it_was_about() -> None:
    (walk,) = _walks(OUTBOUND, "--message", str(ROOT / "examples/messages/oru_r01_n3.hl7"))
    decisions = [decision for step in walk["steps"] for decision in step["decisions"]]
    assert decisions[0]["condition"] == "body.destinations.dmp"
    assert decisions[0]["values"] == {"body.destinations.dmp": "true"}
    assert all(decision["place"].startswith(OUTBOUND) for decision in decisions)
