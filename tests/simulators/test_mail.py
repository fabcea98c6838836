from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.mail import MailSimulator

MAIL = b"Subject: test\r\n\r\nBonjour\r\n.\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def client_certificate(authority: Authority) -> Credentials:
    return authority.issue("pfi@hopital.fr")


@pytest.fixture
def simulator(authority: Authority, tmp_path: Path) -> Iterator[MailSimulator]:
    issued = authority.issue("localhost")
    tls = TlsOptions(ca=(authority.certificate,), certificate=issued.certificate, key=issued.key)
    with MailSimulator(folder=tmp_path / "mails", tls=tls, logins={"pfi@hopital.fr": "x"}) as server:
        yield server
    assert server.errors == []


def secured(simulator: MailSimulator, tls: TlsOptions) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", simulator.port, timeout=10)
    client.starttls(context=tls.client_context())
    client.ehlo()
    return client


@pytest.fixture
def tls(authority: Authority, client_certificate: Credentials) -> TlsOptions:
    return TlsOptions(
        ca=(authority.certificate,), certificate=client_certificate.certificate, key=client_certificate.key
    )


def test_smtplib_sends_a_mail(simulator: MailSimulator, tls: TlsOptions, tmp_path: Path) -> None:
    with secured(simulator, tls) as client:
        client.login("pfi@hopital.fr", "x")
        client.sendmail("pfi@hopital.fr", ["a@x.fr"], MAIL, ["RET=HDRS", "ENVID=1"], ["NOTIFY=NEVER"])
    (received,) = simulator.received
    assert received.content == MAIL
    assert (tmp_path / "mails" / "00001.eml").read_bytes() == MAIL
    assert received.mail_parameters == "RET=HDRS ENVID=1"
    assert received.recipient_parameters == ("NOTIFY=NEVER",)
    assert simulator.counts == {
        "CONNECT": 1, "EHLO": 2, "STARTTLS": 1, "AUTH": 1, "MAIL": 1, "RCPT": 1, "DATA": 1, "BODY": 1, "QUIT": 1,
    }  # fmt: skip


def test_nothing_goes_without_tls_certificate_and_login(
    simulator: MailSimulator, tls: TlsOptions, authority: Authority
) -> None:
    with smtplib.SMTP("localhost", simulator.port, timeout=10) as client:
        client.ehlo()
        assert client.mail("a@x.fr")[0] == 530
    with pytest.raises((ssl.SSLError, ConnectionError, smtplib.SMTPServerDisconnected)):
        secured(simulator, TlsOptions(ca=(authority.certificate,)))
    with secured(simulator, tls) as client:
        assert client.mail("a@x.fr")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("pfi@hopital.fr", "wrong")


def test_a_server_without_logins_takes_any() -> None:
    with MailSimulator() as simulator, smtplib.SMTP("localhost", simulator.port, timeout=10) as client:
        client.login("pfi@hopital.fr", "whatever")
        client.sendmail("pfi@hopital.fr", ["a@x.fr"], MAIL)
        assert simulator.received[0].login == "pfi@hopital.fr"


def test_rules_answer_in_order_and_run_out() -> None:
    with MailSimulator() as simulator, smtplib.SMTP("localhost", simulator.port, timeout=10) as client:
        simulator.script("RCPT", "450 later", address="A@x.fr", times=2)
        simulator.script("RCPT", "550 never", address="b@x.fr")
        client.ehlo()
        client.mail("s@x.fr")
        codes = [client.rcpt(address)[0] for address in ("a@x.fr", "b@x.fr", "a@x.fr", "a@x.fr", "b@x.fr", "c@x.fr")]
        assert codes == [450, 550, 450, 250, 550, 250]


def test_the_size_limit_holds() -> None:
    with MailSimulator(size_limit=100) as simulator, smtplib.SMTP("localhost", simulator.port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail("s@x.fr", ["a@x.fr"], MAIL + b"x" * 100)
        assert simulator.received == []


def test_a_reply_lost_after_the_mail_was_kept() -> None:
    with MailSimulator() as simulator:
        simulator.script("BODY", close=True, keep=True)
        client = smtplib.SMTP("localhost", simulator.port, timeout=10)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.sendmail("s@x.fr", ["a@x.fr"], MAIL)
        client.close()
        assert len(simulator.received) == 1


def test_stopping_ends_connections_and_the_thread() -> None:
    before = threading.active_count()
    simulator = MailSimulator()
    simulator.start()
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
        assert connection.recv(100).startswith(b"220")
        simulator.stop()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert threading.active_count() == before
    simulator.stop()


def test_a_port_that_is_taken_is_reported_to_the_caller() -> None:
    with MailSimulator() as first, pytest.raises(OSError, match="in use"):
        MailSimulator(port=first.port).start()
