from __future__ import annotations

import csv
import threading
from pathlib import Path

import attrs
import pytest

import pfiflow.terminology as terminology
from pfiflow.errors import ConfigError
from pfiflow.terminology import Concept, Terminology, class_of, format_of_media_type, format_of_template, value_set

LOINC = "2.16.840.1.113883.6.1"
VALUE_SETS = [name for name in terminology.default().names() if name.startswith("JDV")]
ASSOCIATIONS = [name for name in terminology.default().names() if name.startswith("ASS")]


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_value_set_is_dated_sourced_and_whole(name: str) -> None:
    values = value_set(name)
    assert values.name == name
    assert values.oid.count(".") > 5
    assert len(values.version) == 8
    assert values.version.isdecimal()
    assert values.source
    assert len(values) == len(tuple(values)) > 0
    for concept in values:
        assert concept.code == concept.code.strip() != ""
        assert concept.system
        assert concept.display
        assert values.find(concept.code, concept.system) == concept
        assert concept in values
        assert concept.code in values


def test_a_value_set_is_found_by_name_or_oid() -> None:
    assert value_set("JDV_J07") is value_set("1.2.250.1.213.1.1.5.471")
    assert value_set("JDV_J07").find("11502-2") == Concept("11502-2", LOINC, "CR d'examens biologiques")
    assert value_set("JDV_J07").find("11502-2", "1.2.3") is None
    assert value_set("JDV_J07").find("DUPONT") is None
    assert "DUPONT" not in value_set("JDV_J07")
    assert 11502 not in value_set("JDV_J07")
    assert Concept("11502-2", "1.2.3") not in value_set("JDV_J07")


def test_the_same_code_in_two_systems_is_two_concepts() -> None:
    content_types = value_set("JDV_J59")
    first = content_types.find("11", "1.2.250.1.213.1.6.1.128")
    second = content_types.find("11", "1.2.250.1.213.2.2")
    assert first is not None
    assert second is not None
    assert first.display != second.display


@pytest.mark.parametrize("code", ["34895-3", "83963-9", "84067-8", "97694-4", "100967-9"])
def test_the_newest_types_are_known(code: str) -> None:
    assert value_set("JDV_J07").find(code, LOINC)


@pytest.mark.parametrize("name", ["JDV_J00", "ASS_X04", ""])
def test_an_unknown_value_set_is_a_setting_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        value_set(name)
    assert "JDV_J07" in caught.value.hint


def test_class_of_a_type() -> None:
    report = Concept("10", "1.2.250.1.213.1.1.4.1", "Compte rendu")
    assert class_of("11502-2") == class_of("11502-2", dmp=True) == report
    imaging = class_of("18748-4", dmp=True)
    assert imaging is not None
    assert imaging.code == "31"
    assert class_of("DUPONT") is None
    assert class_of("101881-1") is class_of("101881-1", dmp=True) is None  # named in JDV_J66, in no association


@pytest.mark.parametrize("code", ["28617-9", "34120-6", "60280-5", "78341-5", "89233-1"])
def test_gaps_of_the_dmp_association_are_filled_by_the_general_one(code: str) -> None:
    assert terminology.default().association("ASS_X16").get(code) is None
    assert code in value_set("JDV_J66")
    assert class_of(code, dmp=True) == class_of(code) is not None


def test_every_dmp_type_but_one_has_a_dmp_class() -> None:
    classless = {each.code for each in value_set("JDV_J66") if class_of(each.code, dmp=True) is None}
    assert classless == {"101881-1"}
    classes = {concept.code for each in value_set("JDV_J66") if (concept := class_of(each.code, dmp=True))}
    assert all(code in value_set("JDV_J57") for code in classes)


def test_format_of_a_template() -> None:
    laboratory = format_of_template(["2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1", "1.2.250.1.213.1.1.1.55"])
    assert laboratory is not None
    assert (laboratory.code, laboratory.system) == ("urn:ihe:lab:xd-lab:2008", "1.3.6.1.4.1.19376.1.2.3")
    assert laboratory in value_set("JDV_J60")
    assert format_of_template([]) is None
    assert format_of_template(["1.2.250.1.213.1.1.1.1"]) is None
    assert format_of_template(["1.3.6.1.4.1.19376.1.2.20"]) is None  # an N1: its media type decides


def test_a_french_model_wins_over_an_ihe_one_and_the_first_over_the_second() -> None:
    ihe, discharge, entry = "1.3.6.1.4.1.19376.1.3.3", "1.2.250.1.213.1.1.1.29", "1.2.250.1.213.1.1.1.21"
    for order, expected in (
        ([ihe, discharge], "urn:asip:ci-sis:ldl-ses:2017"),
        ([discharge, entry], "urn:asip:ci-sis:ldl-ses:2017"),
        ([entry, discharge], "urn:asip:ci-sis:ldl-ees:2017"),
        ([ihe], "urn:ihe:lab:xd-lab:2008"),
    ):
        found = format_of_template(iter(order))
        assert found is not None
        assert found.code == expected


def test_emergency_sheets_are_spelled_as_the_dmp_spells_them() -> None:
    for template in ("1.2.250.1.213.1.1.1.61", "1.2.250.1.213.1.1.1.62"):
        found = format_of_template([template])
        assert found is not None
        assert found in value_set("JDV_J60")


def test_format_of_a_media_type() -> None:
    found = format_of_media_type(" Application/PDF ")
    assert found is not None
    assert found.code == "urn:ihe:iti:xds-sd:pdf:2008"
    assert format_of_media_type("application/zip") is None
    assert format_of_media_type("") is None


def test_what_is_handed_out_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value_set("JDV_J07").version = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        terminology.default().association("ASS_X04").targets["x"] = Concept("x", "y")  # type: ignore[index]


def _overlay(folder: Path, manifest: str, **tables: str) -> Path:
    header = "name,kind,oid,version,title,source,note\n"
    (folder / "manifest.csv").write_text(header + manifest, encoding="utf-8")
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def test_an_overlay_replaces_and_adds_and_leaves_the_rest(tmp_path: Path) -> None:
    overlay = _overlay(
        tmp_path,
        "JDV_J07,value-set,1.2.250.1.213.1.1.5.471,20270101,types,ours,\nLOCAL,value-set,1.2.3,20270101,l,ours,\n"
        "ASS_X04,association,,20270101,classes,ours,\n",
        JDV_J07="code,system,display\nNEW,1.2.3,Nouveau\n",
        LOCAL='code,system,display\nA,1.2,"Un, deux"\n',
        ASS_X04="source_code,source_system,target_code,target_system,target_display\nNEW,1.2.3,10,1.2.4,CR\n",
    )
    tables = Terminology(overlay)
    assert [each.code for each in tables.value_set("JDV_J07")] == ["NEW"]
    assert tables.value_set("1.2.250.1.213.1.1.5.471").version == "20270101"
    assert tables.value_set("1.2.3").find("A") == Concept("A", "1.2", "Un, deux")
    assert tables.class_of("NEW") == Concept("10", "1.2.4", "CR")
    assert tables.value_set("JDV_J04") == value_set("JDV_J04")
    assert "11502-2" in value_set("JDV_J07")


@pytest.mark.parametrize(
    ("manifest", "table", "line"),
    [
        ("X,value-set,1.2.3,20270101,t,s", None, 2),
        ("X,thing,1.2.3,20270101,t,s,", None, 2),
        ("X,value-set,1.2.3,20270101,t,s,\nX,value-set,1.2.3,20270101,t,s,", None, 3),
        ("X,value-set,1.2.3,20270101,t,s,", "code;system\n", 1),
        ("X,value-set,1.2.3,20270101,t,s,", "code,system,display\na,b\n", 2),
        ("X,value-set,1.2.3,20270101,t,s,", "code,system,display\na,b,c\n,b,c\n", 3),
        ("X,value-set,1.2.3,20270101,t,s,", "code,system,display\na,b,c\na,b,d\n", 0),
        ("X,value-set,1.2.3,20270101,t,s,", "", 1),
        (
            "X,association,1.2.3,20270101,t,s,",
            "source_code,source_system,target_code,target_system,target_display\n",
            None,
        ),
        ("X,value-set,1.2.3,20270101,t,s,", 'code,system,display\n"a,b,c', 0),
    ],
)
def test_a_faulty_overlay_says_which_file_and_line(
    tmp_path: Path, manifest: str, table: str | None, line: int | None
) -> None:
    overlay = _overlay(tmp_path, manifest + "\n", **({} if table is None else {"X": table}))
    if line is None:  # an empty association is no fault
        assert len(Terminology(overlay).association("X")) == 0
        return
    with pytest.raises(ConfigError) as caught:
        Terminology(overlay).value_set("X")
    assert caught.value.file.endswith("manifest.csv" if table is None else "X.csv")
    assert caught.value.line == line


def test_an_ambiguous_association_is_refused(tmp_path: Path) -> None:
    header = "source_code,source_system,target_code,target_system,target_display\n"
    overlay = _overlay(tmp_path, "X,association,,1,t,s,\n", X=header + "a,,b,c,d\na,,e,c,d\n")
    with pytest.raises(ConfigError, match="twice"):
        Terminology(overlay).association("X")
    with pytest.raises(ConfigError, match="unknown association"):
        Terminology(overlay).association("Y")


def test_an_overlay_without_manifest_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        Terminology(tmp_path)


def test_threads_share_one_copy() -> None:
    tables = Terminology()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(id(tables.value_set("JDV_J01")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_shipped_tables_hold_every_official_code(shared: Path) -> None:
    """Against the flattened official files: nothing lost on the way, whatever was added."""
    missing: list[str] = []
    for file in sorted((shared / "jdv").glob("JDV_J*.csv")):
        name = "_".join(file.stem.split("_")[:2])
        for row in list(csv.reader(file.read_text(encoding="utf-8").splitlines()))[1:]:
            concept = value_set(name).find(row[0], None if name == "JDV_J59" else row[1])
            if concept is None or (name == "JDV_J07" and concept.display != row[2]):
                missing.append(f"{name} {row[0]}")
    assert missing == []
    for table, dmp in (
        ("ASS_X04_type_class_CISIS_v20250415.csv", False),
        ("ASS_X16_type_class_DMP_v20240223.csv", True),
    ):
        for pair in csv.DictReader((shared / "jdv" / table).read_text(encoding="utf-8").splitlines()):
            found = class_of(pair["typeCode"], dmp=dmp)
            assert found is not None
            assert found.code == pair["classCode"]
