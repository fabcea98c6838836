"""The servers on loopback, and the two PFIs: the shipped routes, with the settings that `routes/*.env.example` list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from attrs import frozen

from examples.demo.scenario import (
    CLINIC,
    CLOSED,
    DOCTOR,
    FULL,
    HOSPITAL_A,
    HOSPITAL_B,
    STRANGER,
)
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.flow.component import Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.options import Address, parse_address
from pfiflow.routefile.load import load
from pfiflow.simulators.dmp import DmpSimulator
from pfiflow.simulators.documents import ORGANIZATION, patient
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.operator import MailOperator
from pfiflow.store.sqlite import SqliteStore

__all__ = ["World", "world"]

ROUTES = Path(__file__).parents[2] / "routes"


@frozen
class World:
    """Everybody, running.

    Attributes:
        a, b: the PFIs of the hospitals.
        software_a, software_b: the hospitals' software (DPI), which takes receipts and documents.
    """

    operator: MailOperator
    dmp: DmpSimulator
    software_a: DpiSimulator
    software_b: DpiSimulator
    a: Engine
    b: Engine

    @property
    def address(self) -> Address:
        """Where the PFI of hospital A takes messages."""
        return parse_address(self.a.status()["transmission"].address.removeprefix("mllp://"))

    @property
    def errors(self) -> list[str]:
        """What went wrong inside a simulator."""
        return [*self.operator.errors, *self.dmp.errors, *self.software_a.errors, *self.software_b.errors]


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Start all of it. `folder` gets the certificates, the stores and the mails."""
    async with AsyncExitStack() as stack:
        dmp = stack.enter_context(DmpSimulator(folder / "certificates"))
        dmp.registry.close(patient(CLOSED).matricule)
        operator = stack.enter_context(_operator(dmp, folder / "mails"))
        software_a, software_b = (stack.enter_context(DpiSimulator()) for _ in "AB")
        software_b.unknown_patients.add(patient(STRANGER).matricule)
        common = _network(operator, dmp)
        a = await stack.enter_async_context(
            _pfi(
                ("outbound", "dmp", "receipts", "inbound"),
                {**common, **_hospital("A", HOSPITAL_A, software_a, folder), **_dmp(dmp)},
            )
        )
        b = await stack.enter_async_context(
            _pfi(("inbound",), {**common, **_hospital("B", HOSPITAL_B, software_b, folder)})
        )
        yield World(operator, dmp, software_a, software_b, a, b)


def _operator(dmp: DmpSimulator, mails: Path) -> MailOperator:
    tls = TlsOptions(ca=(dmp.authority.certificate,), certificate=dmp.server.certificate, key=dmp.server.key)
    operator = MailOperator(
        HOSPITAL_A, HOSPITAL_B, DOCTOR, CLINIC, FULL, tls=tls, folder=mails, logins={HOSPITAL_A: "", HOSPITAL_B: ""}
    )
    operator.bounce(FULL, "5.2.2", "552 5.2.2 mailbox full")
    return operator


@asynccontextmanager
async def _pfi(routes: tuple[str, ...], settings: Mapping[str, str]) -> AsyncIterator[Engine]:
    registry = Registry.installed()
    definition = load(tuple(ROUTES / f"{name}.yaml" for name in routes), registry, environment=settings)
    engine = Engine(definition, SqliteStore(definition.store.path), registry)
    async with engine.running():
        yield engine


def _network(operator: MailOperator, dmp: DmpSimulator) -> Mapping[str, str]:
    """What both hospitals have in common: the operator, the certificates of the demo, a test platform."""
    return {
        "PFI_MLLP_LISTEN": "127.0.0.1:0",
        "PFI_SMTP_HOST": "localhost",
        "PFI_SMTP_PORT": str(operator.smtp.port),
        "PFI_IMAP_HOST": "localhost",
        "PFI_IMAP_PORT": str(operator.imap.port),
        "PFI_TLS_CA": str(dmp.authority.certificate),
        "PFI_TLS_CERTIFICATE": str(dmp.client.certificate),
        "PFI_TLS_KEY": str(dmp.client.key),
        "PFI_NIL": "DEV000000",
        "PFI_SENDER_NAME": "Plateforme d'intermédiation",
        "PFI_TEST_PLATFORM": "true",
    }


def _hospital(name: str, mailbox: str, software: DpiSimulator, folder: Path) -> Mapping[str, str]:
    """One hospital: its mailbox, its store, its software, which is DPI-DEMO in MSH."""
    return {
        "PFI_STORE": str(folder / f"hospital-{name.lower()}.db"),
        "PFI_MAILBOX": mailbox,
        "PFI_MAILBOX_LABEL": f"CH de Démonstration {name} - Documents",
        "PFI_REPLY_TO": f"secretariat@{mailbox.partition('@')[2]}",
        "PFI_OID": f"1.2.250.1.999.{ord(name) - ord('A') + 1}",
        "PFI_ORGANIZATION": f"CH de Démonstration {name}",
        "PFI_FACILITY": f"CH-DEMO-{name}",
        "PFI_DPI_APPLICATION": "DPI-DEMO",
        "PFI_DPI_ADDRESS": f"127.0.0.1:{software.port}",
        "PFI_DPI_DOCUMENTS": f"127.0.0.1:{software.port}",
    }


def _dmp(dmp: DmpSimulator) -> Mapping[str, str]:
    return {
        "PFI_DMP_URL": dmp.url,
        "PFI_DMP_CA": str(dmp.authority.certificate),
        "PFI_SEAL_CERTIFICATE": str(dmp.seal.certificate),
        "PFI_SEAL_KEY": str(dmp.seal.key),
        "PFI_DMP_HOMOLOGATION": "DEMO",
        "PFI_DMP_SECTOR": "SA01",
        "PFI_DMP_RESPONSIBLE": f"{ORGANIZATION}/responsable-pfi",
    }
