"""One authority and its certificates for all tests of the DMP simulator: making keys takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dmp import DmpSimulator
from pfiflow.simulators.dmp_door import Settings
from pfiflow.simulators.dmp_registry import Registry
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import ORGANIZATION
from tests.simulators.dmp_client import Sender, seal_of


@pytest.fixture(scope="session")
def dmp_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dmp")


@pytest.fixture(scope="session")
def dmp_authority(dmp_folder: Path) -> Authority:
    return Authority(dmp_folder, "dmp-ca")


@pytest.fixture(scope="session")
def dmp_sender(dmp_authority: Authority) -> Sender:
    return Sender(seal_of(dmp_authority.issue_seal(ORGANIZATION)))


@pytest.fixture(scope="module")
def _dmp(dmp_folder: Path, dmp_authority: Authority) -> DmpSimulator:
    return DmpSimulator(dmp_folder, authority=dmp_authority)


@pytest.fixture
def dmp(_dmp: DmpSimulator) -> Iterator[DmpSimulator]:
    """A started simulator; its certificates and registry are the module's, its script and counts the test's."""
    with _dmp as simulator:
        simulator.reset()
        yield simulator
    assert _dmp.errors == []


@pytest.fixture(scope="module")
def authorities(dmp_authority: Authority) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(dmp_authority.certificate.read_bytes())


@pytest.fixture
def service(authorities: list[x509.Certificate]) -> Service:
    return Service(Registry(), authorities, Settings())


@pytest.fixture
def sender(dmp_sender: Sender) -> Sender:
    return dmp_sender
