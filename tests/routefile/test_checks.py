from __future__ import annotations

import pytest

from tests.routefile.flows import Lint, flow, messages, places, route

BIN = "{to: {bin: }}"
IN_A, FROM_A = route("{to: {channel: a}}"), route(BIN, "{channel: a}", "s")

CHANNELS = [
    ("no-routes", "", [(1, 1)]),
    ("unused", flow(route(BIN), channels="a: "), [(1, 12)]),
    ("unused", flow(IN_A, FROM_A, channels="a: "), []),
    ("unused", "endpoints: {e: {bin: }}\nroutes:\n" + route(BIN), [(1, 13)]),
    ("unused", "endpoints: {e: {bin: }}\nroutes:\n" + route("{to: {endpoint: e}}"), []),
    ("no-reader", flow(IN_A, channels="a: "), [(1, 12)]),
    ("no-reader", flow(IN_A, channels="a: {hold: true}"), []),
    ("no-reader", flow(IN_A, FROM_A, channels="a: "), []),
    ("no-writer", flow(FROM_A, channels="a: "), [(1, 12)]),
    ("no-writer", flow(FROM_A, route("{wire-tap: {channel: a}}"), channels="a: "), []),
    ("no-writer", flow(FROM_A, route(BIN, rejected="{to: {channel: a}}"), channels="a: "), []),
    ("held", flow(IN_A, channels="a: {hold: true}"), [(1, 12)]),
    ("two-readers", flow(IN_A, FROM_A, route(BIN, "{channel: a}", "t")), [(10, 11)]),
    ("two-readers", flow(IN_A, FROM_A), []),
]


@pytest.mark.parametrize(("code", "text", "found"), CHANNELS)
def test_channels(code: str, text: str, found: list[tuple[int, int]], lint_text: Lint) -> None:
    assert places(lint_text(text), code) == found


REDELIVERY = [
    ("endless-retry", "max-age: null", True),
    ("endless-retry", "max-age: null, max-attempts: 100000", False),
    ("endless-retry", "max-attempts: 2", False),
    ("no-retry", "max-attempts: 1", True),
    ("no-retry", "max-attempts: 2", False),
    ("no-retry", "initial-delay: 1m, max-age: 1m", True),
    ("no-retry", "initial-delay: 1m, max-age: 2m", False),
    ("no-retry", "initial-delay: 1h, max-delay: 1m, max-age: 2m", False),
    ("delay-cut", "initial-delay: 1h, max-delay: 1m", True),
    ("delay-cut", "initial-delay: 1m, max-delay: 1m", False),
]


@pytest.mark.parametrize(("code", "policy", "found"), REDELIVERY)
def test_redelivery(code: str, policy: str, found: bool, lint_text: Lint) -> None:
    findings = lint_text(flow(IN_A, FROM_A, channels=f"a: {{redelivery: {{{policy}}}}}"))
    assert places(findings, code) == ([(1, 12)] if found else [])


def listening(*addresses: str) -> str:
    return "routes:\n" + "".join(
        route(BIN, f"{{counter: {{listen: '{address}'}}}}", f"r{number}") for number, address in enumerate(addresses)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (listening("x:1", "x:1"), [(6, 11)]),
        (listening("x:1", "0.0.0.0:1"), [(6, 11)]),
        (listening("[::]:1", "x:1"), [(6, 11)]),
        (listening("x:1", "y:1"), []),
        (listening("x:1", "x:2"), []),
        (listening("x:0", "x:0"), []),
        (listening("${env:L}", "${env:L}"), []),
        (
            "endpoints: {e: {counter: {listen: 'x:1'}}}\nroutes:\n"
            + route(BIN, "{endpoint: e}")
            + route(BIN, "{endpoint: e}", "s"),
            [(7, 11)],
        ),
    ],
)
def test_ports(text: str, found: list[tuple[int, int]], lint_text: Lint) -> None:
    assert places(lint_text(text), "port") == found


def reading(*streets: str) -> str:
    return "routes:\n" + "".join(
        route(BIN, f"{{letterbox: {{street: {street}}}}}", f"r{number}") for number, street in enumerate(streets)
    )


def writing(*books: str) -> str:
    return "routes:\n" + route(", ".join(f"{{to: {{ledger: {{book: {book}}}}}}}" for book in books))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (reading("a", "a"), [(6, 11)]),
        (reading("a", "b", "a"), [(9, 11)]),
        (reading("a", "b"), []),
        (reading("'${env:X}'", "'${env:X}'"), []),
        # one sink, named twice
        (writing("sales", "sales"), []),
        # two, that would write over each other
        (writing("sales", "sales, ink: red"), [(4, 45)]),
        (writing("sales", "tips, ink: red"), []),
    ],
)
def test_what_one_alone_may_use(text: str, found: list[tuple[int, int]], lint_text: Lint) -> None:
    assert places(lint_text(text), "claimed-twice") == found


def test_a_claim_is_told_in_words(lint_text: Lint) -> None:
    (text,) = messages(lint_text(reading("a", "a")), "claimed-twice")
    assert text.startswith("routes 'r0' and 'r1' both use letterbox a. Give it to one route")


def test_options_that_do_not_go_together(lint_text: Lint) -> None:
    text = "routes:\n" + route(BIN, "{letterbox: {street: a, number: 13}}")
    assert messages(lint_text(text), "options") == ["no letterbox hangs at number 13."]
    assert messages(lint_text(text.replace("13", "14")), "options") == []
    assert messages(lint_text(text.replace("13", "'${env:NUMBER}'")), "options") == []
