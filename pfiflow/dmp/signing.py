"""XML signatures of texts that we write in canonical form ourselves (XML-DSig; Canonical XML 1.0; Exclusive C14N).

Everything that pfiflow signs is written canonically, character for character: declarations and attributes in order, no
empty-element tag, escapes of Canonical XML §2.3. So the octets that are hashed are slices of what is sent, and no
canonicaliser takes part (lxml's inclusive one has a defect on parts of a document). Reading uses lxml's.
"""

from __future__ import annotations

import base64
import hashlib
from types import MappingProxyType
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from pfiflow.dmp.seal import Seal
from pfiflow.xds.composite import one_line

__all__ = [
    "C14N_WITH_COMMENTS",
    "DIGESTS",
    "DS",
    "ENVELOPED",
    "EXCLUSIVE",
    "SIGNATURES",
    "Algorithm",
    "attribute",
    "certificate_text",
    "digest",
    "signature_value",
    "text",
    "verifies",
]

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
C14N_WITH_COMMENTS: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
ENVELOPED: Final = DS + "enveloped-signature"

Algorithm = Literal["sha256", "sha1"]
"""RSA with this digest, and this digest of what is referred to."""

DIGESTS: Final = MappingProxyType({"sha256": "http://www.w3.org/2001/04/xmlenc#sha256", "sha1": DS + "sha1"})
SIGNATURES: Final = MappingProxyType(
    {"sha256": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "sha1": DS + "rsa-sha1"}
)
_HASHES: Final = MappingProxyType({"sha256": hashes.SHA256(), "sha1": hashes.SHA1()})  # noqa: S303  (what the DMP takes)

_ATTRIBUTE: Final = str.maketrans({"&": "&amp;", "<": "&lt;", '"': "&quot;"})
_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def attribute(value: str) -> str:
    """An attribute value in canonical form, on one line."""
    return one_line(value).translate(_ATTRIBUTE)


def text(value: str) -> str:
    """A text node in canonical form, on one line."""
    return one_line(value).translate(_TEXT)


def digest(data: bytes, algorithm: Algorithm) -> str:
    """The digest of octets, in base64 as a DigestValue holds it."""
    return base64.b64encode(hashlib.new(algorithm, data, usedforsecurity=False).digest()).decode()


def signature_value(signed_info: bytes, seal: Seal, algorithm: Algorithm) -> str:
    """The SignatureValue (RSASSA-PKCS1-v1_5) of a canonical SignedInfo, in base64."""
    return base64.b64encode(seal.key.sign(signed_info, PKCS1v15(), _HASHES[algorithm])).decode()


def certificate_text(seal: Seal) -> str:
    """The X509Certificate of a KeyInfo: DER in base64."""
    return base64.b64encode(seal.certificate.public_bytes(Encoding.DER)).decode()


def verifies(key: object, signature: bytes, signed_info: bytes, algorithm: Algorithm) -> bool:
    """Whether `signature` is that of `signed_info` under an RSA public key of at least 2048 bits."""
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        return False
    try:
        key.verify(signature, signed_info, PKCS1v15(), _HASHES[algorithm])
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
