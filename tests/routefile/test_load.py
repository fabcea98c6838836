from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve, frozen

from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.flow import route as r
from pfiflow.flow.component import Component
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Address, Duration, Secret, Size, option
from pfiflow.flow.redelivery import Redelivery
from pfiflow.routefile import load
from tests.routefile.bakery import Card, CounterOptions, OvenOptions, ShopOptions, Till, bakery
from tests.routefile.conftest import Load
from tests.routefile.examples import RIGHT, WRONG

ENVIRONMENT = {"SHOP_KEY": "k3y", "PIN": "1234", "A": "a", "B": "b"}


def test_the_whole_grammar(load_text: Load, tmp_path: Path) -> None:
    flow = load_text(RIGHT["full"], ENVIRONMENT)
    assert flow.store == r.StoreOptions(path=tmp_path / "flour.db")
    assert flow.engine == r.EngineOptions()
    assert flow.channels == {
        "orders": r.ChannelSpec(
            key=Expression("headers.customer"),
            hold=True,
            redelivery=Redelivery(initial_delay=Duration(0.5), factor=1.5, max_age=Duration(14 * 86400.0)),
        ),
        "dough": r.ChannelSpec(workers=2, max_waiting=100, description="Rests overnight"),
        "copies": r.ChannelSpec(),
    }
    shop = ShopOptions(address=Address("shop.bakery.example", 443), password=Secret("k3y"))
    orders = (r.ToChannel("orders"),)
    assert flow.routes == (
        r.Route(
            "take-orders",
            r.FromEndpoint("counter", CounterOptions(listen=Address("127.0.0.1", 8080))),
            (
                r.Process("read-order"),
                r.SetHeader({"size": Expression("'small'"), "flour-lot": Expression("id")}),
                r.Validate(Expression("has(headers.customer)"), "Who is it for?", "101"),
                r.Idempotent(Expression("id"), "orders"),
                r.Throttle(10),
                r.Choice(
                    (
                        r.When(Expression("headers.size == 'small'"), orders),
                        r.When(Expression("headers.size == 'large'\n  && id != ''\n"), (r.Log("large: {size}"),)),
                    ),
                    orders,
                ),
                r.WireTap("copies"),
            ),
            (r.Log("refused {error-code}", "warning"), r.ToEndpoint("bin")),
        ),
        r.Route(
            "knead",
            r.FromChannel("orders"),
            (
                r.Filter(Expression("true")),
                r.Enrich((r.Process("taste"),), ("size",)),
                r.Delay(Duration(0.005)),
                r.Process("knead"),
                r.ToChannel("dough"),
            ),
        ),
        r.Route(
            "bake",
            r.FromChannel("dough"),
            (
                r.Process("bake", OvenOptions(degrees=240, steam=True)),
                r.Multicast(
                    ((r.Split((r.Process("taste"),)),), (r.ToEndpoint("shop", shop, id="high-street"),)),
                ),
            ),
        ),
        r.Route("copies", r.FromChannel("copies"), (r.ToEndpoint("bin"),)),
        r.Route("at-night", r.FromEndpoint("alarm"), (r.Log("good night"),)),
    )


def test_places(load_text: Load, tmp_path: Path) -> None:
    flow = load_text(RIGHT["full"], ENVIRONMENT)
    take, knead, *_ = flow.routes
    file = str(tmp_path / "flow.yaml")
    assert take.place == r.Place(file, 14, 5)
    assert take.source is not None
    assert take.source.place == r.Place(file, 15, 11)
    assert [step.place.line for step in take.steps if step.place] == [17, 18, 19, 20, 21, 22, 31]
    choice = take.steps[5]
    assert isinstance(choice, r.Choice)
    assert [when.place for when in choice.whens] == [r.Place(file, 23, 13), r.Place(file, 25, 13)]
    assert knead.steps[-1].place == r.Place(file, 42, 9)


def test_every_option_type(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("4321\n")
    flow = load_text(RIGHT["counter"], ENVIRONMENT)
    source = flow.routes[0].source
    assert isinstance(source, r.FromEndpoint)
    assert source.options == CounterOptions(
        listen=Address("::1", 80),
        name="22:22",
        seats=12,
        warm=False,
        patience=Duration(5400.0),
        max_order=Size(65536),
        price_list=tmp_path / "lists/prices.csv",
        till=Till(pin=Secret("4321"), float_=2.0),
        kind="drive-in",
        languages=("on", "no", "1_000"),
        rebates={"staff": 0.5, "nobody": 0.0},
        bells={"Front Door": Till(pin=Secret("1234"))},
        payment=Card(terminal=Address("t", 1), cash=True),
        greeting=Expression("headers['customer'] + '!'"),
    )
    assert flow.routes[0].steps == (
        r.ToEndpoint("shop", ShopOptions(address=Address("s", 1), tokens=(Secret("a"), Secret("b")))),
    )


def test_placeholders_take_the_type_of_their_option(load_text: Load) -> None:
    environment = {"HOST": "bakery", "SEATS": "0x0A", "W": "false", "KIND": "walk-in"}
    source = load_text(RIGHT["filled"], environment).routes[0].source
    assert isinstance(source, r.FromEndpoint)
    assert source.options == CounterOptions(
        listen=Address("bakery", 80), seats=10, warm=False, kind="walk-in", patience=Duration(300.0), rebates={"a": 1.5}
    )


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str, errors_of: Callable[[str], tuple[ConfigError, ...]], load_text: Load) -> None:
    wrong = WRONG[name]
    if not wrong.words:
        load_text(wrong.text)
        return
    (error, *more) = errors_of(wrong.text)
    assert wrong.words in str(error)
    assert (error.line, error.column) == (wrong.line, wrong.column)
    assert not more
    assert str(error).startswith(f"{error.file}:{error.line}:{error.column}: ")


def test_everything_wrong_is_told_at_once(errors_of: Callable[[str], tuple[ConfigError, ...]]) -> None:
    errors = errors_of(
        "channels: {a: {hodl: 1}, B: }\n"
        "endpoints: {e: {shpo: }}\n"
        "routes:\n"
        "  - id: x\n"
        "    from: {counter: {seats: 99, warm: maybe}}\n"
        "    steps:\n"
        "      - to: {endpoint: e}\n"  # declared, with its own error: no second one here
        "      - to: {endpoint: f}\n"
        "      - bake: {degrees: [], steam: 3}\n"
        "  - id: y\n"
    )
    assert [(error.line, error.code) for error in errors] == [
        (1, "unknown"),
        (1, "type"),
        (2, "component"),
        (5, "missing"),
        (5, "value"),
        (5, "type"),
        (8, "endpoint"),
        (9, "type"),
        (9, "type"),
        (10, "missing"),
    ]


def test_the_group_prints_one_error_a_line(load_text: Load) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_text("a: 1\nb: 2\n")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["route file", "route file"]
    assert (caught.value.line, caught.value.column) == (1, 1)
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("- filter: {when: \"headers.x == 'é' && nope\"}", 6, 45),
        ("- filter: {when: 'headers.x == ''a'' && nope'}", 6, 47),
        ("- filter:\n          when: |\n            headers.x == 'a'\n              && nope\n", 9, 18),
        ("- filter:\n          when: >-\n            headers.x\n            == nope\n", 9, 16),
        ("- filter:\n          when: headers.x ==\n            nope\n", 8, 13),
        ('- filter: {when: "\\u0069d ==\\tnope"}', 6, 37),
    ],
)
def test_the_exact_place_inside_an_expression(
    text: str, line: int, column: int, errors_of: Callable[[str], tuple[ConfigError, ...]]
) -> None:
    (error,) = errors_of(f"routes:\n  - id: r\n    from:\n      alarm:\n    steps:\n      {text}")
    assert "unknown name 'nope'" in str(error)
    assert (error.line, error.column) == (line, column)


# -- files and includes --------------------------------------------------------------------------------------------

ROUTE = "  - {id: %s, from: {channel: c}, steps: []}\n"


def test_includes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "main.yaml").write_text("include: [sub/a.yaml, settings.yaml]\nroutes:\n" + ROUTE % "main")
    (tmp_path / "sub/a.yaml").write_text("include: [../settings.yaml]\nroutes:\n" + ROUTE % "a")
    (tmp_path / "settings.yaml").write_text("channels: {c: }\nstore: {path: x.db}\n")
    (tmp_path / "more.yaml").write_text("include: [settings.yaml]\nroutes:\n" + ROUTE % "more")
    flow = load([tmp_path / "main.yaml", tmp_path / "more.yaml"], bakery())
    assert [route.id for route in flow.routes] == ["a", "main", "more"]
    assert flow.store.path.resolve() == tmp_path / "x.db"


def _errors(*paths: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(paths, bakery())
    return [str(error) for error in caught.value.errors]


def test_circles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: [b.yaml]")
    (tmp_path / "b.yaml").write_text("include:\n  - ./a.yaml")
    (tmp_path / "self.yaml").write_text("include: [self.yaml]")
    (error,) = _errors(tmp_path / "a.yaml")
    assert error.startswith(f"{tmp_path}/b.yaml:2:5: ")
    assert "circle" in error
    (error,) = _errors(tmp_path / "self.yaml")
    assert "circle" in error


def test_duplicates_over_files_name_both_places(tmp_path: Path) -> None:
    text = "channels: {c: }\nendpoints: {e: {bin: }}\nstore: {}\nroutes:\n" + ROUTE % "a"
    for name in ("1.yaml", "2.yaml"):
        (tmp_path / name).write_text(text)
    errors = _errors(tmp_path / "1.yaml", tmp_path / "2.yaml")
    assert [error.split(": ", 1)[0].removeprefix(f"{tmp_path}/") for error in errors] == [
        "2.yaml:1:12",
        "2.yaml:2:13",
        "2.yaml:3:1",
        "2.yaml:5:10",
    ]
    for error, place in zip(errors, ("1:12", "2:13", "3:1", "5:10"), strict=True):
        assert f"the first is at {tmp_path}/1.yaml:{place}" in error


def test_a_missing_file_makes_no_other_errors(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: [channels.yaml]\nroutes:\n" + ROUTE % "a")
    (error,) = _errors(tmp_path / "a.yaml")
    assert "channels.yaml' cannot be read: No such file or directory" in error
    assert _errors(tmp_path / "none.yaml")[0].startswith(f"{tmp_path}/none.yaml:1:1: ")
    assert "cannot be read: Is a directory" in _errors(tmp_path)[0]


def test_too_many_files(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.yaml").write_text(f"include: [{number + 1}.yaml]")
    assert any("more than 64 files" in error for error in _errors(tmp_path / "0.yaml"))


def test_a_megabyte(tmp_path: Path) -> None:
    """Seconds, however wrong it is: 0.7 MB with 28 000 errors (1 s on a quiet machine)."""
    text = "routes:\n" + "".join(
        f"  - id: R{number}\n    from: {{alrm: }}\n    steps:\n    - filter: {{when: body.x +}}\n    - baek: {{x: 1}}\n"
        for number in range(7000)
    )
    (tmp_path / "a.yaml").write_text(text)
    began = time.process_time()
    assert len(_errors(tmp_path / "a.yaml")) == 28_000
    assert time.process_time() - began < 20


# -- placeholders and secrets --------------------------------------------------------------------------------------


def test_keep_looks_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("4321")
    text = RIGHT["counter"].replace("'22:22'", "'${env:A}'").replace("0x0C", "'${env:A}'")
    text = text.replace("lists/prices.csv", "'${env:A}.csv'").replace("drive-in", "'${env:A}'")
    text = text.replace("64KiB", "'${env:A:-2MiB}'").replace("FALSE", "'${env:A}'")
    (tmp_path / "a.yaml").write_text(text)
    flow = load([tmp_path / "a.yaml"], bakery(), placeholders="keep", environment={"A": "real", "PIN": "real"})
    source = flow.routes[0].source
    assert isinstance(source, r.FromEndpoint)
    options = source.options
    assert isinstance(options, CounterOptions)
    assert options.till is not None
    assert options.till.pin.reveal() == "${file:pin}"
    assert options.bells["Front Door"].pin.reveal() == "${env:PIN}"
    assert options.name == "${env:A}"
    assert (options.seats, options.warm, options.max_order) == (4, True, 2 * 2**20)  # examples, and a default
    assert options.price_list == tmp_path / "prices.csv"
    assert options.kind == "walk-in"


def test_an_expression_holds_placeholders_in_its_strings(
    load_text: Load, errors_of: Callable[[str], tuple[ConfigError, ...]]
) -> None:
    text = 'routes:\n  - id: r\n    from: {alarm: }\n    steps: [{filter: {when: "headers.site == %s"}}]'
    flow = load_text(text % "'${env:SITE}'", {"SITE": "Lyon"})
    assert flow.routes[0].steps == (r.Filter(Expression("headers.site == 'Lyon'")),)
    flow = load_text(text % "'$${env:SITE}'")
    assert flow.routes[0].steps == (r.Filter(Expression("headers.site == '${env:SITE}'")),)


CANARY = "c4nary-s3cret"


@pytest.mark.parametrize(
    "text",
    [
        f"till: {{pin: {CANARY}}}",
        f"till: {{pin: '{CANARY}${{env:X}}'}}",
        f"till: {{pin: [{CANARY}]}}",
        f"till: {{pin: {{a: {CANARY}}}}}",
        f"till: {CANARY}",
        f"bells: {{b: {CANARY}}}",
        "name: ['${env:CANARY}']",
        "seats: '${env:CANARY}'",
        "warm: '${env:CANARY}'",
        "kind: '${env:CANARY}'",
        "patience: '${env:CANARY}'",
        "max-order: '${file:canary}'",
        "listen: '${env:CANARY}'",
        "rebates: {a: '${file:canary}'}",
        "greeting: '${env:CANARY}'",
        "greeting: \"'${env:QUOTED}'\"",
        "payment: {terminal: '${env:CANARY}'}",
        f"seats: {CANARY}",
        f"kind: {CANARY}",
        f"patience: {CANARY}",
        f"languages: {CANARY}",
    ],
)
def test_no_value_is_ever_printed(text: str, tmp_path: Path) -> None:
    head = "routes:\n  - id: r\n    steps: []\n    from:\n      counter:\n"
    listen = "" if text.startswith("listen") else "        listen: x:1\n"
    (tmp_path / "canary").write_text(CANARY)
    (tmp_path / "a.yaml").write_text(f"{head}{listen}        {text}\n")
    with pytest.raises(ConfigErrors) as caught:
        load([tmp_path / "a.yaml"], bakery(), environment={"CANARY": CANARY, "QUOTED": f"x' {CANARY}"})
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert CANARY not in repr(caught.value.errors)


def test_values_in_the_messages_of_components_are_not_printed(tmp_path: Path) -> None:
    """A component that quotes its options in its own refusal."""
    registry = bakery()
    (tmp_path / "a.yaml").write_text(
        "routes: [{id: r, from: {alarm: }, steps: [{bake: {degrees: '${env:D}', steam: true}}]}]"
    )
    with pytest.raises(ConfigErrors, match="do not go together") as caught:
        load([tmp_path / "a.yaml"], registry, environment={"D": "31415"})
    assert "31415" not in str(caught.value)
    (tmp_path / "b.yaml").write_text("channels: {c: {workers: '${env:D}'}}")
    with pytest.raises(ConfigErrors, match="workers: this value is refused"):
        load([tmp_path / "b.yaml"], registry, environment={"D": "-31415"})


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("endpoints: {e: {shop: {address: 'a:1', password: '${env:E}'}}}")
    with pytest.raises(ConfigErrors, match=r"\$\{env:E\} is empty"):
        load([tmp_path / "a.yaml"], bakery(), environment={"E": ""})


def test_secrets_never_print(load_text: Load) -> None:
    flow = load_text(RIGHT["full"], ENVIRONMENT)
    assert "k3y" not in repr(flow)


# -- registries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["choice", "channel", "endpoint", "to"])
def test_a_component_cannot_take_a_word_of_the_route_file(name: str) -> None:
    taken = Component(name, "processor", lambda _: None, "x")
    with pytest.raises(ConfigError, match="route files use that word"):
        load([], bakery(taken))


@frozen
class _Odd:
    x: complex = option(doc="No route file can write this.")


def test_an_option_type_that_cannot_be_written_is_a_defect(tmp_path: Path) -> None:
    odd = evolve(bakery().components["bake"], name="odd", options=_Odd)
    (tmp_path / "a.yaml").write_text("routes: [{id: r, from: {alarm: }, steps: [{odd: {x: 1}}]}]")
    with pytest.raises(TypeError, match="cannot be written in a route file"):
        load([tmp_path / "a.yaml"], bakery(odd))
