"""MLLP without a network, for tests of routes: a listener that answers as scripted, and a peer that sends to `mllp-in`.

Both stand below the protocol: frames and what is made of acknowledgements are those of the real client and server.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from attrs import define, field, frozen

from pfiflow.errors import Problem
from pfiflow.flow.component import Receive
from pfiflow.flow.double import Outside, Reply
from pfiflow.flow.options import Address, option
from pfiflow.hl7 import ack, er7, mllp

if TYPE_CHECKING:
    from pfiflow.endpoints.mllp import MllpSource

__all__ = ["MllpAnswer", "MllpPeer", "ScriptedListener"]


@frozen
class MllpAnswer:
    """How an MLLP listener takes one message."""

    connection: Literal["open", "refused", "timeout"] = option(
        default="open", doc="Whether it can be reached.", example="refused"
    )
    reply: Literal["ack", "timeout", "closed", "another"] = option(
        default="ack",
        doc="What comes back: an acknowledgement; nothing in time; the end of the connection; the acknowledgement of "
        "another message.",
        example="timeout",
    )
    code: Literal["AA", "AE", "AR"] = option(default="AA", doc="MSA-1.", example="AE")
    error: str = option(default="", doc="ERR-3 (table 0357).", example="207")
    detail: str = option(default="", doc="ERR-5.", example="902")
    location: str = option(default="", doc="ERR-2.", example="PID-3.1")
    text: str = option(default="", doc="ERR-8.", example="unknown patient")


@define(eq=False)
class _Wire(asyncio.Transport):
    """The client's end of a connection: what it writes reaches the listener at once."""

    protocol: Any
    listener: ScriptedListener
    closing: bool = False

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.listener.take(b"".join(list_of_data), self)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


@define(eq=False)
class ScriptedListener:
    """The listener that an `mllp-out` under test sends to."""

    outside: Outside
    address: Address | None = None
    answers: int = 0

    async def connect(self, factory: Callable[[], Any], address: Address, context: ssl.SSLContext | None) -> Any:
        """See `Connector`."""
        del context
        answer: MllpAnswer = self.outside.answer
        if answer.connection == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        if answer.connection == "timeout":
            raise TimeoutError
        self.address = address
        protocol = factory()
        protocol.connection_made(_Wire(protocol, self))
        return protocol

    def take(self, frame: bytes, wire: _Wire) -> None:
        """One frame has come."""
        (event,) = mllp.Decoder(len(frame)).feed(frame)
        assert isinstance(event, mllp.Frame)
        self.outside.sent(event.payload, address=str(self.address))
        answer: MllpAnswer = self.outside.answer
        loop = asyncio.get_running_loop()
        match answer.reply:
            case "timeout":
                loop.call_soon(wire.protocol.answer.set_exception, TimeoutError())
            case "closed":
                loop.call_soon(wire.close)
            case _:
                loop.call_soon(wire.protocol.data_received, mllp.encode(self._acknowledge(event.payload, answer)))

    def _acknowledge(self, payload: bytes, answer: MllpAnswer) -> bytes:
        self.answers += 1
        message = er7.parse(payload)
        if answer.reply == "another":
            message = er7.parse(payload.replace(message.get("MSH-10").encode(), b"ANOTHER", 1))
        problems: tuple[Problem, ...] = ()
        if answer.error or answer.detail or answer.text or answer.code != "AA":
            code = answer.error or "207"
            problems = (Problem(code, answer.text, answer.location, detail_code=answer.detail),)
        return ack.acknowledge(message, answer.code, problems, control_id=f"T{self.answers}", now=datetime.now(UTC))


@define(eq=False)
class MllpPeer:
    """Sends to an `mllp-in` under test: one frame, one acknowledgement."""

    source: MllpSource = field()

    async def give(self, content: bytes, headers: Mapping[str, str], receive: Receive, /) -> Reply:
        """See `Peer`. The headers are those that the message gives; others cannot be."""
        del headers
        self.source.hand_over_to(receive)
        (event,) = mllp.Decoder(self.source.options.max_frame).feed(mllp.encode(content))
        assert isinstance(event, mllp.Frame | mllp.Oversized)
        return Reply(await self.source.answer(event, "127.0.0.1:49152"))
