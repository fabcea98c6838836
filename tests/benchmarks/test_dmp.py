"""The DMP benchmark runs from end to end. Nothing here is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.dmp import Plan, run


def test_everything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(size=20_000, rounds=2, in_flight=(1, 2), orders=3, large=2_000_000)
    built, sent, peak = run(plan, tmp_path)
    assert [each.level for each in built] == ["N1", "N3"]
    assert [each.in_flight for each in sent] == [1, 2]
    assert 1 < peak < 40
    printed = capsys.readouterr().out
    for heading in ("Build and sign", "in flight", "Peak memory"):
        assert heading in printed
