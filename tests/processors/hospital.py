"""A hospital that receives: the shipped inbound routes on a scripted mailbox, a real mail server and real DPIs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
from attrs import define, evolve, field, frozen

from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.errors import Deferred, Rejected
from pfiflow.flow.clock import SYSTEM_CLOCK
from pfiflow.flow.component import Component, Field, Receive, Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import FlowDefinition
from pfiflow.flow.testing import VirtualClock
from pfiflow.mssante import reading
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.routefile.lint import lint
from pfiflow.routefile.load import load
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from pfiflow.store.api import JournalEntry, Store
from pfiflow.store.memory import MemoryStore

__all__ = ["BOX", "QUICK", "ROUTES", "WHOLE", "Fate", "Hospital", "Keys", "ScriptedMailbox", "hospital"]

ROUTES = Path(__file__).parents[2] / "routes"
WHOLE = tuple(ROUTES / name for name in ("outbound.yaml", "receipts.yaml", "inbound.yaml"))
BOX = "bal@chb.mssante.fr"
QUICK = Redelivery(initial_delay=Duration(0.05), max_delay=Duration(0.1), jitter=0.0)

Fate = Literal["done", "refused", "duplicate", "deferred"]


@frozen
class Keys:
    """Certificates of a test's servers and clients."""

    authority: Authority
    server: Credentials
    client: Credentials

    @classmethod
    def in_folder(cls, folder: Path) -> Keys:
        authority = Authority(folder)
        return cls(authority, authority.issue("localhost"), authority.issue(BOX))


@define(eq=False)
class ScriptedMailbox:
    """The component `imap-in`, in memory: gives the raw mail with the headers that IMAP gives, and says its fate."""

    receivers: list[Receive] = field(factory=list)  # one a route that reads it
    arrived: int = 0

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        self.receivers.append(receive)
        started("imap://scripted")
        await anyio.sleep_forever()

    async def stop_accepting(self) -> None:
        return

    async def put(self, raw: bytes, *, mailbox: str = BOX, uid: int = 0, uidvalidity: int = 1, reader: int = 0) -> Fate:
        self.arrived += 1
        headers = {
            "mailbox": mailbox,
            "imap-uid": str(uid or self.arrived),
            "imap-uidvalidity": str(uidvalidity),
            "imap-size": str(len(raw)),
        }
        try:
            receipt = await self.receivers[reader](Exchange("", raw, headers, origin=f"imap-in {mailbox}"))
        except Rejected:
            return "refused"
        except Deferred:
            return "deferred"
        fates: dict[str | None, Fate] = {None: "done", "same": "duplicate", "other": "refused"}
        return fates[receipt.duplicate]

    def component(self) -> Component:
        sets = {name: Field(name) for name in ("mailbox", "imap-uid", "imap-uidvalidity", "imap-size")}
        return Component("imap-in", "source", lambda _: self, "scripted", options=ImapInOptions, gives=bytes, sets=sets)


@frozen
class Hospital:
    """The running routes, seen from outside."""

    engine: Engine
    store: Store
    mailbox: ScriptedMailbox
    operator: MailSimulator
    documents: DpiSimulator
    receipts: DpiSimulator

    async def put(self, raw: bytes, **options: Any) -> Fate:
        """A mail arrives; see `ScriptedMailbox.put`."""
        return await self.mailbox.put(raw, **options)

    async def counts(self, channel: str) -> tuple[int, int, int]:
        """(waiting, done, dead) of a channel."""
        status = next(each for each in await self.store.channels() if each.channel == channel)
        return status.waiting, status.done, status.dead

    async def settled(self) -> None:
        """Nothing waits in any channel that is read here."""
        with anyio.fail_after(30):
            for channel in ("mail", "delivery", "answers", "reports", "receipts"):
                while (await self.counts(channel))[0]:
                    await anyio.sleep(0.01)

    async def until_delivered(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.documents.received) < count:
                await anyio.sleep(0.01)

    async def journal(self, event: str) -> list[JournalEntry]:
        return [entry for entry in await self.store.journal(limit=10_000) if entry.event == event]

    def answers(self) -> list[ReceivedMail]:
        """The mails that left, read as their recipient's platform reads them."""
        return [reading.read(b"Return-Path: <>\r\n" + each.content) for each in self.operator.received]


@asynccontextmanager
async def hospital(
    keys: Keys,
    operator: MailSimulator,
    documents: DpiSimulator,
    receipts: DpiSimulator,
    *,
    paths: Sequence[Path] = WHOLE,
    store: Store | None = None,
    delivery: Redelivery = QUICK,
    reports: Redelivery = QUICK,
    settings: Mapping[str, str] | None = None,
    clock: VirtualClock | None = None,
) -> AsyncIterator[Hospital]:
    """Run the shipped routes; with a clock, by hand (`Engine.standing`) and as patient as they are shipped."""
    environment = {
        "PFI_STORE": "unused.db",
        "PFI_MLLP_LISTEN": "127.0.0.1:0",
        "PFI_IMAP_HOST": "imap.example",
        "PFI_SMTP_HOST": "localhost",
        "PFI_SMTP_PORT": str(operator.port),
        "PFI_TLS_CA": str(keys.authority.certificate),
        "PFI_TLS_CERTIFICATE": str(keys.client.certificate),
        "PFI_TLS_KEY": str(keys.client.key),
        "PFI_MAILBOX": BOX,
        "PFI_MAILBOX_LABEL": "CHB - Documents",
        "PFI_REPLY_TO": "secretariat@chb.mssante.fr",
        "PFI_NIL": "DEV000000",
        "PFI_OID": "1.2.250.1.999.1",
        "PFI_SENDER_NAME": "Plateforme d'intermédiation",
        "PFI_ORGANIZATION": "CHB",
        "PFI_FACILITY": "CHB",
        "PFI_TEST_PLATFORM": "true",
        "PFI_DPI_APPLICATION": "DPI-DEMO",
        "PFI_DPI_ADDRESS": f"127.0.0.1:{receipts.port}",
        "PFI_DPI_DOCUMENTS": f"127.0.0.1:{documents.port}",
        **(settings or {}),
    }
    mailbox = ScriptedMailbox()
    installed = Registry.installed()
    registry = Registry.of(
        *(each for each in installed.components.values() if each.name != "imap-in"),
        *(each for each in installed.body_types.values() if each.name != "bytes"),
        mailbox.component(),
    )
    findings = lint(tuple(paths), registry, environment=environment)
    # Of the channel dmp: dmp.yaml is not here.
    assert {each.code for each in findings} <= {"no-reader"}, list(map(str, findings))
    loaded = load(tuple(paths), registry, environment=environment)
    channels = (
        loaded.channels
        if clock
        else {
            name: evolve(spec, redelivery={"delivery": delivery, "reports": reports}.get(name, QUICK))
            for name, spec in loaded.channels.items()
        }
    )
    store = store or MemoryStore()
    definition = FlowDefinition(loaded.routes, channels, loaded.store, loaded.engine)
    engine = Engine(definition, store, registry, clock=clock or SYSTEM_CLOCK)
    if clock is not None:
        mailbox.receivers.append(engine.entrance("mailbox")[1])
    async with engine.standing() if clock else engine.running():
        yield Hospital(engine, store, mailbox, operator, documents, receipts)
