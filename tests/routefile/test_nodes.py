from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.routefile import nodes
from pfiflow.routefile.nodes import MAX_BYTES, MAX_DEPTH, ListNode, MapNode, Report, ScalarNode, compose


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _both_parsers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML comes with and without its C parser: both must refuse and place the same."""
    loader = getattr(yaml, request.param, None)
    if loader is None:
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(nodes, "_LOADER", loader)


REFUSED = [
    ("a: 1\nb: 2\na: 3\n", 3, 1, "given twice; the first is at line 1, column 1"),
    ("a: {x: 1, 'x': 2}", 1, 11, "given twice"),
    ("a: 1\n---\nb: 2\n", 2, 1, "one document"),
    ("%YAML 1.1\n---\na: 1\n", 1, 1, "directives"),
    ("%TAG ! tag:x,2024:\n---\na: 1\n", 1, 1, "directives"),
    ("a: !!int '1'", 1, 4, "tags"),
    ("a: !x 1", 1, 4, "tags"),
    ("a: !!python/object/apply:os.system [ls]", 1, 4, "tags"),
    ("a: &x [1]\nb: 2", 1, 4, "anchors and aliases"),
    ("b: *x", 1, 4, "anchors and aliases"),
    ("? [a]\n: 1", 1, 3, "a key is text"),
    ("? {a: b}\n: 1", 1, 3, "a key is text"),
    ("1: x", 1, 1, "a key is text"),
    ("true: x", 1, 1, "a key is text"),
    (": x", 1, 1, ""),
    ("?\n: x", 1, 2, "a key is missing"),
    ("a: b: c", 1, 5, "not YAML"),
    ("a: [1, 2\nb: 3", 2, 2, "not YAML"),
    ('a: "\\uD800"', 1, 4, ""),
    ('a: "\\U00110000"', 1, 5, "not YAML"),
    ("%YAML 1." + "9" * 5000, 1, 1, "not YAML"),
    ("a: 1\n\tb: 2", 2, 1, "tabs"),
    ("a:\n\t- b", 2, 1, "tabs"),
    ("a: '\x07'", 1, 5, "U+0007"),
    ("a: '\ufeff'", 1, 5, "U+FEFF"),
    ("a: '\u2028'", 1, 5, "U+2028"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED)
def test_refused(text: str, line: int, column: int, words: str) -> None:
    report = Report()
    compose("f.yaml", Path(), text.encode(), report)
    (error, *_) = report.errors
    assert words in str(error)
    assert (error.file, error.line) == ("f.yaml", line)
    assert error.column == column or "not YAML" in str(error)  # the two parsers differ a little there
    assert error.column >= 1


def test_not_utf8() -> None:
    report = Report()
    assert compose("f", Path(), b"a: 1\nb: caf\xe9\n", report) is None
    assert [(e.line, e.column) for e in report.errors] == [(2, 7)]


@pytest.mark.parametrize("text", ["a: 1", "\ufeffa: 1", "---\na: 1\n...\n", "# c\na: 1", "a: 1\r\n"])
def test_plain_forms(text: str) -> None:
    report = Report()
    root = compose("f", Path(), text.encode(), report)
    assert not report.errors
    assert isinstance(root, MapNode)
    assert [(key.text, value.value) for key, value in root.entries if isinstance(value, ScalarNode)] == [("a", 1)]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_empty(text: str) -> None:
    report = Report()
    root = compose("f", Path(), text.encode(), report)
    assert not report.errors
    assert isinstance(root, MapNode | ScalarNode)


def test_places() -> None:
    root = compose("f", Path(), "é: [𝒳, 'b']\nc:\n  d: {e: |\n    }\n".replace("{e: |\n    }", "x").encode(), Report())
    assert isinstance(root, MapNode)
    (_, items), (key, inner) = root.entries
    assert isinstance(items, ListNode)
    assert [(i.place.line, i.place.column) for i in items.items] == [(1, 5), (1, 8)]
    assert (key.place.line, key.place.column) == (2, 1)
    assert (inner.place.line, inner.place.column) == (3, 3)


def test_limits() -> None:
    report = Report()
    assert compose("f", Path(), b"#" * (MAX_BYTES + 1), report) is None
    assert compose("f", Path(), b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), report) is None
    assert compose("f", Path(), b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, report) is not None
    assert [error.code for error in report.errors] == ["limit", "limit"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "[" * 500_000,
        "{" * 500_000,
        "- " * 400_000,
        "? " * 400_000,
        "[a," * 300_000,
        "a" * 1_000_000 + ": b",
        '"' + "a\n" * 400_000,
        "&a " * 300_000,
        "!" * 900_000,
        "".join(f"k{i}: v\n" for i in range(60_000)),
    ],
    ids=["laughs", "[", "{", "-", "?", "[a,", "key", "quote", "&", "!", "keys"],
)
def test_a_megabyte_of_anything_is_read_or_refused_soon(text: str) -> None:
    began = time.process_time()
    compose("f", Path(), text.encode(), Report())
    assert time.process_time() - began < 15  # 0.01 to 0.5 s with libyaml, 0.3 to 3 s without, on a quiet machine


@given(st.binary(max_size=200) | st.text("ab:-[]{}'\"|>&*!#%?,\n\t 1", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes) -> None:
    report = Report()
    root = compose("f", Path(), data, report)
    assert root is not None or report.errors
    lines = data.count(b"\n") + data.count(b"\r") + 1
    for error in report.errors:
        assert error.file == "f"
        assert 1 <= error.line <= lines + 1
        assert error.column >= 1
