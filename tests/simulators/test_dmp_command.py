"""`pfiflow sim dmp` as a process: its settings serve, and a restart goes on with its registry."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import SSLContext
from types import SimpleNamespace

from pfiflow.simulators.certificates import Credentials
from pfiflow.simulators.documents import document
from tests.simulators.dmp_client import Sender, context_of, entry_of, post, seal_of


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[Sender, SSLContext, list[str]]]:
    command = [sys.executable, "-c", "from pfiflow.cli import main; main()", "sim", "dmp", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--folder", str(folder), *options], stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    try:
        assert process.stdout is not None
        settings: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("listening on https://127.0.0.1:"):
                break
            name, _, value = line.strip().partition("=")
            settings[name] = value
        client = Credentials(Path(settings["PFI_TLS_CERTIFICATE"]), Path(settings["PFI_TLS_KEY"]))
        seal = Credentials(Path(settings["PFI_SEAL_CERTIFICATE"]), Path(settings["PFI_SEAL_KEY"]))
        context = context_of(SimpleNamespace(certificate=settings["PFI_DMP_CA"]), client)
        yield Sender(seal_of(seal), settings["PFI_DMP_URL"]), context, lines
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        lines += rest.splitlines()
    assert process.returncode == 0


def test_the_command_serves_and_a_restart_goes_on(tmp_path: Path) -> None:
    first = document(number=1)
    second = document(number=2, replaces=first)
    entry = entry_of(first)
    shut = document(number=3, patient=3)
    with running(tmp_path / "dmp", "--closed", shut.patient.matricule) as (sender, context, lines):
        assert post(sender.url, sender.submit(first), context).succeeded
        assert post(sender.url, sender.submit(shut), context).codes == ("DMPClosed",)
    assert [line.partition(" ")[0] for line in lines] == ["ITI-41", "ITI-41"]
    assert lines[0].endswith(f" {entry.unique_id}: done")
    assert lines[1].endswith(": DMPClosed")
    with (tmp_path / "dmp" / "registry.jsonl").open("a") as journal:
        journal.write('{"cut')
    with running(tmp_path / "dmp", "--error", "XDSRegistryBusy", "--times", "1") as (sender, context, lines):
        assert post(sender.url, sender.find(entry.unique_id, entry.patient_id), context).codes == ("XDSRegistryBusy",)
        (known,) = post(sender.url, sender.find(entry.unique_id, entry.patient_id), context).found
        assert post(sender.url, sender.submit(first), context).codes == ("XDSDuplicateUniqueIdInRegistry",)
        assert post(sender.url, sender.submit(second, replaces=known), context).succeeded
        (newer,) = post(sender.url, sender.find(entry_of(second).unique_id, entry.patient_id), context).found
        assert post(sender.url, sender.delete(newer, entry.patient_id), context).succeeded
    assert [line.rpartition(": ")[2] for line in lines[1:]] == [
        "done", "XDSDuplicateUniqueIdInRegistry", "done", "done", "done",
    ]  # fmt: skip
