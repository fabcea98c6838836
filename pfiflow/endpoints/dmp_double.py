"""A DMP without a network, for tests of routes: its answers are scripted, the requests to it recorded.

The conversation, its signatures and what its answers mean are the real ones; below them, nothing is encrypted and no
file is read: the seal is one that this process has made for itself.
"""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree

from pfiflow.dmp import answers, soap
from pfiflow.dmp.conversation import Answer, Reply
from pfiflow.dmp.requests import Request
from pfiflow.dmp.response import Failure
from pfiflow.dmp.seal import Seal
from pfiflow.endpoints.dmp_client import DmpClient, Timeouts
from pfiflow.endpoints.seal_file import SealFile
from pfiflow.endpoints.tls import TlsContext
from pfiflow.flow.double import Outside
from pfiflow.flow.options import option

__all__ = ["AnySeal", "AnyTls", "DmpAnswer", "ScriptedDmp"]

_INCLUDE: Final = "{http://www.w3.org/2004/08/xop/include}Include"
_FAILURES: Final = {
    "refused": Failure.UNREACHABLE,
    "timeout": Failure.TIMEOUT,
    "tls": Failure.TLS,
    "cut": Failure.CUT,
}


@frozen
class DmpAnswer:
    """How the DMP takes one order: what it finds when it is asked (ITI-18), and its answer to ITI-41 or ITI-57."""

    found: tuple[str, ...] = option(
        default=(),
        doc="ITI-18: entryUUIDs of the document that was asked for.",
        example=["urn:uuid:6a1b0c5e-5f0f-4c39-9d49-0d6d1a1f4a01"],
    )
    error: str = option(default="", doc="The code with which it refuses.", example="DMPPatientClosed")
    http: int = option(default=200, doc="An HTTP status, without SOAP.", example=503)
    failure: Literal["", "refused", "timeout", "tls", "cut"] = option(
        default="",
        doc="No answer: the connection is refused; times out; TLS fails; it is cut once the request has been sent.",
        example="cut",
    )
    at: Literal["", "ITI-18", "ITI-41", "ITI-57"] = option(
        default="", doc="The request that error, http or failure answer; unset: the first.", example="ITI-41"
    )


class ScriptedDmp(DmpClient):
    """The client of a `dmp-submit` under test."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(1, Timeouts())
        self._outside = outside

    async def post(self, request: Request, context: ssl.SSLContext) -> tuple[Reply, str]:
        """See `DmpClient`."""
        del context
        answer: DmpAnswer = self._outside.answer
        transaction = _transaction(request)
        meant = answer.at in {"", transaction}
        if meant and answer.failure and answer.failure != "cut":
            return _FAILURES[answer.failure], answer.failure
        self._outside.sent(_readable(request), transaction=transaction, url=request.url)
        if meant and answer.failure:
            return _FAILURES[answer.failure], answer.failure
        asked = answers.Context(transaction, request.outgoing.message_id, f"{request.outgoing.action}Response")
        if meant and answer.http != 200:
            made = answers.http(answer.http)(asked)
        elif meant and answer.error:
            made = answers.refused(answer.error)(asked)
        else:
            made = answers.registry_answer(asked, objects=answer.found)
        return Answer(made.status, made.content_type, made.body), ""


def _transaction(request: Request) -> answers.Transaction:
    if request.query:
        return "ITI-18"
    return "ITI-41" if request.url.endswith("/repository") else "ITI-57"


def _readable(request: Request) -> bytes:
    """The envelope, with the documents in it (as XOP says that it stands for): what a test can look into."""
    message = soap.read_message(request.outgoing.content_type, b"".join(request.outgoing.parts))
    for include in list(message.envelope.iter(_INCLUDE)):
        parent = include.getparent()
        assert parent is not None
        document = soap.included(parent, message)
        parent.remove(include)
        parent.text = base64.b64encode(document).decode("ascii")
    return etree.tostring(message.envelope)


class AnyTls(TlsContext):
    """A context that reads no file."""

    def current(self) -> ssl.SSLContext:
        """See `TlsContext`."""
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class AnySeal(SealFile):
    """A seal that reads no file."""

    def current(self) -> Seal:
        """See `SealFile`."""
        return _seal()


@lru_cache(maxsize=1)
def _seal() -> Seal:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "TEST"),
            x509.NameAttribute(NameOID.COMMON_NAME, "TEST SEAL"),
        ]
    )
    bits = dict.fromkeys(
        (
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage = x509.KeyUsage(digital_signature=True, content_commitment=True, **bits)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Seal(certificate, key)
