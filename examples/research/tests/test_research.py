"""The step by itself, and the route in Python: what a YAML test would say over and over."""

from __future__ import annotations

from pathlib import Path

import pytest
from research import anonymise

from pfiflow import Exchange, Rejected
from pfiflow.testing import VirtualClock, absent, assert_matches, lacks
from pfiflow.testing.plugin import Captured, RouteTesterFactory

MESSAGES = Path(__file__).parents[2] / "messages"
ROUTES = "../routes/research.yaml"
SETTINGS = {"RESEARCH_PLATFORM": "research.example:2575"}


def test_the_same_patient_has_the_same_pseudonym() -> None:
    message = (MESSAGES / "oru_r01_n3.hl7").read_bytes()
    first, second = (anonymise(Exchange("1", message)) for _ in range(2))
    assert first.headers["pseudonym"] == second.headers["pseudonym"]
    assert_matches(first.body, hl7={"PID-5": absent(), "PID-3": first.headers["pseudonym"]})


def test_without_a_patient_there_is_no_pseudonym() -> None:
    with pytest.raises(Rejected, match="101 at PID-3"):
        anonymise(Exchange("1", b"MSH|^~\\&|LAB||||||ORU^R01|1|P|2.5\rPID|||\r"))


@pytest.mark.parametrize("name", ["oru_r01_n3.hl7", "oru_r01_n3_replace.hl7"])
def test_no_result_leaves_with_a_name(name: str, route_tester: RouteTesterFactory, captured: Captured) -> None:
    tester = route_tester(ROUTES, environment=SETTINGS)
    assert tester.give("laboratory", MESSAGES / name).outcome == "accepted"
    tester.run()
    (result,) = captured.by("platform")
    assert_matches(result.content, lacks("PAT-"))


def test_a_result_is_given_up_after_two_days(route_tester: RouteTesterFactory, clock: VirtualClock) -> None:
    tester = route_tester(ROUTES, environment=SETTINGS)
    tester.script("platform", connection="refused", times=0)
    tester.give("laboratory", MESSAGES / "oru_r01_n3.hl7")
    tester.run(60)
    assert [attempt.at for attempt in tester.attempts] == [0, 30]
    clock.time += 2 * 86400
    tester.run()
    assert [letter.channel for letter in tester.dead] == ["results"]
    assert tester.sent == []
