"""ITI-41 Provide and Register Document Set-b: what TD2.1 sends, new or replacing (dmp-details §1.3, §3.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import field, frozen

from pfiflow.dmp import soap
from pfiflow.dmp.mtom import Part
from pfiflow.dmp.signing import attribute
from pfiflow.dmp.soap import XOP, Outgoing
from pfiflow.dmp.xades import SignatureDocument, with_signature
from pfiflow.xds import vocabulary as v
from pfiflow.xds.ebrim import registry_objects
from pfiflow.xds.metadata import SubmissionSet

__all__ = ["ACTION", "RESPONSE_ACTION", "XDS", "Call", "enveloped", "provide_and_register"]

ACTION: Final = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
RESPONSE_ACTION: Final = ACTION + "Response"
XDS: Final = "urn:ihe:iti:xds-b:2007"


@frozen
class Call:
    """What every request to the DMP carries besides its body; made anew at each attempt."""

    to: str  # the service's URL: <base>/repository or <base>/registry
    message_id: str  # urn:uuid:…, random
    assertion: bytes = field(repr=False)  # the signed VIHF


def provide_and_register(
    submission: SubmissionSet, documents: Sequence[bytes], call: Call, *, signature: SignatureDocument | None
) -> Outgoing:
    """The MTOM request that submits the documents of a submission set, each exactly as its entry hashes it.

    A replacement is a submission set with the association of `xds.from_cda.replacement(…, replaced_entry_uuid=…)`.

    Args:
        submission: the set, without its signature.
        documents: the bytes of each entry, in their order; they become parts of the message as they are.
        call: addressing and VIHF.
        signature: of the submission set (`xades.sign_submission`); None sends none.

    Raises:
        Rejected: a value does not fit into ebRIM.
        ValueError: not as many documents as entries.
    """
    contents = list(documents)
    if signature is not None:
        submission = with_signature(submission, signature)
        contents.append(signature.data)
    objects = registry_objects(submission)
    parts, included = [], ""
    for number, (entry, content) in enumerate(zip(submission.entries, contents, strict=True), 1):
        content_id = f"document{number}@pfiflow"
        include = f'<xop:Include xmlns:xop="{XOP}" href="cid:{content_id}"/>'
        included += f'<xds:Document id="{attribute(entry.entry_uuid)}">{include}</xds:Document>'
        parts.append(Part(content_id, entry.mime_type, content))
    namespaces = f'xmlns:xds="{XDS}" xmlns:lcm="{v.LCM}" xmlns:rim="{v.RIM}"'
    body = b"".join(
        (
            f"<xds:ProvideAndRegisterDocumentSetRequest {namespaces}><lcm:SubmitObjectsRequest>".encode(),
            objects,
            f"</lcm:SubmitObjectsRequest>{included}</xds:ProvideAndRegisterDocumentSetRequest>".encode(),
        )
    )
    return soap.multipart(enveloped(body, call, ACTION), parts, action=ACTION, message_id=call.message_id)


def enveloped(body: bytes, call: Call, action: str) -> bytes:
    """The envelope of a request with this body."""
    return soap.envelope(body, action=action, message_id=call.message_id, to=call.to, security=call.assertion)
