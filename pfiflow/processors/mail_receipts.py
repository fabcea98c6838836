"""`mail-receipts`: a DSN, an MDN or an error mail about a mail of ours becomes receipts (ZAM^Z02, ZAM^Z03).

What was sent is found in the records of kind `mail`, which `smtp-out` keeps once a mail is settled for all recipients,
and `mss-receipts` when it was given up for some: the report on one may come before. A report that may be about such a
mail is deferred; one about nothing that we sent is refused: a dead letter, for a person to look at, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from attrs import define

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import Component, Field, NoOptions, Records
from pfiflow.flow.exchange import Exchange
from pfiflow.mssante.address import mask_address
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.segur.returns import Report, message_ids_of, read_report, returns_of, sent_mail, speaks_of_ours
from pfiflow.store.api import Record

__all__ = ["COMPONENTS"]

_PARIS = ZoneInfo("Europe/Paris")
_SENT = "mail"  # kind of record, by Message-ID
_TOLD = "receipt"  # kind of record: MSH-10 of a receipt that was made


@define(eq=False)
class _Receipts:
    """One receipt for each recipient and kind: what comes after the first is noted."""

    records: Records

    async def __call__(self, exchange: Exchange[ReceivedMail]) -> Exchange[tuple[bytes, ...]]:
        mail = exchange.body
        report = read_report(mail)
        record = await self._sent(report, _domain(exchange))
        if record is None:
            if speaks_of_ours(report, _domain(exchange)):
                raise Deferred("the mail that the report is about is not known, or not yet: it may still be on its way")
            message = f"a report ({mail.kind}) about no mail that this platform has sent, or remembers"
            raise Rejected(Problem("207", message, "Original-Message-ID", rule="RFC 3464, RFC 8098"))
        sent = sent_mail(record.exchange_id, record.facts)
        found = returns_of(mail, report, sent, now=datetime.now(UTC).astimezone(_PARIS))
        if sent.original is None and any(each.said == "failed" for each in found):
            message = "an answer of ours to the sender of a document came back: nobody has told that sender"
            raise Rejected(Problem("207", message, "Final-Recipient", rule="volet LPS"))
        receipts: list[bytes] = []
        made = exchange
        for each in found:
            repeated = each.receipt and await self.records.find_record(_TOLD, each.control_id) is not None
            made = made.with_note(
                "mail-report",
                kind=mail.kind,
                about=record.key,
                recipient=mask_address(each.address),
                said=each.said,
                code=each.code,
                receipt="repeated" if repeated else each.control_id if each.receipt else "none",
            )
            if each.receipt and not repeated:
                receipts.append(each.receipt)
                made = made.with_memory(_TOLD, each.control_id, kind=each.kind, about=record.key)
        headers = {name: record.facts.get(name, "") for name in ("hl7-sender", "hl7-control-id")}
        return made.with_body(tuple(receipts)).with_headers(headers)

    async def _sent(self, report: Report, domain: str) -> Record | None:
        for message_id in message_ids_of(report, domain):
            if (record := await self.records.find_record(_SENT, message_id)) is not None:
                return record
        return None


def _domain(exchange: Exchange[ReceivedMail]) -> str:
    return exchange.headers.get("mailbox", "").rpartition("@")[2]


def _builder(_options: Any, records: Records) -> Callable[[Exchange[Any]], Awaitable[Exchange[tuple[bytes, ...]]]]:
    return _Receipts(records)


COMPONENTS = (
    Component(
        name="mail-receipts",
        kind="processor",
        build=_builder,
        options=NoOptions,
        doc="Writes the receipts (ZAM) that a DSN, an MDN or an error mail about a mail of ours gives cause for.",
        accepts=ReceivedMail,
        gives=tuple[bytes, ...],
        reads={"mailbox": Field("The mailbox that the report came to: its domain is that of our mails.", always=False)},
        sets={
            "hl7-sender": Field("Application and facility that had sent the document; empty for an answer of ours."),
            "hl7-control-id": Field("MSH-10 of the message that had brought the document."),
        },
        uses_records=True,
    ),
)
