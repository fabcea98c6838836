"""`mllp-out` against a real peer that answers as it should, wrongly, late, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pfiflow.endpoints.mllp_client import MllpClient, OutcomeUnknown
from pfiflow.endpoints.mllp_out import MllpOutOptions, MllpSink
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import Deferred, Rejected
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Address, Duration
from pfiflow.hl7 import ack, mllp
from pfiflow.hl7.er7 import parse
from pfiflow.segur.receipts import Addressee, Original, Party, mail_receipt
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dpi import DpiSimulator
from tests.flow.bakery import eventually

pytestmark = pytest.mark.anyio

ORIGINAL = Original("DPI-1", Party("DPI", "CH"), Party("PFI", "CH"))
SHORT = Duration(0.15)
NOW = datetime(2025, 1, 2, tzinfo=UTC)
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def receipt(number: int = 1) -> bytes:
    return mail_receipt(ORIGINAL, Addressee("a@demo.mssante.fr"), control_id=f"R{number}", now=NOW)


def exchange(number: int = 1) -> Exchange[bytes]:
    return Exchange(f"x{number}", receipt(number))


@pytest.fixture
def dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


@contextlib.asynccontextmanager
async def sink(port: int, **options: Any) -> AsyncIterator[MllpSink]:
    made = MllpSink(MllpOutOptions(address=Address("127.0.0.1", port), **options))
    try:
        yield made
    finally:
        await made.aclose()


@contextlib.asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[int]:
    """A hand-made peer; its port."""
    tasks: set[asyncio.Task[Any]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await peer(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


def ids(dpi: DpiSimulator) -> list[str]:
    return [message.control_id for message in dpi.received]


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["AA", "CA"])
async def test_an_accepted_message_is_done_with_a_note(dpi: DpiSimulator, code: Any) -> None:
    dpi.script(code)
    async with sink(dpi.port) as out:
        sent = await out.send(exchange())
    (note,) = sent.notes
    assert (note.event, note.facts["code"], note.facts["control_id"]) == ("acknowledged", code, "R1")
    assert sent.body == receipt()
    assert [message.raw for message in dpi.received] == [receipt()]


async def test_what_was_accepted_is_not_sent_again(dpi: DpiSimulator) -> None:
    """A step after it failed; the exchange comes again with what was achieved. Another message, or peer, is another."""
    async with sink(dpi.port) as out:
        sent = await out.send(exchange())
        again = await out.send(exchange().with_headers(sent.headers))
        assert [note.event for note in again.notes] == ["acknowledged-before"]
        await out.send(exchange(2).with_headers(again.headers))
    assert ids(dpi) == ["R1", "R2"]
    with DpiSimulator() as second:
        async with sink(second.port) as out:
            await out.send(exchange().with_headers(sent.headers))
        assert ids(second) == ["R1"]


@pytest.mark.parametrize("code", ["AE", "CE"])
@pytest.mark.parametrize(("error", "detail"), [("101", ""), ("103", ""), ("207", "902"), ("207", "Z-9"), ("200", "")])
async def test_a_refused_message_is_rejected_with_the_codes(
    dpi: DpiSimulator, code: Any, error: str, detail: str
) -> None:
    dpi.script(code, error=error, detail=detail, text="PAT-TROIS DOMINIQUE is unknown here")
    async with sink(dpi.port) as out:
        with pytest.raises(Rejected) as refusal:
            await out.send(exchange())
    (problem,) = refusal.value.problems
    assert (problem.code, problem.detail_code, problem.location) == (error, detail, "MSH-10")
    assert "PAT-TROIS" not in str(refusal.value)  # a peer's own words may quote a patient


@pytest.mark.parametrize("code", ["AR", "CR"])
async def test_not_now_is_tried_again_on_the_same_connection(dpi: DpiSimulator, code: Any) -> None:
    dpi.script(code, times=1)
    async with sink(dpi.port) as out:
        with pytest.raises(Deferred) as deferral:
            await out.send(exchange())
        assert not deferral.value.unavailable
        assert not isinstance(deferral.value, OutcomeUnknown)
        await out.send(exchange())
    assert ids(dpi) == ["R1", "R1"]
    assert dpi.connections == 1


async def test_what_is_no_message_is_rejected_and_not_sent(dpi: DpiSimulator) -> None:
    async with sink(dpi.port) as out:
        for wrong in (b"hello", receipt() + b"OBX|\x1c\r", b""):
            with pytest.raises(Rejected):
                await out.send(Exchange("x", wrong))
    assert dpi.connections == 0


# -- connections -------------------------------------------------------------------------------------------------------


async def test_one_connection_carries_all_messages_in_order(dpi: DpiSimulator) -> None:
    dpi.script("AA", delay=0.005)
    async with sink(dpi.port) as out, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(out.send, exchange(number))
            await anyio.lowlevel.checkpoint()
    assert ids(dpi) == [f"R{number}" for number in range(20)]
    assert dpi.connections == 1


async def test_a_pool_has_several_connections_at_work(dpi: DpiSimulator) -> None:
    dpi.script("AA", delay=0.1)
    async with sink(dpi.port, pool_size=3) as out, anyio.create_task_group() as tasks:
        for number in range(9):
            tasks.start_soon(out.send, exchange(number))
    assert dpi.connections == 3
    assert sorted(ids(dpi)) == [f"R{number}" for number in range(9)]


async def test_a_peer_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        async with sink(taken.getsockname()[1]) as out:
            with pytest.raises(Deferred) as deferral:
                await out.send(exchange())
    assert deferral.value.unavailable


async def test_a_peer_that_accepts_no_connection_in_time_is_unavailable(
    dpi: DpiSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any, **__: Any) -> None:
        await anyio.sleep(10)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
    async with sink(dpi.port, connect_timeout=SHORT) as out:
        with pytest.raises(Deferred, match="cannot connect") as deferral:
            await out.send(exchange())
    assert deferral.value.unavailable


async def test_the_server_restarts_between_messages(dpi: DpiSimulator) -> None:
    async with sink(dpi.port) as out:
        await out.send(exchange(1))
        await anyio.to_thread.run_sync(dpi.stop)
        await anyio.to_thread.run_sync(dpi.start)
        await out.send(exchange(2))  # the kept connection is found dead before the first byte
        dpi.drop_connections()
        await anyio.sleep(0.05)
        await out.send(exchange(3))
    assert ids(dpi) == ["R1", "R2", "R3"]
    assert dpi.connections == 3


async def test_an_old_connection_is_not_trusted(dpi: DpiSimulator) -> None:
    async with sink(dpi.port, idle_timeout=Duration(0.05)) as out:
        await out.send(exchange(1))
        await out.send(exchange(2))
        assert dpi.connections == 1
        await anyio.sleep(0.1)
        await out.send(exchange(3))
    assert dpi.connections == 2


# -- doubt -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["silence", "close", "garbage", "wrong-id"])
async def test_without_its_acknowledgement_the_outcome_is_unknown(dpi: DpiSimulator, answer: Any) -> None:
    dpi.script(answer, times=1)
    async with sink(dpi.port, ack_timeout=SHORT) as out:
        with pytest.raises(Deferred, match="unknown whether it was taken") as deferral:
            await out.send(exchange())
        assert (deferral.value.unavailable, deferral.value.hold) == (False, False)
        await out.send(exchange())
    assert ids(dpi) == ["R1", "R1"]  # the same MSH-10: the peer can tell
    assert dpi.connections == 2


@pytest.mark.parametrize("answer", ["silence", "close", "wrong-id"])
async def test_doubt_may_make_a_dead_letter_or_hold_the_channel(dpi: DpiSimulator, answer: Any) -> None:
    dpi.script(answer)
    async with sink(dpi.port, ack_timeout=SHORT, on_ack_timeout="dead-letter") as out:
        with pytest.raises(Rejected, match="unknown whether it was taken") as refusal:
            await out.send(exchange())
    assert refusal.value.problems[0].detail_code == "unknown"
    async with sink(dpi.port, ack_timeout=SHORT, on_ack_timeout="hold") as out:
        with pytest.raises(Deferred) as deferral:
            await out.send(exchange())
    assert deferral.value.hold


async def test_a_late_acknowledgement_is_never_the_next_messages(dpi: DpiSimulator) -> None:
    dpi.script("AA", times=1, delay=0.3)
    dpi.script("AE", times=1, delay=0.3, error="103")
    async with sink(dpi.port, ack_timeout=SHORT) as out:
        with pytest.raises(Deferred):
            await out.send(exchange(1))
        slow = MllpOutOptions(address=Address("127.0.0.1", dpi.port), ack_timeout=Duration(5.0))
        out.options = slow
        out._idle.clear()
        with pytest.raises(Rejected, match="103"):  # R1's AA arrives while R2 waits
            await out.send(exchange(2))
    assert ids(dpi) == ["R1", "R2"]


async def test_a_second_acknowledgement_spoils_the_connection(dpi: DpiSimulator) -> None:
    dpi.script("twice", times=1)
    async with sink(dpi.port) as out:
        await out.send(exchange(1))
        await anyio.sleep(0.05)
        await out.send(exchange(2))
        await out.send(exchange(3))
    assert ids(dpi) == ["R1", "R2", "R3"]
    assert dpi.connections == 2


async def test_a_peer_that_answers_and_closes_has_answered(dpi: DpiSimulator) -> None:
    dpi.script("answer-close")
    async with sink(dpi.port) as out:
        for number in range(3):
            await out.send(exchange(number))
            await anyio.sleep(0.05)
    assert ids(dpi) == [f"R{number}" for number in range(3)]


async def test_each_message_may_have_its_own_connection(dpi: DpiSimulator) -> None:
    dpi.script("answer-close")  # closes while the next message may already be on its way
    async with sink(dpi.port, idle_timeout=Duration(0.0)) as out:
        for number in range(20):
            await out.send(exchange(number))
    assert ids(dpi) == [f"R{number}" for number in range(20)]
    assert dpi.connections == 20


async def test_cut_in_mid_message_is_no_doubt() -> None:
    """A message of which the end never left us cannot have been taken: `on-ack-timeout` does not apply."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.transport.abort()

    large = receipt() + b"OBX|3|TX|" + b"x" * 30_000_000 + b"\r"
    async with serving(peer) as port, sink(port, on_ack_timeout="dead-letter") as out:
        with pytest.raises(Deferred, match="mid-message") as deferral:
            await out.send(Exchange("x", large))
    assert not deferral.value.unavailable


async def test_cut_by_the_simulator_in_mid_message_arrives_at_the_next_attempt(dpi: DpiSimulator) -> None:
    dpi.script("cut", times=2)
    async with sink(dpi.port) as out:
        for _ in range(2):
            with pytest.raises(Deferred):
                await out.send(exchange())
        await out.send(exchange())
    assert ids(dpi) == ["R1"]


async def test_a_peer_that_reads_nothing_is_given_up_without_doubt() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    large = receipt() + b"OBX|3|TX|" + b"x" * 30_000_000 + b"\r"
    options: dict[str, Any] = {"ack_timeout": Duration(0.3), "on_ack_timeout": "dead-letter"}
    async with serving(peer) as port, sink(port, **options) as out:
        with pytest.raises(Deferred, match="could not be sent"):
            await out.send(Exchange("x", large))


async def test_an_answer_before_the_end_of_the_message_counts_and_ends_the_connection() -> None:
    connections = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        header = parse((await reader.read(200)).removeprefix(b"\x0b").split(b"\r")[0])
        writer.write(mllp.encode(ack.acknowledge(header, "AE", control_id="1", now=NOW)))
        await writer.drain()
        await reader.read()

    large = receipt() + b"OBX|3|TX|" + b"x" * 30_000_000 + b"\r"
    async with serving(peer) as port, sink(port) as out:
        for _ in range(2):
            with pytest.raises(Rejected):
                await out.send(Exchange("x", large))
    assert connections == 2


@pytest.mark.parametrize(
    "split", [lambda data: [data[:1], data[1:]], lambda data: [data[:-1], data[-1:]], lambda data: [data + b"\r\n"]]
)
async def test_an_acknowledgement_in_pieces_is_one(split: Callable[[bytes], list[bytes]]) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            answer = ack.acknowledge(parse(data[1:-2]), "AA", control_id="1", now=NOW)
            for piece in split(mllp.encode(answer)):
                writer.write(piece)
                await asyncio.sleep(0.02)

    async with serving(peer) as port, sink(port, ack_timeout=Duration(2.0)) as out:
        for number in range(3):
            await out.send(exchange(number))


async def test_a_cancelled_sending_leaves_no_connection_for_the_next(dpi: DpiSimulator) -> None:
    dpi.script("AA", times=1, delay=0.3)
    async with sink(dpi.port) as out:
        with anyio.move_on_after(0.1):
            await out.send(exchange(1))
        await out.send(exchange(2))
    assert ids(dpi) == ["R1", "R2"]
    assert dpi.connections == 2


async def test_the_client_says_what_it_got(dpi: DpiSimulator) -> None:
    client = MllpClient(Address("127.0.0.1", dpi.port))
    assert (await client.deliver(receipt())).accepted
    assert ack.parse_ack(await client.exchange(receipt(2))).control_id == "R2"
    await client.aclose()
    await client.aclose()
    await eventually(lambda: not dpi._connections)


# -- TLS ---------------------------------------------------------------------------------------------------------------


async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server, client = authority.issue("127.0.0.1"), authority.issue("pfi.localhost")
    tls = TlsOptions(ca=(authority.certificate,), certificate=server.certificate, key=server.key)
    ours = TlsOptions(ca=(authority.certificate,), certificate=client.certificate, key=client.key)
    with DpiSimulator(tls=tls) as dpi:
        async with sink(dpi.port, tls=ours) as out:
            await out.send(exchange(1))
            await out.send(exchange(2))
        async with sink(dpi.port, tls=TlsOptions(ca=(stranger.certificate,))) as out:
            with pytest.raises(Deferred, match="certificate was refused") as deferral:
                await out.send(exchange(3))
            assert deferral.value.unavailable
        async with sink(dpi.port, tls=TlsOptions(ca=(tmp_path / "missing.pem",))) as out:
            with pytest.raises(Deferred, match="TLS settings") as deferral:
                await out.send(exchange(3))
            assert deferral.value.unavailable
        assert ids(dpi) == ["R1", "R2"]


async def test_a_large_message_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("127.0.0.1")
    with DpiSimulator(tls=TlsOptions(certificate=server.certificate, key=server.key)) as dpi:
        dpi.script("AA")
        large = receipt() + b"OBX|3|TX|" + b"x" * 5_000_000 + b"\r"
        async with sink(dpi.port, tls=TlsOptions(ca=(authority.certificate,))) as out:
            for _ in range(2):
                await out.send(Exchange("x", large))
        assert [len(message.raw) for message in dpi.received] == [len(large)] * 2
        assert dpi.connections == 1
