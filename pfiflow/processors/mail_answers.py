"""`delivery-outcome` and `mail-answer`: the sender of a mail learns what became of its documents, once.

A mail is answered as a whole, when the last of its documents is settled: RFC 8098 allows one MDN a recipient. Its
documents are one patient's, so one lane's: they are settled in order, and what the earlier ones came to is on record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from attrs import define, frozen

from pfiflow.flow.component import Component, Field, Records
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Size, option
from pfiflow.mssante.address import mask_address
from pfiflow.mssante.answering import AnswerKind, choose
from pfiflow.mssante.answers import Answerer, Fault
from pfiflow.mssante.error_mail import write_error_mail
from pfiflow.mssante.notification import write_mdn
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.mssante.values import OutgoingMail
from pfiflow.segur.outcome import code_of_refusal, label_of

__all__ = ["COMPONENTS", "DeliveryOutcomeOptions", "MailAnswerOptions"]

_PARIS = ZoneInfo("Europe/Paris")
_SETTLED = "settled-document"  # kind of record: exchange id of a document → the code of its refusal, "" when delivered
_OTHER = "906"


@frozen
class DeliveryOutcomeOptions:
    """Options of `delivery-outcome`."""

    own_mailboxes: tuple[str, ...] = option(
        default=(),
        doc="Mailboxes of ours besides the one addressed: never answered.",
        example=["pfi@hopital.mssante.example"],
    )
    tell_sender: bool = option(default=True, doc="Answer the sender, by MDN or standard mail.", example=True)
    tell_others: bool = option(
        default=False, doc="On an error, also write to the mailboxes that `mail-answer` names.", example=False
    )


@frozen
class MailAnswerOptions:
    """Options of `mail-answer`."""

    label: str = option(doc="Meaningful label of the mailbox that answers.", example="CH de Démonstration")
    nil: str = option(doc="X-MSS-NIL: the product's reference number (Convergence).", example="DEV000000")
    contact: str = option(
        default="",
        doc="Mailbox that people read, named in every answer.",
        example="secretariat@hopital.mssante.example",
    )
    error_mailboxes: tuple[str, ...] = option(
        default=(), doc="Who gets the copy of an error.", example=["dsi@hopital.mssante.example"]
    )
    version: Literal["1.1.3", "1.1.2"] = option(
        default="1.1.3", doc="Form of the volet LPS; the older one attaches the archive a second time.", example="1.1.3"
    )
    null_sender: bool = option(
        default=True, doc="MAIL FROM <>, as RFC 8098 wants; false where the operator refuses it.", example=True
    )
    max_size: Size | None = option(
        default=None, doc="A larger answer returns the headers of the original alone.", example="25MB"
    )


@define(eq=False)
class _Outcome:
    """`delivery-outcome`. After the delivery, or among `on-rejected` steps, where the header `error-code` is set."""

    options: DeliveryOutcomeOptions
    records: Records

    async def __call__(self, exchange: Exchange[ReceivedMail]) -> Exchange[ReceivedMail]:
        headers, mail = exchange.headers, exchange.body
        number, count = int(headers.get("split-index", "0")), int(headers.get("split-size", "0"))
        code = _code(exchange)
        told = exchange.with_headers({"answer-sender": "", "answer-others": ""})
        if number:  # of a document; else of the whole mail, which could not be opened
            told = told.with_memory(_SETTLED, exchange.id, code=code)
        if number < count:
            return told
        faults = [*await self._earlier(exchange, count), *((f"{number}:{code}",) if code else ())]
        ours = (headers.get("mailbox", ""), *self.options.own_mailboxes)
        choice = choose(mail, failed=bool(faults), ours=ours)
        kind = choice.kind if self.options.tell_sender else ""
        others = "error-copy" if faults and self.options.tell_others and choice.answerable else ""
        told = told.with_headers({"answer-sender": kind, "answer-others": others, "faults": " ".join(faults)})
        facts = {} if kind else {"reason": choice.reason or "tell-sender is off"}
        return told.with_note(
            "mail-settled", message_id=mail.message_id, faults=" ".join(faults), answer=kind or "none", **facts
        )

    async def _earlier(self, exchange: Exchange[ReceivedMail], count: int) -> list[str]:
        """The faults of the documents before the last one. One without a record died of a defect: it was not taken."""
        whole = exchange.id.rpartition(".")[0]
        faults = []
        for number in range(1, count):
            record = await self.records.find_record(_SETTLED, f"{whole}.{number}")
            if code := record.facts["code"] if record is not None else _OTHER:
                faults.append(f"{number}:{code}")
        return faults


def _code(exchange: Exchange[ReceivedMail]) -> str:
    """The code that the sender is told: "" when delivered, the consumer's, or 906 when it never came to that."""
    headers = exchange.headers
    if "error-code" not in headers:
        return ""
    if headers["error-code"] in {"given-up", "defect"}:
        return _OTHER
    code = code_of_refusal(headers["error-code"], headers.get("error-detail-code", ""))
    return code if "split-index" in headers or code != "207" else _OTHER


def _faults(headers: str, count: int) -> tuple[Fault, ...]:
    found, entries = [], headers.split()
    for entry in entries:
        number, _, code = entry.partition(":")
        place = f"document {number} sur {count}" if count > 1 else ""
        found.append(Fault(code, label_of(code), place, integrated=max(count - len(entries), 0)))
    return tuple(found)


def _answer(exchange: Exchange[ReceivedMail], *, options: MailAnswerOptions) -> Exchange[OutgoingMail]:
    headers, mail = exchange.headers, exchange.body
    answerer = Answerer(
        address=headers["mailbox"],
        label=options.label,
        nil=options.nil,
        contact=options.contact,
        version=options.version,
        null_sender=options.null_sender,
        max_bytes=options.max_size,
    )
    faults = _faults(headers.get("faults", ""), int(headers.get("split-size", "1")))
    date = datetime.fromtimestamp(int(exchange.received), UTC).astimezone(_PARIS)
    match headers["answer"]:
        case "mdn":
            answer = write_mdn(mail, answerer, faults=faults, date=date)
        case "error-mail":
            answer = write_error_mail(mail, answerer, faults=faults, date=date)
        case "error-copy":
            answer = write_error_mail(mail, answerer, faults=faults, date=date, recipients=options.error_mailboxes)
        case other:
            msg = f"header `answer` is {other!r}: expected mdn, error-mail or error-copy"
            raise ValueError(msg)
    return exchange.with_body(answer).with_note(
        "answer",
        kind=headers["answer"],
        message_id=answer.message_id,
        about=mail.message_id,
        to=" ".join(map(mask_address, answer.recipients)),
        faults=headers.get("faults", ""),
    )


def _outcome(options: Any, records: Records) -> Callable[[Exchange[Any]], Awaitable[Exchange[ReceivedMail]]]:
    return _Outcome(options, records)


def _answering(options: Any) -> Callable[[Exchange[Any]], Exchange[OutgoingMail]]:
    return partial(_answer, options=options)


_ANSWERS = get_args(AnswerKind)

COMPONENTS = (
    Component(
        name="delivery-outcome",
        kind="processor",
        build=_outcome,
        options=DeliveryOutcomeOptions,
        doc="Says who is to be told what of a mail, once its last document is settled (answer-sender, answer-others).",
        accepts=ReceivedMail,
        gives=ReceivedMail,
        reads={
            "mailbox": Field("The mailbox that the mail came to: it never answers itself.", always=False),
            "split-index": Field("Which document of the mail is settled; without it, the whole mail.", always=False),
            "split-size": Field("How many documents the mail has.", always=False),
            "error-code": Field("Among `on-rejected` steps: the document was refused or given up.", always=False),
            "error-detail-code": Field("The finer code of the refusal.", always=False),
        },
        sets={
            "answer-sender": Field("The answer that the sender gets; empty: none, or not yet.", values=_ANSWERS),
            "answer-others": Field("The same for the mailboxes that `mail-answer` names.", values=("error-copy", "")),
            "faults": Field("What was refused, as `number:code`; only once the mail is settled.", always=False),
        },
        uses_records=True,
    ),
    Component(
        name="mail-answer",
        kind="processor",
        build=_answering,
        options=MailAnswerOptions,
        doc="Writes the answer that the header `answer` names: mdn, error-mail (to the sender) or error-copy.",
        accepts=ReceivedMail,
        gives=OutgoingMail,
        reads={
            "answer": Field("Which answer to write.", values=("mdn", "error-mail", "error-copy")),
            "mailbox": Field("The mailbox that answers."),
            "faults": Field("What was refused, from `delivery-outcome`.", always=False),
            "split-size": Field("How many documents the mail has.", always=False),
        },
        threaded=True,
    ),
)
