from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from pfiflow.cli.sim import _DPI_ANSWERS
from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.flow.options import Address
from pfiflow.hl7 import ack
from pfiflow.hl7.er7 import parse
from pfiflow.segur.receipts import (
    Addressee,
    Failure,
    Original,
    Party,
    dmp_receipt,
    mail_receipt,
    reading_failure,
    reading_receipt,
    smtp_failure,
)
from pfiflow.simulators.dpi import ANSWERS, Answer, DpiSimulator, check
from pfiflow.simulators.messages import document, message

ORIGINAL = Original("DPI-1", Party("DPI", "CH"), Party("PFI", "CH"))
NOW = datetime(2025, 1, 2, tzinfo=UTC)
DOCTOR = Addressee("a@demo.mssante.fr", "899900001001")
REFUSED = mail_receipt(ORIGINAL, DOCTOR, control_id="R1", now=NOW, failure=smtp_failure("550"))


@pytest.fixture
def dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


def send(dpi: DpiSimulator, *messages: bytes) -> list[ack.Acknowledgement]:
    async def converse() -> list[ack.Acknowledgement]:
        client = MllpClient(Address("127.0.0.1", dpi.port))
        try:
            return [ack.parse_ack(await client.exchange(each)) for each in messages]
        finally:
            await client.aclose()

    return asyncio.run(converse())


def test_the_committed_receipt_is_one_that_a_dpi_takes() -> None:
    path = Path(__file__).parents[2] / "examples" / "receipts" / "zam_z02.hl7"
    assert check(parse(path.read_bytes())) == ()


def test_receipts_and_documents_are_taken(dpi: DpiSimulator) -> None:
    receipts = (
        dmp_receipt(ORIGINAL, control_id="R2", now=NOW, failure=Failure("DMPClosed", "DMP fermé")),
        dmp_receipt(ORIGINAL, control_id="R3", now=NOW),
        mail_receipt(ORIGINAL, DOCTOR, control_id="R4", now=NOW),
        reading_receipt(ORIGINAL, DOCTOR, control_id="R5", now=NOW, failure=reading_failure("902")),
        message(document(number=1), control_id="M1"),
    )
    answers = send(dpi, REFUSED, *receipts)
    assert [(answer.code, answer.control_id) for answer in answers] == [
        ("AA", control_id) for control_id in ("R1", "R2", "R3", "R4", "R5", "M1")
    ]
    first = dpi.received[0]
    assert (first.type, first.about, first.answer, first.raw) == ("ZAM^Z02", "DPI-1", "AA", REFUSED)
    assert dpi.received[-1].type == "MDM^T02"


def test_documents_of_a_patient_whom_it_does_not_know_are_refused(dpi: DpiSimulator) -> None:
    stranger, known = (message(document(number=n, patient=n), control_id=f"M{n}") for n in (1, 2))
    dpi.unknown_patients.add(document(number=1, patient=1).patient.matricule)
    answers = send(dpi, stranger, known, REFUSED)
    assert [answer.code for answer in answers] == ["AE", "AA", "AA"]
    (problem,) = answers[0].errors
    assert (problem.code, problem.detail_code, problem.location) == ("207", "902", "PID-3")


def test_the_official_receipts_are_right(shared: Path) -> None:
    for path in sorted((shared / "vectors" / "hl7").glob("receipt_*.er7")):
        assert check(parse(path.read_bytes().replace(b"\n", b"\r"))) == ()


@pytest.mark.parametrize(
    ("old", "new", "location"),
    [
        (b"ZAM^Z02", b"ZAM^Z09", "MSH-9.2"),
        (b"ZAM^Z02", b"ADT^A01", "MSH-9"),
        (b"|R1|", b"||", "MSH-10"),
        (b"|2.6|", b"|2.5|", "MSH-12"),
        (b"ACK_RECEPTION_MSS", b"ACK_RECEPTION_DMP", "OBX-3"),
        (b"|DPI-1|", b"||", "OBX-4"),
        (b"|N^^", b"|X^^", "OBX-5"),
        (b"X.400", b"NET", "OBX[2]-5.3"),
        (b"|207^", b"|101^", "ERR-3"),
        (b"|550^", b"|^", "ERR-5"),
        (b"SMTPERRORCODE", b"DMPERRORCODE", "ERR-5.3"),
        (b"|N^^", b"|Y^^", "ERR"),
        (b"EVN||", b"EVX||", "MSH"),
        (b"\rOBX|1", b"\rPID|1\rOBX|1", "MSH"),
        (b"MSH|^~\\&|", b"MSH|", "MSH-2"),
        (b"8859/15", b"KLINGON", "MSH-18"),
    ],
)
def test_what_is_wrong_is_answered_ae_with_its_place(dpi: DpiSimulator, old: bytes, new: bytes, location: str) -> None:
    data = REFUSED.replace(b"UNICODE UTF-8", b"8859/15") if location == "MSH-18" else REFUSED
    wrong = data.replace(old, new, 1)
    assert wrong != data
    (answer,) = send(dpi, wrong)
    assert answer.code == "AE"
    assert location in [problem.location for problem in answer.errors]
    assert dpi.received[0].problems


def test_bytes_that_are_no_message_are_answered_ae(dpi: DpiSimulator) -> None:
    assert [answer.code for answer in send(dpi, b"hello", b"", REFUSED)] == ["AE", "AE", "AA"]


def test_rules_are_used_up_in_order(dpi: DpiSimulator) -> None:
    dpi.script("AR", times=2)
    dpi.script("AE", times=1, error="207", detail="902", text="nobody of that name")
    answers = send(dpi, *[REFUSED] * 4)
    assert [answer.code for answer in answers] == ["AR", "AR", "AE", "AA"]
    (problem,) = answers[2].errors
    assert (problem.code, problem.detail_code, problem.message) == ("207", "902", "nobody of that name")
    dpi.script("AR")
    dpi.clear_script()
    assert send(dpi, REFUSED)[0].code == "AA"


def test_the_command_line_knows_every_answer() -> None:
    assert _DPI_ANSWERS == tuple(ANSWERS) == get_args(Answer)


def test_a_port_that_is_taken_is_reported_to_the_caller(dpi: DpiSimulator) -> None:
    with pytest.raises(OSError, match="in use"):
        DpiSimulator(port=dpi.port).start()


# -- pfiflow sim -------------------------------------------------------------------------------------------------------


class Command:
    """`pfiflow sim …`, running; `port` once it listens."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "pfiflow"), "sim", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith("listening"):
                break
        self.port = int(self.said[-1].rpartition(":")[2])

    def stop(self) -> list[str]:
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return rest.splitlines()


def test_sim_dpi_prints_and_keeps_what_it_gets(tmp_path: Path) -> None:
    command = Command("dpi", "--listen", "127.0.0.1:0", "--answer", "AE", "--times", "1", "--folder", str(tmp_path))
    try:
        with_port = DpiSimulator(port=command.port)
        assert [answer.code for answer in send(with_port, REFUSED, REFUSED)] == ["AE", "AA"]
    finally:
        told = command.stop()
    assert told == ["ZAM^Z02 R1 about DPI-1: AE", "ZAM^Z02 R1 about DPI-1: AA"]
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [REFUSED, REFUSED]
