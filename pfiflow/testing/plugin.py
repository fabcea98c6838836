"""The pytest plugin: fixtures for tests of routes, and (with the ini option `pfiflow_tests`) `*.test.yaml` as tests.

It imports nothing of pfiflow before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from pfiflow.flow.component import Registry
    from pfiflow.flow.testing import Sent, VirtualClock
    from pfiflow.testing.tester import Tester

__all__ = ["Captured", "RouteTesterFactory"]


class RouteTesterFactory(Protocol):
    """What the fixture `route_tester` gives: call it with route files to have them under test."""

    def __call__(
        self,
        *files: str | Path,
        environment: Mapping[str, str] | None = None,
        routes: tuple[str, ...] | None = None,
        registry: Registry | None = None,
    ) -> Tester: ...


class Captured:
    """All that left in a test, from every tester of it."""

    def __init__(self) -> None:
        self.testers: list[Tester] = []

    @property
    def sent(self) -> list[Sent]:
        """In the order of leaving, tester by tester."""
        return [sent for tester in self.testers for sent in tester.sent]

    def by(self, endpoint: str) -> list[Sent]:
        """What left by this endpoint."""
        return [sent for sent in self.sent if sent.endpoint == endpoint]


@pytest.fixture
def clock() -> VirtualClock:
    """The time of the test's routes: it goes when nothing is due, or when it is told."""
    from pfiflow.flow.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def captured() -> Captured:
    """All that leaves in this test."""
    return Captured()


@pytest.fixture
def route_tester(
    request: pytest.FixtureRequest, clock: VirtualClock, captured: Captured
) -> Iterator[RouteTesterFactory]:
    """Puts route files under test: a factory of `pfiflow.testing.Tester`, closed when the test ends.

    Relative paths start from the folder of the test's own file, then from pytest's root.
    """
    from pfiflow.testing.tester import Tester

    def make(
        *files: str | Path,
        environment: Mapping[str, str] | None = None,
        routes: tuple[str, ...] | None = None,
        registry: Registry | None = None,
    ) -> Tester:
        paths = [_found(request, Path(name)) for name in files]
        tester = Tester(paths, environment or {}, routes, registry, clock)
        captured.testers.append(tester)
        return tester

    yield make
    for tester in captured.testers:
        tester.close()


def _found(request: pytest.FixtureRequest, path: Path) -> Path:
    beside = request.path.parent / path
    return beside if beside.exists() else request.config.rootpath / path


# -- *.test.yaml -----------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option; off, since other tools have files of that name."""
    parser.addini("pfiflow_tests", "collect *.test.yaml as pfiflow's tests of routes", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Test files, where they are wanted."""
    if file_path.name.endswith(".test.yaml") and parent.config.getini("pfiflow_tests"):
        collector: pytest.Collector = TestYaml.from_parent(parent, path=file_path)
        return collector
    return None


class TestYaml(pytest.File):
    """One `*.test.yaml`."""

    __test__ = False

    def collect(self) -> Iterator[pytest.Item]:
        """Its tests. A wrong file is an error of the collection, with every place."""
        from pfiflow.errors import ConfigError
        from pfiflow.flow.component import Registry
        from pfiflow.routefile.testfile_load import load_tests

        try:
            tests = load_tests(self.path, Registry.installed())
        except ConfigError as error:
            raise self.CollectError(str(error)) from None
        for each in tests.file.tests:
            yield RouteItem.from_parent(self, name=each.name, tests=tests, test=each)


class _Failed(Exception):
    """A test whose expectations are not met."""


class RouteItem(pytest.Item):
    """One test of a test file."""

    def __init__(self, *, tests: Any, test: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self._tests, self._test = tests, test

    def runtest(self) -> None:
        """Run it."""
        from pfiflow.routefile.testrun import failure_text, run_test

        result = run_test(self._tests, self._test)
        if not result.passed:
            raise _Failed(failure_text(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The differences, without a traceback of ours."""
        if isinstance(excinfo.value, _Failed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, self._test.place.line - 1, self.name
