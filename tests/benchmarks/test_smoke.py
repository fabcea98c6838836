"""The benchmark runs from end to end and prints what it promises. Nothing here is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.outbound import Plan, run

SMALLEST = Plan(
    leg_connections=(2,),
    leg_messages=4,
    floor_seconds=0.05,
    patients=2,
    with_official=False,
    sizes=(30_000,),
    intake_connections=(2,),
    intake_seconds=0.2,
    large=1_000_000,
    waiting=20,
)


def test_everything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(SMALLEST, tmp_path)
    printed = capsys.readouterr().out
    for heading in ("Whole leg", "Inbound half", "Memory", "Goals"):
        assert heading in printed
    judged = " ".join(text for _, text in report.goals)
    for goal in ("N1: CPU", "N3: CPU", "not slower", "peak memory", "waiting messages"):
        assert goal in judged
