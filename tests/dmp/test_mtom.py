from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.dmp import mtom
from pfiflow.dmp.mtom import MAX_PARTS, Part
from pfiflow.errors import ProtocolError

PARTS = (
    Part("root@x", "application/xop+xml", b"<a/>"),
    Part("one@x", "text/xml", b"\r\n--B\r\n\x00\xff"),
    Part("2", "a/b", b""),
)


def body_of(parts: tuple[Part, ...] = PARTS, boundary: str = "LIMIT") -> bytes:
    return b"".join(mtom.write(parts, boundary))


def test_what_is_written_reads_back() -> None:
    root, others = mtom.read({"boundary": "LIMIT", "start": "<root@x>"}, body_of())
    assert [bytes(part.data) for part in (root, *others)] == [bytes(part.data) for part in PARTS]
    assert [part.content_id for part in (root, *others)] == ["root@x", "one@x", "2"]


def test_data_are_neither_copied_nor_searched() -> None:
    document = bytes(1_000_000)
    assert any(piece is document for piece in mtom.write((Part("a", "b/c", document),), "LIMIT"))
    body = body_of((Part("a", "b/c", document),))
    root, _ = mtom.read({"boundary": "LIMIT"}, body)
    assert isinstance(root.data, memoryview)
    assert root.data.obj is body


@given(data=st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_any_data(data: list[bytes]) -> None:
    boundary = "MIMEBoundary_0b5c3bd464a34d9c8f0e3c1d9e0f7a11"
    parts = tuple(Part(f"p{number}", "a/b", each) for number, each in enumerate(data))
    root, others = mtom.read({"boundary": boundary}, body_of(parts, boundary))
    assert [bytes(part.data) for part in (root, *others)] == data


@given(
    body=st.binary(max_size=300)
    | st.lists(st.sampled_from([b"--B", b"--", b"\r\n", b"\r\n\r\n", b"A: b", b"x"])).map(b"".join)
)
def test_any_bytes_read_or_are_a_protocol_error(body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        mtom.read({"boundary": "B"}, body)


@given(cut=st.integers(min_value=0))
def test_a_cut_message_is_never_taken_for_whole(cut: int) -> None:
    body = body_of()
    end = body.rindex(b"--LIMIT--") + len(b"--LIMIT-")
    with pytest.raises(ProtocolError):
        mtom.read({"boundary": "LIMIT", "start": "<root@x>"}, body[: cut % end])


def test_leniency() -> None:
    body = (
        b"a preamble\r\n--L  \r\ncontent-id: <a>\r\nContent-Type: text/xml;\r\n charset=UTF-8\r\n\r\n<a/>\r\n--L"
        b"\r\n\r\nb\r\n--L\r\nContent-Transfer-Encoding: BASE64\r\nContent-ID: c\r\n\r\nYWJj\r\n ZA==\r\n--L--"
        b"\r\nan epilogue"
    )
    root, (second, third) = mtom.read({"boundary": "L"}, body)
    assert (root.content_id, root.content_type, bytes(root.data)) == ("a", "text/xml; charset=UTF-8", b"<a/>")
    assert (second.content_id, bytes(second.data)) == ("", b"b")
    assert (third.content_id, bytes(third.data)) == ("c", b"abcd")


def test_a_part_of_nothing_at_all() -> None:
    root, others = mtom.read({"boundary": "L"}, b"--L\r\nContent-ID: a\r\n\r\n--L\r\n\r\n--L--")
    assert (root.content_id, bytes(root.data), [bytes(part.data) for part in others]) == ("a", b"", [b""])


HEAD = b"--L\r\nContent-ID: <a>\r\n\r\nx\r\n"


@pytest.mark.parametrize(
    ("parameters", "body", "message"),
    [
        ({}, HEAD + b"--L--", "needs a boundary"),
        ({"boundary": "x" * 71}, HEAD, "needs a boundary"),
        ({"boundary": "é"}, HEAD, "needs a boundary"),
        ({"boundary": "OTHER"}, HEAD + b"--L--", "does not hold its boundary"),
        ({"boundary": "L"}, b"", "does not hold its boundary"),
        ({"boundary": "L"}, b"--L--", "has no part"),
        ({"boundary": "L", "start": "<b>"}, HEAD + b"--L--", "`start`"),
        ({"boundary": "L"}, HEAD + HEAD + b"--L--", "same Content-ID"),
        ({"boundary": "L"}, b"--Lx\r\n\r\nx\r\n--L--", "line of its own"),
        ({"boundary": "L"}, b"--L\r\nno colon\r\n\r\nx\r\n--L--", "without colon"),
        ({"boundary": "L"}, b"--L\r\nA: " + b"x" * 20_000 + b"\r\n\r\nx\r\n--L--", "cut or longer"),
        ({"boundary": "L"}, b"--L\r\nContent-Transfer-Encoding: x-gzip\r\n\r\nx\r\n--L--", "transfer encoding"),
        ({"boundary": "L"}, b"--L\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n--L--", "base64"),
        ({"boundary": "L"}, b"--L\r\n\r\nx\r\n" * (MAX_PARTS + 1) + b"--L--", "more than 100 parts"),
    ],
)
def test_what_is_broken_says_where(parameters: dict[str, str], body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        mtom.read(parameters, body)


def test_content_types() -> None:
    kind, parameters = mtom.media_type(
        'Multipart/Related; boundary="a b\\"c"; type=application/xop+xml;start="<x@y>" ; START-INFO=a;'
    )
    assert kind == "multipart/related"
    assert dict(parameters) == {
        "boundary": 'a b"c',
        "type": "application/xop+xml",
        "start": "<x@y>",
        "start-info": "a",
    }
    assert mtom.media_type("text/xml") == ("text/xml", {})


@pytest.mark.parametrize("wrong", ["", "text", "text/xml;a=b;a=c", 'a/b; c="', "a/b; c=d e", "a/b" + ";" * 5000])
def test_what_is_no_content_type(wrong: str) -> None:
    with pytest.raises(ProtocolError):
        mtom.media_type(wrong)


@given(st.text(max_size=200))
def test_any_content_type(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        mtom.media_type(text)
