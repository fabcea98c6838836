"""Runs the tests of a test file."""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import Any

from attrs import frozen

from pfiflow.errors import PfiflowError
from pfiflow.flow.component import BYTES, BodyType
from pfiflow.flow.matching import Mismatch
from pfiflow.flow.route import FromChannel, Place
from pfiflow.flow.testing import RouteTester
from pfiflow.flow.trace import Trace
from pfiflow.routefile.testcheck import differences
from pfiflow.routefile.testfile import InputForm, TestForm
from pfiflow.routefile.testfile_load import LoadedTests

__all__ = ["TestResult", "run_test"]


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
    content = _content(tests, given)
    if given.route:
        await tester.give(given.route, content, given.headers)
    else:
        body_type = _body_type(tests, given)
        try:
            body = body_type.decode(content)
        except PfiflowError as error:
            raise _Unfit(f"{_where(given.place)}: this is no {body_type.name}: {error}") from None
        await tester.put(given.channel, body, given.headers)


def _content(tests: LoadedTests, given: InputForm) -> bytes:
    name = given.format
    if given.file is not None:
        content = given.file.read_bytes()
        by_suffix = {suffix: each.name for each in tests.registry.formats.values() for suffix in each.suffixes}
        name = name or by_suffix.get(given.file.suffix, "")
    else:
        content = (given.text or "").encode()
    if not name:
        if given.set:
            raise _Unfit(f"{_where(given.place)}: to `set` values, say the `format` of this input")
        return content
    format_ = tests.registry.formats[name]
    content = format_.read(content)
    for path, value in given.set.items():
        if format_.edit is None:
            raise _Unfit(f"{_where(given.place)}: values of format {name} cannot be set")
        try:
            content = format_.edit(content, path, value)
        except ValueError as error:
            raise _Unfit(f"{_where(given.place)}: set: {error}") from None
    return content


def _body_type(tests: LoadedTests, given: InputForm) -> BodyType[Any]:
    registry = tests.registry
    if given.body_type:
        return registry.body_types[given.body_type]
    types = tests.channel_types.get(given.channel, frozenset())
    found = [each for each in registry.body_types.values() if each.type in types]
    if not found:  # of a channel into which nothing is seen to be written
        return BYTES
    if len(found) > 1:
        names = ", ".join(sorted(registry.body_types))
        raise _Unfit(f"{_where(given.place)}: say the `body-type` of what is put into {given.channel}: {names}")
    return found[0]


def _where(place: Place) -> str:
    return f"{place.file}:{place.line}:{place.column}"
