"""A bakery: components of every option type, and nothing of health care."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from pfiflow.errors import ConfigError
from pfiflow.flow.component import BodyType, Component, Field, Registry
from pfiflow.flow.expression import Expression
from pfiflow.flow.options import Address, Duration, Range, Secret, Size, option

__all__ = ["Bread", "CounterOptions", "Dough", "Order", "OvenOptions", "ShopOptions", "bakery"]


@frozen
class Order:
    """What a customer wants."""

    loaves: int


@frozen
class Dough:
    """What the baker kneads."""

    grams: int


@frozen
class Bread:
    """What comes out of the oven."""

    grams: int


@frozen
class Till:
    """A nested options class."""

    pin: Secret = option(doc="PIN of the till.", example="${env:TILL_PIN}")
    float_: float = option(default=50.0, doc="Coins in the morning.", example=50.5, validator=Range(minimum=0))


@frozen
class Cash:
    """One of two ways to pay."""

    cash: bool = option(doc="Coins and notes.", example=True)


@frozen
class Card:
    """The other."""

    terminal: Address = option(doc="The card terminal.", example="terminal.bakery.example:4711")
    cash: bool = option(default=False, doc="Coins too.", example=True)


@frozen
class CounterOptions:
    """Every option type once."""

    listen: Address = option(doc="Where customers come.", example="127.0.0.1:8080")
    name: str = option(default="counter", doc="Its name.", example="front")
    seats: int = option(default=4, doc="Stools.", example=4, validator=Range(minimum=1, maximum=12))
    warm: bool = option(default=True, doc="Whether it is heated.", example=True)
    patience: Duration = option(default=Duration(90.0), doc="How long customers wait.", example="90s")
    max_order: Size = option(default=Size(2**20), doc="Largest order.", example="1MiB")
    price_list: Path | None = option(default=None, doc="The prices.", example="prices.csv")
    till: Till | None = option(default=None, doc="The till.", example={"pin": "${env:TILL_PIN}"})
    kind: Literal["walk-in", "drive-in"] = option(default="walk-in", doc="Its kind.", example="walk-in")
    languages: tuple[str, ...] = option(default=("fr",), doc="Spoken here.", example=["fr", "en"])
    rebates: Mapping[str, float] = option(default={}, doc="By customer group.", example={"staff": 0.5})
    bells: Mapping[str, Till] = option(default={}, doc="Nested by name.")
    payment: Cash | Card | None = option(default=None, doc="How to pay.", example={"cash": True})
    greeting: Expression = option(default=Expression("'bonjour'"), doc="What to say.", example="headers.name")


@frozen
class OvenOptions:
    """Cross-checked options."""

    degrees: int = option(default=220, doc="Heat in °C.", example=220)
    steam: bool = option(default=False, doc="Whether to add steam.", example=True)

    def __attrs_post_init__(self) -> None:
        if self.steam and self.degrees > 250:
            raise ValueError("no steam above 250 degrees")


@frozen
class ShopOptions:
    """A sink."""

    address: Address = option(doc="The shop.", example="shop.bakery.example:443")
    password: Secret | None = option(default=None, doc="Key of the back door.", example="${file:shop.key}")
    tokens: tuple[Secret, ...] = option(default=(), doc="More keys.")


@frozen
class LetterboxOptions:
    """A source that only one route may have."""

    street: str = option(doc="Where it hangs.", example="Rue du Four")
    number: int = option(default=1, doc="The house.", example=1)


@frozen
class LedgerOptions:
    """A sink that only one writer may have."""

    book: str = option(doc="The book.", example="sales")
    ink: str = option(default="blue", doc="Its colour.", example="blue")


def _check_letterbox(options: LetterboxOptions) -> None:
    if options.number == 13:
        raise ConfigError("no letterbox hangs at number 13")


def _nothing(_options: object) -> Any:
    raise AssertionError("routefile builds nothing")


_ORDER = {
    "loaves": Field("How many.", int),
    "kind": Field("Of what.", values=("bread", "cake")),
    "urgent": Field("Whether it is for today.", bool),
    "customer.name": Field("Who has ordered."),
    "wishes": Field("What else.", list),
}


def _body(name: str, cls: type[Any], fields: Mapping[str, Field] | None = None) -> BodyType[Any]:
    return BodyType(name, cls, lambda body: repr(body).encode(), lambda data: cls(len(data)), fields=fields or {})


def _binds(options: CounterOptions) -> str:
    return str(options.listen)


def bakery(*more: Component) -> Registry:
    """The registry of the bakery."""
    return Registry.of(
        Component(
            "counter",
            "source",
            _nothing,
            "Takes orders.",
            CounterOptions,
            gives=bytes,
            binds=_binds,
            sets={"customer": Field("Who comes.")},
        ),
        Component("alarm", "source", _nothing, "Rings every night.", gives=bytes),
        Component("shop", "sink", _nothing, "Sells bread.", ShopOptions, accepts=Bread),
        Component("bin", "sink", _nothing, "Takes anything."),
        Component("read-order", "processor", _nothing, "Reads an order.", accepts=bytes, gives=Order),
        Component(
            "knead",
            "processor",
            _nothing,
            "Makes dough.",
            accepts=Order,
            gives=Dough,
            sets={"flour-lot": Field("Which flour.")},
        ),
        Component("bake", "processor", _nothing, "Bakes.", OvenOptions, accepts=Dough, gives=Bread),
        Component("cut", "processor", _nothing, "Cuts bread.", accepts=Bread, gives=tuple[Bread, ...]),
        Component(
            "weigh",
            "processor",
            _nothing,
            "Weighs.",
            sets={"weight": Field("In grams."), "odd": Field("Only when it is odd.", always=False)},
        ),
        Component(
            "label",
            "processor",
            _nothing,
            "Writes a label.",
            reads={
                "shift": Field("Who has baked.", values=("day", "night")),
                "note": Field("What to add.", always=False),
            },
        ),
        Component("anything", "processor", _nothing, "Does what it likes.", sets_more=True),
        Component(
            "letterbox",
            "source",
            _nothing,
            "Takes written orders.",
            LetterboxOptions,
            repeats="some people write twice",
            gives=bytes,
            claims=lambda options: f"letterbox {options.street}",
            check=_check_letterbox,
        ),
        Component(
            "ledger",
            "sink",
            _nothing,
            "Writes into a book.",
            LedgerOptions,
            claims=lambda options: f"book {options.book}",
        ),
        Component("post", "sink", _nothing, "Sends once.", sets={"posted": Field("What was sent.")}),
        Component("taste", "processor", _nothing, "Looks at anything."),
        _body("order", Order, _ORDER),
        _body("dough", Dough),
        _body("bread", Bread),
        *more,
    )
