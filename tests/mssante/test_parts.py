from __future__ import annotations

import pytest

from pfiflow.errors import Rejected
from pfiflow.mssante.parts import Limits, Part, outline, parse
from tests.mssante.mails import HEAD, raw_mail


def contents(part: Part) -> list[bytes]:
    return [leaf.content() for leaf in part.leaves()]


def test_the_line_break_before_a_boundary_belongs_to_the_boundary() -> None:
    raw = raw_mail(HEAD, "Content-Type: text/plain\n\none\n", "Content-Type: text/plain\n\n", "X: y\n\nlast\n\n")
    assert contents(parse(raw)) == [b"one", b"", b"last"]
    kept = raw.replace(b"one\r\n", b"one\r\n\r\n")
    assert contents(parse(kept))[0] == b"one\r\n"
    assert contents(parse(kept.replace(b"\r\n", b"\n")))[0] == b"one\n"


def test_a_part_knows_where_it_stands() -> None:
    raw = raw_mail(HEAD, "Content-Type: text/plain\n\none", "X: y\n\ntwo")
    first, second = parse(raw).parts
    assert bytes(first.raw()) == b"Content-Type: text/plain\r\n\r\none"
    assert bytes(second.raw()) == b"X: y\r\n\r\ntwo"
    assert (first.media_type, second.media_type, repr(second)) == (
        "text/plain",
        "text/plain",
        "<Part text/plain of 3 bytes>",
    )


def test_preamble_and_epilogue_are_no_parts() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=B\n\nfor old readers\n--B\n\none\n--B--\nepilogue\n--B\n\ntwo"
    assert contents(parse(raw)) == [b"one"]


def test_a_boundary_at_the_very_start_and_blanks_after_it() -> None:
    assert contents(parse(b"Content-Type: multipart/mixed; boundary=B\n\n--B \t\n\none\n--B--")) == [b"one"]


def test_parts_of_a_digest_are_mails() -> None:
    raw = b"Content-Type: multipart/digest; boundary=B\n\n--B\n\nFrom: a@b.fr\n\nx\n--B--"
    (part,) = parse(raw).parts
    assert part.is_message
    assert part.enclosed().headers.text("from") == "a@b.fr"


@pytest.mark.parametrize(
    ("encoding", "body", "expected"),
    [
        ("quoted-printable", b"=C3=A9t=C3=A9=\n suite", "été suite".encode()),
        ("QUOTED-PRINTABLE ; x", b"=41", b"A"),
        ("base64", b"w6l0w6k", "été".encode()),
        ("base64", b"w6l0w6kA=", "été\0".encode()),
        ("base64", b"w", b""),
        ("base64", b"!!!", b""),
        ("x-uuencode", b"begin", b"begin"),
        ("8bit", "été".encode(), "été".encode()),
    ],
)
def test_encodings(encoding: str, body: bytes, expected: bytes) -> None:
    assert parse(f"Content-Transfer-Encoding: {encoding}\n\n".encode() + body).content() == expected


def test_limits() -> None:
    raw = raw_mail(HEAD, *["X: y\n\none"] * 4)
    assert len(parse(raw, limits=Limits(parts=5)).parts) == 4
    with pytest.raises(Rejected, match="over 4 parts"):
        parse(raw, limits=Limits(parts=4))
    assert outline(raw).parts == ()
    assert outline(raw).media_type == "multipart/mixed"
