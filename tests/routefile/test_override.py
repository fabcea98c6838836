"""Overrides: what a site changes of what it includes, and says where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.flow import route as r
from pfiflow.flow.component import Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Address, Duration
from pfiflow.flow.redelivery import Redelivery
from pfiflow.resources import route_path
from pfiflow.routefile import load
from tests.routefile.bakery import CounterOptions, OvenOptions, bakery

BASE = """\
store: {path: flour.db, retention: {done: 7d}}
engine: {drain: 30s}
channels:
  dough: {workers: 2, redelivery: {factor: 3, max-age: 1d}}
endpoints:
  shop: {shop: {address: "shop.example:443", tokens: ["${env:T}"]}}
templates:
  note:
    doc: Two lines.
    steps:
      - id: first
        log: {message: one}
      - id: second
        log: {message: two}
routes:
  - id: knead
    from: {counter: {listen: "127.0.0.1:1", seats: 6}}
    steps:
      - id: read
        read-order: {}
      - id: big
        choice:
          - when: headers.size == "big"
            steps:
              - id: inner
                log: {message: big}
      - id: knead
        knead: {}
      - id: note
        use: {note: {}}
      - id: keep
        to: {channel: dough}
  - id: bake
    from: {channel: dough}
    steps:
      - id: bake
        bake: {degrees: 240, steam: true}
      - id: sell
        to: {endpoint: shop}
    on-rejected:
      - id: bin
        to: {bin: }
"""
SITE = "include: [base.yaml]\noverride:\n"


@pytest.fixture
def site(tmp_path: Path) -> Callable[[str], r.FlowDefinition]:
    """The flow of a site that includes the base and overrides this."""

    def site(override: str) -> r.FlowDefinition:
        (tmp_path / "base.yaml").write_text(BASE)
        path = tmp_path / "site.yaml"
        path.write_text(SITE + override)
        return load([path], bakery(), environment={"T": "t"})

    return site


@pytest.fixture
def refused(site: Callable[[str], r.FlowDefinition]) -> Callable[[str], tuple[ConfigError, ...]]:
    def refused(override: str) -> tuple[ConfigError, ...]:
        with pytest.raises(ConfigErrors) as caught:
            site(override)
        return caught.value.errors

    return refused


Site = Callable[[str], r.FlowDefinition]


def _route(flow: r.FlowDefinition, name: str) -> r.Route:
    return next(route for route in flow.routes if route.id == name)


def test_options_are_merged_one_by_one(site: Site, tmp_path: Path) -> None:
    flow = site(
        """\
  store: {retention: {dead: 30d}}
  engine: {threads: 2}
  channels: {dough: {workers: 8, redelivery: {factor: 4}}}
  endpoints: {shop: {shop: {address: "other.example:443"}}}
  routes: {knead: {from: {counter: {seats: 8}}}}
"""
    )
    days = 86400.0
    assert flow.store.path == tmp_path / "flour.db"
    assert (flow.store.retention.done, flow.store.retention.dead) == (7 * days, 30 * days)
    assert (flow.engine.drain, flow.engine.threads) == (30.0, 2)
    assert flow.channels["dough"].workers == 8
    assert flow.channels["dough"].redelivery == Redelivery(factor=4, max_age=Duration(days))
    sell = _route(flow, "bake").steps[1]
    assert isinstance(sell, r.ToEndpoint)
    assert sell.options.address == Address("other.example", 443)
    assert len(sell.options.tokens) == 1
    counter = CounterOptions(listen=Address("127.0.0.1", 1), seats=8)
    assert _route(flow, "knead").source == r.FromEndpoint("counter", counter)


def test_another_component_takes_the_place_of_one(site: Site) -> None:
    flow = site("  endpoints: {shop: {bin: }}\n  routes: {knead: {from: {alarm: }}}\n")
    assert _route(flow, "bake").steps[1] == r.ToEndpoint("bin", id="shop")
    assert _route(flow, "knead").source == r.FromEndpoint("alarm")


def test_steps_are_put_before_and_after_changed_replaced_and_removed(site: Site) -> None:
    flow = site(
        """\
  routes:
    knead:
      steps:
        read: {after: [{taste: }]}
        inner: {before: [{log: {message: before}}], replace: [{taste: }, {taste: }], after: [{log: {message: after}}]}
        knead: {before: [{taste: }]}
        note: {remove: true}
    bake:
      steps:
        bake: {set: {bake: {degrees: 200}}}
        bin: {replace: [{log: {message: thrown away}}]}
"""
    )
    taste = r.Process("taste")
    inner = (r.Log("before"), taste, taste, r.Log("after"))
    assert _route(flow, "knead").steps == (
        r.Process("read-order"),
        taste,
        r.Choice((r.When(Expression('headers.size == "big"'), inner),)),
        taste,
        r.Process("knead"),
        r.ToChannel("dough"),
    )
    bake = _route(flow, "bake")
    assert bake.steps[0] == r.Process("bake", OvenOptions(degrees=200, steam=True))
    assert bake.on_rejected == (r.Log("thrown away"),)


def test_on_rejected_and_whole_routes(site: Site) -> None:
    flow = site("  routes: {knead: {on-rejected: [{to: {bin: }}]}, bake: {remove: true}}\n")
    assert [route.id for route in flow.routes] == ["knead"]
    assert flow.routes[0].on_rejected == (r.ToEndpoint("bin"),)


def test_a_template_of_steps_is_changed_for_all_its_uses(site: Site) -> None:
    flow = site("  templates: {note: {steps: {second: {set: {log: {message: three}}}}}}\n")
    assert _route(flow, "knead").steps[3:5] == (r.Log("one"), r.Log("three"))


def test_what_a_site_overrides_another_may_override_again(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "group.yaml").write_text(SITE + "  channels: {dough: {workers: 5, hold: true}}\n")
    site = tmp_path / "site.yaml"
    site.write_text("include: [group.yaml]\noverride: {channels: {dough: {workers: 6}}}\n")
    dough = load([site], bakery(), environment={"T": "t"}).channels["dough"]
    assert (dough.workers, dough.hold) == (6, True)


@pytest.mark.parametrize(
    ("override", "place", "message"),
    [
        ("  channels: {dow: {workers: 5}}\n", "site.yaml:3:19", "there is no channel 'dow' to override"),
        ("  endpoints: {ship: {bin: }}\n", "site.yaml:3:21", "Did you mean 'shop'?"),
        ("  routes: {kneed: {remove: true}}\n", "site.yaml:3:12", "there is no route 'kneed' to override"),
        ("  templates: {not: {steps: {}}}\n", "site.yaml:3:15", "there is no template 'not' to override"),
        (
            "  routes: {bake: {steps: {bak: {remove: true}}}}\n",
            "site.yaml:3:27",
            "route 'bake' has no step with the id",
        ),
        ("  templates: {note: {steps: {x: {remove: true}}}}\n", "site.yaml:3:30", "template 'note' has no step with"),
        ("  routes: {bake: {steps: {bake: {}}}}\n", "site.yaml:3:27", "this changes nothing"),
        ("  routes: {bake: {steps: {bake: {remove: true, replace: []}}}}\n", "site.yaml:3:27", "exclude each other"),
        (
            "  routes: {bake: {steps: {bake: {set: {taste: }}}}}\n",
            "site.yaml:3:39",
            "this step is a 'bake': `set` gives",
        ),
        (
            "  routes: {bake: {steps: {bake: {set: {bake: {degree: 1}}}}}}\n",
            "site.yaml:3:47",
            "unknown option 'degree'",
        ),
        ("  routes: {bake: {steps: {bake: {set: {bake: {degrees: 300}}}}}}\n", "site.yaml:3:40", "no steam above 250"),
        ("  routes: {bake: {steps: {bake: {before: {taste: }}}}}\n", "site.yaml:3:42", "expected a list of steps"),
        ("  routes: {bake: {steps: {bake: {remove: false}}}}\n", "site.yaml:3:42", "expected one of true"),
        ("  routes: {bake: {remove: true, on-rejected: []}}\n", "site.yaml:3:12", "there is nothing else to change"),
        ("  routes: {bake: {form: {alarm: }}}\n", "site.yaml:3:19", "Did you mean 'from'?"),
        ("  engine: {drain: 5}\n", "site.yaml:3:19", "expected a duration"),
        ("  channel: {}\n", "site.yaml:3:3", "Did you mean 'channels'?"),
        (
            "  routes: {bake: {steps: {bake: {after: [{id: sell, taste: }]}}}}\n",
            "base.yaml:38:13",
            "step id 'sell' is given twice in this route",
        ),
    ],
)
def test_wrong_overrides(
    override: str, place: str, message: str, refused: Callable[[str], tuple[ConfigError, ...]]
) -> None:
    errors = [str(error) for error in refused(override)]
    assert any(f"{place}: " in error and message in error for error in errors), errors


def test_an_id_is_a_name(refused: Callable[[str], tuple[ConfigError, ...]]) -> None:
    (error,) = refused("  routes: {bake: {steps: {bake: {after: [{id: Not A Name, taste: }]}}}}\n")
    assert "site.yaml:3:47: id: expected a name" in str(error)


def test_a_shipped_route_is_included_from_where_pfiflow_is_installed(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        'include: ["pfiflow:receipts.yaml"]\n'
        "override: {routes: {transmission: {steps: {to-patient: {remove: true}}}}}\n"
    )
    flow = load([site], Registry.installed(), placeholders="keep")
    assert {route.id for route in flow.routes} == {"transmission", "mssante", "receipts"}
    transmission = _route(flow, "transmission")
    assert transmission.place is not None
    assert transmission.place.file == str(route_path("outbound.yaml"))
    assert flow.store.path == tmp_path / "pfiflow.db"  # where the site is, not where pfiflow is installed


@pytest.mark.parametrize("name", ["nowhere.yaml", "../pyproject.toml", ""])
def test_a_shipped_route_that_is_not_there(name: str, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(f'include: ["pfiflow:{name}"]\n')
    with pytest.raises(ConfigErrors) as caught:
        load([site], Registry.installed())
    assert f"{site}:1:11: include: " in str(caught.value)


def test_every_id_of_the_shipped_routes_can_be_overridden(tmp_path: Path) -> None:
    """The ids are what integrators hold on to: one that goes away breaks them, so it is said in the changelog."""
    ids = {
        "outbound.yaml": "transmission: once read check to-dmp to-professionals to-patient; "
        "mssante: send pack mail submit receipts to-receipts refusal-receipts refusal-to-receipts",
        "dmp.yaml": "dmp: feed request submit receipts to-receipts refusal-receipts refusal-to-receipts",
        "receipts.yaml": "receipts: send",
        "inbound.yaml": "mailbox: read once sort unpack to-delivery to-reports for-a-person read-refused answer; "
        "delivery: deliver build send answer answer-refusal; "
        "reports: receipts to-receipts; answers: once answer submit",
    }
    for name, text in ids.items():
        lines = [f'include: ["pfiflow:{name}"]', "override:", "  routes:"]
        for part in text.split("; "):
            route, _, steps = part.partition(": ")
            lines += [f"    {route}:", "      steps:"]
            lines += [f"        {step}: {{before: [{{log: {{message: here}}}}]}}" for step in steps.split()]
        site = tmp_path / name
        site.write_text("\n".join(lines))
        flow = load([site], Registry.installed(), placeholders="keep")
        assert repr(flow).count("Log(message='here'") == sum(len(part.split()) - 1 for part in text.split("; "))
