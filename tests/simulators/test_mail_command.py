"""`pfiflow sim mail` as a process: its settings serve, over SMTP and IMAP."""

from __future__ import annotations

import imaplib
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from click.testing import CliRunner

from pfiflow.cli import main
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.mssante import reading
from pfiflow.mssante.notification import read_dsn

A, B, FULL, GONE = "a@hopital.test", "b@cabinet.test", "full@cabinet.test", "gone@cabinet.test"
MAIL = b"From: A <a@hopital.test>\r\nMessage-ID: <1@hopital.test>\r\nSubject: test\r\n\r\nBonjour\r\n"


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The settings that it prints, and, at the end, the lines after them."""
    command = [sys.executable, "-c", "from pfiflow.cli import main; main()", "sim", "mail", "--listen", "127.0.0.1:0"]
    arguments = ["--imap", "0", "--folder", str(folder / "mails"), "--tls", str(folder / "tls"), *options]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        settings: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("listening on smtp://127.0.0.1:"):
                break
            name, _, value = line.strip().partition("=")
            settings[name] = value
        yield settings, lines
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        lines += rest.splitlines()
    assert process.returncode == 0


def test_what_it_takes_by_smtp_it_serves_by_imap(tmp_path: Path) -> None:
    (tmp_path / "before.eml").write_bytes(MAIL)
    options = ("--bounce", FULL, "--refuse", f"{GONE}=550", "--deliver", f"{B}=before.eml", "--login", A)
    with running(tmp_path, *options) as (settings, lines):
        tls = TlsOptions(
            ca=(Path(settings["PFI_TLS_CA"]),),
            certificate=Path(settings["PFI_TLS_CERTIFICATE"]),
            key=Path(settings["PFI_TLS_KEY"]),
        ).client_context()
        with smtplib.SMTP(settings["PFI_SMTP_HOST"], int(settings["PFI_SMTP_PORT"]), timeout=20) as smtp:
            smtp.starttls(context=tls)
            smtp.ehlo()
            smtp.login(A, "")
            refused = smtp.sendmail(A, [B, FULL, GONE], MAIL, rcpt_options=["NOTIFY=SUCCESS,FAILURE"])
            assert {address: code for address, (code, _) in refused.items()} == {GONE: 550}
        with imaplib.IMAP4(settings["PFI_IMAP_HOST"], int(settings["PFI_IMAP_PORT"]), timeout=20) as imap:
            imap.starttls(tls)
            imap.authenticate("PLAIN", lambda _: b"\0" + A.encode() + b"\0")
            deadline = monotonic() + 20
            while imap.select()[1] != [b"1"]:
                assert monotonic() < deadline
                sleep(0.05)
            fetched = imap.uid("FETCH", "1", "(BODY.PEEK[])")[1][0]
            assert isinstance(fetched, tuple)
            told = read_dsn(reading.read(fetched[1]))
            assert [(each.final_recipient, each.action) for each in told.statuses] == [
                (B, "delivered"),
                (FULL, "failed"),
            ]
            assert told.correlation.first("returned-message-id") == "<1@hopital.test>"
    assert lines == [
        f"from {A}, {len(MAIL)} bytes; delivered: {B}, failed: {FULL}",
        f"1 mails in {tmp_path / 'mails'}",
    ]
    assert (tmp_path / "mails" / "00001.eml").read_bytes() == MAIL


def test_what_it_cannot_do_is_said_at_once(tmp_path: Path) -> None:
    for options, why in (
        (["--refuse", "b@cabinet.test"], "a@b.fr=550"),
        (["--refuse", "b@cabinet.test=250"], "400 to 599"),
        (["--deliver", "b@cabinet.test=absent.eml"], "No such file"),
        (["--imap", "70000"], "65535"),
    ):
        done = CliRunner().invoke(main, ["sim", "mail", "--folder", str(tmp_path), *options])
        assert done.exit_code == 2
        assert why in done.output
