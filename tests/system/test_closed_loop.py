"""Two hospitals, each with `pfiflow run` on the shipped routes, killed again and again: every document comes to the
other hospital's software, and every receipt back, once.

Between them the simulated operator, or a real Postfix that delivers into a real Dovecot.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.hl7.er7 import parse
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.messages import message
from pfiflow.simulators.operator import MailOperator
from tests.endpoints import dovecot, postfix
from tests.endpoints.dovecot import Dovecot
from tests.endpoints.postfix import Postfix
from tests.system.conftest import Keys
from tests.system.service import ROOT, Peer, Service, until

A, B = "pfi@hopital.test", "bal@cabinet.test"
PATIENTS, EACH, KILLS = 3, 4, 3
WANTED = {"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y", "DESTDMP": "N", "DESTMSSANTEPAT": "N"}

pytestmark = pytest.mark.timeout(240)  # some eight starts of a service, on a machine that has other things to do

Make = Callable[..., Service]


@frozen
class Site:
    """Where the mails go: the settings of both hospitals, and their routes."""

    smtp: int
    imap: int
    routes: Path


@contextmanager
def simulated(keys: Keys, routes: Path) -> Iterator[Site]:
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    with MailOperator(A, B, tls=tls, logins={A: "", B: ""}) as operator:
        yield Site(operator.smtp.port, operator.imap.port, routes)
    assert operator.errors == []


@contextmanager
def real(keys: Keys, routes: Path) -> Iterator[Site]:
    outbound = routes / "outbound.yaml"
    account = '      username: "${env:PFI_MAILBOX}"\n'
    assert account in outbound.read_text()
    outbound.write_text(outbound.read_text().replace(account, "      auth: none\n"))  # it trusts the certificate alone
    with Dovecot(keys.authority) as imap, Postfix(keys.authority, (A, B), {}, into=imap) as smtp:
        yield Site(smtp.port, imap.port, routes)


@pytest.fixture(
    params=[
        "simulated",
        pytest.param(
            "real",
            marks=pytest.mark.skipif(
                bool(dovecot.reason_not_to_run() or postfix.reason_not_to_run()),
                reason=dovecot.reason_not_to_run() or postfix.reason_not_to_run() or "they run",
            ),
        ),
    ]
)
def site(request: pytest.FixtureRequest, keys: Keys, tmp_path: Path) -> Iterator[Site]:
    routes = tmp_path / "routes"
    shutil.copytree(ROOT / "routes", routes)
    # Retries soon after a kill, which comes more often here than in a hospital.
    for path, waits in ((routes / "outbound.yaml", "10s"), (routes / "inbound.yaml", "2s")):
        path.write_text(path.read_text().replace(f"initial-delay: {waits}", "initial-delay: 200ms"))
    (routes / "whole.yaml").write_text("include: [outbound.yaml, receipts.yaml, inbound.yaml]\n")
    with {"simulated": simulated, "real": real}[request.param](keys, routes) as running:
        yield running


def _dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


ours = pytest.fixture(_dpi)
theirs = pytest.fixture(_dpi)


def orders() -> list[bytes]:
    """Each patient's first document, then what replaces it, and so on; patients mixed."""
    found = []
    former = [document("N1", number=n + 1, patient=n + 1, size=6_000) for n in range(PATIENTS)]
    for turn in range(EACH):
        if turn:
            former = [
                document("N1", number=turn * PATIENTS + n + 1, patient=n + 1, size=6_000, replaces=former[n])
                for n in range(PATIENTS)
            ]
        found += [message(each, recipients=(B,), flags=WANTED) for each in former]
    return found


def test_every_document_arrives_and_every_receipt_comes_back(
    make_service: Make, site: Site, ours: DpiSimulator, theirs: DpiSimulator
) -> None:
    chance = random.Random(10)
    network = {"PFI_SMTP_PORT": str(site.smtp), "PFI_IMAP_HOST": "localhost", "PFI_IMAP_PORT": str(site.imap)}

    def hospital(routes: str, mailbox: str, dpi: DpiSimulator) -> Service:
        address = f"127.0.0.1:{dpi.port}"
        return make_service(
            site.routes / routes,
            PFI_MAILBOX=mailbox,
            PFI_FACILITY="CH",
            PFI_DPI_APPLICATION="DPI-DEMO",
            PFI_DPI_ADDRESS=address,
            PFI_DPI_DOCUMENTS=address,
            **network,
        )

    sent = orders()
    with hospital("whole.yaml", A, ours) as a, hospital("inbound.yaml", B, theirs) as b:
        with Peer(a) as peer:
            for number, each in enumerate(sent):
                peer.persist(each)
                if number * KILLS // len(sent) != (number + 1) * KILLS // len(sent):
                    time.sleep(chance.uniform(0, 0.6))
                    service = chance.choice((a, b))
                    service.kill()
                    service.start(wait=False)
        until(lambda: _told(ours) >= {(kind, _id(each)) for each in sent for kind in ("Z02", "Z03")}, timeout=120)
        for service, channels in ((a, ("mail", "receipts", "reports")), (b, ("delivery", "answers"))):
            for channel in channels:
                until(lambda s=service, c=channel: s.channel(c).waiting == 0, timeout=30, what=channel)  # type: ignore[misc]
            service.wait_running()
            service.terminate()
    got = {each.control_id: each.raw for each in theirs.received}
    assert len(got) == len({each.raw for each in theirs.received}) == len(sent)
    carried = [parse(raw).get("TXA-12") for raw in got.values()]
    for patient in range(PATIENTS):
        own = [parse(each).get("TXA-12") for each in sent[patient::PATIENTS]]
        assert [each for each in carried if each in own] == own  # first deliveries, in the order of sending
    receipts = {each.control_id: (each.type, each.about, parse(each.raw).get("OBX-5")) for each in ours.received}
    assert Counter(receipts.values()) == Counter(
        {(f"ZAM^{kind}", _id(each), "Y"): 1 for each in sent for kind in ("Z02", "Z03")}
    )


def _id(order: bytes) -> str:
    return parse(order).get("MSH-10")


def _told(dpi: DpiSimulator) -> set[tuple[str, str]]:
    return {(each.type[4:], each.about) for each in tuple(dpi.received)}
