"""The world around the service fails, in every way that the issue names; it says so, loses nothing, goes on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.mail import MailSimulator, Stage
from pfiflow.simulators.messages import document, message, patient
from tests.system.conftest import PASSWORD, QUICK, Keys
from tests.system.mails import opened
from tests.system.service import Peer, Service, run_command, until

WITH_PASSWORD = (
    'username: "${env:PFI_MAILBOX}"',
    'username: "${env:PFI_MAILBOX}"\n      password: "${env:PFI_PASSWORD}"',
)
THREE = ("a@demo.mssante.fr", "b@demo.mssante.fr", "c@demo.mssante.fr")


def order(number: int, *, to_patient: bool = False, recipients: tuple[str, ...] = THREE, size: int = 12_000) -> bytes:
    flags = {
        "DESTMSSANTEPS": "Y" if recipients else "N",
        "DESTMSSANTEPAT": "Y" if to_patient else "N",
        "DESTDMP": "N",
    }
    return message(document(number=number, patient=number, size=size), flags=flags, recipients=recipients)


def send(service: Service, *orders: bytes) -> None:
    with Peer(service) as peer:
        for data in orders:
            assert peer.send(data).code == "AA"


@pytest.fixture
def quick(make_service: Callable[..., Service], derive: Callable[..., Path]) -> Service:
    """The shipped route with short retries, running."""
    return make_service(derive(QUICK)).start()


def listed(service: Service, *options: str) -> list[dict[str, object]]:
    """`pfiflow messages list --json`."""
    done = run_command("messages", "--store", service.store_path, "list", "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- the operator's server ---------------------------------------------------------------------------------------------


def test_the_server_is_down_for_a_while(quick: Service, operator: MailSimulator) -> None:
    operator.stop()
    send(quick, *(order(n, to_patient=n == 2) for n in range(1, 5)))
    until(lambda: quick.messages()[0].attempts or quick.messages()[0].cause, what="an attempt failed")
    waiting = listed(quick, "--channel", "mail", "--state", "waiting")
    assert len(waiting) == 5
    assert "localhost" in str(waiting[0]["cause"])
    assert quick.channel().dead == 0
    assert any("down" in line for line in quick.logged("warning"))
    operator.start()
    quick.settled()
    assert sorted(opened(mail).to_patient for mail in operator.received) == [False] * 4 + [True]
    assert quick.channel().done == 5


def test_an_outage_costs_no_processor(
    make_service: Callable[..., Service], derive: Callable[..., Path], operator: MailSimulator
) -> None:
    operator.stop()
    service = make_service(derive((QUICK[0], "redelivery: {initial-delay: 4s}"))).start()
    send(service, *(order(n) for n in range(1, 21)))
    until(lambda: service.logged("warning"), what="the outage is noticed")
    send(service, *(order(n) for n in range(21, 31)))
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    before = process.cpu_times()
    time.sleep(2.0)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2
    service.terminate()  # nor does it hold up an orderly stop
    assert service.channel().waiting == 30
    operator.start()
    service.start()
    service.settled()
    assert len(operator.received) == 30


def test_a_server_that_hangs_costs_no_processor(quick: Service, operator: MailSimulator) -> None:
    operator.script("CONNECT", "421 4.3.2 not now", times=1, close=True)
    operator.script("CONNECT", delay=60.0, times=1)
    send(quick, *(order(n) for n in range(1, 9)))
    until(lambda: operator.counts["CONNECT"] >= 2, what="the second attempt hangs")
    assert quick.process is not None
    process = psutil.Process(quick.process.pid)
    before = process.cpu_times()
    time.sleep(2.0)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2
    operator.clear_script()
    operator.drop_connections()
    quick.settled()
    assert len(operator.received) == 8


def test_one_of_three_recipients_is_refused(quick: Service, operator: MailSimulator) -> None:
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=THREE[1])
    send(quick, order(1))
    quick.settled()
    (mail,) = operator.received
    assert mail.recipients == (THREE[0], THREE[2])
    (refused,) = quick.journal("recipient-refused")
    assert refused.facts["recipient"] == THREE[1]
    assert "550 5.1.1 no such mailbox" in refused.facts["answer"]
    (done,) = quick.messages(state="done")
    shown = run_command("messages", "--store", quick.store_path, "show", str(done.sequence))
    assert "550 5.1.1 no such mailbox" in " ".join(shown.stdout.split())


def test_one_of_three_recipients_is_deferred_and_one_refused(quick: Service, operator: MailSimulator) -> None:
    operator.script("RCPT", "450 4.2.1 mailbox busy", address=THREE[1], times=2)
    operator.script("RCPT", "550 5.1.1 no such mailbox", address=THREE[2])
    send(quick, order(1), order(2, recipients=(THREE[0],)))
    quick.settled()
    first = [mail for mail in operator.received if opened(mail).unique_id == document(number=1, patient=1).id.root]
    assert [mail.recipients for mail in first] == [(THREE[0],), (THREE[1],)]
    assert len({opened(mail).message_id for mail in first}) == 1
    assert len({mail.content for mail in first}) == 1
    assert [entry.facts["recipient"] for entry in quick.journal("recipient-refused")] in ([THREE[2]], [])
    (sent,) = [each for each in quick.messages(state="done") if each.attempts]
    assert sent.headers["smtp-refused"] == f"{THREE[2]}:550"


def test_a_restart_between_attempts_forgets_nobody(quick: Service, operator: MailSimulator) -> None:
    operator.script("RCPT", "450 4.2.1 mailbox busy", address=THREE[1])
    send(quick, order(1))
    until(lambda: quick.messages()[0].attempts, what="one attempt")
    quick.kill()
    operator.clear_script()
    quick.start()
    quick.settled()
    assert [mail.recipients for mail in operator.received] == [(THREE[0], THREE[2]), (THREE[1],)]


def test_all_recipients_are_refused_then_replayed(quick: Service, operator: MailSimulator) -> None:
    # The server quotes the address and its owner, as real ones do: neither may stay in a log or the journal.
    who = patient(1)
    address = f"{who.matricule}@patient.mssante.fr"
    operator.script("RCPT", f"550 5.2.1 <{address}> {who.matricule} does not take mail", address=address, times=1)
    send(quick, order(1, to_patient=True, recipients=()))
    until(lambda: quick.channel().dead, what="a dead letter")
    assert quick.channel().waiting == 0
    (dead,) = quick.messages(state="dead")
    assert "550" in dead.cause
    assert not operator.received
    done = run_command("messages", "--store", quick.store_path, "replay", str(dead.sequence))
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: operator.received, what="the replayed mail")
    quick.settled()
    assert [opened(mail).to_patient for mail in operator.received] == [True]


def test_the_answer_after_the_final_dot_is_lost(quick: Service, operator: MailSimulator) -> None:
    operator.script("BODY", close=True, keep=True, times=1)
    send(quick, order(1))
    quick.settled()
    until(lambda: len(operator.received) == 2, what="the second copy")
    first, second = operator.received
    assert first.content == second.content
    assert opened(first).message_id == opened(second).message_id
    assert first.mail_parameters == second.mail_parameters  # ENVID
    (deferred,) = quick.journal("deferred")
    assert "unknown whether delivered" in deferred.facts["cause"]


STAGES: tuple[Stage, ...] = ("CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY")


def test_the_server_closes_at_each_stage(quick: Service, operator: MailSimulator) -> None:
    for number, stage in enumerate(STAGES, 1):
        operator.drop_connections()  # the next mail opens its own
        operator.script(stage, close=True, times=1)
        send(quick, order(number))
        quick.settled()
        assert [opened(mail).unique_id for mail in operator.received] == [
            document(number=n, patient=n).id.root for n in range(1, number + 1)
        ], stage
    assert quick.channel().dead == 0


def test_the_server_answers_with_failures_at_each_stage(quick: Service, operator: MailSimulator) -> None:
    answers = dict.fromkeys(STAGES, "451 4.3.0 local error") | {"CONNECT": "421 4.3.2 overloaded"}
    answers |= {"AUTH": "535 5.7.8 not you"}  # mended by people: the mails wait
    for number, stage in enumerate(STAGES, 1):
        operator.drop_connections()
        operator.script(stage, answers[stage], times=1, close=stage == "CONNECT")
        send(quick, order(number, recipients=THREE[:1]))
        quick.settled()
        assert len(operator.received) == number, stage
    assert quick.channel().dead == 0


def test_a_mail_refused_by_its_content_is_a_dead_letter_and_the_lane_goes_on(
    quick: Service, operator: MailSimulator
) -> None:
    operator.script("BODY", f"554 5.7.1 refused: {patient(1).family} looks like spam", times=1)
    second = message(document(number=2, patient=1), flags={"DESTMSSANTEPAT": "N", "DESTDMP": "N"}, control_id="AFTER")
    send(quick, order(1), second)
    quick.settled()
    (dead,) = quick.messages(state="dead")
    assert "554" in dead.cause
    assert any("dead letter" in line and "554" in line for line in quick.logged("error"))
    assert [opened(mail).unique_id for mail in operator.received] == [document(number=2, patient=1).id.root]


def test_the_password_stays_secret_when_the_login_is_refused(
    make_service: Callable[..., Service], derive: Callable[..., Path], operator: MailSimulator
) -> None:
    service = make_service(derive(QUICK, WITH_PASSWORD), PFI_PASSWORD=PASSWORD)
    service.secrets.add(PASSWORD)
    service.start()
    send(service, order(1))
    until(lambda: service.journal("deferred"), what="a refused login")
    assert "login refused" in service.journal("deferred")[0].facts["cause"]
    assert any("login refused" in line for line in service.logged("warning"))
    shown = run_command("messages", "--store", service.store_path, "list")
    assert "login refused" in " ".join(shown.stdout.split())
    assert PASSWORD not in shown.stdout


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_our_certificate_expires_and_is_renewed(
    make_service: Callable[..., Service], derive: Callable[..., Path], keys: Keys, operator: MailSimulator
) -> None:
    expired = keys.authority.issue("pfi.hopital.example", not_after=datetime.now(UTC) - timedelta(days=1))
    service = make_service(derive(QUICK))
    certificate, key = service.folder / "client.pem", service.folder / "client.key"
    shutil.copy(expired.certificate, certificate)
    shutil.copy(expired.key, key)
    service.environment |= {"PFI_TLS_CERTIFICATE": str(certificate), "PFI_TLS_KEY": str(key)}
    service.start()
    send(service, order(1))
    loud = until(
        lambda: [line for line in service.logged("warning") + service.logged("error") if "expired" in line],
        what="it says so",
    )
    assert str(certificate) in loud[0]
    (waiting,) = service.messages(state="waiting")
    assert "expired" in waiting.cause
    assert not operator.received
    shutil.copy(keys.client.key, key)
    shutil.copy(keys.client.certificate, certificate)
    service.settled()
    assert len(operator.received) == 1


def test_a_server_that_we_do_not_trust_gets_nothing(
    make_service: Callable[..., Service], derive: Callable[..., Path], operator: MailSimulator, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    service = make_service(derive(QUICK), PFI_TLS_CA=str(stranger.certificate)).start()
    send(service, order(1))
    until(lambda: service.journal("deferred"), what="an attempt")
    assert "certificate was refused" in service.journal("deferred")[0].facts["cause"]
    assert operator.counts["MAIL"] == 0
    assert any("certificate was refused" in line for line in service.logged("warning"))


# -- the disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(path: Path) -> None:
    """A file that takes all the space there is."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space"):
            while True:
                os.write(handle, bytes(4096))
    finally:
        os.close(handle)


def test_the_disk_is_full(
    make_service: Callable[..., Service], derive: Callable[..., Path], operator: MailSimulator, small_disk: Path
) -> None:
    service = make_service(derive(QUICK), PFI_STORE=str(small_disk / "pfiflow.db")).start()
    send(service, order(1))
    service.settled()
    operator.script("BODY", delay=8.0)  # still under way when the disk is full
    ballast = small_disk / "ballast"
    with Peer(service) as peer:
        assert peer.send(order(2)).code == "AA"
        until(lambda: operator.counts["BODY"] == 2, what="a mail is on its way")
        fill(ballast)
        refused = 0
        for number in range(3, 40):
            answer = peer.send(order(number, size=60_000))
            if answer.code == "AR":
                refused += 1
                assert answer.errors[0].code == "207"
                assert "space" in answer.errors[0].message
            if refused == 3:
                break
        assert refused == 3
        last = number
        until(
            lambda: any("the outcome of message 2 cannot be stored yet" in line for line in service.logged("error")),
            what="the mail on its way is delivered",
        )
        assert service.process is not None
        assert service.process.poll() is None
        ballast.unlink()
        for number in range(3, last + 1):
            answer = peer.send(order(number, size=60_000))
            assert answer.code == "AA", answer
    operator.clear_script()
    service.settled()
    assert [opened(mail).unique_id for mail in operator.received[:2]] == [
        document(number=n, patient=n).id.root for n in (1, 2)
    ]
    identities = [opened(mail).identity for mail in operator.received]
    assert sorted(identities) == sorted((document(number=n, patient=n).id.root, "", False) for n in range(1, last + 1))
    loud = service.logged("error")
    assert sum("a message was deferred, nothing of it is kept" in line and "space" in line for line in loud) >= 3


# -- the start ---------------------------------------------------------------------------------------------------------


def test_a_second_engine_on_one_store(service: Service, make_service: Callable[..., Service]) -> None:
    second = make_service(PFI_STORE=str(service.store_path))
    assert service.process is not None
    done = run_command("run", second.route, environment=second.environment)
    assert done.returncode == 4
    assert str(service.store_path) in done.stderr
    assert f"process {service.process.pid}" in done.stderr
    assert "Traceback" not in done.stderr
    send(service, order(1))  # the first one goes on
    service.settled()


def test_a_file_that_is_no_store(make_service: Callable[..., Service]) -> None:
    service = make_service()
    service.store_path.write_bytes(b"not a database, but somebody's file" * 100)
    done = run_command("run", service.route, environment=service.environment)
    assert done.returncode == 4
    assert str(service.store_path) in done.stderr
    assert service.store_path.read_bytes().startswith(b"not a database")
    assert "Traceback" not in done.stderr
    service.store_path.unlink()


def test_a_wrong_route_file_does_not_start(make_service: Callable[..., Service], derive: Callable[..., Path]) -> None:
    route = derive(("check-transmission:", "check-transmision:"), ("max-age: 30d", "max-age: long"))
    service = make_service(route)
    done = run_command("run", route, environment=service.environment)
    assert done.returncode == 3
    lines = route.read_text().splitlines()
    for word, hint in (("check-transmision", "check-transmission"), ("max-age: long", "max-age")):
        (row,) = [number for number, line in enumerate(lines, 1) if word in line]
        (told,) = [line for line in done.stderr.splitlines() if f"{route}:{row}:" in line]
        assert hint in told
    assert not service.store_path.exists()


def test_a_missing_setting_does_not_start(make_service: Callable[..., Service]) -> None:
    service = make_service()
    del service.environment["PFI_NIL"]
    done = run_command("run", service.route, environment=service.environment)
    assert done.returncode == 3
    (row,) = [number for number, line in enumerate(service.route.read_text().splitlines(), 1) if "PFI_NIL" in line]
    assert f"outbound.yaml:{row}:" in done.stderr
    assert "PFI_NIL" in done.stderr


def test_the_port_is_taken_then_free(make_service: Callable[..., Service], operator: MailSimulator) -> None:
    service = make_service()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", service.port))
        other.listen()
        service.start(wait=False)
        errors = until(lambda: service.logged("error"), what="it says so")
        assert "route transmission died" in errors[0]
        assert str(service.port) in errors[0] or "in use" in errors[0]
    service.wait_running()
    send(service, order(1))
    service.settled()
    assert len(operator.received) == 1
