from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pfiflow.cda.document import read_tree
from pfiflow.cda.header import V3, Element, location
from pfiflow.cda.schema import MAX_PROBLEMS, SchemaChecker
from pfiflow.cda.xml import parse
from pfiflow.errors import ConfigError, Problem
from pfiflow.resources import schema_path
from tests.cda.samples import STRUCTURED, UNSTRUCTURED, bogus, drop, find, repeat

CHECKER = SchemaChecker()
ELEMENTS = [
    location(each).removeprefix("/ClinicalDocument")
    for each in parse(UNSTRUCTURED.encode()).iterdescendants()
    if "component" not in location(each)
]


def tree_of(text: str, edit: Callable[[Element], object]) -> Element:
    tree = parse(text.encode())
    edit(tree)
    return tree


def check(edit: Callable[[Element], object], checker: SchemaChecker = CHECKER) -> list[Problem]:
    found = list(checker.check(tree_of(UNSTRUCTURED, edit)))
    assert all(each.severity == "error" and each.rule == "CDA R2 schema" for each in found)
    assert "DUPONT" not in "".join(map(str, found))
    return found


def said(edit: Callable[[Element], object], checker: SchemaChecker = CHECKER) -> list[tuple[str, str]]:
    return [(each.code, each.location.removeprefix("/ClinicalDocument")) for each in check(edit, checker)]


@pytest.mark.parametrize("text", [UNSTRUCTURED, STRUCTURED])
def test_the_samples_are_valid(text: str) -> None:
    assert CHECKER.check(parse(text.encode())) == ()


def test_what_stands_in_the_body_is_not_judged() -> None:
    def edit(tree: Element) -> None:
        find(tree, "component/structuredBody").append(bogus())
        find(tree, "component/structuredBody").append(etree.Element("{other}thing"))

    assert CHECKER.check(tree_of(STRUCTURED, edit)) == ()


def _set(path: str, name: str, value: str = "DUPONT") -> Callable[[Element], object]:
    return lambda tree: find(tree, path).set(name, value)


MUTATIONS: list[tuple[Callable[[Element], object], str, str]] = [
    (drop("recordTarget"), "198", "/author"),
    (drop("custodian"), "198", "/legalAuthenticator"),
    (drop("id"), "198", "/code"),
    (drop("component"), "101", ""),
    (drop("typeId"), "198", "/templateId[1]"),
    (repeat("custodian"), "198", "/custodian[2]"),
    (repeat("id"), "198", "/id[2]"),
    (repeat("title"), "198", "/title[2]"),
    (lambda tree: tree.insert(5, bogus()), "198", "/bogus"),
    (lambda tree: find(tree, "recordTarget/patientRole/patient").append(bogus()), "198",
     "/recordTarget/patientRole/patient/bogus"),
    (lambda tree: find(tree, "title").append(bogus()), "198", "/title/bogus"),
    (lambda tree: tree.append(find(tree, "title")), "198", "/title"),
    (lambda tree: tree.insert(0, find(tree, "custodian")), "198", "/custodian"),
    (lambda tree: tree.insert(6, etree.Element("id", root="1.2")), "198", "/id"),
    (drop("author/time"), "198", "/author/assignedAuthor"),
    (drop("author/assignedAuthor/id"), "198", "/author/assignedAuthor/code"),
    (drop("recordTarget/patientRole"), "101", "/recordTarget"),
    (drop("componentOf/encompassingEncounter/effectiveTime"), "198", "/componentOf/encompassingEncounter/location"),
    (lambda tree: setattr(find(tree, "custodian"), "text", "DUPONT"), "198", "/custodian"),
    (lambda tree: find(tree, "participant").attrib.pop("typeCode"), "101", "/participant/@typeCode"),
    (lambda tree: find(tree, "relatedDocument").attrib.pop("typeCode"), "101", "/relatedDocument/@typeCode"),
    (_set("relatedDocument", "typeCode"), "102", "/relatedDocument/@typeCode"),
    (_set("recordTarget", "typeCode"), "102", "/recordTarget/@typeCode"),
    (_set("recordTarget", "DUPONT".lower()), "198", "/recordTarget/@dupont"),
    (_set("effectiveTime", "value"), "102", "/effectiveTime/@value"),
    (_set("versionNumber", "value"), "102", "/versionNumber/@value"),
    (_set("id", "root", "1.2.DUPONT"), "102", "/id/@root"),
    (_set("code", "code", "DUPONT MARTIN"), "102", "/code/@code"),
    (_set("code", "displayName", ""), "102", "/code/@displayName"),
    (_set("code", "nullFlavor"), "102", "/code/@nullFlavor"),
    (_set("recordTarget/patientRole/telecom", "use", "H DUPONT"), "102", "/recordTarget/patientRole/telecom/@use"),
    (_set("recordTarget/patientRole/addr", "use"), "102", "/recordTarget/patientRole/addr/@use"),
    (_set("recordTarget/patientRole/patient/name/family", "qualifier"), "102",
     "/recordTarget/patientRole/patient/name/family[1]/@qualifier"),
    (_set("languageCode", "codeSystem", "1.2"), "198", "/languageCode/@codeSystem"),
    (_set("code", "{http://www.w3.org/2001/XMLSchema-instance}type"), "102", "/code/@type"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "code", "where"), MUTATIONS)
def test_a_mutation_is_caught_and_placed(edit: Callable[[Element], object], code: str, where: str) -> None:
    assert (code, where) in said(edit)


@pytest.mark.parametrize(("edit", "code", "where"), MUTATIONS)
def test_lxml_alone_places_it_too(edit: Callable[[Element], object], code: str, where: str) -> None:
    """As it does for a schema that xmlschema cannot build."""
    assert (code, where) in said(edit, SchemaChecker(schema_path("cda-header.xsd")))


def test_every_problem_is_said_at_once() -> None:
    def edit(tree: Element) -> None:
        tree.insert(0, bogus())
        find(tree, "custodian").clear()
        find(tree, "participant").set("bogus", "DUPONT")
        find(tree, "effectiveTime").set("value", "DUPONT")

    assert set(said(edit)) == {
        ("198", "/bogus"),
        ("101", "/custodian"),
        ("198", "/participant/@bogus"),
        ("102", "/effectiveTime/@value"),
    }


def test_an_explanation_says_what_was_expected() -> None:
    (problem,) = check(drop("recordTarget"))
    assert problem.message == "This element is not expected here; expected recordTarget."
    (problem,) = check(_set("relatedDocument", "typeCode"), SchemaChecker(schema_path("cda-header.xsd")))
    assert "does not have the form" in problem.message


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("recordTarget/patientRole/patient/name", "{urn:hl7-org:sdtc}desc"),
        ("recordTarget/patientRole/patient/birthTime", "{urn:hl7-org:sdtc}deceasedInd"),
        ("documentationOf/serviceEvent/code", "{urn:oid:1.3.6.1.4.1.19376.1.3.2}statusCode"),
        ("inFulfillmentOf/order/id", "{urn:dicom-org:ps3-20}accessionNumber"),
        ("component", "{urn:hl7-org:sdtc}statusCode"),
    ],
)
def test_extensions_stand_where_the_ci_sis_puts_them(path: str, name: str) -> None:
    assert check(lambda tree: find(tree, path).addnext(etree.Element(name))) == []


def test_foreign_attributes_are_allowed() -> None:
    def edit(tree: Element) -> None:
        find(tree, "code").set("{urn:hl7-org:sdtc}valueSet", "1.2.3")
        tree.set("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation", "urn:hl7-org:v3 ../CDA.xsd")

    assert check(edit) == []


def test_a_type_may_be_named() -> None:
    name = "{http://www.w3.org/2001/XMLSchema-instance}type"
    assert check(_set("author/time", name, "IVL_TS")) == []
    assert check(_set("code", name, "CE")) == []


def test_a_document_inside_a_wrapper_is_judged_alone() -> None:
    inner = UNSTRUCTURED[UNSTRUCTURED.index("<ClinicalDocument") :]
    wrapped = (
        f'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Object>{inner}</ds:Object></ds:Signature>'
    )
    _, tree = read_tree(wrapped.encode())
    assert CHECKER.check(tree) == ()
    find(tree, "custodian").append(bogus())
    for checker in (CHECKER, SchemaChecker(schema_path("cda-header.xsd"))):
        assert [each.location for each in checker.check(tree)] == ["/ClinicalDocument/custodian/bogus"]


def test_a_prefixed_document_is_judged_alike() -> None:
    text = UNSTRUCTURED.replace("<", "<c:").replace("<c:/", "</c:").replace("<c:?", "<?").replace("xmlns=", "xmlns:c=")
    text = text.replace("c:ps3-20:", "ps3-20:")
    for checker in (CHECKER, SchemaChecker(schema_path("cda-header.xsd"))):
        tree = parse(text.encode())
        assert checker.check(tree) == ()
        find(tree, "custodian").append(bogus())
        assert [each.location for each in checker.check(tree)] == ["/ClinicalDocument/custodian/bogus"]


def test_the_number_of_problems_is_bounded() -> None:
    def edit(tree: Element) -> None:
        for _ in range(500):
            find(tree, "recordTarget/patientRole/telecom").addnext(etree.Element(V3 + "telecom", bogus="x"))

    assert len(check(edit)) == MAX_PROBLEMS


@pytest.mark.parametrize(("number", "reported"), [(9_000, MAX_PROBLEMS), (60_000, 1), (200_000, 1)])
def test_a_document_made_to_be_long_is_explained_in_a_moment(number: int, reported: int) -> None:
    """lxml alone would take half a minute for the second."""
    tree = parse(UNSTRUCTURED.encode())
    telecom = find(tree, "recordTarget/patientRole/telecom")
    for _ in range(number):
        telecom.addnext(etree.Element(V3 + "telecom", bogus="x"))
    for checker in (CHECKER, SchemaChecker(schema_path("cda-header.xsd"))):
        start = time.thread_time()
        found = checker.check(tree)
        assert time.thread_time() - start < 5
        assert len(found) == reported
        assert found[-1].location.endswith("telecom/@bogus" if number > 10_000 else "]/@bogus")


def test_a_long_and_valid_document_is_valid() -> None:
    tree = parse(STRUCTURED.encode())
    section = find(tree, "component/structuredBody/component/section")
    for _ in range(20_000):
        section.append(etree.Element(V3 + "entry"))
    assert CHECKER.check(tree) == ()


def test_threads_share_a_checker() -> None:
    checker = SchemaChecker()
    found: list[int] = []

    def work(number: int) -> None:
        tree = tree_of(UNSTRUCTURED, drop("custodian")) if number % 2 else parse(UNSTRUCTURED.encode())
        found.extend(len(checker.check(tree)) - number % 2 for _ in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 120


def test_xmlschema_is_imported_only_to_explain() -> None:
    script = (
        "import sys\n"
        "from pfiflow.cda.schema import SchemaChecker\n"
        "from pfiflow.cda.xml import parse\n"
        "from tests.cda.samples import UNSTRUCTURED\n"
        "assert SchemaChecker().check(parse(UNSTRUCTURED.encode())) == ()\n"
        "assert 'xmlschema' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_an_unusable_schema_is_a_setting_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xsd"
    broken.write_text("<schema")
    for path in (broken, tmp_path / "absent.xsd"):
        with pytest.raises(ConfigError) as caught:
            SchemaChecker(path).check(parse(UNSTRUCTURED.encode()))
        assert caught.value.file == str(path)


@cache
def _second_engine() -> xmlschema.XMLSchema10:
    return xmlschema.XMLSchema10(str(schema_path("cda-header.xsd")), allow="local")


@settings(max_examples=100, deadline=5_000)
@given(st.data())
def test_lxml_and_xmlschema_give_the_same_verdict(data: st.DataObject) -> None:
    """Two engines, one schema: what one refuses the other explains; what one accepts the other accepts."""
    tree = parse(UNSTRUCTURED.encode())
    elements = [each for each in tree.iterdescendants() if "component/" not in location(each)]
    element = data.draw(st.sampled_from(elements))
    match data.draw(st.sampled_from(["drop", "repeat", "bogus", "attribute", "move"])):
        case "drop" if (parent := element.getparent()) is not None:
            parent.remove(element)
        case "repeat":
            element.addnext(etree.fromstring(etree.tostring(element, with_tail=False)))
        case "bogus":
            element.addnext(bogus())
        case "move" if (parent := element.getparent()) is not None:
            parent.append(element)
        case _:
            element.set("value", "DUPONT")
    assert (CHECKER.check(tree) == ()) == _second_engine().is_valid(tree, use_location_hints=False)


def _official_checker(shared: Path) -> SchemaChecker:
    return SchemaChecker(shared / "xsd" / "cda" / "CDA_extended.xsd")


def test_official_documents_are_valid_under_both_schemas(shared: Path) -> None:
    full = _official_checker(shared)
    for file in sorted((shared / "vectors" / "cda").glob("*.xml")):
        _, tree = read_tree(file.read_bytes())
        assert CHECKER.check(tree) == (), file.name
        assert full.check(tree) == (), file.name


@pytest.mark.parametrize(("edit", "code", "where"), MUTATIONS)
def test_the_official_schema_refuses_the_same_mutations(
    shared: Path, edit: Callable[[Element], object], code: str, where: str
) -> None:
    assert (code, where) in said(edit, _official_checker(shared))


def test_verdicts_on_header_mutations_agree_with_the_official_schema(shared: Path) -> None:
    """Every element of the header dropped, repeated, moved to the end of its parent, and followed by an unknown one."""
    full = _official_checker(shared)
    edits: list[Callable[[Element], object]] = []

    def at(place: str, edit: Callable[[Element], object]) -> Callable[[Element], object]:
        steps = place.strip("/").replace("ps3-20:", "ps3-20-")
        path = "/".join(
            f"ps3-20:{step[7:]}" if step.startswith("ps3-20-") else f"v3:{step}" for step in steps.split("/")
        )

        def apply(tree: Element) -> None:
            element = tree.find(path, {"v3": "urn:hl7-org:v3", "ps3-20": "urn:dicom-org:ps3-20"})
            assert element is not None
            edit(element)

        return apply

    def remove(element: Element) -> None:
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)

    def move(element: Element) -> None:
        parent = element.getparent()
        assert parent is not None
        parent.append(element)

    def copy(element: Element) -> None:
        element.addnext(etree.fromstring(etree.tostring(element, with_tail=False)))

    for place in ELEMENTS:
        edits += [at(place, remove), at(place, copy), at(place, move), at(place, lambda each: each.addnext(bogus()))]
    refused = 0
    for number, edit in enumerate(edits):
        ours, theirs = (not checker.check(tree_of(UNSTRUCTURED, edit)) for checker in (CHECKER, full))
        assert ours == theirs, f"edit {number % 4} of {ELEMENTS[number // 4]}"
        refused += not ours
    assert refused > len(ELEMENTS)
