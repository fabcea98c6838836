"""A hospital that receives, for the inbound benchmark: Dovecot, a DPI, `pfiflow run` of the shipped routes, mails.

Dovecot is the one of the tests.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import yaml
from attrs import define, field, frozen
from lxml import etree

from benchmarks.harness import Server
from benchmarks.samples import cpu_of
from pfiflow.mssante import reading
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.documents import SyntheticDocument, document
from pfiflow.simulators.dpi import DpiSimulator, ReceivedMessage
from tests.endpoints.dovecot import Dovecot
from tests.segur.mails import sent

__all__ = ["Arrivals", "Mailboxes", "Sample", "mails_of", "receiving"]

_ROUTES = Path(__file__).parents[1] / "routes"
_PATIENTS = 16
_PATIENCE = 300.0  # seconds


# -- mails -------------------------------------------------------------------------------------------------------------


@frozen
class Sample:
    """Mails of one kind, each with one document of its own; the first document, for the floor."""

    name: str
    mails: tuple[bytes, ...] = field(repr=False)
    document: bytes = field(repr=False)
    archive: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of a mail."""
        return len(self.mails[0])

    def floor(self, *, seconds: float) -> float:
        """CPU seconds of what nobody can leave out, bare: base64 of the archive, unzip, SHA-1, XML, base64 again."""
        encoded = binascii.b2a_base64(self.archive, newline=False)

        def once() -> None:
            with zipfile.ZipFile(io.BytesIO(binascii.a2b_base64(encoded))) as archive:
                (name,) = (each for each in archive.namelist() if each.endswith("DOC00001.XML"))
                content = archive.read(name)
            hashlib.sha1(content, usedforsecurity=False).hexdigest()
            etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
            binascii.b2a_base64(content, newline=False)

        return cpu_of(once, seconds=seconds)


def mails_of(name: Literal["N1", "N3"], size: int, count: int, *, first: int = 1) -> Sample:
    """Mails as our own outbound routes send them, the archive and its copy as PDF, of about `size` bytes.

    They ask for no receipt: what is measured ends with the DPI's AA.
    """

    def one(number: int, of: int) -> SyntheticDocument:
        return document(name, number=number, patient=number % _PATIENTS + 1, size=of, seed=number)

    def mail(each: SyntheticDocument) -> bytes:
        return sent(each, flags={"ACK_LECTURE_MSS": "N", "ACK_RECEPTION": "N"})

    small, guess = len(mail(one(first, size // 10))), len(mail(one(first, size // 2)))
    wanted = size // 10 + int((size - small) * (size // 2 - size // 10) / max(guess - small, 1))
    documents = [one(number, max(wanted, 1_000)) for number in range(first, first + count)]
    mails = tuple(map(mail, documents))
    return Sample(name, mails, documents[0].data, reading.read(mails[0]).archive().content)


# -- the hospital ------------------------------------------------------------------------------------------------------


@define(eq=False)
class Arrivals:
    """When each message came to the DPI, by the time of its answer."""

    times: list[float] = field(factory=list)
    refused: int = 0

    def __call__(self, message: ReceivedMessage) -> None:
        self.times.append(time.perf_counter())
        self.refused += message.answer != "AA"

    async def wait_for(self, count: int) -> None:
        """Return when so many messages have come in all. Raises RuntimeError when one was not answered AA."""
        async with asyncio.timeout(_PATIENCE):
            while len(self.times) < count:  # noqa: ASYNC110 - the DPI's thread fills it
                await asyncio.sleep(0.001)
        if self.refused:
            raise RuntimeError(f"{self.refused} messages were not answered AA")


@define(eq=False)
class Mailboxes:
    """The running hospital: its mailboxes on Dovecot, its server under measurement, its DPI."""

    server: Server
    dovecot: Dovecot
    authority: Authority
    names: Sequence[str]
    arrivals: Arrivals
    delivered: dict[str, int] = field(factory=dict)

    def deliver(self, mails: Sequence[bytes]) -> None:
        """Into the mailboxes, in turn."""
        for number, mail in enumerate(mails):
            name = self.names[number % len(self.names)]
            self.dovecot.deliver(name, mail)
            self.delivered[name] = self.delivered.get(name, 0) + 1

    async def marked(self) -> None:
        """Return when every mail delivered has its keyword: the server has nothing left to do."""
        async with asyncio.timeout(_PATIENCE):
            for name, count in self.delivered.items():
                while sum("$PfiflowDone" in flags for flags in self.dovecot.flags(name)) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


@contextmanager
def receiving(folder: Path, mailboxes: int) -> Iterator[Mailboxes]:
    """`pfiflow run routes/inbound.yaml`, with so many mailboxes on a Dovecot that asks for a client certificate."""
    authority = Authority(folder)
    client = authority.issue("pfi")
    names = [f"bal{number}@chb.mssante.fr" for number in range(1, mailboxes + 1)]
    arrivals = Arrivals()
    with Dovecot(authority) as dovecot, DpiSimulator() as dpi:
        dpi.on_message = arrivals
        for name in names:
            dovecot.deliver(name)
        environment = {
            "PFI_STORE": str(folder / "store.db"),
            "PFI_MLLP_LISTEN": "127.0.0.1:0",
            "PFI_IMAP_HOST": "localhost",
            "PFI_IMAP_PORT": str(dovecot.port),
            "PFI_SMTP_HOST": "localhost",
            "PFI_SMTP_PORT": "1",  # nothing is answered here
            "PFI_TLS_CA": str(authority.certificate),
            "PFI_TLS_CERTIFICATE": str(client.certificate),
            "PFI_TLS_KEY": str(client.key),
            "PFI_MAILBOX": names[0],
            "PFI_MAILBOX_LABEL": "CHB - Documents",
            "PFI_REPLY_TO": "secretariat@chb.mssante.fr",
            "PFI_NIL": "DEV000000",
            "PFI_OID": "1.2.250.1.999.1",
            "PFI_SENDER_NAME": "PFI",
            "PFI_ORGANIZATION": "CHB",
            "PFI_FACILITY": "CHB",
            "PFI_TEST_PLATFORM": "true",
            "PFI_DPI_APPLICATION": "DPI",
            "PFI_DPI_ADDRESS": f"127.0.0.1:{dpi.port}",
            "PFI_DPI_DOCUMENTS": f"127.0.0.1:{dpi.port}",
        }
        with Server.running(_route_file(folder, names[1:]), environment=environment) as server:
            yield Mailboxes(server, dovecot, authority, names, arrivals)


def _route_file(folder: Path, names: Sequence[str]) -> Path:
    """The shipped routes, and their mailbox once more for each of these."""
    shipped = _ROUTES / "inbound.yaml"
    if not names:
        return shipped
    uses = [{"use": {"mailbox": {"route": f"mailbox-{n}", "username": name}}} for n, name in enumerate(names, 2)]
    path = folder / "routes.yaml"
    path.write_text(yaml.safe_dump({"include": [str(shipped)], "routes": uses}, sort_keys=False))
    return path
