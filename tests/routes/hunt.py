"""Which mutants of the shipped route files does lint or `pfiflow test` catch?

python -m tests.routes.hunt [FILE…]     all of them, with the survivors; about ten minutes of CPU
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

from attrs import frozen

from pfiflow.cli.logs import silenced
from pfiflow.errors import ConfigError
from pfiflow.flow.component import Registry
from pfiflow.flow.route import FlowDefinition
from pfiflow.routefile.environment import read_environment
from pfiflow.routefile.lint import lint
from pfiflow.routefile.load import load
from pfiflow.routefile.testfile_load import load_tests
from pfiflow.routefile.testrun import run_test
from tests.routes.equivalents import why_equivalent
from tests.routes.mutants import Mutant, mutants_of, tree_of, written

ROOT = Path(__file__).parents[2]
FILES = ("outbound.yaml", "dmp.yaml", "receipts.yaml", "inbound.yaml")

# Which test files say what of which route file, those that say most first.
TESTS = {
    "outbound.yaml": ("outbound", "outbound-defaults", "dmp", "receipts", "inbound"),
    "dmp.yaml": ("dmp",),
    "receipts.yaml": ("receipts",),
    "inbound.yaml": ("inbound", "two-mailboxes"),
}


_HEAD = "# What neither lint nor the tests beside the routes catch, as the last whole run found it (make mutants).\n"


@frozen
class Fate:
    """What became of a mutant: who caught it, or nobody."""

    file: str
    mutant: str
    caught: str = ""
    same: bool = False


@lru_cache(maxsize=1)
def _registry() -> Registry:
    return Registry.installed()


@lru_cache(maxsize=1)
def _environment() -> dict[str, str]:
    values: dict[str, str] = {}
    for path in sorted((ROOT / "routes").glob("*.env.example")):
        values.update(read_environment(path))
    return values


def wanted(name: str) -> list[Mutant]:
    """The mutants of a shipped route file."""
    return list(mutants_of(tree_of(ROOT / "routes" / name)))


def hunt(name: str, numbers: Sequence[int]) -> Iterator[Fate]:
    """What becomes of these mutants of a file."""
    mutants = wanted(name)
    with silenced(), tempfile.TemporaryDirectory() as folder:
        routes = Path(folder) / "routes"
        shutil.copytree(ROOT / "routes", routes)
        shutil.copytree(ROOT / "examples", Path(folder) / "examples")
        target = routes / name
        target.write_text(written(tree_of(target)))
        baseline, original = _findings(target), _flow(target)
        for number in numbers:
            mutant = mutants[number]
            target.write_text(written(mutant.tree))
            caught = _caught(target, baseline)
            # What gives the same flow, value for value, is no mutant: an option set to its default is left out.
            same = not caught and (bool(why_equivalent(f"{name}: {mutant}")) or _flow(target) == original)
            yield Fate(name, str(mutant), caught, same)


def _flow(path: Path) -> FlowDefinition:
    return load([path], _registry(), environment=_environment())


def _findings(path: Path) -> set[str]:
    found = lint([path], _registry(), environment=_environment())
    return {f"{each.code} {each.message}" for each in found if each.severity != "information"}


def _caught(target: Path, baseline: set[str]) -> str:
    try:
        if new := _findings(target) - baseline:
            return f"lint: {min(new)}"
        for name in TESTS[target.name]:
            path = target.with_name(f"{name}.test.yaml")
            if not path.exists():
                continue
            tests = load_tests(path, _registry())
            for test in tests.file.tests:
                if not run_test(tests, test).passed:
                    return f"test: {name}: {test.name}"
    except ConfigError as error:
        return f"load: {error}"
    return ""


def _chunk(arguments: tuple[str, list[int]]) -> list[Fate]:
    return list(hunt(*arguments))


def main() -> None:
    """All mutants of the files named; of all files when none is."""
    names = sys.argv[1:] or FILES
    chunks = []
    for name in names:
        numbers = list(range(len(wanted(name))))
        random.Random(1).shuffle(numbers)
        chunks += [(name, numbers[start : start + 20]) for start in range(0, len(numbers), 20)]
    fates: list[Fate] = []
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done in pool.map(_chunk, chunks):
            fates += [fate for fate in done if not fate.same]
    for name in names:
        own = [fate for fate in fates if fate.file == name]
        alive = [fate for fate in own if not fate.caught]
        by_lint = sum(fate.caught.startswith(("lint", "load")) for fate in own)
        print(f"{name}: {len(own)} mutants, {by_lint} caught by lint, {len(own) - by_lint - len(alive)} by tests")
        for fate in alive:
            print(f"{name}: {fate.mutant}")
    if not sys.argv[1:]:
        lines = [f"{fate.file}: {fate.mutant}\n" for fate in fates if not fate.caught]
        Path(__file__).with_name("survivors.txt").write_text(_HEAD + "".join(lines))
    caught = sum(bool(fate.caught) for fate in fates)
    print(f"{caught} of {len(fates)} caught: {caught / len(fates):.1%}")


if __name__ == "__main__":
    main()
