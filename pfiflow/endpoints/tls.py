"""TLS as data: which authorities, certificate, suites and versions; from there, `ssl` contexts that follow their files.

What holds by default, and how:

* TLS 1.2 with the six suites of SC.MSS/CONF.03 and no other. Their list does not govern TLS 1.3: the maximum is 1.2
  too, unless a setting allows 1.3 (CONF.02).
* DH groups of at least 2048 bits: OpenSSL's security level 2 (`@SECLEVEL=2`) refuses smaller ones, as it refuses RSA
  keys under 2048 bits and SHA-1 signatures. ECDH of at least 256 bits: the groups that OpenSSL offers (X25519, P-256
  and larger) have no smaller member, and TLS 1.2 lets the server choose among the offered ones only.
* Trust comes from the given authorities alone, never from the operating system's store unless a setting says so. Each
  of them is an anchor, intermediates too: to accept one intermediate's certificates and not its sisters' (CONF.27: IGC
  Santé Élémentaire, domain Organisations), give that intermediate alone, without the root.
* Revocation, when a CRL is given, is checked for the peer's certificate, and fails closed; also of a peer that was let
  in before, since servers give no session tickets. CONF.22: the last list that
  was good is kept, so that a newer file that is missing, cut, foreign or expired breaks nothing while the kept one is
  in date. Once that has expired too, connections are refused, as `Deferred`: mails wait in their channel and none is
  lost, whereas going on would accept certificates of unknown standing.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.options import Secret, option

__all__ = [
    "CONF_03_SUITES",
    "SERVER_TLS_EXAMPLE",
    "TLS_EXAMPLE",
    "TlsContext",
    "TlsOptions",
    "TlsVersion",
    "check_client",
    "check_server",
]

TlsVersion = Literal["1.2", "1.3"]

CONF_03_SUITES = (
    "ECDHE-RSA-AES256-GCM-SHA384",  # 0xC030
    "ECDHE-RSA-AES128-GCM-SHA256",  # 0xC02F
    "ECDHE-RSA-AES256-SHA384",  # 0xC028
    "ECDHE-RSA-AES128-SHA256",  # 0xC027
    "DHE-RSA-AES256-GCM-SHA384",  # 0x009F
    "DHE-RSA-AES128-GCM-SHA256",  # 0x009E
)
"""The suites of SC.MSS/CONF.03, by their OpenSSL names."""

_log = logging.getLogger(__name__)
_VERSIONS: dict[TlsVersion, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_LARGEST_FILE = 64 * 1024 * 1024  # a national CRL has a few megabytes


TLS_EXAMPLE = {
    "ca": ["igc-sante-elementaire-organisations.pem"],
    "certificate": "auth-cli.pem",
    "key": "auth-cli.key",
}
"""How a route file writes it, for who connects with a client certificate."""

SERVER_TLS_EXAMPLE = {"certificate": "pfi.pem", "key": "pfi.key", "ca": ["dpi-ca.pem"]}
"""The same for who listens, and asks for one."""


@frozen
class TlsOptions:
    """One side's TLS settings. Files are PEM; authorities and CRLs may be DER, as IGC Santé publishes them."""

    ca: tuple[Path, ...] = option(
        default=(),
        doc="Certificates of the accepted authorities. A server that has some requires a client certificate.",
        example=["igc-sante-elementaire-organisations.pem"],
    )
    certificate: Path | None = option(
        default=None, doc="Our certificate, followed by its intermediates. A server needs one.", example="auth-cli.pem"
    )
    key: Path | None = option(
        default=None, doc="Its private key; unset when the certificate's file holds it.", example="auth-cli.key"
    )
    key_password: Secret | None = option(
        default=None, doc="Opens the private key.", example="${file:/run/secrets/key-password}"
    )
    crl: tuple[Path, ...] = option(
        default=(),
        doc="Revocation lists of the authorities that issue peers' certificates; none: revocation is not checked.",
        example=["ACI-EL-ORG.crl"],
    )
    suites: tuple[str, ...] = option(
        default=CONF_03_SUITES,
        doc="TLS 1.2 suites, by their OpenSSL names; by default the six of SC.MSS/CONF.03.",
        example=["ECDHE-RSA-AES256-GCM-SHA384"],
    )
    minimum: TlsVersion = option(default="1.2", doc="Lowest TLS version.", example="1.2")
    maximum: TlsVersion = option(
        default="1.2", doc="Highest TLS version; 1.3 has suites of its own, which CONF.02 allows.", example="1.3"
    )
    check_hostname: bool = option(
        default=True, doc="The server's certificate must name the host that we connect to.", example=True
    )
    system_store: bool = option(default=False, doc="Trust the operating system's authorities as well.", example=False)

    def client_context(self) -> ssl.SSLContext:
        """A context to connect with, from the files as they are now; `TlsContext` follows them.

        Raises:
            ConfigError: a file is missing or unreadable, a key does not match, a suite is unknown, nobody is trusted.
            Deferred: our own certificate, or a CRL, is out of date.
        """
        return TlsContext(self).current()

    def server_context(self) -> ssl.SSLContext:
        """A context to accept with. Raises as `client_context`."""
        return TlsContext(self, server_side=True).current()

    def files(self) -> tuple[Path, ...]:
        """Every file that the settings name."""
        own = (path for path in (self.certificate, self.key) if path is not None)
        return (*self.ca, *own, *self.crl)


class TlsContext:
    """A context that follows its files: a changed one is read again at the next call, without a restart.

    A file that has become unusable is reported once in the log, and the context made of the former files stays in use.
    Thread-safe; a call without change costs one `stat` per file.
    """

    def __init__(self, options: TlsOptions, *, server_side: bool = False) -> None:
        self._options = options
        self._server_side = server_side
        self._lock = threading.Lock()
        self._stamp: object = None
        self._context: ssl.SSLContext | None = None
        self._own: x509.Certificate | None = None
        self._crls: dict[Path, x509.CertificateRevocationList] = {}

    def current(self) -> ssl.SSLContext:
        """The context to use for the next connection.

        Raises:
            ConfigError: see `TlsOptions.client_context`; only as long as no file set has been good.
            Deferred: our own certificate, or a CRL, is out of date; resolved by replacing the file.
        """
        with self._lock:
            stamp = tuple(map(_stamp, self._options.files()))
            if self._context is None or stamp != self._stamp:
                try:
                    self._reload()
                except ConfigError as error:
                    if self._context is None:
                        raise
                    _log.warning("TLS files changed and cannot be used, the former stay in use: %s", error)
                self._stamp = stamp
            self._check_dates()
            assert self._context is not None
            return self._context

    def _reload(self) -> None:
        options = self._options
        authorities = [certificate for path in options.ca for certificate in _read_certificates(path)]
        crls = {path: self._newest_crl(path, authorities) for path in options.crl}
        own = _read_certificates(options.certificate)[0] if options.certificate is not None else None
        self._context = _build(options, authorities, crls.values(), server_side=self._server_side)
        self._own, self._crls = own, crls

    def _newest_crl(self, path: Path, authorities: Sequence[x509.Certificate]) -> x509.CertificateRevocationList:
        """The file's CRL, or the one held when the file's is no good (CONF.22)."""
        held = self._crls.get(path)
        try:
            crl = _read_crl(path, authorities, any_issuer=self._options.system_store)
        except ConfigError as error:
            if held is None:
                raise
            _log.warning("the new CRL cannot be used, the former stays in use: %s", error)
            return held
        if held is not None and _is_past(crl.next_update_utc) and not _is_past(held.next_update_utc):
            _log.warning("the new CRL %s has expired already, the former stays in use", path)
            return held
        return crl

    def _check_dates(self) -> None:
        options = self._options
        if self._own is not None:
            if _is_past(self._own.not_valid_after_utc):
                raise Deferred(
                    f"our TLS certificate {options.certificate} expired on {self._own.not_valid_after_utc:%Y-%m-%d}; "
                    "put the renewed one in its place, sending resumes by itself",
                    unavailable=True,
                )
            if not _is_past(self._own.not_valid_before_utc):
                raise Deferred(
                    f"our TLS certificate {options.certificate} is valid only from "
                    f"{self._own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; check the clock or the file",
                    unavailable=True,
                )
        for path, crl in self._crls.items():
            if _is_past(crl.next_update_utc):
                raise Deferred(
                    f"the revocation list {path} expired on {crl.next_update_utc:%Y-%m-%d %H:%M} UTC; "
                    "download the current one, sending resumes by itself",
                    unavailable=True,
                )


def _build(
    options: TlsOptions,
    authorities: Sequence[x509.Certificate],
    crls: Iterable[x509.CertificateRevocationList],
    *,
    server_side: bool,
) -> ssl.SSLContext:
    trusts_someone = bool(authorities) or options.system_store
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[options.minimum]
    context.maximum_version = _VERSIONS[options.maximum]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _set_suites(context, options.suites)
    if server_side:
        if options.certificate is None:
            raise ConfigError("a TLS server needs a certificate")
        context.verify_mode = ssl.CERT_REQUIRED if trusts_someone else ssl.CERT_NONE
        # A session that is taken up again by its ticket is not verified again: what was revoked since would be let in.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    else:
        if not trusts_someone:
            raise ConfigError("nobody is trusted: name the certificate authorities to accept (ca)")
        context.check_hostname = options.check_hostname
    if authorities:
        context.load_verify_locations(cadata=b"".join(c.public_bytes(Encoding.DER) for c in authorities))
    if options.system_store:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH if server_side else ssl.Purpose.SERVER_AUTH)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_crls(context, crls)
    if options.certificate is not None:
        password = options.key_password.reveal() if options.key_password is not None else ""
        try:
            # A password is always given: without one, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(options.certificate, options.key, password=password)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
            raise ConfigError(
                f"certificate {options.certificate} with key {options.key or options.certificate}: {reason}; "
                "both are PEM, they belong together, and key_password opens the key"
            ) from error
    return context


def _set_suites(context: ssl.SSLContext, suites: Sequence[str]) -> None:
    try:
        context.set_ciphers(":".join((*suites, "@SECLEVEL=2")))
    except ssl.SSLError:
        offered = set()
    else:
        offered = {cipher["name"] for cipher in context.get_ciphers()}
    # OpenSSL passes over the names that it does not know, as long as one is left.
    if unknown := [suite for suite in suites if suite not in offered]:
        raise ConfigError(f"OpenSSL here does not offer {', '.join(unknown)}; suites take OpenSSL's names")


def _load_crls(context: ssl.SSLContext, crls: Iterable[x509.CertificateRevocationList]) -> None:
    pem = b"".join(crl.public_bytes(Encoding.PEM) for crl in crls)
    if not pem:
        return
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # `ssl` takes CRLs from a file only
        file.write(pem)
        file.flush()
        context.load_verify_locations(cafile=file.name)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", file=str(path)) from error
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"larger than {_LARGEST_FILE} bytes", file=str(path))
    return content


def _read_certificates(path: Path) -> list[x509.Certificate]:
    content = _read(path)
    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificates(content)
        return [x509.load_der_x509_certificate(content)]
    except ValueError as error:
        raise ConfigError("not a PEM or DER certificate", file=str(path)) from error


def _read_crl(
    path: Path, authorities: Sequence[x509.Certificate], *, any_issuer: bool
) -> x509.CertificateRevocationList:
    content = _read(path)
    try:
        pem = b"-----BEGIN" in content
        crl = x509.load_pem_x509_crl(content) if pem else x509.load_der_x509_crl(content)
        issuers = [authority for authority in authorities if authority.subject == crl.issuer]
        signed = any(crl.is_signature_valid(issuer.public_key()) for issuer in issuers)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ConfigError("not a PEM or DER revocation list", file=str(path)) from error
    if not (signed or (any_issuer and not issuers)):
        raise ConfigError("this revocation list is not signed by one of the accepted authorities", file=str(path))
    return crl


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and moment <= datetime.now(UTC)


def check_client(options: TlsOptions | None) -> None:
    """Raises ConfigError when nobody would be trusted. No file is looked at."""
    if options is not None and not options.ca and not options.system_store:
        raise ConfigError("tls: nobody is trusted: name the certificate authorities to accept (ca)")


def check_server(options: TlsOptions | None) -> None:
    """Raises ConfigError when there is no certificate to show. No file is looked at."""
    if options is not None and options.certificate is None:
        raise ConfigError("tls: who listens needs a certificate")
