"""The JSON Schema of test files: it takes what the loader takes, and is committed as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pfiflow.flow.component import Registry
from pfiflow.routefile.nodes import Report, compose
from pfiflow.routefile.testfile_schema import test_schema as schema
from pfiflow.routefile.testfile_schema import test_schema_text as schema_text
from tests.routefile.test_schema import plain

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "routes").glob("*.test.yaml"))
VALIDATOR = jsonschema.Draft7Validator(schema(Registry.installed()))


def _parsed(path: Path) -> Any:
    return plain(compose(path.name, path.parent, path.read_bytes(), Report()))


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(VALIDATOR.schema)


def test_the_committed_one_is_fresh() -> None:
    committed = (ROOT / "schemas/test-file.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(Registry.installed()), "run `make schema`"


@pytest.mark.parametrize("path", SHIPPED, ids=[path.name for path in SHIPPED])
def test_shipped_test_files_pass(path: Path) -> None:
    VALIDATOR.validate(_parsed(path))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"routes": ["a.yaml"], "tests": [{"name": "a", "given": []}]},
        {"routes": ["a.yaml"], "tests": [{"name": "a", "given": [{"rout": "a"}], "expect": {}}]},
        {"routes": ["a.yaml"], "tests": [{"name": "a", "given": [], "expect": {"sent": [{"content": "a"}]}}]},
        {
            "routes": ["a.yaml"],
            "tests": [
                {
                    "name": "a",
                    "given": [],
                    "with": [{"endpoint": "a", "answers": [{"mllp-out": {"code": "AX"}}]}],
                    "expect": {},
                }
            ],
        },
        {
            "routes": ["a.yaml"],
            "tests": [{"name": "a", "given": [], "expect": {"sent": [{"endpoint": "a", "content": {"hl8": {}}}]}}],
        },
    ],
)
def test_structurally_wrong_files_are_refused(wrong: Any) -> None:
    assert not VALIDATOR.is_valid(wrong)
