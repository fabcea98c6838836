"""What benchmarks share: servers in processes of their own, an MLLP load, an SMTP sink, messages to send.

The server under test is `pfiflow run` as it is shipped; its CPU is what the kernel charged to its process, all threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from types import MappingProxyType, TracebackType
from typing import Self

import psutil
from attrs import define, field, frozen

from pfiflow.hl7 import mllp

__all__ = [
    "Load",
    "Report",
    "Server",
    "SmtpSink",
    "Template",
    "free_of_control_id",
    "percentile",
    "python_hl7",
    "stopwatch",
]

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 60.0
_CONTROL_ID = re.compile(rb"MSH(?:\|[^|\r]*){8}\|([^|\r]*)")


@define
class Report:
    """Prints as it goes, and keeps the verdicts for the end."""

    goals: list[tuple[bool, str]] = field(factory=list)

    def say(self, text: str = "") -> None:
        """One line."""
        print(text, flush=True)

    def goal(self, met: bool, text: str) -> None:
        """A goal, and whether it was met."""
        self.goals.append((met, text))

    def close(self) -> None:
        """All the goals."""
        self.say("\nGoals")
        for met, text in self.goals:
            self.say(f"  {'met   ' if met else 'MISSED'}  {text}")


# -- messages ----------------------------------------------------------------------------------------------------------


@frozen
class Template:
    """A framed message but for its control id, so that each one sent is a new message of the same document."""

    head: bytes
    tail: bytes = field(repr=False)

    def framed(self) -> tuple[bytes, bytes, bytes]:
        """A frame with a control id of its own, in parts that share the document."""
        return self.head, secrets.token_hex(10).encode(), self.tail

    @property
    def size(self) -> int:
        """Bytes of one message."""
        return len(self.head) + 20 + len(self.tail) - len(mllp.START) - len(mllp.END)


def free_of_control_id(message: bytes) -> Template:
    """The message as a template."""
    found = _CONTROL_ID.match(message)
    assert found is not None
    return Template(mllp.START + message[: found.start(1)], message[found.end(1) :] + mllp.END)


# -- servers -----------------------------------------------------------------------------------------------------------


@define(eq=False)
class Server:
    """A process under measurement: its address, its CPU time, its memory. A context manager: drained at the end."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(factory=dict)
    address: tuple[str, int] = ("", 0)
    lines: list[str] = field(factory=list)
    _process: subprocess.Popen[str] | None = None
    _ps: psutil.Process | None = None
    _reader: threading.Thread | None = None

    @classmethod
    def pfiflow(cls, folder: Path, route: str) -> Self:
        """`pfiflow run` of a route file's text, with its store in `folder`. Port 0 is found out from the log."""
        path = folder / "route.yaml"
        path.write_text(route)
        return cls.running(path)

    @classmethod
    def running(cls, path: Path, *, environment: Mapping[str, str] = MappingProxyType({})) -> Self:
        """`pfiflow run` of a route file."""
        command = (sys.executable, "-c", "from pfiflow.cli import main; main()", "run", str(path))
        return cls(command, environment)

    def __enter__(self) -> Self:
        environment = {**os.environ, **self.environment}
        self._process = process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, env=environment)
        self._ps = psutil.Process(process.pid)
        found: Queue[tuple[str, int] | None] = Queue()
        self._reader = threading.Thread(target=self._read, args=(process, found), daemon=True)
        self._reader.start()
        try:
            address = found.get(timeout=_START_TIMEOUT)
        except Empty:
            address = None
        if address is None:
            process.kill()
            process.wait()
            raise RuntimeError("the server did not start:\n" + "\n".join(self.lines))
        self.address = address
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._reader is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self, process: subprocess.Popen[str], found: Queue[tuple[str, int] | None]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(line.rstrip())
            if listening := re.search(r"mllp://([0-9.]+):([0-9]+)", line):
                found.put((listening[1], int(listening[2])))
        found.put(None)

    @property
    def cpu(self) -> float:
        """CPU seconds so far, user and system, all threads; in steps of 10 ms."""
        assert self._ps is not None
        times = self._ps.cpu_times()
        return times.user + times.system

    def memory(self, name: str) -> int:
        """Bytes: `VmRSS` now, or `VmHWM` its highest."""
        assert self._ps is not None
        status = Path(f"/proc/{self._ps.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+([0-9]+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def units_and_transactions(self) -> tuple[int, int]:
        """Of a drained `pfiflow run`: units of work, and the transactions (each an fsync) that they took."""
        for line in reversed(self.lines):
            if found := re.search(r"drained: ([0-9]+) units of work in ([0-9]+) transactions", line):
                return int(found[1]), int(found[2])
        raise RuntimeError("the server did not say how it drained:\n" + "\n".join(self.lines[-20:]))

    def warnings(self) -> list[str]:
        """What its log says beyond info."""
        found = []
        for line in self.lines:
            try:
                level = json.loads(line)["level"]
            except (ValueError, KeyError, TypeError):
                level = "?"
            if level not in {"info", "debug"}:
                found.append(line)
        return found


_PYTHON_HL7 = """
import asyncio, sys
from hl7.mllp import start_hl7_server

async def serve(reader, writer):
    try:
        while True:
            message = await reader.readmessage()
            writer.writemessage(message.create_ack())
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await start_hl7_server(serve, "127.0.0.1", 0, limit=1 << 26, encoding="utf-8")
    print("mllp://127.0.0.1:%d" % server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    asyncio.get_running_loop().add_signal_handler(15, server.close)
    try:
        await server.serve_forever()
    except asyncio.CancelledError:
        pass

asyncio.run(main())
"""


def python_hl7() -> Server:
    """python-hl7's asyncio MLLP server: parses, acknowledges, keeps nothing."""
    return Server((sys.executable, "-c", _PYTHON_HL7))


# -- the load ----------------------------------------------------------------------------------------------------------


@define(eq=False)
class Load:
    """Connections to an MLLP server that each have one message in flight. `latencies` are seconds from send to ACK."""

    address: tuple[str, int]
    templates: Sequence[Template]
    latencies: list[float] = field(factory=list)
    _next: int = 0

    async def run(self, connections: int, *, messages: int | None = None, seconds: float | None = None) -> float:
        """Send so many messages, or for so many seconds; gives the seconds from first to last.

        Raises RuntimeError at any answer but AA.
        """
        left = messages
        end = time.perf_counter() + seconds if seconds is not None else None

        def more() -> Template | None:
            nonlocal left
            if left is not None:
                if left <= 0:
                    return None
                left -= 1
            if end is not None and time.perf_counter() >= end:
                return None
            self._next += 1
            return self.templates[self._next % len(self.templates)]

        async def one() -> None:
            reader, writer = await asyncio.open_connection(*self.address)
            while (template := more()) is not None:
                started = time.perf_counter()
                writer.writelines(template.framed())
                await writer.drain()
                answer = await reader.readuntil(mllp.END)
                self.latencies.append(time.perf_counter() - started)
                if b"\rMSA|AA|" not in answer:
                    raise RuntimeError(f"not accepted: {answer.decode('utf-8', 'replace')}")
            writer.close()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(one())
        return time.perf_counter() - started


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share (0 to 1) of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# -- the sink ----------------------------------------------------------------------------------------------------------


class _Peer(asyncio.BufferedProtocol):
    """One SMTP connection: bytes go into one buffer, and only the end of the content is looked for."""

    def __init__(self, sink: SmtpSink) -> None:
        self.sink = sink
        self.buffer = bytearray(1 << 18)
        self.rest = b""
        self.size = -1  # of the content so far; -1 outside of it
        self.last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"220 sink ESMTP\r\n")

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's signature
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.size >= 0:
            self.size += nbytes
            self.last = (self.last + bytes(self.buffer[max(0, nbytes - 5) : nbytes]))[-5:]
            if self.last == b"\r\n.\r\n":
                self.sink.took(self.size)
                self.size = -1
                self.transport.write(b"250 2.0.0 taken\r\n")
            return
        *lines, self.rest = (self.rest + bytes(self.buffer[:nbytes])).split(b"\r\n")
        for line in lines:
            match line[:4].upper():
                case b"EHLO":
                    self.transport.write(b"250-sink\r\n250-8BITMIME\r\n250-DSN\r\n250 SIZE 400000000\r\n")
                case b"DATA":
                    self.size, self.last = 0, b""
                    self.transport.write(b"354 go on\r\n")
                case b"QUIT":
                    self.transport.write(b"221 bye\r\n")
                    self.transport.close()
                case _:
                    self.transport.write(b"250 2.0.0 ok\r\n")


class SmtpSink:
    """An SMTP server that counts mails and keeps nothing. Runs in the caller's event loop."""

    def __init__(self) -> None:
        self.mails = 0
        self.bytes = 0
        self._awaited = 0
        self._reached = asyncio.Event()

    async def start(self) -> int:
        """Listen on a free port of loopback, and give it."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Peer(self), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def took(self, size: int) -> None:
        """Count one mail."""
        self.mails += 1
        self.bytes += size
        if self.mails >= self._awaited:
            self._reached.set()

    async def wait_for(self, mails: int, timeout: float) -> None:
        """Return when so many mails have come in all."""
        self._awaited = mails
        self._reached.clear()
        if self.mails < mails:
            async with asyncio.timeout(timeout):
                await self._reached.wait()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


@contextmanager
def stopwatch(server: Server) -> Iterator[list[float]]:
    """[wall seconds, CPU seconds of the server] of a block, filled in at its end."""
    spent: list[float] = []
    wall, cpu = time.perf_counter(), server.cpu
    yield spent
    spent += [time.perf_counter() - wall, server.cpu - cpu]
