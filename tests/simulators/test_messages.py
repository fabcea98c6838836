"""The generator: valid, deterministic, of any size, and the committed examples are its output."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import pypdf
import pytest
from lxml import etree

from pfiflow.cda import document as cda
from pfiflow.cda import rules as cda_rules
from pfiflow.cda.identity import has_valid_key
from pfiflow.cda.values import INS_ROOTS
from pfiflow.segur.rules import (
    check_destinations,
    check_document,
    check_identity,
    check_recipients,
    check_type,
    dmp_refusal,
    patient_mail_refusal,
)
from pfiflow.segur.transmission import read
from pfiflow.simulators.messages import document, examples, main, message, patient
from pfiflow.simulators.paper import GLYPHS, pdf

Level = Literal["N1", "N3"]
EXAMPLES = Path(__file__).parents[2] / "examples" / "messages"


@pytest.mark.parametrize("name", examples())
def test_the_examples_break_no_rule(name: str) -> None:
    transmission = read(examples()[name])
    header, tree = cda.read_tree(transmission.document)
    assert transmission.warnings == ()
    assert check_destinations(transmission, "strict") == ()
    assert check_identity(transmission, header) == ()
    assert check_document(transmission, header) == ()
    assert check_type(transmission, header) == ()
    assert check_recipients(transmission) == ()
    assert cda_rules.check(header, tree, test_platform=True) == ()
    assert patient_mail_refusal(transmission, test_platform=True) is None
    assert dmp_refusal(transmission, test_platform=True) is None
    assert header.patient.has_five_traits()


def test_the_committed_examples_are_fresh_and_small(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    made = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    kept = {each.name: each.read_bytes() for each in EXAMPLES.iterdir()}
    assert made == kept, "run: python -m pfiflow.simulators.messages examples/messages"
    assert max(map(len, kept.values())) <= 60_000


def test_a_wrong_command_line_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "OUT_DIR" in capsys.readouterr().err


@pytest.mark.parametrize("level", ["N1", "N3"])
@pytest.mark.parametrize("size", [0, 60_000, 2_000_000])
def test_documents_satisfy_the_schema_at_any_size(shared: Path, level: Level, size: int) -> None:
    schema = etree.XMLSchema(etree.parse(str(shared / "xsd" / "cda" / "CDA_extended.xsd")))
    parser = etree.XMLParser(huge_tree=True, resolve_entities=False)
    for options in ({}, {"pdf_copy": True}, {"extension": True}, {"replaces": document(number=1)}):
        made = document(level, number=2, patient=3, size=size, **options)
        schema.assertValid(etree.fromstring(made.data, parser))


@pytest.mark.parametrize("level", ["N1", "N3"])
@pytest.mark.parametrize("size", [20_000, 100_001, 1_000_000])
def test_the_size_is_met(level: Level, size: int) -> None:
    made = document(level, number=1, size=size)
    assert abs(len(made.data) - size) < 200


def test_fifty_megabytes() -> None:
    levels: tuple[Level, ...] = ("N1", "N3")
    for level in levels:
        made = document(level, number=1, size=50_000_000)
        assert abs(len(made.data) - 50_000_000) < 200
        assert len(message(made)) > 66_000_000


def test_same_arguments_same_bytes_and_other_seeds_others() -> None:
    def make(seed: int, number: int = 1) -> bytes:
        return message(document("N1", number=number, patient=7, size=30_000, seed=seed))

    assert make(1) == make(1)
    assert len({make(1), make(2), make(1, number=2)}) == 3


def test_what_the_header_says() -> None:
    first = document("N3", number=10, patient=6, pdf_copy=True, confidentiality="R")
    second = document("N3", number=11, patient=6, replaces=first)
    header, later = cda.read(first.data), cda.read(second.data)
    assert (header.id, header.set_id, header.version) == (first.id, first.set_id, "1")
    assert (header.level, header.confidentiality.code) == ("N3", "R")
    assert b"1.2.250.1.213.1.1.2.243" in first.data
    assert b"1.2.250.1.213.1.1.2.243" not in second.data
    assert (later.id, later.set_id, later.version, later.replaces) == (second.id, first.set_id, "2", first.id)
    who = patient(6)
    assert (header.patient.birth_family, header.patient.first_birth_given) == (who.family, who.given)
    assert [each.extension for each in header.patient.ids] == [who.matricule, who.ipp]


def test_patients_are_distinct_synthetic_and_right_in_their_keys() -> None:
    numbers = [*range(2_000), *range(5_000, 1_080_000, 1_009), 1_079_999]
    people = [patient(number) for number in numbers]
    assert len({each.matricule for each in people}) == len(numbers)
    assert len({each.family for each in people}) == len(numbers)
    assert all(has_valid_key(each.matricule) for each in people)
    assert all(each.family.startswith("PAT-") for each in people)
    assert any("2A" in each.matricule for each in people)
    assert any("2B" in each.matricule for each in people)
    header = cda.read(document(number=1, patient=1).data)
    assert not {each.root for each in header.patient.ids} & INS_ROOTS
    for number in (-1, 1_080_000):
        with pytest.raises(ValueError, match="numbered"):
            patient(number)


def test_the_pdf_reads_and_claims_what_it_is() -> None:
    text = "Compte rendu : " + "".join(GLYPHS)
    for size in (0, 50_000):
        data = pdf([text, "deuxième ligne"], size=size)
        assert b'pdfaid:part="1" pdfaid:conformance="B"' in data
        assert abs(len(data) - max(size, 8_200)) < 300
        (page,) = pypdf.PdfReader(io.BytesIO(data), strict=True).pages
        assert page.extract_text().split("\n")[0] == text.upper()
