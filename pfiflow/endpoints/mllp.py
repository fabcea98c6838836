"""`mllp-in`: an MLLP listener that acknowledges only what is stored.

One asyncio protocol a connection; frames are handed to the route one at a time, so that acknowledgements leave in the
order of arrival and a patient's messages keep theirs. `AA`: stored (or an exact duplicate). `AE`: the message is wrong.
`AR`: not now (overload, no space, stopping). When the engine fails unexpectedly the answer is `AE` 207.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, cast

import anyio
from attrs import define, field, frozen

from pfiflow.endpoints.mllp_double import MllpPeer
from pfiflow.endpoints.tls import SERVER_TLS_EXAMPLE, TlsContext, TlsOptions, check_server
from pfiflow.errors import ConfigError, Deferred, Problem, ProtocolError, Rejected
from pfiflow.flow.component import Component, Double, Field, Receipt, Receive
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Address, Duration, Size, option
from pfiflow.flow.outcome import safe_traceback
from pfiflow.hl7 import ack, er7, mllp
from pfiflow.hl7.faults import CharsetError

__all__ = ["COMPONENTS", "MllpInOptions", "MllpSource"]

logger = logging.getLogger("pfiflow.mllp")

_SWEEP = 1.0  # seconds between looks at the deadlines of all connections
_CLOSE_TIMEOUT = 5.0


@frozen
class MllpInOptions:
    """Options of `mllp-in`."""

    listen: Address = option(doc="Address to listen on; port 0 takes a free one.", example="127.0.0.1:2575")
    tls: TlsOptions | None = option(
        default=None, doc="TLS; unset: plain TCP, for a trusted network only.", example=SERVER_TLS_EXAMPLE
    )
    allow: tuple[str, ...] = option(
        default=(), doc="Networks whose hosts may connect; empty: all that can reach the port.", example=["10.1.0.0/16"]
    )
    max_frame: Size = option(default=Size(100 * 2**20), doc="Largest message accepted.", example="100MiB")
    max_connections: int = option(default=100, doc="Connections served at once; more are closed.", example=100)
    max_buffered: Size = option(
        default=Size(512 * 2**20),
        doc="Bytes of incoming messages held in memory, all connections together.",
        example="512MiB",
    )
    pipeline: int = option(default=8, doc="Messages read ahead of their acknowledgement on one connection.", example=8)
    idle_timeout: Duration = option(
        default=Duration(3600.0), doc="A connection silent for that long between messages is closed.", example="1h"
    )
    frame_timeout: Duration = option(
        default=Duration(60.0),
        doc="A connection silent for that long within a message, or that does not take its acknowledgement, is closed.",
        example="60s",
    )
    max_garbage: Size = option(
        default=Size(64 * 2**10), doc="Bytes outside frames after which a connection is closed.", example="64KiB"
    )

    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """`allow`, parsed. Raises ValueError."""
        return tuple(ipaddress.ip_network(text) for text in self.allow)


@define(eq=False)
class _Connection(asyncio.Protocol):
    """One peer. Reads frames; `serve` answers them one by one."""

    source: MllpSource
    decoder: mllp.Decoder
    frames: deque[mllp.Frame | mllp.Oversized] = field(factory=deque)
    buffered: int = 0
    garbage: int = 0
    last_byte: float = 0.0
    peer: str = ""
    closing: bool = False
    ended: bool = False  # the peer will send no more
    paused: bool = False
    transport: asyncio.Transport = field(init=False)
    wake: asyncio.Event = field(factory=asyncio.Event)
    writable: asyncio.Event = field(factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("peername")[:2]
        self.peer = f"{host}:{port}"
        self.last_byte = asyncio.get_running_loop().time()
        self.writable.set()
        if refusal := self.source.refusal(host):
            logger.warning("connection from %s refused: %s", host, refusal)
            self.closing = True
            self.transport.abort()
            return
        self.source.connections.add(self)
        self.task = asyncio.get_running_loop().create_task(self.serve())

    def data_received(self, data: bytes) -> None:
        self.last_byte = asyncio.get_running_loop().time()
        for event in self.decoder.feed(data):
            self._take(event)
        self._account()
        if self.source.buffered > self.source.options.max_buffered:
            logger.warning(
                "%s: closed, incoming messages exceed max-buffered; nothing of it was acknowledged", self.peer
            )
            self.abort()
        elif len(self.frames) >= self.source.options.pipeline and not self.paused:
            self.paused = True
            self.transport.pause_reading()

    def _take(self, event: mllp.Event) -> None:
        match event:
            case mllp.Frame() | mllp.Oversized():
                self.frames.append(event)
                self.wake.set()
            case mllp.Garbage(count=count):
                self.garbage += count
                logger.warning("%s: %d bytes outside a frame skipped", self.peer, count)
                if self.garbage > self.source.options.max_garbage:
                    logger.warning("%s: closed, this is not an MLLP peer", self.peer)
                    self.abort()
            case mllp.Truncated(count=count):
                logger.warning("%s: a frame was cut after %d bytes; it was not acknowledged", self.peer, count)

    def _account(self) -> None:
        held = self.decoder.pending + sum(len(f.payload) for f in self.frames if isinstance(f, mllp.Frame))
        self.source.buffered += held - self.buffered
        self.buffered = held

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def eof_received(self) -> bool:
        """Half-closed: what was received is still answered, then `serve` closes. TLS knows no half-closed state."""
        self.ended = True
        self.wake.set()
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closing = True
        for event in self.decoder.close():
            self._take(event)
        self.wake.set()
        self.writable.set()
        self.source.buffered -= self.buffered
        self.buffered = 0
        if self.task is None:
            self.source.connections.discard(self)

    def abort(self) -> None:
        """Close at once; what was not acknowledged will be sent again by the peer."""
        self.closing = True
        self.frames.clear()
        self.transport.abort()
        self.wake.set()

    async def serve(self) -> None:
        """Answer frames in order until the connection ends."""
        try:
            while True:
                while not self.frames:
                    if self.closing or self.ended or self.source.stopping:
                        return
                    self.wake.clear()
                    await self.wake.wait()
                # No name for the frame: a large one would stay in memory until the next comes.
                answer = await self.source.answer(self.frames.popleft(), self.peer)
                self._account()
                if self.paused and len(self.frames) < self.source.options.pipeline:
                    self.paused = False
                    if not self.closing:
                        self.transport.resume_reading()
                if self.closing:
                    continue  # the peer is gone: what it had sent is stored all the same, its copy will be a duplicate
                self.transport.writelines(mllp.frame_parts(answer))
                if not self.writable.is_set():
                    async with asyncio.timeout(self.source.options.frame_timeout):
                        await self.writable.wait()
        except TimeoutError:
            logger.warning("%s: closed, it does not read its acknowledgements", self.peer)
            self.abort()
        except Exception as defect:  # noqa: BLE001 - one connection must not take the listener down
            logger.error("%s: connection closed after a defect\n%s", self.peer, safe_traceback(defect))  # noqa: TRY400
        finally:
            self.source.connections.discard(self)
            self.transport.close()


@define(eq=False)
class MllpSource:
    """The listener. Built by the component `mllp-in`."""

    options: MllpInOptions
    connections: set[_Connection] = field(factory=set)
    buffered: int = 0
    stopping: bool = False
    _networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = field(init=False)
    _receive: Receive | None = None
    _server: asyncio.Server | None = None
    _answers: int = 0

    def __attrs_post_init__(self) -> None:
        self._networks = self.options.networks()

    def hand_over_to(self, receive: Receive) -> None:
        """Where `answer` hands messages to."""
        self._receive = receive

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        """Serve until cancelled. Raises OSError when the address cannot be bound."""
        self.hand_over_to(receive)
        loop = asyncio.get_running_loop()
        context = (
            None if self.options.tls is None else _following_context(TlsContext(self.options.tls, server_side=True))
        )
        server = await loop.create_server(
            lambda: _Connection(self, mllp.Decoder(self.options.max_frame)),
            self.options.listen.host,
            self.options.listen.port,
            ssl=context,
            ssl_handshake_timeout=10.0 if context is not None else None,
            backlog=128,
        )
        self._server = server
        host, port = server.sockets[0].getsockname()[:2]
        started(f"mllp://{Address(host, port)}")
        try:
            while True:
                await anyio.sleep(_SWEEP)
                self._sweep(loop.time())
        finally:
            server.close()
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_TIMEOUT):
                await self._close_connections()

    async def stop_accepting(self) -> None:
        """No new connection, no new frame; the frame being answered on each connection gets its acknowledgement."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.frames.clear()
            if not connection.closing:
                connection.transport.pause_reading()
            connection.wake.set()

    async def _close_connections(self) -> None:
        self.stopping = True
        tasks = [connection.task for connection in tuple(self.connections) if connection.task is not None]
        for connection in tuple(self.connections):
            connection.frames.clear()
            connection.wake.set()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT / 2)
        for task in tasks:
            task.cancel()

    def refusal(self, host: str) -> str:
        """Why this host may not connect now, or ""."""
        if self.stopping:
            return "stopping"
        if len(self.connections) >= self.options.max_connections:
            return f"{self.options.max_connections} connections are open (max-connections)"
        if self._networks and not any(ipaddress.ip_address(host.partition("%")[0]) in net for net in self._networks):
            return "not in `allow`"
        return ""

    def _sweep(self, now: float) -> None:
        for connection in tuple(self.connections):
            silent = now - connection.last_byte
            if connection.decoder.in_frame and not connection.paused and silent > self.options.frame_timeout:
                logger.warning("%s: closed, a message was not completed in time", connection.peer)
                connection.abort()
            elif not connection.frames and connection.buffered == 0 and silent > self.options.idle_timeout:
                logger.info("%s: closed, idle", connection.peer)
                connection.closing = True
                connection.wake.set()

    async def answer(self, frame: mllp.Frame | mllp.Oversized, peer: str) -> bytes:
        """The acknowledgement of one frame, once its outcome is durable."""
        assert self._receive is not None
        if isinstance(frame, mllp.Oversized):
            problem = Problem("207", f"the message exceeds {frame.limit} bytes (max-frame); it was not read", "MSH")
            return self._acknowledge(_header_of(frame.head), "AE", (problem,), head=frame.head)
        message = _header_of(frame.payload)
        if message is None:
            problem = Problem("100", "this is not an HL7 v2 message: no usable MSH segment", "MSH")
            return self._acknowledge(None, "AE", (problem,), head=frame.payload[: mllp.HEAD_SIZE])
        headers = {
            "hl7-control-id": _word(message, "MSH-10"),
            "hl7-type": f"{_word(message, 'MSH-9.1')}^{_word(message, 'MSH-9.2')}",
            "hl7-sender": f"{_word(message, 'MSH-3')}|{_word(message, 'MSH-4')}",
            "hl7-receiver": f"{_word(message, 'MSH-5')}|{_word(message, 'MSH-6')}",
        }
        exchange = Exchange("", frame.payload, headers, origin=f"mllp-in {peer}")
        try:
            receipt = await self._receive(exchange)
        except Rejected as rejection:
            return self._acknowledge(message, "AE", rejection.problems)
        except Deferred as deferral:
            return self._acknowledge(message, "AR", (Problem("207", deferral.message),))
        except Exception as defect:  # noqa: BLE001 - the peer gets an answer whatever happens
            logger.error("defect while taking a message in\n%s", safe_traceback(defect))  # noqa: TRY400 - it may quote one
            problem = Problem("207", "internal error of the PFI; it was logged, the message was not taken over")
            return self._acknowledge(message, "AE", (problem,))
        return self._accepted(message, receipt)

    def _accepted(self, message: er7.Message, receipt: Receipt) -> bytes:
        if receipt.duplicate == "other":
            problem = Problem(
                "207", "this control id was received before with another content; use a new MSH-10", "MSH-10"
            )
            return self._acknowledge(message, "AE", (problem,))
        return self._acknowledge(message, "AA", ())

    def _acknowledge(
        self,
        message: er7.Message | None,
        code: Literal["AA", "AE", "AR"],
        problems: tuple[Problem, ...],
        head: bytes = b"",
    ) -> bytes:
        self._answers = (self._answers + 1) % 10**8
        now = datetime.now(UTC).astimezone()
        control_id = f"{now:%y%m%d%H%M%S}{self._answers:08d}"  # MSH-10 holds 20 characters before HL7 2.7
        return ack.acknowledge(message, code, problems, control_id=control_id, now=now, head=head)


def _following_context(tls: TlsContext) -> ssl.SSLContext:
    """A context whose every handshake uses the files as they are then: a renewed certificate needs no restart."""
    context = tls.current()

    def renew(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        try:
            connection.context = tls.current()
        except (ConfigError, Deferred) as error:
            logger.error("TLS handshake refused: %s", error)  # noqa: TRY400 - the error says it all
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    context.sni_callback = renew
    return context


def _header_of(payload: bytes) -> er7.Message | None:
    """MSH alone, parsed; None when there is none."""
    ends = [end for end in (payload.find(b"\r", 0, 4096), payload.find(b"\n", 0, 4096)) if end >= 0]
    try:
        return er7.parse(payload[: min(ends)] if ends else payload[:4096])
    except ProtocolError:
        return None


def _word(message: er7.Message, path: str) -> str:
    """A text of MSH; "" when it is in no known character set: the route refuses the message, and journals that."""
    try:
        return message.get(path)
    except CharsetError:
        return ""


def _build(options: Any) -> MllpSource:
    return MllpSource(options)


def _build_double(options: Any) -> MllpPeer:
    return MllpPeer(MllpSource(options))


COMPONENTS = (
    Component(
        name="mllp-in",
        kind="source",
        build=_build,
        options=MllpInOptions,
        doc="Listens for HL7 v2 messages over MLLP (TCP or TLS) and acknowledges what is stored.",
        gives=bytes,
        sets={
            "hl7-control-id": Field("MSH-10."),
            "hl7-type": Field("MSH-9, as `MDM^T02`."),
            "hl7-sender": Field("MSH-3 and MSH-4, as `application|facility`."),
            "hl7-receiver": Field("MSH-5 and MSH-6, as `application|facility`."),
        },
        double=Double(build=_build_double),
        check=lambda options: check_server(options.tls),
        repeats="a peer that gets no answer sends its message once more",
        binds=lambda options: str(options.listen) if options.listen.port else None,
    ),
)
