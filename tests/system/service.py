"""`pfiflow run` as a subprocess, as an administrator runs it; a peer that speaks MLLP; what logs may not hold."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from attrs import define, field

from pfiflow.errors import PfiflowError
from pfiflow.hl7 import ack, er7, mllp
from pfiflow.store.api import ChannelStatus, JournalEntry, MessageSummary, State, Store
from pfiflow.store.sqlite import SqliteStore

__all__ = ["OUTBOUND", "PFIFLOW", "ROOT", "Peer", "Service", "free_port", "run_command", "until"]

ROOT = Path(__file__).parents[2]
PFIFLOW = Path(sys.executable).with_name("pfiflow")
OUTBOUND = ROOT / "routes" / "outbound.yaml"

T = TypeVar("T")

_START = 120.0  # seconds; a start takes one, on a machine that has nothing else to do
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/=]{120,}")
_FREE = random.SystemRandom()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections."""
    while True:
        port = _FREE.randrange(15_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def until(condition: Callable[[], T], *, timeout: float = 60.0, what: str = "") -> T:
    """The first true value of `condition`, asked again and again."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        time.sleep(0.02)


def run_command(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 60.0, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """The `pfiflow` command, with nothing of this process's environment but what is given."""
    return subprocess.run(
        [PFIFLOW, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=folder,
    )


@define(eq=False)
class Service:
    """One `pfiflow run` with its store, through as many lives as a test asks for. Logs are kept over all of them."""

    folder: Path
    environment: dict[str, str]
    route: Path = OUTBOUND
    secrets: set[str] = field(factory=set)
    options: tuple[str, ...] = ()  # of `pfiflow run`
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0

    @property
    def port(self) -> int:
        """Where it listens for HL7."""
        return int(self.environment["PFI_MLLP_LISTEN"].rpartition(":")[2])

    @property
    def store_path(self) -> Path:
        """Its store."""
        return Path(self.environment["PFI_STORE"])

    @property
    def log_path(self) -> Path:
        """What it wrote to standard error, all lives after each other."""
        return self.folder / "service.log"

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> Self:
        """Start; return when the log says that the routes run."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        begin = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [PFIFLOW, "run", *self.options, str(self.route)],
                env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "default", **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.lives += 1
        if wait:
            self.wait_running(begin)
        return self

    def wait_running(self, begin: int = 0) -> None:
        """Return when the log, from byte `begin` on, says that both routes run."""

        def running() -> bool:
            assert self.process is not None
            text = self.log_path.read_bytes()[begin:].decode()
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {text}")
            return "route transmission running" in text and "route mssante running" in text

        until(running, timeout=_START, what="the routes run")

    def signal(self, number: int) -> None:
        """Send a signal to the process of this life."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = 60.0) -> int:
        """Its exit status."""
        assert self.process is not None
        return self.process.wait(timeout)

    def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def terminate(self) -> None:
        """SIGTERM, as an orderly stop: it drains and exits 0."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0, self.log_path.read_text()[-2000:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # -- what it says ----------------------------------------------------------------------------------------------

    def logs(self) -> list[dict[str, Any]]:
        """Every log line. A line that is not JSON (a stray warning, a traceback) fails."""
        return [json.loads(line) for line in self._log_lines()]

    def logged(self, level: str) -> list[str]:
        """The messages of one level."""
        return [line["message"] for line in self.logs() if line["level"] == level]

    def _log_lines(self) -> list[str]:
        return self.log_path.read_text().splitlines() if self.log_path.exists() else []

    # -- what it holds ---------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        """Ask the store as an operator does, beside the running engine."""

        async def act() -> T:
            store = SqliteStore(self.store_path, role="operator")
            await store.open()
            try:
                return await question(store)
            finally:
                await store.aclose()

        return anyio.run(act)

    def messages(self, channel: str = "mail", state: State | None = None) -> Sequence[MessageSummary]:
        """The messages of a channel."""
        return self.ask(lambda store: store.messages(channel=channel, state=state, limit=10_000))

    def channel(self, name: str = "mail") -> ChannelStatus:
        """The counts of a channel."""
        return next(status for status in self.ask(lambda store: store.channels()) if status.channel == name)

    def journal(self, event: str = "") -> list[JournalEntry]:
        """The journal, or one event of it."""
        found = self.ask(lambda store: store.journal(limit=100_000))
        return [entry for entry in found if event in {"", entry.event}]

    def settled(self, *, timeout: float = 60.0) -> None:
        """Wait until no mail waits. When some do for too long, says which and why."""
        try:
            until(lambda: self.channel().waiting == 0, timeout=timeout)
        except AssertionError:
            now = time.time()
            waiting = [
                f"{each.sequence}: {each.attempts} attempts, due in {each.due - now:.1f} s, {each.cause}"
                for each in self.messages(state="waiting")
            ]
            raise AssertionError("\n".join(["still waiting:", *waiting, *self._log_lines()[-20:]])) from None

    # -- what its logs may not hold --------------------------------------------------------------------------------

    def keep_secret(self, message: bytes) -> None:
        """What identifies the patient of an HL7 message, and what it carries, may not be found in a log."""
        self.secrets |= set(_identity_of(message))

    def indiscretions(self) -> list[str]:
        """Lines of the logs and facts of the journal that hold what they may not."""
        lines = self._log_lines()
        if self.store_path.exists():
            try:
                lines += [str(entry) for entry in self.journal()]
                lines += [f"{each.cause} {each.detail}" for each in self.ask(partial(_all_messages))]
            except PfiflowError as error:  # a test that ruins the store says what it expects of it
                lines.append(str(error))
        return [line for line in lines if _BASE64_RUN.search(line) or any(secret in line for secret in self.secrets)]


async def _all_messages(store: Store) -> Sequence[MessageSummary]:
    return await store.messages(limit=10_000)


def _identity_of(message: bytes) -> Iterable[str]:
    """Words of PID-3, 5, 11 and 18 long enough to mean somebody, and the beginnings of the carried documents."""
    try:
        parsed = er7.parse(message)
        encoding = parsed.encoding
    except PfiflowError:  # no identity can be told in it: it is no HL7, or in no known character set
        return
    for segment in parsed.all("PID"):
        for number in (3, 5, 11, 18):
            for word in re.split(rb"[\^~&]", segment.field(number)):
                text = word.decode(encoding, "replace")
                is_code = text.startswith(("1.2.250", "TEST-INS", "HOPITAL")) or (text.isdigit() and len(text) < 10)
                if len(text) > 3 and not is_code and text not in {"TEST", "INSEE"}:
                    yield text
    for segment in parsed.all("OBX"):
        carried = segment.component(5, 5)
        if len(carried) > 60:
            yield carried[:40].decode("ascii", "replace")
            yield base64.b64decode(carried[:60])[5:].decode("utf-8", "replace")


class Peer:
    """A hospital's software: one connection, one message at a time, the answer awaited; blocking."""

    def __init__(self, service: Service, *, timeout: float = 60.0) -> None:
        self._service = service
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._decoder = mllp.Decoder(2**20)
        self._frames: deque[bytes] = deque()

    def send(self, message: bytes) -> ack.Acknowledgement:
        """One message and its acknowledgement. Raises OSError: no answer came."""
        self._service.keep_secret(message)
        self.write(mllp.encode(message))
        return self.answer()

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if self._socket is None:
            self._decoder = mllp.Decoder(2**20)
            self._frames.clear()
            self._socket = socket.create_connection(("127.0.0.1", self._service.port), self._timeout)
        try:
            self._socket.sendall(data)
        except OSError:
            self.close()
            raise

    def answer(self) -> ack.Acknowledgement:
        """The next acknowledgement on the connection."""
        assert self._socket is not None
        try:
            while not self._frames:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("closed without an answer")
                for event in self._decoder.feed(data):
                    assert isinstance(event, mllp.Frame), event
                    self._frames.append(event.payload)
        except OSError:
            self.close()
            raise
        return ack.parse_ack(self._frames.popleft())

    def persist(self, message: bytes, *, patience: float = 200.0, over: Callable[[], bool] = lambda: False) -> int:
        """As a DPI does: the same message again and again until it is answered AA. How many sendings that took.

        `over` tells that nobody waits for it any more: the test has failed elsewhere.
        """
        deadline = time.monotonic() + patience
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self.send(message)
            except OSError:
                time.sleep(0.02)
            else:
                if answer.code == "AA":
                    return attempt
                assert answer.code == "AR", answer  # a valid message is never refused for good
                time.sleep(0.05)
            assert time.monotonic() < deadline, "never accepted"
            assert not over(), "not accepted until the test failed elsewhere"

    def close(self) -> None:
        """Close the connection; the next sending opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
