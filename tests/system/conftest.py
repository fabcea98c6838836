"""The service under test, the operator's mail server, and the discretion of every log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.mail import MailSimulator
from tests.system.service import OUTBOUND, Service, free_port

MAILBOX = "pfi@hopital.mssante.fr"
PASSWORD = "mot-de-passe-de-demonstration"
QUICK = (
    "redelivery: {initial-delay: 10s, max-delay: 15m, max-age: 7d}",
    "redelivery: {initial-delay: 200ms, max-delay: 400ms, max-age: 7d}",
)
"""The change of the shipped route that makes its retries short."""


@frozen
class Keys:
    """One authority; a certificate for the mail server and one for the service."""

    authority: Authority
    server: Credentials
    client: Credentials


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    authority = Authority(tmp_path_factory.mktemp("keys"))
    return Keys(authority, authority.issue("localhost"), authority.issue("pfi.hopital.example"))


@pytest.fixture
def operator(keys: Keys) -> Iterator[MailSimulator]:
    """The operator's server: STARTTLS, client certificate required, AUTH PLAIN."""
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    with MailSimulator(tls=tls, logins={MAILBOX: ""}) as simulator:
        yield simulator
    assert simulator.errors == []


@pytest.fixture
def make_service(keys: Keys, operator: MailSimulator, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services; at the end they are stopped, and their logs and journals searched for what they may not hold."""
    made: list[Service] = []

    def make(route: Path = OUTBOUND, **settings: str) -> Service:
        folder = tmp_path / f"service-{len(made) + 1}"
        folder.mkdir()
        environment = {
            "PFI_STORE": str(folder / "pfiflow.db"),
            "PFI_MLLP_LISTEN": f"127.0.0.1:{free_port()}",
            "PFI_SMTP_HOST": "localhost",
            "PFI_SMTP_PORT": str(operator.port),
            "PFI_TLS_CA": str(keys.authority.certificate),
            "PFI_TLS_CERTIFICATE": str(keys.client.certificate),
            "PFI_TLS_KEY": str(keys.client.key),
            "PFI_MAILBOX": MAILBOX,
            "PFI_MAILBOX_LABEL": "CH de Démonstration - Documents",
            "PFI_REPLY_TO": "secretariat@hopital.mssante.fr",
            "PFI_NIL": "DEV000000",
            "PFI_OID": "1.2.250.1.999.1",
            "PFI_SENDER_NAME": "Plateforme d'intermédiation",
            "PFI_ORGANIZATION": "CH de Démonstration",
            "PFI_TEST_PLATFORM": "true",
            **settings,
        }
        service = Service(folder, environment, route)
        made.append(service)
        return service

    yield make
    for service in made:
        service.__exit__(None, None, None)
        assert service.indiscretions() == []
        service.logs()  # every line is JSON


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """The shipped route, running."""
    return make_service().start()


@pytest.fixture
def derive(tmp_path: Path) -> Callable[..., Path]:
    """Makes a route file from the shipped one, by replacing text."""

    def make(*changes: tuple[str, str]) -> Path:
        text = OUTBOUND.read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "derived.yaml"
        path.write_text(text)
        return path

    return make
