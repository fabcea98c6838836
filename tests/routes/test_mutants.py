"""A tired hand changes a line of a shipped route: lint or its tests tell. A sample; `make mutants` tries all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.routes.hunt import FILES, ROOT, hunt, wanted

SURVIVORS = frozenset(
    line
    for line in (Path(__file__).with_name("survivors.txt")).read_text().splitlines()
    if line and not line.startswith("#")
)
SAMPLE = 10  # of each file; all together take some twenty seconds of CPU


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FILES)
def test_a_mutant_is_caught(name: str) -> None:
    # The same sample for the same file, so that no run fails by chance; another one once it changes.
    chosen = random.Random((ROOT / "routes" / name).read_text()).sample(range(len(wanted(name))), SAMPLE)
    missed = [fate for fate in hunt(name, chosen) if not fate.caught and not fate.same]
    new = [f"{fate.file}: {fate.mutant}" for fate in missed if f"{fate.file}: {fate.mutant}" not in SURVIVORS]
    assert not new, "neither lint nor a test of routes/ tells of this"


def test_few_survive() -> None:
    """The list is what the last whole run left; it may not grow beyond a twentieth."""
    everything = {f"{name}: {mutant}" for name in FILES for mutant in wanted(name)}
    assert everything >= SURVIVORS, "mutants that are none any more: run `make mutants`"
    assert len(SURVIVORS) / len(everything) <= 0.05


def test_the_hunt_can_miss() -> None:
    """A mutant that nothing looks at is told as such, and one that changes nothing as that."""
    mutants = wanted("outbound.yaml")
    described = next(n for n, mutant in enumerate(mutants) if str(mutant).startswith("channels.mail.description"))
    (fate,) = hunt("outbound.yaml", [described])
    assert fate.caught.startswith("test: outbound: Where it listens")
    same = next(n for n, mutant in enumerate(mutants) if "without 'workers'" in str(mutant))
    (fate,) = hunt("outbound.yaml", [same])
    assert (fate.caught, fate.same) == ("", True)
