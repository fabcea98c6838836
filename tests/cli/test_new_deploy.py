"""What `pfiflow new` gives for deployment, checked with the real programs where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from pfiflow.resources import route_path
from pfiflow.simulators.certificates import Authority
from tests.system.service import ROOT, run_command

DEPLOY = ROOT / "pfiflow" / "cli" / "project" / "deploy"
ROUTES = ("outbound", "receipts", "dmp", "inbound")
UNITS = sorted(path.name for path in DEPLOY.glob("pfiflow*.*"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "my-pfi"
    done = run_command("new", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def settings(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def test_both_settings_files_set_what_the_shipped_routes_need(project: Path) -> None:
    text = "".join(route_path(f"{name}.yaml").read_text() for name in ROUTES)
    needed = set(re.findall(r"\$\{env:(PFI_\w+)\}", text)) - {
        "PFI_RIS_ADDRESS",
        "PFI_RIS_APPLICATION",
        "PFI_RIS_DOCUMENTS",
    }
    local, production = settings(project / ".env"), settings(project / ".env.example")
    assert needed <= local.keys() <= production.keys()
    assert local["PFI_TEST_PLATFORM"] == "true"
    assert production["PFI_TEST_PLATFORM"] == "false"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units_and_calls_the_service_well_protected(tmp_path: Path) -> None:
    assert len(UNITS) == 3
    for name in UNITS:
        text = (
            (DEPLOY / name).read_text().replace("User=pfiflow", "User=daemon").replace("Group=pfiflow", "Group=daemon")
        )
        (tmp_path / name).write_text(re.sub(r"(?m)^(Exec\w+=)/(?:opt|etc)/pfiflow/\S+", r"\1/bin/true", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", *UNITS], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("pfiflow")]
    assert complaints == []
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "./pfiflow.service"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:]  # 0 (safe) to 100


def test_the_image_runs_as_nobody_special_and_has_no_build_tools(project: Path) -> None:
    text = (project / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    stages = re.split(r"(?m)^FROM ", text)[1:]
    assert len(stages) == 2
    last = stages[-1]
    assert re.search(r"(?m)^USER pfiflow$", last)
    assert "apt-get" not in last
    assert "pip uninstall" in last
    assert not re.search(r"pip install|gcc|build-essential", last)
    for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", text):
        for source in line.split()[:-1]:
            assert (project / source).exists(), source
    assert "[" in re.findall(r"(?m)^ENTRYPOINT (.+)$", last)[0], "signals reach pfiflow, not a shell"


def test_the_compose_file_names_what_is_there(project: Path) -> None:
    folder = project / "deploy"
    compose: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())
    assert compose.keys() == {"name", "services", "volumes"}
    for service in compose["services"].values():
        context = folder / service["build"]["context"]
        assert (context / service["build"].get("dockerfile", "Dockerfile")).is_file()
        for file in service.get("env_file", ()):
            assert (folder / file).is_file()
        assert service.get("environment", {}).keys() <= settings(project / ".env").keys()
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or source == "../certs"
    pfi = compose["services"]["pfi"]
    assert (pfi["read_only"], pfi["cap_drop"]) == (True, ["ALL"])


# -- fetch-crl ---------------------------------------------------------------------------------------------------------


def fetch(url: str, authority: Authority, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEPLOY / "fetch-crl", url, authority.certificate, file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("openssl") is None, reason="needs curl and openssl")
def test_a_revocation_list_is_put_in_place_only_when_it_is_good(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    offered, file = tmp_path / "offered.crl", tmp_path / "used.crl"
    yesterday = datetime.now(UTC) - timedelta(days=1)
    good, newer = authority.crl(), authority.crl(encoding=Encoding.DER)
    for content in (good, newer):
        offered.write_bytes(content)
        done = fetch(offered.as_uri(), authority, file)
        assert (done.returncode, done.stderr) == (0, "")
        assert file.read_bytes() == content
    for content in (
        b"",
        good[:200],
        b"<html>maintenance</html>",
        Authority(tmp_path / "stranger").crl(),
        authority.crl(updated=yesterday - timedelta(days=1), next_update=yesterday),
    ):
        offered.write_bytes(content)
        done = fetch(offered.as_uri(), authority, file)
        assert done.returncode != 0
        assert done.stderr
        assert file.read_bytes() == newer
    offered.unlink()
    assert fetch(offered.as_uri(), authority, file).returncode != 0
    assert file.read_bytes() == newer
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "stranger", "used.crl"]  # nothing is left lying
