from __future__ import annotations

import base64
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader
from email.utils import parseaddr
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfiflow.mssante import mime


@given(st.binary(max_size=100) | st.integers(7200, 7400).map(bytes) | st.integers(14500, 14700).map(bytes))
@example(b"")
def test_base64_is_what_the_standard_library_writes(content: bytes) -> None:
    ours = b"".join(block + b"\r\n" for block in mime.base64_blocks(content))
    assert ours == base64.encodebytes(content).replace(b"\n", b"\r\n")


@given(st.text(alphabet=st.characters(codec="utf-8")))
@example("a" * 200)
@example(".\n..\n.\r\nFrom x\n \n\t")
@example("é" * 200 + "\n" + "=" * 200)
def test_a_text_part_reads_back(text: str) -> None:
    raw = mime.join(mime.text_part(text))
    part = message_from_bytes(raw, policy=policy.default)
    kept = "".join(
        c for c in text.replace("\r\n", "\n").replace("\r", "\n") if c in "\n\t" or not (c < " " or c == "\x7f")
    )
    assert part.get_content().replace("\r\n", "\n") == kept.rstrip("\n") + "\n"
    assert all(len(line) <= 76 for line in raw.split(b"\r\n"))
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")


def test_a_lone_surrogate_does_not_break_a_text() -> None:
    assert b"?" in mime.join(mime.text_part("a\udcffb"))


@given(st.text())
@example('a"b\\c')
@example("Hôpital, service «X» <x@y.fr>")
@example("=?utf-8?q?x?=")
@example("a\r\nBcc: x@y.fr")
@example("é" * 200)
def test_a_label_reads_back_as_it_was(label: str) -> None:
    printable = label.encode("utf-8", "replace").decode()
    raw = b"\r\n".join(mime.header("From", mime.display_mailbox(printable, "box@hopital.fr"))) + b"\r\n\r\n"
    message = message_from_bytes(raw, policy=policy.default)
    assert len(message.keys()) == 1
    (address,) = cast("AddressHeader", message["From"]).addresses
    assert address.addr_spec == "box@hopital.fr"
    # Python 3.11's phrase parser keeps the space between encoded words, against RFC 2047 §6.2: decode the older way.
    name, _ = parseaddr(message_from_bytes(raw)["From"])
    decoded = str(make_header(decode_header(name))) if "=?" in name else name
    expected = " ".join("".join(c if c.isprintable() else " " for c in printable).split())
    assert decoded == expected


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y.fr", "a\nb", "a\0b", "é", "a\tb"])
def test_a_header_never_starts_another(value: str) -> None:
    with pytest.raises(ValueError, match="X-Y"):
        mime.header("X-Y", value)
    with pytest.raises(ValueError, match="X-Y"):
        mime.unfolded("X-Y", value)


def test_a_line_too_long_is_refused() -> None:
    assert len(mime.unfolded("X-Y", "a" * 993)) == 998
    with pytest.raises(ValueError, match="one line"):
        mime.unfolded("X-Y", "a" * 994)


@given(st.text(alphabet="ab ", min_size=1, max_size=400))
def test_folding_changes_nothing(value: str) -> None:
    lines = mime.header("X-Y", value)
    assert b"".join(lines).decode() == f"X-Y: {value}"
    assert all(line.strip() for line in lines)
    assert all(line.startswith(b" ") for line in lines[1:])


@given(st.text(min_size=1))
@example('a"b\\c.pdf')
@example("20150802_CR d'examens_LÉA_Zoé.pdf")
@example('x"\r\nContent-Type: text/html\r\n\r\n.pdf')
@example("é" * 300)
def test_an_attachment_reads_back(name: str) -> None:
    raw = mime.join(mime.attachment(name, "application/pdf", b"%PDF"))
    part = message_from_bytes(raw, policy=policy.default)
    assert part.get_content_type() == "application/pdf"
    assert part.get_payload(decode=True) == b"%PDF"
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert len(part.keys()) == 3


@given(
    st.lists(st.binary(max_size=300) | st.integers(60, 30_000).map(lambda size: b"." * size), max_size=3),
    st.text(max_size=200),
)
@settings(max_examples=60)
def test_content_is_the_message_in_pieces(contents: list[bytes], text: str) -> None:
    parts: list[mime.Part] = [mime.text_part(text)]
    parts += [mime.attachment(f"{n}.pdf", "application/pdf", each) for n, each in enumerate(contents)]
    headers = [b"Subject: x", b"MIME-Version: 1.0"]
    content = mime.Content(headers, parts, "=_x")
    whole = mime.join([*headers, *mime.multipart("mixed", parts, separator="=_x")])
    assert bytes(content) == whole
    assert len(content) == len(whole)
    assert all(piece.endswith(b"\r\n") for piece in content)
    assert b"".join(content) == whole  # again, the same
    _, _, *attached = message_from_bytes(whole).walk()
    assert [part.get_payload(decode=True) for part in attached] == contents


def test_pieces_are_small_however_large_the_content() -> None:
    content = mime.Content([], [mime.attachment("a.pdf", "application/pdf", bytes(1_000_000))], "=_x")
    assert max(map(len, content)) < 80_000
    assert sum(map(len, content)) == len(content)
