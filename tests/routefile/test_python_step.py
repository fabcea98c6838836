"""`python:` steps: what a module of one's own may hold, and what is said when it does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfiflow.errors import ConfigErrors
from pfiflow.flow import route as r
from pfiflow.flow.component import Component, NoOptions, Registry
from pfiflow.flow.engine import Engine
from pfiflow.routefile import lint, load
from pfiflow.store.memory import MemoryStore
from tests.flow.bakery import World, eventually
from tests.routefile.bakery import Bread, Dough, Order, bakery

MODULE = '''\
"""Steps of one's own."""
from __future__ import annotations
from collections.abc import Awaitable
from typing import Any, TypeVar
from attrs import frozen
from pfiflow import Component, Exchange, option
from tests.routefile.bakery import Bread, Dough, Order

T = TypeVar("T")
anything = 3


def taste(exchange: Exchange[T]) -> Exchange[T]:
    """Looks at it."""
    return exchange


async def slice_it(exchange: Exchange[Bread]) -> Exchange[Bread]:
    return exchange


def bake(exchange: Exchange[Dough], /, degrees: int = 200) -> Awaitable[Exchange[Bread]]:
    raise NotImplementedError


def plain(exchange):
    return exchange.with_headers({"plain": "yes"})


def forgetful(exchange):
    exchange.with_headers({"plain": "yes"})


def unknown(exchange: Exchang[Dough]) -> Exchang[Dough]:
    return exchange


def two(exchange, other):
    return exchange


def keyword(exchange, *, other):
    return exchange


def none():
    return None


@frozen
class Knead:
    """Makes dough.

    At length.
    """

    grams: int = option(doc="How much.", example=500)
    name: str = option(default="dough", doc="What it is called.")

    def __call__(self, exchange: Exchange[Order]) -> Exchange[Dough]:
        return exchange.with_body(Dough(self.grams))


class Bare:
    def __call__(self, exchange: Exchange[Order]) -> Exchange[Dough]:
        return exchange


OVEN = Component("oven", "processor", lambda _: taste, "An oven.", accepts=Dough, gives=Bread)
SHOP = Component("shop", "sink", lambda _: taste, "A shop.")
'''


@pytest.fixture
def module(tmp_path: Path) -> Iterator[str]:
    """A module beside the route file, by a name that no other test has; nothing of it stays."""
    name = f"steps_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    path = list(sys.path)
    yield name
    sys.path[:] = path
    for each in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[each]


def _flow(folder: Path, *steps: str) -> Path:
    path = folder / "flow.yaml"
    items = "".join(f"      - python: {{{step}}}\n" for step in steps)
    path.write_text(f"routes:\n  - id: a\n    from: {{alarm: }}\n    steps:\n{items}")
    return path


def _component(folder: Path, step: str) -> tuple[Component, object]:
    (route,) = load([_flow(folder, step)], bakery()).routes
    (process,) = route.steps
    assert isinstance(process, r.Process)
    assert isinstance(process.processor, Component)
    return process.processor, process.options


@pytest.mark.parametrize(
    ("name", "accepts", "gives"),
    [
        ("taste", object, object),
        ("slice_it", Bread, Bread),
        ("bake", Dough, object),
        ("plain", object, object),
        ("unknown", object, object),
    ],
)
def test_a_function(name: str, accepts: type, gives: type, module: str, tmp_path: Path) -> None:
    component, options = _component(tmp_path, f"{module}:{name}: {{}}")
    assert (component.name, component.options) == (f"{module}:{name}", NoOptions)
    assert (component.accepts, component.gives) == (accepts, gives)
    assert component.build(options) is getattr(sys.modules[module], name)


def test_a_class_whose_fields_are_its_options(module: str, tmp_path: Path) -> None:
    component, options = _component(tmp_path, f"{module}:Knead: {{grams: 250}}")
    assert component.doc == "Makes dough."
    assert (component.accepts, component.gives) == (Order, Dough)
    assert component.build(options) == sys.modules[module].Knead(grams=250)


def test_a_component(module: str, tmp_path: Path) -> None:
    assert _component(tmp_path, f"{module}:OVEN: {{}}")[0] is sys.modules[module].OVEN


def test_what_is_loaded_twice_is_equal(module: str, tmp_path: Path) -> None:
    """A reload leaves a route alone that is what it was."""
    path = _flow(tmp_path, f"{module}:taste: {{}}", f"{module}:Knead: {{grams: 1}}", f"{module}:OVEN: {{}}")
    assert load([path], bakery()) == load([path], bakery())


@pytest.mark.parametrize(
    ("step", "column", "message"),
    [
        ("M:Kneed: {}", 18, "has no 'Kneed'. Did you mean 'Knead'?"),
        ("M_there_is_none:Knead: {}", 18, "there is no module"),
        ("M.deeper:Knead: {}", 18, "there is no module"),
        ("M: {}", 18, "expected module:name"),
        ('"M:a b": {}', 18, "expected module:name"),
        ("M:Knead: {gram: 1}", 18, "required and missing: grams. Example: grams: 500"),
        ("M:Knead: {grams: 1, nam: x}", 38, "unknown option 'nam'. Did you mean 'name'?"),
        ("M:Knead: {grams: a}", 35, "grams: expected a whole number"),
        ("M:taste: {grams: 1}", 28, "unknown option 'grams'. Known: none."),
        ("M:anything: {}", 18, "is a int, no processor"),
        ("M:two: {}", 18, "needs 2 arguments"),
        ("M:keyword: {}", 18, "needs 2 arguments"),
        ("M:none: {}", 18, "takes no exchange"),
        ("M:Bare: {}", 18, "is a class that is no attrs class"),
        ("M:SHOP: {}", 18, "is a sink; a step is a processor"),
    ],
)
def test_wrong(step: str, column: int, message: str, module: str, tmp_path: Path) -> None:
    path = _flow(tmp_path, step.replace("M", module, 1))
    with pytest.raises(ConfigErrors) as caught:
        load([path], bakery())
    error = str(caught.value.errors[0])
    assert message in error, error
    shift = len(module) - 1 if column > 18 else 0
    assert error.startswith(f"{path}:5:{column + shift}: ") or column > 18, error


def test_a_module_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load([_flow(tmp_path, "there_is_none.steps:x: {}")], bakery())
    assert f"neither in {tmp_path} nor installed in {sys.prefix}" in str(caught.value)
    assert "Put there_is_none.py (or a package of that name) beside the route file" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import there_is_no_such_thing", "it needs 'there_is_no_such_thing', which is not installed"),
        ("\n1/0", "cannot be imported: ZeroDivisionError at {file}:2."),
        ("def f(:", "cannot be imported: invalid syntax at {file}:1."),
        ("raise ValueError('the name of a patient')", "cannot be imported: ValueError at {file}:1."),
    ],
)
def test_a_module_that_fails_says_in_which_line(text: str, message: str, module: str, tmp_path: Path) -> None:
    file = tmp_path / f"{module}.py"
    file.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load([_flow(tmp_path, f"{module}:x: {{}}")], bakery())
    assert message.format(file=file) in str(caught.value)


def test_its_text_alone_is_taught_the_right_form(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text("routes: [{id: a, from: {alarm: }, steps: [{python: m:f}]}]")
    with pytest.raises(ConfigErrors) as caught:
        load([path], bakery())
    assert "1:52: python: expected a mapping of one key" in str(caught.value)
    assert "Write it as `python: {m:f: {}}`." in str(caught.value)


def test_what_is_installed_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise ValueError")
    with pytest.raises(ConfigErrors) as caught:
        load([_flow(tmp_path, "json:nothing: {}")], bakery())
    assert "module 'json'" in str(caught.value)
    assert str(tmp_path / "json.py") not in str(caught.value)


def test_lint_knows_what_it_takes_and_gives(module: str, tmp_path: Path) -> None:
    path = _flow(tmp_path, f"{module}:slice_it: {{}}", f"{module}:OVEN: {{}}")
    found = [(each.line, each.message) for each in lint([path], bakery()) if each.code == "body-type"]
    assert found == [
        (5, f"{module}:slice_it takes Bread; here comes bytes."),
        (6, "oven takes Dough; here comes Bread."),
    ]


@pytest.mark.anyio
async def test_it_runs(module: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    registry: Registry = world.registry()
    path = tmp_path / "flow.yaml"
    path.write_text(
        "channels: {orders: {redelivery: {max-defects: 1}}}\n"
        "routes:\n"
        "  - {id: intake, from: {counter: }, steps: [{to: {channel: orders}}]}\n"
        "  - id: delivery\n"
        "    from: {channel: orders}\n"
        "    steps:\n"
        f"      - python: {{{module}:plain: {{}}}}\n"
        "      - log: {message: 'plain {plain}'}\n"
        "      - to: {van: }\n"
        f"      - python: {{{module}:forgetful: {{}}}}\n"
    )
    engine = Engine(load([path], registry), store := MemoryStore(), registry)
    caplog.set_level("INFO")
    async with engine.running():
        await engine.send("intake", b"ada:bread")
        await eventually(lambda: bool(world.van.delivered))
        await eventually(lambda: "dead letter" in caplog.text)
        (dead,) = await store.messages(state="dead")
    assert "plain yes" in caplog.text
    assert dead.cause == "defect: TypeError"  # it forgot to return the exchange
