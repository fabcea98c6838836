"""Every action of `imap-in` on its mailbox is told, with the answer; looks that find nothing are not."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest

from pfiflow.endpoints.imap import ImapSource
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import Deferred, PfiflowError, Problem, Rejected
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, Secret, Size
from pfiflow.simulators.certificates import Authority
from tests.endpoints.cutting_proxy import CuttingProxy
from tests.endpoints.imap_fake import FakeImap
from tests.endpoints.imap_reading import Route, mail, reading, until
from tests.endpoints.imap_servers import ImapServer
from tests.endpoints.test_imap import authority, options, secure, server, user  # noqa: F401 - fixtures


def fate(exchange: Exchange[bytes]) -> Receipt | None:
    """By the mail's subject."""
    if b"<refused@" in exchange.body:
        raise Rejected(Problem("207", "the name of a patient"))
    if b"<defective@" in exchange.body:
        raise ZeroDivisionError("the name of a patient")
    if b"<again@" in exchange.body:
        return Receipt(exchange, duplicate="same")
    if b"<other@" in exchange.body:
        return Receipt(exchange, duplicate="other")
    return None


def test_each_mails_mark_is_told_with_its_reason(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    subjects = ("taken", "refused", "defective", "again", "other")
    server.deliver(user, *map(mail, subjects), mail("large", 20_000))
    reader = attrs.evolve(options, max_mail_size=Size(10_000), retry_delay=Duration(0.05), max_defects=2)

    async def run() -> Route:
        route = Route(fate)
        async with reading(reader, route):
            await until(lambda: len(route.told("mail-marked")) == 6, "told of all")
        return route

    route = asyncio.run(run())
    marks = {facts["uid"]: facts for facts in route.told("mail-marked")}
    assert {uid: (facts["outcome"], facts.get("reason", "")) for uid, facts in marks.items()} == {
        "1": ("done", ""),
        "2": ("refused", "rejected: 207"),
        "3": ("refused", "2 defects, the last one ZeroDivisionError"),
        "4": ("done", "taken before"),
        "5": ("refused", "another content was taken under its identity"),
        "6": ("refused", f"{len(mail('large', 20_000))} bytes, over max-mail-size, 10000 bytes"),
    }
    assert marks["1"]["request"] == "UID STORE 1 +FLAGS $PfiflowDone"
    assert marks["2"]["request"] == "UID STORE 2 +FLAGS $PfiflowRefused"
    assert {facts["response"] for facts in marks.values()} == {"OK"}
    assert {facts["account"] for facts in marks.values()} == {user}
    (put_off,) = route.told("mail-put-off")
    assert (put_off["uid"], put_off["response"]) == ("3", "defect: ZeroDivisionError")
    by_exchange = {exchange_id: note.facts["uid"] for exchange_id, note in route.lines if note.event == "mail-marked"}
    handed_over = {by_exchange.get(exchange.id) for exchange in route.taken}
    assert handed_over == {"1", "2", "3", "4", "5", None}  # None: the first attempt at the defective one
    assert "patient" not in repr(route.lines)


def test_folders_made_and_moves_are_told(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    server.deliver(user, mail("taken"), mail("refused"))

    async def run() -> Route:
        route = Route(fate)
        async with reading(attrs.evolve(options, done="move"), route):
            await until(lambda: len(route.told("mail-marked")) == 2, "told of both")
        return route

    route = asyncio.run(run())
    assert [facts["request"] for facts in route.told("mailbox-folder")] == [
        "CREATE PFI-Refuses",
        "CREATE PFI-Traites",
    ]
    assert [facts["request"] for facts in route.told("mail-marked")] == [
        "UID MOVE 1 PFI-Traites",
        "UID MOVE 2 PFI-Refuses",
    ]


def test_logins_and_logouts_are_told_and_looks_are_not(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    async def run() -> Route:
        route = Route()
        async with reading(attrs.evolve(options, idle=False, poll=Duration(0.01)), route) as source:
            await asyncio.sleep(0.5)
            await source.stop_accepting()
            await until(lambda: route.told("mailbox-logout"), "told of the logout")
        return route

    route = asyncio.run(run())
    assert [note.event for _, note in route.lines] == ["mailbox-login", "mailbox-logout"]
    (login,) = route.told("mailbox-login")
    assert login["response"] == "OK"
    assert login["request"].startswith(f"localhost:{options.port} ")
    assert login["request"].endswith(("STARTTLS AUTH PLAIN", "TLS AUTH LOGIN"))
    assert login["account"] == user
    assert int(login["uidvalidity"])


def test_a_lost_session_and_the_next_login_are_told(
    server: ImapServer,  # noqa: F811
    user: str,  # noqa: F811
    options: ImapInOptions,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pfiflow.endpoints.imap._RECONNECT", (0.05,) * 20)
    server.deliver(user, mail("taken"))

    async def run() -> Route:
        async with CuttingProxy(options.port) as proxy:

            def answer(_exchange: Exchange[bytes]) -> None:
                proxy.lose, proxy.cut_at = True, 1  # the mark never arrives

            route = Route(answer)
            async with reading(attrs.evolve(options, port=proxy.port), route):
                await until(lambda: route.told("mail-marked"), "marked")
            return route

    route = asyncio.run(run())
    events = [note.event for _, note in route.lines]
    assert events == ["mailbox-login", "mailbox-lost", "mailbox-login", "mail-marked", "mailbox-logout"]
    assert "cut" in route.told("mailbox-lost")[0]["response"]


def test_a_folder_made_anew_is_told(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    server.create_folder(user, "Entrants")
    server.deliver(user, mail("first"), into="Entrants")
    reader = attrs.evolve(options, folder="Entrants", idle=False)

    async def run() -> Route:
        route = Route()
        async with reading(reader, route):
            await route.takes(1)
            await until(lambda: route.told("mail-marked"), "marked")
            server.delete_folder(user, "Entrants")  # on the loop: the reader looks at neither state
            server.create_folder(user, "Entrants")
            await until(lambda: route.told("mailbox-replaced"), "told")
        return route

    (facts,) = asyncio.run(run()).told("mailbox-replaced")
    assert facts["folder"] == "Entrants"


def test_a_deferral_is_told(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    server.deliver(user, mail("first"))

    def answer(_exchange: Exchange[bytes]) -> None:
        if len(route.taken) == 1:
            raise Deferred("no space", retry_after=0.05)

    route = Route(answer)

    async def run() -> None:
        async with reading(options, route):
            await until(lambda: route.told("mail-marked"), "marked")

    asyncio.run(run())
    (facts,) = route.told("mail-put-off")
    assert (facts["request"], facts["response"], facts["attempt"]) == ("UID FETCH 1", "no space", "1")


# -- a server that refuses: scripted -----------------------------------------------------------------------------------


@pytest.fixture
def server_tls(authority: Authority) -> TlsOptions:  # noqa: F811
    issued = authority.issue("localhost")
    return TlsOptions(certificate=issued.certificate, key=issued.key)


REFUSALS: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "login": ({"LOGIN": b"%t NO [AUTHENTICATIONFAILED] no such mailbox\r\n"}, {}, "AUTHENTICATIONFAILED"),
    "folder": ({"SELECT": b"%t NO [NONEXISTENT] no such folder\r\n"}, {}, "NONEXISTENT"),
    "no keywords": ({"SELECT": b"* OK [UIDVALIDITY 7] ok\r\n%t OK done\r\n"}, {}, "keeps no keywords"),
    "create": (
        {"STATUS": b"%t NO none\r\n", "CREATE": b"%t NO [NOPERM] not you\r\n"},
        {"refused_folder": "R"},
        "NOPERM",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_login_that_comes_to_nothing_is_told(
    authority: Authority,  # noqa: F811
    server_tls: TlsOptions,
    what: str,
) -> None:
    answers, changes, expected = REFUSALS[what]

    async def run() -> Route:
        route = Route()
        async with FakeImap(server_tls.server_context(), answers) as fake:
            reader = fake_options(authority, fake.port, **changes)
            with pytest.raises(PfiflowError):
                await ImapSource(reader).run(route, print)
        return route

    route = asyncio.run(run())
    assert [note.event for _, note in route.lines] == ["mailbox-login-failed"]
    (facts,) = route.told("mailbox-login-failed")
    assert expected in facts["response"]
    assert "s3cret" not in repr(route.lines)


def test_a_mark_that_is_refused_is_told(authority: Authority, server_tls: TlsOptions) -> None:  # noqa: F811
    async def run() -> Route:
        route = Route()
        refusing = {"UID STORE": b"%t NO [OVERQUOTA] full\r\n"}
        async with (
            FakeImap(server_tls.server_context(), refusing) as fake,
            reading(fake_options(authority, fake.port), route),
        ):
            await until(lambda: route.told("mail-not-marked"), "told")
        return route

    (facts,) = asyncio.run(run()).told("mail-not-marked")
    assert facts["outcome"] == "done"
    assert "OVERQUOTA" in facts["response"]


def fake_options(authority: Authority, port: int, **changes: Any) -> ImapInOptions:  # noqa: F811
    return ImapInOptions(
        host="localhost",
        port=port,
        security="tls",
        tls=TlsOptions(ca=(authority.certificate,)),
        auth="login",
        username="pfi@hopital.test",
        password=Secret("s3cret"),
        **changes,
    )
