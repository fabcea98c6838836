"""Runs the tests of a test file."""

from __future__ import annotations

import asyncio
import time
import traceback

from attrs import frozen

from pfiflow.errors import PfiflowError
from pfiflow.flow.matching import Mismatch
from pfiflow.flow.route import FromChannel, Place
from pfiflow.flow.testing import RouteTester
from pfiflow.flow.trace import Trace
from pfiflow.routefile.given import decoded, prepared
from pfiflow.routefile.testcheck import differences
from pfiflow.routefile.testfile import InputForm, TestForm
from pfiflow.routefile.testfile_load import LoadedTests

__all__ = ["TestResult", "failure_text", "run_test"]


@frozen
class TestResult:
    """What came of one test. `error`: it could not be run to its end, for this reason."""

    __test__ = False

    name: str
    place: Place
    seconds: float
    mismatches: tuple[Mismatch, ...] = ()
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.mismatches and not self.error


class _Unfit(Exception):
    """A test that says something impossible: told as its error."""


def run_test(tests: LoadedTests, test: TestForm, *, trace: Trace | None = None) -> TestResult:
    """Run one test of a file, from the beginning, in an event loop of its own."""
    started = time.perf_counter()
    try:
        mismatches = asyncio.run(_run(tests, test, trace))
        error = ""
    except (PfiflowError, _Unfit) as failure:
        mismatches, error = (), str(failure)
    except Exception as defect:  # noqa: BLE001 - a defect fails its test, not the others
        mismatches, error = (), "".join(traceback.format_exception(defect))
    return TestResult(test.name, test.place, time.perf_counter() - started, mismatches, error)


async def _run(tests: LoadedTests, test: TestForm, trace: Trace | None) -> tuple[Mismatch, ...]:
    routes = [*(given.route for given in test.given if given.route), *test.follow]
    readers = {
        route.source.channel: route.id for route in tests.definition.routes if isinstance(route.source, FromChannel)
    }
    routes += [readers[given.channel] for given in test.given if given.channel in readers]
    tester = RouteTester(tests.definition, tests.registry, tuple(dict.fromkeys(routes)), trace=trace)
    for script in test.with_:
        for answer in script.answers:
            tester.script(script.endpoint, answer.answer, times=answer.times, route=script.route)
    async with tester.running():
        for known in test.known:
            await tester.remember(known.kind, known.key, known.facts)
        for number, given in enumerate(test.given):
            await _give(tests, tester, given, first=number == 0)
        await tester.run(test.for_)
        return tuple(differences(test, await tester.seen(), tests.definition))


async def _give(tests: LoadedTests, tester: RouteTester, given: InputForm, *, first: bool) -> None:
    if given.after is not None or given.stopped is not None:
        if not first:
            await tester.run(given.after or 0.0)
        tester.stand_still(given.stopped or 0.0)
    if not given.route and not given.channel:
        return
    try:
        content = given.file.read_bytes() if given.file is not None else (given.text or "").encode()
        suffix = given.file.suffix if given.file is not None else ""
        content = prepared(tests.registry, content, suffix=suffix, name=given.format, changes=given.set)
        if given.route:
            await tester.give(given.route, content, given.headers)
            return
        types = tests.channel_types.get(given.channel, frozenset())
        body = decoded(tests.registry, content, types=types, name=given.body_type)
    except ValueError as error:
        place = given.place
        raise _Unfit(f"{place.file}:{place.line}:{place.column}: {error}") from None
    await tester.put(given.channel, body, given.headers)


def failure_text(result: TestResult) -> str:
    """Why a test failed: each difference with its place, what was expected there, what came; or its error."""
    if result.error:
        return f"  {result.error.rstrip()}\n"
    return "".join(map(_difference, result.mismatches))


def _difference(mismatch: Mismatch) -> str:
    place = f"{mismatch.place.file}:{mismatch.place.line}:{mismatch.place.column}: " if mismatch.place else ""
    expected, found = mismatch.expected, mismatch.found.replace("\n", "\n              ")
    lines = [f"  {place}{' › '.join(mismatch.path)}", f"    expected: {expected}", f"    found:    {found}"]
    if len(expected) > 20 and expected[:1] == mismatch.found[:1] == "'":
        same = next((at for at, (a, b) in enumerate(zip(expected, mismatch.found, strict=False)) if a != b), None)
        if same is not None:
            lines.append(f"              {' ' * same}^")
    return "\n".join(lines) + "\n"
