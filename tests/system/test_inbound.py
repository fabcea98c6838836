"""`pfiflow run routes/inbound.yaml` on a real Dovecot, a real DPI and a real mail server, killed again and again."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.hl7.er7 import parse
from pfiflow.mssante import reading
from pfiflow.mssante.notification import read_mdn
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from tests.endpoints.dovecot import Dovecot, reason_not_to_run
from tests.segur.mails import sent
from tests.system.conftest import Keys
from tests.system.service import ROOT, Service, run_command, until

pytestmark = pytest.mark.skipif(bool(reason_not_to_run()), reason=reason_not_to_run() or "Dovecot runs")

INBOUND = ROOT / "routes" / "inbound.yaml"
BOX = "bal@chb.mssante.fr"
MAILS, PATIENTS, KILLS = 40, 5, 6
IN_FLIGHT = 4  # `workers` of a channel

Make = Callable[..., Service]


@pytest.fixture
def operator(keys: Keys) -> Iterator[MailSimulator]:
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    with MailSimulator(tls=tls, logins={BOX: ""}) as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def dovecot(keys: Keys) -> Iterator[Dovecot]:
    with Dovecot(keys.authority) as server:
        yield server


@pytest.fixture
def dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def service(make_service: Make, dovecot: Dovecot, dpi: DpiSimulator) -> Service:
    return make_service(
        INBOUND,
        PFI_MAILBOX=BOX,
        PFI_IMAP_HOST="localhost",
        PFI_IMAP_PORT=str(dovecot.port),
        PFI_DPI_DOCUMENTS=f"127.0.0.1:{dpi.port}",
        PFI_DPI_APPLICATION="DPI",
        PFI_FACILITY="CHB",
    )


def mail(number: int) -> bytes:
    """A mail of another hospital's platform that asks for an MDN; its Message-ID is its own."""
    raw = sent(document("N1", number=number, patient=number % PATIENTS + 1, size=6_000))
    return raw.replace(b"Message-ID: <", f"Message-ID: <{number}-".encode(), 1)


def test_killed_at_any_time_it_delivers_all_and_answers_once(
    service: Service, dovecot: Dovecot, dpi: DpiSimulator, operator: MailSimulator
) -> None:
    chance = random.Random(4)
    mails = [mail(number) for number in range(1, MAILS + 1)]
    dpi.script("AA", delay=0.08)  # so that every kill finds something in flight
    interrupted = 0
    dovecot.deliver(BOX, *mails[: MAILS // 2])
    with service:
        service.wait_running()
        for kill in range(KILLS):
            if kill == KILLS // 2:
                dovecot.deliver(BOX, *mails[MAILS // 2 :])
            time.sleep(chance.uniform(0.0, 0.4))
            service.kill()
            interrupted += len(dpi.received) < MAILS
            service.start()
        until(lambda: len(service.journal("mail-settled")) >= MAILS, timeout=60, what="all settled")
        for channel in ("delivery", "answers"):
            until(lambda channel=channel: service.channel(channel).waiting == 0, timeout=30, what=channel)  # type: ignore[misc]
        until(lambda: all("$PfiflowDone" in each for each in dovecot.flags(BOX)), what="all are marked")
        service.terminate()
    assert interrupted >= KILLS // 2
    documents = Counter(each.control_id for each in dpi.received)
    assert len(documents) == MAILS
    assert sum(documents.values()) - MAILS <= KILLS * IN_FLIGHT
    assert len({each.raw for each in dpi.received}) == MAILS  # what came twice is the same message, byte for byte
    contents = [base64.b64decode(parse(each.raw).get("OBX-5.5")) for each in dpi.received]
    sent_documents = [document("N1", number=n, patient=n % PATIENTS + 1, size=6_000).data for n in range(1, MAILS + 1)]
    assert set(contents) == set(sent_documents)
    for patient in range(PATIENTS):
        order = [sent_documents.index(content) for content in contents]
        own = [number for number in order if (number + 1) % PATIENTS == patient]
        assert list(dict.fromkeys(own)) == sorted(set(own))
    answers = Counter(reading.read(each.content).message_id for each in operator.received)
    assert len(answers) == MAILS
    assert sum(answers.values()) - MAILS <= KILLS * IN_FLIGHT
    assert len({each.content for each in operator.received}) == MAILS
    assert not any(read_mdn(reading.read(each.content)).failed for each in operator.received)


def test_from_the_mailbox_to_the_answer(
    service: Service, dovecot: Dovecot, dpi: DpiSimulator, operator: MailSimulator
) -> None:
    dpi.script("AE", times=1, detail="902")
    with service:
        service.wait_running()
        dovecot.deliver(BOX, mail(1))
        until(lambda: len(operator.received) == 1, what="the answer")
        assert read_mdn(reading.read(operator.received[0].content)).code == "902"
        dovecot.deliver(BOX, b"From: somebody@demo.mssante.fr\r\nSubject: bonjour\r\n\r\nBonjour.\r\n")
        until(lambda: len(dovecot.mails(BOX, "PFI-Refuses")) == 1, what="left to people")
        until(lambda: len(dovecot.mails(BOX)) == 1, what="moved, not copied")
        until(lambda: len(service.journal("mail-marked")) == 2, what="told of both")
        service.terminate()
    assert len(operator.received) == 1
    result = run_command("traces", "--store", str(service.store_path))
    assert result.returncode == 0, result.stderr
    told = [json.loads(line) for line in result.stdout.splitlines()]
    actions = [
        (line["action"], line["request"], line["answer"]) for line in told if line["action"].startswith("mailbox")
    ]
    server = f"localhost:{dovecot.port} STARTTLS AUTH PLAIN"
    assert actions[:2] == [("mailbox-folder", "CREATE PFI-Refuses", "OK"), ("mailbox-login", server, "OK")]
    assert [action for action, _, _ in actions[2:]] == ["mailbox-logout"]
    first, second = (line for line in told if line["action"] == "mail-marked")
    assert (first["who"], first["request"], first["answer"]) == (BOX, "UID STORE 1 +FLAGS $PfiflowDone", "OK")
    assert (second["request"], second["details"]["reason"]) == ("UID MOVE 2 PFI-Refuses", "rejected: 207")
    of_the_first = {line["action"] for line in told if line.get("exchange") == first["exchange"]}
    assert {"received", "mail-read", "mail-marked"} <= of_the_first
