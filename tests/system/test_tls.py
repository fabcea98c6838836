"""TLS as a hospital runs it: both sides with certificates, renewed and revoked while the service goes on."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from pfiflow.hl7 import ack, mllp
from pfiflow.simulators.certificates import Credentials
from pfiflow.simulators.mail import MailSimulator
from tests.system.conftest import QUICK, Keys
from tests.system.service import Service, until
from tests.system.test_faults import order

LISTENER = """\
        listen: "${env:PFI_MLLP_LISTEN:-127.0.0.1:2575}"
"""
OVER_TLS = """\
        tls:
          ca: ["${env:PFI_TLS_CA}"]
          certificate: "${env:LISTENER}.pem"
          key: "${env:LISTENER}.key"
          crl: ["${env:CRL}"]
"""
OPERATOR = """\
        key: "${env:PFI_TLS_KEY}"
"""
WITH_CRL = """\
        crl: ["${env:CRL}"]
"""


def replace(path: Path, content: bytes) -> None:
    """As who installs certificates should: readers see the old file or the new one."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


class Software:
    """A hospital's software that sends over TLS, each message on a connection of its own."""

    def __init__(self, service: Service, keys: Keys, credentials: Credentials | None) -> None:
        self._service = service
        self._context = ssl.create_default_context(cafile=str(keys.authority.certificate))
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        if credentials is not None:
            self._context.load_cert_chain(credentials.certificate, credentials.key)
        self.session: ssl.SSLSession | None = None
        self.seen = b""  # the certificate that the service showed

    def send(self, data: bytes) -> ack.Acknowledgement:
        self._service.keep_secret(data)
        decoder = mllp.Decoder(2**20)
        with (
            socket.create_connection(("127.0.0.1", self._service.port), timeout=60) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost", session=self.session) as connection,
        ):
            self.seen = connection.getpeercert(binary_form=True) or b""
            connection.sendall(mllp.encode(data))
            while received := connection.recv(65536):
                for event in decoder.feed(received):
                    assert isinstance(event, mllp.Frame)
                    self.session = connection.session
                    return ack.parse_ack(event.payload)
        raise ConnectionResetError("closed without an answer")


@pytest.fixture
def crl(keys: Keys, tmp_path: Path) -> Path:
    path = tmp_path / "authority.crl"
    path.write_bytes(keys.authority.crl())
    return path


@pytest.fixture
def listener(keys: Keys, tmp_path: Path) -> Path:
    """The service's own certificate and key, at `<path>.pem` and `.key`."""
    path = tmp_path / "listener"
    install(keys.authority.issue("localhost"), path)
    return path


def install(credentials: Credentials, at: Path) -> None:
    replace(at.with_suffix(".key"), credentials.key.read_bytes())
    replace(at.with_suffix(".pem"), credentials.certificate.read_bytes())


@pytest.fixture
def secured(
    make_service: Callable[..., Service], derive: Callable[..., Path], keys: Keys, crl: Path, listener: Path
) -> Service:
    route = derive(QUICK, (LISTENER, LISTENER + OVER_TLS), (OPERATOR, OPERATOR + WITH_CRL))
    return make_service(route, CRL=str(crl), LISTENER=str(listener)).start()


def test_a_listener_with_certificates_on_both_sides(
    secured: Service, operator: MailSimulator, keys: Keys, crl: Path, listener: Path
) -> None:
    credentials = keys.authority.issue("dpi.hopital.example")
    software = Software(secured, keys, credentials)
    assert software.send(order(1)).code == "AA"
    with pytest.raises(OSError):
        Software(secured, keys, None).send(order(2))

    first = software.seen
    install(keys.authority.issue("localhost"), listener)  # renewed: no restart
    assert software.send(order(3)).code == "AA"
    assert software.seen != first

    replace(crl, keys.authority.crl(credentials))
    with pytest.raises(OSError):
        software.send(order(4))  # with the session of the last connection, which the certificate was good for
    assert Software(secured, keys, keys.authority.issue("ris.hopital.example")).send(order(5)).code == "AA"
    secured.settled()
    assert len(operator.received) == 3
    assert secured.lives == 1


def test_mails_wait_while_the_operators_certificate_is_revoked(
    secured: Service, operator: MailSimulator, keys: Keys, crl: Path
) -> None:
    software = Software(secured, keys, keys.authority.issue("dpi.hopital.example"))
    replace(crl, keys.authority.crl(keys.server))
    assert software.send(order(1)).code == "AA"
    until(lambda: "revoked" in secured.messages()[0].cause, what="the refusal is told")
    assert not operator.received
    replace(crl, keys.authority.crl()[:100])  # a download that was cut changes nothing
    assert software.send(order(2)).code == "AA"
    assert not operator.received
    replace(crl, keys.authority.crl())
    secured.settled()
    assert len(operator.received) == 2
