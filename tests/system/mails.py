"""What comes out: the mails that the operator's server took, opened with the standard library, zipfile and lxml."""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
import zipfile

from attrs import frozen
from lxml import etree

from pfiflow.simulators.mail import ReceivedMail

__all__ = ["METADATA", "Opened", "opened"]

METADATA = "IHE_XDM/SUBSET01/METADATA.XML"
_RIM = {"rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"}
_UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"


@frozen
class Opened:
    """A mail taken apart."""

    message_id: str
    recipients: tuple[str, ...]
    to_patient: bool
    text: str
    pdfs: tuple[bytes, ...]
    metadata: etree._Element
    documents: tuple[bytes, ...]
    unique_id: str  # XDSDocumentEntry.uniqueId of its only document
    action: str  # "", C or D

    @property
    def identity(self) -> tuple[str, str, bool]:
        """Which order it fulfils: document, action, audience."""
        return self.unique_id, self.action, self.to_patient


def opened(mail: ReceivedMail) -> Opened:
    """Take a mail apart; asserts that each document has the hash and size that its metadata say."""
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    parts = {part.get_filename(): part for part in message.iter_attachments()}
    with zipfile.ZipFile(io.BytesIO(parts["IHE_XDM.zip"].get_content())) as archive:
        metadata = etree.fromstring(archive.read(METADATA))
        entries = metadata.findall(".//rim:ExtrinsicObject", _RIM)
        documents = []
        for entry in entries:
            content = archive.read(f"IHE_XDM/SUBSET01/{_slot(entry, 'URI')}")
            assert _slot(entry, "hash") == hashlib.sha1(content).hexdigest()
            assert _slot(entry, "size") == str(len(content))
            documents.append(content)
    (entry,) = entries
    identifiers = entry.findall(f"rim:ExternalIdentifier[@identificationScheme='{_UNIQUE_ID}']", _RIM)
    body = message.get_body(("plain",))
    assert body is not None
    return Opened(
        message_id=message["Message-ID"],
        recipients=mail.recipients,
        to_patient=any(address.endswith("@patient.mssante.fr") for address in mail.recipients),
        text=body.get_content(),
        pdfs=tuple(part.get_content() for name, part in parts.items() if name and name.endswith(".pdf")),
        metadata=metadata,
        documents=tuple(documents),
        unique_id=identifiers[0].get("value", ""),
        action=_slot(entry, "action"),
    )


def _slot(element: etree._Element, name: str) -> str:
    return element.findtext(f"rim:Slot[@name='{name}']/rim:ValueList/rim:Value", "", _RIM)
