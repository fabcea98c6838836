"""The requirement register names only what is there, and every requirement is in it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.system.service import ROOT

REGISTER: list[dict[str, Any]] = yaml.safe_load((ROOT / "docs" / "requirements.yaml").read_text())
SPEC = ROOT.parent / "shared" / "spec" / "requirements.md"
STATES = {"covered", "setting", "partly", "missing", "not-applicable"}


def test_every_entry_says_what_it_must() -> None:
    assert max(Counter(entry["id"] for entry in REGISTER).values()) == 1
    for entry in REGISTER:
        assert entry.keys() <= {"id", "asks", "wording", "state", "code", "tests", "left"}, entry["id"]
        assert entry["wording"] in {"V", "D", "F"}, entry["id"]
        assert entry["state"] in STATES, entry["id"]
        done = entry["state"] in {"covered", "setting", "partly"}
        assert bool(entry.get("code")) == bool(entry.get("tests")) == done, entry["id"]
        assert entry["state"] == "covered" or entry.get("left"), f"{entry['id']}: say what is left"


@pytest.mark.parametrize("entry", REGISTER, ids=[entry["id"] for entry in REGISTER])
def test_files_and_tests_named_exist(entry: dict[str, Any]) -> None:
    assert [path for path in entry.get("code", ()) if not (ROOT / path).is_file()] == []
    for test in entry.get("tests", ()):
        path, _, name = test.partition("::")
        assert re.search(rf"^(?:async )?def {re.escape(name)}\(", (ROOT / path).read_text(), re.MULTILINE), test


def _ids(text: str) -> set[str]:
    """The ids of the specification's table; `SC.X/Y.01 .03 Z.04` is SC.X/Y.01, SC.X/Y.03, SC.X/Z.04."""
    found, last = set[str](), ""
    for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE):
        for word in row.split():
            if word.startswith("."):
                word = last.rpartition(".")[0] + word  # noqa: PLW2901
            elif "/" not in word:
                word = f"{last.partition('/')[0]}/{word}"  # noqa: PLW2901
            if re.fullmatch(r"[\w.]+/[\w./]+\.(?:\d+|\*)", word):
                found.add(word)
                last = word
    return found


@pytest.mark.skipif(not SPEC.exists(), reason="needs ../shared")
def test_every_requirement_is_registered() -> None:
    ids = _ids(SPEC.read_text())
    assert len(ids) > 30
    assert {entry["id"] for entry in REGISTER} == ids
