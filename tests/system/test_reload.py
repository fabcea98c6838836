"""`pfiflow reload` on the running service: under load, with wrong files, with another port, killed in the middle."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import document, message
from tests.system.service import Peer, Service, free_port, run_command, until

INCLUDE = 'include: ["pfiflow:outbound.yaml"]\n'
NOTHING = INCLUDE + "override: {}\n"


def noting(text: str) -> str:
    """A site that says something in its log about each message, before it checks it."""
    return (
        f"{INCLUDE}override:\n  routes:\n    transmission:\n      steps:\n"
        f"        check: {{before: [{{log: {{message: {text}}}}}]}}\n"
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(NOTHING)
    return path


@pytest.fixture
def service(make_service: Callable[..., Service], site: Path) -> Iterator[Service]:
    with make_service(site) as service:
        yield service


@pytest.fixture
def messages() -> Callable[[], bytes]:
    """New documents, each with a control id of its own."""
    numbers = itertools.count(1)

    def make() -> bytes:
        number = next(numbers)
        letter = document("N1", number=number, patient=1 + number % 3)
        only_professionals = {"DESTDMP": "N", "DESTMSSANTEPAT": "N"}
        return message(letter, control_id=f"R{number:06d}", flags=only_professionals)

    return make


def mail_ids(operator: MailSimulator) -> list[str]:
    """The Message-ID of each mail that the operator took."""
    return [str(message_from_bytes(mail.content)["Message-ID"]) for mail in operator.received]


def reload(service: Service, *options: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return run_command("reload", "--store", service.store_path, *options, timeout=timeout)


def test_under_load_nothing_is_lost_doubled_or_cut(
    service: Service, site: Path, operator: MailSimulator, messages: Callable[[], bytes]
) -> None:
    """Two senders, each on one connection that stays; the route that takes them in changes under them."""
    stop = threading.Event()
    taken: list[str] = []
    quota = 0
    cut: list[Exception] = []
    lock = threading.Lock()

    def send() -> None:
        try:
            with Peer(service) as peer:
                first = None
                while not stop.is_set():
                    if len(taken) >= quota:  # enough of them: what is taken has to be sent as well
                        time.sleep(0.01)
                        continue
                    with lock:
                        data = messages()
                    answer = peer.send(data)
                    first = first or peer._socket
                    assert (answer.code, peer._socket) == ("AA", first)
                    taken.append(answer.control_id)
        except Exception as error:
            cut.append(error)

    senders = [threading.Thread(target=send) for _ in range(2)]
    for sender in senders:
        sender.start()
    try:
        for version in range(6):
            before = len(taken)
            quota += 20  # as many during each reload
            until(lambda before=before: len(taken) > before or cut, what="messages are taken")  # type: ignore[misc]
            site.write_text(noting(f"version-{version}"))
            done = reload(service)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == "changed: transmission; unchanged: mssante\n"
        quota = len(taken) + 10  # by the last version
        until(lambda: len(taken) >= quota or cut, what="messages are taken")
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert cut == []
    service.settled()
    sent = mail_ids(operator)
    assert len(sent) == len(set(sent)) == len(taken)
    said = {line["message"] for line in service.logs() if line["message"].startswith("version-")}
    assert "version-5" in said
    assert len(said) >= 4


def test_a_wrong_file_is_refused_and_all_goes_on(
    service: Service, site: Path, messages: Callable[[], bytes], operator: MailSimulator
) -> None:
    site.write_text(NOTHING.replace("{}", "{routes: {transmission: {steps: {chekc: {remove: true}}}}}"))
    done = reload(service)
    assert done.returncode == 3
    assert done.stdout == ""
    where = f"{site}:2:44: route 'transmission' has no step with the id 'chekc'. Did you mean 'check'?\n"
    assert done.stderr == where + "Nothing was reloaded: the engine goes on as it was.\n"
    assert any("reload refused" in text and "'chekc'" in text for text in service.logged("error"))
    with Peer(service) as peer:
        assert peer.send(messages()).code == "AA"
    service.settled()
    assert len(operator.received) == 1
    (entry,) = service.journal("reload-refused")
    assert "'chekc'" in entry.facts["text"]


def test_another_store_is_refused(service: Service, site: Path) -> None:
    site.write_text(NOTHING.replace("{}", "{store: {path: other.db}}"))
    done = reload(service)
    assert done.returncode == 3
    assert "store: the path cannot change while the engine runs" in done.stderr


def test_settings_are_read_again_and_the_port_moves(
    make_service: Callable[..., Service], site: Path, tmp_path: Path, messages: Callable[[], bytes]
) -> None:
    """The new port is open before the old one closes; a port that is taken refuses the whole reload."""
    service = make_service(site)
    settings = tmp_path / "pfi.env"
    old, new = service.environment.pop("PFI_MLLP_LISTEN"), f"127.0.0.1:{free_port()}"
    service.options = ("--env-file", str(settings))
    settings.write_text(f"# where the DPI sends to\nPFI_MLLP_LISTEN='{old}'\n")
    service.environment["PFI_NOTHING"] = ""
    with service:
        service.environment["PFI_MLLP_LISTEN"] = old  # for the peer alone: the process has its environment already
        with Peer(service) as peer:
            assert peer.send(messages()).code == "AA"
            settings.write_text(f"PFI_MLLP_LISTEN={new}\n")
            done = reload(service)
            assert (done.returncode, done.stdout) == (0, "changed: transmission; unchanged: mssante\n")
            service.environment["PFI_MLLP_LISTEN"] = new
            with Peer(service) as other:
                assert other.send(messages()).code == "AA"
            with pytest.raises(OSError):
                peer.send(messages())
        settings.write_text(f"PFI_MLLP_LISTEN=127.0.0.1:{_port_of_somebody_else()}\n")
        done = reload(service)
        assert done.returncode == 3
        assert "route 'transmission': OSError" in done.stderr
        with Peer(service) as other:
            assert other.send(messages()).code == "AA"
        service.settled()


def _port_of_somebody_else() -> int:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    _HELD.append(held)
    return int(held.getsockname()[1])


_HELD: list[object] = []


def test_messages_of_a_removed_route_wait_and_go_when_it_is_back(
    service: Service, site: Path, messages: Callable[[], bytes], operator: MailSimulator
) -> None:
    on_store = ("messages", "--store", service.store_path)
    assert run_command(*on_store, "hold", "mail").returncode == 0
    with Peer(service) as peer:
        assert peer.send(messages()).code == "AA"
    site.write_text(NOTHING.replace("{}", "{routes: {mssante: {remove: true}}}"))
    waits = "1 messages wait in channel mail, which no route reads any more"
    assert reload(service).stdout == f"removed: mssante; unchanged: transmission; {waits}\n"
    assert run_command(*on_store, "release", "mail").returncode == 0
    assert not operator.received
    site.write_text(NOTHING)
    assert reload(service).stdout == "added: mssante; unchanged: transmission\n"
    service.settled()
    assert len(operator.received) == 1


def test_killed_while_it_reloads(
    service: Service, site: Path, messages: Callable[[], bytes], operator: MailSimulator
) -> None:
    """Whatever instant: the next start reads the files, and everything acknowledged is sent once."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    taken = 0
    for version in range(4):
        with Peer(service) as peer:
            assert peer.send(messages()).code == "AA"
            taken += 1
        site.write_text(noting(f"killed-{version}"))
        assert service.process is not None
        os.kill(service.process.pid, signal.SIGHUP)
        time.sleep(rng.random() * 0.15)
        service.kill()
        service.start()
    service.settled()
    assert len(set(mail_ids(operator))) == taken
    assert reload(service).stdout == "unchanged: transmission, mssante\n"


def test_nobody_to_ask(make_service: Callable[..., Service], site: Path, tmp_path: Path) -> None:
    done = run_command("reload", "--store", tmp_path / "nothing.db")
    assert done.returncode == 5
    assert f"no engine runs on the store {tmp_path / 'nothing.db'}" in done.stderr
    with make_service(site) as service:
        stranger = subprocess.Popen(["sleep", "60"])
        try:
            done = reload(service, "--pid", str(stranger.pid))
            assert done.returncode == 5
            assert "does not run on the store" in done.stderr
            assert stranger.poll() is None  # a SIGHUP would have ended it
        finally:
            stranger.kill()
            stranger.wait()
        assert reload(service, "--pid", str(service.process.pid if service.process else 0)).returncode == 0
        service.terminate()
        done = reload(service)
        assert done.returncode == 5
