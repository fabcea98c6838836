"""The tests that stand beside the shipped routes pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import frozen

from pfiflow.flow.component import Registry
from pfiflow.routefile.testfile import TestForm
from pfiflow.routefile.testfile_load import LoadedTests, load_tests
from pfiflow.routefile.testrun import run_test
from tests.routes.hunt import FILES

ROUTES = Path(__file__).parents[2] / "routes"
FILES_OF_TESTS = sorted(ROUTES.glob("*.test.yaml"))


@frozen
class _Case:
    tests: LoadedTests
    test: TestForm


CASES = [
    pytest.param(_Case(tests, test), id=f"{path.name}-{test.name}")
    for path in FILES_OF_TESTS
    for tests in [load_tests(path, Registry.installed())]
    for test in tests.file.tests
]


@pytest.mark.parametrize("case", CASES)
def test_a_shipped_route_does_what_its_test_says(case: _Case) -> None:
    result = run_test(case.tests, case.test)
    assert result.passed, result.error or result.mismatches


def test_every_shipped_route_file_has_its_test_file() -> None:
    shipped = {path.name for path in ROUTES.glob("*.yaml") if not path.name.endswith(".test.yaml")}
    assert shipped == set(FILES)
    assert shipped <= {re.sub(r"\.test\.yaml$", ".yaml", path.name) for path in FILES_OF_TESTS}
