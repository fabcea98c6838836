"""The shipped inbound routes when the world misbehaves: an hour without DPI, one mail in two folders, loops."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
import pytest

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.flow.testing import VirtualClock
from pfiflow.hl7.er7 import parse
from pfiflow.mssante import reading
from pfiflow.mssante.notification import read_mdn
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from tests.mssante import mails
from tests.processors.hospital import BOX, ROUTES, Hospital, Keys, hospital
from tests.segur.mails import archive, letter, sent

pytestmark = pytest.mark.anyio

FIRST = document("N1", number=1, patient=1, size=8_000)
HOUR = 3600.0

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


@pytest.fixture
def documents() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def start(keys: Keys, operator: MailSimulator, documents: DpiSimulator) -> Start:
    return partial(hospital, keys, operator, documents, documents)


async def test_a_dpi_down_for_an_hour_then_everything_in_order(start: Start, documents: DpiSimulator) -> None:
    """As shipped, on a clock of the test's: what comes meanwhile waits, patients in order, and nobody is told of it."""
    clock = VirtualClock()
    patients = [
        [document("N1", number=10 * patient + n, patient=patient, size=2_000) for n in range(5)]
        for patient in (1, 2, 3)
    ]
    documents.stop()
    async with start(clock=clock) as site:
        begun, asked = clock.now(), 0
        for n in range(5):  # a mail a patient each ten minutes
            for number, chain in enumerate(patients):
                raw = letter(archive([chain[n]]), headers={"Message-ID": f"<{number}-{n}@x.example>"})
                assert await site.put(raw) == "done"
            until = begun + HOUR / 5 * (n + 1)
            while clock.now() < until:
                due = await site.engine.work_due()
                asked += 1
                await clock.sleep(max(0.001, min(due or until, until) - clock.now()))
        assert await site.counts("delivery") == (15, 0, 0)
        assert asked < 60  # one asks for all, less and less often
        assert site.operator.received == []
        documents.start()
        while (await site.counts("delivery"))[0]:
            due = await site.engine.work_due()
            await clock.sleep((due or clock.now()) - clock.now())
        assert clock.now() - begun < HOUR + 5 * 60 + 1  # max-delay of the channel
        got = [base64.b64decode(parse(each.raw).get("OBX-5.5")) for each in documents.received]
        for chain in patients:
            own = [each.data for each in chain]
            assert [each for each in got if each in own] == own
        assert len({each.control_id for each in documents.received}) == len(got) == 15


async def test_a_dpi_down_for_longer_than_the_channel_is_patient(start: Start, documents: DpiSimulator) -> None:
    clock = VirtualClock()
    documents.stop()
    async with start(clock=clock) as site:
        assert await site.put(sent(FIRST)) == "done"
        end = clock.now() + 8 * 24 * HOUR
        while clock.now() < end and not site.operator.received:
            await site.engine.work_due()
            await clock.sleep(6 * HOUR)
        assert clock.now() >= end - 24 * HOUR  # seven days
        (answer,) = site.answers()
        assert read_mdn(answer).code == "906"
        assert await site.counts("delivery") == (0, 0, 1)
    documents.start()


async def test_the_same_mail_in_two_folders_is_one(start: Start, tmp_path: Path) -> None:
    """A rule of the mailbox copies it; two routes read the folders."""
    more = tmp_path / "more.yaml"
    more.write_text(
        f"include: [{ROUTES / 'outbound.yaml'}, {ROUTES / 'receipts.yaml'}, {ROUTES / 'inbound.yaml'}]\n"
        "routes:\n"
        '  - use: {mailbox: {route: folder, username: "${env:PFI_MAILBOX}", folder: Documents}}\n'
    )
    async with start(paths=[more]) as site:
        with anyio.fail_after(20):
            while len(site.mailbox.receivers) < 2:
                await anyio.sleep(0.01)
        site.documents.script("AE", times=1, detail="902")
        raw = sent(FIRST)
        assert [await site.put(raw, reader=0), await site.put(raw, uid=99, reader=1)] == ["done", "duplicate"]
        await site.settled()
        assert len(site.documents.received) == 1
        assert len(site.answers()) == 1


async def test_two_platforms_answer_each_other_no_further_than_once(start: Start) -> None:
    """What we answer comes back as if from a peer that asks for receipts of everything, and so does what it answers."""
    async with start() as site:
        site.documents.script("AE", detail="902")
        fields = {"Disposition-Notification-To": mails.SENDER}
        assert await site.put(letter(archive([FIRST]), headers=fields)) == "done"
        await site.settled()
        for _ in range(3):
            assert len(site.operator.received) == 1
            answer = site.operator.received[0].content
            wanting = (
                f"Return-Path: <{mails.SENDER}>\r\nDisposition-Notification-To: {mails.SENDER}\r\n".encode() + answer
            )
            assert reading.read(wanting).kind == "mdn"
            await site.put(wanting)
            await site.settled()
        assert len(site.documents.received) == 1  # nor is the archive that it returns delivered
        assert len(site.operator.received) == 1
