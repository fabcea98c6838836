from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from lxml import etree

from pfiflow.cli import main
from pfiflow.flow.component import Registry
from pfiflow.flow.route import FlowDefinition, Route
from pfiflow.graph import as_mermaid, as_svg, graph_of
from pfiflow.graph.model import Detail, Edge, Graph
from pfiflow.graph.text import cut, width_of
from pfiflow.routefile.load import read
from tests.routefile.bakery import bakery

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / f"routes/{name}.yaml" for name in ("outbound", "dmp", "receipts", "inbound")]

FLOW = """\
channels:
  orders: {description: What to bake}
  later: {hold: true}
  refused:
endpoints:
  high-street: {shop: {address: "shop.bakery.example:443", password: "${env:SHOP_KEY}"}}
routes:
  - id: counter
    from: {counter: {listen: "127.0.0.1:8080"}}
    steps:
      - read-order: {}
      - choice:
          - when: body.urgent
            steps: [{to: {channel: orders}}]
          - otherwise:
              - set-header: {why: id}
              - wire-tap: {channel: later}
    on-rejected:
      - to: {channel: refused}
  - id: oven
    from: {channel: orders}
    steps:
      - enrich: {headers: [flour-lot], steps: [{knead: }]}
      - validate: {when: "false", message: no}
      - multicast:
          - steps: [{to: {endpoint: high-street}}]
          - steps: [{to: {bin: }}]
      - to: {bin: }
  - id: window
    from: {counter: {listen: "${env:LISTEN}"}}
    steps: [{to: {channel: orders}}]
"""


def drawn(text: str, tmp_path: Path, detail: Detail = "routes") -> Graph:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    loaded = read([path], bakery(), "keep", {})
    assert loaded.definition is not None, loaded.errors
    return graph_of(loaded.definition, bakery(), detail, loaded.guessed)


def test_routes_and_what_they_join(tmp_path: Path) -> None:
    graph = drawn(FLOW, tmp_path)
    assert [(each.kind, each.title, each.subtitle) for each in graph.terminals] == [
        ("source", "counter", "127.0.0.1:8080"),
        ("channel", "orders", "What to bake"),
        ("channel", "later", "held"),
        ("channel", "refused", ""),
        ("sink", "high-street", "shop"),
        ("sink", "bin", ""),  # named three times, one sink
        ("source", "counter", ""),  # its address is not known here
    ]
    assert [card.title for card in graph.cards] == ["counter", "oven", "window"]
    assert [(row.text, row.kind, row.note, row.refused) for row in graph.cards[0].rows] == [
        ("read-order", "step", "", False),
        ("orders", "target", "body.urgent", False),
        ("later", "target", "otherwise", False),
        ("refused", "target", "refused", True),
    ]
    assert graph.edges[:5] == (
        Edge("source:counter", "route:counter"),
        Edge("route:counter", "channel:orders", 1),
        Edge("route:counter", "channel:later", 2),
        Edge("route:counter", "channel:refused", 3, refused=True),
        Edge("channel:orders", "route:oven"),
    )


def test_every_step(tmp_path: Path) -> None:
    graph = drawn(FLOW, tmp_path, "steps")
    assert [(row.indent, row.kind, row.text, row.note) for row in graph.cards[0].rows] == [
        (0, "step", "read-order", ""),
        (0, "step", "choice", ""),
        (1, "branch", "body.urgent", ""),
        (2, "target", "orders", ""),
        (1, "branch", "otherwise", ""),
        (2, "step", "set-header", "why"),
        (2, "target", "later", "tap"),
        (0, "heading", "on rejected", ""),
        (0, "target", "refused", ""),
    ]
    assert [(row.indent, row.text, row.note) for row in graph.cards[1].rows] == [
        (0, "enrich", "flour-lot"),
        (1, "knead", ""),
        (0, "validate", "rejects"),
        (0, "multicast", ""),
        (1, "copy 1", ""),
        (2, "high-street", ""),
        (1, "copy 2", ""),
        (2, "bin", ""),
        (0, "bin", ""),
    ]


def test_a_route_of_the_python_dsl() -> None:
    def bake(exchange: object) -> object:
        return exchange

    route = Route.of("r").from_channel("c").process(bake).filter(lambda _: True).to_channel("d")
    graph = graph_of(FlowDefinition((route,)), bakery(), "steps")
    assert [(row.text, row.note) for row in graph.cards[0].rows] == [("bake", ""), ("filter", "condition"), ("d", "")]


def test_mermaid(tmp_path: Path) -> None:
    text = as_mermaid(drawn(FLOW, tmp_path))
    assert text.startswith("flowchart LR\n")
    assert 'n1[("orders<br/><small>What to bake</small>")]:::channel' in text
    assert 'n7 -->|"body.urgent"| n1' in text
    assert 'n7 -.->|"refused"| n3' in text
    assert text == as_mermaid(drawn(FLOW, tmp_path))


def test_mermaid_texts_are_escaped(tmp_path: Path) -> None:
    awkward = FLOW.replace("when: body.urgent", "when: 'id == \"a|b\" && size(id) > 3'").replace(
        "What to bake", "a <b> & `c`#1 \\\\"
    )
    text = as_mermaid(drawn(awkward, tmp_path))
    assert "id == #quot;a#124;b#quot; #amp;#amp; size(id) #gt; 3" in text
    assert "a #lt;b#gt; #amp; #96;c#96;#35;1 #92;#92;" in text
    assert all(line.count('"') % 2 == 0 for line in text.splitlines())


@pytest.mark.parametrize("detail", ["routes", "steps"])
def test_svg_is_self_contained_and_shows_every_row(detail: Detail, tmp_path: Path) -> None:
    graph = drawn(FLOW.replace("What to bake", "a <b> & c"), tmp_path, detail)
    text = as_svg(graph, "bakery <1>")
    root = etree.fromstring(text.encode())
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for card in graph.cards:
        assert {card.title, *(row.text for row in card.rows)} <= set(shown)
    assert "a <b> & c" in shown
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "bakery <1>"
    paths = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if "marker-end" in e.attrib]
    assert len(paths) == len(graph.edges)
    assert sum("stroke-dasharray" in path.attrib for path in paths) == sum(edge.refused for edge in graph.edges)
    assert not re.search(r"(href|src)=|<script|<image|@import|url\((?!#)", text)


def test_texts_fit_into_their_boxes(tmp_path: Path) -> None:
    long = "x" * 200
    text = FLOW.replace("What to bake", long).replace("when: body.urgent", f"when: id == '{long}'")
    root = etree.fromstring(as_svg(drawn(text, tmp_path, "steps")).encode())
    width = float(root.attrib["width"])
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        assert element.text is not None
        assert float(element.attrib["x"]) + width_of(element.text, float(element.attrib["font-size"])) < width
    assert width < 2000


def test_a_line_back_stays_in_the_picture(tmp_path: Path) -> None:
    text = FLOW.replace("      - to: {bin: }\n  - id: window", "      - to: {channel: orders}\n  - id: window")
    root = etree.fromstring(as_svg(drawn(text, tmp_path)).encode())
    height = float(root.attrib["height"])
    numbers = [
        float(number)
        for path in root.iter("{http://www.w3.org/2000/svg}path")
        if "marker-end" in path.attrib
        for number in re.findall(r"[\d.]+ ([\d.]+)", str(path.attrib["d"]))
    ]
    assert max(numbers) < height


def test_no_secret_and_no_setting_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "hunter2")
    monkeypatch.setenv("LISTEN", "10.9.8.7:1")
    path = tmp_path / "a.yaml"
    path.write_text(FLOW)
    details: tuple[Detail, ...] = ("routes", "steps")
    for detail in details:
        graph = drawn(FLOW, tmp_path, detail)
        for text in (as_svg(graph), as_mermaid(graph)):
            assert "hunter2" not in text
            assert "10.9.8.7" not in text
            assert "SHOP_KEY" not in text


@pytest.mark.parametrize("size", [11.0, 14.0])
def test_cut(size: float) -> None:
    assert cut("short", size, 200) == "short"
    long = cut("a long text that does not fit", size, 60)
    assert long.endswith("…")
    assert width_of(long, size) <= 60


# -- the command -------------------------------------------------------------------------------------------------------

DRAW: list[tuple[str, Callable[[Graph], str]]] = [("mermaid", as_mermaid), ("svg", as_svg)]


@pytest.mark.parametrize(("output", "draw"), DRAW)
@pytest.mark.parametrize("detail", ["routes", "steps"])
def test_shipped_routes(output: str, draw: Callable[[Graph], str], detail: Detail, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["graph", *map(str, SHIPPED), "--format", output, "--detail", detail])
    assert result.exit_code == 0, result.output
    registry = Registry.installed()
    loaded = read(SHIPPED, registry, "keep", {})
    assert loaded.definition is not None
    graph = graph_of(loaded.definition, registry, detail, loaded.guessed)
    if output == "mermaid":
        assert result.output == draw(graph)
    assert {card.title for card in graph.cards} == {route.id for route in loaded.definition.routes}
    assert all(card.title in result.output for card in graph.cards)


@pytest.mark.parametrize(("name", "detail"), [("routes", "routes"), ("steps", "steps")])
def test_the_committed_picture_is_fresh(name: str, detail: str) -> None:
    result = CliRunner().invoke(main, ["graph", *map(str, SHIPPED), "--format", "svg", "--detail", detail])
    committed = (ROOT / f"docs/reference/{name}.svg").read_text(encoding="utf-8")
    assert result.output == committed, "run `make reference`"


def test_the_same_in_another_process() -> None:
    """Whatever the seed of hashes."""
    command = [
        sys.executable,
        "-c",
        "from pfiflow.cli import main; main()",
        "graph",
        *map(str, SHIPPED),
        "--format",
        "svg",
    ]
    outputs = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "routes.svg"
    result = CliRunner().invoke(main, ["graph", str(SHIPPED[0]), "--format", "svg", "--output", str(file)])
    assert result.exit_code == 0
    assert etree.fromstring(file.read_bytes()).tag.endswith("svg")


def test_a_file_that_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("rotues: []")
    result = CliRunner().invoke(main, ["graph", str(path)])
    assert result.exit_code == 3
