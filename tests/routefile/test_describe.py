from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
import yaml
from click.testing import CliRunner

from pfiflow.cli import main
from pfiflow.errors import ConfigError
from pfiflow.flow.component import Registry
from pfiflow.routefile.describe import Described, OptionDoc, describe, described
from pfiflow.routefile.load import read
from pfiflow.routefile.reference import pages
from tests.routefile.bakery import bakery

ROOT = Path(__file__).parents[2]
REGISTRY = Registry.installed()
EVERYTHING = described(REGISTRY)
COMPONENTS = [each for each in EVERYTHING if each.kind in {"source", "sink", "processor"}]
STEPS = [each for each in EVERYTHING if each.kind == "step"]


def name_of(entry: Described) -> str:
    return f"{entry.kind} {entry.name}"


def errors_of(route: dict[str, Any], tmp_path: Path) -> list[str]:
    """What the loader has against this route, which may name the channels of the examples."""
    path = tmp_path / "a.yaml"
    full = {"id": "r", "from": {"channel": "orders"}, "steps": [], **route}
    channels = dict.fromkeys(("orders", "refused", "copies", "audit"), None)
    templates = {"tell": {"doc": "Tells.", "parameters": {"who": {"doc": "Whom."}}, "steps": []}}
    path.write_text(json.dumps({"channels": channels, "templates": templates, "routes": [full]}))  # JSON is YAML
    return [str(error) for error in read([path], REGISTRY, "keep", {}).errors]


def in_route(entry: Described, options: Any) -> dict[str, Any]:
    step: dict[str, Any] = {entry.name: options}
    where: dict[str, dict[str, Any]] = {"source": {"from": step}, "sink": {"steps": [{"to": step}]}}
    return where.get(entry.kind, {"steps": [step]})


def values_of(entry: Described) -> Any:
    """The options of the entry's example."""
    found = yaml.safe_load(entry.example)
    (inner,) = found.values()
    return inner[entry.name] if entry.kind in {"source", "sink"} else inner


@pytest.mark.parametrize("entry", [*COMPONENTS, *STEPS], ids=name_of)
def test_every_example_loads(entry: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_hospital.steps")
    module.anonymise = lambda exchange: exchange  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_hospital.steps", module)
    assert errors_of(in_route(entry, values_of(entry)), tmp_path) == []


@pytest.mark.parametrize("entry", COMPONENTS, ids=name_of)
def test_the_options_of_an_example_go_together(entry: Described, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    route = {"id": "r", "from": {"channel": "orders"}, "steps": [], **in_route(entry, values_of(entry))}
    path.write_text(json.dumps({"channels": {"orders": None}, "routes": [route]}))
    definition = read([path], REGISTRY, "keep", {}).definition
    assert definition is not None
    (loaded,) = definition.routes
    options = getattr(loaded.source if entry.kind == "source" else loaded.steps[0], "options", None)
    REGISTRY.component(entry.name).check(options)


def written(option: OptionDoc) -> Any:
    return yaml.load(option.example, yaml.BaseLoader) if option.secret else yaml.safe_load(option.example)


def with_option(values: Any, path: tuple[OptionDoc, ...]) -> Any:
    """These options with one more, as deep as it stands; what it needs around it comes along."""
    option, *below = path
    around = dict(values or {})
    if below:
        inner = around.get(option.name) or {
            each.name: written(each) for each in option.options if each.required and each.example
        }
        return {**around, option.name: with_option(inner, tuple(below))}
    return {**around, option.name: written(option)}


def every(options: tuple[OptionDoc, ...], above: tuple[OptionDoc, ...] = ()) -> Iterator[tuple[OptionDoc, ...]]:
    for option in options:
        yield (*above, option)
        yield from every(option.options, (*above, option))


@pytest.mark.parametrize("entry", COMPONENTS, ids=name_of)
def test_every_option_is_of_use_to_an_integrator(entry: Described, tmp_path: Path) -> None:
    """It has a sentence that says more than its name, and an example that loads."""
    for path in every(entry.options):
        option = path[-1]
        assert re.fullmatch(r"[A-Z`].*[.!]", option.doc), option
        assert len(option.doc.split()) >= 2, option
        assert option.example, option
        assert errors_of(in_route(entry, with_option(values_of(entry), path)), tmp_path) == [], option


@pytest.mark.parametrize("entry", EVERYTHING, ids=name_of)
def test_everything_says_what_it_is(entry: Described) -> None:
    assert entry.doc.endswith(".")
    for header in (*entry.reads, *entry.sets, *entry.fields):
        assert header.doc.endswith((".", "…")), header
        assert header.type == "text" or entry.kind == "body-type"


def test_the_committed_reference_is_fresh() -> None:
    fresh = pages(REGISTRY)
    folder = ROOT / "docs/reference"
    assert {path.name for path in folder.glob("*.md")} == set(fresh)
    for name, text in fresh.items():
        assert (folder / name).read_text(encoding="utf-8") == text, "run `make reference`"


def test_links_of_the_reference_lead_somewhere() -> None:
    texts = pages(REGISTRY)
    for text in texts.values():
        for file, anchor in re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", text):
            assert file in texts
            assert not anchor or f"\n## {anchor}\n" in texts[file]


def test_what_a_type_is_called() -> None:
    (counter,) = describe(bakery(), "counter")
    types = {option.name: option.type for option in counter.options}
    assert types == {
        "listen": "address",
        "name": "text",
        "seats": "whole number, at least 1 and at most 12",
        "warm": "true or false",
        "patience": "duration",
        "max-order": "size",
        "price-list": "path",
        "till": "mapping",
        "kind": "`walk-in`, `drive-in`",
        "languages": "list of text",
        "rebates": "mapping of text to number",
        "bells": "mapping of text to mapping",
        "payment": "mapping",
        "greeting": "expression",
    }
    till = next(option for option in counter.options if option.name == "till")
    assert [(option.name, option.required, option.secret) for option in till.options] == [
        ("pin", True, True),
        ("float", False, False),
    ]
    assert [option.default for option in counter.options][:6] == ["", "counter", "4", "true", "90s", "1MiB"]
    assert counter.gives == "bytes"
    assert [header.name for header in counter.sets] == ["customer"]


def test_an_integrators_own_component_is_described() -> None:
    (label,) = describe(bakery(), "label")
    assert [(header.name, header.values, header.always) for header in label.reads] == [
        ("shift", ("day", "night"), True),
        ("note", (), False),
    ]


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(ConfigError) as caught:
        describe(bakery(), "conter")
    assert "Did you mean 'counter'" in str(caught.value)


# -- the commands ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.output


def test_list() -> None:
    text = run("list")
    assert re.search(r"^  imap-in +Reads one mailbox", text, re.MULTILINE)
    assert "imap-in" not in run("list", "sinks")
    names = json.loads(run("list", "steps", "--format", "json"))
    assert {"name", "kind", "doc"} == set(names[0])
    assert "choice" in {each["name"] for each in names}


def test_describe_in_a_terminal() -> None:
    text = run("describe", "mllp-out", "choice")
    assert re.search(r"address +address +required +The listener to send to\.", text)
    assert re.search(r"  check-hostname +true or false +true ", text)
    assert "Body: bytes → the same." in text
    assert "when: body.urgent" in text


def test_describe_as_json_and_markdown() -> None:
    (entry,) = json.loads(run("describe", "filter", "--format", "json"))
    assert entry == json.loads(json.dumps(attrs.asdict(describe(REGISTRY, "filter")[0])))
    assert run("describe", "filter", "--format", "markdown").startswith("## filter\n")


def test_the_reference_is_written(tmp_path: Path) -> None:
    run("describe", "--all", "--format", "markdown", "--output", str(tmp_path / "reference"))
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "reference").iterdir()}
    assert written == pages(REGISTRY)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("describe",), 2, "give NAMES, or --all"),
        (("describe", "--all", "filter"), 2, "give NAMES, or --all"),
        (("describe", "--all", "--output", "x"), 2, "--output goes with"),
        (("describe", "fliter"), 3, "Did you mean 'filter'"),
        (("list", "things"), 2, "'things' is not one of"),
    ],
)
def test_wrong_command_lines(arguments: tuple[str, ...], status: int, words: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status
    assert words in result.output
