"""The simulated IMAP server: what it refuses, what it tells several sessions, what it can be told to do wrong.

That it answers as a real server does is shown by test_imap_dovecot.py, and by the tests of `imap-in`.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import socket
import ssl
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.imap.server import ImapSimulator
from pfiflow.simulators.imap.session import Session
from pfiflow.simulators.imap.state import Policy
from pfiflow.simulators.imap.syntax import CONTINUE, Decoder, Overlong
from pfiflow.simulators.mailboxes import Mailboxes

BOX = "pfi@hopital.test"
MAIL = b"Subject: test\r\n\r\nBonjour\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> TlsOptions:
    issued = authority.issue("localhost")
    return TlsOptions(ca=(authority.certificate,), certificate=issued.certificate, key=issued.key)


@pytest.fixture(scope="module")
def client_context(authority: Authority) -> ssl.SSLContext:
    issued = authority.issue(BOX)
    own = TlsOptions(ca=(authority.certificate,), certificate=issued.certificate, key=issued.key)
    return own.client_context()


@pytest.fixture
def simulator(server_tls: TlsOptions) -> Iterator[ImapSimulator]:
    with ImapSimulator(Mailboxes(BOX), tls=server_tls, logins={BOX: "s3cret"}, tokens={BOX: "t0ken"}) as server:
        yield server
    assert server.errors == []


@pytest.fixture
def clear() -> Iterator[ImapSimulator]:
    """A server without TLS, for what TLS has no part in."""
    with ImapSimulator() as server:
        yield server
    assert server.errors == []


@contextlib.contextmanager
def connected(simulator: ImapSimulator) -> Iterator[imaplib.IMAP4]:
    client = imaplib.IMAP4("localhost", simulator.port, timeout=10)
    try:
        yield client
    finally:
        with contextlib.suppress(OSError):  # a failed handshake has closed it already
            client.shutdown()  # leaving imaplib's own context says LOGOUT first


@contextlib.contextmanager
def secured(simulator: ImapSimulator, context: ssl.SSLContext) -> Iterator[imaplib.IMAP4]:
    with connected(simulator) as client:
        client.starttls(context)
        yield client


@contextlib.contextmanager
def logged_in(simulator: ImapSimulator, login: str = BOX) -> Iterator[imaplib.IMAP4]:
    with connected(simulator) as client:
        client.login(login, "any")
        client.select()
        yield client


def test_nobody_gets_in_without_tls_certificate_and_password(
    simulator: ImapSimulator, client_context: ssl.SSLContext, authority: Authority
) -> None:
    with connected(simulator) as client:
        assert "LOGINDISABLED" in client.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.login(BOX, "s3cret")
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.authenticate("PLAIN", lambda _: b"\0" + BOX.encode() + b"\0s3cret")
    bare = TlsOptions(ca=(authority.certificate,)).client_context()
    with pytest.raises((ssl.SSLError, ConnectionError, imaplib.IMAP4.abort)), secured(simulator, bare):
        pass
    with secured(simulator, client_context) as client:
        assert "LOGINDISABLED" not in client.capabilities
        for login, password in ((BOX, "wrong"), ("other@hopital.test", "s3cret"), ("", "")):
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                client.login(f'"{login}"', password)
        for response, why in (
            (f"other\0{BOX}\0s3cret".encode(), "AUTHORIZATIONFAILED"),
            (b"\0" + BOX.encode(), "authorisation"),
        ):
            with pytest.raises(imaplib.IMAP4.error, match=why):
                client.authenticate("PLAIN", lambda _, response=response: response)  # type: ignore[misc]
        with pytest.raises(imaplib.IMAP4.error, match="not offered"):
            client.authenticate("CRAM-MD5", lambda _: b"")
        assert client.authenticate("PLAIN", lambda _: b"\0" + BOX.encode() + b"\0s3cret")[0] == "OK"


def test_xoauth2_says_no_in_a_challenge(simulator: ImapSimulator, client_context: ssl.SSLContext) -> None:
    with imaplib.IMAP4_SSL("localhost", simulator.tls_port, ssl_context=client_context, timeout=10) as client:
        challenges: list[bytes] = []

        def answer(challenge: bytes) -> bytes:
            challenges.append(challenge)
            return b"" if challenge else f"user={BOX}\1auth=Bearer stale\1\1".encode()

        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            client.authenticate("XOAUTH2", answer)
        assert challenges[0] == b""
        assert b'"status":"401"' in challenges[1]
        good = f"user={BOX}\1auth=Bearer t0ken\1\1".encode()
        assert client.authenticate("XOAUTH2", lambda _: good)[0] == "OK"


def test_what_is_sent_in_clear_after_starttls_is_void(simulator: ImapSimulator, client_context: ssl.SSLContext) -> None:
    with socket.create_connection(("localhost", simulator.port), timeout=10) as plain:
        plain.recv(1000)
        plain.sendall(b"a STARTTLS\r\nb LOGIN injected command\r\n")
        assert plain.recv(1000).startswith(b"a OK")
        with client_context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(b"c NOOP\r\n")
            assert secure.recv(1000).startswith(b"c OK")
    assert simulator.counts["LOGIN"] == 0


def test_an_initial_response_saves_a_round_trip(simulator: ImapSimulator, client_context: ssl.SSLContext) -> None:
    with secured(simulator, client_context) as client:
        response = base64.b64encode(f"\0{BOX}\0s3cret".encode()).decode()
        assert client.xatom("AUTHENTICATE", "PLAIN", response)[0] == "OK"
        client.state = "AUTH"  # imaplib knows no initial response
        assert client.select()[0] == "OK"


def test_what_one_session_does_the_other_is_told(clear: ImapSimulator) -> None:
    clear.mailboxes.deliver(BOX, *[MAIL] * 4)
    with logged_in(clear) as first, logged_in(clear) as second:
        first.uid("STORE", "2:3", "+FLAGS.SILENT", r"(\Deleted $Own)")
        first.expunge()
        assert second.uid("SEARCH", "ALL") == ("OK", [b"1 4"])  # what is gone is not found
        assert second.response("EXPUNGE")[1] == [b"3", b"2"]
        assert second.fetch("2", "(UID)") == ("OK", [b"2 (UID 4)"])  # numbers have closed up


def test_numbers_do_not_change_under_a_fetch(clear: ImapSimulator) -> None:
    clear.mailboxes.deliver(BOX, MAIL, MAIL, MAIL)
    with logged_in(clear) as first, logged_in(clear) as second:
        first.uid("STORE", "1", "+FLAGS.SILENT", r"(\Deleted)")
        first.expunge()
        assert second.fetch("1:3", "(UID)")[1] == [b"2 (UID 2)", b"3 (UID 3)"]
        assert second.response("EXPUNGE")[1] == [None]
        second.noop()
        assert second.response("EXPUNGE")[1] == [b"1"]


def test_idle_is_told_at_once(clear: ImapSimulator) -> None:
    with logged_in(clear) as client:
        client.send(b"x IDLE\r\n")
        assert client.readline().startswith(b"+")
        threading.Timer(0.05, clear.mailboxes.deliver, (BOX, MAIL)).start()
        assert client.readline() == b"* 1 EXISTS\r\n"
        assert client.readline() == b"* 1 RECENT\r\n"
        clear.mailboxes.empty(BOX)
        assert client.readline() == b"* 1 EXPUNGE\r\n"
        assert client.readline() == b"* 0 RECENT\r\n"
        client.send(b"DONE\r\n")
        assert client.readline().startswith(b"x OK")


def test_reading_without_peek_marks_as_seen_unless_examined(clear: ImapSimulator) -> None:
    clear.mailboxes.deliver(BOX, MAIL)
    with logged_in(clear) as client:
        client.select(readonly=True)
        client.fetch("1", "(RFC822)")
        assert clear.mailboxes.flags(BOX) == [[]]
        status, data = client.store("1", "+FLAGS", r"(\Deleted)")
        assert (status, data[0][:11]) == ("NO", b"[READ-ONLY]")
        client.select()
        client.fetch("1", "(BODY.PEEK[])")
        assert clear.mailboxes.flags(BOX) == [[]]
        client.fetch("1", "(BODY[TEXT])")
        assert clear.mailboxes.flags(BOX) == [[r"\Seen"]]


def test_a_server_can_be_without_extensions_and_keywords() -> None:
    mailboxes = Mailboxes(BOX, keeps_keywords=False)
    mailboxes.deliver(BOX, MAIL)
    with ImapSimulator(mailboxes, without=("MOVE", "UIDPLUS", "IDLE")) as simulator, logged_in(simulator) as client:
        assert set(client.capabilities) & {"MOVE", "UIDPLUS", "IDLE"} == set()
        assert rb"\*" not in client.response("PERMANENTFLAGS")[1][0]
        client.uid("STORE", "1", "+FLAGS", r"($Own \Seen)")
        assert mailboxes.flags(BOX) == [[r"\Seen"]]
        for command in ("MOVE", "EXPUNGE"):
            with pytest.raises(imaplib.IMAP4.error, match="BAD"):
                client.uid(command, "1", *(["INBOX"] if command == "MOVE" else []))


def test_the_largest_mail_that_is_taken() -> None:
    with ImapSimulator(size_limit=1_000) as simulator:
        with logged_in(simulator) as client:
            assert client.append("INBOX", "", "", b"x" * 800)[0] == "OK"
        with logged_in(simulator) as client, pytest.raises(imaplib.IMAP4.abort):
            client.append("INBOX", "", "", b"x" * 2_000)
        assert [len(mail.content) for mail in simulator.mailboxes.mails(BOX)] == [800]


def test_a_client_that_talks_nonsense_is_shown_out(clear: ImapSimulator) -> None:
    with socket.create_connection(("localhost", clear.port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n" * 30)
        got = b""
        while data := client.recv(10_000):
            got += data
    assert got.count(b" BAD ") == 20
    assert b"* BYE" in got


# -- the script --------------------------------------------------------------------------------------------------------


def test_rules_answer_in_order_and_run_out(clear: ImapSimulator) -> None:
    clear.mailboxes.deliver(BOX, MAIL)
    clear.script("UID FETCH", "NO [UNAVAILABLE] later", times=2)
    clear.script("UID STORE", "NO [LIMIT] full", login="other@hopital.test")
    with logged_in(clear) as client:
        assert [client.uid("FETCH", "1", "(UID)")[0] for _ in range(3)] == ["NO", "NO", "OK"]
        assert client.uid("STORE", "1", "+FLAGS", "($Own)")[0] == "OK"
    with logged_in(clear, "Other@hopital.test") as client:
        assert client.uid("STORE", "1", "+FLAGS", "($Own)")[0] == "NO"
    assert clear.counts["UID FETCH"] == 3


def test_an_answer_lost_after_the_command_was_carried_out(clear: ImapSimulator) -> None:
    clear.mailboxes.deliver(BOX, MAIL)
    clear.script("UID STORE", close=True, keep=True, times=1)
    with logged_in(clear) as client, pytest.raises(imaplib.IMAP4.abort):
        client.uid("STORE", "1", "+FLAGS", "($Own)")
    assert clear.mailboxes.flags(BOX) == [["$Own"]]
    clear.script("UID STORE", close=True, times=1)
    with logged_in(clear) as client, pytest.raises((imaplib.IMAP4.abort, ConnectionError)):
        client.uid("STORE", "1", "+FLAGS", "($Other)")
    assert clear.mailboxes.flags(BOX) == [["$Own"]]


def test_cut_in_the_middle_of_a_mail(clear: ImapSimulator) -> None:
    clear.mailboxes.deliver(BOX, MAIL)
    clear.script("UID FETCH", cut=50)
    with logged_in(clear) as client:
        client.send(b"x UID FETCH 1 (UID BODY.PEEK[])\r\n")
        assert client.readline() == b"* 1 FETCH (UID 1 BODY[] {26}\r\n"
        assert client.read(100) == MAIL[:20]
    clear.script("CONNECT", "* BYE too many connections", close=True)
    with pytest.raises(imaplib.IMAP4.error), connected(clear):
        pass


def test_silence_and_the_loss_of_all_connections(clear: ImapSimulator) -> None:
    clear.script("NOOP", silent=True)
    with logged_in(clear) as client:
        client.send(b"x NOOP\r\n")
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        clear.drop_connections()
        client.sock.settimeout(10)
        assert client.sock.recv(1) == b""
    clear.clear_script()
    clear.mailboxes.deliver(BOX, MAIL)
    clear.stop()
    clear.start()  # on the same port, with the same mails
    with logged_in(clear) as client:
        assert client.noop()[0] == "OK"
        assert client.uid("SEARCH", "ALL") == ("OK", [b"1"])


def test_stopping_ends_connections_and_the_thread(server_tls: TlsOptions) -> None:
    before = threading.active_count()
    simulator = ImapSimulator(tls=server_tls)
    simulator.start()
    with socket.create_connection(("localhost", simulator.port), timeout=10) as connection:
        assert connection.recv(1000).startswith(b"* OK")
        simulator.stop()
        assert connection.recv(1000) == b""
    assert threading.active_count() == before


# -- the parts without I/O ---------------------------------------------------------------------------------------------

_COMMANDS = (
    b"a LOGIN {16+}\r\npfi@hopital.test {3+}\r\nany\r\n"
    b'b SELECT "INBOX"\r\nc APPEND INBOX (\\Seen) {26+}\r\n' + MAIL + b"\r\n"
    b"d UID FETCH 1:* (UID FLAGS BODY.PEEK[]<3.7>)\r\ne UID STORE 1 +FLAGS ($Own)\r\nf LOGOUT\r\n"
)


def conversation(pieces: list[bytes]) -> bytes:
    """What a session answers to these bytes, come in these pieces."""
    mailboxes = Mailboxes()
    session = Session(mailboxes, Policy(starttls=False, largest=10_000), secure=False)
    said = b""
    for piece in pieces:
        session.receive(piece)
        while not session.state.ended and (turn := session.next()) is not None:
            said += session.perform(turn)
    return said


def without_numbers(said: bytes) -> list[bytes]:
    return [line for line in said.splitlines() if b"UIDVALIDITY" not in line and b"APPENDUID" not in line]


@given(st.lists(st.integers(1, len(_COMMANDS) - 1), max_size=20))
def test_the_answer_is_the_same_however_the_bytes_come(cuts: list[int]) -> None:
    bounds = sorted({0, len(_COMMANDS), *cuts})
    whole = conversation([_COMMANDS])
    assert without_numbers(conversation([_COMMANDS[a:b] for a, b in pairwise(bounds)])) == without_numbers(whole)
    assert whole.count(b" OK ") == 6 + 4  # a tagged one each, and the four of SELECT


_WORDS = (
    b'a ( ) { } [ ] < > * % : , . + - 1 9 = " \\ UID FETCH STORE SEARCH OR NOT BODY.PEEK[ HEADER.FIELDS FLAGS SELECT '
    b"INBOX 1:* IDLE DONE AUTHENTICATE PLAIN APPEND LIST STATUS COPY SENTON CHARSET \0 \xff"
).split()


@given(
    st.lists(st.sampled_from([*_WORDS, *[b" ", b"\r\n"] * 5, b"{3}\r\n", b"{3+}\r\n"]), max_size=40).map(b"".join),
    st.booleans(),
)
def test_any_bytes_are_answered_without_an_exception(data: bytes, inside: bool) -> None:
    start = b"a LOGIN pfi any\r\nb SELECT INBOX\r\nc APPEND INBOX {26+}\r\n" + MAIL + b"\r\n" if inside else b""
    conversation([start, data, b"\r\n"])


def test_a_command_has_bounds() -> None:
    decoder = Decoder(1_000)
    decoder.feed(b"a APPEND INBOX {900}\r\n")
    assert decoder.command() is CONTINUE
    decoder.feed(b"x" * 900)
    assert decoder.command() is None
    decoder.feed(b"\r\nb APPEND INBOX {1000+}\r\n")
    assert decoder.command() == b"a APPEND INBOX {900}\r\n" + b"x" * 900
    with pytest.raises(Overlong):
        decoder.command()
    endless = Decoder(1_000)
    endless.feed(b"x" * 70_000)
    with pytest.raises(Overlong):
        endless.command()
