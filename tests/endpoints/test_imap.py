"""`imap-in` over both drivers, against a real Dovecot and our simulator; both require a client certificate."""

from __future__ import annotations

import asyncio
import importlib.util
import tracemalloc
from collections.abc import Iterator
from itertools import count
from time import monotonic
from typing import Any, Literal

import attrs
import pytest

from pfiflow.endpoints.imap import COMPONENTS, ImapSource
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import ConfigError, Deferred, PfiflowError, Problem, Rejected
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, Secret, Size
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.imap.server import ImapSimulator
from tests.endpoints.imap_reading import PATIENCE, Route, mail, reading, until
from tests.endpoints.imap_servers import SERVERS, ImapServer, serving

DRIVERS = [
    "threaded",
    pytest.param(
        "aioimaplib",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("aioimaplib") is None, reason="aioimaplib (an extra) is not installed"
        ),
    ),
]
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[ImapServer]:
    with serving(request.param, authority) as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"pfi{next(_NUMBERS)}@hopital.test"


@pytest.fixture
def secure(authority: Authority) -> TlsOptions:
    ours = authority.issue("pfi@hopital.test")
    return TlsOptions(ca=(authority.certificate,), certificate=ours.certificate, key=ours.key)


@pytest.fixture(params=DRIVERS)
def options(request: pytest.FixtureRequest, server: ImapServer, user: str, secure: TlsOptions) -> ImapInOptions:
    common: dict[str, Any] = {"host": "localhost", "username": user, "tls": secure, "poll": Duration(0.2)}
    if request.param == "aioimaplib":
        return ImapInOptions(
            port=server.tls_port, security="tls", driver="aioimaplib", auth="login", password=Secret("any"), **common
        )
    return ImapInOptions(port=server.port, **common)


def test_mails_are_handed_over_oldest_first_and_marked_without_being_seen(
    server: ImapServer, user: str, options: ImapInOptions
) -> None:
    first, second = mail("first"), mail("second", 300_000)
    server.deliver(user, first, second)

    async def run() -> None:
        route = Route()
        async with reading(options, route):
            await route.takes(2)
            await until(lambda: server.flags(user) == [["$PfiflowDone"]] * 2, "marked both")
            await asyncio.sleep(0.5)
        assert [exchange.body for exchange in route.taken] == [first, second]
        headers = route.taken[1].headers
        assert {name: headers[name] for name in ("mailbox", "imap-uid", "imap-size")} == {
            "mailbox": user,
            "imap-uid": "2",
            "imap-size": str(len(second)),
        }
        assert int(headers["imap-uidvalidity"]) > 0
        assert route.taken[0].origin == f"imap-in {user}"
        assert set(headers) == set(COMPONENTS[0].sets)

    asyncio.run(run())


def test_what_is_marked_is_not_read_again(server: ImapServer, user: str, options: ImapInOptions) -> None:
    server.deliver(user, mail("first"))

    async def run() -> None:
        route = Route()
        async with reading(options, route):
            await until(lambda: server.flags(user) == [["$PfiflowDone"]], "marked")
        server.deliver(user, mail("second"))
        async with reading(options, route):
            await until(lambda: server.flags(user) == [["$PfiflowDone"]] * 2, "marked")
        assert route.subjects == ["first", "second"]

    asyncio.run(run())


def test_move_takes_done_and_refused_mails_to_folders_that_it_makes(
    server: ImapServer, user: str, options: ImapInOptions
) -> None:
    server.deliver(user, mail("good"), mail("bad"), mail("also-good"))
    options = attrs.evolve(options, done="move", done_folder="Traités & rangés", refused_folder="Refus")

    def refuse_bad(exchange: Exchange[bytes]) -> Receipt | None:
        if b"<bad@" in exchange.body:
            raise Rejected(Problem("207", "not for us"))
        return Receipt(exchange, duplicate="same")  # a duplicate is done as well

    async def run() -> None:
        route = Route(refuse_bad)
        async with reading(options, route):
            await until(lambda: not server.mails(user), "emptied the folder")
        assert route.subjects == ["good", "bad", "also-good"]

    asyncio.run(run())
    assert server.subjects(user, "Traités & rangés") == ["good", "also-good"]
    assert server.subjects(user, "Refus") == ["bad"]
    assert "Refus" in server.subscribed(user)


def test_refused_mails_get_their_own_keyword(server: ImapServer, user: str, options: ImapInOptions) -> None:
    server.deliver(user, mail("bad"), mail("other-content"), mail("good"))

    def answer(exchange: Exchange[bytes]) -> Receipt | None:
        if b"<bad@" in exchange.body:
            raise Rejected(Problem("207", "not for us"))
        return Receipt(exchange, duplicate="other") if b"<other" in exchange.body else None

    async def run() -> None:
        async with reading(options, Route(answer)):
            marks = [["$PfiflowRefused"], ["$PfiflowRefused"], ["$PfiflowDone"]]
            await until(lambda: server.flags(user) == marks, "marked all")

    asyncio.run(run())


def test_a_large_mail_costs_its_size_once(
    server: ImapServer, user: str, options: ImapInOptions, authority: Authority
) -> None:
    if isinstance(server, ImapSimulator):
        pytest.skip("its memory is this process's as well")
    size = 30_000_000
    large = mail("large", size)

    async def run() -> int:
        route = Route()
        async with reading(options, route):
            tracemalloc.start()  # not the process's highest RSS, which depends on what ran here before
            try:
                server.deliver(user, large)
                await route.takes(1)
                _, highest = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert route.taken[0].body == large
            return highest

    highest = asyncio.run(run())
    assert highest < 1.3 * size, f"{highest / size:.2f} times the mail"


def test_a_mail_over_the_limit_is_refused_without_being_fetched(
    server: ImapServer, user: str, options: ImapInOptions, caplog: pytest.LogCaptureFixture
) -> None:
    server.deliver(user, mail("large", 100_000), mail("small"))

    async def run() -> None:
        route = Route()
        async with reading(attrs.evolve(options, max_mail_size=Size(50_000), refused_folder="Refus"), route):
            await until(lambda: len(server.mails(user, "Refus")) == 1, "moved")
            await route.takes(1)
        assert route.subjects == ["small"]

    asyncio.run(run())
    assert "UID 1 refused: 1001" in caplog.text


def test_parts_make_the_mail_whatever_their_size(server: ImapServer, user: str, options: ImapInOptions) -> None:
    sent = [b"Subject: exact\r\n\r\n" + b"\n" * n for n in (4096 - 18, 8192 - 18, 5000, 1)]
    server.deliver(user, *sent)

    async def run() -> None:
        route = Route()
        async with reading(attrs.evolve(options, fetch_size=Size(4096)), route):
            await route.takes(4)
        assert [exchange.body.replace(b"\r\n", b"\n") for exchange in route.taken] == [
            content.replace(b"\r\n", b"\n") for content in sent
        ]

    asyncio.run(run())


def test_a_deferred_mail_is_tried_again_and_lets_the_others_pass(
    server: ImapServer, user: str, options: ImapInOptions
) -> None:
    server.deliver(user, mail("poisoned"), mail("second"), mail("third"))
    attempts = count(1)

    def answer(exchange: Exchange[bytes]) -> None:
        if b"<poisoned@" in exchange.body and next(attempts) < 3:
            raise Deferred("not now")

    async def run() -> None:
        route = Route(answer)
        async with reading(attrs.evolve(options, retry_delay=Duration(0.3)), route):
            await until(lambda: server.flags(user) == [["$PfiflowDone"]] * 3, "marked all")
        assert route.subjects == ["poisoned", "second", "third", "poisoned", "poisoned"]

    asyncio.run(run())


def test_a_defect_is_tried_a_few_times_and_then_refused(
    server: ImapServer, user: str, options: ImapInOptions, caplog: pytest.LogCaptureFixture
) -> None:
    server.deliver(user, mail("defective"), mail("second"))

    def answer(exchange: Exchange[bytes]) -> None:
        if b"<defective@" in exchange.body:
            raise ZeroDivisionError("a text that quotes the document")

    async def run() -> None:
        route = Route(answer)
        async with reading(attrs.evolve(options, retry_delay=Duration(0.1), max_defects=3), route):
            marks = [["$PfiflowRefused"], ["$PfiflowDone"]]
            await until(lambda: server.flags(user) == marks, "marked both")
        assert route.subjects == ["defective", "second", "defective", "defective"]

    asyncio.run(run())
    assert "ZeroDivisionError" in caplog.text
    assert "quotes" not in caplog.text


def test_a_route_that_defers_everything_is_not_given_everything(
    server: ImapServer, user: str, options: ImapInOptions
) -> None:
    server.deliver(user, *(mail(str(number)) for number in range(20)))

    def answer(_exchange: Exchange[bytes]) -> None:
        raise Deferred("the store is full", retry_after=60)

    async def run() -> None:
        route = Route(answer)
        async with reading(options, route):
            await route.takes(3)
            await asyncio.sleep(0.5)
        assert route.subjects == ["0", "1", "2"]

    asyncio.run(run())


@pytest.mark.parametrize("idle", [True, False])
def test_new_mail_wakes_the_reader(server: ImapServer, user: str, options: ImapInOptions, *, idle: bool) -> None:
    async def run() -> None:
        route = Route()
        async with reading(attrs.evolve(options, idle=idle), route):
            for number in range(1, 4):
                await asyncio.sleep(0.3)
                sent = monotonic()
                server.deliver(user, mail(str(number)))
                await route.takes(number)
                assert monotonic() - sent < PATIENCE / 2  # far less than idle-renew
        assert route.subjects == ["1", "2", "3"]

    asyncio.run(run())


def test_idle_is_renewed_and_looks_at_the_folder_each_time(
    server: ImapServer, user: str, options: ImapInOptions
) -> None:
    async def run() -> None:
        route = Route()
        async with reading(attrs.evolve(options, idle_renew=Duration(0.1)), route):
            await asyncio.sleep(1)
            server.deliver(user, mail("late"))
            await route.takes(1)

    asyncio.run(run())


def test_mails_that_another_client_removes_are_forgotten(server: ImapServer, user: str, options: ImapInOptions) -> None:
    server.deliver(user, *(mail(str(number)) for number in range(5)))

    def answer(exchange: Exchange[bytes]) -> None:
        if b"<0@" in exchange.body:
            server.empty(user)
        raise Deferred("not now", retry_after=0.1)

    async def run() -> None:
        route = Route(answer)
        async with reading(options, route) as source:
            await until(lambda: route.taken and not source.mails.waiting, "forgot")
            server.deliver(user, mail("next"))
            await until(lambda: "next" in route.subjects, "took the next")

    asyncio.run(run())


def test_a_folder_made_anew_is_read_anew(
    server: ImapServer, user: str, options: ImapInOptions, caplog: pytest.LogCaptureFixture
) -> None:
    server.create_folder(user, "Entrants")
    server.deliver(user, mail("old"), into="Entrants")

    async def run() -> None:
        route = Route()
        async with reading(attrs.evolve(options, folder="Entrants", idle=False), route):
            await until(lambda: server.flags(user, "Entrants") == [["$PfiflowDone"]], "marked")
            server.delete_folder(user, "Entrants")
            server.create_folder(user, "Entrants")
            server.deliver(user, mail("new"), into="Entrants")
            await route.takes(2)
        assert route.subjects == ["old", "new"]
        old, new = (exchange.headers for exchange in route.taken)
        assert old["imap-uid"] == new["imap-uid"] == "1"
        assert old["imap-uidvalidity"] != new["imap-uidvalidity"]

    asyncio.run(run())
    assert "UIDVALIDITY changed" in caplog.text


def test_a_missing_folder_stops_the_route_with_its_name(options: ImapInOptions) -> None:
    with pytest.raises(PfiflowError, match="Absent: SELECT refused"):
        asyncio.run(ImapSource(attrs.evolve(options, folder="Absent")).run(Route(), print))


def test_a_stop_lets_the_mail_in_flight_be_marked_and_takes_no_other(
    server: ImapServer, user: str, options: ImapInOptions
) -> None:
    server.deliver(user, mail("first"), mail("second"))

    async def run() -> None:
        gate, entered, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

        class Slow(Route):
            async def __call__(self, exchange: Exchange[Any], /) -> Receipt:
                receipt = await super().__call__(exchange)
                entered.set()
                await gate.wait()
                answered.set()
                return receipt

        route = Slow()
        async with reading(options, route) as source:
            await entered.wait()
            await source.stop_accepting()
            gate.set()
            await answered.wait()  # the engine cancels as soon as nothing is in flight
        assert route.subjects == ["first"]

    asyncio.run(run())
    assert server.flags(user) == [["$PfiflowDone"], []]


def test_several_mailboxes_at_once(server: ImapServer, user: str, options: ImapInOptions) -> None:
    users = [f"{name}-{user}" for name in ("a", "b", "c")]

    async def run() -> None:
        async def one(name: str) -> None:
            route = Route()
            async with reading(attrs.evolve(options, username=name), route):
                server.deliver(name, mail(name))
                await until(lambda: server.flags(name) == [["$PfiflowDone"]], "marked")
            assert [exchange.headers["mailbox"] for exchange in route.taken] == [name]

        await asyncio.gather(*map(one, users))

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["none", "foreign"])
def test_a_client_without_a_good_certificate_gets_nothing(
    server: ImapServer,
    options: ImapInOptions,
    secure: TlsOptions,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    kind: Literal["none", "foreign"],
) -> None:
    monkeypatch.setattr("pfiflow.endpoints.imap._RECONNECT", (0.0,))
    other = Authority(tmp_path_factory.mktemp("foreign")).issue("pfi@hopital.test")
    tls = (
        attrs.evolve(secure, certificate=None, key=None)
        if kind == "none"
        else attrs.evolve(secure, certificate=other.certificate, key=other.key)
    )
    route = Route()
    with pytest.raises(PfiflowError):
        asyncio.run(ImapSource(attrs.evolve(options, tls=tls)).run(route, print))
    assert not route.taken


def test_a_server_of_another_authority_is_refused(
    options: ImapInOptions,
    secure: TlsOptions,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pfiflow.endpoints.imap._RECONNECT", ())
    tls = attrs.evolve(secure, ca=(Authority(tmp_path_factory.mktemp("other")).certificate,))
    with pytest.raises(PfiflowError, match="TLS: CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(ImapSource(attrs.evolve(options, tls=tls)).run(Route(), print))


def test_login_and_implicit_tls_with_the_default_driver(server: ImapServer, user: str, secure: TlsOptions) -> None:
    server.deliver(user, mail("first"))
    password = Secret('a "quoted" \\ password')
    for auth in ("plain", "login"):
        options = ImapInOptions(
            host="localhost",
            port=server.tls_port,
            security="tls",
            tls=secure,
            username=user,
            auth=auth,
            password=password,
            keyword=f"${auth}",
        )

        async def run(options: ImapInOptions = options) -> None:
            route = Route()
            async with reading(options, route):
                await route.takes(1)

        asyncio.run(run())


def test_a_mailbox_where_nothing_can_be_marked_is_said_at_the_start(server: ImapServer, options: ImapInOptions) -> None:
    # Both servers refuse to make this folder: the mark of done mails would fail for each of them
    options = attrs.evolve(options, done="move", done_folder="a/b")
    with pytest.raises(PfiflowError, match="CREATE refused"):
        asyncio.run(ImapSource(options).run(Route(), print))


def test_the_aioimaplib_driver_says_when_its_library_is_missing(
    options: ImapInOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    if options.driver == "aioimaplib":
        with pytest.raises(ConfigError, match=r"pfiflow\[aioimaplib\]"):
            COMPONENTS[0].build(options)
    else:
        assert COMPONENTS[0].build(options)
