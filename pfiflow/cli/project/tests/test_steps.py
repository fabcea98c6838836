"""Our own steps, in Python: a step is a function, and is tested like one."""

from pathlib import Path

from steps import note_type

from pfiflow import Exchange
from pfiflow.segur.transmission import read

MESSAGES = Path(__file__).parent.parent / "messages"


def test_the_type_of_the_document_is_noted_and_nothing_else_changes() -> None:
    before = Exchange("exchange-1", read((MESSAGES / "mdm_t02_operative.hl7").read_bytes()))
    after = note_type(before)
    assert [(note.event, dict(note.facts)) for note in after.notes] == [("document-type", {"type": "34874-8"})]
    assert after.body is before.body
