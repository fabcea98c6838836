"""A certification authority and a structure's seal, made once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography import x509

from pfiflow.dmp.seal import Seal
from pfiflow.simulators.certificates import Authority, Credentials
from tests.dmp.builders import STRUCTURE


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("igc"), "ca")


@pytest.fixture(scope="session")
def credentials(authority: Authority) -> Credentials:
    return authority.issue_seal(STRUCTURE)


@pytest.fixture(scope="session")
def seal(credentials: Credentials) -> Seal:
    return Seal.load(credentials.certificate.read_bytes(), credentials.key.read_bytes())


@pytest.fixture(scope="session")
def trusted(authority: Authority) -> Sequence[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.certificate.read_bytes())
