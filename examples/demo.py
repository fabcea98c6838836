"""`make demo`: the shipped outbound route against a real SMTP server, everything on loopback.

A hospital system sends messages over MLLP; the table shows what becomes of each as it happens. The mails, and what
their archives hold, stay in `demo-output/` to be looked at. Patients are synthetic.
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
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.documents import document
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import message
from pfiflow.store.api import JournalEntry
from pfiflow.store.sqlite import SqliteStore

OUTPUT = Path("demo-output").resolve()
ROUTES = Path(__file__).parents[1] / "routes" / "outbound.yaml"
MAILBOX = "pfi@hopital.mssante.example"
DOCTOR, CLINIC = "dr.martin@cabinet.mssante.example", "urologie@clinique.mssante.example"
UNKNOWN = "inconnu@cabinet.mssante.example"


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
    letter = document("N3", number=3, patient=2, size=60_000)
    to_patient = {"DESTMSSANTEPAT": "Y", "INVISIBLE_PATIENT": "N", "INVISIBLE_REP_LEGAUX": "N"}
    new = message(first, recipients=(DOCTOR, CLINIC), flags={"ACK_RECEPTION": "Y"})
    stranger = message(document("N1", number=4, patient=3), control_id="DEMO-4")
    stranger = stranger.replace(document("N1", number=4, patient=3).patient.family.encode(), b"PAT-AUTRE", 1)
    return (
        Sent("MDM T02, N1 (PDF) to two professionals", new),
        Sent("ORU R01, N3 to a professional and the patient", message(letter, kind="ORU", flags=to_patient)),
        Sent("MDM T10, replaces the first document", message(second, recipients=(DOCTOR, CLINIC))),
        Sent("MDM T04, deletes it", message(second, action=Action.DELETE, recipients=(DOCTOR, CLINIC))),
        Sent("the first message once more, as after a lost ACK", new),
        Sent("one recipient unknown to the server", message(document("N1", number=5), recipients=(DOCTOR, UNKNOWN))),
        Sent("PID and CDA name two patients", stranger),
        Sent("T02 says new, ORC says replace", message(document("N1", number=6)).replace(b"ORC|NW", b"ORC|RO", 1)),
    )


def settings(server: MailSimulator, authority: Authority, folder: Path) -> Mapping[str, str]:
    """What routes/outbound.env.example lists, for this demo."""
    ours = authority.issue(MAILBOX)
    return {
        "PFI_STORE": str(folder / "pfiflow.db"),
        "PFI_MLLP_LISTEN": "127.0.0.1:0",
        "PFI_SMTP_HOST": "localhost",
        "PFI_SMTP_PORT": str(server.port),
        "PFI_TLS_CA": str(authority.certificate),
        "PFI_TLS_CERTIFICATE": str(ours.certificate),
        "PFI_TLS_KEY": str(ours.key),
        "PFI_MAILBOX": MAILBOX,
        "PFI_MAILBOX_LABEL": "CH de Démonstration - Documents",
        "PFI_REPLY_TO": "secretariat@hopital.mssante.example",
        "PFI_NIL": "DEV000000",
        "PFI_OID": "1.2.250.1.999.1",
        "PFI_SENDER_NAME": "Plateforme d'intermédiation",
        "PFI_ORGANIZATION": "CH de Démonstration",
        "PFI_TEST_PLATFORM": "true",
    }


def table(lines: list[Line]) -> Table:
    """The state of every message."""
    shown = Table("", "the hospital sends", "answer", "what became of it", title="pfiflow: routes/outbound.yaml")
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
            case "recipient-refused":
                words.append(f"[yellow]{entry.facts['recipient']} refused: {entry.facts['answer']}[/]")
            case "rejected":
                words.append(f"[red]refused: {entry.facts['problems']}[/]")
            case "deferred":
                words.append(f"[yellow]waits: {entry.facts['cause']}[/]")
    return "\n".join(words)


async def play(engine: Engine, address: Address, lines: list[Line], live: Live) -> None:
    """Send the scenario and show what happens until nothing waits but the orders for the DMP."""
    client = MllpClient(address)
    for line, sent in zip(lines, scenario(), strict=True):
        answer = ack.parse_ack(await client.exchange(sent.data))
        reasons = "\n".join(str(problem) for problem in answer.errors)
        line.answer = f"[green]{answer.code}[/]" if answer.code == "AA" else f"[red]{answer.code}[/]"
        line.outcome = reasons.replace("[", r"\[")
        waiting = await engine.store.messages(limit=1000)
        known = {each.exchange for each in lines}
        new = [m.exchange_id for m in waiting if m.exchange_id not in known]
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
            mails = next(status for status in await engine.store.channels() if status.channel == "mail")
            if not mails.waiting:
                break
            await anyio.sleep(0.1)


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
    authority = Authority(OUTPUT / "certificates")
    server_side = authority.issue("localhost")
    tls = TlsOptions(ca=(authority.certificate,), certificate=server_side.certificate, key=server_side.key)
    with MailSimulator(folder=mails, tls=tls, logins={MAILBOX: ""}) as server:
        server.script("RCPT", "550 5.1.1 unknown mailbox", address=UNKNOWN)
        registry = Registry.installed()
        definition = load([ROUTES], registry, environment=settings(server, authority, OUTPUT))
        engine = Engine(definition, SqliteStore(definition.store.path), registry)
        lines = [Line(sent.shows) for sent in scenario()]
        async with engine.running():
            address = parse_address(engine.status()["transmission"].address.removeprefix("mllp://"))
            console.print(
                f"MLLP on {address}; SMTP on localhost:{server.port} (STARTTLS, client certificate, AUTH PLAIN)"
            )
            with Live(table(lines), console=console, refresh_per_second=10) as live:
                await play(engine, address, lines, live)
            waiting = {status.channel: status.waiting for status in await engine.store.channels()}
    console.print(f"Waiting in the channel `dmp`, which routes/dmp.yaml would feed to the DMP: {waiting['dmp']} orders")
    received = Table("mail", "subject", "in its archive", title=f"received, in {mails}/")
    for path in sorted(mails.glob("*.eml")):
        received.add_row(path.name, *unfold(path))
    console.print(received)
    console.print(
        f"Look at {mails}/, and ask the store: .venv/bin/pfiflow messages --store {OUTPUT.name}/pfiflow.db list"
    )


def main() -> int:
    """Run the demo. Exit status 0 when it went through."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    anyio.run(demo, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
