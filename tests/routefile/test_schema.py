from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pfiflow.flow.component import Registry
from pfiflow.routefile import json_schema, load, schema_text
from pfiflow.routefile.nodes import ListNode, MapNode, Node, Report, compose
from tests.routefile.bakery import bakery
from tests.routefile.examples import RIGHT, WRONG

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema(bakery())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def plain(node: Node | None) -> Any:
    """What an editor sees: YAML 1.2 values."""
    if isinstance(node, MapNode):
        return {key.text: plain(value) for key, value in node.entries}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value if node is not None else None


def parsed(text: str) -> Any:
    return plain(compose("f", Path(), text.encode(), Report()))


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert json.loads(schema_text(bakery())) == SCHEMA


@pytest.mark.parametrize("name", RIGHT)
def test_right_files_pass(name: str) -> None:
    VALIDATOR.validate(parsed(RIGHT[name]))


@pytest.mark.parametrize("name", [name for name, wrong in WRONG.items() if wrong.schema])
def test_structurally_wrong_files_are_refused(name: str) -> None:
    assert not VALIDATOR.is_valid(parsed(WRONG[name].text))


@pytest.mark.parametrize("name", [name for name, wrong in WRONG.items() if not wrong.schema])
def test_what_the_schema_leaves_to_lint(name: str) -> None:
    """So that a rule which the schema could hold does not slip out of it unnoticed."""
    VALIDATOR.validate(parsed(WRONG[name].text))


def test_what_an_editor_shows() -> None:
    definitions = SCHEMA["definitions"]
    counter = definitions["component-counter"]
    assert counter["description"] == "Takes orders."
    assert counter["required"] == ["listen"]
    assert counter["properties"]["patience"] == {
        "description": "How long customers wait.",
        "allOf": [{"$ref": "#/definitions/duration"}],
        "default": "90s",
        "examples": ["90s"],
    }
    assert counter["properties"]["max-order"]["default"] == "1MiB"
    assert counter["properties"]["greeting"]["default"] == "'bonjour'"
    assert counter["properties"]["kind"]["anyOf"][0] == {"enum": ["walk-in", "drive-in"]}
    assert {"channel", "endpoint", "counter", "alarm", "letterbox"} == set(definitions["source"]["properties"])
    assert {"channel", "endpoint", "shop", "bin", "ledger", "post"} == set(definitions["target"]["properties"])
    assert {"choice", "to", "bake"} <= set(definitions["step"]["properties"])
    assert definitions["options-redelivery"]["properties"]["max-age"]["default"] == "7d"


def test_an_editor_has_something_to_show_for_every_option() -> None:
    """Its own sentence: one in a definition that is shared would be shown in its place."""
    shared = json_schema(Registry.installed())["definitions"]
    for name, definition in shared.items():
        for option, schema in definition.get("properties", {}).items():
            target = shared[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
            inside = [shared[each["$ref"].rpartition("/")[2]] for each in schema.get("allOf", ())]
            assert target.get("description"), (name, option)
            assert not any("description" in each for each in inside), (name, option)


def test_every_mapping_is_closed() -> None:
    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            if "properties" in schema:
                assert schema["additionalProperties"] is False
            for value in schema.values():
                walk(value)
        elif isinstance(schema, list):
            for value in schema:
                walk(value)

    walk(SCHEMA)


def test_the_committed_schema_is_fresh() -> None:
    committed = (ROOT / "schemas/route-file.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(Registry.installed()), "run `pfiflow schema > schemas/route-file.schema.json`"


FOUND = (*(ROOT / "routes").glob("*.yaml"), *(ROOT / "examples").glob("**/routes/*.yaml"))
SHIPPED = sorted(path for path in FOUND if not path.name.endswith(".test.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=[str(path.relative_to(ROOT)) for path in SHIPPED])
def test_shipped_route_files_load_and_pass(path: Path) -> None:
    registry = Registry.installed()
    load([path], registry, placeholders="keep")
    root = compose(str(path), path.parent, path.read_bytes(), Report())
    jsonschema.Draft7Validator(json_schema(registry)).validate(plain(root))
