from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from pfiflow.endpoints.tls import CONF_03_SUITES, TlsContext, TlsOptions
from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.options import Secret
from pfiflow.simulators.certificates import Authority, Credentials

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)

# RFC 2409 §6.2: the 1024-bit group, too small for CONF.03.
OAKLEY_2 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Credentials:
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Credentials:
    return authority.issue("pfi@hopital.mssante.fr")


def server_options(authority: Authority, server: Credentials) -> TlsOptions:
    return TlsOptions(ca=(authority.certificate,), certificate=server.certificate, key=server.key)


def client_options(authority: Authority, client: Credentials) -> TlsOptions:
    return TlsOptions(ca=(authority.certificate,), certificate=client.certificate, key=client.key)


def handshake(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, *, host: str = "localhost"
) -> tuple[str, str]:
    """Version and suite agreed on over a real socket pair; raises the client's error, or the server's."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    failures: list[OSError] = []

    def serve() -> None:
        try:
            with server_context.wrap_socket(theirs, server_side=True) as tls:
                tls.sendall(b"ok")
                tls.recv(1)
        except OSError as error:
            failures.append(error)
        finally:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context.wrap_socket(ours, server_hostname=host) as tls:
            tls.recv(2)
            version, cipher = tls.version(), tls.cipher()
            assert version is not None
            assert cipher is not None
            return version, cipher[0]
    finally:
        ours.close()
        thread.join()
        if failures and isinstance(failures[0], ssl.SSLCertVerificationError):
            raise failures[0]


def test_both_sides_authenticate_with_a_suite_of_the_list(
    authority: Authority, server: Credentials, client: Credentials
) -> None:
    version, suite = handshake(
        client_options(authority, client).client_context(), server_options(authority, server).server_context()
    )
    assert version == "TLSv1.2"
    assert suite in CONF_03_SUITES


def test_only_the_six_suites_are_offered(authority: Authority) -> None:
    context = TlsOptions(ca=(authority.certificate,)).client_context()
    names = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert names == set(CONF_03_SUITES)


@pytest.mark.parametrize("suite", CONF_03_SUITES[:4])
def test_each_ecdhe_suite_works(authority: Authority, server: Credentials, client: Credentials, suite: str) -> None:
    theirs = server_options(authority, server).server_context()
    theirs.set_ciphers(suite)
    assert handshake(client_options(authority, client).client_context(), theirs)[1] == suite


def dh_parameters(prime: int) -> str:
    """PKCS #3 DHParameter: SEQUENCE { prime INTEGER, base INTEGER 2 }."""
    size = prime.bit_length() // 8 + 1
    integers = b"\x02\x81" + bytes([size]) + prime.to_bytes(size, "big") + b"\x02\x01\x02"
    content = base64.encodebytes(b"\x30\x81" + bytes([len(integers)]) + integers).decode()
    return f"-----BEGIN DH PARAMETERS-----\n{content}-----END DH PARAMETERS-----\n"


def dh_server(authority: Authority, server: Credentials, folder: Path) -> ssl.SSLContext:
    path = folder / "dh.pem"
    path.write_text(dh_parameters(OAKLEY_2))
    context = server_options(authority, server).server_context()
    context.set_ciphers(f"{CONF_03_SUITES[4]}:@SECLEVEL=0")
    context.load_dh_params(str(path))
    return context


def test_a_small_diffie_hellman_group_is_refused(
    authority: Authority, server: Credentials, client: Credentials, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLError, match="DH_KEY_TOO_SMALL"):
        handshake(client_options(authority, client).client_context(), dh_server(authority, server, tmp_path))


def test_a_weaker_suite_is_refused(authority: Authority, server: Credentials, client: Credentials) -> None:
    theirs = server_options(authority, server).server_context()
    theirs.set_ciphers("AES128-SHA256")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(client_options(authority, client).client_context(), theirs)


def test_tls_1_3_only_when_allowed(authority: Authority, server: Credentials) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(server.certificate, server.key)
    assert handshake(TlsOptions(ca=(authority.certificate,)).client_context(), theirs)[0] == "TLSv1.2"
    allowed = TlsOptions(ca=(authority.certificate,), maximum="1.3").client_context()
    assert handshake(allowed, theirs)[0] == "TLSv1.3"


def test_an_older_version_is_refused(authority: Authority) -> None:
    assert TlsOptions(ca=(authority.certificate,)).client_context().minimum_version is ssl.TLSVersion.TLSv1_2


def test_another_host_is_refused(authority: Authority, server: Credentials, client: Credentials) -> None:
    theirs = server_options(authority, server).server_context()
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(client_options(authority, client).client_context(), theirs, host="mail.example")


def test_another_authority_is_refused(authority: Authority, server: Credentials, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="CERTIFICATE_VERIFY_FAILED"):
        handshake(
            TlsOptions(ca=(stranger.certificate,)).client_context(), server_options(authority, server).server_context()
        )


def test_one_intermediate_alone_can_be_trusted(tmp_path: Path) -> None:
    root = Authority(tmp_path, "root")
    organisations, persons = Authority(tmp_path, "org", parent=root), Authority(tmp_path, "pers", parent=root)
    ours = TlsOptions(ca=(organisations.certificate,)).client_context()
    good, bad = organisations.issue("localhost"), persons.issue("localhost")
    assert handshake(ours, TlsOptions(certificate=good.certificate, key=good.key).server_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ours, TlsOptions(certificate=bad.certificate, key=bad.key).server_context())


def test_a_server_with_authorities_requires_a_client_certificate(authority: Authority, server: Credentials) -> None:
    context = server_options(authority, server).server_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(TlsOptions(ca=(authority.certificate,)).client_context(), context)
    alone = TlsOptions(certificate=server.certificate, key=server.key).server_context()
    assert handshake(TlsOptions(ca=(authority.certificate,)).client_context(), alone)


def test_the_system_store_is_not_used(authority: Authority) -> None:
    context = TlsOptions(ca=(authority.certificate,)).client_context()
    assert context.cert_store_stats()["x509"] == 1
    with pytest.raises(ConfigError, match="nobody is trusted"):
        TlsOptions().client_context()
    TlsOptions(system_store=True).client_context()


def test_der_authorities_are_read(authority: Authority, server: Credentials, tmp_path: Path) -> None:
    der = tmp_path / "ca.cer"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(authority.certificate.read_text()))
    theirs = TlsOptions(certificate=server.certificate, key=server.key).server_context()
    assert handshake(TlsOptions(ca=(der,)).client_context(), theirs)


def test_a_password_opens_the_key(authority: Authority) -> None:
    locked = authority.issue("pfi", password="open sesame")
    options = TlsOptions(
        ca=(authority.certificate,), certificate=locked.certificate, key=locked.key, key_password=Secret("open sesame")
    )
    options.client_context()
    assert "sesame" not in repr(options)
    for password in ("", "wrong"):
        with pytest.raises(ConfigError, match="key_password"):
            TlsOptions(
                ca=(authority.certificate,),
                certificate=locked.certificate,
                key=locked.key,
                key_password=Secret(password),
            ).client_context()


def test_settings_that_cannot_work_say_why(
    authority: Authority, server: Credentials, client: Credentials, tmp_path: Path
) -> None:
    ca = (authority.certificate,)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    with pytest.raises(ConfigError, match="absent"):
        TlsOptions(ca=(tmp_path / "absent.pem",)).client_context()
    with pytest.raises(ConfigError, match=r"garbage.*PEM or DER certificate"):
        TlsOptions(ca=(garbage,)).client_context()
    with pytest.raises(ConfigError, match="KEY_VALUES_MISMATCH"):
        TlsOptions(ca=ca, certificate=server.certificate, key=client.key).client_context()
    with pytest.raises(ConfigError, match="NONSENSE"):
        TlsOptions(ca=ca, suites=(CONF_03_SUITES[0], "NONSENSE")).client_context()
    with pytest.raises(ConfigError, match="NONSENSE"):
        TlsOptions(ca=ca, suites=("NONSENSE",)).client_context()
    with pytest.raises(ConfigError, match="needs a certificate"):
        TlsOptions(ca=ca).server_context()
    with pytest.raises(ConfigError, match="revocation list"):
        TlsOptions(ca=ca, crl=(garbage,)).client_context()


def test_our_own_expired_certificate_defers(authority: Authority) -> None:
    expired = authority.issue("pfi", not_after=YESTERDAY)
    with pytest.raises(Deferred, match=f"expired on {YESTERDAY:%Y-%m-%d}"):
        client_options(authority, expired).client_context()
    early = authority.issue("pfi", not_before=TOMORROW, not_after=TOMORROW + timedelta(days=1))
    with pytest.raises(Deferred, match="valid only from"):
        client_options(authority, early).client_context()


def test_a_peers_expired_certificate_is_refused(authority: Authority, client: Credentials) -> None:
    expired = authority.issue("localhost", not_after=YESTERDAY)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(expired.certificate, expired.key)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(client_options(authority, client).client_context(), theirs)


def replace(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def test_a_renewed_certificate_is_taken_up_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    expired, renewed = authority.issue("pfi", not_after=YESTERDAY), authority.issue("pfi")
    certificate, key = tmp_path / "pfi.pem", tmp_path / "pfi.key"
    certificate.write_bytes(expired.certificate.read_bytes())
    key.write_bytes(expired.key.read_bytes())
    follower = TlsContext(TlsOptions(ca=(authority.certificate,), certificate=certificate, key=key))
    with pytest.raises(Deferred):
        follower.current()
    replace(certificate, renewed.certificate.read_bytes())
    with pytest.raises(Deferred):  # the key has not followed yet: the former pair stays
        follower.current()
    replace(key, renewed.key.read_bytes())
    context = follower.current()
    assert follower.current() is context


@pytest.fixture
def crl_file(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "authority.crl"
    path.write_bytes(authority.crl(encoding=Encoding.DER))
    return path


def test_a_revoked_certificate_is_refused(
    authority: Authority, server: Credentials, client: Credentials, crl_file: Path
) -> None:
    theirs = server_options(authority, server).server_context()
    ours = client_options(authority, client)
    follower = TlsContext(TlsOptions(ca=ours.ca, certificate=ours.certificate, key=ours.key, crl=(crl_file,)))
    assert handshake(follower.current(), theirs)
    replace(crl_file, authority.crl(server))
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        handshake(follower.current(), theirs)


@pytest.mark.parametrize("fault", ["cut", "missing", "expired", "foreign"])
def test_a_failed_download_leaves_the_last_good_list(
    authority: Authority,
    server: Credentials,
    client: Credentials,
    crl_file: Path,
    fault: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    theirs = server_options(authority, server).server_context()
    ours = client_options(authority, client)
    follower = TlsContext(TlsOptions(ca=ours.ca, certificate=ours.certificate, key=ours.key, crl=(crl_file,)))
    follower.current()
    if fault == "cut":
        replace(crl_file, authority.crl()[:200])
    elif fault == "missing":
        crl_file.unlink()
    elif fault == "expired":
        replace(crl_file, authority.crl(updated=YESTERDAY - timedelta(days=1), next_update=YESTERDAY))
    else:
        replace(crl_file, Authority(tmp_path / "stranger").crl())
    assert handshake(follower.current(), theirs)
    assert "stays in use" in caplog.text
    caplog.clear()
    follower.current()
    assert not caplog.text
    replace(crl_file, authority.crl(server))
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        handshake(follower.current(), theirs)


def test_an_expired_list_defers_until_a_current_one_comes(authority: Authority, crl_file: Path) -> None:
    crl_file.write_bytes(authority.crl(updated=YESTERDAY - timedelta(days=1), next_update=YESTERDAY))
    follower = TlsContext(TlsOptions(ca=(authority.certificate,), crl=(crl_file,)))
    with pytest.raises(Deferred, match=r"revocation list .* expired"):
        follower.current()
    replace(crl_file, authority.crl())
    follower.current()
