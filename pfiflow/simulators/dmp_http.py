"""One connection of the DMP simulator: TLS, HTTP/1.1 by h11, and the stages at which a rule may interfere."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import h11

from pfiflow.dmp import mtom
from pfiflow.dmp.answers import Answer, Context, Transaction, http
from pfiflow.errors import ProtocolError
from pfiflow.simulators.dmp_door import BASE, OPERATIONS, Incoming, glance

if TYPE_CHECKING:
    from pfiflow.simulators.dmp import DmpSimulator, Rule, Stage

__all__ = ["Connection"]

_CHUNK: Final = 1 << 18
_PATHS: Final = frozenset({f"{BASE}/repository", f"{BASE}/registry"})


class _Cut(ConnectionError):
    """The connection is to be cut."""


class Connection:
    """Serves one connection until it ends; the caller closes the transport."""

    def __init__(self, simulator: DmpSimulator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._simulator = simulator
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=32_768)
        self._client = ""

    async def run(self) -> None:
        """Requests and answers, one after the other."""
        await self._stage("CONNECT")
        try:
            await self._writer.start_tls(self._simulator.context(), ssl_handshake_timeout=10)
        except (ssl.SSLError, ConnectionError, TimeoutError):
            self._simulator.counts["REFUSED"] += 1
            raise
        self._client = _structure(self._writer.get_extra_info("peercert"))
        try:
            while await self._exchange():
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(http(error.error_status_hint, text="not HTTP")(Context()))

    async def _exchange(self) -> bool:
        """One request and its answer; False when there is no next one."""
        event = await self._event()
        if not isinstance(event, h11.Request):
            return False
        headers = {name: value.decode("latin-1") for name, value in event.headers}
        path = event.target.decode("latin-1").partition("?")[0]
        content_type = headers.get(b"content-type", "")
        transaction = _transaction(content_type)
        await self._stage("HEADERS", transaction)
        refusal = _refusal(path, event.method)
        body = b"" if refusal else await self._body(int(headers.get(b"content-length", "0")), transaction)
        if refusal or body is None:
            await self._send(http(refusal or 413)(Context()), close=True)
            return False
        await self._answer(Incoming(path, content_type, body), transaction)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _answer(self, request: Incoming, transaction: Transaction) -> None:
        context, patient = glance(request) if self._simulator.scripted else (Context(transaction), "")
        rule = await self._stage("RECEIVED", context.transaction, patient)
        if rule is not None and rule.reply is not None:
            answer = rule.reply(context)
            self._simulator.keep(request, self._client, None)
        else:
            processed = self._simulator.service.process(request, now=datetime.now(UTC))
            answer = processed.answer
            self._simulator.keep(request, self._client, processed)
            rule = await self._stage("PROCESSED", context.transaction, patient)
            if rule is not None and rule.reply is not None:
                answer = rule.reply(context)
        await self._send(answer, context.transaction, patient, scripted=True)

    async def _body(self, length: int, transaction: Transaction) -> bytes | None:
        """The request's body; None when it is longer than allowed."""
        limit = self._simulator.size_limit
        if length > limit:
            return None
        pieces: list[bytes] = []
        received, half_reached = 0, False
        while True:
            event = await self._event()
            if isinstance(event, h11.EndOfMessage):
                return b"".join(pieces)
            if not isinstance(event, h11.Data):
                raise _Cut
            pieces.append(bytes(event.data))
            received += len(event.data)
            if received > limit:
                return None
            if not half_reached and 2 * received >= length:
                half_reached = True
                await self._stage("BODY", transaction)

    async def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._reader.read(_CHUNK))

    async def _send(
        self,
        answer: Answer,
        transaction: Transaction = "",
        patient: str = "",
        *,
        close: bool = False,
        scripted: bool = False,
    ) -> None:
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(answer.length)), *answer.headers]
        if close:
            headers.append(("Connection", "close"))
        head = self._http.send(h11.Response(status_code=answer.status, headers=headers, reason=b"")) or b""
        half = len(answer.body) // 2
        self._writer.write(head + (self._http.send(h11.Data(data=answer.body[:half])) or b""))
        await self._writer.drain()
        if scripted:
            await self._stage("RESPONSE", transaction, patient)
        self._writer.write(self._http.send(h11.Data(data=answer.body[half:])) or b"")
        blanks = b" " * min(_CHUNK, answer.padding)
        for start in range(0, answer.padding, _CHUNK):
            self._writer.write(self._http.send(h11.Data(data=blanks[: answer.padding - start])) or b"")
            await self._writer.drain()
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        await self._writer.drain()
        if close:
            self._writer.close()
            await self._writer.wait_closed()

    async def _stage(self, stage: Stage, transaction: Transaction = "", patient: str = "") -> Rule | None:
        """The rule for this stage, waited for and cut if it says so."""
        rule = self._simulator.rule(stage, transaction, patient)
        if rule is not None:
            await asyncio.sleep(rule.delay)
            if rule.cut:
                raise _Cut
        return rule


def _refusal(path: str, method: bytes) -> int:
    if path not in _PATHS:
        return 404
    return 0 if method == b"POST" else 405


def _transaction(content_type: str) -> Transaction:
    try:
        operation = OPERATIONS.get(mtom.media_type(content_type)[1].get("action", ""))
    except ProtocolError:
        operation = None
    return "" if operation is None else operation.transaction


def _structure(certificate: object) -> str:
    if not isinstance(certificate, dict):
        return ""
    subject = dict(pair for group in certificate.get("subject", ()) for pair in group)
    return str(subject.get("organizationalUnitName", ""))
