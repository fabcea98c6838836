"""A structure, its seal's values, and a submission of one synthetic document."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from attrs import evolve
from lxml import etree

from pfiflow.cda.values import ClinicalDocument, Code
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.soap import Outgoing, SoapMessage, included, read_message
from pfiflow.dmp.submission import XDS, Call, provide_and_register
from pfiflow.dmp.vihf import Software, Vihf, sign
from pfiflow.dmp.xades import SignatureDocument, SignatureForm, sign_submission
from pfiflow.resources import schema_path
from pfiflow.xds.metadata import SubmissionSet
from tests.xds.builders import DOCUMENT, entry_of, submission_of

STRUCTURE = "1120459876"
NOW = datetime(2026, 1, 2, 3, 4, 6, 789000, tzinfo=UTC)
PATIENT_ID = "279035121518989^^^&1.2.250.1.213.1.4.8&ISO^NH"
PHYSICIAN = Code("10", "1.2.250.1.71.1.2.7", "Médecin")
GENERAL = Code("SM26", "1.2.250.1.71.4.2.5", 'Qualifié en médecine générale (SM) <&"')
SECTOR = "SA01^1.2.250.1.71.4.2.4"
VIHF = Vihf(
    structure=STRUCTURE,
    sector=SECTOR,
    name_id="810001234567",
    subject="MARTIN & <FILS> Paul",
    patient_id=PATIENT_ID,
    software=Software("pfiflow", "0.1.0", "HOMOLOGATION", "1.2.3"),
    roles=(PHYSICIAN, GENERAL),
    authenticated=datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC),
)
MESSAGE_ID = "urn:uuid:0b5c3bd4-64a3-4d9c-8f0e-3c1d9e0f7a11"
ASSERTION_ID = "_6d1c6f52-9c4d-4b4f-8e0e-0f6b8d8f2f10"


def assertion(seal: Seal, vihf: Vihf = VIHF, **options: Any) -> bytes:
    return sign(vihf, seal, **{"now": NOW, "assertion_id": ASSERTION_ID, **options})


def call_of(seal: Seal, service: str = "repository") -> Call:
    return Call(f"https://dmp.test/si-dmp-server/v2/services/{service}", MESSAGE_ID, assertion(seal))


def submission(document: ClinicalDocument = DOCUMENT, **options: Any) -> SubmissionSet:
    entry = entry_of(document, target="dmp", entry_uuid="Document01", hidden=("MASQUE_PS",))
    return submission_of(entry, **options)


def signature_of(
    submission: SubmissionSet, documents: tuple[bytes, ...], seal: Seal, form: SignatureForm = SignatureForm()
) -> SignatureDocument:
    return sign_submission(submission, documents, seal, now=NOW, unique_id="2.25.4242", form=form)


def request_of(seal: Seal, document: ClinicalDocument = DOCUMENT, *, signed: bool = True, **options: Any) -> Outgoing:
    chosen = submission(document, **options)
    documents = (document.raw,)
    signature = signature_of(chosen, documents, seal) if signed else None
    return provide_and_register(chosen, documents, call_of(seal), signature=signature)


def read(outgoing: Outgoing) -> SoapMessage:
    return read_message(outgoing.content_type, b"".join(outgoing.parts))


def our_schema(name: str = "dmp-request.xsd") -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(schema_path(name)))


def inlined(message: SoapMessage) -> etree._Element:
    """The body of ITI-41 with its documents as base64, as the published schema wants them."""
    assert message.body is not None
    body = etree.fromstring(etree.tostring(message.body))
    for document, original in zip(
        body.iterfind(f"{{{XDS}}}Document"), message.body.iterfind(f"{{{XDS}}}Document"), strict=True
    ):
        content = included(original, message)
        document.remove(document[0])
        document.text = base64.b64encode(content).decode()
    return body


def with_raw(raw: bytes, document: ClinicalDocument = DOCUMENT) -> ClinicalDocument:
    return evolve(document, raw=raw)
