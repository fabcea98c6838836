"""Documents against their metadata."""

from __future__ import annotations

from attrs import evolve

from pfiflow.simulators.dmp_door import Settings
from pfiflow.simulators.dmp_service import Service
from pfiflow.xds.metadata import DocumentEntry
from tests.simulators.dmp_asking import METADATA, ask, fresh
from tests.simulators.dmp_client import Sender, entry_of, hashed


def test_documents_are_what_their_entries_say(service: Service, sender: Sender) -> None:
    made, other = fresh(), fresh(patient=1)
    cut = made.data[:-10]

    def provided(entry: DocumentEntry, content: bytes) -> tuple[str, ...]:
        return ask(service, sender.provide(sender.submission(hashed(entry, content)), (content,))).codes

    assert provided(entry_of(made), made.data.replace(b"</title>", b" </title>", 1)) == ()
    assert provided(evolve(entry_of(made), patient_id=entry_of(other).patient_id), made.data) == (
        "XDSPatientIdDoesNotMatch",
    )
    assert provided(evolve(entry_of(other), unique_id="1.2.3"), other.data) == (METADATA,)
    unsigned = Settings(signature="optional")
    service.settings = unsigned
    submission = sender.submission(hashed(entry_of(made), cut))
    assert ask(service, sender.provide(submission, (cut,), signed=False)).codes == ("InvalidDocumentContent",)
    service.settings = evolve(unsigned, documents=False)
    assert ask(service, sender.provide(sender.submission(hashed(entry_of(other), cut)), (cut,), signed=False)).succeeded


def test_two_documents_with_one_id_are_refused(service: Service, sender: Sender) -> None:
    made = fresh()
    entry = entry_of(made)
    submission = sender.submission(entry, evolve(entry, entry_uuid="Document02"))
    assert ask(service, sender.provide(submission, (made.data, made.data))).codes == (
        "XDSRepositoryDuplicateUniqueIdInMessage",
    )


def test_two_documents_of_one_submission(service: Service, sender: Sender) -> None:
    first, second = fresh(), fresh()
    submission = sender.submission(entry_of(first), evolve(entry_of(second), entry_uuid="Document02"))
    assert ask(service, sender.provide(submission, (first.data, second.data))).succeeded
    assert [entry.document for entry in service.registry.entries()] == [first.data, second.data]
