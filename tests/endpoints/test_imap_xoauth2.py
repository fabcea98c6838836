"""XOAUTH2 over both drivers: the token is read at each login; a refusal, a challenge, is told without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pfiflow.endpoints.imap import ImapSource
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import PfiflowError
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.imap.server import ImapSimulator
from tests.endpoints.imap_reading import PATIENCE, Route, mail, reading, until
from tests.endpoints.test_imap import DRIVERS
from tests.endpoints.test_imap_hostile import open_session

BOX = "pfi@hopital.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[ImapSimulator]:
    keys = authority.issue("localhost")
    tls = TlsOptions(certificate=keys.certificate, key=keys.key)
    with ImapSimulator(tls=tls, logins={BOX: "nobody knows"}, tokens={BOX: "t0ken"}) as simulator:
        yield simulator


@pytest.fixture(params=DRIVERS)
def options(
    request: pytest.FixtureRequest, server: ImapSimulator, authority: Authority, tmp_path: Path
) -> ImapInOptions:
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    tls = TlsOptions(ca=(authority.certificate,))
    return ImapInOptions(
        host="localhost",
        port=server.tls_port,
        security="tls",
        tls=tls,
        driver=request.param,
        auth="xoauth2",
        username=BOX,
        token_file=token,
    )


def test_a_good_token_logs_in(server: ImapSimulator, options: ImapInOptions) -> None:
    server.mailboxes.deliver(BOX, mail("first"))

    async def run() -> None:
        route = Route()
        async with reading(options, route):
            await until(lambda: route.told("mail-marked"), "marked")
        assert route.subjects == ["first"]
        assert route.told("mailbox-login")[0]["request"].endswith("TLS AUTH XOAUTH2")

    asyncio.run(run())


def test_a_token_that_is_refused_is_told_without_it(options: ImapInOptions) -> None:
    assert options.token_file is not None
    options.token_file.write_text("expired-s3cret")
    route = Route()

    async def run() -> None:
        async with asyncio.timeout(PATIENCE / 2):  # the challenge is answered, not waited out
            await ImapSource(options).run(route, print)

    with pytest.raises(PfiflowError) as caught:
        asyncio.run(run())
    (facts,) = route.told("mailbox-login-failed")
    for told in (str(caught.value), facts["response"]):
        assert "AUTHENTICATIONFAILED" in told
        assert "s3cret" not in told
        assert "Bearer" not in told


def test_a_renewed_token_is_used_by_the_next_login(server: ImapSimulator, options: ImapInOptions) -> None:
    assert options.token_file is not None
    options.token_file.write_text("expired")
    with pytest.raises(PfiflowError):
        asyncio.run(ImapSource(options).run(Route(), print))
    options.token_file.write_text("t0ken")
    server.mailboxes.deliver(BOX, mail("first"))

    async def run() -> None:
        route = Route()
        async with reading(attrs.evolve(options), route):
            await route.takes(1)

    asyncio.run(run())


def test_a_server_without_xoauth2_is_told(authority: Authority, options: ImapInOptions) -> None:
    keys = authority.issue("localhost")
    tls = TlsOptions(certificate=keys.certificate, key=keys.key)
    with ImapSimulator(tls=tls, logins={BOX: "x"}) as other:
        reader = attrs.evolve(options, port=other.tls_port)
        with pytest.raises(PfiflowError, match="XOAUTH2"):
            asyncio.run(_once(reader))


async def _once(options: ImapInOptions) -> None:
    session = await open_session(options, options.port)
    session.abort()
