from __future__ import annotations

import pytest

from pfiflow.hl7.charset import CODECS, charset_named, hl7_name
from pfiflow.hl7.faults import CharsetError


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        (b"UNICODE UTF-8", "utf-8"),
        (b"8859/15", "iso8859_15"),
        (b"8859/1", "iso8859_1"),
        (b"ASCII", "ascii"),
        (b" unicode utf-8 ", "utf-8"),
    ],
)
def test_known_sets(declared: bytes, codec: str) -> None:
    assert charset_named(declared).required() == codec


@pytest.mark.parametrize("declared", [b"ISO IR87", b"UNICODE", b"UTF-8\xff", b"UNICODE UTF-16"])
def test_unknown_sets_are_a_table_problem(declared: bytes) -> None:
    with pytest.raises(CharsetError) as caught:
        charset_named(declared).required()
    assert (caught.value.problem.code, caught.value.problem.location) == ("103", "MSH-18")


def test_empty_is_the_setting() -> None:
    assert charset_named(b"").codec == "utf-8"
    assert charset_named(b"  ", "iso8859_15").codec == "iso8859_15"
    with pytest.raises(ValueError, match="cp1252"):
        charset_named(b"", "cp1252")


def test_names_and_codecs_are_a_bijection() -> None:
    assert [hl7_name(codec) for codec in CODECS.values()] == list(CODECS)


def test_a_fault_says_where_and_not_what() -> None:
    with pytest.raises(CharsetError) as caught:
        charset_named(b"").decode(b"DUPONT \xe9", "PID-5.1")
    assert caught.value.problem.location == "PID-5.1"
    assert "byte 8" in str(caught.value)
    assert "DUPONT" not in str(caught.value)
    assert caught.value.__cause__ is None
