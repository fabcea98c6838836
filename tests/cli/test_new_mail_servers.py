"""The Postfix and Dovecot of `pfiflow new`'s compose file, started with its own configuration files.

Only paths and ports are changed: a test has no container.
"""

from __future__ import annotations

import imaplib
import os
import pwd
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from pfiflow.simulators.certificates import Authority
from tests.endpoints import dovecot, postfix
from tests.system.service import ROOT, free_port, until

MAIL = ROOT / "pfiflow" / "cli" / "project" / "deploy" / "mail"
REASON = postfix.reason_not_to_run() or dovecot.reason_not_to_run()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "runs")

_USER = 5000  # of the mailboxes, as in the configuration


@frozen
class Servers:
    """Where both listen, and what a client needs."""

    smtp: int
    imap: int
    context: ssl.SSLContext
    without_certificate: ssl.SSLContext
    log: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("compose")
    for parent in (folder, *folder.parents[:3]):  # the daemons run as other users
        parent.chmod(0o755)
    for name in ("etc", "queue", "data", "certs", "vhosts", "run"):
        (folder / name).mkdir()
    os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, pwd.getpwnam("postfix").pw_gid)
    os.chown(folder / "vhosts", _USER, _USER)
    smtp, imap, log = free_port(), free_port(), folder / "log"
    authority = Authority(folder / "certs")
    authority.issue("localhost", "127.0.0.1", stem="server")
    client = authority.issue("client.localhost", stem="client")

    def moved(name: str) -> str:
        text = (MAIL / name).read_text()
        for old, new in (
            ("/certs", folder / "certs"),
            ("/var/mail/vhosts", folder / "vhosts"),
            ("/var/spool/postfix", folder / "queue"),
            ("/etc/postfix", folder / "etc"),
            ("/dev/stdout", log),
            ("/dev/stderr", log),
        ):
            text = text.replace(old, str(new))
        return text

    more = f"queue_directory = {folder}/queue\ndata_directory = {folder}/data\nmaillog_file_prefixes = {folder}\n"
    (folder / "etc/main.cf").write_text(
        moved("main.cf").replace("inet_interfaces = all", "inet_interfaces = 127.0.0.1") + more
    )
    (folder / "etc/master.cf").write_text(moved("master.cf").replace("smtp inet", f"127.0.0.1:{smtp} inet"))
    (folder / "etc/mailboxes").write_text(moved("mailboxes"))
    (folder / "dovecot.conf").write_text(
        moved("dovecot.conf")
        + f"base_dir = {folder}/run\nstate_dir = {folder}/run\nlisten = 127.0.0.1\n"
        + f"service imap-login {{\n chroot =\n inet_listener imap {{\n port = {imap}\n }}\n"
        + " inet_listener imaps {\n port = 0\n }\n}\nservice anvil {\n chroot =\n}\n"
    )
    context = ssl.create_default_context(cafile=str(authority.certificate))
    without = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(client.certificate, client.key)
    try:
        subprocess.run(
            ["/usr/sbin/postfix", "-c", folder / "etc", "start"], check=True, capture_output=True, timeout=60
        )
        with log.open("ab") as errors:
            mailboxes = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", folder / "dovecot.conf"], stderr=errors)
        try:
            until((folder / "queue/private/auth").exists, timeout=60, what=log.read_text()[-2000:])
            yield Servers(smtp, imap, context, without, log)
        finally:
            mailboxes.terminate()
            mailboxes.wait(30)
    finally:
        subprocess.run(
            ["/usr/sbin/postfix", "-c", folder / "etc", "stop"], check=False, capture_output=True, timeout=60
        )
        shutil.rmtree(folder, ignore_errors=True)


def _postfix(folder: Path, command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["/usr/sbin/postfix", "-c", folder / "etc", command], capture_output=True, timeout=60, check=False
    )


def connected(servers: Servers) -> imaplib.IMAP4:
    def connect() -> imaplib.IMAP4 | None:
        try:
            return imaplib.IMAP4("localhost", servers.imap, timeout=20)
        except OSError:
            return None

    found = until(connect, timeout=60, what="Dovecot listens")
    assert found is not None
    return found


def test_a_mail_by_certificate_and_login_is_read_by_certificate_and_login(servers: Servers) -> None:
    ours, theirs = "pfi@hopital.mssante.example", "137016912391923@patient.mssante.fr"
    with smtplib.SMTP("localhost", servers.smtp, timeout=30) as client:
        client.starttls(context=servers.context)
        client.ehlo()
        client.user, client.password = ours, ""
        client.auth("PLAIN", client.auth_plain)
        client.sendmail(ours, ["bloc@hopital.mssante.example", theirs], b"Subject: a document\r\n\r\nhello\r\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="Relay access denied"):
            client.sendmail(ours, ["somebody@elsewhere.example"], b"Subject: out\r\n\r\nhello\r\n")
    for box in ("bloc@hopital.mssante.example", "others@patient.mssante.fr"):
        mailbox = connected(servers)
        mailbox.starttls(servers.context)
        mailbox.authenticate("PLAIN", lambda _, box=box: f"\0{box}\0".encode())  # type: ignore[misc]

        def arrived(mailbox: imaplib.IMAP4 = mailbox) -> bool:
            return mailbox.select()[1] == [b"1"]

        until(arrived, timeout=60, what=f"a mail for {box}: {servers.log.read_text()[-2000:]}")
        mailbox.logout()


def test_nothing_without_a_certificate(servers: Servers) -> None:
    with smtplib.SMTP("localhost", servers.smtp, timeout=30) as client:
        client.starttls(context=servers.without_certificate)
        with pytest.raises((smtplib.SMTPException, ssl.SSLError, OSError)):
            client.sendmail("pfi@hopital.mssante.example", ["bloc@hopital.mssante.example"], b"Subject: x\r\n\r\nx\r\n")
    mailbox = connected(servers)
    mailbox.starttls(servers.without_certificate)
    with pytest.raises(imaplib.IMAP4.error, match="valid SSL certificate"):
        mailbox.authenticate("PLAIN", lambda _: b"\0bloc@hopital.mssante.example\0")
    mailbox.shutdown()
