"""The shipped routes with a real mail server and a real DPI: who is told, once, in order, and when it was down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve, frozen

from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.flow.component import Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.options import Duration, parse_address
from pfiflow.flow.redelivery import Redelivery
from pfiflow.flow.route import FlowDefinition
from pfiflow.hl7.er7 import Message, parse
from pfiflow.routefile.lint import lint
from pfiflow.routefile.load import load
from pfiflow.segur.returns import sent_mail
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import document, message, patient
from pfiflow.store.api import Store
from pfiflow.store.memory import MemoryStore

pytestmark = pytest.mark.anyio

ROUTES = Path(__file__).parents[2] / "routes"
WHOLE = (ROUTES / "outbound.yaml", ROUTES / "receipts.yaml")
MAILBOX = "pfi@hopital.mssante.fr"
A, B, C = "a@demo.mssante.fr", "b@demo.mssante.fr", "c@demo.mssante.fr"
QUICK = Redelivery(initial_delay=Duration(0.05), max_delay=Duration(0.1), jitter=0.0)


@frozen
class Keys:
    authority: Authority
    server: Credentials
    client: Credentials


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    authority = Authority(tmp_path_factory.mktemp("keys"))
    return Keys(authority, authority.issue("localhost"), authority.issue(MAILBOX))


@pytest.fixture
def operator(keys: Keys) -> Iterator[MailSimulator]:
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    with MailSimulator(tls=tls, logins={MAILBOX: ""}) as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


@frozen
class Flow:
    """The running routes, as the hospital's software sees them."""

    engine: Engine
    store: Store

    async def send(self, *messages: bytes) -> None:
        client = MllpClient(parse_address(self.engine.status()["transmission"].address.removeprefix("mllp://")))
        for each in messages:
            assert (await client.deliver(each)).accepted
        await client.aclose()

    async def counts(self, channel: str) -> tuple[int, int, int]:
        """(waiting, done, dead) of a channel."""
        status = next(each for each in await self.store.channels() if each.channel == channel)
        return status.waiting, status.done, status.dead

    async def settled(self, *channels: str) -> None:
        with anyio.fail_after(30):
            for channel in channels:
                while (await self.counts(channel))[0]:
                    await anyio.sleep(0.01)


Start = Callable[..., Any]


@pytest.fixture
def start(keys: Keys, operator: MailSimulator, dpi: DpiSimulator, tmp_path: Path) -> Start:
    environment = {
        "PFI_STORE": str(tmp_path / "unused.db"),
        "PFI_MLLP_LISTEN": "127.0.0.1:0",
        "PFI_SMTP_HOST": "localhost",
        "PFI_SMTP_PORT": str(operator.port),
        "PFI_TLS_CA": str(keys.authority.certificate),
        "PFI_TLS_CERTIFICATE": str(keys.client.certificate),
        "PFI_TLS_KEY": str(keys.client.key),
        "PFI_MAILBOX": MAILBOX,
        "PFI_MAILBOX_LABEL": "CH de Démonstration - Documents",
        "PFI_REPLY_TO": "secretariat@hopital.mssante.fr",
        "PFI_NIL": "DEV000000",
        "PFI_OID": "1.2.250.1.999.1",
        "PFI_SENDER_NAME": "Plateforme d'intermédiation",
        "PFI_ORGANIZATION": "CH de Démonstration",
        "PFI_TEST_PLATFORM": "true",
        "PFI_DPI_APPLICATION": "DPI-DEMO",
        "PFI_DPI_ADDRESS": f"127.0.0.1:{dpi.port}",
    }

    @asynccontextmanager
    async def running(paths: tuple[Path, ...] = WHOLE, mail: Redelivery = QUICK, **more: str) -> AsyncIterator[Flow]:
        settings = {**environment, **more}
        registry = Registry.installed()
        serious = [finding for finding in lint(paths, registry, environment=settings) if finding.severity == "error"]
        assert serious == []
        loaded = load(paths, registry, environment=settings)
        policies = {"mail": mail, "receipts": QUICK}
        channels = {
            name: evolve(spec, redelivery=policies.get(name, spec.redelivery)) for name, spec in loaded.channels.items()
        }
        store = MemoryStore()
        engine = Engine(FlowDefinition(loaded.routes, channels, loaded.store, loaded.engine), store, registry)
        async with engine.running():
            yield Flow(engine, store)

    return running


def order(number: int, recipients: tuple[str, ...] = (A, B, C), *, receipts: bool = True, **flags: str) -> bytes:
    return message(
        document(number=number, patient=number, size=8_000),
        recipients=recipients,
        control_id=f"DPI-{number}",
        flags={
            "DESTDMP": "N",
            "DESTMSSANTEPAT": "N",
            "ACK_RECEPTION": "Y" if receipts else "N",
            **flags,
        },
    )


def receipts_at(dpi: DpiSimulator) -> list[Message]:
    """What the DPI took; all of it right."""
    assert [problem for each in dpi.received for problem in each.problems] == []
    return [parse(each.raw) for each in dpi.received]


async def test_one_refused_of_three_is_one_receipt(start: Start, operator: MailSimulator, dpi: DpiSimulator) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    async with start() as flow:
        await flow.send(order(1))
        await flow.settled("mail", "receipts")
        assert await flow.counts("receipts") == (0, 1, 0)
        assert await flow.counts("mail") == (0, 1, 0)
        events = {entry.event: entry for entry in await flow.store.journal()}
        (sent,) = await flow.store.messages(channel="mail")
    assert (sent.headers["hl7-sender"], sent.headers["hl7-receiver"]) == ("DPI-DEMO|HOPITAL-DEMO", "PFI|HOPITAL-DEMO")
    (mail,) = operator.received
    assert mail.recipients == (A, C)
    (receipt,) = receipts_at(dpi)
    assert [receipt.get(path) for path in ("MSH-3", "MSH-4", "MSH-5", "MSH-6", "MSH-9.2")] == [
        *("PFI", "HOPITAL-DEMO", "DPI-DEMO", "HOPITAL-DEMO", "Z02")
    ]
    assert [receipt.get(path) for path in ("OBX-4", "OBX-5", "OBX[2]-4", "OBX[2]-5.4", "ERR-5")] == [
        *("DPI-1", "N", "899900001002", B, "550")
    ]
    assert events["acknowledged"].facts["control_id"] == receipt.get("MSH-10")
    assert events["acknowledged"].exchange_id.startswith(f"{events['mail-sent'].exchange_id}.")


async def test_nothing_is_told_unless_it_was_asked_for(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    async with start() as flow:
        await flow.send(order(1, receipts=False), order(2, (B,), receipts=False), order(3, (A, C)))
        await flow.settled("mail")
        assert await flow.counts("mail") == (0, 2, 1)
        assert await flow.counts("receipts") == (0, 0, 0)
    assert dpi.received == []


async def test_all_refused_is_a_dead_letter_and_a_receipt_each(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=A)
    operator.script("RCPT", "553 5.1.3 bad name", address=B)
    async with start() as flow:
        await flow.send(order(1, (A, B)))
        await flow.settled("mail", "receipts")
        assert await flow.counts("mail") == (0, 0, 1)
    assert [(each.get("OBX[2]-5.4"), each.get("ERR-5")) for each in receipts_at(dpi)] == [(A, "550"), (B, "553")]


async def test_refused_over_two_attempts_is_told_once_each(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=A)
    operator.script("RCPT", "450 4.2.0 later", address=B, times=1)
    operator.script("RCPT", "551 5.1.6 moved", address=B)
    async with start() as flow:
        await flow.send(order(1))
        await flow.settled("mail", "receipts")
    assert [mail.recipients for mail in operator.received] == [(C,)]
    assert [(each.get("OBX[2]-5.4"), each.get("ERR-5")) for each in receipts_at(dpi)] == [(A, "550"), (B, "551")]


async def test_a_mail_that_is_given_up_is_told(start: Start, operator: MailSimulator, dpi: DpiSimulator) -> None:
    operator.script("RCPT", "452 4.2.2 mailbox full", address=C)
    async with start(mail=evolve(QUICK, max_attempts=3)) as flow:
        await flow.send(order(1))
        await flow.settled("mail", "receipts")
        assert await flow.counts("mail") == (0, 0, 1)
        (record,) = await flow.store.records("mail")  # A and B may still report on it
    assert [mail.recipients for mail in operator.received] == [(A, B)]
    assert f"Message-ID: {record.key}".encode() in operator.received[0].content
    sent = sent_mail(record.exchange_id, record.facts)
    assert (sent.recipients, "delivery" in sent.wants) == ((A, B), True)
    assert sent.original is not None
    assert sent.original.control_id == record.facts["hl7-control-id"]
    assert not any(name.startswith("error-") for name in record.facts)
    (receipt,) = receipts_at(dpi)
    assert (receipt.get("OBX[2]-5.4"), receipt.get("ERR-5")) == (C, "452")


@pytest.mark.parametrize(
    ("change", "code"),
    [(("X.400^{ins}@", "X.400^2{tail}@"), "510"), (("|VALI", "|DOUT"), "554")],
    ids=["another address", "INS not qualified"],
)
async def test_a_patients_mail_that_a_gate_stops_is_told_and_the_professionals_goes(
    start: Start, operator: MailSimulator, dpi: DpiSimulator, change: tuple[str, str], code: str
) -> None:
    ins = patient(1).matricule
    old, new = (each.format(ins=ins, tail=ins[1:]).encode() for each in change)
    data = order(1, (A,), DESTMSSANTEPAT="Y")
    assert data.count(old) == 1
    changed = data.replace(old, new)
    asked = [each.text(15, 4) for each in parse(changed).all("PRT") if each.text(15, 4).endswith("@patient.mssante.fr")]
    async with start() as flow:
        await flow.send(changed)
        await flow.settled("mail", "receipts")
        assert await flow.counts("mail") == (0, 1, 1)
    assert [mail.recipients for mail in operator.received] == [(A,)]
    (receipt,) = receipts_at(dpi)
    assert [receipt.get("OBX[2]-5.4")] == asked
    assert (receipt.get("OBX[2]-4"), receipt.get("ERR-5")) == (ins, code)
    assert ins not in receipt.get("ERR-8")


async def test_receipts_wait_for_the_dpi_and_leave_in_order(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    dpi.stop()
    async with start() as flow:
        for number in range(1, 9):
            await flow.send(order(number))
            await flow.settled("mail")
        await anyio.sleep(0.3)
        assert await flow.counts("receipts") == (8, 0, 0)
        deferred = [e for e in await flow.store.journal() if e.event == "deferred" and e.route == "receipts"]
        assert len({entry.exchange_id for entry in deferred}) == 1  # one message probes, the others wait
        await anyio.to_thread.run_sync(dpi.start)
        dpi.script("AR", times=1)
        await flow.settled("receipts")
        assert await flow.counts("receipts") == (0, 8, 0)
    taken = [each.about for each in dpi.received if each.answer == "AA"]
    assert taken == [f"DPI-{number}" for number in range(1, 9)]
    assert dpi.connections == 1


async def test_a_receipt_whose_answer_is_lost_is_sent_again_under_the_same_id(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    dpi.script("close", times=2)
    async with start() as flow:
        await flow.send(order(1))
        await flow.settled("mail", "receipts")
    assert [each.answer for each in dpi.received] == ["close", "close", "AA"]
    assert len({each.raw for each in dpi.received}) == 1


async def test_a_receipt_that_the_dpi_refuses_is_a_dead_letter(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    dpi.script("AE", error="207", detail="902", text="no such message", times=1)
    async with start() as flow:
        await flow.send(order(1), order(2))
        await flow.settled("mail", "receipts")
        assert await flow.counts("receipts") == (0, 1, 1)
        (dead,) = await flow.store.messages(channel="receipts", state="dead")
    assert dead.cause == "207 at MSH-10: Identifiant patient inconnu"


async def test_an_application_without_an_address_gets_a_dead_letter_and_nobody_else_its_receipt(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    async with start(PFI_DPI_APPLICATION="DPI") as flow:  # DPI-DEMO begins with it, and is another
        await flow.send(order(1))
        await flow.settled("mail", "receipts")
        assert await flow.counts("receipts") == (0, 0, 1)
        (dead,) = await flow.store.messages(channel="receipts", state="dead")
    assert "receipts.yaml" in dead.cause
    assert dpi.received == []


async def test_without_receipts_yaml_mails_go_and_receipts_wait(
    start: Start, operator: MailSimulator, dpi: DpiSimulator
) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    async with start(WHOLE[:1]) as flow:
        await flow.send(order(1))
        await flow.settled("mail")
        assert await flow.counts("receipts") == (1, 0, 0)
    assert [mail.recipients for mail in operator.received] == [(A, C)]
    assert dpi.received == []
