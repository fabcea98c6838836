"""Templates: used as often as wanted, typed, and wrong at both places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pfiflow.errors import ConfigErrors
from pfiflow.flow import route as r
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Address, Secret
from pfiflow.routefile import lint, load
from pfiflow.routefile.templates import MAX_USES
from tests.routefile.bakery import CounterOptions, ShopOptions, bakery
from tests.routefile.conftest import Load

SHOPS = """\
templates:
  shop:
    doc: One of our shops.
    parameters:
      name: {doc: What it is called., type: name}
      address: {doc: Where it is., type: address, example: "shop.example:443"}
      key: {doc: Its back door., type: secret, default: "${env:SHOP_KEY}"}
      languages: {doc: Spoken there., type: list, default: [fr]}
      seats: {doc: Its stools., type: integer, default: 4}
    channels:
      bread-${parameter:name}: {description: "Bread for ${parameter:name}"}
    endpoints:
      door-${parameter:name}: {shop: {address: "${parameter:address}", password: "${parameter:key}"}}
    routes:
      - id: counter-${parameter:name}
        from:
          counter: {listen: "127.0.0.1:0", languages: "${parameter:languages}", seats: "${parameter:seats}"}
        steps:
          - set-header: {shop: "'${parameter:name}'"}
          - to: {channel: "bread-${parameter:name}"}
      - id: to-${parameter:name}
        from: {channel: "bread-${parameter:name}"}
        steps:
          - to: {endpoint: "door-${parameter:name}"}
"""
USES = """\
routes:
  - use: {shop: {name: north, address: "north.example:443", languages: [fr, en], seats: 8}}
  - use: {shop: {name: south, address: "south.example:443", key: "${env:SOUTH_KEY}"}}
"""
USE_A = "routes: [{id: r, from: {alarm: }, steps: [{use: {a: }}]}]"
ENVIRONMENT = {"SHOP_KEY": "k3y", "SOUTH_KEY": "s0uth"}


def test_a_template_is_used_as_often_as_wanted(load_text: Load) -> None:
    flow = load_text(SHOPS + USES, ENVIRONMENT)
    assert [route.id for route in flow.routes] == ["counter-north", "to-north", "counter-south", "to-south"]
    assert flow.channels["bread-south"] == r.ChannelSpec(description="Bread for south")
    north = flow.routes[0]
    listen = Address("127.0.0.1", 0)
    assert north.source == r.FromEndpoint("counter", CounterOptions(listen=listen, languages=("fr", "en"), seats=8))
    assert north.steps == (r.SetHeader({"shop": Expression("'north'")}), r.ToChannel("bread-north"))
    doors = [route.steps[0] for route in (flow.routes[1], flow.routes[3])]
    assert doors == [
        r.ToEndpoint("shop", ShopOptions(address=Address(f"{name}.example", 443), password=Secret(key)), f"door-{name}")
        for name, key in (("north", "k3y"), ("south", "s0uth"))
    ]


def test_a_template_comes_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "shops").mkdir()
    (tmp_path / "shops" / "shops.yaml").write_text(SHOPS)
    site = tmp_path / "site.yaml"
    site.write_text("include: [shops/shops.yaml]\n" + USES)
    assert len(load([site], bakery(), environment=ENVIRONMENT).routes) == 4


def test_a_path_starts_from_the_file_that_writes_it(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "shops.yaml").write_text(
        "templates:\n"
        "  shop:\n"
        "    doc: d\n"
        "    parameters: {prices: {doc: d, type: path}}\n"
        "    routes:\n"
        '      - {id: a, from: {counter: {listen: "h:1", price-list: "${parameter:prices}"}}, steps: [{to: {bin: }}]}\n'
        '      - {id: b, from: {counter: {listen: "h:2", price-list: own.csv}}, steps: [{to: {bin: }}]}\n'
    )
    site = tmp_path / "site.yaml"
    site.write_text("include: [shared/shops.yaml]\nroutes: [{use: {shop: {prices: ours.csv}}}]\n")
    lists = []
    for route in load([site], bakery(), environment={}).routes:
        assert isinstance(route.source, r.FromEndpoint)
        lists.append(route.source.options.price_list)
    assert lists == [tmp_path / "ours.csv", tmp_path / "shared" / "own.csv"]


def test_steps_are_used_inside_of_steps_and_of_each_other(load_text: Load) -> None:
    flow = load_text(
        """\
channels: {orders: }
templates:
  note:
    doc: A line.
    parameters: {text: {doc: What it says.}}
    steps: [{log: {message: "${parameter:text}!"}}]
  keep:
    doc: Kept, and said.
    parameters: {channel: {doc: Where., type: name, default: orders}}
    steps:
      - id: say
        use: {note: {text: "into ${parameter:channel}"}}
      - to: {channel: "${parameter:channel}"}
routes:
  - id: a
    from: {alarm: }
    steps:
      - choice:
          - when: headers.x == "1"
            steps:
              - use: {keep: }
          - otherwise:
              - split: {steps: [{use: {note: {text: else}}}]}
    on-rejected:
      - use: {keep: {channel: orders}}
"""
    )
    kept = (r.Log("into orders!"), r.ToChannel("orders"))
    (route,) = flow.routes
    choice = r.Choice((r.When(Expression('headers.x == "1"'), kept),), (r.Split((r.Log("else!"),)),))
    assert route.steps == (choice,)
    assert route.on_rejected == kept


def test_an_error_tells_the_line_of_the_template_and_of_its_use(tmp_path: Path) -> None:
    shops, site = tmp_path / "shops.yaml", tmp_path / "site.yaml"
    shops.write_text(SHOPS.replace('- to: {channel: "bread-', '- to: {channel: "x-'))
    site.write_text("include: [shops.yaml]\n" + USES)
    line = next(number for number, each in enumerate(shops.read_text().splitlines(), 1) if '"x-' in each)
    with pytest.raises(ConfigErrors) as caught:
        load([site], bakery(), environment=ENVIRONMENT)
    errors = sorted(str(error) for error in caught.value.errors)
    assert [error.partition(";")[0] for error in errors] == [
        f"{shops}:{line}:27: unknown channel 'x-{name}'" for name in ("north", "south")
    ]
    assert [f"(through {site}:{number}:5)" in error for number, error in enumerate(errors, 3)] == [True, True]


def test_an_argument_that_the_option_refuses_stands_at_the_use(tmp_path: Path) -> None:
    shops, site = tmp_path / "shops.yaml", tmp_path / "site.yaml"
    shops.write_text(SHOPS)
    site.write_text("include: [shops.yaml]\n" + USES.replace("seats: 8", "seats: 80"))
    line = next(number for number, each in enumerate(SHOPS.splitlines(), 1) if "${parameter:seats}" in each)
    with pytest.raises(ConfigErrors) as caught:
        load([site], bakery(), environment=ENVIRONMENT)
    (error,) = caught.value.errors
    assert str(error).startswith(f"{site}:3:89: seats: must be at most 12. (through {shops}:{line}:")


@pytest.mark.parametrize(
    ("arguments", "line", "message"),
    [
        ('{name: north, address: "a:1", seat: 8}', 0, "shop: unknown option 'seat'. Did you mean 'seats'?"),
        ("{name: north}", 0, 'shop: required and missing: address. Example: address: "shop.example:443"'),
        ("{name: No, address: 'a:1'}", 0, "name: expected a name of lower-case letters"),
        ("{name: north, address: here}", 0, "address: expected host:port"),
        ("{name: north, address: 'a:1', seats: many}", 0, "seats: expected a whole number"),
        ("{name: north, address: 'a:1', key: plain}", 0, "key: a secret is written as a reference only"),
        ("{name: north, address: 'a:1', languages: fr}", 0, "languages: expected a list"),
    ],
)
def test_wrong_arguments_are_told_where_they_are_given(
    arguments: str, line: int, message: str, errors_of: Callable[[str], tuple[object, ...]]
) -> None:
    text = SHOPS.replace("${env:SHOP_KEY}", "${env:PIN}") + f"routes:\n  - use: {{shop: {arguments}}}\n"
    (error,) = errors_of(text)
    assert f"flow.yaml:{text.count(chr(10)) - line}:" in str(error)
    assert message in str(error)


def test_a_use_that_fails_makes_no_other_errors(errors_of: Callable[[str], tuple[object, ...]]) -> None:
    """Nobody is told that the channel which it would have brought is unknown."""
    text = SHOPS.replace("${env:SHOP_KEY}", "${env:PIN}") + "channels: {}\n"
    text += (
        "routes:\n  - use: {shop: {name: north}}\n  - {id: x, from: {channel: bread-north}, steps: [{to: {bin: }}]}\n"
    )
    assert [str(error).partition(": ")[2].partition(".")[0] for error in errors_of(text)] == [
        "shop: required and missing: address"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("templates: {a: {doc: d}}", "1:13: a template holds either `routes` or `steps`."),
        ("templates: {a: {doc: d, steps: [], routes: []}}", "1:13: a template holds either"),
        ("templates: {a: {doc: d, steps: [], channels: {}}}", "1:13: a template of steps holds no channels"),
        (
            'templates: {a: {doc: d, steps: [{log: {message: "é ${parameter:b}"}}]}}',
            "1:52: template 'a' has no parameter 'b'. Declared: none.",
        ),
        ("templates: {a: {doc: d, parameters: {b: {doc: d, type: strange}}, steps: []}}", "expected one of text"),
        (
            "templates: {a: {doc: d, parameters: {b: {doc: d, type: integer, default: x}}, steps: []}}",
            "1:74: b: expected",
        ),
        ("templates: {a: {doc: d, steps: []}, a: {doc: d, steps: []}}", "given twice"),
        ("routes: [{use: {a: }}]", "1:17: unknown template 'a'"),
        ("routes: [{use: a}]", "1:11: `use` is a mapping of one key"),
        ("templates: {a: {doc: d, steps: []}}\nroutes: [{use: {a: }}]", "2:17: template 'a' holds no routes."),
        (
            "templates: {a: {doc: d, routes: []}}\nroutes: [{id: r, from: {alarm: }, steps: [{use: {a: }}]}]",
            "2:50: template 'a' holds no steps.",
        ),
        (
            "templates: {a: {doc: d, steps: [{use: {b: }}]}, b: {doc: d, steps: [{use: {a: }}]}}\n" + USE_A,
            "template 'a' uses itself, through 'a' and 'b'.",
        ),
        (
            'routes: [{id: r, from: {alarm: }, steps: [{log: {message: "${parameter:a}"}}]}]',
            "inside of a template only",
        ),
        (
            "templates: {a: {doc: d, parameters: {l: {doc: d, type: list}},\n"
            '  steps: [{log: {message: "so ${parameter:l}"}}]}}\n' + USE_A.replace("a: }", "a: {l: [x]}}"),
            "2:31: parameter 'l' is a list: it stands alone",
        ),
    ],
)
def test_wrong_templates(text: str, message: str, errors_of: Callable[[str], tuple[object, ...]]) -> None:
    assert any(message in str(error) for error in errors_of(text)), [str(error) for error in errors_of(text)]


def test_templates_cannot_grow_without_end(errors_of: Callable[[str], tuple[object, ...]]) -> None:
    lines = ["templates:", "  t0: {doc: d, steps: [{log: {message: x}}]}"]
    for level in range(1, 30):
        uses = ", ".join(f"{{use: {{t{level - 1}: }}}}" for _ in range(10))
        lines.append(f"  t{level}: {{doc: d, steps: [{uses}]}}")
    lines.append("routes: [{id: r, from: {alarm: }, steps: [{use: {t29: }}]}]")
    errors = errors_of("\n".join(lines))
    assert [f"more than {MAX_USES} times" in str(error) for error in errors] == [True]


def test_what_is_meant_literally_stays(load_text: Load) -> None:
    flow = load_text(
        "templates: {a: {doc: d, parameters: {b: {doc: d}},\n"
        "  steps: [{set-header: {x: '\"$${parameter:b} ${parameter:b}\"'}}]}}\n"
        "routes: [{id: r, from: {alarm: }, steps: [{use: {a: {b: '${env:A:-c}'}}}]}]"
    )
    (route,) = flow.routes
    assert route.steps == (r.SetHeader({"x": Expression('"${parameter:b} c"')}),)


def test_a_file_that_cannot_be_read_makes_no_other_errors(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("include: [nowhere.yaml]\nroutes: [{use: {shop: {}}}]\noverride: {channels: {x: {workers: 2}}}\n")
    with pytest.raises(ConfigErrors) as caught:
        load([site], bakery())
    assert [error.code for error in caught.value.errors] == ["file"]


def test_lint_finds_what_a_use_makes_wrong(tmp_path: Path) -> None:
    """The counter gives bytes, and the shop takes bread: told once for each use, at the line of the template."""
    site = tmp_path / "site.yaml"
    site.write_text(SHOPS + USES)
    findings = lint([site], bakery(), environment=ENVIRONMENT)
    line = next(number for number, each in enumerate(SHOPS.splitlines(), 1) if "{endpoint:" in each)
    assert [(each.line, each.code) for each in findings if each.severity == "error"] == [(line, "body-type")] * 2
