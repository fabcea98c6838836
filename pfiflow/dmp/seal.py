"""The structure's seal ("cachet", IGC-Santé ORG_SIGN): certificate and key that sign the VIHF and the submission."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from pfiflow.errors import ConfigError, Problem

__all__ = ["Seal", "distinguished_name", "seals"]

_NAMES: Final = {NameOID.GIVEN_NAME: "GN", NameOID.SURNAME: "SN", NameOID.SERIAL_NUMBER: "SERIALNUMBER"}
_RULE: Final = "IGC-Santé ORG_SIGN (EX_GEN-1450)"


@frozen
class Seal:
    """A certificate with its RSA private key, which no representation shows."""

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)

    @classmethod
    def load(cls, certificate: bytes, key: bytes | None = None, *, password: bytes | None = None) -> Seal:
        """The seal in PEM: the first certificate of the file, and its key (in the same file when `key` is None).

        Raises:
            ConfigError: unreadable, not RSA of at least 2048 bits, or a key that is not the certificate's.
        """
        try:
            leaf = x509.load_pem_x509_certificates(certificate)[0]
            private = serialization.load_pem_private_key(certificate if key is None else key, password)
        except (ValueError, TypeError, IndexError):
            private = None
        if private is None:
            hint = "Give PEM files, and the password of an encrypted key."
            raise ConfigError("the seal's certificate or key cannot be read", code="seal", hint=hint)
        if not isinstance(private, RSAPrivateKey) or private.key_size < 2048:
            raise ConfigError("the seal's key is not RSA of at least 2048 bits", code="seal")
        if leaf.public_key() != private.public_key():
            raise ConfigError("the seal's key is not the one of its certificate", code="seal")
        return cls(leaf, private)

    @property
    def subject(self) -> str:
        """The subject's distinguished name as the VIHF's Issuer wants it (RFC 2253)."""
        return distinguished_name(self.certificate.subject)

    def problems(self, now: datetime) -> tuple[Problem, ...]:
        """What would make the DMP refuse this seal: out of date, or a certificate that is not for signing."""
        return tuple(_problems(self.certificate, now))


def distinguished_name(name: x509.Name, *, encoded_order: bool = False) -> str:
    """`CN=…,OU=…,O=…,ST=…,C=FR` (RFC 2253), or `C=FR, ST=…, O=…, OU=…, CN=…` in the order of the certificate."""
    if encoded_order:
        return ", ".join(part.rfc4514_string(_NAMES) for part in name.rdns)
    return name.rfc4514_string(_NAMES)


def seals(certificate: x509.Certificate) -> bool:
    """Whether the certificate's key usage allows signing content: digitalSignature and nonRepudiation."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return usage.digital_signature and usage.content_commitment


def _problems(certificate: x509.Certificate, now: datetime) -> Iterator[Problem]:
    if now >= certificate.not_valid_after_utc:
        day = certificate.not_valid_after_utc.date()
        yield Problem("207", f"the seal certificate expired on {day}: install a new one", "seal", rule=_RULE)
    if now < certificate.not_valid_before_utc:
        day = certificate.not_valid_before_utc.date()
        yield Problem("207", f"the seal certificate is valid from {day} only: check the clock", "seal", rule=_RULE)
    if not seals(certificate):
        message = (
            "the seal certificate's key usage is not digitalSignature with nonRepudiation: "
            "give the ORG_SIGN certificate here, the ORG_AUTH_CLI one to TLS"
        )
        yield Problem("207", message, "seal", rule=_RULE)
