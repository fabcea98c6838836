from __future__ import annotations

import csv
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from lxml import etree

from pfiflow.cda.cardinalities import check_cardinalities
from pfiflow.cda.header import V3, Element
from tests.cda.samples import STRUCTURED, UNSTRUCTURED, bogus, drop, find, repeat

TABLE = list(
    csv.DictReader((files("pfiflow.cda") / "data" / "cardinalities.csv").read_text(encoding="utf-8").splitlines())
)


def check(edit: Callable[[Element], object], text: str = UNSTRUCTURED) -> list[tuple[str, str]]:
    tree = etree.fromstring(text.encode(), etree.XMLParser(remove_comments=True, remove_pis=True))
    edit(tree)
    found = list(check_cardinalities(tree))
    assert all(each.severity == "warning" for each in found)
    return [(each.code, each.location.removeprefix("/ClinicalDocument/")) for each in found]


def nothing(_tree: Element) -> None:
    """Leave the sample alone."""


@pytest.mark.parametrize("text", [UNSTRUCTURED, STRUCTURED])
def test_the_samples_keep_to_the_table(text: str) -> None:
    assert check(nothing, text) == []


def test_the_table_is_well_formed() -> None:
    assert len(TABLE) > 150
    for row in TABLE:
        assert row["element"]
        assert int(row["min"]) <= (99 if row["max"] == "*" else int(row["max"]))
        assert row["null"] in {"", "no"}
        assert all(part.partition("=")[2] for part in row["where"].split())
    keys = [(row["parent"], row["element"], row["where"]) for row in TABLE]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("realmCode", "realmCode[@code='FR']"),
        ("typeId", "typeId[@root='2.16.840.1.113883.1.3'][@extension='POCD_HD000040']"),
        ("templateId", "templateId[@root='2.16.840.1.113883.2.8.2.1']"),
        ("setId", "setId"),
        ("versionNumber", "versionNumber"),
        ("languageCode", "languageCode"),
        ("custodian", "custodian"),
        ("author", "author"),
        ("documentationOf/serviceEvent/effectiveTime/low", "documentationOf[1]/serviceEvent/effectiveTime/low"),
        (
            "documentationOf/serviceEvent/performer/assignedEntity/representedOrganization/standardIndustryClassCode",
            "documentationOf[1]/serviceEvent/performer/assignedEntity/representedOrganization/standardIndustryClassCode",
        ),
        ("legalAuthenticator/signatureCode", "legalAuthenticator/signatureCode[@code='S']"),
        ("legalAuthenticator/assignedEntity/id", "legalAuthenticator/assignedEntity/id"),
        (
            "legalAuthenticator/assignedEntity/assignedPerson/name/family",
            "legalAuthenticator/assignedEntity/assignedPerson/name/family",
        ),
        ("participant/time", "participant/time"),
        ("componentOf/encompassingEncounter/location", "componentOf/encompassingEncounter/location"),
        ("recordTarget/patientRole/patient/name/family", ""),
    ],
)
def test_what_is_missing_is_said(path: str, where: str) -> None:
    assert check(drop(path)) == ([("101", where)] if where else [])


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("setId", "setId"),
        ("custodian", "custodian"),
        ("relatedDocument", "relatedDocument[@typeCode='RPLC']"),
        ("recordTarget/patientRole/addr/city", "recordTarget/patientRole/addr/city"),
        ("author/assignedAuthor/code", "author/assignedAuthor/code"),
        ("author/assignedAuthor/assignedPerson/name/given", "author/assignedAuthor/assignedPerson/name/given"),
        ("legalAuthenticator/assignedEntity/id", "legalAuthenticator/assignedEntity/id"),
        ("inFulfillmentOf/order/id", "inFulfillmentOf[1]/order/id"),
        ("author", ""),
        ("documentationOf", ""),
        ("recordTarget/patientRole/id", ""),
    ],
)
def test_what_is_repeated_is_said_where_it_may_not(path: str, where: str) -> None:
    assert check(repeat(path)) == ([("198", where)] if where else [])


def test_copy_time_is_forbidden() -> None:
    assert check(lambda tree: tree.insert(13, bogus("copyTime"))) == [("198", "copyTime")]


def test_shapes_hold_wherever_they_stand() -> None:
    address = "<addr><city>A</city><city>B</city></addr>"

    def edit(tree: Element) -> None:
        find(tree, "author/assignedAuthor/code").addnext(etree.fromstring(f'<x xmlns="{V3[1:-1]}">{address}</x>')[0])

    assert check(edit) == [("198", "author/assignedAuthor/addr/city")]


@pytest.mark.parametrize(
    ("path", "flavor", "expected"),
    [
        ("setId", "UNK", [("101", "setId/@nullFlavor")]),
        ("setId", "XX", [("101", "setId/@nullFlavor"), ("103", "setId/@nullFlavor")]),
        ("recordTarget/patientRole/addr", "NAV", []),
        ("recordTarget/patientRole/addr", "OTH", [("103", "recordTarget/patientRole/addr/@nullFlavor")]),
        ("component/nonXMLBody/text", "OTH", []),
    ],
)
def test_null_flavors(path: str, flavor: str, expected: list[tuple[str, str]]) -> None:
    assert check(lambda tree: find(tree, path).set("nullFlavor", flavor)) == expected


def test_what_the_table_does_not_name_is_free() -> None:
    def edit(tree: Element) -> None:
        for parent in (tree, find(tree, "author"), find(tree, "recordTarget/patientRole")):
            parent.append(bogus())
            parent.append(etree.Element("{other}thing"))

    assert check(edit) == []


def test_official_documents_keep_to_the_table(shared: Path) -> None:
    for file in sorted((shared / "vectors" / "cda").glob("*.xml")):
        tree = etree.fromstring(file.read_bytes(), etree.XMLParser(remove_comments=True, remove_pis=True))
        assert list(check_cardinalities(tree)) == [], file.name


def test_the_table_says_what_the_official_extract_says(shared: Path) -> None:
    """Every row of the extract with a number to check is in ours, in its place or in a shape."""
    ours = {(row["parent"], row["element"]) for row in TABLE}
    for row in csv.DictReader(
        (shared / "spec" / "cda-header-cardinalities.csv").read_text(encoding="utf-8").splitlines()
    ):
        path = row["parent_path"].removeprefix("ClinicalDocument").lstrip("/")
        element = row["element"].partition("[")[0]
        if element == "accessionNumber":
            continue  # of a foreign namespace
        steps = path.split("/")
        places = {path, *("*/" + "/".join(steps[start:]) for start in range(len(steps)))}
        assert any((place, element) in ours for place in places), (path, element)
