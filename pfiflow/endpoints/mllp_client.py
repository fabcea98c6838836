"""An MLLP client: one connection kept and reused, one message in flight, every wait with a deadline.

What others' clients got wrong, and what is done here:

* An acknowledgement that comes too late is never taken for the next message's: after any doubt the connection is
  closed, and the next message has a new one. Bytes that come while nothing is asked veto the reuse of the connection.
* A message is written once. A connection that is found dead before the first byte is replaced; after the first byte
  nothing is repeated here: the caller decides, since the peer may have taken the message.
* What is known is said: `unavailable` (nothing was sent), a plain `Deferred` (the message's end never left us, so that
  nobody can have taken it), or `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from attrs import define, field

from pfiflow.endpoints.tls import TlsContext
from pfiflow.errors import ConfigError, Deferred, ProtocolError
from pfiflow.flow.options import Address
from pfiflow.hl7 import ack, er7, mllp

__all__ = ["Connector", "MllpClient", "OutcomeUnknown"]

_MAX_ACK = 2**20


class OutcomeUnknown(Deferred):
    """The whole message was sent and no usable answer came: the peer may have taken it, or not."""


@define(eq=False)
class _Link(asyncio.Protocol):
    """One connection: at most one answer is awaited; whatever else comes spoils it."""

    decoder: mllp.Decoder = field(factory=lambda: mllp.Decoder(_MAX_ACK))
    answer: asyncio.Future[bytes] | None = None
    spoilt: bool = False  # may not carry another message
    idle_since: float = 0.0
    transport: asyncio.Transport = field(init=False)
    closed: asyncio.Event = field(factory=asyncio.Event)
    writable: asyncio.Event = field(factory=asyncio.Event)
    _error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=1, low=0)  # "writable" then means: all of it left us
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        if self.answer is None or self.answer.done():
            self.spoilt = self.spoilt or bool(data.strip(b"\r\n"))
            return
        self._read(self.decoder.feed(data))
        if not self.answer.done() and not self.decoder.in_frame and data.strip(b"\r\n"):
            self._fail(ProtocolError("the answer is not an MLLP frame"))
        elif self.answer.done() and self.decoder.in_frame:
            self.spoilt = True

    def _read(self, events: list[mllp.Event]) -> None:
        for event in events:
            if self.answer is None or self.answer.done():
                self.spoilt = True
            elif isinstance(event, mllp.Frame):
                self.answer.set_result(event.payload)
                if not self.writable.is_set():  # answered before the end, as to a message that is too long
                    self.spoilt = True
                    self.writable.set()
            else:
                self._fail(ProtocolError("the answer is not an MLLP frame"))

    def _fail(self, error: Exception) -> None:
        self.spoilt = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._read(self.decoder.close())  # FS without its CR, then the end: a whole frame
        self._error = exc or ConnectionResetError("closed by the peer")
        self._fail(self._error)
        self.closed.set()
        self.writable.set()

    async def write(self, payload: bytes) -> None:
        """Return when the last byte was handed to the system. Raises OSError: the connection was lost before."""
        self.transport.writelines(mllp.frame_parts(payload))
        await self.writable.wait()
        if self._error is not None and not (self.answer and self.answer.done() and not self.answer.exception()):
            raise self._error


Connector: TypeAlias = Callable[[Callable[[], Any], Address, ssl.SSLContext | None], Awaitable[Any]]
"""Opens a connection for a protocol that the factory makes, and gives that protocol. Raises OSError, TimeoutError."""


async def _connect_tcp(factory: Callable[[], Any], address: Address, context: ssl.SSLContext | None) -> Any:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(factory, address.host, address.port, ssl=context)
    return protocol


@define(eq=False)
class MllpClient:
    """Sends messages to one MLLP peer and gives back its acknowledgements, in order. Not to be shared by tasks.

    Attributes:
        address: the peer.
        context: TLS, when there is one; a `TlsContext` follows its files.
        connect_timeout: seconds for the connection and its TLS handshake.
        ack_timeout: seconds for writing the message and for its acknowledgement, together.
        idle_timeout: seconds of silence after which a kept connection is not trusted any more; 0: each message has its
            own, None: never.
        connector: opens connections: by TCP, unless a test stands in for the network.
    """

    address: Address
    context: ssl.SSLContext | TlsContext | None = None
    connect_timeout: float = 10.0
    ack_timeout: float = 30.0
    idle_timeout: float | None = None
    connector: Connector = _connect_tcp
    _link: _Link | None = None

    async def deliver(self, payload: bytes) -> ack.Acknowledgement:
        """Send one HL7 message; its acknowledgement, checked to be this message's (MSA-2 is our MSH-10).

        Raises:
            MessageError: `payload` is no ER7 message; nothing was sent.
            Deferred, OutcomeUnknown: as `exchange`; an answer that is no acknowledgement of this message leaves the
                outcome unknown, and the connection is closed.
        """
        control_id = er7.parse(payload).get("MSH-10")
        try:
            answer = ack.parse_ack(await self.exchange(payload))
        except ProtocolError as error:
            self._abort()
            raise self._unknown(str(error)) from error
        if answer.control_id.strip() != control_id:
            self._abort()
            raise self._unknown("it acknowledged another message (MSA-2)")
        return answer

    async def exchange(self, payload: bytes) -> bytes:
        """Send one message, wait for its acknowledgement.

        Raises:
            Deferred: the peer cannot be reached (`unavailable`), or the connection was lost in mid-message.
            OutcomeUnknown: the message was sent; the peer closed, or did not answer in time. The connection is closed.
            ProtocolError: what came back is not MLLP, or the payload cannot be framed.
        """
        link = await self._connected()
        loop = asyncio.get_running_loop()
        link.answer = loop.create_future()
        sent = False
        try:
            async with asyncio.timeout(self.ack_timeout):
                await link.write(payload)
                sent = True
                return await link.answer
        except TimeoutError:
            self._abort()
            if sent:
                raise self._unknown(f"no acknowledgement within {self.ack_timeout:g} s") from None
            raise Deferred(f"{self.address}: could not be sent within {self.ack_timeout:g} s") from None
        except OSError as error:
            self._abort()
            if sent:
                raise self._unknown(f"connection lost before the acknowledgement ({error})") from error
            raise Deferred(f"{self.address}: connection lost in mid-message ({error})") from error
        except BaseException:
            self._abort()
            raise
        finally:
            if not link.answer.done():
                link.answer.cancel()
            elif not link.answer.cancelled():
                link.answer.exception()  # seen, whichever way we left
            link.answer = None
            link.idle_since = loop.time()

    async def aclose(self) -> None:
        """Close the connection."""
        link, self._link = self._link, None
        if link is None:
            return
        link.transport.close()
        try:
            async with asyncio.timeout(self.connect_timeout):
                await link.closed.wait()
        except TimeoutError:
            link.transport.abort()

    def _unknown(self, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(f"{self.address}: {why}; unknown whether it was taken")

    def _abort(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.transport.abort()

    async def _connected(self) -> _Link:
        """The kept connection if it can be trusted, else a new one."""
        if self._link is not None:
            await asyncio.sleep(0)  # what the system has received already is seen before it is too late
            silent = asyncio.get_running_loop().time() - self._link.idle_since
            too_old = self.idle_timeout is not None and silent >= self.idle_timeout
            if self._link.closed.is_set() or self._link.spoilt or too_old:
                self._link.transport.close()
                self._link = None
        if self._link is None:
            self._link = await self._connect()
        return self._link

    async def _connect(self) -> _Link:
        try:
            context = await self._context()
            async with asyncio.timeout(self.connect_timeout):
                link: _Link = await self.connector(_Link, self.address, context)
        except ssl.SSLCertVerificationError as error:
            cause = f"its certificate was refused: {error.verify_message}"
            raise Deferred(f"{self.address}: cannot connect ({cause})", unavailable=True) from error
        except (OSError, TimeoutError) as error:
            raise Deferred(f"{self.address}: cannot connect ({str(error) or 'timeout'})", unavailable=True) from error
        except ConfigError as error:
            raise Deferred(f"{self.address}: TLS settings: {error}", unavailable=True) from error
        return link

    async def _context(self) -> ssl.SSLContext | None:
        if isinstance(self.context, TlsContext):
            return await asyncio.to_thread(self.context.current)
        return self.context
