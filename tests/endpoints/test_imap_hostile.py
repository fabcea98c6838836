"""The IMAP drivers against a server that lies, floods, drips or says nothing: an error in time, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import resource
from time import monotonic
from typing import Any

import attrs
import pytest

from pfiflow.endpoints.imap import ImapSource
from pfiflow.endpoints.imap_driver import CommandRefused, ImapSession, SessionLost
from pfiflow.endpoints.imap_mailbox import Mailbox, MailTooLarge
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.endpoints.imap_threaded import ThreadedSession
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import ConfigError, ProtocolError
from pfiflow.flow.options import Duration, Secret
from pfiflow.simulators.certificates import Authority
from tests.endpoints.imap_fake import FakeImap
from tests.endpoints.imap_reading import PATIENCE, Route, reading, until

DRIVERS = [
    "threaded",
    pytest.param(
        "aioimaplib",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("aioimaplib") is None, reason="aioimaplib (an extra) is not installed"
        ),
    ),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> TlsOptions:
    server = authority.issue("localhost")
    return TlsOptions(certificate=server.certificate, key=server.key)


@pytest.fixture(params=DRIVERS)
def options(request: pytest.FixtureRequest, authority: Authority) -> ImapInOptions:
    return ImapInOptions(
        host="localhost",
        port=1,
        security="tls",
        tls=TlsOptions(ca=(authority.certificate,)),
        driver=request.param,
        auth="login",
        username="pfi@hopital.test",
        password=Secret("s3cret"),
    )


@pytest.fixture
def hurried(options: ImapInOptions) -> ImapInOptions:
    """With deadlines that a silent server passes soon; an honest one might too, on a busy machine."""
    return attrs.evolve(options, connect_timeout=Duration(0.7), command_timeout=Duration(0.7))


async def open_session(options: ImapInOptions, port: int) -> ImapSession:
    options = attrs.evolve(options, port=port)
    context = options.tls.client_context() if options.tls is not None else None
    if options.driver == "aioimaplib":
        from pfiflow.endpoints.imap_aioimaplib import AioimaplibSession

        return await AioimaplibSession.open(options, context)
    return await ThreadedSession.open(options, context)


async def look(options: ImapInOptions, port: int) -> bytes | None:
    """What `imap-in` does with one mail."""
    session = await open_session(options, port)
    try:
        mailbox = Mailbox(session)
        await mailbox.select("INBOX")
        (uid,) = await mailbox.search("$PfiflowDone")
        await mailbox.sizes([uid])
        content = await mailbox.read(uid, chunk=10_000, limit=100_000)
        await mailbox.flag(uid, "$PfiflowDone")
        await session.idle(0.05)
        return content
    finally:
        session.abort()


def test_the_fake_server_can_be_read(options: ImapInOptions, server_tls: TlsOptions) -> None:
    async def run() -> None:
        async with FakeImap(server_tls.server_context(), {}) as server:
            assert await look(options, server.port) == b"Subject: fake\r\n\r\nbody\r\n"

    asyncio.run(run())


BAD_ANSWERS = {
    "greeting is another protocol's": {"GREETING": b"220 smtp.hopital.test ESMTP\r\n"},
    "greeting BYE": {"GREETING": b"* BYE too many connections\r\n"},
    "greeting PREAUTH": {"GREETING": b"* PREAUTH welcome\r\n"},
    "silent greeting": {"GREETING": b""},
    "no capabilities": {"CAPABILITY": b"%t OK done\r\n"},
    "capabilities without IMAP": {"CAPABILITY": b"* CAPABILITY POP3\r\n%t OK done\r\n"},
    "silent login": {"LOGIN": b""},
    "login disabled": {"CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n%t OK done\r\n"},
    "another tag": {"LOGIN": b"ZZZ1 OK in\r\n"},
    "garbage": {"SELECT": bytes(range(256)) * 20 + b"\r\n"},
    "no UIDVALIDITY": {"SELECT": b"* 1 EXISTS\r\n%t OK done\r\n"},
    "BAD": {"UID SEARCH": b"%t BAD what?\r\n"},
    "a huge literal announced": {"BODY": b"* 1 FETCH (UID 1 BODY[]<0> {99999999999}\r\nx"},
    "a literal of absurd size": {"BODY": b"* 1 FETCH (UID 1 BODY[]<0> {" + b"9" * 5000 + b"}\r\nx"},
    "a literal that is never complete": {"BODY": b"* 1 FETCH (UID 1 BODY[]<0> {100}\r\nx"},
    "more than asked for": {"BODY": b"* 1 FETCH (UID 1 BODY[]<0> {10001}\r\n" + b"x" * 10001 + b")\r\n%t OK done\r\n"},
    "nothing after DONE": {"DONE": b""},
    "IDLE refused": {"IDLE": b"%t BAD what?\r\n"},
    "IDLE unanswered": {"IDLE": b""},
    "BYE": {"UID SEARCH": b"* BYE shutting down\r\n"},
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_bad_answers_end_the_session_in_time(hurried: ImapInOptions, server_tls: TlsOptions, what: str) -> None:
    async def run() -> None:
        async with FakeImap(server_tls.server_context(), BAD_ANSWERS[what]) as server:
            begun = monotonic()
            with pytest.raises(SessionLost) as caught:
                await look(hurried, server.port)
            assert monotonic() - begun < PATIENCE / 2
            assert "s3cret" not in str(caught.value)
            assert len(str(caught.value)) < 400

    asyncio.run(run())


FLOODS = {
    "lines": ("UID SEARCH", b"* OK still there\r\n" * 1000),
    "one line": ("UID SEARCH", b"x" * 50_000),
    "a line of numbers": ("UID SEARCH", b"1 " * 20_000),
    "expunges": ("UID FETCH", b"* 1 EXPUNGE\r\n" * 1000),
    "challenges": ("LOGIN", b"+ more\r\n" * 1000),
    "parentheses": ("BODY", b"(" * 20_000 + b"\r\n"),
    "in idle": ("IDLE", b"* 5 FETCH (FLAGS ())\r\n" * 1000),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_is_bounded(hurried: ImapInOptions, server_tls: TlsOptions, what: str) -> None:
    command, flood = FLOODS[what]

    async def run() -> None:
        async with FakeImap(
            server_tls.server_context(), {command: b"+ go\r\n" if command == "IDLE" else b""}
        ) as server:
            server.forever = {command: flood}
            before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, monotonic()
            if command == "IDLE":
                # A talkative folder is no error; it may end the IDLE, or the session.
                with contextlib.suppress(SessionLost):
                    await look(hurried, server.port)
            else:
                with pytest.raises(SessionLost):
                    await look(hurried, server.port)
            assert monotonic() - begun < PATIENCE / 2
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            assert grown < 60_000_000

    asyncio.run(run())


@pytest.mark.parametrize("command", ["GREETING", "CAPABILITY", "LOGIN", "SELECT", "UID SEARCH", "BODY", "UID STORE"])
def test_a_slow_drip_does_not_move_the_deadline(hurried: ImapInOptions, server_tls: TlsOptions, command: str) -> None:
    async def run() -> None:
        async with FakeImap(server_tls.server_context(), {"GREETING": b"* OK " + b"slow " * 20 + b"\r\n"}) as server:
            server.drip = frozenset((command,))
            begun = monotonic()
            with pytest.raises(SessionLost, match="no answer in time"):
                await look(hurried, server.port)
            assert monotonic() - begun < PATIENCE / 2  # and not for as long as bytes come

    asyncio.run(run())


def test_a_mail_without_end_is_too_large(options: ImapInOptions, server_tls: TlsOptions) -> None:
    part = b"* 1 FETCH (UID 1 BODY[]<0> {10000}\r\n" + b"x" * 10_000 + b")\r\n%t OK done\r\n"

    async def run() -> None:
        async with FakeImap(server_tls.server_context(), {"BODY": part}) as server:
            with pytest.raises(MailTooLarge):
                await look(options, server.port)
            assert sum(b"BODY.PEEK" in line for line in server.commands) == 11

    asyncio.run(run())


def test_answers_of_unusual_but_good_servers(options: ImapInOptions, server_tls: TlsOptions) -> None:
    answers = {
        "flag changes of others": b"* 9 FETCH (UID 9 FLAGS (\\Seen))\r\n* 1 FETCH (FLAGS (x) UID 1 BODY[]<0> {3}\r\n"
        b"a)b)\r\n* 2 FETCH (FLAGS ())\r\n%t OK done\r\n",
        "uid after": b"* 1 FETCH (BODY[]<0> {3}\r\na)b UID 1)\r\n%t OK done\r\n",
        "quoted": b'* 1 FETCH (UID 1 BODY[]<0> "a)b")\r\n%t OK done\r\n',
    }

    async def run() -> None:
        for what, body in answers.items():
            if options.driver == "aioimaplib" and what == "quoted":
                continue  # it counts the parentheses of a quoted string, and waits for more
            async with FakeImap(server_tls.server_context(), {"BODY": body}) as server:
                assert await look(options, server.port) == b"a)b", what

    asyncio.run(run())


def test_refusals_carry_their_code_and_leave_the_session_open(options: ImapInOptions, server_tls: TlsOptions) -> None:
    async def run() -> None:
        async with FakeImap(
            server_tls.server_context(), {"STATUS": b"%t NO [NONEXISTENT] no such folder\r\n"}
        ) as server:
            session = await open_session(options, server.port)
            try:
                with pytest.raises(CommandRefused, match=r"STATUS refused: .NONEXISTENT. no such folder") as caught:
                    await session.command("STATUS", '"x"', "(UIDVALIDITY)")
                assert caught.value.code == "NONEXISTENT"
                await session.command("NOOP")
            finally:
                session.abort()

    asyncio.run(run())


def test_a_login_that_is_refused_says_why_without_the_password(options: ImapInOptions, server_tls: TlsOptions) -> None:
    async def run() -> None:
        refusal = {"LOGIN": b"%t NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"}
        async with FakeImap(server_tls.server_context(), refusal) as server:
            with pytest.raises(ProtocolError, match="AUTHENTICATIONFAILED") as caught:
                await ImapSource(attrs.evolve(options, port=server.port)).run(Route(), print)
            assert "s3cret" not in str(caught.value)

    asyncio.run(run())


def test_what_keeps_no_marks_is_said_at_once(options: ImapInOptions, server_tls: TlsOptions) -> None:
    head = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n"
    cases: list[tuple[dict[str, bytes], dict[str, Any], str]] = [
        ({"SELECT": head + b"* OK [PERMANENTFLAGS (\\Seen)] x\r\n%t OK done\r\n"}, {}, "keeps no keywords"),
        ({"SELECT": head + b"%t OK [READ-ONLY] done\r\n"}, {}, "read-only"),
        (
            {"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n%t OK done\r\n"},
            {"done": "move"},
            "neither MOVE nor UIDPLUS",
        ),
    ]

    async def run() -> None:
        for answers, changes, message in cases:
            async with FakeImap(server_tls.server_context(), answers) as server:
                with pytest.raises(ConfigError, match=message):
                    await ImapSource(attrs.evolve(options, port=server.port, **changes)).run(Route(), print)

    asyncio.run(run())


def test_without_move_a_mail_is_copied_and_only_it_is_expunged(options: ImapInOptions, server_tls: TlsOptions) -> None:
    answers = {
        "CAPABILITY": b"* CAPABILITY IMAP4rev1 UIDPLUS\r\n%t OK done\r\n",
        "UID COPY": b"%t OK done\r\n",
        "UID EXPUNGE": b"* 1 EXPUNGE\r\n%t OK done\r\n",
        "UID STORE": b"%t OK done\r\n",
    }

    async def run() -> None:
        async with FakeImap(server_tls.server_context(), answers) as server:
            session = await open_session(options, server.port)
            try:
                await Mailbox(session).select("INBOX")
                await Mailbox(session).move(1, "Traités")
            finally:
                session.abort()
            sent = [line.partition(b" ")[2] for line in server.commands[-3:]]
            assert sent == [
                b'UID COPY 1 "Trait&AOk-s"',
                b"UID STORE 1 +FLAGS.SILENT (\\Deleted)",
                b"UID EXPUNGE 1",
            ]

    asyncio.run(run())


def test_starttls_that_is_not_offered_sends_nothing_in_clear(authority: Authority) -> None:
    options = ImapInOptions(
        host="localhost",
        port=1,
        tls=TlsOptions(ca=(authority.certificate,)),
        username="pfi@hopital.test",
        password=Secret("s3cret"),
    )
    stripped = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%t OK done\r\n"}
    injected = {
        "CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n%t OK done\r\n",
        "STARTTLS": b"%t OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
    }

    async def run() -> None:
        for answers, message in (
            (stripped, "STARTTLS"),
            (injected, "injects"),
            ({"GREETING": b"* PREAUTH x\r\n"}, "PREAUTH"),
        ):
            async with FakeImap(None, answers) as server:
                with pytest.raises(SessionLost, match=message):
                    await open_session(options, server.port)
                assert not any(b"AUTH" in line or b"LOGIN" in line for line in server.commands)

    asyncio.run(run())


def test_a_source_reads_on_after_hostile_answers(hurried: ImapInOptions, server_tls: TlsOptions) -> None:
    """The mail whose fetch breaks the session waits; the source lives."""

    async def run() -> None:
        async with FakeImap(server_tls.server_context(), BAD_ANSWERS["a huge literal announced"]) as server:
            route = Route()
            async with reading(attrs.evolve(hurried, port=server.port), route) as source:
                await until(lambda: list(source.mails.waiting) == [1], "put the mail off")
            assert not route.taken

    asyncio.run(run())
