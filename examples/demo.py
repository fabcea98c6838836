"""`make demo`: the shipped outbound routes against real servers, everything on loopback.

A hospital's software sends messages over MLLP. Mails leave to an SMTP server, documents to a DMP, receipts come back to
the hospital's software; the table shows what becomes of each message as it happens. The mails, and what their archives
hold, stay in `demo-output/` to be looked at. Patients are synthetic.
"""

from __future__ import annotations

import email
import email.policy
import io
import logging
import shutil
import sys
import zipfile
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

import anyio
from attrs import define, frozen
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.flow.component import Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.options import Address, parse_address
from pfiflow.hl7 import ack
from pfiflow.routefile.load import load
from pfiflow.segur.values import Action
from pfiflow.simulators.dmp import DmpSimulator
from pfiflow.simulators.documents import ORGANIZATION, document, patient
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import message
from pfiflow.store.api import JournalEntry
from pfiflow.store.sqlite import SqliteStore

OUTPUT = Path("demo-output").resolve()
ROUTES = tuple(Path(__file__).parents[1] / "routes" / f"{name}.yaml" for name in ("outbound", "dmp", "receipts"))
MAILBOX = "pfi@hopital.mssante.example"
DOCTOR, CLINIC = "dr.martin@cabinet.mssante.example", "urologie@clinique.mssante.example"
UNKNOWN = "inconnu@cabinet.mssante.example"
CLOSED = 7  # the number of a patient whose DMP is closed


@frozen
class Sent:
    """One message of the scenario: what it shows, and the ER7."""

    shows: str
    data: bytes


@define
class Line:
    """What the table says of one message."""

    shows: str
    answer: str = ""
    exchange: str = ""
    outcome: str = ""


def scenario() -> tuple[Sent, ...]:
    """The messages, in the order in which the hospital sends them."""
    first = document("N1", number=1, patient=1, size=250_000)
    second = document("N1", number=2, patient=1, size=250_000, replaces=first)
    unknown, closed = document("N1", number=5, patient=5), document("N1", number=7, patient=CLOSED)
    letter = document("N3", number=3, patient=2, size=60_000)
    to_patient = {"DESTMSSANTEPAT": "Y", "INVISIBLE_PATIENT": "N", "INVISIBLE_REP_LEGAUX": "N"}
    receipts = {"ACK_RECEPTION": "Y"}
    new = message(first, recipients=(DOCTOR, CLINIC), flags=receipts)
    stranger = message(document("N1", number=4, patient=3), control_id="DEMO-4")
    stranger = stranger.replace(document("N1", number=4, patient=3).patient.family.encode(), b"PAT-AUTRE", 1)
    return (
        Sent("MDM T02, N1 (PDF) to two professionals", new),
        Sent("ORU R01, N3 to a professional and the patient", message(letter, kind="ORU", flags=to_patient)),
        Sent("MDM T10, replaces the first document", message(second, recipients=(DOCTOR, CLINIC))),
        Sent("MDM T04, deletes it", message(second, action=Action.DELETE, recipients=(DOCTOR, CLINIC))),
        Sent("the first message once more, as after a lost ACK", new),
        Sent("a recipient unknown to the server", message(unknown, recipients=(DOCTOR, UNKNOWN), flags=receipts)),
        Sent("a patient whose DMP is closed", message(closed, flags=receipts)),
        Sent("PID and CDA name two patients", stranger),
        Sent("T02 says new, ORC says replace", message(document("N1", number=6)).replace(b"ORC|NW", b"ORC|RO", 1)),
    )


def settings(server: MailSimulator, dmp: DmpSimulator, dpi: DpiSimulator, folder: Path) -> Mapping[str, str]:
    """What routes/*.env.example list, for this demo."""
    return {
        "PFI_STORE": str(folder / "pfiflow.db"),
        "PFI_MLLP_LISTEN": "127.0.0.1:0",
        "PFI_SMTP_HOST": "localhost",
        "PFI_SMTP_PORT": str(server.port),
        "PFI_TLS_CA": str(dmp.authority.certificate),
        "PFI_TLS_CERTIFICATE": str(dmp.client.certificate),
        "PFI_TLS_KEY": str(dmp.client.key),
        "PFI_MAILBOX": MAILBOX,
        "PFI_MAILBOX_LABEL": "CH de Démonstration - Documents",
        "PFI_REPLY_TO": "secretariat@hopital.mssante.example",
        "PFI_NIL": "DEV000000",
        "PFI_OID": "1.2.250.1.999.1",
        "PFI_SENDER_NAME": "Plateforme d'intermédiation",
        "PFI_ORGANIZATION": "CH de Démonstration",
        "PFI_TEST_PLATFORM": "true",
        "PFI_DMP_URL": dmp.url,
        "PFI_DMP_CA": str(dmp.authority.certificate),
        "PFI_SEAL_CERTIFICATE": str(dmp.seal.certificate),
        "PFI_SEAL_KEY": str(dmp.seal.key),
        "PFI_DMP_HOMOLOGATION": "DEMO",
        "PFI_DMP_SECTOR": "SA01",
        "PFI_DMP_RESPONSIBLE": f"{ORGANIZATION}/responsable-pfi",
        "PFI_DPI_ADDRESS": f"127.0.0.1:{dpi.port}",
        "PFI_DPI_APPLICATION": "DPI-DEMO",
    }


def table(lines: list[Line]) -> Table:
    """The state of every message."""
    shown = Table(
        "",
        "the hospital sends",
        "answer",
        "what became of it",
        title="pfiflow: routes/outbound.yaml, dmp.yaml, receipts.yaml",
    )
    for number, line in enumerate(lines, 1):
        shown.add_row(str(number), line.shows, line.answer, line.outcome)
    return shown


def told(journal: list[JournalEntry]) -> str:
    """The journal of one exchange, in words."""
    words = []
    for entry in journal:
        match entry.event:
            case "mail-sent":
                words.append(f"mail taken for {entry.facts['to']}")
            case "dmp-accepted":
                words.append(f"DMP accepted: {entry.facts['action']}")
            case "recipient-refused":
                words.append(f"[yellow]{entry.facts['recipient']} refused: {entry.facts['answer']}[/]")
            case "rejected":
                words.append(f"[red]refused: {entry.facts['problems']}[/]")
            case "deferred":
                words.append(f"[yellow]waits: {entry.facts['cause']}[/]")
    return "\n".join(words)


async def play(engine: Engine, address: Address, lines: list[Line], live: Live) -> None:
    """Send the scenario and show what happens until nothing waits."""
    client = MllpClient(address)
    for line, sent in zip(lines, scenario(), strict=True):
        answer = ack.parse_ack(await client.exchange(sent.data))
        reasons = "\n".join(str(problem) for problem in answer.errors)
        line.answer = f"[green]{answer.code}[/]" if answer.code == "AA" else f"[red]{answer.code}[/]"
        line.outcome = reasons.replace("[", r"\[")
        waiting = await engine.store.messages(limit=1000)
        known = {each.exchange for each in lines}
        new = [m.exchange_id for m in waiting if m.exchange_id not in known and "." not in m.exchange_id]
        line.exchange = new[0] if new else ""
        if answer.code == "AA" and not new:
            line.outcome = "known already: acknowledged again, sent once"
        live.update(table(lines))
    await client.aclose()
    with anyio.move_on_after(30):
        while True:
            for line in lines:
                if line.exchange:
                    line.outcome = told(list(await engine.store.journal(exchange_id=line.exchange)))
            live.update(table(lines))
            if not any(status.waiting for status in await engine.store.channels()):
                break
            await anyio.sleep(0.1)


def _receipt(data: bytes) -> str:
    """The segments of a receipt that say what became of which message."""
    segments = data.decode().split("\r")
    return "  " + "   ".join(segment for segment in segments if segment.startswith(("OBX", "ERR")))


def unfold(mail: Path) -> tuple[str, str]:
    """Write a mail's attachments beside it. Gives its subject and the names in its archive."""
    parsed = email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    folder = mail.with_suffix("")
    folder.mkdir()
    names: list[str] = []
    for part in parsed.iter_attachments():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        (folder / str(part.get_filename())).write_bytes(content)
        if part.get_content_type() == "application/zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = archive.namelist()
                archive.extractall(folder / "IHE_XDM.unzipped")
    return str(parsed["Subject"]), ", ".join(name.rpartition("/")[2] for name in names)


async def demo(console: Console) -> None:
    """Run it."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    mails = OUTPUT / "mails"
    mails.mkdir(parents=True)
    with DmpSimulator(OUTPUT / "certificates") as dmp, DpiSimulator() as dpi:
        dmp.registry.close(patient(CLOSED).matricule)
        tls = TlsOptions(ca=(dmp.authority.certificate,), certificate=dmp.server.certificate, key=dmp.server.key)
        with MailSimulator(folder=mails, tls=tls, logins={MAILBOX: ""}) as server:
            server.script("RCPT", "550 5.1.1 unknown mailbox", address=UNKNOWN)
            registry = Registry.installed()
            definition = load(ROUTES, registry, environment=settings(server, dmp, dpi, OUTPUT))
            engine = Engine(definition, SqliteStore(definition.store.path), registry)
            lines = [Line(sent.shows) for sent in scenario()]
            async with engine.running():
                address = parse_address(engine.status()["transmission"].address.removeprefix("mllp://"))
                console.print(f"MLLP on {address}; SMTP on localhost:{server.port} (STARTTLS, client certificate)")
                console.print(f"DMP on {dmp.url} (mutual TLS); receipts to the DPI on 127.0.0.1:{dpi.port}")
                with Live(table(lines), console=console, refresh_per_second=10) as live:
                    await play(engine, address, lines, live)
        held = Table("document", "type", "status", title="in the DMP")
        for entry in dmp.registry.entries():
            held.add_row(entry.unique_id, entry.metadata.type_code.display, entry.status)
        console.print(held)
        console.print(f"Receipts that the hospital's software got: {len(dpi.received)}")
        for received_message in dpi.received:
            console.print(_receipt(received_message.raw), style="dim")
    received = Table("mail", "subject", "in its archive", title=f"received, in {mails}/")
    for path in sorted(mails.glob("*.eml")):
        received.add_row(path.name, *unfold(path))
    console.print(received)
    console.print(
        f"Look at {mails}/, and ask the store: .venv/bin/pfiflow messages --store {OUTPUT.name}/pfiflow.db list"
    )


def main() -> int:
    """Run the demo. Exit status 0 when it went through."""
    logging.basicConfig(level=logging.CRITICAL)  # the table tells it all
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    anyio.run(demo, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
