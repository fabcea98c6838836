"""The requests that carry out one order, one after the other, and what their answers come to. Sans-I/O.

    new      ITI-41
    replace  ITI-18 for the replaced document's entryUUID, then ITI-41 with RPLC
    delete   ITI-18 for the entryUUID, then ITI-57

An order whose earlier attempt may have been carried out (its answer was lost) asks ITI-18 for its own document first:
found means done. The submission set's uniqueId, the same at each attempt, lets the registry know a second copy too:
`XDSDuplicateUniqueIdInRegistry` is looked into in the same way. That settles attempts of which nothing is known,
because the process was killed.

    step = conversation.start()
    while isinstance(step, Request):
        step = conversation.take(...)  # the Answer to it, or the Failure
    step.outcome
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Final, Literal

from attrs import define, field, frozen

from pfiflow.dmp import query, response, soap
from pfiflow.dmp.codes import CODES, Meaning
from pfiflow.dmp.query import Reference
from pfiflow.dmp.requests import Request, Requests
from pfiflow.dmp.response import ATTEMPTS, Accepted, Deferred, Failure, Outcome, Rejected
from pfiflow.dmp.update import DELETED
from pfiflow.dmp.values import Feeding
from pfiflow.errors import Problem, ProtocolError
from pfiflow.errors import Rejected as RejectedError

__all__ = ["Answer", "Conclusion", "Conversation", "Known", "Progress", "Reply"]

CUTS: Final = 3
"""After so many attempts of one order that were cut short, it is the order that is taken to be at fault."""

_BUSY: Final = frozenset({408, 429, 502, 503, 504})
_RULE: Final = "volet Transmission 2.1; TD3.1b"


@frozen
class Answer:
    """An HTTP answer, whole."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    retry_after: float | None = None  # seconds


Reply = Answer | Failure


@frozen
class Known:
    """What our records say of a document: the last thing that the DMP did with it for us."""

    state: Literal["submitted", "replaced", "deleted"]
    exchange_id: str = ""
    document_hash: str = ""


@frozen
class Progress:
    """What earlier attempts of the same order leave to the next.

    Attributes:
        answered: attempts that the DMP answered.
        cuts: attempts in a row that ended with a lost answer.
        unsure: the last request may have been carried out: ask before sending it again.
    """

    answered: int = 0
    cuts: int = 0
    unsure: bool = False


@frozen
class Conclusion:
    """How an attempt ended.

    Attributes:
        outcome: of the order.
        progress: for the next attempt, when it is deferred.
        unavailable: no other order would fare better now.
        original: for a replacement, what became of the document in whose place it goes: "replaced", or why it was
            submitted as new: "unknown" (it never reached the DMP) or "deleted".
    """

    outcome: Outcome
    progress: Progress = Progress()
    unavailable: bool = False
    original: Literal["", "replaced", "unknown", "deleted"] = ""


@define
class Conversation:
    """One attempt at one order.

    Attributes:
        order: what to do.
        requests: makes the requests.
        progress: what earlier attempts left.
        known: our record of the document.
        parent: our record of the document that it replaces.
        codes: what the DMP's error codes mean.
    """

    order: Feeding
    requests: Requests
    exchange_id: str = ""
    progress: Progress = Progress()
    known: Known | None = None
    parent: Known | None = None
    codes: Mapping[str, Meaning] = CODES
    _steps: Generator[Request, Reply, Outcome] = field(init=False, repr=False)
    _last: Reply | None = field(init=False, default=None, repr=False)
    _unsure: bool = field(init=False, default=False)  # whether the order may have been carried out
    _answered: bool = field(init=False, default=False)
    _original: Literal["", "replaced", "unknown", "deleted"] = field(init=False, default="")

    def __attrs_post_init__(self) -> None:
        self._unsure = self.progress.unsure
        self._steps = self._delete() if self.order.action == "delete" else self._feed()

    def start(self) -> Request | Conclusion:
        """The first request. May raise Rejected: a value does not fit into ebRIM."""
        return self._advance(None)

    def take(self, reply: Reply) -> Request | Conclusion:
        """The next request after the reply to the last one, or the end. Raises as `start`."""
        self._last = reply
        self._answered = self._answered or isinstance(reply, Answer)
        return self._advance(reply)

    def _advance(self, reply: Reply | None) -> Request | Conclusion:
        try:
            return next(self._steps) if reply is None else self._steps.send(reply)
        except StopIteration as end:
            return self._conclude(end.value)

    def _conclude(self, outcome: Outcome) -> Conclusion:
        if not isinstance(outcome, Deferred):
            return Conclusion(outcome, original=self._original)
        cut = isinstance(self._last, Failure) and outcome.ambiguous
        progress = Progress(
            answered=self.progress.answered + self._answered,
            cuts=self.progress.cuts + 1 if cut else 0,
            unsure=self._unsure,
        )
        return Conclusion(outcome, progress, self._is_down(outcome, progress), self._original)

    def _is_down(self, outcome: Deferred, progress: Progress) -> bool:
        """Whether it is the service that cannot, or refuses us, and not this order that meets a fault."""
        match self._last:
            case Failure():
                # One order that breaks every connection must not pass for a service that is down.
                return self._last is not Failure.TOO_LONG and progress.cuts < CUTS
            case Answer(status=status):
                meaning = self.codes.get(outcome.code)
                busy = status in _BUSY or meaning is Meaning.RETRY or outcome.code == "EndpointUnavailable"
                return outcome.configuration or busy
            case None:
                return False

    # -- the three orders --------------------------------------------------------------------------------------------

    def _feed(self) -> Generator[Request, Reply, Outcome]:
        order = self.order
        if self._unsure:
            found = yield from self._ask(order.unique_id)
            if not isinstance(found, tuple):
                return found
            if found:
                self._original = "replaced" if order.action == "replace" else ""
                return Accepted(already=True)
        if order.action == "new":
            return (yield from self._submit(""))
        target = yield from self._parent_entry()
        if not isinstance(target, str):
            return target
        outcome = yield from self._submit(target)
        if isinstance(outcome, Rejected) and outcome.look_up_again and target:
            # A new version of its metadata gave the original another entryUUID in between.
            renewed = yield from self._parent_entry()
            if not isinstance(renewed, str):
                return renewed
            if renewed != target:
                outcome = yield from self._submit(renewed)
        return outcome

    def _delete(self) -> Generator[Request, Reply, Outcome]:
        found = yield from self._ask(self.order.unique_id)
        if not isinstance(found, tuple):
            return found
        try:
            entry = query.current(found)
        except RejectedError as error:
            return Rejected(error.problems)
        if entry is None:
            gone = any(reference.status == DELETED for reference in found)
            if gone or (not found and (self._unsure or self.known is not None)):
                return Accepted(already=True)
            if found:
                return _refused("the DMP says that another document has replaced this one: delete that one instead")
            return _refused("the DMP knows no such document, and we never sent it: there is nothing to delete")
        if not entry.status and self.known is not None and self.known.state == "deleted":
            return Accepted(already=True)
        request = self.requests.delete(self.order, entry.entry_uuid)
        outcome = yield from self._change(request)
        # Nobody else has this submission set's uniqueId: what is known is an earlier attempt.
        return Accepted(already=True) if self._means(outcome, Meaning.ALREADY_FED) else outcome

    def _parent_entry(self) -> Generator[Request, Reply, Outcome | str]:
        """The entryUUID of what is replaced; "" when there is nothing to replace."""
        found = yield from self._ask(self.order.parent_unique_id)
        if not isinstance(found, tuple):
            return found
        try:
            entry = query.current(found)
        except RejectedError as error:
            return Rejected(error.problems)
        if entry is not None:
            self._original = "replaced"
            return entry.entry_uuid
        if any(reference.status != DELETED for reference in found):
            return _refused("the DMP says that another document has replaced the original already")
        if found or (self.parent is not None and self.parent.state == "deleted"):
            self._original = "deleted"
            return ""
        if self.parent is None:
            self._original = "unknown"
            return ""
        if self.progress.answered + 1 < ATTEMPTS:
            return Deferred("the DMP has taken the original document, and does not find it yet")
        return _refused("the DMP has taken the original document, and does not find it: look at the patient's DMP")

    def _submit(self, target: str) -> Generator[Request, Reply, Outcome]:
        outcome = yield from self._change(self.requests.submit(self.order, replaced_entry_uuid=target))
        if not self._means(outcome, Meaning.ALREADY_FED, Meaning.LOOK_UP_AGAIN):
            return outcome
        # The answer to an earlier attempt may have been lost with the process that had sent it: the submission, or the
        # state of what it replaces, is then its work. Unless another exchange has sent other content under this id.
        if self.known is not None and self.known.exchange_id != self.exchange_id and not self._same_content():
            return outcome
        found = yield from self._ask(self.order.unique_id)
        if not isinstance(found, tuple):
            self._unsure = True
            return found
        if found:
            return Accepted(already=True)
        if self._means(outcome, Meaning.ALREADY_FED) and self.progress.answered + 1 < ATTEMPTS:
            self._unsure = True
            return Deferred("the DMP says that it has this submission, and does not find its document yet")
        return outcome

    def _same_content(self) -> bool:
        return self.known is not None and self.known.document_hash == self.order.document_hash

    def _means(self, outcome: Outcome, *meanings: Meaning) -> bool:
        """Whether it is a refusal for nothing else."""
        return isinstance(outcome, Rejected) and all(
            self.codes.get(problem.detail_code) in meanings for problem in outcome.problems
        )

    # -- one request each --------------------------------------------------------------------------------------------

    def _ask(self, unique_id: str) -> Generator[Request, Reply, Outcome | tuple[Reference, ...]]:
        reply = yield self.requests.ask(self.order, unique_id)
        outcome = self._judge(reply)
        if not isinstance(outcome, Accepted):
            return outcome
        assert isinstance(reply, Answer), "only an answer accepts"
        try:
            return query.references(soap.read_message(reply.content_type, reply.body))
        except ProtocolError:
            return Deferred("the DMP's answer to ITI-18 cannot be read")

    def _change(self, request: Request) -> Generator[Request, Reply, Outcome]:
        outcome = self._judge((yield request))
        self._unsure = isinstance(outcome, Deferred) and outcome.ambiguous
        return outcome

    def _judge(self, reply: Reply) -> Outcome:
        if isinstance(reply, Failure):
            return response.failed(reply)
        return response.outcome(
            reply.status,
            reply.content_type,
            reply.body,
            retry_after=reply.retry_after,
            attempt=self.progress.answered + 1,
            codes=self.codes,
        )


def _refused(message: str) -> Rejected:
    return Rejected((Problem("207", message, "DMP", rule=_RULE),))
