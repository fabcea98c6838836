"""An MLLP client: one connection, one message in flight, every wait with a deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from attrs import define, field

from pfiflow.errors import Deferred, ProtocolError
from pfiflow.flow.options import Address
from pfiflow.hl7 import mllp

__all__ = ["MllpClient"]

_CHUNK = 64 * 2**10
_MAX_ACK = 2**20


@define(eq=False)
class MllpClient:
    """Sends messages to one MLLP peer and gives back its acknowledgements, in order. Not to be shared by tasks."""

    address: Address
    context: ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    ack_timeout: float = 30.0
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _decoder: mllp.Decoder = field(init=False, factory=lambda: mllp.Decoder(_MAX_ACK))
    _frames: deque[bytes] = field(init=False, factory=deque)

    async def exchange(self, payload: bytes) -> bytes:
        """Send one message, wait for its acknowledgement.

        Raises Deferred: the peer cannot be reached, closed, or did not answer in time (the connection is then closed,
        and whether the message was taken over is unknown). Raises ProtocolError: what came back is not MLLP.
        """
        reader, writer = await self._connect()
        try:
            writer.writelines(mllp.frame_parts(payload))
            async with asyncio.timeout(self.ack_timeout):
                await writer.drain()
                return await self._read_frame(reader)
        except TimeoutError:
            await self.aclose()
            raise Deferred(f"{self.address}: no acknowledgement within {self.ack_timeout:g} s") from None
        except OSError as error:
            await self.aclose()
            raise Deferred(f"{self.address}: connection lost before the acknowledgement ({error})") from error
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            try:
                async with asyncio.timeout(self.connect_timeout):
                    await streams[1].wait_closed()
            except (OSError, TimeoutError):
                streams[1].transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._decoder = mllp.Decoder(_MAX_ACK)
            self._frames.clear()
            try:
                async with asyncio.timeout(self.connect_timeout):
                    self._streams = await asyncio.open_connection(
                        self.address.host, self.address.port, ssl=self.context
                    )
            except (OSError, TimeoutError) as error:
                raise Deferred(f"{self.address}: cannot connect ({error or 'timeout'})") from error
        return self._streams

    async def _read_frame(self, reader: asyncio.StreamReader) -> bytes:
        while not self._frames:
            data = await reader.read(_CHUNK)
            if not data:
                raise ConnectionResetError("closed by the peer")
            for event in self._decoder.feed(data):
                if not isinstance(event, mllp.Frame):
                    raise ProtocolError(f"{self.address}: the answer is not an MLLP frame")
                self._frames.append(event.payload)
        return self._frames.popleft()
