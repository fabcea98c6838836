from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from attrs import evolve
from lxml import etree

from pfiflow.cda import document as cda
from pfiflow.dmp import query, update
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.soap import WSSE, included
from pfiflow.dmp.submission import ACTION, XDS, provide_and_register
from pfiflow.errors import Rejected
from pfiflow.xds.ebrim import parse
from pfiflow.xds.from_cda import document_entry, replacement
from pfiflow.xds.metadata import SubmissionSet
from tests.dmp.builders import (
    MESSAGE_ID,
    assertion,
    call_of,
    inlined,
    our_schema,
    read,
    request_of,
    signature_of,
    submission,
)
from tests.xds.builders import DOCUMENT, IMAGING, RAW, entry_of, submission_of

OLD = "urn:uuid:7f8d3b1e-3f0a-4b57-9f2e-111111111111"


def sent(seal: Seal, **options: object) -> SubmissionSet:
    message = read(request_of(seal, **options))  # type: ignore[arg-type]
    assert message.body is not None
    (found,) = parse(etree.tostring(message.body))
    return found


def test_the_envelope(seal: Seal) -> None:
    out = request_of(seal)
    assert (out.action, out.message_id) == (ACTION, MESSAGE_ID)
    message = read(out)
    assert message.addressing("Action") == ACTION
    assert message.addressing("To").endswith("/repository")
    security = message.header("Security", WSSE)
    assert security is not None
    assert assertion(seal) in out.parts[1]
    our_schema().assertValid(message.envelope)


def test_metadata_and_documents_arrive(seal: Seal) -> None:
    message = read(request_of(seal))
    assert message.body is not None
    (found,) = parse(etree.tostring(message.body))
    documents = {each.get("id"): included(each, message) for each in message.body.iterfind(f"{{{XDS}}}Document")}
    assert [entry.entry_uuid for entry in found.entries] == list(documents)
    for entry in found.entries:
        content = bytes(documents[entry.entry_uuid])
        assert (entry.hash, entry.size) == (hashlib.sha1(content).hexdigest(), len(content))
    assert bytes(documents["Document01"]) == RAW
    assert found.entries[0] == submission().entries[0]
    assert [association.type.rpartition(":")[2] for association in found.associations] == ["signs"]


def test_the_document_is_sent_as_it_is_not_copied(seal: Seal) -> None:
    assert any(part is RAW for part in request_of(seal).parts)


def test_without_signature(seal: Seal) -> None:
    found = sent(seal, signed=False)
    assert len(found.entries) == 1
    assert found.associations == ()
    our_schema().assertValid(read(request_of(seal, signed=False)).envelope)


def test_a_replacement(seal: Seal) -> None:
    out = request_of(seal, associations=(replacement("Document01", replaced_entry_uuid=OLD),))
    message = read(out)
    our_schema().assertValid(message.envelope)
    assert message.body is not None
    (found,) = parse(etree.tostring(message.body))
    types = {each.type.rpartition(":")[2]: (each.source, each.target) for each in found.associations}
    assert types["RPLC"] == ("Document01", OLD)
    assert types["signs"] == (found.entries[1].entry_uuid, found.entry_uuid)


def test_imaging(seal: Seal) -> None:
    """SC.DB/PFI.01: accession, order and study in referenceIdList; act, modality and region in eventCodeList."""
    raw_entry = read(request_of(seal, IMAGING)).body
    assert raw_entry is not None
    entry = parse(etree.tostring(raw_entry))[0].entries[0]
    kinds = [reference.rpartition("^")[2].rpartition(":")[2] for reference in entry.reference_ids]
    assert kinds == ["accession", "order", "accession", "studyInstanceUID", "studyInstanceUID"]
    assert [code.code for code in entry.event_codes] == ["24727-0", "ACQH004", "CT", "774007", "36235-0"]
    our_schema().assertValid(read(request_of(seal, IMAGING)).envelope)


def test_two_documents(seal: Seal) -> None:
    other = evolve(DOCUMENT, id=evolve(DOCUMENT.id, extension="A2"), raw=RAW + b"<!-- 2 -->")
    entries = (
        entry_of(DOCUMENT, target="dmp", entry_uuid="Document01"),
        entry_of(other, target="dmp", entry_uuid="Document02"),
    )
    chosen = submission_of(*entries)
    documents = (RAW, other.raw)
    signature = signature_of(chosen, documents, seal)
    message = read(provide_and_register(chosen, documents, call_of(seal), signature=signature))
    our_schema().assertValid(message.envelope)
    assert len(message.attachments) == 3
    with pytest.raises(ValueError, match="shorter"):
        provide_and_register(chosen, (RAW,), call_of(seal), signature=None)


def test_a_value_that_does_not_fit(seal: Seal) -> None:
    chosen = evolve(submission(), source_id="1." * 200)
    with pytest.raises(Rejected):
        provide_and_register(chosen, (RAW,), call_of(seal), signature=None)


def test_a_deletion(seal: Seal) -> None:
    out = update.delete(submission(), OLD, call_of(seal, "registry"))
    message = read(out)
    assert out.content_type == f'application/soap+xml; charset=UTF-8; action="{update.ACTION}"'
    assert message.addressing("Action") == "urn:ihe:iti:2010:UpdateDocumentSet"
    our_schema().assertValid(message.envelope)
    assert message.body is not None
    (found,) = parse(etree.tostring(message.body))
    assert found.entries == ()
    (association,) = found.associations
    assert (association.type, association.source, association.target) == (update.UPDATE_STATUS, found.entry_uuid, OLD)
    assert association.slots == (
        ("OriginalStatus", ("urn:oasis:names:tc:ebxml-regrep:StatusType:Approved",)),
        ("NewStatus", ("urn:asip:ci-sis:2010:StatusType:Deleted",)),
    )


def test_nothing_masks_or_archives() -> None:
    functions = {
        name for name, value in vars(update).items() if callable(value) and value.__module__ == update.__name__
    }
    assert functions == {"delete"}


def test_the_published_schemas_accept_each_request(seal: Seal, shared: Path) -> None:
    schema = etree.XMLSchema(etree.parse(shared / "xsd/xds/IHE/IHEXDSB.xsd"))
    rplc = (replacement("Document01", replaced_entry_uuid=OLD),)
    for out in (request_of(seal), request_of(seal, IMAGING, associations=rplc), request_of(seal, signed=False)):
        schema.assertValid(inlined(read(out)))
    for out in (update.delete(submission(), OLD, call_of(seal)), query.get_documents("1.2^A'B", call_of(seal))):
        body = read(out).body
        assert body is not None
        schema.assertValid(etree.fromstring(etree.tostring(body)))


def test_official_documents(seal: Seal, shared: Path) -> None:
    published = etree.XMLSchema(etree.parse(shared / "xsd/xds/IHE/IHEXDSB.xsd"))
    ours = our_schema()
    fed = 0
    for path in sorted((shared / "vectors/cda").glob("*.xml")):
        document, _ = cda.read_tree(path.read_bytes())
        try:
            entry = document_entry(document, target="dmp", entry_uuid="Document01", test_platform=True)
        except Rejected:
            continue  # not for the DMP, or wrong in its metadata: from_cda's tests say which
        chosen = submission_of(entry)
        signature = signature_of(chosen, (document.raw,), seal)
        message = read(provide_and_register(chosen, (document.raw,), call_of(seal), signature=signature))
        ours.assertValid(message.envelope)
        published.assertValid(inlined(message))
        fed += 1
    assert fed >= 8
