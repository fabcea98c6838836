from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pfiflow.routefile import Finding, as_json, as_text, lint
from tests.routefile.bakery import bakery
from tests.routefile.examples import RIGHT

Lint = Callable[..., tuple[Finding, ...]]

CHANNELS = "channels: {a: , b: }\n"


def codes(findings: tuple[Finding, ...]) -> list[tuple[int, int, str, str]]:
    return [(f.line, f.column, f.severity, f.code) for f in findings]


def test_a_good_file_says_little(lint_text: Lint) -> None:
    assert codes(lint_text(RIGHT["full"], {"SHOP_KEY": "x"})) == [
        (4, 3, "information", "held"),
    ]


def test_unresolved_placeholders_are_warnings(lint_text: Lint) -> None:
    findings = lint_text(RIGHT["counter"])
    assert [(f.line, f.column, f.code) for f in findings if f.code == "unresolved"] == [
        (12, 22, "unresolved"),
        (16, 36, "unresolved"),
        (19, 68, "unresolved"),
        (19, 80, "unresolved"),
    ]
    assert {f.severity for f in findings if f.code == "unresolved"} == {"warning"}


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


def route(steps: str, source: str = "{counter: {listen: 'x:1'}}", name: str = "r") -> str:
    return f"  - id: {name}\n    from: {source}\n    steps: [{steps}]\n"


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        # a straight line: the type is told where it does not fit, once
        (
            route("{read-order: }, {bake: }, {to: {shop: {address: 'a:1'}}}"),
            [(5, 30, "bake takes Dough; here comes Order.")],
        ),
        (route("{knead: }"), [(5, 14, "knead takes Order; here comes bytes.")]),
        # what is not known is not guessed
        (route("{bake: }", "{alarm: }"), [(5, 14, "bake takes Dough; here comes bytes.")]),
        (route("{split: {steps: [{bake: }]}}"), []),
        # the body is the same after these
        (
            route(
                "{read-order: }, {multicast: [{steps: [knead: ]}]}, {enrich: {steps: [knead: ], headers: []}}, {bake: }"
            ),
            [(5, 108, "bake takes Dough; here comes Order.")],
        ),
        (route("{read-order: }, {taste: }, {to: {bin: }}, {knead: }"), []),
        # branches are followed apart, and joined
        (
            route("{read-order: }, {choice: [{when: 'true', steps: [{knead: }]}]}, {bake: }"),
            [(5, 78, "bake takes Dough; here comes Order.")],
        ),
        (
            route("{read-order: }, {choice: [{when: 'id', steps: [{knead: }]}, {otherwise: [{knead: }]}]}, {bake: }"),
            [],
        ),
        # over channels, in any order of routes
        (
            route("{bake: }", "{channel: b}", "z")
            + route("{knead: }, {to: {channel: b}}", "{channel: a}", "y")
            + route("{to: {channel: a}}", "{channel: c}", "x")
            + route("{read-order: }, {wire-tap: {channel: c}}"),
            [],
        ),
        (
            route("{bake: }", "{channel: b}", "z")
            + route("{to: {channel: b}}", "{channel: a}", "y")
            + route("{read-order: }, {to: {channel: a}}"),
            [(5, 14, "bake takes Dough; here comes Order.")],
        ),
        # a loop ends
        (
            route("{to: {channel: b}}", "{channel: a}", "y") + route("{knead: }, {to: {channel: a}}", "{channel: b}"),
            [(8, 14, "knead takes Order; here comes Dough.")],
        ),
        # all writers agree
        (
            route("{read-order: }, {to: {channel: a}}, {knead: }, {to: {channel: a}}"),
            [(5, 61, "channel 'a' gets Dough here, but Order at FILE:5:30.")],
        ),
    ],
)
def test_body_types(routes: str, found: list[tuple[int, int, str]], lint_text: Lint) -> None:
    findings = lint_text("channels: {a: , b: , c: }\nroutes:\n" + routes)
    errors = [f for f in findings if f.severity == "error"]
    assert [(f.line, f.column, f.message.replace(f.file, "FILE")) for f in errors] == found


def test_on_rejected_gets_what_the_source_gave(lint_text: Lint) -> None:
    text = "routes:\n" + route("{read-order: }") + "    on-rejected: [{knead: }]\n"
    (finding,) = lint_text(text)
    assert finding.message == "knead takes Order; here comes bytes."


def test_a_body_without_a_type_cannot_cross_a_channel(tmp_path: Path) -> None:
    from attrs import evolve

    registry = bakery()
    registry = evolve(registry, body_types={"bytes": registry.body_types["bytes"]})
    path = tmp_path / "a.yaml"
    path.write_text(
        CHANNELS + "routes:\n" + route("{read-order: }, {to: {channel: a}}") + route("", "{channel: a}", "z")
    )
    assert "not-durable" in [f.code for f in lint([path], registry)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(1, 1, "warning", "no-routes")]),
        ("channels: {a: }\nroutes:\n" + route("{taste: }"), [(1, 12, "warning", "unused")]),
        ("channels: {a: }\nroutes:\n" + route("{to: {channel: a}}"), [(1, 12, "warning", "no-reader")]),
        ("channels: {a: {hold: true}}\nroutes:\n" + route("{to: {channel: a}}"), [(1, 12, "information", "held")]),
        ("channels: {a: }\nroutes:\n" + route("{taste: }", "{channel: a}"), [(1, 12, "warning", "no-writer")]),
        (
            "channels: {a: }\nroutes:\n" + route("{wire-tap: {channel: a}}") + route("{taste: }", "{channel: a}", "s"),
            [],
        ),
        (
            "channels: {a: }\nroutes:\n"
            + route("{to: {channel: a}}")
            + route("{taste: }", "{channel: a}", "s")
            + route("{taste: }", "{channel: a}", "t"),
            [(10, 11, "error", "two-readers")],
        ),
        ("endpoints: {e: {bin: }}\nroutes:\n" + route("{taste: }"), [(1, 13, "warning", "unused")]),
        ("routes:\n" + route(""), [(2, 5, "error", "no-steps")]),
        # ports
        ("routes:\n" + route("{taste: }") + route("{taste: }", name="s"), [(6, 11, "error", "port")]),
        (
            "routes:\n" + route("{taste: }") + route("{taste: }", "{counter: {listen: '0.0.0.0:1'}}", "s"),
            [(6, 11, "error", "port")],
        ),
        ("routes:\n" + route("{taste: }") + route("{taste: }", "{counter: {listen: 'y:1'}}", "s"), []),
        ("routes:\n" + route("{taste: }") + route("{taste: }", "{counter: {listen: 'x:2'}}", "s"), []),
        (
            "routes:\n"
            + route("{taste: }", "{counter: {listen: 'x:0'}}")
            + route("{taste: }", "{counter: {listen: 'x:0'}}", "s"),
            [],
        ),
        (
            "endpoints: {e: {counter: {listen: 'x:1'}}}\nroutes:\n"
            + route("{taste: }", "{endpoint: e}")
            + route("{taste: }", "{endpoint: e}", "s"),
            [(7, 11, "error", "port")],
        ),
        (
            "routes:\n"
            + route("{taste: }", "{counter: {listen: '${env:L}'}}")
            + route("{taste: }", "{counter: {listen: '${env:L}'}}", "s"),
            [(3, 31, "warning", "unresolved"), (6, 31, "warning", "unresolved")],
        ),
        # what nothing reaches
        ("routes:\n" + route('{filter: {when: "false"}}, {taste: }'), [(4, 41, "warning", "unreachable")]),
        ("routes:\n" + route('{taste: }, {filter: {when: "false"}}'), []),
        (
            "routes:\n" + route("{choice: [{when: id, steps: []}, {when: id, steps: []}]}"),
            [(4, 46, "warning", "unreachable")],
        ),
        (
            "routes:\n" + route("{choice: [{when: 'true', steps: []}, {when: id, steps: []}]}"),
            [(4, 50, "warning", "unreachable")],
        ),
        # headers
        ("routes:\n" + route("{filter: {when: has(headers.custmer)}}"), [(4, 14, "warning", "unknown-header")]),
        ("routes:\n" + route("{filter: {when: has(headers.customer)}}"), []),  # set by the source
        ("routes:\n" + route("{set-header: {a: id}}, {filter: {when: 'headers[\"a\"] == id'}}"), []),
        ("routes:\n" + route("{log: {message: '{error-code} {split-index}'}}"), []),
        ("routes:\n" + route("{log: {message: '{nobody}'}}"), [(4, 14, "warning", "unknown-header")]),
        (
            "channels: {a: {key: headers.nobody}}\nroutes:\n"
            + route("{to: {channel: a}}")
            + route("{taste: }", "{channel: a}", "s"),
            [(1, 12, "warning", "unknown-header")],
        ),
        ("routes:\n" + route("{enrich: {steps: [], headers: [nobody]}}"), [(4, 14, "warning", "unknown-header")]),
    ],
)
def test_findings(text: str, found: list[tuple[int, int, str, str]], lint_text: Lint) -> None:
    assert codes(lint_text(text)) == found


SINKS = [
    ("{to: {bin: }}", False),
    ("{to: {bin: }}, {to: {bin: }}", True),
    ("{to: {bin: }}, {to: {channel: b}}", False),
    ("{multicast: [{steps: [{to: {bin: }}]}, {steps: [{to: {bin: }}]}]}", True),
    ("{choice: [{when: id, steps: [{to: {bin: }}]}, {otherwise: [{to: {bin: }}]}]}", False),
    ("{choice: [{when: id, steps: [{to: {bin: }}]}]}, {to: {bin: }}", True),
    ("{split: {steps: [{to: {bin: }}]}}", True),
    ("{enrich: {steps: [{to: {bin: }}], headers: []}}, {to: {bin: }}", False),
]


@pytest.mark.parametrize(("steps", "warns"), SINKS)
def test_several_sinks_in_a_channel_route(steps: str, warns: bool, lint_text: Lint) -> None:
    findings = lint_text(CHANNELS + "routes:\n" + route(steps, "{channel: a}"))
    assert ("several-sinks" in {f.code for f in findings}) is warns


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
