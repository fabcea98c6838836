"""`pfiflow test`: runs the tests that stand beside route files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import click

from pfiflow.cli.logs import silenced
from pfiflow.flow.component import Registry
from pfiflow.routefile.testfile import TestForm
from pfiflow.routefile.testfile_load import LoadedTests, load_tests
from pfiflow.routefile.testrun import TestResult, failure_text, run_test

__all__ = ["test"]

SUFFIX = ".test.yaml"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-k", "expression", default="", help="Only tests whose name contains this; case does not matter.")
@click.option("-v", "--verbose", is_flag=True, help="A line for each test.")
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first that fails.")
@click.option("--logs", is_flag=True, help="Show what the engine logs.")
@click.option("--junit-xml", type=click.Path(dir_okay=False, path_type=Path), help="Write the results there, for CI.")
def test(
    paths: tuple[Path, ...], expression: str, junit_xml: Path | None, *, verbose: bool, exitfirst: bool, logs: bool
) -> None:
    """Run the tests of route files: PATHS are *.test.yaml files, or folders of such.

    Nothing listens and nothing is sent: see docs/testing.md. Exit status 0 when all pass, 1 when one does not, 2 when
    there is no test, 3 when a test file or a route file is wrong.
    """
    started = time.perf_counter()
    registry = Registry.installed()
    files = [load_tests(path, registry) for path in _files(paths)]
    with silenced(wanted=not logs):
        results = _run(files, expression, verbose=verbose, exitfirst=exitfirst)
    failed = [(tests, result) for tests, result in results if not result.passed]
    for tests, result in failed:
        click.echo(f"\n{_failure(tests, result)}", nl=False)
    if junit_xml is not None:
        junit_xml.write_bytes(_junit(results))
    _summary(len(results), len(failed), time.perf_counter() - started)
    if not results:
        sys.exit(2)
    sys.exit(1 if failed else 0)


def _run(
    files: Sequence[LoadedTests], expression: str, *, verbose: bool, exitfirst: bool
) -> list[tuple[LoadedTests, TestResult]]:
    results = []
    for tests in files:
        chosen = [each for each in tests.file.tests if expression.casefold() in each.name.casefold()]
        if chosen and not verbose:
            click.echo(f"{tests.path} ", nl=False)
        for each in chosen:
            result = run_test(tests, each)
            results.append((tests, result))
            _show_progress(tests, each, result, verbose=verbose)
            if exitfirst and not result.passed:
                break
        if chosen and not verbose:
            click.echo()
        if exitfirst and results and not results[-1][1].passed:
            break
    return results


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob(f"*{SUFFIX}"))
        else:
            yield path


def _show_progress(tests: LoadedTests, test: TestForm, result: TestResult, *, verbose: bool) -> None:
    colour = "green" if result.passed else "red"
    if verbose:
        word = click.style("PASSED" if result.passed else "FAILED", fg=colour)
        click.echo(f"{tests.path}::{test.name} {word} ({result.seconds:.2f}s)")
    else:
        click.echo(click.style("." if result.passed else "F", fg=colour), nl=False)


def _failure(tests: LoadedTests, result: TestResult) -> str:
    head = click.style(f"FAILED {tests.path}:{result.place.line} {result.name}", fg="red", bold=True)
    return f"{head}\n{failure_text(result)}"


def _summary(run: int, failed: int, seconds: float) -> None:
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{run - failed} passed"] if run - failed else []
    text = f"{', '.join(parts) or 'no tests'} in {seconds:.2f}s"
    click.echo(click.style(f"\n{text}", fg="red" if failed or not run else "green", bold=True))


def _junit(results: list[tuple[LoadedTests, TestResult]]) -> bytes:
    """JUnit's XML, as CI systems read it."""
    suites = ET.Element("testsuites")
    for path in dict.fromkeys(str(tests.path) for tests, _ in results):
        own = [result for tests, result in results if str(tests.path) == path]
        failures = sum(not result.passed for result in own)
        time_taken = f"{sum(result.seconds for result in own):.3f}"
        suite = ET.SubElement(
            suites, "testsuite", name=path, tests=str(len(own)), failures=str(failures), errors="0", time=time_taken
        )
        for result in own:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=path,
                name=result.name,
                file=path,
                line=str(result.place.line),
                time=f"{result.seconds:.3f}",
            )
            if not result.passed:
                text = failure_text(result)
                ET.SubElement(case, "failure", message=text.strip().splitlines()[0]).text = text
    ET.indent(suites)
    document: str = ET.tostring(suites, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{document}\n".encode()
