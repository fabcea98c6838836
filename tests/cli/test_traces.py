"""`pfiflow traces`: what was done can be told of every line, on a store of the shipped routes and on one by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from pfiflow.cli import main
from pfiflow.cli.traces import FIELDS
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from pfiflow.store.api import Enqueue, JournalEntry, UnitOfWork
from pfiflow.store.sqlite import SqliteStore
from tests.processors.hospital import BOX, Keys, hospital
from tests.segur.mails import MAILBOX, sent

DOCUMENT = document("N1", number=1, patient=1)
DAY = datetime(2026, 11, 23, 8, 0).astimezone()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["traces", *arguments])


def told(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def store_of(path: Path, journal: Sequence[JournalEntry], messages: Sequence[Enqueue] = ()) -> None:
    async def write() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.declare_channels({"mail": False})
        await store.commit(UnitOfWork(journal=tuple(journal), enqueue=tuple(messages), at=DAY.timestamp()))
        await store.aclose()

    anyio.run(write)


@pytest.fixture
def dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator


def test_the_traces_of_a_mail_that_was_refused(tmp_path: Path, dpi: DpiSimulator) -> None:
    path = tmp_path / "pfiflow.db"
    keys = Keys.in_folder(tmp_path)
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    dpi.script("AE", detail="902", text=DOCUMENT.patient.family)

    async def receive() -> None:
        with MailSimulator(tls=tls, logins={BOX: ""}) as operator:
            async with hospital(keys, operator, dpi, dpi, store=SqliteStore(path)) as site:
                await site.put(sent(DOCUMENT))
                await site.settled()

    anyio.run(receive)
    lines = told("--store", str(path))
    by_action = {line["action"]: line for line in lines}
    assert {"received", "mail-read", "document", "rejected", "mail-settled", "answer", "mail-sent"} <= set(by_action)
    assert by_action["received"]["who"] == f"imap-in {BOX}"
    assert by_action["mail-read"]["request"] == BOX
    assert by_action["mail-read"]["mail"] == by_action["document"]["mail"] == by_action["answer"]["details"]["about"]
    assert by_action["answer"]["mail"] == by_action["mail-sent"]["mail"]
    assert by_action["rejected"]["answer"].startswith("207")
    assert by_action["mail-sent"]["who"] == BOX
    assert by_action["mail-sent"]["request"] == MAILBOX.address
    assert by_action["mail-sent"]["answer"].startswith("2.0.0")
    assert by_action["mail-settled"]["details"]["faults"] == "1:902"
    text = run("--store", str(path), "--format", "csv").stdout
    patient = DOCUMENT.patient
    for secret in (patient.matricule, patient.family, patient.given, patient.birth_date):
        assert secret not in text


def test_time_is_local_with_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store_of(path, [JournalEntry(DAY.timestamp() + 0.25, "a", "r", "received")])
    (line,) = told("--store", str(path))
    at = datetime.fromisoformat(line["at"])
    assert at.utcoffset() is not None
    assert at.timestamp() == DAY.timestamp() + 0.25


def test_messages_say_what_the_journal_does_not(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    headers = {"hl7-control-id": "MSG-1", "document-id": "1.2.3", "message-id": "<m@x.example>"}
    lines = [JournalEntry(1.0, "a", "r", "deferred", {"cause": "later"}), JournalEntry(2.0, "a.1", "r", "receipts")]
    store_of(path, lines, [Enqueue("mail", "k", "a", "bytes", b"", headers, "mllp-in 127.0.0.1:1")])
    first, second = told("--store", str(path))
    assert first | {"at": ""} == {
        "at": "",
        "who": "mllp-in 127.0.0.1:1",
        "action": "deferred",
        "exchange": "a",
        "route": "r",
        "answer": "later",
        "document": "1.2.3",
        "mail": "<m@x.example>",
        "message": "MSG-1",
    }
    assert second["message"] == "MSG-1"


def test_a_window_of_time(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store_of(path, [JournalEntry(DAY.timestamp() + hour * 3600, str(hour), "r", "received") for hour in range(5)])
    start, end = "2026-11-23T09:00:00", "2026-11-23T11:00:00"
    found = told("--store", str(path), "--from", start, "--to", end)
    assert [line["exchange"] for line in found] == ["1", "2"]
    assert len(told("--store", str(path), "--from", "2026-11-23")) == 5
    assert told("--store", str(path), "--to", "2026-11-23") == []


def test_more_lines_than_a_page(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store_of(path, [JournalEntry(float(n), str(n), "r", "received") for n in range(1, 2503)])
    assert [line["exchange"] for line in told("--store", str(path))] == [str(n) for n in range(1, 2503)]


def test_csv_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    facts = {"response": '=HYPERLINK("http://x.example")', "more": 'a "b", c'}
    store_of(path, [JournalEntry(1.0, "a", "r", "mail-sent", facts)])
    rows = list(csv.DictReader(io.StringIO(run("--store", str(path), "--format", "csv").stdout)))
    assert tuple(rows[0]) == FIELDS
    assert rows[0]["answer"] == '\'=HYPERLINK("http://x.example")'
    assert json.loads(rows[0]["details"]) == {"more": 'a "b", c'}


def test_no_store(tmp_path: Path) -> None:
    assert run("--store", str(tmp_path / "none.db")).exit_code == 2
