"""ITI-57 Update Document Set: what TD3.3c sends to delete a document (dmp-details §1.8).

A PFI may do nothing else with it: masking, visibility and archiving (TD3.3a, b, d) are refused in indirect
authentication. A change of visibility is a replacement of the document with other confidentiality codes.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve

from pfiflow.dmp import soap
from pfiflow.dmp.soap import Outgoing
from pfiflow.dmp.submission import Call, enveloped
from pfiflow.xds import vocabulary as v
from pfiflow.xds.ebrim import registry_objects
from pfiflow.xds.metadata import Association, SubmissionSet

__all__ = ["ACTION", "APPROVED", "DELETED", "RESPONSE_ACTION", "UPDATE_STATUS", "delete"]

ACTION: Final = "urn:ihe:iti:2010:UpdateDocumentSet"
RESPONSE_ACTION: Final = "urn:ihe:iti:2010:UpdateDocumentSet-Response"  # with a hyphen, where the others have none

UPDATE_STATUS: Final = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
APPROVED: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DELETED: Final = "urn:asip:ci-sis:2010:StatusType:Deleted"


def delete(submission: SubmissionSet, entry_uuid: str, call: Call) -> Outgoing:
    """The request that deletes one document.

    Args:
        submission: the author, patient and ids of the sending; its entries and associations are not sent.
        entry_uuid: of the document as the DMP knows it (`query.get_documents`, just before).
        call: addressing and VIHF.

    Raises:
        Rejected: a value does not fit into ebRIM.
    """
    status = (("OriginalStatus", (APPROVED,)), ("NewStatus", (DELETED,)))
    association = Association(UPDATE_STATUS, submission.entry_uuid, entry_uuid, status)
    objects = registry_objects(evolve(submission, entries=(), associations=(association,)))
    name = "lcm:SubmitObjectsRequest"
    body = b"".join((f'<{name} xmlns:lcm="{v.LCM}" xmlns:rim="{v.RIM}">'.encode(), objects, f"</{name}>".encode()))
    return soap.plain(enveloped(body, call, ACTION), action=ACTION, message_id=call.message_id)
