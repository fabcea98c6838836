from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from pfiflow.routefile import lint
from tests.routefile.bakery import bakery
from tests.routefile.flows import Lint, flow, marked, messages, places, route

BIN = "{to: {bin: }}"
FROM_A, FROM_B, FROM_C = "{channel: a}", "{channel: b}", "{channel: c}"
ALARM = "{alarm: }"

BODIES = [
    # a straight line: the type is told where it does not fit, once
    (
        route("{read-order: }, {bake: }, {to: {shop: {address: 'a:1'}}}"),
        [(5, 30, "bake takes Dough; here comes Order.")],
    ),
    (route("{knead: }"), [(5, 14, "knead takes Order; here comes bytes.")]),
    (route("{bake: }", ALARM), [(5, 14, "bake takes Dough; here comes bytes.")]),
    # the body is the same after these
    (
        route("{read-order: }, {multicast: [{steps: [knead: ]}]}, {enrich: {steps: [knead: ], headers: []}}, {bake: }"),
        [(5, 108, "bake takes Dough; here comes Order.")],
    ),
    (route("{read-order: }, {taste: }, {to: {bin: }}, {knead: }"), []),
    # parts of a sequence
    (
        route("{read-order: }, {knead: }, {bake: }, {cut: }, {split: {steps: [{bake: }]}}"),
        [(5, 77, "bake takes Dough; here comes Bread.")],
    ),
    (
        route("{read-order: }, {knead: }, {bake: }, {cut: }, {bake: }"),
        [(5, 60, "bake takes Dough; here comes sequence of Bread.")],
    ),
    (
        route("{read-order: }, {knead: }, {bake: }, {cut: }, {split: {steps: [{to: {shop: {address: 'a:1'}}}]}}"),
        [],
    ),
    (
        route("{read-order: }, {knead: }, {bake: }, {cut: }, {to: {channel: a}}"),
        [(5, 60, "sequence of Bread has no registered body type; it cannot cross a channel.")],
    ),
    (
        route("{read-order: }, {split: {steps: [{taste: }]}}"),
        [(5, 30, "split takes a sequence; here comes Order.")],
    ),
    # on-rejected gets what the source gave
    (
        route("{read-order: }", rejected="{knead: }"),
        [(6, 20, "knead takes Order; here comes bytes.")],
    ),
    (
        route("{read-order: }, {to: {channel: a}}") + route("{knead: }, {bake: }", FROM_A, "s", rejected="{knead: }"),
        [],
    ),
    # branches are followed apart, and joined
    (
        route("{read-order: }, {choice: [{when: id == 'a', steps: [{knead: }]}]}, {bake: }"),
        [(5, 81, "bake takes Dough; here comes Order.")],
    ),
    (
        route("{read-order: }, {choice: [{when: id == 'a', steps: [{knead: }]}, {otherwise: [{knead: }]}]}, {bake: }"),
        [],
    ),
    # a branch that goes no further counts for nothing
    (
        route(
            "{read-order: }, {choice: [{when: id == 'a', steps: [{knead: }]}, "
            '{otherwise: [{validate: {when: "false", message: no}}]}]}, {bake: }'
        ),
        [],
    ),
    # over channels, in any order of routes
    (
        route("{bake: }", FROM_B, "z")
        + route("{knead: }, {to: {channel: b}}", FROM_A, "y")
        + route("{to: {channel: a}}", FROM_C, "x")
        + route("{read-order: }, {wire-tap: {channel: c}}"),
        [],
    ),
    (
        route("{bake: }", FROM_B, "z")
        + route("{to: {channel: b}}", FROM_A, "y")
        + route("{read-order: }, {to: {channel: a}}"),
        [(5, 14, "bake takes Dough; here comes Order.")],
    ),
    # a loop ends
    (
        route("{to: {channel: b}}", FROM_A, "y") + route("{knead: }, {to: {channel: a}}", FROM_B),
        [(8, 14, "knead takes Order; here comes Dough.")],
    ),
    # all writers agree
    (
        route("{read-order: }, {to: {channel: a}}, {knead: }, {to: {channel: a}}"),
        [(5, 61, "channel 'a' gets Dough here, but Order at FILE:5:30.")],
    ),
]


@pytest.mark.parametrize(("routes", "found"), BODIES)
def test_bodies(routes: str, found: list[tuple[int, int, str]], lint_text: Lint) -> None:
    findings = lint_text(flow(routes))
    errors = [f for f in findings if f.severity == "error"]
    assert [(f.line, f.column, f.message.replace(f.file, "FILE")) for f in errors] == found


def test_a_body_without_a_type_cannot_cross_a_channel(tmp_path: Path) -> None:
    registry = bakery()
    registry = evolve(registry, body_types={"bytes": registry.body_types["bytes"]})
    path = tmp_path / "a.yaml"
    path.write_text(flow(route("{read-order: }, {to: {channel: a}}"), route(BIN, FROM_A, "s")))
    assert places(lint([path], registry), "not-durable") == [(5, 30)]


CASES = [
    tuple(line.split(": ", 1))
    for line in (Path(__file__).parent / "lint_cases.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize(("code", "steps"), CASES)
def test_one_route(code: str, steps: str, lint_text: Lint) -> None:
    text, found = marked(flow(route(steps)))
    assert places(lint_text(text), code) == found


def test_a_condition_that_never_holds_is_explained(lint_text: Lint) -> None:
    either = "{set-header: {a: \"id == 'x' ? 'y' : 'z'\"}}"
    text = flow(route(either + ", {filter: {when: headers.a == 'x'}}, {taste: }"))
    assert messages(lint_text(text), "never") == ["headers.a is never 'x' here. It is 'y' or 'z'."]
    text = flow(route(either + ", {filter: {when: headers.a == 'y' && headers.a == 'z'}}, {taste: }"))
    assert messages(lint_text(text), "never") == ["this condition can never hold here. Header 'a' is 'y' or 'z' here."]


def test_headers_of_a_refusal(lint_text: Lint) -> None:
    text = flow(
        route(
            "{weigh: }, {to: {bin: }}",
            rejected="{log: {message: '{error-code} {weight}'}}, "
            '{filter: {when: \'headers["error-message"] != ""\'}}, '
            "{filter: {when: headers.¤weight != '1'}}, {taste: }",
        )
    )
    text, found = marked(text)
    findings = lint_text(text)
    assert places(findings, "unknown-header") == []
    assert places(findings, "header-not-always") == found  # who refused it may have come before


def test_headers_over_channels(lint_text: Lint) -> None:
    use = "{filter: {when: headers.x == 'a'}}, {taste: }"
    one = route("{set-header: {x: id}}, {to: {channel: a}}")
    other = route("{to: {channel: a}}", ALARM, "t")
    assert not places(lint_text(flow(one, route(use, FROM_A, "s"))), "header-not-always")
    both = lint_text(flow(one, other, route(use, FROM_A, "s")))
    assert places(both, "header-not-always") == [(11, 37)]
    assert places(lint_text(flow(other, route(use, FROM_A, "s"))), "unknown-header") == [(8, 37)]
    # a channel that nothing fills here may be filled by another file
    assert not places(lint_text(flow(route(use, FROM_A, "s"))), "unknown-header")


KEYED = "a: {key: headers.x}"


def test_a_key_is_made_where_something_is_written(lint_text: Lint) -> None:
    reader = route("{taste: }", FROM_A, "s")
    with_x, without = "{set-header: {x: id}}, {to: {channel: a}}", "{to: {channel: a}}"
    assert not places(lint_text(flow(route(with_x), reader, channels=KEYED)), "unknown-header")
    nowhere = lint_text(flow(route(without), reader, channels=KEYED))
    assert places(nowhere, "unknown-header") == [(1, 29)]  # the key itself is wrong
    elsewhere = lint_text(flow(route(without), route(with_x, ALARM, "t"), reader, channels=KEYED))
    assert places(elsewhere, "unknown-header") == [(5, 14)]  # this writer forgets it
    assert messages(elsewhere, "unknown-header")[0].startswith("key of channel 'a': header 'x'")
    field = lint_text(flow(route("{read-order: }, {to: {channel: a}}"), reader, channels="a: {key: body.customer.nam}"))
    assert places(field, "unknown-field") == [(1, 35)]


EXPRESSIONS = [
    # what the body shows
    ("unknown-field", "body.¤loafs == 1", "body.loafs: Order shows no 'loafs' to expressions. Did you mean 'loaves'?"),
    ("unknown-field", "body.customer.¤nam == 'x'", "Did you mean 'name'?"),
    ("unknown-field", "body.loaves.¤name == 'x'", "body.loaves is a number, and has nothing below it."),
    ("unknown-field", "headers.customer.¤name == 'x'", "header 'customer' is text, and has nothing below it."),
    ("unknown-field", "has(body.¤loafs)", "Did you mean 'loaves'?"),
    ("unknown-field", "body.customer.name == 'x'", ""),
    ("unknown-field", 'body["customer"]["name"] == "x"', ""),
    # conditions
    ("not-a-condition", "body.¤loaves", "a condition is true or false; this is a number. Compare it with something."),
    ("not-a-condition", "headers.¤customer", 'as in headers.customer == "…", or ask for it: has(headers.customer).'),
    ("not-a-condition", "body.urgent", ""),
    ("not-a-condition", "!body.urgent && ¤id", "&& joins what is true or false; this is text."),
    ("not-a-condition", "!¤id", "! joins what is true or false; this is text."),
    ("not-a-condition", "body.urgent ¤? id : origin", "this is text"),
    ("not-a-condition", "body.¤wishes", "this is a list"),
    ("not-a-condition", "body.wishes.exists(w, w == 'nuts')", ""),
    ("not-a-condition", "id.startsWith('a')", ""),
    # types that do not go together
    ("types-differ", "headers.customer ¤> 3", "> compares text with a number. int(…) makes a number of a text"),
    ("types-differ", "int(headers.customer) > 3", ""),
    ("types-differ", "headers.customer ¤== true", 'A header is text: compare it with "true".'),
    ("types-differ", "body.loaves ¤== '3'", "== compares a number with text."),
    ("types-differ", "body.loaves ¤+ id == 'x'", "+ adds up a number with text."),
    ("types-differ", "body.loaves in ¤'abc'", "`in` looks in a list; this is text."),
    ("types-differ", "body.¤loaves.startsWith('a')", "startsWith is for text; this is a number."),
    ("types-differ", "id.matches(¤'[')", "this is no regular expression."),
    ("types-differ", "id.matches('[a-z]+')", ""),
    ("types-differ", "size(id) * 2 > 3 + body.loaves", ""),
    ("types-differ", "timestamp(id) - timestamp(origin) > duration('1h')", ""),
    ("types-differ", "body.wishes[0] == 'nuts'", ""),  # not known
]


@pytest.mark.parametrize(("code", "expression", "words"), EXPRESSIONS)
def test_expressions(code: str, expression: str, words: str, lint_text: Lint) -> None:
    quoted = expression.replace('"', '\\"')
    text, found = marked(flow(route(f'{{read-order: }}, {{filter: {{when: "{quoted}"}}}}, {{knead: }}')))
    findings = lint_text(text)
    assert places(findings, code) == found
    assert all(words in message for message in messages(findings, code))


OVER_LINES = """\
routes:
  - id: r
    from: {alarm: }
    steps:
      - filter:
          when: >
            id == 'a'
            && headers.¤x == 'b'
      - taste:
"""


def test_an_expression_over_lines_is_told_at_its_line(lint_text: Lint) -> None:
    text, found = marked(OVER_LINES)
    assert places(lint_text(text), "unknown-header") == found
