from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from pfiflow.flow.component import Registry
from pfiflow.routefile import Finding, as_github, as_json, as_text, lint
from tests.routefile.bakery import bakery
from tests.routefile.examples import RIGHT
from tests.routefile.flows import Lint, codes, route


def test_a_file_with_every_construct(lint_text: Lint) -> None:
    assert codes(lint_text(RIGHT["full"], {"SHOP_KEY": "x"})) == [
        (4, 3, "information", "held"),
        (25, 13, "warning", "unreachable"),  # size is always small
        (26, 31, "warning", "never"),
        (30, 26, "warning", "unreachable"),
        (35, 5, "information", "tells-nobody"),
        (38, 9, "warning", "always"),
        (43, 5, "information", "tells-nobody"),
        (48, 22, "error", "not-a-sequence"),
        (50, 5, "information", "tells-nobody"),
        (53, 5, "warning", "dropped"),
    ]


def test_unresolved_placeholders_are_warnings(lint_text: Lint) -> None:
    findings = lint_text(RIGHT["counter"])
    assert [(f.line, f.column, f.severity) for f in findings if f.code == "missing-secret"] == [
        (12, 22, "warning"),
        (16, 36, "warning"),
        (19, 68, "warning"),
        (19, 80, "warning"),
    ]
    (finding,) = [f for f in lint_text(RIGHT["filled"].replace(":-5m", "")) if f.severity == "warning"]
    assert (finding.line, finding.column, finding.code) == (4, 64, "unresolved")


def test_resolved_placeholders_are_checked(lint_text: Lint) -> None:
    findings = lint_text(RIGHT["filled"], {"SEATS": "99", "PORT": "x"})
    assert [(f.code, f.severity) for f in findings] == [("type", "error"), ("value", "error")]
    assert all("99" not in str(f).split("flow.yaml")[1] for f in findings)


def test_load_errors_are_findings(lint_text: Lint) -> None:
    (finding,) = lint_text("rotues: []")
    assert finding.severity == "error"
    assert finding.hint == "Did you mean 'routes'?"


def test_a_missing_file(tmp_path: Path) -> None:
    (finding,) = lint([tmp_path / "none.yaml"], bakery())
    assert (finding.line, finding.column, finding.code) == (1, 1, "file")


def test_output(lint_text: Lint) -> None:
    findings = lint_text("rotues: []\nchannels: {a: }")
    (line,) = as_text(findings).splitlines()
    assert line.endswith("flow.yaml:1:1: error: route file: unknown option 'rotues'. Did you mean 'routes'? [unknown]")
    (item,) = json.loads(as_json(findings))
    assert Finding(**item) == findings[0]


def test_findings_come_in_order(lint_text: Lint) -> None:
    findings = lint_text("channels: {b: , a: {hold: true}}\nroutes:\n" + route("") + route("", name="s"))
    assert [(f.line, f.column) for f in findings] == sorted((f.line, f.column) for f in findings)
    assert len(findings) >= 5


def test_github_annotations(lint_text: Lint) -> None:
    (finding,) = lint_text("rotues: []")
    text = as_github([finding, evolve(finding, file="a,b:c", severity="information", message="50 %\nof it", hint="")])
    first, second = text.splitlines()
    place = f"file={finding.file},line=1,col=1"
    title = "title=an option that does not exist [unknown]"
    assert first == f"::error {place},{title}::route file: unknown option 'rotues'. Did you mean 'routes'?"
    assert second == f"::notice file=a%2Cb%3Ac,line=1,col=1,{title}::50 %25%0Aof it"


def test_a_secret_that_every_user_can_read(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("1234")
    text = "routes:\n  - {id: r, from: {counter: {listen: 'x:1', till: {pin: '${file:pin}'}}}, steps: [{to: {bin: }}]}"
    path = tmp_path / "a.yaml"
    path.write_text(text)
    (tmp_path / "pin").chmod(0o644)
    (finding,) = lint([path], bakery())
    assert (finding.code, finding.line, finding.column) == ("open-secret", 2, 57)
    assert "1234" not in str(finding)
    (tmp_path / "pin").chmod(0o640)
    assert lint([path], bakery()) == ()


ROOT = Path(__file__).parents[2]
SHIPPED = ["outbound", "dmp", "receipts", "inbound"]


@pytest.mark.parametrize("names", [SHIPPED, *([name] for name in SHIPPED)], ids=" ".join)
def test_shipped_routes_are_clean(names: list[str], tmp_path: Path) -> None:
    """With the settings of the examples, nothing is found at all, not even information."""
    environment: dict[str, str] = {}
    for file in sorted((ROOT / "routes").glob("*.env.example")):
        lines = file.read_text(encoding="utf-8").splitlines()
        settings = (line.partition("=") for line in lines if line and not line.startswith("#"))
        environment.update({name: value for name, _, value in settings})
    findings = lint([ROOT / f"routes/{name}.yaml" for name in names], Registry.installed(), environment=environment)
    assert findings == ()
