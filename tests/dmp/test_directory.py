from __future__ import annotations

import pytest

from pfiflow.cda.values import Code
from pfiflow.dmp.directory import Directory, person_key, structure_key
from pfiflow.dmp.vihf import AUTOMATE
from pfiflow.errors import ConfigErrors

PROFESSIONALS = """\ufeff# directory of the hospital
professional;profession;profession_label;specialty;specialty_label;remark
10001234567;10;Médecin;SM26;"Médecine générale; libérale";x
810009876543;60;Infirmier;;

310123456/77;21;Pharmacien;H;Pharmacien hospitalier
899;96;Autre;
"""
STRUCTURES = "structure,sector\n120456789,SA01\n1120450000,SA41^1.2.250.1.71.4.2.4\n12345678901234,SA07\n"


def test_roles_and_sectors() -> None:
    directory = Directory.load(PROFESSIONALS, STRUCTURES)
    doctor = (
        Code("10", "1.2.250.1.71.1.2.7", "Médecin"),
        Code("SM26", "1.2.250.1.71.4.2.5", "Médecine générale; libérale"),
    )
    assert directory.roles("10001234567") == directory.roles("810001234567") == doctor
    assert directory.roles(" 10009876543 ") == (Code("60", "1.2.250.1.71.1.2.7", "Infirmier"),)
    assert directory.roles("310123456/77")[1].system == "1.2.250.1.71.4.2.6"
    assert directory.roles("nobody") == directory.roles("") == (AUTOMATE,)
    assert directory.sector("1120456789") == directory.sector("120456789") == "SA01^1.2.250.1.71.4.2.4"
    assert directory.sector("120450000") == "SA41^1.2.250.1.71.4.2.4"
    assert directory.sector("312345678901234") == "SA07^1.2.250.1.71.4.2.4"
    assert directory.sector("unknown") == ""
    assert directory.sector("unknown", "SA01^x") == "SA01^x"


def test_other_systems() -> None:
    text = "professional,profession,profession_system,specialty,specialty_system\n1,A,1.2.3,B,1.2.4\n"
    assert Directory.load(text).roles("1") == (Code("A", "1.2.3"), Code("B", "1.2.4"))


def test_no_files() -> None:
    assert Directory.load() == Directory()
    assert Directory().roles("1") == (AUTOMATE,)


def test_every_wrong_line_with_its_place() -> None:
    people = "professional;profession\n1;10\n2;\n10001234567;10\n810001234567;10\n"
    places = "# comment\nstructure;sectors\n1;SA01\n"
    with pytest.raises(ConfigErrors) as caught:
        Directory.load(people, places, professionals_file="people.csv", structures_file="places.csv")
    assert [(error.file, error.line) for error in caught.value.errors] == [
        ("people.csv", 3),
        ("people.csv", 5),
        ("places.csv", 2),
    ]
    assert "810001234567" not in str(caught.value)


def test_a_cell_over_several_lines() -> None:
    with pytest.raises(ConfigErrors, match="several lines"):
        Directory.load('professional;profession\n"1\n2";10\n')


def test_national_forms() -> None:
    assert person_key("10001234567") == "810001234567"
    assert person_key("810001234567") == "810001234567"
    assert structure_key("120456789") == "1120456789"
    assert structure_key("2A0000001") == "12A0000001"
    assert structure_key("1120456789") == "1120456789"
