"""What happened to each message, in words: from the journals of both PFIs and what both hospitals' software got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import define
from rich.markup import escape

from examples.demo.scenario import Sent, name
from examples.demo.world import World
from pfiflow.hl7.ack import Acknowledgement
from pfiflow.hl7.er7 import Message, parse
from pfiflow.simulators.dpi import ReceivedMessage
from pfiflow.store.api import JournalEntry

__all__ = ["Story", "receipt", "update"]

_EVENTS = {"new": "T02", "replace": "T10", "delete": "T04"}


@define
class Story:
    """One message of the scenario and what is known of it so far."""

    sent: Sent
    answer: Acknowledgement | None = None
    exchange: str = ""
    events: tuple[str, ...] = ()
    delivered: str = ""
    notified: bool = False
    told: tuple[str, ...] = ()
    repeated: bool = False

    def missing(self) -> Iterator[str]:
        """What should have come of it, and has not, or not so; in words."""
        code = self.answer.code if self.answer is not None else "nothing"
        if code != self.sent.answer:
            yield f"the answer is {code}, not {self.sent.answer}"
        if self.repeated:
            return
        for each in sorted(self.sent.told - set(self.told)):
            yield f"no receipt '{each}'"
        for each in sorted(set(self.told) - self.sent.told):
            yield f"a receipt '{each}' that was not expected"
        if len(self.told) != len(set(self.told)):
            yield "a receipt came twice"
        if self.delivered != self.sent.delivered:
            yield f"hospital B: {self.delivered or 'nothing'} instead of {self.sent.delivered or 'nothing'}"


async def update(stories: Sequence[Story], world: World) -> bool:
    """Bring the stories up to date; whether nothing is on its way any more inside the PFIs."""
    ours = await world.a.store.journal(limit=10_000)
    theirs = await world.b.store.journal(limit=10_000)
    told = _parsed(world.software_a.received)
    got = {_document(message): each for message, each in _parsed(world.software_b.received)}
    for story in stories:
        if story.exchange:
            own = [entry for entry in ours if entry.exchange_id.partition(".")[0] == story.exchange]
            arrived = _arrived(own, theirs)
            story.events = tuple(sorted(_words(own), key=lambda words: ("DMP" not in words, words)))
            story.notified = any(entry.event == "mail-sent" for entry in arrived)
            story.delivered = _delivered(arrived, got)
            story.told = tuple(receipt(message) for message, each in told if each.about == story.sent.control_id)
    channels = [*await world.a.store.channels(), *await world.b.store.channels()]
    return not any(each.waiting for each in channels)


def _arrived(own: Sequence[JournalEntry], theirs: Sequence[JournalEntry]) -> list[JournalEntry]:
    """Hospital B's journal on the mails of hospital A's exchange."""
    mails = {entry.facts["message_id"] for entry in own if entry.event == "mail-sent"}
    exchanges = {
        entry.exchange_id for entry in theirs if entry.event == "mail-read" and entry.facts.get("message_id") in mails
    }
    return [entry for entry in theirs if entry.exchange_id.partition(".")[0] in exchanges]


def _delivered(arrived: Sequence[JournalEntry], got: Mapping[tuple[str, str], ReceivedMessage]) -> str:
    """The MDM that hospital B's software got of them, and its answer."""
    for entry in arrived:
        if entry.event == "document":
            message = got.get((entry.facts["document_id"], _EVENTS[entry.facts["action"]]))
            if message is not None:
                return f"{message.type.replace('^', ' ')}, its software: {message.answer}"
    return ""


def _parsed(received: Sequence[ReceivedMessage]) -> list[tuple[Message, ReceivedMessage]]:
    return [(parse(each.raw), each) for each in tuple(received)]


def _document(message: Message) -> tuple[str, str]:
    """Which document an MDM carries, and its event."""
    return message.get("TXA-12.3") or message.get("TXA-12"), message.get("MSH-9.2")


def _words(entries: Sequence[JournalEntry]) -> Iterator[str]:
    for entry in entries:
        facts = entry.facts
        match entry.event:
            case "dmp-accepted":
                yield f"DMP: {facts['action']}, accepted"
            case "mail-sent" if "@patient." in facts["to"]:
                yield "mail to the patient"
            case "mail-sent":
                yield f"mail to {', '.join(map(name, facts['to'].split()))}"
            case "recipient-refused":
                yield f"[yellow]{name(facts['recipient'])}: {escape(facts['answer'])}[/]"
            case "rejected":
                yield f"[red]refused: {escape(facts['problems'])}[/]"
            case "deferred":
                yield f"[yellow]waits: {escape(facts['cause'])}[/]"


def receipt(message: Message) -> str:
    """A receipt (ZAM) in words."""
    event, yes = message.get("MSH-9.2"), message.get("OBX-5") == "Y"
    word = {"Z01": "in the DMP", "Z02": "delivered", "Z03": "integrated"}[event]
    reason = "" if yes else message.get("ERR-5")
    if event == "Z01":
        return f"Z01 {word}" if yes else f"Z01 NOT {word}: {reason}"
    label = f" {message.get('ERR-5.2')}" if event == "Z03" and not yes else ""
    who = name(message.get("OBX[2]-5.4"))
    return f"{event} {word}: {who}" if yes else f"{event} NOT {word}: {who}, {reason}{label}"
