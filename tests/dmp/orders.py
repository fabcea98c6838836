"""Orders for the DMP from synthetic messages, and how to carry them out without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from attrs import define, field
from cryptography import x509

from pfiflow.dmp.conversation import Answer, Conclusion, Conversation, Known, Progress, Reply
from pfiflow.dmp.requests import Request, Requests
from pfiflow.dmp.response import Accepted
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.values import Feeding
from pfiflow.dmp.vihf import Software
from pfiflow.segur.feeding import FeedingOptions, feeding
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action
from pfiflow.simulators.dmp_door import BASE, Incoming, Settings
from pfiflow.simulators.dmp_registry import Registry
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import SyntheticDocument
from pfiflow.simulators.messages import document, message

__all__ = ["FIRST", "OPTIONS", "SECOND", "THIRD", "Dmp", "order"]

OPTIONS = FeedingOptions(
    source_id="1.2.250.1.999.1",
    software=Software("pfiflow", "0.1", "DEV000000"),
    sector="SA01^1.2.250.1.71.4.2.4",
    test_platform=True,
)
FIRST = document("N1", number=1, patient=1, size=0)
SECOND = document("N1", number=2, patient=1, size=0, replaces=FIRST)
THIRD = document("N1", number=3, patient=1, size=0, replaces=SECOND)


def order(sent: SyntheticDocument = FIRST, action: Action | None = None, exchange_id: str = "") -> Feeding:
    """The order that a message with this document makes; the exchange is the document's by default."""
    transmission = read(message(sent, action=action))
    exchange_id = exchange_id or f"{transmission.action.value} {sent.id.unique_id}"
    return feeding(transmission, OPTIONS, exchange_id=exchange_id, now=datetime.now(UTC))


@define
class Dmp:
    """A simulated DMP without its network, and the records of who feeds it.

    `meddle` stands between: it gets each request and how to carry it out, and gives the reply.
    """

    seal: Seal
    trusted: Sequence[x509.Certificate]
    settings: Settings = Settings()
    meddle: Callable[[Request, Callable[[], Answer]], Reply] | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)  # of who feeds it
    registry: Registry = field(factory=Registry)
    known: dict[str, Known] = field(factory=dict)
    asked: list[str] = field(factory=list)  # the last part of each request's action
    _service: Service = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._service = Service(self.registry, self.trusted, self.settings)

    @property
    def requests(self) -> Requests:
        """Makes requests to this DMP."""
        return Requests(f"https://dmp.example{BASE}", self.seal, clock=self.clock)

    def attempt(self, of: Feeding, *, exchange_id: str = "exchange", progress: Progress = Progress()) -> Conclusion:
        """One attempt at an order; what is accepted is recorded."""
        conversation = Conversation(
            of,
            self.requests,
            exchange_id,
            progress,
            self.known.get(of.unique_id),
            self.known.get(of.parent_unique_id),
        )
        step = conversation.start()
        while isinstance(step, Request):
            step = conversation.take(self._reply(step))
        if isinstance(step.outcome, Accepted):
            state = "deleted" if of.action == "delete" else "submitted"
            self.known[of.unique_id] = Known(state, exchange_id, of.document_hash)  # type: ignore[arg-type]
        return step

    def statuses(self) -> list[str]:
        """Of every document, oldest first."""
        return [entry.status for entry in self.registry.entries()]

    def _reply(self, request: Request) -> Reply:
        self.asked.append(request.outgoing.action.rpartition(":")[2].removesuffix("-b"))

        def carry_out() -> Answer:
            content = b"".join(request.outgoing.parts)
            incoming = Incoming(urlsplit(request.url).path, request.outgoing.content_type, content)
            answer = self._service.process(incoming, now=datetime.now(UTC)).answer
            return Answer(answer.status, answer.content_type, answer.body)

        return self.meddle(request, carry_out) if self.meddle is not None else carry_out()
