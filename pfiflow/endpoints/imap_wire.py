"""The socket under imaplib: every read has a deadline for the whole answer and a budget of bytes.

imaplib documents `open`, `read`, `readline`, `send` and `shutdown` as what a subclass may replace. Its own read without
a bound: a literal of any announced size, untagged responses without end, and a time-out that each byte starts anew.
"""

from __future__ import annotations

import imaplib
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING

from pfiflow.endpoints.imap_driver import ANSWER_LIMIT, Arrivals, SessionLost

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["Imap", "Wire"]

_RECEIVE = 16 * 2**10  # a TLS record


class Wire:
    """A connected socket read by lines and by counts, within what `allow` granted last."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = bytearray()
        self._deadline = 0.0
        self._budget = 0
        self._interrupted = False

    def allow(self, seconds: float, count: int) -> None:
        """From now on, at most that many seconds and bytes until the next call."""
        self._deadline = monotonic() + seconds
        self._budget = count

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """TLS from here on. Raises SessionLost for bytes sent in clear after the agreement (injected by a third)."""
        if self._buffer:
            raise SessionLost("bytes in clear came after STARTTLS: something between injects commands")
        self._wait()
        # The handshake on its own, so that an interruption finds the socket that does it.
        secured = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._socket = secured
        self._wait()
        secured.do_handshake()

    def readline(self) -> bytes:
        """The next line, with its end; what there is when the peer has closed."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > self._budget:
                raise SessionLost("the server's answer exceeds its limit")
            self._wait()
            received = self._socket.recv(_RECEIVE)
            if not received:
                end = searched - 1
                break
            self._buffer += received
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._spend(len(line))
        return line

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises SessionLost when they are more than allowed, EOFError when the peer closes."""
        self._spend(size)
        pieces = [bytes(self._buffer[:size])]
        del self._buffer[:size]
        missing = size - len(pieces[0])
        while missing:
            self._wait()
            piece = self._socket.recv(min(missing, _RECEIVE))
            if not piece:
                raise EOFError
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def send(self, data: Buffer) -> None:
        """Send all of it."""
        self._wait()
        self._socket.sendall(data)

    def interrupt(self) -> None:
        """End whatever a thread is waiting for here, and all that it would still begin; from any thread.

        Closing is left to that thread: TLS reads by the number of the socket, which after a close may be another's.
        """
        self._interrupted = True
        try:
            # The plain socket's: SSLSocket's own would take the TLS state away from under the reading thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close, without a word to the peer."""
        self.interrupt()
        self._socket.close()

    def _wait(self) -> None:
        if self._interrupted:
            raise SessionLost("the connection is closed")
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise SessionLost("the server's answer exceeds its limit")


class Imap(imaplib.IMAP4):
    """imaplib over a `Wire`; keeps the lines of the current answer in their order, which imaplib does not."""

    def __init__(self, wire: Wire) -> None:
        """Reads the greeting and the capabilities."""
        self.wire = wire
        self.items: list[bytes] = []
        self.arrivals = Arrivals()
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:  # noqa: ARG002 - imaplib's
        """Nothing: the wire is open."""
        self.host, self.port = host, port

    def read(self, size: int) -> bytes:
        data = self.wire.read(size)
        self.items.append(data)
        return data

    def readline(self) -> bytes:
        line = self.wire.readline()
        if line.endswith(b"\r\n"):
            self.arrivals.saw(line)
            self.items.append(line[2:-2] if line.startswith(b"* ") else line[:-2])
        return line

    def send(self, data: Buffer) -> None:
        self.wire.send(data)

    def shutdown(self) -> None:
        self.wire.close()

    def begin(self, seconds: float, limit: int = ANSWER_LIMIT) -> None:
        """A new command: its deadline, its budget, no lines of the former."""
        self.items.clear()
        self.untagged_responses.clear()
        self.wire.allow(seconds, limit)

    def wait_in_idle(self, renew: float, patience: float) -> bool:
        """IDLE for `renew` seconds at most; `patience` is for each of its answers. True when mail has come.

        imaplib knows IDLE from Python 3.14 on only.
        """
        self.begin(patience)
        tag = self._new_tag()
        self.send(tag + b" IDLE\r\n")
        while True:
            line = self.readline()
            if line.startswith(b"+"):
                break
            if not line.startswith(b"* "):
                raise self.abort("IDLE is not accepted")
        ends = monotonic() + renew
        try:
            while not self.arrivals.news:
                self.begin(ends - monotonic())
                if not self.readline().startswith(b"* "):
                    raise self.abort("not a response within IDLE")
        except TimeoutError:
            pass  # nothing came; a line begun stays in the wire's buffer
        self.begin(patience)
        self.send(b"DONE\r\n")
        while not (line := self.readline()).startswith(tag + b" "):
            if not line.startswith(b"* "):
                raise self.abort("not a response after IDLE")
        return self.arrivals.news
