"""Test files of a bakery: what is wrong in them is told at its place; what differs from what they expect is told."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pfiflow.errors import ConfigErrors
from pfiflow.flow.component import Component, Field, Registry
from pfiflow.routefile.testfile_load import load_tests
from pfiflow.routefile.testrun import TestResult, run_test
from pfiflow.testing.formats import COMPONENTS as FORMATS

SHOP = {"shop": Field("Where it was ordered.", always=False)}
ROUTES = """
channels:
  orders: {key: "headers.shop", redelivery: {initial-delay: 10s, max-delay: 1h, max-attempts: 3}}
routes:
  - id: intake
    from: {counter: {}}
    steps:
      - validate: {when: has(headers.shop), message: "no shop", code: "101"}
      - idempotent: {key: id}
      - set-header: {shop: 'headers.shop + "${env:SUFFIX:-}"'}
      - to: {channel: orders}
  - id: delivery
    from: {channel: orders}
    steps:
      - to: {van: {}}
"""


def _registry() -> Registry:
    def never(_options: object) -> object:
        raise AssertionError("a test builds no true source or sink")

    return Registry.of(
        Component(name="counter", kind="source", build=never, doc="Takes orders.", gives=bytes, sets=SHOP),
        Component(name="van", kind="sink", build=never, doc="Delivers.", accepts=bytes),
        *FORMATS,
    )


def _write(folder: Path, tests: str) -> Path:
    (folder / "shop.yaml").write_text(ROUTES)
    path = folder / "shop.test.yaml"
    path.write_text("routes: [shop.yaml]\n" + textwrap.dedent(tests))
    return path


def _run(folder: Path, tests: str) -> list[TestResult]:
    loaded = load_tests(_write(folder, tests), _registry())
    return [run_test(loaded, test) for test in loaded.file.tests]


def _told(result: TestResult) -> list[str]:
    return [f"{' '.join(m.path)}: {m.expected} | {m.found}" for m in result.mismatches]


def test_a_test_that_is_met(tmp_path: Path) -> None:
    (result,) = _run(
        tmp_path,
        """
        environment: {SUFFIX: "-street"}
        tests:
          - name: An order is kept for its shop
            given:
              - {route: intake, text: bread, headers: {shop: north}}
            expect:
              channels:
                orders:
                  - {key: north-street, headers: {shop: {matches: "north-.*"}}, content: bread}
        """,
    )
    assert result.passed, (result.error, result.mismatches)


def test_what_is_not_expected_must_not_happen(tmp_path: Path) -> None:
    kept, sent = _run(
        tmp_path,
        """
        tests:
          - name: Nothing is said of the channel
            given:
              - {route: intake, text: bread, headers: {shop: north}}
            expect: {}
          - name: Nothing is said of what leaves
            given:
              - {channel: orders, text: bread, headers: {shop: north}}
            expect: {}
        """,
    )
    assert _told(kept) == ["channels.orders: 0 | 1: key 'north'"]
    assert _told(sent) == ["sent: 0 | 1: by van from route delivery at 0s"]


def test_a_refusal_that_is_not_expected_fails_the_test(tmp_path: Path) -> None:
    without, wrong, right = _run(
        tmp_path,
        """
        tests:
          - name: Without a word on the answer
            given:
              - {route: intake, text: bread}
            expect: {}
          - name: With the wrong word
            given:
              - {route: intake, text: bread}
            expect: {answers: [{outcome: refused, problems: "101: no street"}]}
          - name: With the right one
            given:
              - {route: intake, text: bread}
            expect: {answers: [{outcome: refused, problems: "101: no shop"}]}
        """,
    )
    assert _told(without) == ["answers[1] outcome: accepted | refused: 101: no shop"]
    assert _told(wrong) == ["answers[1] problems: '101: no street' | '101: no shop'"]
    assert right.passed


def test_retries_come_at_their_times_and_end_in_a_dead_letter(tmp_path: Path) -> None:
    (result,) = _run(
        tmp_path,
        """
        tests:
          - name: Three attempts
            given:
              - {channel: orders, text: bread, headers: {shop: north}}
            with:
              - {endpoint: van, answers: [{van: {defer: no road}, times: 0}]}
            expect:
              attempts: [{endpoint: van, at: [0s, 10s, 30s], causes: {each: no road}}]
              sent: [{endpoint: van, at: 0s}, {endpoint: van, at: 10s}, {endpoint: van, at: 30s}]
              dead: [{channel: orders, cause: no road}]
        """,
    )
    assert result.passed, (result.error, result.mismatches)


def test_a_stop_lets_time_pass_and_nothing_happen(tmp_path: Path) -> None:
    (result,) = _run(
        tmp_path,
        """
        tests:
          - name: Stopped for an hour after the first attempt
            given:
              - {channel: orders, text: bread, headers: {shop: north}}
              - {stopped: 1h}
            with:
              - {endpoint: van, answers: [{van: {defer: no road}}]}
            expect:
              attempts: [{endpoint: van, at: [0s, 1h]}]
              sent: [{endpoint: van}, {endpoint: van, content: bread}]
        """,
    )
    assert result.passed, (result.error, result.mismatches)


def test_for_ends_a_test_before_the_next_retry(tmp_path: Path) -> None:
    (result,) = _run(
        tmp_path,
        """
        tests:
          - name: Fifteen seconds
            given:
              - {channel: orders, text: bread, headers: {shop: north}}
            with:
              - {endpoint: van, answers: [{van: {defer: no road}, times: 2}]}
            for: 15s
            expect:
              attempts: [{endpoint: van, at: [0s, 10s]}]
              sent: [{endpoint: van}, {endpoint: van}]
              channels: {orders: [{cause: no road}]}
        """,
    )
    assert result.passed, (result.error, result.mismatches)


def test_an_answer_that_nobody_asked_for_fails_the_test(tmp_path: Path) -> None:
    (result,) = _run(
        tmp_path,
        """
        tests:
          - name: Two answers, one attempt
            given:
              - {channel: orders, text: bread, headers: {shop: north}}
            with:
              - {endpoint: van, answers: [{van: {}}, {van: {}}]}
            expect: {sent: [{endpoint: van}]}
        """,
    )
    assert _told(result) == ["with: an attempt to send by van for each scripted answer | fewer"]


def test_what_is_tried_for_ever_is_told(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        """
        tests:
          - name: For ever
            given:
              - {channel: orders, text: bread, headers: {shop: north}}
            with:
              - {endpoint: van, answers: [{van: {unavailable: true, defer: no road}, times: 0}]}
            expect: {}
        """,
    )
    for_ever = ROUTES.replace("max-delay: 1h, max-attempts: 3", "max-delay: 10s, max-age: 365d")
    (tmp_path / "shop.yaml").write_text(for_ever)
    loaded = load_tests(path, _registry())
    result = run_test(loaded, loaded.file.tests[0])
    assert "say for how long" in result.error


@pytest.mark.parametrize(
    ("tests", "place", "message"),
    [
        ("tests: [{name: a, given: [{rout: intake}], expect: {}}]", (2, 28), "unknown option 'rout'"),
        ("tests: [{name: a, given: [{route: intak, text: a}], expect: {}}]", (2, 27), "Did you mean 'intake'?"),
        ("tests: [{name: a, given: [{route: delivery, text: a}], expect: {}}]", (2, 27), "Write `channel: orders`."),
        ("tests: [{name: a, given: [{channel: order, text: a}], expect: {}}]", (2, 27), "Did you mean 'orders'?"),
        ("tests: [{name: a, given: [{route: intake}], expect: {}}]", (2, 27), "a `file` or a `text`"),
        ("tests: [{name: a, given: [{route: intake, file: no}], expect: {}}]", (2, 27), "there is no file"),
        ("tests: [{name: a, given: [], expect: {sent: [{endpoint: vam}]}}]", (2, 46), "Did you mean 'van'?"),
        (
            "tests: [{name: a, given: [], expect: {sent: [{endpoint: van, content: {contians: a}}]}}]",
            (2, 72),
            "contains",
        ),
        ("tests: [{name: a, given: [], expect: {sent: [{endpoint: van, content: }]}}]", (2, 71), "absent: true"),
        ("tests: [{name: a, given: [], expect: {channels: {order: []}}}]", (2, 30), "Did you mean 'orders'?"),
        ("tests: [{name: a, given: [], follow: [delivry], expect: {}}]", (2, 9), "Did you mean 'delivery'?"),
        (
            "tests: [{name: a, given: [], with: [{endpoint: van, answers: [{van: {defr: a}}]}], expect: {}}]",
            (2, 70),
            "unknown option 'defr'",
        ),
        (
            "tests: [{name: a, given: [], with: [{endpoint: van, answers: [{lorry: {}}]}], expect: {}}]",
            (2, 64),
            "unknown sink 'lorry'",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, tests: str, place: tuple[int, int], message: str) -> None:
    path = _write(tmp_path, tests)
    with pytest.raises(ConfigErrors) as errors:
        load_tests(path, _registry())
    first = errors.value.errors[0]
    assert (first.line, first.column) == place, str(first)
    assert message in str(first)


def test_a_variable_without_a_value_is_an_error_once_some_are_given(tmp_path: Path) -> None:
    path = _write(tmp_path, 'environment: {OTHER: "1"}\ntests: []\n')
    (tmp_path / "shop.yaml").write_text(ROUTES.replace("SUFFIX:-", "SUFFIX"))
    with pytest.raises(ConfigErrors, match="environment variable SUFFIX is not set"):
        load_tests(path, _registry())


def test_secrets_in_files_are_not_read(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        """
        environment: {OTHER: "1"}
        tests:
          - name: The suffix is as it is written
            given: [{route: intake, text: bread, headers: {shop: north}}]
            expect: {channels: {orders: [{key: "north${file:secret}"}]}}
        """,
    )
    (tmp_path / "secret").write_text("-hidden")
    (tmp_path / "shop.yaml").write_text(ROUTES.replace("${env:SUFFIX:-}", "${file:secret}"))
    loaded = load_tests(path, _registry())
    result = run_test(loaded, loaded.file.tests[0])
    assert result.passed, (result.error, result.mismatches)
