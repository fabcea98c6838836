from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pfiflow.cda.document import read_tree
from pfiflow.cda.header import V3, Element
from pfiflow.cda.rules import MAX_PROBLEMS, check
from pfiflow.errors import Problem, Rejected
from pfiflow.terminology import Terminology
from tests.cda.samples import STRUCTURED, UNSTRUCTURED, changed, drop, edited, find

SECRETS = ("DUPONT", "PAT-TROIS", "DOMINIQUE", "279035121518989")


def problems(data: bytes, terminology: Terminology | None = None) -> list[Problem]:
    document, tree = read_tree(data)
    found = check(document, tree, terminology=terminology, test_platform=True)
    assert not any(secret in str(problem) for problem in found for secret in SECRETS)
    return list(found)


def said(data: bytes) -> list[tuple[str, str, str]]:
    return [(each.severity, each.code, each.location.removeprefix("/ClinicalDocument")) for each in problems(data)]


@pytest.mark.parametrize("text", [UNSTRUCTURED, STRUCTURED])
def test_the_samples_break_no_rule(text: str) -> None:
    assert problems(text.encode()) == []


EVENT = "/documentationOf[1]/serviceEvent"
ORGANIZATION = f"{EVENT}/performer/assignedEntity/representedOrganization"
FACILITY = "/componentOf/encompassingEncounter/location/healthCareFacility/code"
PDF = 'mediaType="application/pdf"'
STARTED = '<low value="20240108102500+0100"/><high value="20240108111700+0100"/>'


def _set(path: str, name: str, value: str) -> Callable[[Element], object]:
    return lambda tree: find(tree, path).set(name, value)


@pytest.mark.parametrize(
    ("edit", "code", "where"),
    [
        (drop("languageCode"), "101", "/languageCode/@code"),
        (drop("author"), "101", "/author/assignedAuthor"),
        (drop("author/assignedAuthor"), "101", "/author/assignedAuthor"),
        (drop("legalAuthenticator"), "101", "/legalAuthenticator/assignedEntity"),
        (drop("documentationOf/serviceEvent/effectiveTime"), "101", f"{EVENT}/effectiveTime/low/@value"),
        (
            _set("documentationOf/serviceEvent/effectiveTime/low", "value", "DUPONT"),
            "102",
            f"{EVENT}/effectiveTime/low/@value",
        ),
        (
            _set("documentationOf/serviceEvent/effectiveTime/high", "value", "DUPONT"),
            "102",
            f"{EVENT}/effectiveTime/high/@value",
        ),
        (drop("documentationOf/serviceEvent/performer"), "101", f"{ORGANIZATION}/standardIndustryClassCode/@code"),
        (
            _set("documentationOf/" + ORGANIZATION.partition("]/")[2] + "/standardIndustryClassCode", "codeSystem", ""),
            "101",
            f"{ORGANIZATION}/standardIndustryClassCode/@codeSystem",
        ),
        (drop("componentOf"), "101", f"{FACILITY}/@code"),
        (_set(FACILITY[1:], "codeSystem", ""), "101", f"{FACILITY}/@codeSystem"),
        (_set("confidentialityCode", "codeSystem", ""), "101", "/confidentialityCode/@codeSystem"),
        (_set("code", "code", "DUPONT"), "103", "/code/@code"),
        (
            _set("component/nonXMLBody/text", "mediaType", "application/zip"),
            "103",
            "/component/nonXMLBody/text/@mediaType",
        ),
        (_set("relatedDocument/parentDocument/id", "extension", "DOC-2"), "207", "/relatedDocument/parentDocument/id"),
        (
            _set("recordTarget/patientRole/id", "extension", "1234"),
            "102",
            "/recordTarget/patientRole/id[1]/@extension",
        ),
    ],
)
def test_what_makes_metadata_or_identity_impossible_is_an_error(
    edit: Callable[[Element], object], code: str, where: str
) -> None:
    found = said(edited(edit))
    assert found[0] == ("error", code, where)
    assert [each for each in found if each[0] == "error"] == found[:1]


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ([('versionNumber value="2"', 'versionNumber value="-2"')], "102", "/versionNumber/@value"),
        ([('versionNumber value="2"', 'versionNumber value="DUPONT"')], "102", "/versionNumber/@value"),
        ([('versionNumber value="2"', f'versionNumber value="{"9" * 5000}"')], "102", "/versionNumber/@value"),
        ([('versionNumber value="2"', 'versionNumber value="0"')], "102", "/versionNumber/@value"),
        ([('versionNumber value="2"', 'versionNumber value="1"')], "207", "/versionNumber/@value"),
        ([('<id root="1.2.250.1.999.1" extension="DOC-1"/>', '<id root="D52DE737-001D-4031-B571-0A0ED7C42300"/>')],
         "102", "/relatedDocument/parentDocument/id/@root"),
        ([('languageCode code="fr-FR"', 'languageCode code="fr"')], "102", "/languageCode/@code"),
        ([('<templateId root="1.3.6.1.4.1.19376.1.2.20"/>', "")], "101", "/templateId"),
        ([('root="1.3.6.1.4.1.19376.1.2.20"', 'root="1.2.250.1.213.1.1.1.45"')], "103", "/templateId"),
        ([(PDF, 'mediaType="image/jpeg"')], "103", "/component/nonXMLBody/text/@mediaType"),
        ([('confidentialityCode code="N"', 'confidentialityCode code="L"')], "103", "/confidentialityCode/@code"),
        ([('code code="18748-4"', 'code code="52063-5"')], "103", "/code/@code"),
        ([('codeSystemName="LOINC"', ""), ('codeSystem="2.16.840.1.113883.6.1"', 'codeSystem="1.2.3"')], "103",
         "/code/@codeSystem"),
        ([('code code="G15_10/SM44"', 'code code="DUPONT"')], "103", "/author[1]/assignedAuthor/code/@code"),
        ([('code code="SA01"', 'code code="DUPONT"')], "103", f"{FACILITY}/@code"),
        ([('GenderCode code="F"', 'GenderCode code="U"')], "103",
         "/recordTarget/patientRole/patient/administrativeGenderCode/@code"),
        ([('<time value="20240108111700+0100"/>', '<time value="DUPONT"/>')], "102", "/author[1]/time/@value"),
        ([('<id root="1.2.250.1.71.4.2.2" extension="1750000000"/>', '<id root="1.2.3" extension="1"/>')], "103",
         "/author[1]/assignedAuthor/representedOrganization/id/@root"),
        ([('<id root="1.2.250.1.71.4.2.2" extension="1750000000"/><name>', '<id root="1.2.3" extension="1"/><name>')],
         "103", "/custodian/assignedCustodian/representedCustodianOrganization/id/@root"),
        ([('classCode="ECON"', 'classCode="DUPONT"')], "103", "/informant/relatedEntity/@classCode"),
        ([("<informant>", "<informant><assignedEntity><id root='1.2'/></assignedEntity>")], "198", "/informant"),
        ([('value="tel:0100000001" use="H"', 'value="tel:0100000001" use="DUPONT"')], "103",
         "/recordTarget/patientRole/telecom/@use"),
        ([('value="tel:0100000001"', 'value="DUPONT"')], "102", "/recordTarget/patientRole/telecom/@value"),
        ([('<addr use="H">', '<addr use="DUPONT">')], "103", "/recordTarget/patientRole/addr/@use"),
        ([('<ps3-20:accessionNumber root="1.2.250.1.999.4" extension="ACCESSION-1"/>', "")], "101",
         "/inFulfillmentOf/order/ps3-20:accessionNumber"),
        ([('<id root="1.2.250.1.999.5.1"/>', "")], "101", "/documentationOf/serviceEvent/id"),
        ([('<id root="1.2.250.1.999.5.1"/>', '<id root="STUDY"/>')], "102", "/documentationOf/serviceEvent/id/@root"),
        ([('name code="121139"', 'name code="DUPONT"')], "101",
         "/documentationOf/serviceEvent/code/translation[qualifier/name/@code='121139']"),
        ([('translation code="CT"', 'translation code="DUPONT"')], "103",
         "/documentationOf/serviceEvent/code/translation[qualifier/name/@code='121139']"),
        ([('translation code="774007"', 'translation code="DUPONT"')], "103",
         "/documentationOf/serviceEvent/code/translation[qualifier/name/@code='39111-0']"),
    ],
)  # fmt: skip
def test_the_rest_of_the_rules_warns(changes: list[tuple[str, str]], code: str, where: str) -> None:
    found = said(changed(UNSTRUCTURED, *changes))
    assert found == [("warning", code, where)]


def test_a_legal_authenticator_is_known_by_a_national_identifier() -> None:
    head, tail = UNSTRUCTURED.split("<legalAuthenticator>")
    tail = tail.replace('root="1.2.250.1.71.4.2.1"', 'root="1.2.250.1.71"', 1)
    found = said(f"{head}<legalAuthenticator>{tail}".encode())
    assert found == [("warning", "103", "/legalAuthenticator/assignedEntity/id/@root")]
    tail = tail.replace('<time value="20240108111700+0100"/>', '<time value="DUPONT"/>', 1)
    assert ("warning", "102", "/legalAuthenticator/time/@value") in said(f"{head}<legalAuthenticator>{tail}".encode())


def test_orders_are_asked_of_imaging_reports_alone() -> None:
    no_orders = re.sub(r"<inFulfillmentOf>.*</inFulfillmentOf>", "", UNSTRUCTURED, flags=re.DOTALL)
    assert ("warning", "101", "/inFulfillmentOf/order/id") in said(no_orders.encode())
    for model, text in (("1.2.250.1.213.1.1.1.27", STRUCTURED), ("1.2.250.1.213.1.1.1.29", STRUCTURED)):
        other = re.sub(r"<inFulfillmentOf>.*</inFulfillmentOf>", "", text, flags=re.DOTALL)
        assert said(other.replace("1.2.250.1.213.1.1.1.45", model).encode()) == []


def test_a_structured_document_of_an_unknown_model_is_warned_of() -> None:
    data = changed(STRUCTURED, ('root="1.2.250.1.213.1.1.1.45"', 'root="1.2.250.1.213.1.1.1.999"'))
    assert said(data) == [("warning", "103", "/templateId")]


def test_other_value_sets_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "name,kind,oid,version,title,source,note\nJDV_J07,value-set,1.2.3,20270101,types,test,\n"
    )
    (tmp_path / "JDV_J07.csv").write_text("code,system,display\nOTHER,1.2.3,other\n")
    (problem,) = problems(UNSTRUCTURED.encode(), Terminology(tmp_path))
    assert problem.location == "/ClinicalDocument/code/@code"
    assert "20270101" in problem.message


def test_errors_come_first_and_are_never_lost_among_warnings() -> None:
    def edit(tree: Element) -> None:
        role = find(tree, "recordTarget/patientRole")
        for number in range(5_000):
            role.insert(0, etree.Element(V3 + "id", root="1.2.250.1.213.1.4.13", extension=str(number)))
        find(tree, "recordTarget/patientRole/patient/birthTime").set("value", "x")
        drop("languageCode")(tree)
        find(tree, "relatedDocument/parentDocument/id").set("extension", "DOC-2")

    start = time.thread_time()
    found = problems(edited(edit))
    assert time.thread_time() - start < 3
    assert len(found) == MAX_PROBLEMS
    assert [each.location for each in found if each.severity == "error"] == [
        "/ClinicalDocument/languageCode/@code",
        "/ClinicalDocument/relatedDocument/parentDocument/id",
    ]


@pytest.mark.parametrize("name", ["informant", "telecom", "templateId", "author"])
def test_a_document_made_to_be_long_is_judged_in_a_moment(name: str) -> None:
    tree = etree.fromstring(UNSTRUCTURED.encode())
    parent = find(tree, "recordTarget/patientRole") if name == "telecom" else tree
    for _ in range(40_000):
        parent.append(etree.Element(V3 + name, use="X"))
    start = time.thread_time()
    assert len(problems(etree.tostring(tree))) <= MAX_PROBLEMS
    assert time.thread_time() - start < 5


@settings(max_examples=150, deadline=2_000)
@given(st.data())
def test_any_document_that_is_read_can_be_judged(data: st.DataObject) -> None:
    tree = etree.fromstring(data.draw(st.sampled_from([UNSTRUCTURED, STRUCTURED])).encode())
    for _ in range(data.draw(st.integers(1, 12))):
        element = data.draw(st.sampled_from([each for each in tree.iterdescendants() if isinstance(each.tag, str)]))
        name = data.draw(
            st.sampled_from(
                ["root", "extension", "code", "codeSystem", "value", "nullFlavor", "qualifier", "use", "typeCode"]
            )
        )
        match data.draw(st.sampled_from(["drop", "attribute", "attribute", "attribute", "text"])):
            case "drop" if (parent := element.getparent()) is not None and parent is not tree:
                parent.remove(element)
            case "text":
                element.text = "DUPONT"
            case _:
                element.set(name, data.draw(st.sampled_from(["", "DUPONT", "1.2", "UNK", "9" * 5000, "²", "٣"])))
    try:
        problems(etree.tostring(tree))
    except Rejected as rejected:
        refused = str(rejected)
    else:
        return
    assert not any(secret in refused for secret in SECRETS)


def _transmitted(file: Path) -> list[bytes]:
    """The documents of an HL7 message: OBX-5.5 of every ED."""
    segments = re.split(r"[\r\n]+", file.read_text(encoding="utf-8"))
    values = [
        fields[5].split("^") for each in segments if (fields := each.split("|"))[0] == "OBX" and fields[2] == "ED"
    ]
    return [base64.b64decode(value[4].strip() + "===") for value in values if len(value[4]) > 10_000]  # the rest: mails


def test_official_documents_and_transmissions_give_no_error(shared: Path) -> None:
    documents = {file.name: [file.read_bytes()] for file in (shared / "vectors" / "cda").glob("*.xml")}
    documents |= {file.name: _transmitted(file) for file in (shared / "vectors" / "hl7").glob("*transmission*")}
    documents |= {file.name: _transmitted(file) for file in (shared / "vectors" / "hl7").glob("delivery*")}
    assert len(documents) >= 19
    for name, contents in documents.items():
        assert contents, name
        for content in contents:
            found = [each for each in problems_of(content) if each.severity == "error"]
            assert found == [], name


def problems_of(data: bytes) -> tuple[Problem, ...]:
    document, tree = read_tree(data)
    return check(document, tree, test_platform=True)
