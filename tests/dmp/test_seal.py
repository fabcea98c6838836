from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from pfiflow.dmp.seal import Seal, distinguished_name
from pfiflow.errors import ConfigError
from pfiflow.simulators.certificates import Authority, Credentials
from tests.dmp.builders import NOW, STRUCTURE


def load(credentials: Credentials) -> Seal:
    return Seal.load(credentials.certificate.read_bytes(), credentials.key.read_bytes())


def test_the_subject_in_both_orders(seal: Seal) -> None:
    assert seal.subject == f"CN=CH DES CHARMES,OU={STRUCTURE},O=CH DES CHARMES,ST=Aude (11),C=FR"
    name = distinguished_name(seal.certificate.subject, encoded_order=True)
    assert name == f"C=FR, ST=Aude (11), O=CH DES CHARMES, OU={STRUCTURE}, CN=CH DES CHARMES"


def test_a_good_seal_has_no_problem_and_shows_no_key(seal: Seal) -> None:
    assert seal.problems(NOW) == ()
    assert "key" not in repr(seal)


def test_a_seal_out_of_date_or_not_for_signing(authority: Authority) -> None:
    expired = load(authority.issue_seal(STRUCTURE, not_after=NOW - timedelta(days=1)))
    assert ["expired" in problem.message for problem in expired.problems(NOW)] == [True]
    future = load(authority.issue_seal(STRUCTURE, not_before=NOW + timedelta(days=2)))
    assert ["check the clock" in problem.message for problem in future.problems(NOW)] == [True]
    tls = load(authority.issue_seal(STRUCTURE, signs=False))
    assert ["ORG_SIGN" in problem.message for problem in tls.problems(NOW)] == [True]


def test_one_file_with_certificate_and_key(credentials: Credentials, seal: Seal) -> None:
    both = credentials.certificate.read_bytes() + credentials.key.read_bytes()
    assert Seal.load(both).certificate == seal.certificate


def test_an_encrypted_key_needs_its_password(authority: Authority) -> None:
    issued = authority.issue("x.test", password="secret")
    certificate, key = issued.certificate.read_bytes(), issued.key.read_bytes()
    assert Seal.load(certificate, key, password=b"secret").key.key_size == 2048
    for wrong in (None, b"other"):
        with pytest.raises(ConfigError, match="cannot be read"):
            Seal.load(certificate, key, password=wrong)


def test_what_cannot_be_a_seal(authority: Authority, credentials: Credentials) -> None:
    certificate, key = credentials.certificate.read_bytes(), credentials.key.read_bytes()
    other = authority.issue_seal(STRUCTURE).key.read_bytes()
    curve = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for wrong, message in ((other, "not the one"), (curve, "not RSA"), (b"", "cannot be read")):
        with pytest.raises(ConfigError, match=message):
            Seal.load(certificate, wrong)
    with pytest.raises(ConfigError, match="cannot be read"):
        Seal.load(b"no PEM", key)
