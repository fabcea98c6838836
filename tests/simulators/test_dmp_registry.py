from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pfiflow.simulators.dmp_registry import RPLC, Registry
from pfiflow.simulators.documents import ORGANIZATION, document
from pfiflow.xds.metadata import Association
from tests.simulators.dmp_client import Sender, entry_of


def test_a_journal_is_read_again(dmp_sender: Sender, tmp_path: Path) -> None:
    journal = tmp_path / "registry.jsonl"
    registry = Registry(journal=journal, keep_documents=False)
    made = document(number=1)
    entry = entry_of(made)
    (first,) = registry.register(dmp_sender.submission(entry, unique_id="2.25.1"), (made.data,))
    newer = dmp_sender.submission(evolve(entry, unique_id="1.2.3"), unique_id="2.25.2")
    newer = evolve(newer, associations=(Association(RPLC, entry.entry_uuid, first.entry_uuid),))
    (second,) = registry.register(newer, (made.data,))
    registry.delete([second.entry_uuid], "2.25.3")
    assert all(each.document == b"" for each in registry.entries())

    again = Registry(journal=journal)
    assert again.submissions == registry.submissions == ("2.25.1", "2.25.2", "2.25.3")
    for old, new in zip(registry.entries(), again.entries(), strict=True):
        for name in ("entry_uuid", "unique_id", "status", "patient_id", "replaces", "replaced_by", "submission"):
            assert getattr(new, name) == getattr(old, name)
        assert new.structures == old.structures == (ORGANIZATION,)
        assert new.metadata.hash == entry.hash
    assert [each.status for each in again.entries()] == ["Deprecated", "Deleted"]


def test_entries_are_chosen(dmp_sender: Sender) -> None:
    registry = Registry()
    made = document(number=1, patient=1), document(number=2, patient=2)
    for each in made:
        registry.register(dmp_sender.submission(entry_of(each)), (each.data,))
    one = entry_of(made[0])
    assert [each.unique_id for each in registry.entries(patient=one.patient_id)] == [one.unique_id]
    assert registry.entries(patient=made[0].patient.matricule) == registry.entries(unique_id=one.unique_id)
    assert len(registry.entries(status="Approved")) == 2
    assert registry.entries(status="Deleted") == ()
    assert registry.entry("urn:uuid:x") is None


def test_patients_have_a_state() -> None:
    registry = Registry()
    assert registry.state("1^^^&1.2&ISO^NH") == "open"
    registry.close("1")
    assert registry.state("1^^^&1.2&ISO^NH") == "closed"
    registry.forget("1^^^&1.2&ISO^NH")
    assert registry.state("1") == "unknown"
    registry.open("1")
    assert registry.state("1") == "open"
    assert Registry(unlisted="unknown").state("1") == "unknown"
