"""The parts of `imap-in` that need no server: folder names, arrivals, the bounded wire, options, parsing of FETCH."""

from __future__ import annotations

import base64
import re
import socket
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.endpoints.imap_driver import Answer, Arrivals, CommandRefused, SessionLost, printable, quote
from pfiflow.endpoints.imap_mailbox import _fetched, encode_folder
from pfiflow.endpoints.imap_options import ImapInOptions, access_token, check_options
from pfiflow.endpoints.imap_wire import Wire
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import ConfigError
from pfiflow.flow.options import Secret


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("INBOX", "INBOX"),
        ("Traités", "Trait&AOk-s"),
        ("A & B", "A &- B"),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3's own example
    ],
)
def test_folder_names_travel_in_modified_utf7(name: str, encoded: str) -> None:
    assert encode_folder(name) == encoded


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_folder_name_comes_back(name: str) -> None:
    def decode(match: re.Match[str]) -> str:
        packed = match[1].replace(",", "/")
        return base64.b64decode(packed + "=" * (-len(packed) % 4)).decode("utf-16-be") if packed else "&"

    encoded = encode_folder(name)
    assert encoded.isascii()
    assert re.sub("&([^-]*)-", decode, encoded) == name


@pytest.mark.parametrize(
    ("lines", "news"),
    [
        ([b"* 3 EXISTS\r\n"], False),
        ([b"* 4 EXISTS\r\n"], True),
        ([b"* 2 EXPUNGE\r\n", b"* 2 EXISTS\r\n"], False),
        ([b"* 2 EXPUNGE\r\n", b"* 3 EXISTS\r\n"], True),
        ([b"* 4 exists\r\n", b"* 1 EXPUNGE\r\n"], True),
        ([b"* 3 RECENT\r\n", b"* 99999999999999 EXISTS\r\n", b"* x EXISTS\r\n"], False),
    ],
)
def test_arrivals(lines: list[bytes], *, news: bool) -> None:
    arrivals = Arrivals(count=3)
    for line in lines:
        arrivals.saw(line)
    assert arrivals.news is news
    arrivals.looked()
    assert not arrivals.news


def test_texts_of_a_server_are_made_harmless() -> None:
    assert printable(b"a\x1b[31m\xff" + b"x" * 1000) == "a?[31m\N{REPLACEMENT CHARACTER}" + "x" * 193
    assert CommandRefused("X", b"[TRYCREATE] no").code == "TRYCREATE"
    assert CommandRefused("X", b"[BADCHARSET (A B)] no").code == "BADCHARSET"
    assert CommandRefused("X", b"no").code == ""


def test_quoted_strings() -> None:
    assert quote('a"b\\c') == '"a\\"b\\\\c"'
    for text in ("a\r\nb", "é", "\0"):
        with pytest.raises(ValueError, match="printable ASCII"):
            quote(text)


@given(st.lists(st.binary(max_size=60)))
def test_any_items_are_read_as_fetch_without_an_exception(items: list[bytes]) -> None:
    for text, literal in _fetched(Answer(tuple(items))):
        assert text
        assert literal is None or literal in items


@given(
    st.binary(min_size=1, max_size=300),
    st.lists(st.integers(1, 300), max_size=20),
    st.lists(st.booleans(), max_size=20),
)
def test_the_wire_gives_the_same_bytes_however_they_come(content: bytes, cuts: list[int], lines: list[bool]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        wire.allow(5, 1000)
        bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
        for start, end in pairwise(bounds):
            theirs.sendall(content[start:end])
        theirs.shutdown(socket.SHUT_WR)
        got = b""
        for line in lines:
            left = len(content) - len(got)
            got += wire.readline() if line else wire.read(min(7, left))
        while piece := wire.readline():
            assert piece.count(b"\n") == piece.endswith(b"\n")
            got += piece
        assert got == content


def test_the_wire_gives_no_more_than_allowed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        wire.allow(5, 10)
        with pytest.raises(SessionLost):
            wire.read(11)
        theirs.sendall(b"x" * 20)
        wire.allow(5, 10)
        with pytest.raises(SessionLost):
            wire.readline()
        ours.setblocking(True)
        wire.allow(0.01, 1000)
        with pytest.raises(TimeoutError):
            wire.read(500)


def options(**changes: Any) -> ImapInOptions:
    return ImapInOptions(**{"host": "imap.test", "username": "pfi@hopital.test", "tls": TlsOptions(), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 0}, "port"),
        ({"security": "none"}, "loopback"),
        ({"tls": None}, "needs tls"),
        ({"driver": "aioimaplib"}, "no STARTTLS"),
        ({"driver": "aioimaplib", "security": "tls"}, "no AUTH PLAIN"),
        ({"username": "a\r\nb"}, "username"),
        ({"password": Secret("a\0b")}, "control characters"),
        ({"auth": "login", "password": Secret("é")}, "ASCII"),
        ({"auth": "xoauth2"}, "token"),
        ({"keyword": "\\Seen"}, "keyword"),
        ({"keyword": "a", "refused_keyword": "A"}, "differ"),
        ({"done": "move", "done_folder": ""}, "folder"),
        ({"refused_folder": "INBOX"}, "not the folder that is read"),
    ],
)
def test_options_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_options(options(**changes))


def test_options_that_agree() -> None:
    check_options(options())
    check_options(options(security="none", tls=None, host="127.0.0.1"))
    check_options(options(driver="aioimaplib", security="tls", auth="xoauth2", token=Secret("t")))
    assert options(done="move").refused_target == "PFI-Refuses"
    assert options().refused_target is None


def test_a_token_that_cannot_be_used_is_a_configuration_error(tmp_path: Any) -> None:
    for content in (None, "", "a\nb"):
        path = tmp_path / "token"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match="token"):
            access_token(options(auth="xoauth2", token_file=path))
