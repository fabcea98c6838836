"""What comes back for a mail that we sent: a DSN or an MDN becomes one receipt for the CREATEUR, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import anyio
import pytest
from attrs import evolve

from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.flow.options import parse_address
from pfiflow.hl7.er7 import Message, parse
from pfiflow.mssante import reading
from pfiflow.mssante.answers import Answerer, Fault
from pfiflow.mssante.error_mail import write_error_mail
from pfiflow.mssante.notification import write_mdn
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import message
from tests.processors.hospital import BOX, QUICK, Hospital, Keys, hospital
from tests.segur.mails import NOW, sent

pytestmark = pytest.mark.anyio

A, B = "a@demo.mssante.fr", "b@demo.mssante.fr"
WANTED = {"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y", "DESTDMP": "N", "DESTMSSANTEPAT": "N"}

Start = Callable[..., AbstractAsyncContextManager[Hospital]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.in_folder(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def operator(keys: Keys) -> Iterator[MailSimulator]:
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    with MailSimulator(tls=tls, logins={BOX: ""}) as simulator:
        yield simulator
    assert simulator.errors == []


def _dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


documents = pytest.fixture(_dpi)
receipts = pytest.fixture(_dpi)


@pytest.fixture
def start(keys: Keys, operator: MailSimulator, documents: DpiSimulator, receipts: DpiSimulator) -> Start:
    return partial(hospital, keys, operator, documents, receipts)


async def send(site: Hospital, *recipients: str, **flags: str) -> None:
    """The hospital sends a document, to A unless told otherwise."""
    order = message(
        document(number=1, patient=1, size=8_000),
        recipients=recipients or (A,),
        control_id="DPI-1",
        flags={**WANTED, **flags},
    )
    client = MllpClient(parse_address(site.engine.status()["transmission"].address.removeprefix("mllp://")))
    assert (await client.deliver(order)).accepted
    await client.aclose()
    await site.settled()


async def sending(site: Hospital, *recipients: str, **flags: str) -> bytes:
    """The same; gives the mail that left."""
    await send(site, *recipients, **flags)
    return site.operator.received[-1].content


def envelope_of(raw: bytes) -> str:
    return reading.read(raw).message_id[1:].partition("@")[0]


def dsn(
    raw: bytes,
    *recipients: str,
    action: str = "delivered",
    status: str = "2.0.0",
    by: str = "envelope",
    code: str = "250 ok",
) -> bytes:
    """A delivery report as a mail server writes it."""
    envelope = f"Original-Envelope-Id: {envelope_of(raw)}\r\n" if by == "envelope" else ""
    message_id = reading.read(raw).message_id if by == "headers" else "<other@x.example>"
    blocks = "".join(
        f"\r\nOriginal-Recipient: rfc822;{each}\r\nFinal-Recipient: rfc822;{each}\r\nAction: {action}\r\n"
        f"Status: {status}\r\nDiagnostic-Code: smtp; {code}\r\n"
        for each in recipients or (A,)
    )
    return (
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@demo.mssante.fr\r\n"
        f"To: {BOX}\r\nSubject: Delivery report\r\nMessage-ID: <dsn-{action}-{len(blocks)}@demo.mssante.fr>\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"\r\n\r\n'
        "--=_b\r\nContent-Type: text/plain\r\n\r\nreport\r\n"
        "--=_b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; mx.example\r\n{envelope}{blocks}\r\n"
        f"--=_b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\n\r\n--=_b--\r\n"
    ).encode()


def mdn(raw: bytes, *faults: Fault, by: str = A) -> bytes:
    """The MDN that a peer's platform writes."""
    mail = reading.read(f"Return-Path: <{BOX}>\r\n".encode() + raw)
    return b"Return-Path: <>\r\n" + write_mdn(mail, Answerer(by, "Peer", "DEV1"), faults=faults, date=NOW).raw


def told(site: Hospital) -> list[Message]:
    return [parse(each.raw) for each in site.receipts.received]


@pytest.mark.parametrize("by", ["envelope", "headers"])
async def test_delivered(start: Start, by: str) -> None:
    async with start() as site:
        raw = await sending(site)
        assert await site.put(dsn(raw, by=by)) == "done"
        await site.settled()
        (receipt,) = told(site)
        assert (receipt.get("MSH-9.2"), receipt.get("OBX-4"), receipt.get("OBX-5")) == ("Z02", "DPI-1", "Y")
        assert (receipt.get("OBX[2]-4"), receipt.get("OBX[2]-5.4")) == ("899900001001", A)
        assert (receipt.get("MSH-5"), receipt.get("MSH-6")) == ("DPI-DEMO", "HOPITAL-DEMO")
        assert (receipt.get("MSH-3"), receipt.get("MSH-11")) == ("PFI", "T")
        assert site.receipts.received[0].answer == "AA"


async def test_not_delivered(start: Start) -> None:
    async with start() as site:
        raw = await sending(site)
        report = dsn(raw, action="failed", status="5.2.2", code=f"552 mailbox of {A} is full")
        assert await site.put(report) == "done"
        await site.settled()
        (receipt,) = told(site)
        assert (receipt.get("OBX-5"), receipt.get("ERR-5"), receipt.get("ERR-5.3")) == ("N", "552", "SMTPERRORCODE")
        assert site.receipts.received[0].answer == "AA"


@pytest.mark.parametrize("action", ["delayed", "relayed", "expanded"])
async def test_what_is_neither_is_noted(start: Start, action: str) -> None:
    async with start() as site:
        raw = await sending(site)
        assert await site.put(dsn(raw, action=action, status="4.4.7" if action == "delayed" else "2.0.0")) == "done"
        assert await site.put(dsn(raw)) == "done"
        await site.settled()
        assert [each.get("OBX-5") for each in told(site)] == ["Y"]
        notes = await site.journal("mail-report")
        assert [entry.facts["said"] for entry in notes] == [action, "delivered"]


async def test_each_recipient_has_one_receipt(start: Start) -> None:
    async with start() as site:
        raw = await sending(site, A, B)
        assert await site.put(dsn(raw, A)) == "done"
        assert await site.put(dsn(raw, A, B)) == "done"
        assert await site.put(dsn(raw, A, action="failed", status="5.1.1")) == "done"
        await site.settled()
        assert [(each.get("OBX[2]-5.4"), each.get("OBX-5")) for each in told(site)] == [(A, "Y"), (B, "Y")]
        assert len({each.get("MSH-10") for each in told(site)}) == 2


async def test_read(start: Start) -> None:
    async with start() as site:
        raw = await sending(site)
        assert await site.put(mdn(raw)) == "done"
        assert await site.put(mdn(raw)) == "duplicate"
        await site.settled()
        (receipt,) = told(site)
        assert (receipt.get("MSH-9.2"), receipt.get("OBX-5"), receipt.get("OBX[2]-5.4")) == ("Z03", "Y", A)
        assert site.operator.received[1:] == []


async def test_not_integrated(start: Start) -> None:
    async with start() as site:
        raw = await sending(site)
        assert await site.put(mdn(raw, Fault("902", "Identifiant patient inconnu"))) == "done"
        await site.settled()
        (receipt,) = told(site)
        assert (receipt.get("MSH-9.2"), receipt.get("OBX-5"), receipt.get("ERR-5")) == ("Z03", "N", "902")
        assert site.receipts.received[0].answer == "AA"


async def test_an_error_mail_of_a_peer(start: Start) -> None:
    async with start() as site:
        raw = await sending(site)
        mail = reading.read(f"Return-Path: <{BOX}>\r\n".encode() + raw)
        answer = write_error_mail(mail, Answerer(A, "Peer", "DEV1"), faults=[Fault("904", "INS")], date=NOW)
        assert await site.put(b"Return-Path: <>\r\n" + answer.raw) == "done"
        await site.settled()
        (receipt,) = told(site)
        assert (receipt.get("MSH-9.2"), receipt.get("OBX-5"), receipt.get("ERR-5")) == ("Z03", "N", "904")
        assert site.documents.received == []  # the document that it returns is no delivery
        assert len(site.operator.received) == 1


async def test_nobody_who_did_not_ask_is_told(start: Start) -> None:
    async with start() as site:
        raw = await sending(site, ACK_RECEPTION="N", ACK_LECTURE_MSS="N")
        assert await site.put(dsn(raw)) == "done"
        report = mdn(raw.replace(b"MIME-Version", f"Disposition-Notification-To: {BOX}\r\nMIME-Version".encode(), 1))
        assert await site.put(report) == "done"
        await site.settled()
        assert told(site) == []
        assert [entry.facts["receipt"] for entry in await site.journal("mail-report")] == ["none", "none"]


@pytest.mark.parametrize("forge", [dsn, mdn], ids=["dsn", "mdn"])
async def test_a_report_about_nothing_of_ours_is_kept_and_not_answered(
    start: Start, forge: Callable[[bytes], bytes]
) -> None:
    async with start() as site:
        raw = await sending(site)
        known = reading.read(raw).message_id
        forged = raw.replace(known.encode(), b"<a-guess@hopital.mssante.fr>")
        assert await site.put(forge(forged)) == "done"
        await site.settled()
        assert told(site) == []
        assert await site.counts("reports") == (0, 0, 1)
        assert len(site.operator.received) == 1
        (entry,) = await site.journal("rejected")
        assert "no mail that this platform has sent" in entry.facts["problems"]


async def test_a_report_about_somebody_else_is_refused(start: Start) -> None:
    async with start() as site:
        raw = await sending(site, A, B)
        assert await site.put(dsn(raw, "stranger@demo.mssante.fr")) == "done"
        assert await site.put(mdn(raw, by="stranger@demo.mssante.fr")) == "done"
        await site.settled()
        assert told(site) == []
        assert await site.counts("reports") == (0, 0, 2)


async def test_a_bounce_in_plain_words(start: Start) -> None:
    async with start() as site:
        raw = await sending(site)
        known = reading.read(raw).message_id
        bounce = (
            "Return-Path: <>\r\nFrom: Mail Delivery <MAILER-DAEMON@old.example>\r\n"
            f"To: {BOX}\r\nSubject: Returned mail\r\nIn-Reply-To: {known}\r\nMessage-ID: <b@old.example>\r\n"
            "\r\nYour mail could not be delivered.\r\n"
        ).encode()
        assert await site.put(bounce) == "done"
        await site.settled()
        (receipt,) = told(site)
        assert (receipt.get("OBX-5"), receipt.get("ERR-5")) == ("N", "554")


async def test_an_answer_of_ours_that_comes_back_is_for_a_person(start: Start) -> None:
    async with start() as site:
        site.documents.script("AE", detail="902")
        await site.put(sent(document("N1", number=9, patient=1), flags={"ACK_LECTURE_MSS": "N"}))
        await site.settled()
        answer = site.operator.received[0]
        assert await site.put(dsn(answer.content, *answer.recipients, action="failed", status="5.1.1")) == "done"
        assert await site.put(dsn(answer.content, *answer.recipients)) == "done"
        await site.settled()
        assert await site.counts("reports") == (0, 1, 1)
        assert told(site) == []
        assert len(site.operator.received) == 1


async def test_a_report_that_comes_before_the_mail_is_settled_waits(start: Start, operator: MailSimulator) -> None:
    """One recipient has the mail, the other is greylisted: the first one's report is not lost."""
    operator.script("RCPT", "450 4.2.1 later", address=B)
    async with start() as site:
        order = message(document(number=1, patient=1, size=8_000), recipients=(A, B), flags=WANTED, control_id="DPI-1")
        client = MllpClient(parse_address(site.engine.status()["transmission"].address.removeprefix("mllp://")))
        assert (await client.deliver(order)).accepted
        await client.aclose()
        with anyio.fail_after(30):
            while not operator.received:
                await anyio.sleep(0.01)
        assert await site.put(dsn(operator.received[0].content, A)) == "done"
        await anyio.sleep(0.3)
        assert await site.counts("reports") == (1, 0, 0)
        assert told(site) == []
        operator.clear_script()
        await site.settled()
        assert [(each.get("OBX[2]-5.4"), each.get("OBX-5")) for each in told(site)] == [(A, "Y")]


async def test_what_looks_like_ours_and_never_was_is_given_up(start: Start) -> None:
    async with start(reports=evolve(QUICK, max_attempts=3)) as site:
        raw = await sending(site)
        known = reading.read(raw).message_id
        invented = f"<{'0' * 40}@{BOX.rpartition('@')[2]}>"
        assert await site.put(dsn(raw.replace(known.encode(), invented.encode()))) == "done"
        await site.settled()
        assert told(site) == []
        assert await site.counts("reports") == (0, 0, 1)
