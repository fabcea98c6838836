"""How a component takes part in tests of routes: its own logic runs, and what is outside is scripted.

A component that says nothing is tested all the same: what it would send is taken as it stands, and accepted, refused or
deferred as the test says (`PlainAnswer`). One that declares a `Double` is tested with more of itself: `smtp-out` talks
its SMTP with a server that a test's lines make up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from attrs import frozen

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import BodyType, Receive
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, option

__all__ = ["Outside", "Peer", "PlainAnswer", "PlainPeer", "PlainSink", "Reply"]


class Outside(Protocol):
    """The outside of a sink in a test. One answer is scripted for each attempt to send."""

    @property
    def answer(self) -> Any:
        """The answer to the present attempt: an instance of `Double.answers`, its defaults when a test scripts none."""
        ...

    def sent(self, content: bytes, /, **facts: str) -> None:
        """Record what has just left: its bytes, and what goes with them (an envelope, an address)."""
        ...


@frozen
class Reply:
    """What a source said to its peer. `facts` are what is no bytes: where a mail was moved, how it was marked."""

    content: bytes = b""
    facts: Mapping[str, str] = MappingProxyType({})


class Peer(Protocol):
    """Who gives to a source in a test, in the place of its network."""

    async def give(self, content: bytes, headers: Mapping[str, str], receive: Receive, /) -> Reply:
        """Hand in one message as the source does, and give what the source answers. Raises nothing of `receive`."""
        ...


@frozen
class PlainAnswer:
    """How a destination of no known protocol answers one attempt; it accepts unless one of these is set."""

    reject: str = option(default="", doc="It refuses for good, with this message.", example="no such address")
    code: str = option(default="207", doc="The code of that refusal.", example="103")
    defer: str = option(default="", doc="It says: later, with this message.", example="busy")
    unavailable: bool = option(default=False, doc="… and nothing else can be sent there either.", example=True)
    retry_after: Duration | None = option(default=None, doc="… and when to come again.", example="30s")


@frozen
class PlainSink:
    """A sink that sends nothing: what it is given is recorded, and answered as a test says."""

    outside: Outside
    body_type_of: Callable[[object], BodyType[Any]]

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        """Record the body's bytes."""
        answer: PlainAnswer = self.outside.answer
        self.outside.sent(self.body_type_of(exchange.body).encode(exchange.body))
        if answer.reject:
            raise Rejected(Problem(answer.code, answer.reject))
        if answer.defer or answer.unavailable:
            raise Deferred(answer.defer, retry_after=answer.retry_after, unavailable=answer.unavailable)
        return exchange

    async def aclose(self) -> None:
        """Nothing is open."""


@frozen
class PlainPeer:
    """Gives what it is told to, with the headers that it is told, and says nothing back."""

    name: str

    async def give(self, content: bytes, headers: Mapping[str, str], receive: Receive, /) -> Reply:
        """See `Peer`."""
        try:
            await receive(Exchange("", content, headers, origin=self.name))
        except Exception:  # noqa: BLE001 - what came of it is told by who counts the answers
            return Reply()
        return Reply()
