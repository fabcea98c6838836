"""The `pfiflow` command as an operator and an administrator type it."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pfiflow.cli.main import _Group, main
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import document, examples, message, patient
from tests.segur.edits import edited
from tests.system.mails import opened
from tests.system.service import OUTBOUND, PFIFLOW, ROOT, Peer, Service, free_port, run_command, until

COMMANDS = frozenset(main.commands)


def order(number: int, *, who: int = 0, to_dmp: bool = False) -> bytes:
    flags = {"DESTMSSANTEPAT": "N", "DESTDMP": "Y" if to_dmp else "N"}
    return message(document(number=number, patient=who or number, size=0), flags=flags, control_id=f"CLI-{number}")


def operate(service: Service, *arguments: str | Path, status: int = 0) -> str:
    """`pfiflow messages --store …`: its output, on one line and without the runs of spaces."""
    done = run_command("messages", "--store", service.store_path, *arguments)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def listed(service: Service, *options: str, command: str = "list") -> list[dict[str, Any]]:
    done = run_command("messages", "--store", service.store_path, command, "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def take(service: Service, *orders: bytes) -> None:
    with Peer(service) as peer:
        for data in orders:
            assert peer.send(data).code == "AA"


@pytest.fixture
def two_refused(service: Service, operator: MailSimulator) -> Service:
    """Two dead letters (1, 2), one message for the DMP that nothing reads (3), one mail sent (4)."""
    operator.script("RCPT", "550 5.1.1 no such mailbox", times=2)
    take(service, order(1))
    until(lambda: service.channel().dead == 1, what="one dead letter")
    take(service, order(2))
    until(lambda: service.channel().dead == 2, what="two dead letters")
    take(service, order(3, to_dmp=True))
    service.settled()
    return service


def test_an_operator_looks_at_the_store(two_refused: Service) -> None:
    service = two_refused
    text = operate(service, "list")
    assert re.search(r"dmp 1 0 0", text)
    assert re.search(r"mail 0 2 1", text)
    assert "550 5.1.1 no such mailbox" in text
    everything = listed(service)
    assert [(each["sequence"], each["channel"], each["state"]) for each in everything] == [
        (1, "mail", "dead"),
        (2, "mail", "dead"),
        (3, "dmp", "waiting"),
        (4, "mail", "done"),
    ]
    assert [each["sequence"] for each in listed(service, "--channel", "dmp")] == [3]
    assert [each["sequence"] for each in listed(service, "--state", "dead", "--limit", "1")] == [1]
    assert everything[0]["headers"]["hl7-control-id"] == "CLI-1"
    assert everything[0]["attempts"] == 1

    service.terminate()  # the rest while nothing runs
    dead = operate(service, "dead")
    assert "550 5.1.1" in dead
    assert "waiting" not in dead
    shown = operate(service, "show", "1")
    for words in ("CLI-1", "dead", "received", "rejected", "550 5.1.1 no such mailbox"):
        assert words in shown
    assert patient(1).family not in shown
    payload = service.folder / "payload.hl7"
    payload.touch(mode=0o644)  # what was there for all to read is not written to so
    operate(service, "show", "1", "--payload", payload)
    assert payload.read_bytes() == order(1)
    assert stat.S_IMODE(payload.stat().st_mode) == 0o600
    assert operate(service, "show", "99", status=1) == "there is no message 99"


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_an_operator_acts_on_the_store(running: bool, two_refused: Service, operator: MailSimulator) -> None:
    service = two_refused
    if not running:
        service.terminate()
    operate(service, "replay", "1")
    operate(service, "discard", "2")
    shown = operate(service, "show", "1")
    assert f"by={getpass.getuser()}" in shown
    assert "replayed" in shown
    assert "99" in operate(service, "replay", "99", status=4)
    assert "4" in operate(service, "discard", "4", status=4)  # it is no dead letter
    if not running:
        assert service.channel().waiting == 1
        service.start()
    until(lambda: len(operator.received) == 2, what="the replayed mail")
    service.settled()
    assert [opened(mail).unique_id for mail in operator.received] == [
        document(number=n, patient=n).id.root for n in (3, 1)
    ]
    assert (service.channel().dead, service.channel().done) == (0, 3)
    if not running:
        return
    operate(service, "replay", "4")  # a done one, when it is wanted again
    until(lambda: len(operator.received) == 3, what="it is sent again")
    assert operator.received[0].content == operator.received[2].content


def test_an_operator_holds_a_channel(service: Service, operator: MailSimulator) -> None:
    operate(service, "hold", "mail")
    take(service, order(1))
    assert re.search(r"mail held 1 0 0", operate(service, "list"))
    service.terminate()
    service.start()  # a hold survives
    assert service.channel().held
    assert not operator.received
    service.terminate()
    operate(service, "release", "mail")  # nothing runs
    assert "nowhere" in operate(service, "hold", "nowhere", status=4)
    service.start()
    until(lambda: operator.received, what="it leaves")


def test_the_store_is_named_by_the_route_file_or_not_there(service: Service) -> None:
    take(service, order(1))
    service.settled()
    done = run_command("messages", "--routes", OUTBOUND, "list", "--json", environment=service.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["channel"] == "mail"
    # Never a guess: another store would be somebody else's.
    without = run_command("messages", "--routes", OUTBOUND, "list")
    assert without.returncode == 3
    assert "PFI_NIL" in without.stderr
    missing = run_command("messages", "--store", service.folder / "nowhere.db", "list")
    assert missing.returncode == 2
    assert "there is no store at" in missing.stderr
    assert not (service.folder / "nowhere.db").exists()


def test_the_list_into_a_closed_pipe(service: Service) -> None:
    take(service, *(order(n) for n in range(1, 4)))
    service.settled()
    piped = subprocess.run(
        ["sh", "-c", '"$1" messages --store "$2" list --json | head -n 1', "-", str(PFIFLOW), str(service.store_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(piped.stdout)["sequence"] == 1
    assert "Traceback" not in piped.stderr


# -- send --------------------------------------------------------------------------------------------------------------


def test_send_says_what_was_answered(service: Service, operator: MailSimulator, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.hl7", tmp_path / "bad.hl7"
    good.write_bytes(b"\xef\xbb\xbf" + order(1).replace(b"\r", b"\r\n"))  # as an editor on Windows saves it
    bad.write_bytes(edited(order(2), {"ORC-1": "RO", "TXA-17": "DI"}).replace(b"\r", b"\n"))
    for path in (good, bad):
        service.keep_secret(path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\r"))
    target = f"mllp://127.0.0.1:{service.port}"

    done = run_command("send", good, "--to", target)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"good\.hl7 +CLI-1 +AA", done.stdout)
    assert "1 of 1 accepted" in done.stdout

    done = run_command("send", good, bad, "--to", target)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"bad\.hl7 +CLI-2 +AE +", done.stdout)
    assert "199 at ORC-1" in done.stdout
    assert "103 at TXA-17" in done.stdout
    assert "1 of 2 accepted" in done.stdout

    done = run_command("send", good, "--to", target, "--new-control-id", "--repeat", "3")
    assert done.returncode == 0
    assert "CLI-1" not in done.stdout
    service.settled()
    assert len(operator.received) == 4  # once, and three with numbers of their own


def test_send_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "good.hl7"
    path.write_bytes(order(1))
    done = run_command("send", path, "--to", f"mllp://127.0.0.1:{free_port()}")
    assert done.returncode == 5
    assert "cannot connect" in done.stderr
    assert "Traceback" not in done.stderr
    for target in ("http://127.0.0.1:1", "mllp://127.0.0.1", "mllps://127.0.0.1:1", "mllp://127.0.0.1:99999"):
        done = run_command("send", path, "--to", target)
        assert done.returncode == 2, target
        assert "--to" in done.stderr
        assert "Traceback" not in done.stderr


def test_send_what_is_no_message(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "picture.hl7"
    path.write_bytes(b"\x89PNG\r\n\x1a\n nothing of HL7")
    done = run_command("send", path, "--to", f"mllp://127.0.0.1:{service.port}")
    assert done.returncode == 1
    assert "picture.hl7" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


# -- without a service -------------------------------------------------------------------------------------------------


def test_version_and_help() -> None:
    done = run_command("version")
    assert (done.returncode, done.stdout) == (0, f"pfiflow {version('pfiflow')}\n")
    done = run_command("--help")
    assert done.returncode == 0
    assert all(re.search(rf"^  {command} ", done.stdout, re.MULTILINE) for command in COMMANDS)
    done = run_command("nonsense")
    assert done.returncode == 2


def test_the_shipped_route_has_no_findings(tmp_path: Path) -> None:
    done = run_command("lint", OUTBOUND)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.yaml"
    broken.write_text(OUTBOUND.read_text().replace(" mss-mail:", " mss-mial:"))
    (row,) = [n for n, line in enumerate(broken.read_text().splitlines(), 1) if "mss-mial" in line]
    done = run_command("lint", broken)
    assert done.returncode == 1
    assert re.search(rf"{re.escape(str(broken))}:{row}:\d+: error: .*'mss-mial'", done.stdout)
    assert "mss-mail" in done.stdout
    done = run_command("lint", broken, "--format", "json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    assert any(finding["line"] == row for finding in findings)
    assert run_command("lint", tmp_path / "absent.yaml").returncode == 2


def test_the_committed_schema_is_fresh() -> None:
    done = run_command("schema")
    assert done.returncode == 0
    committed = (ROOT / "schemas" / "route-file.schema.json").read_text()
    assert done.stdout == committed, "stale: run `make schema` and commit schemas/route-file.schema.json"


@pytest.mark.timeout(300)  # twenty commands, each a start of Python
def test_every_command_of_the_readme_is_one(service: Service, tmp_path: Path) -> None:
    """Each `pfiflow …` line is run as written, with the store, the port and the settings of a running service."""
    block = (ROOT / "README.md").read_text().partition("## Use it")[2].partition("```sh\n")[2].partition("```")[0]
    lines = [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("pfiflow ")]
    assert len(commands) >= 6
    assert {command[0] for command in commands} >= COMMANDS - {"version"}  # a newcomer meets each of them
    for command in commands:
        if command[0] in {"run", "sim"}:  # these do not end: that they are commands has to do
            for name in command[1].split("|") if command[0] == "sim" else [""]:
                done = run_command(*filter(None, (command[0], name, "--help")))
                assert done.returncode == 0, (command, done.stderr)
            continue
        arguments: list[str] = []
        for word in command:
            if word == "examples/messages/*.hl7":
                arguments += map(str, sorted((ROOT / "examples" / "messages").glob("*.hl7")))
                continue
            arguments.append(
                word.replace("127.0.0.1:2575", f"127.0.0.1:{service.port}").replace(
                    "pfiflow.db", str(service.store_path)
                )
            )
        places = {"12": "1", "my-pfi": str(tmp_path / "my-pfi")}
        arguments = [places.get(word, word) for word in arguments]
        print(*command)
        done = run_command(*arguments, environment=service.environment)
        assert done.returncode == 0, (command, done.stderr, done.stdout[-500:])
    service.settled()


def test_the_embedding_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.embedding"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    document, delivered = r"[0-9.]+: \d+ bytes of CDA\n", r"delivered \['received', 'archived'\]\n"
    assert re.fullmatch(f"{document}{delivered}{document}True\n", done.stdout)


def test_the_examples_are_what_the_generator_makes() -> None:
    for name, data in examples().items():
        assert (ROOT / "examples" / "messages" / name).read_bytes() == data, name


def test_logs_for_people(make_service: Callable[..., Service]) -> None:
    service = make_service()
    with subprocess.Popen(
        [PFIFLOW, "run", service.route, "--log-format", "console"],
        env={"PATH": "/usr/bin:/bin", **service.environment},
        cwd=service.folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline() + process.stderr.readline()
        assert "route mssante running" in line
        assert "{" not in line
        process.terminate()
        assert process.wait(20) == 0


def test_a_defect_has_its_own_status_and_quotes_nothing() -> None:
    quoted = "PAT-TROIS DOMINIQUE"

    def fail() -> None:
        raise LookupError(quoted)

    group = _Group(commands=[click.Command("fail", callback=fail)])
    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 70
    assert "LookupError" in result.stderr
    assert "PAT-TROIS" not in result.output
