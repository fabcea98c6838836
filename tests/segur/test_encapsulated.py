"""Base64 of OBX-5."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.hl7.er7 import parse
from pfiflow.segur.encapsulated import Base64Error, decode_base64, decode_truncated_text, encapsulated


@given(st.binary(max_size=200), st.integers(0, 2))
def test_padding_may_be_missing(data: bytes, dropped: int) -> None:
    encoded = base64.b64encode(data)
    bare = encoded.rstrip(b"=")
    assert decode_base64(encoded) == decode_base64(bare) == decode_base64(b" " + encoded + b"\xc2\xa0") == data
    if encoded.endswith(b"=="):
        assert decode_base64(bare + b"=") == data


@given(st.binary(max_size=60))
def test_only_base64_is_decoded(data: bytes) -> None:
    """Whatever the bytes: base64 of the strict alphabet, or Base64Error."""
    try:
        decoded = decode_base64(data)
    except Base64Error:
        return
    assert base64.b64encode(decoded).rstrip(b"=")[:-1] == data.strip(b" \t\xa0\xc2").rstrip(b"=")[:-1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"QUJ\\DRA==", "foreign"),
        (b"QUJD\nRA==", "line breaks"),
        (b"QU=JD", "padding before its end"),
        (b"QUJDR", "cut short"),
        (b"QUJD=", "padding"),
        (b"QUJD====", "padding"),
        (b"=", "padding"),
        (b"QUJD-_==", "2 of its 8 characters"),
    ],
)
def test_the_reason_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(Base64Error, match=reason):
        decode_base64(data)


@given(st.binary(max_size=60), st.integers(0, 80))
def test_a_text_cut_anywhere_keeps_its_whole_bytes(data: bytes, kept: int) -> None:
    cut = base64.b64encode(data).rstrip(b"=")[:kept]
    decoded, was_cut = decode_truncated_text(cut)
    assert data.startswith(decoded)
    assert was_cut is (len(cut) % 4 == 1)


@pytest.mark.parametrize(
    ("field", "words", "data", "stray"),
    [
        ("", ("", "", ""), b"", False),
        ("x", ("", "", ""), b"", False),
        ("^text", ("TEXT", "", ""), b"", False),
        ("^ text^XML", ("TEXT", "XML", ""), b"", False),
        ("^text^XML^Base64", ("TEXT", "XML", "BASE64"), b"", False),
        ("^text^XML^Base64^QUJD", ("TEXT", "XML", "BASE64"), b"QUJD", False),
        ("^text^XML^Base64^QUJD^", ("TEXT", "XML", "BASE64"), b"QUJD", False),
        ("^text^XML^Base64^QUJD~^~", ("TEXT", "XML", "BASE64"), b"QUJD", False),
        ("^text^XML^Base64^QUJD^x", ("TEXT", "XML", "BASE64"), b"QUJD", True),
        ("^text^XML^Base64^QUJD~x", ("TEXT", "XML", "BASE64"), b"QUJD", True),
    ],
)
def test_cutting_the_field(field: str, words: tuple[str, str, str], data: bytes, stray: bool) -> None:
    raw = f"MSH|^~\\&|A\rOBX|1|ED|||{field}||||||F\r".encode()
    obx = parse(raw).first("OBX")
    assert obx is not None
    found = encapsulated(raw, obx)
    assert (found.type, found.subtype, found.encoding) == words
    assert (bytes(found.data), found.stray) == (data, stray)
