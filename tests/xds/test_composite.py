from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.xds.composite import (
    LONGEST,
    PERSON_ROOT,
    cx,
    cxi,
    escape,
    fit,
    national_organization_id,
    national_person_id,
    one_line,
    xcn,
    xon,
    xtn,
)


def unescape(text: str) -> str:
    plain = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
    return re.sub(r"\\([FSTRE])\\", lambda match: plain[match[1]], text)


def test_a_professional() -> None:
    person = xcn("810001234567", "DUPONT", "Jeanne", authority=PERSON_ROOT, name_type="D", id_type="IDNPS")
    assert person == "810001234567^DUPONT^Jeanne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    components = person.split("^")
    assert components[8] == "&1.2.250.1.71.4.2.1&ISO"  # XCN-9
    assert components[9] == "D"  # XCN-10
    assert components[12] == "IDNPS"  # XCN-13


def test_a_professional_without_identifier() -> None:
    assert xcn("", "DUPONT", "Jeanne", authority=PERSON_ROOT, name_type="D", id_type="") == ("^DUPONT^Jeanne^^^^^^^D")
    assert xcn("", "", "", authority=PERSON_ROOT, name_type="D", id_type="") == ""


def test_an_organisation() -> None:
    assert xon("CH", "1120459876") == "CH^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1120459876"
    assert xon("", "1120459876") == "^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1120459876"
    assert xon("CH", "") == "CH"
    assert xon("", "") == ""
    assert xon("Editeur", "123456789", authority="1.3.2") == "Editeur^^^^^&1.3.2&ISO^SIREN^^^123456789"
    assert xon("CH", "9", authority="1.9").split("^")[6] == "XX"


def test_patients_and_references() -> None:
    assert cx("279", "1.2.250.1.213.1.4.8", "NH") == "279^^^&1.2.250.1.213.1.4.8&ISO^NH"
    assert cxi("A", "1.2", "urn:x") == "A^^^&1.2&ISO^urn:x"
    assert cxi("1.2.3", "", "urn:x") == "1.2.3^^^^urn:x"
    assert xtn("a@b.mssante.fr") == "^^Internet^a@b.mssante.fr"
    assert xtn("") == ""


@pytest.mark.parametrize(
    ("identifier", "kind", "national"),
    [
        ("10001234567", "RPPS", "810001234567"),
        ("810001234567", "RPPS", "810001234567"),
        ("123456789", "ADELI", "0123456789"),
        ("810001234567", "IDNPS", "810001234567"),
    ],
)
def test_a_bare_person_number_becomes_national(identifier: str, kind: str, national: str) -> None:
    assert national_person_id(identifier, kind) == national


@pytest.mark.parametrize(
    ("identifier", "kind", "national"),
    [
        ("300017985", "FINEG", "1300017985"),
        ("300017985", "finej", "1300017985"),
        ("1300017985", "FINEG", "1300017985"),
        ("123456789", "SIREN", "2123456789"),
        ("12345678901234", "SIRET", "312345678901234"),
        ("300017985", "IDNST", "300017985"),
    ],
)
def test_a_bare_structure_number_becomes_national(identifier: str, kind: str, national: str) -> None:
    assert national_organization_id(identifier, kind) == national


def test_a_name_cannot_add_a_component() -> None:
    person = xcn("1", "DU^PONT|A", "J&e~a\\n", authority=PERSON_ROOT, name_type="D", id_type="IDNPS")
    assert person.count("^") == 12
    assert person.split("^")[1:3] == ["DU\\S\\PONT\\F\\A", "J\\T\\e\\R\\a\\E\\n"]


def test_a_line_break_cannot_stand_in_a_value() -> None:
    assert one_line(" a\r\n\tb\x00c\ud800\uffff ") == "a b c"


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_names_keep_their_place_and_their_limits(organization: str, family: str, first: str) -> None:
    person = xcn("810001234567", family, first, authority=PERSON_ROOT, name_type="D", id_type="IDNPS")
    assert len(person) <= LONGEST
    assert person.count("^") == 12
    assert person.endswith("^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS")
    assert one_line(family).startswith(unescape(person.split("^")[1]).rstrip())
    institution = xon(organization, "1120459876")
    assert len(institution) <= LONGEST
    assert institution.count("^") == 9
    assert institution.count("&") == 2


@given(st.text())
def test_escaping_can_be_undone(text: str) -> None:
    assert unescape(escape(text)) == one_line(text)
    assert not set("|^&~") & set(escape(text))


@given(st.text(), st.integers(0, 50))
def test_what_is_cut_never_ends_inside_an_escape(text: str, room: int) -> None:
    cut = fit(text, room)
    assert len(cut) <= room
    assert cut.count("\\") % 2 == 0
