"""`mllp-out`: sends HL7 v2 messages over MLLP, and takes nothing for accepted that was not acknowledged.

| the peer | then |
|---|---|
| AA, CA | done, with a note |
| AE, CE | `Rejected` with the codes of its ERR |
| AR, CR | `Deferred` |
| cannot be reached | `Deferred`, unavailable: the channel's circuit breaker probes |
| the connection breaks before the message's end has left us | `Deferred` |
| no answer in time, closes, answers something else or another message | unknown: by `on-ack-timeout` |

MSH-10 is not changed: the same message sent again can be told by the peer. A message that the peer has accepted is not
sent again when what follows in the route fails: the header `mllp-accepted` knows it by its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any, Literal

from attrs import define, evolve, field, frozen

from pfiflow.endpoints.mllp_client import Connector, MllpClient, OutcomeUnknown
from pfiflow.endpoints.mllp_double import MllpAnswer, ScriptedListener
from pfiflow.endpoints.tls import TLS_EXAMPLE, TlsContext, TlsOptions, check_client
from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import Component, Double, Field
from pfiflow.flow.double import Outside
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Address, Duration, Range, option
from pfiflow.hl7 import ack
from pfiflow.hl7.faults import MessageError
from pfiflow.hl7.tables import APPLICATION_ERRORS, MESSAGE_ERRORS

__all__ = ["COMPONENTS", "MllpOutOptions", "MllpSink"]

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,20}", re.ASCII)
_AFTER = Range(above=0)
_ACCEPTED = "mllp-accepted"  # what was accepted, by whom: digests


@frozen
class MllpOutOptions:
    """Options of `mllp-out`."""

    address: Address = option(doc="The listener to send to.", example="dpi.hopital.example:2576")
    tls: TlsOptions | None = option(
        default=None, doc="TLS; unset: plain TCP, for a trusted network only.", example=TLS_EXAMPLE
    )
    pool_size: int = option(
        default=1,
        doc="Connections used at once. One keeps all messages in order.",
        example=1,
        validator=Range(minimum=1),
    )
    connect_timeout: Duration = option(
        default=Duration(10.0), doc="Time for the connection and its TLS handshake.", example="10s", validator=_AFTER
    )
    ack_timeout: Duration = option(
        default=Duration(30.0),
        doc="Time for sending a message, and for its acknowledgement.",
        example="30s",
        validator=_AFTER,
    )
    idle_timeout: Duration = option(
        default=Duration(60.0),
        doc="A kept connection silent for longer is replaced before the next message. 0s gives each message its own, "
        "for a peer that closes after its answer.",
        example="60s",
        validator=Range(minimum=0),
    )
    on_ack_timeout: Literal["retry", "hold", "dead-letter"] = option(
        default="retry",
        doc="When it is unknown whether a message was taken: send it again (with the same MSH-10), hold the channel "
        "until somebody has looked, or make it a dead letter.",
        example="retry",
    )


@define(eq=False)
class MllpSink:
    """The sink of the component `mllp-out`: keeps up to `pool_size` connections, reuses the last used first."""

    options: MllpOutOptions
    connector: Connector | None = None  # of a test
    _tls: TlsContext | None = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)
    _idle: list[MllpClient] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._tls = None if self.options.tls is None else TlsContext(self.options.tls)
        self._slots = asyncio.Semaphore(self.options.pool_size)

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        """One message, one attempt."""
        accepted = exchange.headers.get(_ACCEPTED, "").split()
        digest = await asyncio.to_thread(_digest, self.options.address, exchange.body)
        if digest in accepted:
            return exchange.with_note("acknowledged-before", peer=self.options.address)
        try:
            answer = await self._deliver(exchange.body)
        except MessageError as error:
            raise Rejected(error.problem) from error
        except OutcomeUnknown as unknown:
            if self.options.on_ack_timeout == "dead-letter":
                problem = Problem("207", f"{unknown.message}; it was not repeated", "MSA", detail_code="unknown")
                raise Rejected(problem) from unknown
            raise Deferred(unknown.message, hold=self.options.on_ack_timeout == "hold") from unknown
        problems = tuple(map(_discreet, answer.errors))
        if answer.accepted:
            facts = {"warnings": " | ".join(map(str, problems))} if problems else {}
            taken = exchange.with_headers({_ACCEPTED: " ".join((*accepted, digest))})
            return taken.with_note(
                "acknowledged", peer=self.options.address, code=answer.code, control_id=answer.control_id, **facts
            )
        if answer.code in {"AE", "CE"}:
            raise Rejected(*(problems or (Problem("207", f"{answer.code} without a reason", "MSA-1"),)))
        reasons = " | ".join(map(str, problems)) or "without a reason"
        raise Deferred(f"{self.options.address}: {answer.code}: {reasons}")

    async def aclose(self) -> None:
        """Close the kept connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _deliver(self, payload: bytes) -> ack.Acknowledgement:
        async with self._slots:
            client = self._idle.pop() if self._idle else None
            if client is None:
                client = self._new_client()
            try:
                return await client.deliver(payload)
            finally:
                self._idle.append(client)

    def _new_client(self) -> MllpClient:
        options = self.options
        client = MllpClient(
            options.address, self._tls, options.connect_timeout, options.ack_timeout, options.idle_timeout
        )
        return client if self.connector is None else evolve(client, connector=self.connector)


def _digest(peer: Address, payload: bytes) -> str:
    digest = hashlib.sha256(f"{peer}\n".encode())
    digest.update(payload)
    return digest.hexdigest()[:32]


def _discreet(problem: Problem) -> Problem:
    """A peer's problem in the words of the tables: its own may quote a patient."""
    code, detail = _code_of(problem.code), _code_of(problem.detail_code)
    words = APPLICATION_ERRORS.get(detail) or MESSAGE_ERRORS.get(code) or "the peer's code"
    location = problem.location if ack.error_location(problem.location) else ""
    return Problem(code or "207", words, location, problem.severity, detail_code=detail)


def _code_of(text: str) -> str:
    return text if _CODE.fullmatch(text) else ""


def _build(options: Any) -> MllpSink:
    return MllpSink(options)


def _build_double(options: Any, outside: Outside) -> MllpSink:
    # A connection for each message: a scripted one cannot be there already.
    return MllpSink(evolve(options, tls=None, idle_timeout=0.0), ScriptedListener(outside).connect)


COMPONENTS = (
    Component(
        name="mllp-out",
        kind="sink",
        build=_build,
        options=MllpOutOptions,
        doc="Sends HL7 v2 messages over MLLP (TCP or TLS) and awaits each acknowledgement.",
        accepts=bytes,
        double=Double(build=_build_double, answers=MllpAnswer),
        check=lambda options: check_client(options.tls),
        reads={_ACCEPTED: Field("From an earlier attempt: never sent again.", always=False)},
        sets={_ACCEPTED: Field("Digests of what was acknowledged, and by whom.")},
    ),
)
