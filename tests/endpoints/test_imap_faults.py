"""`imap-in` when the network or the server fails: cut in every state, stalled, restarted in the middle of a mail."""

from __future__ import annotations

import asyncio
from itertools import count

import attrs
import pytest

from pfiflow.endpoints.imap import ImapSource
from pfiflow.endpoints.imap_driver import SessionLost
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, Size
from tests.endpoints.cutting_proxy import CuttingProxy
from tests.endpoints.imap_reading import PROMPT, Route, mail, reading, until
from tests.endpoints.imap_servers import ImapServer
from tests.endpoints.test_imap import authority, options, secure, server, user  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.endpoints.imap._RECONNECT", (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0))


def done(place: ImapServer, name: str, number: int) -> bool:
    return place.flags(name) == [["$PfiflowDone"]] * number


@pytest.mark.parametrize("lose", [True, False])
def test_cut_in_every_state(server: ImapServer, user: str, options: ImapInOptions, *, lose: bool) -> None:  # noqa: F811
    """At each of the first pieces that the client sends: from the greeting, over the login, into IDLE."""

    async def run() -> None:
        async with CuttingProxy(options.port) as proxy:
            proxy.lose = lose
            states = 0
            while True:
                states += 1
                name = f"{states}-{user}"
                server.deliver(name, mail("first", 50_000), mail("second"))
                proxy.cut_at = states
                reader = attrs.evolve(
                    options, port=proxy.port, username=name, fetch_size=Size(20_000), retry_delay=Duration(0.05)
                )
                route = Route()
                async with reading(reader, route):
                    await until(lambda n=name: done(server, n, 2), f"marked both, cut at {states}")  # type: ignore[misc]
                assert set(route.subjects) == {"first", "second"}
                assert len(route.taken) == 2  # what was taken is known over a reconnection: only its mark is made again
                if proxy.cut_at is not None:
                    break
            assert states > 12  # login, search, sizes, three parts, mark, part, mark, IDLE

    asyncio.run(run())


def test_a_server_that_vanishes_is_noticed(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    server.deliver(user, mail("first"))

    async def run() -> None:
        async with CuttingProxy(options.port) as proxy:
            proxy.stall = True
            reader = attrs.evolve(
                options,
                port=proxy.port,
                command_timeout=Duration(0.5),
                connect_timeout=Duration(2),
                idle_renew=Duration(0.2),
            )
            route = Route()
            async with reading(reader, route):
                await until(lambda: done(server, user, 1), "marked")
                proxy.cut_at = 1  # from now on nothing comes through, in IDLE or at its end
                connections = proxy.connections
                await until(lambda: proxy.connections > connections, "connected again")
                proxy.cut_at = None
                server.deliver(user, mail("second"))
                await route.takes(2)

    asyncio.run(run())


def test_a_server_restarted_in_a_mail(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    large = mail("large", 20_000_000)
    server.deliver(user, large, mail("second"))

    async def run() -> None:
        async with CuttingProxy(options.port) as proxy:
            reader = attrs.evolve(options, port=proxy.port, fetch_size=Size(100_000), retry_delay=Duration(0.1))
            route = Route()
            async with reading(reader, route):
                await until(lambda: proxy.received > 3_000_000, "fetched a part")
                await asyncio.to_thread(server.stop)
                assert not route.taken
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.start)
                await until(lambda: done(server, user, 2), "marked both")
            assert sorted(route.subjects) == ["large", "second"]
            assert large in [exchange.body for exchange in route.taken]

    asyncio.run(run())


def test_a_server_that_stays_away_ends_the_source(
    options: ImapInOptions,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    unused_port: int,
) -> None:
    monkeypatch.setattr("pfiflow.endpoints.imap._RECONNECT", (0.0, 0.01))
    with pytest.raises(SessionLost, match="onnect"):
        asyncio.run(ImapSource(attrs.evolve(options, port=unused_port)).run(Route(), print))


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_mark_that_is_lost_is_made_on_the_next_connection_without_fetching(
    server: ImapServer,  # noqa: F811
    user: str,  # noqa: F811
    options: ImapInOptions,  # noqa: F811
) -> None:
    server.deliver(user, mail("first"))

    async def run() -> None:
        async with CuttingProxy(options.port) as proxy:

            def answer(_exchange: Exchange[bytes]) -> None:
                proxy.lose, proxy.cut_at = True, 1  # the next command, the mark, never arrives

            route = Route(answer)
            async with reading(attrs.evolve(options, port=proxy.port), route):
                await until(lambda: done(server, user, 1), "marked")
            assert len(route.taken) == 1

    asyncio.run(run())


def test_a_cancelled_reader_ends_at_once_in_every_state(server: ImapServer, user: str, options: ImapInOptions) -> None:  # noqa: F811
    """`reading` holds the source to that, while nothing comes through in any state."""

    async def run() -> None:
        async with CuttingProxy(options.port) as proxy:
            proxy.stall = True
            for state in range(1, 14):
                name = f"{state}-{user}"
                server.deliver(name, mail("first"))
                proxy.cut_at = state
                reader = attrs.evolve(options, port=proxy.port, username=name)
                connections = proxy.connections
                source = ImapSource(reader)
                running = asyncio.create_task(source.run(Route(), lambda _address: None))
                await until(lambda c=connections, r=running: proxy.connections > c or r.done(), "connected")  # type: ignore[misc]
                if running.done():
                    running.result()  # says why it never came to a connection
                await asyncio.sleep(0.1)
                running.cancel()
                async with asyncio.timeout(PROMPT):
                    await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def test_the_poison_that_cuts_the_connection_lets_others_pass(
    server: ImapServer,  # noqa: F811
    user: str,  # noqa: F811
    options: ImapInOptions,  # noqa: F811
) -> None:
    """A mail whose fetch always breaks the session (a server's defect) is not the end of the mailbox."""
    server.deliver(user, mail("poison", 400_000), mail("second"), mail("third"))
    numbers = count(1)

    def answer(exchange: Exchange[bytes]) -> Receipt | None:
        next(numbers)
        return None

    async def run() -> None:
        async with CuttingProxy(options.port) as proxy:
            # Its fetch does not fit into the time: every attempt is cut.
            limit = attrs.evolve(options, port=proxy.port, fetch_size=Size(10_000), retry_delay=Duration(0.3))
            route = Route(answer)
            seen = 0

            async def cut_large_transfers() -> None:
                nonlocal seen
                start = connections = 0

                def moved_on() -> bool:
                    return proxy.received - start > 120_000 or proxy.connections > connections

                def again() -> bool:
                    return proxy.connections > connections

                while True:
                    start, connections = proxy.received, proxy.connections
                    await until(moved_on, "moved on")
                    if proxy.connections == connections:
                        seen += 1
                        proxy.cut_at = 1
                        await until(again, "connected again")

            cutter = asyncio.create_task(cut_large_transfers())
            try:
                async with reading(limit, route):
                    await route.takes(2)
            finally:
                cutter.cancel()
                await asyncio.gather(cutter, return_exceptions=True)
            assert route.subjects[:2] == ["second", "third"]
            assert seen >= 1

    asyncio.run(run())
