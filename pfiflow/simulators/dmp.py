"""A DMP on loopback for tests and the demo: HTTPS with mutual TLS, ITI-41, ITI-57 and ITI-18, and no yes-man.

It checks what it gets (`dmp_service`), keeps a registry that a test can ask (`dmp_registry`), and can be told to
misbehave (`script`). HTTP is h11's; the rest of the server is here.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import define, frozen
from cryptography import x509

from pfiflow.dmp.answers import Reply, Transaction
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.dmp_door import BASE, Incoming, Settings
from pfiflow.simulators.dmp_http import Connection
from pfiflow.simulators.dmp_registry import Registry
from pfiflow.simulators.dmp_service import Processed, Service
from pfiflow.simulators.documents import ORGANIZATION
from pfiflow.simulators.threaded import ThreadedServer

__all__ = ["DmpSimulator", "Received", "Rule", "Settings", "Stage"]

Stage = Literal["CONNECT", "HEADERS", "BODY", "RECEIVED", "PROCESSED", "RESPONSE"]
"""Where a rule applies, in the order of an exchange.

`CONNECT`: a TCP connection is there, TLS is not. `HEADERS`: the request's head is read, its body is not. `BODY`: half
of the body is read. `RECEIVED`: it is read whole, and nothing done about it. `PROCESSED`: it is carried out, and
nothing answered. `RESPONSE`: half of the answer is sent.
"""

_SUITES: Final = (
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-SHA384",
)
"""PDT-INF-579: what the DMP takes from software of professionals, over TLS 1.2 alone."""


@define
class Rule:
    """One instruction of `DmpSimulator.script`."""

    stage: Stage
    reply: Reply | None
    cut: bool
    delay: float
    transaction: Transaction
    patient: str
    times: int


@frozen
class Received:
    """One request that was read whole, and what the service made of it; `processed` is None when a rule kept it out."""

    path: str
    length: int
    client: str  # OU of the client certificate's subject
    processed: Processed | None


class DmpSimulator(ThreadedServer):
    """The server; a context manager, or `start()` and `stop()`. `stop()` then `start()` keeps port and registry.

    Attributes:
        port: the port that it listens on, once started.
        authority: issued everything here; a test issues further certificates from it.
        client: certificate and key of a client that is let in (ORG_AUTH_CLI).
        seal: certificate and key that sign VIHF and submissions (ORG_SIGN).
        server: the server's certificate; another one holds from the next connection on.
        registry: what the DMP holds.
        service: what it does with a request; its `settings` may be replaced.
        requests: the requests read, oldest first.
        on_request: called with each of them, in the server's thread.
        counts: how often each stage was reached, and `REFUSED` how many TLS handshakes failed.
        errors: what went wrong inside the simulator itself, for tests to assert empty.
    """

    def __init__(
        self,
        folder: Path,
        *,
        structure: str = ORGANIZATION,
        settings: Settings = Settings(),
        registry: Registry | None = None,
        authority: Authority | None = None,
        clients: Sequence[Path] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        size_limit: int = 60_000_000,
    ) -> None:
        """Settings of the server.

        Args:
            folder: where certificates and keys are made.
            structure: national identifier of the structure that `client` and `seal` are issued to.
            settings: what is not known of the real service.
            registry: one to go on with; a new one by default.
            authority: one to go on with; a new one by default.
            clients: certificates of further authorities whose clients are let in.
            host: a loopback address.
            port: 0 takes a free one.
            size_limit: bytes of a request; a longer one is answered 413.
        """
        super().__init__()
        self.port = port
        self.registry = registry or Registry()
        self.authority = authority or Authority(folder, "dmp-ca")
        self.server = self.authority.issue("localhost", host, stem="server")
        self.client = self.authority.issue_seal(structure, signs=False, stem="client")
        self.seal = self.authority.issue_seal(structure, stem="seal")
        authorities = x509.load_pem_x509_certificates(self.authority.certificate.read_bytes())
        self.service = Service(self.registry, authorities, settings)
        self.size_limit = size_limit
        self.requests: list[Received] = []
        self.counts: Counter[str] = Counter()
        self.on_request: Callable[[Received], None] = lambda _: None
        self._host = host
        self._clients = tuple(clients)
        self._context: tuple[Credentials, ssl.SSLContext] | None = None
        self._rules: list[Rule] = []
        self._rules_lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL: `<url>/repository` takes ITI-41, `<url>/registry` ITI-57 and ITI-18."""
        return f"https://localhost:{self.port}{BASE}"

    def script(
        self,
        stage: Stage,
        reply: Reply | None = None,
        *,
        cut: bool = False,
        delay: float = 0,
        transaction: Transaction = "",
        patient: str = "",
        times: int = 0,
    ) -> None:
        """Add a rule; at each stage, the first one that fits applies.

        Args:
            stage: where it applies.
            reply: at RECEIVED, instead of carrying the request out; at PROCESSED, instead of the true answer
                (`pfiflow.dmp.answers`).
            cut: cut the connection there.
            delay: seconds to wait there first.
            transaction: only for this one; from HEADERS on.
            patient: only for this patient (CX); from RECEIVED on.
            times: how often it applies; 0 is always.
        """
        with self._rules_lock:
            self._rules.append(Rule(stage, reply, cut, delay, transaction, patient, times))

    def clear_script(self) -> None:
        """Forget every rule."""
        with self._rules_lock:
            self._rules.clear()

    def drop_connections(self) -> None:
        """Cut every connection, and go on listening; what has not been carried out by then never is."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._end_connections(), self._loop).result()

    def reset(self) -> None:
        """Between two tests: no connection, no rule, no request, no count is left. The registry stays."""
        self.clear_script()
        self.drop_connections()
        self.requests.clear()
        self.counts.clear()

    # -- for the connections ------------------------------------------------------------------------------------------

    def rule(self, stage: Stage, transaction: Transaction = "", patient: str = "") -> Rule | None:
        """Count the stage; the first rule that fits it, used up by one."""
        with self._rules_lock:
            self.counts[stage] += 1
            for rule in self._rules:
                if rule.stage == stage and rule.transaction in {"", transaction} and rule.patient in {"", patient}:
                    if rule.times == 1:
                        self._rules.remove(rule)
                    elif rule.times:
                        rule.times -= 1
                    return rule
        return None

    @property
    def scripted(self) -> bool:
        """Whether there are rules."""
        return bool(self._rules)

    def keep(self, request: Incoming, client: str, processed: Processed | None) -> None:
        """Keep what became of a request."""
        received = Received(request.path, len(request.body), client, processed)
        self.requests.append(received)
        self.on_request(received)

    def context(self) -> ssl.SSLContext:
        """TLS as the DMP has it, with the certificate of now. An expired or foreign one is not refused here."""
        if self._context is not None and self._context[0] == self.server:
            return self._context[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join((*_SUITES, "@SECLEVEL=2")))
        context.verify_mode = ssl.CERT_REQUIRED
        for path in (self.authority.certificate, *self._clients):
            context.load_verify_locations(path)
        context.load_cert_chain(self.server.certificate, self.server.key)
        self._context = (self.server, context)
        return context

    # -- the thread ---------------------------------------------------------------------------------------------------

    async def _serve(self, listening: threading.Event, stopped: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # what comes now is for TLS
            task = loop.create_task(self._connection(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        listener = await asyncio.start_server(connected, self._host, self.port, limit=1 << 20)
        self.port = listener.sockets[0].getsockname()[1]
        listening.set()
        await stopped.wait()
        listener.close()
        await self._end_connections()
        await listener.wait_closed()

    async def _end_connections(self) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await Connection(self, reader, writer).run()
        except (ConnectionError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the peer's doing, or ours on request
        except Exception as error:  # noqa: BLE001 -- a defect here: told to the test, not to the peer
            self.errors.append(f"{type(error).__name__}: {error}")
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)  # the transport closes its socket; wait_closed() would wait for ever without TLS
