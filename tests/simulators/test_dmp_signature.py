"""Each way of spoiling the signature of a submission is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from pfiflow.dmp import soap
from pfiflow.dmp.submission import provide_and_register
from pfiflow.dmp.xades import SignatureDocument, with_signature
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import ORGANIZATION
from pfiflow.xds.metadata import CodedValue
from tests.simulators.dmp_asking import METADATA, ask, fresh
from tests.simulators.dmp_client import Sender, entry_of, hashed, seal_of, unique


def spoilt(old: bytes, new: bytes) -> Callable[[SignatureDocument], SignatureDocument]:
    def spoil(signature: SignatureDocument) -> SignatureDocument:
        data = signature.data.replace(old, new)
        assert data != signature.data
        return SignatureDocument(data, hashed(signature.entry, data))

    return spoil


def described(**change: object) -> Callable[[SignatureDocument], SignatureDocument]:
    return lambda signature: evolve(signature, entry=evolve(signature.entry, **change))  # type: ignore[arg-type]


SIGNATURE: dict[str, Callable[[SignatureDocument], SignatureDocument]] = {
    "no null digest": spoilt(b">AA==<", b">AB==<"),
    "another purpose": spoilt(b"1.2.840.10065.1.12.1.14<", b"1.2.840.10065.1.12.1.1<"),
    "another manifest": spoilt(b"IHEManifest", b"OurManifest"),
    "a changed value": spoilt(b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    "no XML": spoilt(b"</ds:Signature>", b""),
    "another element": spoilt(b"ds:Signature>", b"ds:Signatures>"),
    "another time": spoilt(b"<xad:SigningTime>20", b"<xad:SigningTime>19"),
    "another language": described(language_code="fr-FR"),
    "visible": described(confidentiality_codes=(CodedValue("N", "2.16.840.1.113883.5.25", "Normal"),)),
    "no event": described(event_codes=()),
    "a wrong hash": described(hash="0" * 40),
}


@pytest.mark.parametrize("case", SIGNATURE)
def test_a_spoilt_signature_is_refused(service: Service, sender: Sender, case: str) -> None:
    made = fresh()
    request = sender.provide(sender.submission(entry_of(made)), (made.data,), spoil_signature=SIGNATURE[case])
    assert ask(service, request).codes == (METADATA,)
    assert service.registry.submissions == ()


def test_a_signature_of_something_else_is_refused(service: Service, sender: Sender, dmp_authority: Authority) -> None:
    made, other = fresh(), fresh()
    submission = sender.submission(entry_of(made))
    for request in (
        sender.provide(submission, (made.data,), signed_documents=(other.data,)),
        sender.provide(submission, (made.data,), signed_set=evolve(submission, unique_id=unique())),
        sender.provide(submission, (made.data,), signed_set=sender.submission(entry_of(other))),
    ):
        answer = ask(service, request)
        assert answer.codes == (METADATA,)
        assert all("signature" in error.context for error in answer.errors)
    colleague = evolve(sender, seal=seal_of(dmp_authority.issue_seal(ORGANIZATION)))
    message = soap.read_message((theirs := colleague.submit(made)).content_type, b"".join(theirs.parts))
    signature = bytes(list(message.attachments.values())[1])

    def exchanged(ours: SignatureDocument) -> SignatureDocument:
        return SignatureDocument(signature, hashed(ours.entry, signature))

    answer = ask(service, sender.provide(submission, (made.data,), spoil_signature=exchanged))
    assert any("not the VIHF's" in error.context for error in answer.errors)


def test_two_signatures_are_refused(service: Service, sender: Sender) -> None:
    made = fresh()
    submission = sender.submission(entry_of(made))

    def kept(signature: SignatureDocument) -> SignatureDocument:
        held.append(signature)
        return signature

    held: list[SignatureDocument] = []
    sender.provide(submission, (made.data,), spoil_signature=kept)
    twice = with_signature(submission, SignatureDocument(held[0].data, evolve(held[0].entry, entry_uuid="Signature02")))
    call = sender.call("repository", submission.patient_id)
    renamed = SignatureDocument(held[0].data, evolve(held[0].entry, unique_id=unique()))
    request = provide_and_register(twice, (made.data, held[0].data), call, signature=renamed)
    assert METADATA in ask(service, request).codes
