"""The threaded driver when its caller goes while its thread waits: the thread ends, and alone closes its socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pfiflow.endpoints.imap_driver import SessionLost
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.endpoints.imap_threaded import ThreadedSession
from pfiflow.endpoints.imap_wire import Wire
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.certificates import Authority
from tests.endpoints.imap_reading import PATIENCE, until


@pytest.fixture
def options(tmp_path: Path) -> ImapInOptions:
    authority = Authority(tmp_path)
    return ImapInOptions(
        host="localhost", port=1, security="tls", tls=TlsOptions(ca=(authority.certificate,)), username="a@b.test"
    )


@asynccontextmanager
async def cancelled(running: asyncio.Task[object]) -> AsyncIterator[None]:
    yield
    running.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(running, return_exceptions=True)


def test_a_handshake_is_interrupted(options: ImapInOptions) -> None:
    """The server says nothing; without an interruption, its end would be that of connect-timeout, half a minute."""

    async def run() -> None:
        greeted, gone = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read(1)  # of the ClientHello
            greeted.set()
            while await reader.read(65536):
                pass
            gone.set()
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            assert options.tls is not None
            secured = ImapInOptions(host="localhost", port=port, security="tls", tls=options.tls, username="a@b.test")
            opening = asyncio.create_task(ThreadedSession.open(secured, options.tls.client_context()))
            async with cancelled(opening), asyncio.timeout(PATIENCE):
                await greeted.wait()
            async with asyncio.timeout(PATIENCE):
                await gone.wait()

    asyncio.run(run())


def test_the_socket_of_a_working_thread_is_shut_and_not_closed(options: ImapInOptions) -> None:
    """Closed under the thread, its number would be the next connection's, whose bytes the thread could take."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        session = ThreadedSession(Wire(ours), options)
        working, may_end = threading.Event(), threading.Event()

        def work() -> None:
            working.set()
            may_end.wait(PATIENCE)

        with theirs:
            theirs.settimeout(PATIENCE)
            running = asyncio.create_task(session._run("the test", work))
            async with cancelled(running):
                await asyncio.to_thread(working.wait, PATIENCE)
            assert await asyncio.to_thread(theirs.recv, 1) == b""  # shut
            assert ours.fileno() != -1
            may_end.set()
            await until(lambda: ours.fileno() == -1, "closed")
            with pytest.raises(SessionLost, match="closed"):
                await session.command("NOOP")

    asyncio.run(run())


def test_an_idle_session_is_closed_at_once(options: ImapInOptions) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ThreadedSession(Wire(ours), options).abort()
        assert ours.fileno() == -1


def test_an_interrupted_wire_begins_nothing_more() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        wire.allow(PATIENCE, 1000)
        wire.interrupt()
        for begin in (lambda: wire.send(b"x"), wire.readline, lambda: wire.read(1)):
            with pytest.raises(SessionLost, match="closed"):
                begin()
