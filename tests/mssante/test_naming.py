from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.mssante.naming import ascii_fold, pdf_name, subject


def test_the_subject_of_the_rule() -> None:
    label = "Lettre de liaison à la sortie d’un établissement de soins"
    assert (
        subject([label], family="Vial", given="Paul", birth_date="19781126")
        == "XDM/1.0/DDM+Lettre de liaison a la sortie d'un etabl VIAL Paul 26/11/1978"
    )


def test_several_documents_are_counted() -> None:
    assert (
        subject(["CR", "CR"], family="VIAL", given="Paul", birth_date="197811260000")
        == "XDM/1.0/DDM+2 documents VIAL Paul 26/11/1978"
    )


@pytest.mark.parametrize("birth_date", ["", "1978", "197811", "1978-11-26", "٠١٢٣٤٥٦٧"])
def test_a_partial_birth_date_is_left_out(birth_date: str) -> None:
    assert subject(["CR"], family="VIAL", given="Paul", birth_date=birth_date) == "XDM/1.0/DDM+CR VIAL Paul"


def test_folding() -> None:
    assert ascii_fold("  Œuvre\r\nnaïve\u00a0— «œdème»  ß İ ł Ž") == 'OEuvre naive - "oedeme" ss I l Z'
    assert ascii_fold("日本") == ""
    assert ascii_fold("a\x00b") == "a b"


def test_the_label_is_cut_after_folding() -> None:
    assert subject(["œ" * 30], family="V", given="P") == f"XDM/1.0/DDM+{'oe' * 20} V P"


@given(st.text(), st.text(), st.text(), st.text())
def test_a_subject_is_one_line_of_ascii(label: str, family: str, given_name: str, birth: str) -> None:
    line = subject([label], family=family, given=given_name, birth_date=birth)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 200


def test_the_name_of_the_rule() -> None:
    assert (
        pdf_name("20150802", "CR d'examens biologiques", "Vial", "Paul", "12150302014578")
        == "20150802_CR d'examens biologiques_VIAL_Paul_12150302014578.pdf"
    )
    assert (
        pdf_name("20150802101500+0200", "Prescription", "Léa-Zoé", "Éloïse")
        == "20150802_Prescription_LÉA-ZOÉ_Éloïse.pdf"
    )
    assert pdf_name("20150802", "œdème", "Léa", "Éloïse", ascii_only=True) == "20150802_oedeme_LEA_Eloise.pdf"


def test_what_file_systems_refuse_is_taken_out() -> None:
    name = pdf_name("20150802", 'a/b\\c:d*e?f"g<h>i|j_k', "N\r\nO\tM", "\u202efdp.exe", "..")
    assert name == "20150802_abcdefghij k_N O M_fdp.exe.pdf"


def test_an_act_without_a_day_is_refused() -> None:
    with pytest.raises(Rejected, match="yyyymmdd"):
        pdf_name("2015", "CR", "V", "P")


@given(st.text(), st.text(), st.text(), st.text(), st.booleans())
def test_a_name_is_always_usable(label: str, family: str, given_name: str, number: str, ascii_only: bool) -> None:
    name = pdf_name("20150802", label, family, given_name, number, ascii_only=ascii_only)
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|')
    assert len(name) <= 250
    assert name.count("_") <= 4
    assert not ascii_only or name.isascii()
