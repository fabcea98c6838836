"""`mllp-in` on real sockets: what is answered, in what order, and what a hostile or broken peer can do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from pfiflow.endpoints.mllp import MllpInOptions, MllpSource
from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange, Note
from pfiflow.flow.options import Address, Duration, Size
from pfiflow.hl7 import ack, mllp
from tests.flow.bakery import eventually

pytestmark = pytest.mark.anyio

Handler = Callable[[Exchange[Any]], Awaitable[Receipt]]


def message(control_id: str, text: str = "") -> bytes:
    header = f"MSH|^~\\&|RIS|HOSP|PFI|HOSP|20210606||MDM^T02^MDM_T02|{control_id}|P|2.6|||||FRA|UNICODE UTF-8"
    return f"{header}\rOBX|1|TX|||{text}\r".encode()


class Desk:
    """Receives as an engine would, and remembers."""

    def __init__(self, behave: Callable[[str], Receipt | Exception | float | None] = lambda _id: None) -> None:
        self.taken: list[str] = []
        self.origins: list[str] = []
        self.behave = behave

    async def __call__(self, exchange: Exchange[Any], /) -> Receipt:
        control_id = exchange.headers["hl7-control-id"]
        outcome = self.behave(control_id)
        if isinstance(outcome, float):
            await anyio.sleep(outcome)
        elif isinstance(outcome, Exception):
            raise outcome
        elif isinstance(outcome, Receipt):
            return outcome
        self.taken.append(control_id)
        self.origins.append(exchange.origin)
        return Receipt(exchange)

    def new_id(self) -> str:
        return "not asked for"

    async def journal(self, *notes: Note, exchange_id: str = "", rationed: bool = False) -> None:
        """Not asked for."""


@asynccontextmanager
async def listening(desk: Desk, **options: Any) -> AsyncIterator[tuple[MllpSource, Address]]:
    source = MllpSource(MllpInOptions(listen=Address("127.0.0.1", 0), **options))
    address: list[Address] = []
    ready = anyio.Event()

    def started(text: str) -> None:
        host, _, port = text.removeprefix("mllp://").rpartition(":")
        address.append(Address(host, int(port)))
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run, desk, started)
        with anyio.fail_after(30):
            await ready.wait()
        try:
            yield source, address[0]
        finally:
            tasks.cancel_scope.cancel()


async def read_acks(reader: asyncio.StreamReader, count: int) -> list[ack.Acknowledgement]:
    decoder = mllp.Decoder(2**20)
    found: list[ack.Acknowledgement] = []
    with anyio.fail_after(30):
        while len(found) < count:
            data = await reader.read(65536)
            if not data:
                break
            found += [ack.parse_ack(e.payload) for e in decoder.feed(data) if isinstance(e, mllp.Frame)]
    return found


async def test_a_stored_message_is_answered_aa() -> None:
    desk = Desk()
    async with listening(desk) as (_, address):
        client = MllpClient(address)
        answer = ack.parse_ack(await client.exchange(message("1")))
        await client.aclose()
    assert (answer.code, answer.control_id, desk.taken) == ("AA", "1", ["1"])
    assert desk.origins[0].startswith("mllp-in 127.0.0.1:")


@pytest.mark.parametrize(
    ("outcome", "code", "error"),
    [
        (Rejected(Problem("101", "PID-3 is empty", "PID-3"), Problem("103", "bad", "OBX-11")), "AE", "101"),
        (Deferred("the engine is stopping"), "AR", "207"),
        (Receipt(Exchange("x", b""), duplicate="same"), "AA", ""),
        (Receipt(Exchange("x", b""), duplicate="other"), "AE", "207"),
        (ZeroDivisionError("patient name"), "AE", "207"),
    ],
    ids=["rejected", "deferred", "same again", "same id, other content", "defect"],
)
async def test_each_outcome_has_its_answer(outcome: Any, code: str, error: str) -> None:
    async with listening(Desk(lambda _id: outcome)) as (_, address):
        client = MllpClient(address)
        raw = await client.exchange(message("1"))
        await client.aclose()
    answer = ack.parse_ack(raw)
    assert answer.code == code
    assert (answer.errors[0].code if answer.errors else "") == error
    if isinstance(outcome, Rejected):
        assert len(answer.errors) == 2
    assert b"patient name" not in raw


async def test_acks_leave_in_the_order_of_arrival_however_long_each_takes() -> None:
    desk = Desk(lambda control_id: 0.05 if int(control_id) % 3 == 0 else None)
    async with listening(desk) as (_, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"".join(mllp.encode(message(str(n))) for n in range(30)))
        acks = await read_acks(reader, 30)
        writer.close()
    assert [a.control_id for a in acks] == [str(n) for n in range(30)]
    assert desk.taken == [str(n) for n in range(30)]


async def test_what_is_not_hl7_is_refused_and_the_next_message_is_taken() -> None:
    desk = Desk()
    async with listening(desk) as (_, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"noise" + mllp.encode(b"hello") + mllp.encode(b"") + b"\x0bcut" + mllp.encode(message("7")))
        acks = await read_acks(reader, 3)
        writer.close()
    assert [a.code for a in acks] == ["AE", "AE", "AA"]
    assert desk.taken == ["7"]


async def test_an_oversized_message_is_refused_by_its_header_and_the_next_is_taken() -> None:
    desk = Desk()
    async with listening(desk, max_frame=Size(10_000)) as (_, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(mllp.encode(message("big", "x" * 50_000)) + mllp.encode(message("ok")))
        acks = await read_acks(reader, 2)
        writer.close()
    assert [(a.code, a.control_id) for a in acks] == [("AE", "big"), ("AA", "ok")]
    assert "max-frame" in acks[0].errors[0].message
    assert desk.taken == ["ok"]


async def test_a_peer_that_is_not_allowed_is_closed() -> None:
    async with listening(Desk(), allow=("10.0.0.0/8",)) as (_, address):
        with pytest.raises(Deferred):
            await MllpClient(address, ack_timeout=2).exchange(message("1"))


async def test_connections_are_bounded() -> None:
    async with listening(Desk(), max_connections=2) as (source, address):
        clients = [MllpClient(address, ack_timeout=2) for _ in range(3)]
        for client in clients[:2]:
            await client.exchange(message("1"))
        with pytest.raises(Deferred):
            await clients[2].exchange(message("1"))
        assert len(source.connections) == 2
        await clients[0].aclose()
        await anyio.sleep(0.05)
        await clients[2].exchange(message("1"))
        for client in clients:
            await client.aclose()


async def test_a_message_that_is_never_completed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.endpoints.mllp._SWEEP", 0.02)
    desk = Desk()
    async with listening(desk, frame_timeout=Duration(0.05)) as (source, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(mllp.encode(message("1"))[:-2])
        with anyio.fail_after(30):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        assert not source.connections
        assert source.buffered == 0
    assert desk.taken == []


async def test_a_peer_that_never_reads_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """It would keep its messages in memory, and its place among the connections, for ever."""
    desk = Desk()
    async with listening(desk, frame_timeout=Duration(0.2)) as (source, address):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (address.host, address.port))
        await eventually(lambda: bool(source.connections))
        (connection,) = source.connections
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.transport.set_write_buffer_limits(high=4096)
        with suppress(OSError), anyio.move_on_after(30):
            for number in range(100_000):
                await asyncio.get_running_loop().sock_sendall(client, mllp.encode(message(str(number))))
        await eventually(lambda: not source.connections)
        client.close()
        assert "does not read its acknowledgements" in caplog.text
        assert source.buffered == 0


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.endpoints.mllp._SWEEP", 0.02)
    async with listening(Desk(), idle_timeout=Duration(0.05)) as (_, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        with anyio.fail_after(30):
            assert await reader.read() == b""
        writer.close()


async def test_a_peer_that_floods_is_slowed_and_memory_stays_bounded() -> None:
    desk = Desk(lambda _id: 0.01)
    async with listening(desk, pipeline=2, max_buffered=Size(50 * 2**20)) as (source, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        frame = mllp.encode(message("1", "x" * 100_000))
        most = 0

        async def flood() -> None:
            for _ in range(50):
                writer.write(frame)
                await writer.drain()

        async def watch() -> None:
            nonlocal most
            while len(desk.taken) < 50:
                most = max(most, source.buffered)
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            tasks.start_soon(watch)
            await read_acks(reader, 50)
        writer.close()
    assert len(desk.taken) == 50
    assert most < 10 * len(frame)


async def test_beyond_max_buffered_a_connection_is_closed_and_nothing_of_it_was_acknowledged() -> None:
    desk = Desk()
    async with listening(desk, max_buffered=Size(100_000)) as (source, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"\x0b" + b"x" * 300_000)
        with anyio.fail_after(30):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        assert source.buffered == 0
        client = MllpClient(address)
        assert ack.parse_ack(await client.exchange(message("1"))).code == "AA"
        await client.aclose()


async def test_bytes_outside_frames_end_the_connection() -> None:
    async with listening(Desk(), max_garbage=Size(10_000)) as (_, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET / HTTP/1.1\r\n" * 2000)
        with anyio.fail_after(30):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


async def test_stopping_answers_what_is_in_progress_and_drops_what_was_only_read() -> None:
    desk = Desk(lambda _id: 0.1)
    async with listening(desk) as (source, address):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"".join(mllp.encode(message(str(n))) for n in range(5)))
        await anyio.sleep(0.05)
        await source.stop_accepting()
        acks = await read_acks(reader, 5)
        writer.close()
        with pytest.raises(Deferred):
            await MllpClient(address, ack_timeout=1, connect_timeout=1).exchange(message("late"))
    assert [a.control_id for a in acks] == ["0"]
    assert desk.taken == ["0"]


async def test_a_peer_that_leaves_before_its_ack_does_not_lose_its_message() -> None:
    desk = Desk(lambda _id: 0.05)
    async with listening(desk) as (source, address):
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(mllp.encode(message("1")))
        await writer.drain()
        await anyio.sleep(0.02)
        writer.transport.abort()
        await anyio.sleep(0.1)
        assert not source.connections
    assert desk.taken == ["1"]


async def test_the_client_gives_up_on_a_silent_peer_and_closes() -> None:
    async with listening(Desk(lambda _id: 0.5)) as (_, address):
        client = MllpClient(address, ack_timeout=0.1)
        with pytest.raises(Deferred, match=r"no acknowledgement within 0\.1 s"):
            await client.exchange(message("1"))
