"""Certificates made at run time for tests and the demo: authorities, certificates in or out of date, CRLs.

RSA, because the six suites of SC.MSS/CONF.03 authenticate by RSA. Nothing here is a secret worth keeping: files are
written with their owner's rights only and live as long as the folder given.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Credentials"]

_KEY_USAGE = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@frozen
class Credentials:
    """A certificate (its chain after it) and its private key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certification authority, writing what it issues into `folder`."""

    def __init__(self, folder: Path, name: str = "ca", *, parent: Authority | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        rsa = trustme.KeyType.RSA
        self._ca: trustme.CA = trustme.CA(key_type=rsa) if parent is None else parent._ca.create_child_ca(key_type=rsa)
        self.certificate = self._write(f"{name}.pem", self._ca.cert_pem.bytes())
        self._name = name
        self._issued = 0

    def issue(
        self,
        *identities: str,
        not_before: datetime = _LONG_AGO,
        not_after: datetime | None = None,
        password: str = "",
        stem: str = "",
    ) -> Credentials:
        """A certificate for host names, IP addresses or mailboxes; server and client use alike.

        Args:
            identities: what the certificate is for.
            not_before: start of validity.
            not_after: end of validity; None is years from now. A past one makes an expired certificate.
            password: encrypts the private key's file.
            stem: the files' name without its end; "": numbered.
        """
        leaf = self._ca.issue_cert(
            *identities, not_before=not_before, not_after=not_after, key_type=trustme.KeyType.RSA
        )
        self._issued += 1
        stem = stem or f"{self._name}-{self._issued}"
        key = leaf.private_key_pem.bytes()
        if password:
            key = serialization.load_pem_private_key(key, None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password.encode()),
            )
        return Credentials(
            certificate=self._write(f"{stem}.pem", b"".join(pem.bytes() for pem in leaf.cert_chain_pems)),
            key=self._write(f"{stem}.key", key),
        )

    def issue_seal(
        self,
        structure: str,
        *,
        name: str = "CH DES CHARMES",
        not_before: datetime = _LONG_AGO,
        not_after: datetime | None = None,
        signs: bool = True,
        stem: str = "",
    ) -> Credentials:
        """A structure's certificate as IGC-Santé issues them (ORG_SIGN, ORG_AUTH_CLI).

        Args:
            structure: its national identifier, the OU of the subject.
            name: its name, CN and O of the subject.
            not_before: start of validity.
            not_after: end of validity; None is years from now.
            signs: a seal (digitalSignature and nonRepudiation, for mail protection); False: a TLS client's certificate.
            stem: the files' name without its end; "": numbered.
        """
        ca = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        ca_key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(ca_key, RSAPrivateKey)
        key = generate_private_key(65537, 2048)
        parts = (
            (NameOID.COUNTRY_NAME, "FR"),
            (NameOID.STATE_OR_PROVINCE_NAME, "Aude (11)"),
            (NameOID.ORGANIZATION_NAME, name),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, structure),
            (NameOID.COMMON_NAME, name),
        )
        usage = [signs if bit == "content_commitment" else bit == "digital_signature" for bit in _KEY_USAGE]
        purpose = ExtendedKeyUsageOID.EMAIL_PROTECTION if signs else ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(x509.NameAttribute(oid, value) for oid, value in parts))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after or datetime.now(UTC) + timedelta(days=1000))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**dict(zip(_KEY_USAGE, usage, strict=True))), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        self._issued += 1
        stem = stem or f"{self._name}-{self._issued}"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(
            certificate=self._write(f"{stem}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            key=self._write(f"{stem}.key", private),
        )

    def crl(
        self,
        *revoked: Credentials,
        updated: datetime | None = None,
        next_update: datetime | None = None,
        encoding: serialization.Encoding = serialization.Encoding.PEM,
    ) -> bytes:
        """A revocation list of this authority.

        Args:
            revoked: the certificates that it revokes.
            updated: when it was made; an hour ago by default.
            next_update: when it expires; a day from now by default.
            encoding: PEM, or DER as authorities publish it.
        """
        now = datetime.now(UTC)
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        updated = updated or now - timedelta(hours=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(updated)
            .next_update(next_update or now + timedelta(days=1))
        )
        for serial in _serial_numbers(revoked):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(updated).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(key, hashes.SHA256()).public_bytes(encoding)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def _serial_numbers(revoked: Iterable[Credentials]) -> Iterable[int]:
    return (
        x509.load_pem_x509_certificates(credentials.certificate.read_bytes())[0].serial_number
        for credentials in revoked
    )
