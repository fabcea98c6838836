from __future__ import annotations

import pytest

from tests.routefile.flows import Lint, flow, places, route

FROM_A = "{channel: a}"
SOURCE = "{counter: {listen: 'x:1'}}"

BIN, LOG = "{to: {bin: }}", "{log: {message: m}}"


def choose(first: str, second: str | None = None) -> str:
    otherwise = "" if second is None else f", {{otherwise: [{second}]}}"
    return f"{{choice: [{{when: id == 'a', steps: [{first}]}}{otherwise}]}}"


SINKS = [
    ("{to: {bin: }}", False),
    ("{to: {bin: }}, {to: {bin: }}", True),
    ("{to: {bin: }}, {to: {channel: b}}", False),
    ("{multicast: [{steps: [{to: {bin: }}]}, {steps: [{to: {bin: }}]}]}", True),
    ("{choice: [{when: id == 'a', steps: [{to: {bin: }}]}, {otherwise: [{to: {bin: }}]}]}", False),
    ("{choice: [{when: id == 'a', steps: [{to: {bin: }}]}]}, {to: {bin: }}", True),
    ("{split: {steps: [{to: {bin: }}]}}", True),
    ("{enrich: {steps: [{to: {bin: }}], headers: []}}, {to: {bin: }}", True),
    ("{enrich: {steps: [{to: {bin: }}], headers: []}}, {to: {channel: b}}", False),
    ("{to: {post: }}, {to: {bin: }}", False),  # it remembers
    ("{to: {bin: }}, {to: {post: }}", True),
]


@pytest.mark.parametrize(("steps", "warns"), SINKS)
def test_several_sinks_in_a_channel_route(steps: str, warns: bool, lint_text: Lint) -> None:
    assert bool(places(lint_text(flow(route(steps, FROM_A))), "several-sinks")) is warns
    assert not places(lint_text(flow(route(steps))), "several-sinks")  # nothing is tried again


CASES = [
    ("no-steps", SOURCE, "", [(3, 5)]),
    ("no-steps", SOURCE, "{to: {bin: }}", []),
    # what was made, or came in, goes nowhere
    ("dropped", SOURCE, "{log: {message: m}}", [(3, 5)]),
    ("dropped", SOURCE, "{filter: {when: has(headers.customer)}}", [(3, 5)]),
    ("dropped", SOURCE, "{read-order: }", [(3, 5)]),
    ("dropped", SOURCE, "{read-order: }, {log: {message: m}}", [(3, 5)]),
    ("dropped", SOURCE, "{taste: }, {read-order: }", [(5, 25)]),
    ("dropped", SOURCE, "{read-order: }, {to: {bin: }}", []),
    ("dropped", SOURCE, "{taste: }", []),  # it may do something of its own
    ("dropped", SOURCE, "{read-order: }, {knead: }, {taste: }", []),
    ("dropped", SOURCE, "{read-order: }, {knead: }", [(3, 5)]),
    ("dropped", SOURCE, "{multicast: [{steps: [{read-order: }]}]}, {to: {bin: }}", [(5, 36)]),
    ("dropped", SOURCE, "{enrich: {steps: [{read-order: }], headers: [x]}}, {to: {bin: }}", []),
    ("dropped", SOURCE, "{choice: [{when: id == 'a', steps: [{read-order: }]}]}, {to: {bin: }}", []),
    ("dropped", SOURCE, "{choice: [{when: id == 'a', steps: [{read-order: }]}]}", [(3, 5)]),
    # a way on which nothing is sent
    ("may-drop", SOURCE, choose(BIN), [(3, 5)]),
    ("may-drop", SOURCE, choose(BIN, BIN), []),
    ("may-drop", SOURCE, choose(BIN, LOG), [(3, 5)]),
    ("may-drop", SOURCE, choose(BIN, "{validate: {when: 'false', message: m}}"), []),
    ("may-drop", SOURCE, choose(BIN, "{filter: {when: 'false'}}"), []),
    ("may-drop", SOURCE, "{filter: {when: id == 'a'}}, {to: {bin: }}", []),
    ("may-drop", SOURCE, choose(BIN) + ", {wire-tap: {channel: a}}", []),
    ("may-drop", SOURCE, choose(BIN) + ", {taste: }", [(3, 5)]),
    ("may-drop", SOURCE, f"{{multicast: [{{steps: [{BIN}]}}, {{steps: [{LOG}]}}]}}", []),
    ("may-drop", SOURCE, f"{{enrich: {{steps: [{choose(BIN)}], headers: []}}}}", [(3, 5)]),
    # the same may come again
    ("no-idempotent", "{letterbox: {street: s}}", "{to: {bin: }}", [(4, 11)]),
    ("no-idempotent", "{letterbox: {street: s}}", "{idempotent: {key: id}}, {to: {bin: }}", []),
    ("no-idempotent", SOURCE, "{to: {bin: }}", []),
    # a header that nothing reads
    ("no-effect", SOURCE, choose("{set-header: {x: id}}") + f", {LOG}", [(5, 50)]),
    ("no-effect", SOURCE, choose("{set-header: {x: id}}") + ", {log: {message: '{x}'}}", []),
    ("no-effect", SOURCE, "{set-header: {x: id}}, {set-header: {x: origin}}, {to: {bin: }}", [(5, 14)]),
    ("no-effect", SOURCE, "{set-header: {x: id}}, {set-header: {x: headers.x + origin}}, {to: {bin: }}", []),
    ("no-effect", SOURCE, "{set-header: {x: id}}, " + choose("{set-header: {x: origin}}") + f", {BIN}", []),
    ("no-effect", SOURCE, "{set-header: {x: id}}, {filter: {when: headers.x == 'a'}}, {log: {message: m}}", []),
    ("no-effect", SOURCE, "{set-header: {shift: \"'day'\"}}, {label: }, {log: {message: m}}", []),
    ("no-effect", SOURCE, "{set-header: {shift: \"'day'\", x: id}}, {label: }, {log: {message: m}}", [(5, 14)]),
    ("no-effect", SOURCE, "{set-header: {x: id}}, {taste: }", []),  # it does not say what it reads
    ("no-effect", SOURCE, "{enrich: {steps: [{set-header: {x: id, y: id}}], headers: [x]}}, {to: {bin: }}", [(5, 32)]),
    ("no-effect", SOURCE, f"{{multicast: [{{steps: [{{set-header: {{x: id}}}}, {LOG}]}}]}}, {BIN}", [(5, 36)]),
    ("no-effect", SOURCE, "{set-header: {x: id}}, {filter: {when: 'headers.size() > 1'}}, {log: {message: m}}", []),
    # nothing comes after
    ("no-effect", SOURCE, "{to: {bin: }}, {set-header: {a: id}}", [(5, 29)]),
    ("no-effect", SOURCE, "{to: {bin: }}, {filter: {when: id == 'a'}}", [(5, 29)]),
    ("no-effect", SOURCE, "{to: {bin: }}, {delay: {duration: 1s}}", [(5, 29)]),
    ("no-effect", SOURCE, "{to: {bin: }}, {throttle: {rate: 1}}", [(5, 29)]),
    ("no-effect", SOURCE, "{set-header: {a: id}}, {to: {bin: }}", []),
    ("no-effect", SOURCE, "{set-header: {a: id}}, {log: {message: '{a}'}}", []),
    ("no-effect", FROM_A, "{to: {bin: }}, {idempotent: {key: id}}", [(5, 29)]),
    ("no-effect", FROM_A, "{idempotent: {key: id}}, {to: {bin: }}", []),
    ("no-effect", SOURCE, "{to: {channel: b}}, {idempotent: {key: id}}", []),  # a duplicate's outputs are not kept
    ("no-effect", SOURCE, "{choice: [{when: id == 'a', steps: []}]}, {to: {bin: }}", [(5, 14)]),
    ("no-effect", SOURCE, "{choice: [{when: id == 'a', steps: [{set-header: {a: id}}]}]}, {to: {bin: }}", []),
    ("no-effect", SOURCE, "{enrich: {steps: [{set-header: {a: id}}], headers: [a]}}, {to: {bin: }}", []),
    # a refusal that comes too late
    ("after-sink", FROM_A, "{to: {bin: }}, {validate: {when: id != '', message: m}}", [(5, 29)]),
    ("after-sink", FROM_A, "{validate: {when: id != '', message: m}}, {to: {bin: }}", []),
    ("after-sink", FROM_A, "{to: {bin: }}, {idempotent: {key: id}}, {to: {channel: b}}", [(5, 29)]),
    (
        "after-sink",
        FROM_A,
        "{enrich: {steps: [{to: {bin: }}], headers: []}}, {validate: {when: id != '', message: m}}",
        [(5, 63)],
    ),
    (
        "after-sink",
        FROM_A,
        "{choice: [{when: id == 'a', steps: [{to: {bin: }}]}, {otherwise: [{idempotent: {key: id}}]}]}",
        [],
    ),
    ("tells-nobody", FROM_A, "{to: {bin: }}", [(3, 5)]),
    ("tells-nobody", SOURCE, "{to: {bin: }}", []),  # its peer is told
]  # fmt: skip


@pytest.mark.parametrize(("code", "source", "steps", "found"), CASES)
def test_steps(code: str, source: str, steps: str, found: list[tuple[int, int]], lint_text: Lint) -> None:
    assert places(lint_text(flow(route(steps, source))), code) == found


def test_on_rejected_tells(lint_text: Lint) -> None:
    text = flow(route("{to: {bin: }}", FROM_A, rejected="{to: {bin: }}"))
    assert places(lint_text(text), "tells-nobody") == []


def test_on_rejected_is_looked_at_too(lint_text: Lint) -> None:
    text = flow(route("{to: {bin: }}", rejected="{set-header: {a: id}}"))
    assert places(lint_text(text), "no-effect") == [(6, 20)]
