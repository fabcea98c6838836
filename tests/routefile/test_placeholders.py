from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.routefile.placeholders import (
    MAX_FILE_BYTES,
    PlaceholderError,
    Reference,
    UnresolvedError,
    parse,
    resolve,
)


def env(name: str, default: str | None = None) -> Reference:
    return Reference("env", name, default, 0)


def file(name: str) -> Reference:
    return Reference("file", name, None, 0)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", ("plain",)),
        ("", ()),
        ("$x {y} $", ("$x {y} $",)),
        ("${env:A}", (env("A"),)),
        ("${env:_a1}", (env("_a1"),)),
        ("${env:A:-}", (env("A", ""),)),
        ("${env:A:-b:-c d}", (env("A", "b:-c d"),)),
        ("${file:keys/a b.txt}", (file("keys/a b.txt"),)),
        ("$${env:A}", ("${", "env:A}")),
        ("$$${env:A}", ("$", "${", "env:A}")),
    ],
)
def test_parse(text: str, pieces: tuple[str | Reference, ...]) -> None:
    assert parse(text) == pieces


def test_parse_places() -> None:
    pieces = parse("a ${env:B} ${file:c}")
    assert [piece.index for piece in pieces if isinstance(piece, Reference)] == [2, 11]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("a ${B}", 2),
        ("${env:}", 0),
        ("${env:1A}", 0),
        ("${env:A B}", 0),
        ("${file:}", 0),
        ("x${env:A", 1),
        ("${", 0),
        ("${env:A:-${env:B}}", 0),
        ("${ENV:A}", 0),
        ("${env:A-b}", 0),
    ],
)
def test_malformed(text: str, index: int) -> None:
    with pytest.raises(PlaceholderError) as caught:
        parse(text)
    assert caught.value.index == index


@given(st.text("${}env:file-A a", max_size=30))
def test_any_text_is_parsed_or_refused_at_a_placeholder(text: str) -> None:
    refused: int | None = None
    try:
        pieces = parse(text)
    except PlaceholderError as error:
        refused = error.index
    if refused is not None:
        assert text.startswith("${", refused)
    elif "${" not in text:
        assert "".join(map(str, pieces)) == text


def test_environment(tmp_path: Path) -> None:
    environment = {"A": "x", "EMPTY": "", "BAD": "\udcff"}

    def value(reference: Reference) -> str:
        return resolve(reference, environment=environment, directory=tmp_path)

    assert value(env("A", "d")) == "x"
    assert value(env("EMPTY", "d")) == ""
    assert value(env("B", "d")) == "d"
    for name in ("B", "BAD"):
        with pytest.raises(UnresolvedError, match=name):
            value(env(name))


def test_files(tmp_path: Path) -> None:
    def value(name: str, data: bytes) -> str:
        (tmp_path / "f").write_bytes(data)
        return resolve(file(name), environment={}, directory=tmp_path)

    assert value("f", b"secret\n") == "secret"
    assert value("f", b"secret\r\n") == "secret"
    assert value("f", b"a\nb\n\n") == "a\nb\n"
    assert value(str(tmp_path / "f"), "\ufeffé".encode()) == "é"
    for name, data in (("g", b""), ("f", b"\xff"), ("f", b"x" * (MAX_FILE_BYTES + 1)), (".", b""), ("\0", b"")):
        with pytest.raises(UnresolvedError):
            value(name, data)
