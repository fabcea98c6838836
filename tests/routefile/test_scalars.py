from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.routefile.nodes import MapNode, Report, ScalarNode, compose
from pfiflow.routefile.scalars import Core, core

# YAML 1.2.2 §10.3.2, and what YAML 1.1 would have made of the rest.
TABLE: list[tuple[str, Core]] = [
    ("", None),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("NULL", None),
    ("nULL", "nULL"),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("false", False),
    ("False", False),
    ("FALSE", False),
    *((word, word) for word in ("on", "off", "yes", "no", "y", "n", "On", "OFF", "Yes", "NO")),
    ("0", 0),
    ("-0", 0),
    ("+12", 12),
    ("-19", -19),
    ("007", 7),
    ("0777", 777),
    ("0o17", 15),
    ("0O17", "0O17"),
    ("-0o17", "-0o17"),
    ("0o18", "0o18"),
    ("0x3A", 58),
    ("0X3A", "0X3A"),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("22:22", "22:22"),
    ("190:20:30", "190:20:30"),
    ("2.10", 2.1),
    (".5", 0.5),
    ("1.", 1.0),
    ("-1.5e3", -1500.0),
    ("1e3", 1000.0),
    ("+.5E-1", 0.05),
    (".", "."),
    ("-", "-"),
    ("+", "+"),
    ("1.2.3", "1.2.3"),
    ("1e", "1e"),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("+.Inf", math.inf),
    ("inf", "inf"),
    ("nan", "nan"),
    ("2024-01-01", "2024-01-01"),
    ("=", "="),
    ("<<", "<<"),
    ("127.0.0.1", "127.0.0.1"),
    ("١٢", "١٢"),
    ("9" * 5000, math.inf),
    ("0x" + "f" * 5000, math.inf),
    ("1" + "0" * 290, 10**290),
]


@pytest.mark.parametrize(("text", "value"), TABLE)
def test_core_schema(text: str, value: Core) -> None:
    assert core(text) == value
    assert type(core(text)) is type(value)


def test_not_a_number() -> None:
    result = core(".nan")
    assert isinstance(result, float)
    assert math.isnan(result)


@given(st.text(st.characters(codec="utf-8"), max_size=12))
def test_core_never_fails_and_gives_text_back_as_it_is(text: str) -> None:
    value = core(text)
    assert not isinstance(value, str) or value == text


def scalar(document: str) -> ScalarNode:
    report = Report()
    root = compose("f", Path(), document.encode(), report)
    assert not report.errors
    assert isinstance(root, MapNode)
    node = root.entries[0][1]
    assert isinstance(node, ScalarNode)
    return node


@pytest.mark.parametrize(
    ("document", "wanted", "line", "column"),
    [
        ("k: a b X d", "X", 1, 8),
        ("k: 'it''s X'", "X", 1, 11),
        (r'k: "a\tb \u00e9\"X"', "X", 1, 18),
        ('k: "a\n  b X"', "X", 2, 5),
        ("k: a\n   b\n\n   c X", "X", 4, 6),
        ("k: |\n  a\n    b X\n", "X", 3, 7),
        ("k: >-\n  a\n  b X\n  c\n", "X", 3, 5),
        ("k: |2\n    a X\n", "X", 2, 7),
        ("k: |  # X in a comment\n  a X\n", "X", 2, 5),
        ("k: '𝒳 X'", "X", 1, 7),
        ('k: "a\\\n   b X"', "X", 2, 6),
        ("k: 'a\r\n  b X'", "X", 2, 5),
    ],
)
def test_place_of_a_character(document: str, wanted: str, line: int, column: int) -> None:
    node = scalar(document)
    place = node.place_of(node.text.index(wanted))
    assert (place.line, place.column) == (line, column)


def test_place_behind_the_end() -> None:
    node = scalar("k: 'a ==  '")
    assert node.place_of(len(node.text)).column == 11


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029\ufeff", exclude_categories=["Cc", "Cs"])),
    st.sampled_from(["'", '"', None]),
)
def test_every_character_has_its_place(text: str, style: str | None) -> None:
    """Whatever PyYAML writes, the place of each character that is not white space holds that character."""
    document: str = yaml.dump({"k": text}, default_style=style, allow_unicode=True, width=20)
    if style is None and not document.startswith("k:"):
        return
    report = Report()
    root = compose("f", Path(), document.encode(), report)
    if report.errors:  # a text that PyYAML writes with a tag, or that a route file refuses
        return
    assert isinstance(root, MapNode)
    node = root.entries[0][1]
    assert isinstance(node, ScalarNode)
    lines = document.splitlines()
    for index, character in enumerate(node.text):
        place = node.place_of(index)
        found = lines[place.line - 1][place.column - 1 :]
        if not character.isspace():
            assert found.startswith((character, "\\"))
