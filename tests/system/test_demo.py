"""`make demo`: two hospitals, the loop closed over the shipped routes; it fails when something is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import __main__ as demo
from examples.demo.scenario import Sent, scenario
from examples.demo.story import Story
from pfiflow.hl7.ack import Acknowledgement
from pfiflow.hl7.er7 import parse
from tests.system.service import ROOT


def test_the_demo_runs_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.demo", "--patience", "90"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:]
    lines = done.stdout.splitlines()
    assert lines[-1] == f"As expected, all {len(scenario())} messages."
    assert max(map(len, lines)) <= 150
    assert "\x1b" not in done.stdout
    assert "─► MDN" in done.stdout
    output = tmp_path / "demo-output"
    mails = sorted((output / "mails").glob("*.eml"))
    assert len(mails) == 12
    assert len(list((output / "mails").glob("*/IHE_XDM.unzipped/IHE_XDM/SUBSET01/METADATA.XML"))) == 8
    got = [parse(path.read_bytes().replace(b"\n", b"\r")) for path in sorted((output / "hospital-b").iterdir())]
    assert sorted(message.get("MSH-9.2") for message in got) == ["T02", "T02", "T04", "T10"]
    told = [path.stem.partition("-")[2] for path in sorted((output / "hospital-a").iterdir())]
    assert sorted(told) == ["ZAM-Z01"] * 2 + ["ZAM-Z02"] * 6 + ["ZAM-Z03"] * 4
    for command in re.findall(r"^  \.venv/bin/pfiflow (.*)$", done.stdout, re.MULTILINE):
        asked = subprocess.run(
            [Path(sys.executable).with_name("pfiflow"), *command.split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
        assert len(asked.stdout.splitlines()) > 1


def test_it_fails_when_something_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "examples.demo.world.STRANGER", 999
    )  # hospital B's software knows every patient of the scenario
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo-output")
    monkeypatch.setattr(sys, "argv", ["demo", "--patience", "6"])
    assert demo.main() == 1
    said = capsys.readouterr().out
    assert "NOT as expected" in said
    assert "As expected" not in said


def test_what_is_missing_is_named() -> None:
    sent = Sent(
        "a test", b"MSH|^~\\&|||||||||A-1|", told=frozenset({"Z01 in the DMP"}), delivered="MDM T02, its software: AA"
    )
    story = Story(sent)
    assert list(story.missing()) == [
        "the answer is nothing, not AA",
        "no receipt 'Z01 in the DMP'",
        "hospital B: nothing instead of MDM T02, its software: AA",
    ]
    story.answer = Acknowledgement("AA", "A-1", ())
    story.told, story.delivered = ("Z01 in the DMP", "Z01 in the DMP"), sent.delivered
    assert list(story.missing()) == ["a receipt came twice"]
    story.told = ("Z01 in the DMP",)
    assert list(story.missing()) == []
