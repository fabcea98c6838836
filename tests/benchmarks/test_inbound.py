"""The inbound benchmark runs from end to end and prints what it promises. Nothing here is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.inbound import Plan, run
from benchmarks.mailbox import mails_of
from pfiflow.mssante import reading
from tests.endpoints.dovecot import reason_not_to_run

SMALLEST = Plan(size=40_000, mails=4, mailboxes=(1, 2), arrivals=2, floor_seconds=0.02)


@pytest.mark.skipif(bool(reason_not_to_run()), reason=reason_not_to_run() or "Dovecot runs")
def test_everything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(SMALLEST, tmp_path)
    printed = capsys.readouterr().out
    for heading in ("Inbound", "1 mailbox(es)", "2 mailbox(es)", "arrival → MDM", "Goals"):
        assert heading in printed
    judged = " ".join(text for _, text in report.goals)
    for goal in ("N1: CPU", "N3: CPU"):
        assert goal in judged


@pytest.mark.parametrize("level", ["N1", "N3"])
def test_mails_are_of_the_size_asked_for_and_want_no_answer(level: str) -> None:
    sample = mails_of(level, 400_000, 2)  # type: ignore[arg-type]
    assert 320_000 < sample.size < 480_000
    assert len(set(sample.mails)) == 2
    mail = reading.read(sample.mails[0])
    assert mail.kind == "xdm"
    assert mail.notification_to == ()
    assert sample.floor(seconds=0.01) > 0
