"""The shipped DMP leg as a process: official messages through a DMP's life, outages, refusals, receipts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pfiflow.dmp import answers
from pfiflow.hl7 import er7
from pfiflow.segur.values import Action
from pfiflow.simulators.dmp import DmpSimulator
from pfiflow.simulators.documents import ORGANIZATION
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.messages import document, message
from tests.conftest import SHARED
from tests.system.service import ROOT, Peer, Service, run_command, until

OFFICIAL = SHARED / "vectors" / "hl7"
OFFICIAL_STRUCTURE = "1120456789"
FLAGS = {"DESTMSSANTEPS": "N", "DESTMSSANTEPAT": "N", "ACK_RECEPTION": "Y"}

official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official examples (../shared) are not here")


@pytest.fixture(params=[ORGANIZATION])
def dmp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DmpSimulator]:
    with DmpSimulator(tmp_path / "dmp", structure=request.param) as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """The shipped route files, all three, with short waits and the structures of the official messages."""
    folder = tmp_path / "routes"
    folder.mkdir()
    changes = {
        "outbound.yaml": [
            ("{initial-delay: 10s, max-delay: 5m, max-age: 30d}", "{initial-delay: 200ms, max-delay: 400ms}")
        ],
        "dmp.yaml": [("# correspondence: {", "correspondence: {")],
        "receipts.yaml": [],
    }
    for name, replaced in changes.items():
        text = (ROOT / "routes" / name).read_text()
        for old, new in replaced:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    path = folder / "all.yaml"
    path.write_text("include: [outbound.yaml, dmp.yaml, receipts.yaml]\n")
    return path


@pytest.fixture
def service(make_service: Callable[..., Service], routes: Path, dmp: DmpSimulator, dpi: DpiSimulator) -> Service:
    return make_service(
        routes,
        PFI_DMP_URL=dmp.url,
        PFI_DMP_CA=str(dmp.authority.certificate),
        PFI_TLS_CERTIFICATE=str(dmp.client.certificate),
        PFI_TLS_KEY=str(dmp.client.key),
        PFI_SEAL_CERTIFICATE=str(dmp.seal.certificate),
        PFI_SEAL_KEY=str(dmp.seal.key),
        PFI_DMP_HOMOLOGATION="DEV000000-HOMOLOGATION",
        PFI_DMP_SECTOR="SA01",
        PFI_DMP_RESPONSIBLE=f"{ORGANIZATION}/responsable",
        PFI_DPI_APPLICATION="DPI-DEMO",
        PFI_DPI_ADDRESS=f"127.0.0.1:{dpi.port}",
    ).start()


def take(service: Service, *orders: bytes) -> None:
    with Peer(service) as peer:
        for data in orders:
            service.keep_secret(data)
            assert peer.send(data).code == "AA"


def order(number: int, patient: int, action: Action | None = None) -> bytes:
    return message(document("N1", number=number, patient=patient, size=0), action=action, flags=FLAGS)


def statuses(dmp: DmpSimulator) -> list[str]:
    return [entry.status for entry in dmp.registry.entries()]


def listed(service: Service) -> str:
    done = run_command("messages", "--store", service.store_path, "list")
    assert done.returncode == 0, done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def receipts(dpi: DpiSimulator, count: int) -> list[er7.Message]:
    until(lambda: len(dpi.received) >= count, what=f"{count} receipts")
    assert all(each.type == "ZAM^Z01" and each.answer == "AA" and each.problems == () for each in dpi.received)
    return [er7.parse(each.raw) for each in dpi.received]


@official
@pytest.mark.parametrize("dmp", [OFFICIAL_STRUCTURE], indirect=True)
def test_the_official_messages_live_a_dmp_life(service: Service, dmp: DmpSimulator, dpi: DpiSimulator) -> None:
    """T02, T10, T04: Approved, then Deprecated by its replacement, then that one Deleted; a Z01 after each."""
    wanted = (["Approved"], ["Deprecated", "Approved"], ["Deprecated", "Deleted"])
    model = er7.parse(_content("receipt_z01_dmp.er7"))
    for number, (name, then) in enumerate(zip(("t02", "t10", "t04"), wanted, strict=True), 1):
        sent = _content(f"transmission_mdm_{name}_n1.er7")
        fields = sent.partition(b"\r")[0].split(b"|")
        fields[2], fields[9] = b"DPI-DEMO", f"OFFICIAL-{number}".encode()
        sent = b"|".join(fields) + sent[sent.index(b"\r") :]
        sent, asked = re.subn(rb"(\|ACK_RECEPTION\^[^|]*\|[^|]*\|)N", rb"\1Y", sent)
        assert asked == 1
        take(service, sent)
        receipt = receipts(dpi, number)[-1]
        assert statuses(dmp) == then
        assert [segment.name for segment in receipt.segments] == ["MSH", "EVN", "OBX"]
        assert [segment.name for segment in model.segments] == ["MSH", "EVN", "OBX", "ERR"]  # a refusal
        assert receipt.get("OBX-3") == model.get("OBX-3")
        assert (receipt.get("OBX-4"), receipt.get("OBX-5")) == (f"OFFICIAL-{number}", "Y")
    first, second = dmp.registry.entries()
    assert first.replaced_by == second.entry_uuid
    assert service.channel("dmp").dead == 0


def _content(name: str) -> bytes:
    return (OFFICIAL / name).read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")


def test_orders_wait_for_the_dmp_and_leave_by_themselves(
    service: Service, dmp: DmpSimulator, dpi: DpiSimulator
) -> None:
    """SC.DMP/ALI/PROG.06 and .07: cut, send, shown as waiting and why, restore, there."""
    dmp.stop()
    first = document("N1", number=1, patient=1, size=0)
    second = document("N1", number=2, patient=1, size=0, replaces=first)
    chain = [
        message(sent, action=action, flags=FLAGS)
        for sent, action in ((first, Action.NEW), (second, Action.REPLACE), (second, Action.DELETE))
    ]
    take(service, *chain, *(order(number, number) for number in range(10, 20)))
    until(lambda: "cannot be reached" in listed(service), what="the reason why they wait")
    assert re.search(r"dmp 13 0 0", listed(service))
    assert "not tried yet, see no. 1" in listed(service)
    assert any("destination down" in line for line in service.logged("warning"))
    dmp.start()
    until(lambda: service.channel("dmp").waiting == 0, what="the orders to leave")
    assert service.channel("dmp").dead == 0
    own = dmp.registry.entries(unique_id=first.id.unique_id) + dmp.registry.entries(unique_id=second.id.unique_id)
    assert [entry.status for entry in own] == ["Deprecated", "Deleted"]
    assert statuses(dmp).count("Approved") == 10
    assert len(receipts(dpi, 13)) == 13


def test_a_dead_service_is_not_hammered(service: Service, dmp: DmpSimulator) -> None:
    dmp.script("RECEIVED", answers.http(503))
    take(service, *(order(number, number) for number in range(40)))
    until(lambda: len(dmp.requests) >= 8, what="eight probes")
    # Each of the four workers may have been under way once; then one order at a time, some 300 ms after the last.
    attempts = [entry for entry in service.journal("deferred") if entry.route == "dmp"]
    assert len({entry.exchange_id for entry in attempts}) <= 6
    dmp.clear_script()
    until(lambda: service.channel("dmp").waiting == 0, what="the orders to leave")
    assert statuses(dmp) == ["Approved"] * 40


def test_what_the_dmp_refuses_is_told(service: Service, dmp: DmpSimulator, dpi: DpiSimulator) -> None:
    closed = document("N1", number=1, patient=1, size=0)
    dmp.registry.close(f"{closed.patient.matricule}^^^&1.2.250.1.213.1.4.10&ISO^NH")
    take(service, message(closed, flags=FLAGS), order(2, 2))
    until(lambda: service.channel("dmp").dead == 1 and statuses(dmp) == ["Approved"], what="the others to go on")
    by_answer = {receipt.get("OBX-5"): receipt for receipt in receipts(dpi, 2)}
    assert by_answer.keys() == {"Y", "N"}
    assert by_answer["N"].get("ERR-5") == "DMPClosed"
    assert by_answer["N"].get("ERR-5.2") == "DMP fermé"
    assert "DMPClosed" in listed(service)


def test_what_may_not_leave_is_told(service: Service, dmp: DmpSimulator, dpi: DpiSimulator) -> None:
    doubtful = order(1, 1).replace(b"|VALI\r", b"|DOUT\r")
    assert b"|DOUT\r" in doubtful
    unknown = message(document("N1", number=2, patient=2, size=0), action=Action.DELETE, flags=FLAGS)
    take(service, doubtful, unknown)
    until(lambda: service.channel("dmp").dead == 2, what="two refusals")
    for receipt in receipts(dpi, 2):
        assert (receipt.get("OBX-5"), receipt.get("ERR-5")) == ("N", "PFIRefused")
    told = {receipt.get("ERR-8") for receipt in receipts(dpi, 2)}
    assert any("PID-32" in text for text in told)
    assert any("nothing to delete" in text for text in told)
    assert statuses(dmp) == []


def test_killed_while_the_dmp_answers(service: Service, dmp: DmpSimulator) -> None:
    """The DMP has taken the document, and we are killed before we know."""
    dmp.script("PROCESSED", delay=5.0, times=1)
    take(service, order(1, 1))
    until(lambda: statuses(dmp) == ["Approved"], what="the DMP to take it")
    service.kill()
    service.start()
    until(lambda: service.channel("dmp").waiting == 0, what="the order to be settled")
    assert service.channel("dmp").dead == 0
    assert statuses(dmp) == ["Approved"]
    (accepted,) = service.journal("dmp-accepted")
    assert accepted.facts["already"] == "true"
