"""A hospital's software on loopback, for tests and the demo: an MLLP server that takes receipts (ZAM) and documents.

It checks what it gets and answers AE to what is wrong, as a DPI would; a scenario makes it answer otherwise, late, or
not at all. It runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from attrs import define, field, frozen

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import Problem, ProtocolError
from pfiflow.hl7 import ack, mllp
from pfiflow.hl7.er7 import Message, parse
from pfiflow.hl7.faults import MessageError
from pfiflow.simulators.threaded import ThreadedServer

__all__ = ["ANSWERS", "Answer", "DpiSimulator", "ReceivedMessage", "check"]

Answer = Literal[
    "AA", "AE", "AR", "CA", "CE", "CR", "silence", "wrong-id", "twice", "garbage", "cut", "close", "answer-close"
]
ANSWERS: dict[Answer, str] = {
    "AA": "taken",
    "AE": "the message is wrong",
    "AR": "not now",
    "CA": "stored (enhanced mode)",
    "CE": "refused (enhanced mode)",
    "CR": "not now (enhanced mode)",
    "silence": "takes it, never answers",
    "wrong-id": "acknowledges another message",
    "twice": "acknowledges it twice",
    "garbage": "answers something that is not MLLP",
    "cut": "closes at the first bytes of the message, which it does not take",
    "close": "takes it, closes without an answer",
    "answer-close": "takes it, answers AA, closes",
}
"""What it can do with a message: word → what that means."""

_CODES: dict[Answer, ack.AckCode] = {"AE": "AE", "CE": "AE", "AR": "AR", "CR": "AR"}
_CHUNK = 64 * 2**10
_MAX_MESSAGE = 100 * 2**20


@frozen
class ReceivedMessage:
    """One message that arrived whole, and what was answered ("" for nothing)."""

    raw: bytes = field(repr=False)
    type: str  # ZAM^Z02
    control_id: str
    about: str  # MSH-10 of the message that a receipt is about (OBX-4)
    answer: str
    problems: tuple[Problem, ...] = ()


@define
class _Rule:
    answer: Answer
    times: int
    delay: float
    error: str
    detail: str
    text: str


_USUAL = _Rule("AA", 0, 0.0, "", "", "")


class DpiSimulator(ThreadedServer):
    """The server; a context manager, or `start()` and `stop()`. It may be started again, on the same port.

    Attributes:
        port: the port that it listens on, once started.
        received: the messages that arrived whole, oldest first, repeated ones included.
        connections: how many connections came.
        errors: what went wrong inside the server itself, for tests to assert empty.
        on_message: called in the server's thread with each message, once it is answered.
        unknown_patients: matricules (INS) of patients whom it does not know: their documents are refused with 902.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, tls: TlsOptions | None = None) -> None:
        super().__init__()
        self.port = port
        self.received: list[ReceivedMessage] = []
        self.connections = 0
        self.unknown_patients: set[str] = set()
        self.on_message: Callable[[ReceivedMessage], None] = lambda _message: None
        self._host = host
        self._tls = tls
        self._rules: list[_Rule] = []
        self._answers = 0
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    def script(
        self,
        answer: Answer,
        *,
        times: int = 0,
        delay: float = 0.0,
        error: str = "207",
        detail: str = "",
        text: str = "scripted",
    ) -> None:
        """Add a rule; the oldest one answers until it is used up.

        Args:
            answer: see `ANSWERS`.
            times: how many messages it answers; 0 is all.
            delay: seconds to wait before the answer.
            error: ERR-3 of a refusal.
            detail: ERR-5 of a refusal with 207.
            text: ERR-8 of a refusal.
        """
        self._rules.append(_Rule(answer, times, delay, error, detail, text))

    def clear_script(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def drop_connections(self) -> None:
        """Cut every connection, as a restart of the server would."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._abort_all)

    async def _serve(self, listening: threading.Event, stopped: asyncio.Event) -> None:
        context = self._tls.server_context() if self._tls is not None else None
        listener = await asyncio.start_server(self._connection, self._host, self.port, ssl=context)
        self.port = listener.sockets[0].getsockname()[1]
        listening.set()
        await stopped.wait()
        listener.close()
        self._abort_all()
        tasks = tuple(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await listener.wait_closed()
        await asyncio.sleep(0)  # lets the transports notice

    def _abort_all(self) -> None:
        for writer in tuple(self._connections):
            writer.transport.abort()

    def _next_rule(self) -> _Rule:
        if not self._rules:
            return _USUAL
        rule = self._rules[0]
        if rule.times == 1:
            self._rules.pop(0)
        elif rule.times:
            rule.times -= 1
        return rule

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections[writer] = task
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # the peer went, or `stop` was called
                await self._converse(reader, writer)
        finally:
            del self._connections[writer]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = mllp.Decoder(_MAX_MESSAGE)
        begun: _Rule | None = None  # of the message that is arriving
        while data := await reader.read(_CHUNK):
            for event in decoder.feed(data):
                if isinstance(event, mllp.Frame):
                    rule, begun = begun or self._next_rule(), None
                    if not await self._take(event.payload, rule, writer):
                        return
            if decoder.in_frame and begun is None:
                begun = self._next_rule()
                if begun.answer == "cut":
                    writer.transport.abort()
                    return

    async def _take(self, payload: bytes, rule: _Rule, writer: asyncio.StreamWriter) -> bool:
        """Deal with one message; whether the connection goes on."""
        if rule.answer == "cut":
            writer.transport.abort()
            return False
        message, problems = _read(payload)
        if message is not None and not problems and _names(message, self.unknown_patients):
            problems = (Problem("207", "no patient with this identity", "PID-3", detail_code="902"),)
        code = "AE" if problems and rule is _USUAL else rule.answer
        answer = self._acknowledgement(message, payload, code, rule, problems)
        received = ReceivedMessage(
            raw=payload,
            type="^".join(filter(None, (_text(message, "MSH-9"), _text(message, "MSH-9.2")))),
            control_id=_text(message, "MSH-10"),
            about=_text(message, "OBX-4"),
            answer=code,
            problems=problems,
        )
        self.received.append(received)
        await asyncio.sleep(rule.delay)
        if answer:
            writer.write(answer)
            await writer.drain()
        self.on_message(received)
        return code not in {"close", "answer-close"}

    def _acknowledgement(
        self, message: Message | None, payload: bytes, code: Answer, rule: _Rule, problems: tuple[Problem, ...]
    ) -> bytes:
        """The bytes to answer with, framed; b"" for none."""
        if code in {"silence", "close"}:
            return b""
        if code == "garbage":
            return b"HTTP/1.1 400 Bad Request\r\n\r\n"
        self._answers += 1
        if rule is not _USUAL:
            problems = (Problem(rule.error, rule.text, "MSH-10", detail_code=rule.detail),)
        kind = _CODES.get(code, "AA")
        now = datetime.now(UTC).astimezone()
        identity = f"DPI-{self._answers:08d}"
        head = payload[: mllp.HEAD_SIZE] if message is None else b""
        answer = ack.acknowledge(message, kind, problems, control_id=identity, now=now, head=head)
        if code.startswith("C"):
            answer = answer.replace(b"\rMSA|A", b"\rMSA|C", 1)
        elif code == "wrong-id":
            answer = answer.replace(b"\rMSA|AA|", b"\rMSA|AA|OTHER-", 1)
        return mllp.encode(answer) * (2 if code == "twice" else 1)


# -- what a DPI finds wrong --------------------------------------------------------------------------------------------

_REQUIRED = ("MSH-3", "MSH-5", "MSH-7", "MSH-9", "MSH-10", "MSH-11", "MSH-12", "MSH-17", "MSH-18", "MSH-21")
_RECEIPT = re.compile(r"MSH EVN OBX( OBX)?( ERR)?")
_STATUS = {"Z01": "ACK_RECEPTION_DMP", "Z02": "ACK_RECEPTION_MSS", "Z03": "ACK_LECTURE_MSS"}
_ADDRESSEE = {"Z02": "DESTINATAIRE_MSS", "Z03": "LECTEUR_MSS"}
_ERROR_TABLE = {"Z01": "DMPERRORCODE", "Z02": "SMTPERRORCODE", "Z03": "applicationErrorCondition"}


def check(message: Message) -> tuple[Problem, ...]:
    """What is wrong with a receipt (volet Transmission 2.1, ZAM_Z01) or with an MDM's frame; () when it is taken."""
    found = [Problem("101", "required", path) for path in _REQUIRED if not message.get(path)]
    match message.get("MSH-9"):
        case "ZAM":
            found += _check_receipt(message)
        case "MDM":
            found += [Problem("100", "missing", name) for name in ("EVN", "PID", "TXA", "OBX") if not message.all(name)]
        case _:
            found.append(Problem("200", "takes ZAM and MDM", "MSH-9"))
    return tuple(found)


def _check_receipt(message: Message) -> Sequence[Problem]:
    event = message.get("MSH-9.2")
    if event not in _STATUS:
        return [Problem("201", "takes Z01, Z02 and Z03", "MSH-9.2")]
    if not _RECEIPT.fullmatch(" ".join(segment.name for segment in message.segments)):
        return [Problem("100", "segments are MSH EVN OBX [OBX] [ERR]", "MSH")]
    refused = message.get("OBX-5") == "N"
    expected = {
        "MSH-9.3": "ZAM_Z01",
        "MSH-12": "2.6",
        "MSH-21": "2.1",
        "MSH-21.2": "CISIS_CDA_HL7_V2",
        "OBX-1": "1",
        "OBX-2": "CWE",
        "OBX-3": _STATUS[event],
        "OBX-3.3": "AckMetierZAM",
        "OBX-5": "N" if refused else "Y",
        "OBX-11": "F",
    }
    if event in _ADDRESSEE:
        expected |= {"OBX[2]-1": "2", "OBX[2]-2": "XTN", "OBX[2]-3": _ADDRESSEE[event], "OBX[2]-5.3": "X.400"}
    if refused:
        expected |= {"ERR-3": "207", "ERR-4": "E", "ERR-5.3": _ERROR_TABLE[event]}
    wrong = [path for path, value in expected.items() if message.get(path) != value]
    found = [Problem("103", f"expected {expected[path]}", path) for path in wrong]
    required = ("OBX-4", "ERR-5") if refused else ("OBX-4",)
    found += [Problem("101", "required", path) for path in required if not message.get(path)]
    if not refused and message.all("ERR"):
        found.append(Problem("100", "ERR goes with N", "ERR"))
    if event not in _ADDRESSEE and len(message.all("OBX")) > 1:
        found.append(Problem("198", "one OBX", "OBX[2]"))
    return found


def _read(payload: bytes) -> tuple[Message | None, tuple[Problem, ...]]:
    try:
        message = parse(payload)
        return message, check(message)
    except MessageError as error:
        return None, (error.problem,)


def _names(message: Message, matricules: set[str]) -> bool:
    """Whether an MDM is about one of these patients (CX of PID-3 with the type INS)."""
    found = (each.split(b"^") for each in message.all("PID")[0].field(3).split(b"~")) if message.all("PID") else ()
    return any(each[0].decode("ascii", "replace") in matricules for each in found)


def _text(message: Message | None, path: str) -> str:
    if message is None:
        return ""
    try:
        return message.get(path)
    except ProtocolError:
        return ""
