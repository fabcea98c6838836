"""ITI-18 GetDocuments: the entryUUID of a document, by its uniqueId (TD3.1b; dmp-details §1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from attrs import frozen
from lxml import etree

from pfiflow.dmp import soap
from pfiflow.dmp.soap import Outgoing, SoapMessage
from pfiflow.dmp.submission import Call, enveloped
from pfiflow.dmp.update import APPROVED
from pfiflow.errors import Problem, ProtocolError, Rejected
from pfiflow.xds import vocabulary as v

__all__ = [
    "ACTION",
    "GET_DOCUMENTS",
    "QUERY",
    "RESPONSE_ACTION",
    "UNIQUE_ID",
    "Reference",
    "current",
    "get_documents",
    "references",
]

ACTION: Final = "urn:ihe:iti:2007:RegistryStoredQuery"
RESPONSE_ACTION: Final = ACTION + "Response"
QUERY: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
GET_DOCUMENTS: Final = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
UNIQUE_ID: Final = "$XDSDocumentEntryUniqueId"

ReturnType = Literal["ObjectRef", "LeafClass"]


@frozen
class Reference:
    """One entry that the DMP found. With returnType ObjectRef it says no more than the entryUUID."""

    entry_uuid: str
    status: str = ""  # availabilityStatus URN
    version: str = ""  # versionName


def get_documents(unique_id: str, call: Call, *, return_type: ReturnType = "ObjectRef") -> Outgoing:
    """The query for the entries of one document.

    `ObjectRef` by default: metadata search is refused to a PFI, so that `LeafClass` very likely is too.
    """
    root = etree.Element(f"{{{QUERY}}}AdhocQueryRequest", nsmap={"query": QUERY, "rim": v.RIM})
    etree.SubElement(root, f"{{{QUERY}}}ResponseOption", {"returnComposedObjects": "true", "returnType": return_type})
    query = etree.SubElement(root, f"{{{v.RIM}}}AdhocQuery", {"id": GET_DOCUMENTS})
    values = etree.SubElement(etree.SubElement(query, f"{{{v.RIM}}}Slot", {"name": UNIQUE_ID}), f"{{{v.RIM}}}ValueList")
    quoted = unique_id.replace("'", "''")
    etree.SubElement(values, f"{{{v.RIM}}}Value").text = f"('{quoted}')"
    return soap.plain(enveloped(etree.tostring(root), call, ACTION), action=ACTION, message_id=call.message_id)


def references(answer: SoapMessage) -> tuple[Reference, ...]:
    """The entries in an answer whose status is Success (`response.outcome` tells), in its order, each once.

    Raises:
        ProtocolError: the answer is no AdhocQueryResponse.
    """
    body = answer.body
    if body is None or body.tag != f"{{{QUERY}}}AdhocQueryResponse":
        raise ProtocolError("the answer to ITI-18 is no AdhocQueryResponse")
    found: dict[str, Reference] = {}
    for element in body.iterfind(f"{{{v.RIM}}}RegistryObjectList/*"):
        if element.tag in {f"{{{v.RIM}}}ObjectRef", f"{{{v.RIM}}}ExtrinsicObject"} and (
            identifier := element.get("id")
        ):
            version = element.find(f"{{{v.RIM}}}VersionInfo")
            name = "" if version is None else version.get("versionName", "")
            found.setdefault(identifier, Reference(identifier, element.get("status", ""), name))
    return tuple(found.values())


def current(found: Sequence[Reference]) -> Reference | None:
    """The entry to replace or delete: the only one, or the newest that is Approved; None when there is none.

    A uniqueId names one document, but its entry has one entryUUID per version of its metadata. With `ObjectRef` the
    answer does not say which is the current one, and acting on another one is refused by the registry at best.

    Raises:
        Rejected: several entries, and no telling which is current: nothing is done on a guess.
    """
    alive = [reference for reference in found if reference.status in {"", APPROVED}]
    approved = [reference for reference in alive if reference.status == APPROVED]
    if len(alive) <= 1:
        return next(iter(alive), None)
    newest = sorted(approved, key=lambda reference: _number(reference.version), reverse=True)
    if len(approved) == len(alive) and _number(newest[0].version) > _number(newest[1].version):
        return newest[0]
    message = (
        f"the DMP knows {len(alive)} entries of this document and does not say which is current; "
        "look at the patient's DMP, and replace or delete the document there"
    )
    raise Rejected(Problem("207", message, "AdhocQueryResponse/RegistryObjectList", rule="ITI-18 GetDocuments"))


def _number(version: str) -> int:
    return int(version) if version.isdecimal() and len(version) < 10 else -1
