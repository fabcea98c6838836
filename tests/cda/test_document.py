from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pfiflow.cda.document import is_oid, is_time, read, read_tree, root
from pfiflow.cda.header import V3, Element
from pfiflow.cda.values import (
    Author,
    ClinicalDocument,
    Code,
    Device,
    Encounter,
    Identifier,
    Order,
    Organization,
    Patient,
    Person,
    ServiceEvent,
)
from pfiflow.errors import Rejected
from tests.cda.samples import STRUCTURED, UNSTRUCTURED, changed, drop, edited, find, repeat

LOINC = "2.16.840.1.113883.6.1"
PROFESSIONAL = Person(
    ids=(Identifier("1.2.250.1.71.4.2.1", "801234567897"),),
    family="EXEMPLE",
    given="Ada",
    prefix="MME",
    suffix="DR",
    code=Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin - Radio-diagnostic (SM)"),
    organization=Organization(
        Identifier("1.2.250.1.71.4.2.2", "1750000000"),
        "Centre d'essai",
        Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9"),
    ),
)


def test_every_fact_of_the_header_is_read() -> None:
    data = UNSTRUCTURED.encode()
    assert read(data) == ClinicalDocument(
        raw=data,
        id=Identifier("1.2.250.1.999.1", "DOC-2"),
        code=Code("18748-4", LOINC, "CR d'imagerie médicale", "LOINC"),
        title="CR d'imagerie médicale",
        effective_time="20240108111700+0100",
        confidentiality=Code("N", "2.16.840.1.113883.5.25", "Normal"),
        patient=Patient(
            ids=(Identifier("1.2.250.1.213.1.4.10", "279035121518989"), Identifier("1.2.250.1.999.2", "IPP-1")),
            birth_family="PAT-TROIS",
            used_family="PAT-USAGE",
            first_birth_given="DOMINIQUE",
            birth_given_names="DOMINIQUE MARIE-LOUISE",
            used_given="DOMI",
            birth_time="19790328",
            gender="F",
            birth_place="51215",
            birth_place_name="DOMPREMY",
        ),
        level="N1",
        language="fr-FR",
        set_id=Identifier("1.2.250.1.999.1", "DOC"),
        version="2",
        template_ids=("2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1", "1.3.6.1.4.1.19376.1.2.20"),
        authors=(Author(PROFESSIONAL, "20240108111700+0100", "Responsable du patient"),),
        custodian=Organization(Identifier("1.2.250.1.71.4.2.2", "1750000000"), "Centre d'essai"),
        legal_authenticator=PROFESSIONAL,
        legal_authenticator_time="20240108111700+0100",
        encounter=Encounter(
            (Identifier("1.2.250.1.999.6", "STAY-1"),),
            Code("AMB", "2.16.840.1.113883.5.4"),
            "20240108102500+0100",
            "20240108120000+0100",
            Code("SA01", "1.2.250.1.71.4.2.4", "Etablissement public de santé"),
        ),
        service_events=(
            ServiceEvent(
                Identifier("1.2.250.1.999.5.1"),
                Code("24727-0", LOINC, "CT Head W contrast IV"),
                (
                    (Code("ACQH004", "1.2.250.1.215.300.1", "", "CCAM"), ""),
                    (Code("CT", "1.2.840.10008.2.16.4"), "121139"),
                    (Code("774007", "2.16.840.1.113883.6.96"), "39111-0"),
                ),
                "20240108102500+0100",
                "20240108111700+0100",
                PROFESSIONAL,
            ),
            ServiceEvent(code=Code("Z13.9", "2.16.840.1.113883.6.3")),
        ),
        orders=(
            Order(Identifier("1.2.250.1.999.3", "ORDER-1"), Identifier("1.2.250.1.999.4", "ACCESSION-1")),
            Order(Identifier("1.2.250.1.999.3", "ORDER-2")),
        ),
        replaces=Identifier("1.2.250.1.999.1", "DOC-1"),
        media_type="application/pdf",
    )


def test_a_structured_body_is_level_n3() -> None:
    document = read(STRUCTURED.encode())
    assert (document.level, document.media_type) == ("N3", "")
    assert document.template_ids[2] == "1.2.250.1.213.1.1.1.45"


def test_the_tree_is_the_one_that_was_read() -> None:
    document, tree = read_tree(UNSTRUCTURED.encode())
    assert tree.tag == V3 + "ClinicalDocument"
    assert etree.tostring(root(document)) == etree.tostring(tree)


def test_the_bytes_are_kept_not_copied() -> None:
    data = UNSTRUCTURED.encode()
    assert read(data).raw is data


def _reencoded(codec: str) -> bytes:
    return UNSTRUCTURED.replace('encoding="UTF-8"', f'encoding="{codec}"').encode(codec)


@pytest.mark.parametrize("codec", ["ISO-8859-15", "UTF-16", "windows-1252"])
def test_other_encodings_give_the_same_facts(codec: str) -> None:
    data = _reencoded(codec)
    assert read(data).title == "CR d'imagerie médicale"


def test_values_are_stripped_and_whole() -> None:
    document = read(
        changed(
            UNSTRUCTURED,
            ("<title>CR d'imagerie médicale</title>", "<title>\n  CR<!-- x -->\n d'<![CDATA[ima]]>gerie  </title>"),
            ('extension="DOC-2"', 'extension=" DOC-2\u00a0"'),
            ('qualifier="BR">PAT-TROIS', 'qualifier="BR">PAT-<!-- -->TR<?x?>OIS '),
        )
    )
    assert document.title == "CR d'imagerie"
    assert document.id.extension == "DOC-2"
    assert document.patient.birth_family == "PAT-TROIS"


def test_null_flavors_count_as_absent() -> None:
    document = read(
        changed(
            UNSTRUCTURED,
            ('<setId root="1.2.250.1.999.1" extension="DOC"/>', '<setId nullFlavor="UNK"/>'),
            ('<languageCode code="fr-FR"/>', '<languageCode nullFlavor="UNK" code="fr-FR"/>'),
            ('<id root="1.2.250.1.999.2" extension="IPP-1"/>', '<id nullFlavor="UNK"/>'),
            ('<birthTime value="19790328"/>', '<birthTime nullFlavor="UNK"/>'),
            ('<code code="SA01"', '<code nullFlavor="UNK" code="SA01"'),
        )
    )
    assert document.set_id is None
    assert document.language == ""
    assert document.patient.local_id() is None
    assert document.patient.birth_time == ""
    assert document.encounter is not None
    assert document.encounter.facility_type is None


@pytest.mark.parametrize("name", [("SP", "PAT-USAGE"), ("", "PAT-USAGE"), ("SP CL", "PAT-USAGE"), ("BR", "")])
def test_used_names_in_older_spellings(name: tuple[str, str]) -> None:
    qualifier = f' qualifier="{name[0]}"' if name[0] else ""
    document = read(changed(UNSTRUCTURED, ('<family qualifier="CL">', f"<family{qualifier}>")))
    assert document.patient.used_family == name[1]
    assert document.patient.birth_family == "PAT-TROIS"


def test_an_unqualified_name_is_not_taken_for_the_birth_name() -> None:
    document = read(
        changed(UNSTRUCTURED, ('<family qualifier="BR">', "<family>"), ('<given qualifier="BR">', "<given>"))
    )
    assert document.patient.birth_family == document.patient.first_birth_given == ""
    assert not document.patient.has_five_traits()


def test_a_device_may_be_the_author() -> None:
    device = (
        "<assignedAuthoringDevice><manufacturerModelName>Modèle</manufacturerModelName>"
        "<softwareName>Logiciel</softwareName></assignedAuthoringDevice>"
    )
    start, end = UNSTRUCTURED.index("<assignedPerson>"), UNSTRUCTURED.index("<representedOrganization>")
    document = read((UNSTRUCTURED[:start] + device + UNSTRUCTURED[end:]).encode())
    assert document.authors[0].person.device == Device("Modèle", "Logiciel")
    assert document.authors[0].person.family == ""


def test_an_organization_is_known_by_its_national_identifier() -> None:
    document = read(
        changed(
            UNSTRUCTURED,
            (
                '<id root="1.2.250.1.71.4.2.2" extension="1750000000"/>',
                '<id root="1.2.3" extension="local"/><id root="1.2.250.1.71.4.2.2" extension="1750000000"/>',
            ),
            (
                '<id root="1.2.250.1.71.4.2.2" extension="1750000000"/><name>Centre',
                '<id root="1.2.250.1.213.4.1"/><name>Centre',
            ),
        )
    )
    organization = document.authors[0].person.organization
    assert organization is not None
    assert organization.id == Identifier("1.2.250.1.71.4.2.2", "1750000000")
    assert document.custodian is not None
    assert document.custodian.id == Identifier("1.2.250.1.213.4.1")


def test_orders_without_accession_number_and_with_several_identifiers() -> None:
    document = read(
        changed(
            UNSTRUCTURED,
            ("<order><id ", '<order><id root="1.2.9" extension="A"/><id root="1.2.9" extension="B"/><id '),
            ('<id root="1.2.250.1.999.3" extension="ORDER-1"/>', '<id nullFlavor="UNK"/>'),
        )
    )
    assert document.orders == (
        Order(None, Identifier("1.2.250.1.999.4", "ACCESSION-1")),
        Order(Identifier("1.2.9", "A")),
        Order(Identifier("1.2.9", "B")),
        Order(Identifier("1.2.250.1.999.3", "ORDER-2")),
    )


def test_the_principal_performer_is_read() -> None:
    assistant = '<performer typeCode="SPRF"><assignedEntity><id root="1.2.3"/></assignedEntity></performer>'
    document = read(changed(UNSTRUCTURED, ('<performer typeCode="PRF">', assistant + '<performer typeCode="PRF">')))
    assert document.service_events[0].performer == PROFESSIONAL


def test_an_act_at_one_instant() -> None:
    document = read(
        changed(
            UNSTRUCTURED,
            (
                '<effectiveTime><low value="20240108102500+0100"/><high value="20240108111700+0100"/></effectiveTime>',
                '<effectiveTime value="20240108"/>',
            ),
        )
    )
    assert (document.service_events[0].start, document.service_events[0].stop) == ("20240108", "")


WRAPPED = UNSTRUCTURED[UNSTRUCTURED.index("<ClinicalDocument") :]
SIGNATURE = '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Object>{}</ds:Object></ds:Signature>'
STYLESHEET = (
    '<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0">'
    '<c:Contenu xmlns:c="urn:asip-sante:ci-sis">{}</c:Contenu></xsl:stylesheet>'
)


@pytest.mark.parametrize("wrapper", [SIGNATURE, STYLESHEET])
def test_a_wrapped_document_is_read_inside_its_wrapper(wrapper: str) -> None:
    data = wrapper.format(WRAPPED).encode()
    document, tree = read_tree(data)
    assert document.raw == data
    assert document.id == Identifier("1.2.250.1.999.1", "DOC-2")
    assert tree.tag == V3 + "ClinicalDocument"
    for inside in ("", WRAPPED + WRAPPED):
        with pytest.raises(Rejected, match="exactly one is expected"):
            read(wrapper.format(inside).encode())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<a/>", "not a ClinicalDocument"),
        (b"<ClinicalDocument/>", "not in the namespace"),
        (b'<ClinicalDocument xmlns="urn:hl7-org:v2"/>', "not in the namespace"),
        (b"<a>" + WRAPPED.encode() + b"</a>", "not a ClinicalDocument"),
        (b"not xml", "does not start"),
        (b"", "does not start"),
    ],
)
def test_anything_else_is_no_document(data: bytes, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        read(data)


def _set(path: str, name: str, value: str) -> Callable[[Element], object]:
    return lambda tree: find(tree, path).set(name, value)


def _empty(path: str) -> Callable[[Element], object]:
    return lambda tree: find(tree, path).clear()


REFUSED: list[tuple[Callable[[Element], object], str, str]] = [
    (drop("id"), "101", "id"),
    (repeat("id"), "198", "id"),
    (_set("id", "nullFlavor", "UNK"), "101", "id/@root"),
    (_set("id", "root", " "), "101", "id/@root"),
    (_set("id", "root", "90E1C8EC-F951-4B26-A305-A34848818DD6"), "102", "id/@root"),
    (_set("id", "root", "1.2." + "3" * 130), "102", "id/@root"),
    (drop("code"), "101", "code"),
    (_set("code", "code", ""), "101", "code/@code"),
    (_set("code", "codeSystem", ""), "101", "code/@codeSystem"),
    (drop("title"), "101", "title"),
    (_empty("title"), "101", "title"),
    (drop("effectiveTime"), "101", "effectiveTime"),
    (_set("effectiveTime", "nullFlavor", "UNK"), "101", "effectiveTime/@value"),
    (_set("effectiveTime", "value", "20241301"), "102", "effectiveTime/@value"),
    (drop("confidentialityCode"), "101", "confidentialityCode"),
    (_set("confidentialityCode", "nullFlavor", "UNK"), "101", "confidentialityCode/@code"),
    (drop("recordTarget"), "101", "recordTarget"),
    (repeat("recordTarget"), "198", "recordTarget"),
    (drop("recordTarget/patientRole"), "101", "recordTarget/patientRole"),
    (
        lambda tree: [drop("recordTarget/patientRole/id")(tree) for _ in range(2)],
        "101",
        "recordTarget/patientRole/id",
    ),
    (
        lambda tree: find(tree, "recordTarget/patientRole/id").addnext(
            etree.Element(V3 + "id", root="1.2.250.1.213.1.4.8", extension="279035121518989")
        ),
        "207",
        "recordTarget/patientRole/id",
    ),
    (drop("component"), "101", "component"),
    (repeat("component"), "198", "component"),
    (drop("component/nonXMLBody"), "198", "component"),
    (repeat("component/nonXMLBody"), "198", "component"),
    (
        lambda tree: find(tree, "component").append(etree.Element(V3 + "structuredBody")),
        "198",
        "component",
    ),
    (drop("component/nonXMLBody/text"), "101", "component/nonXMLBody/text"),
    (_empty("component/nonXMLBody/text"), "101", "component/nonXMLBody/text"),
    (_set("component/nonXMLBody/text", "mediaType", " "), "101", "component/nonXMLBody/text/@mediaType"),
    (drop("relatedDocument/parentDocument/id"), "101", "relatedDocument/parentDocument/id"),
    (repeat("relatedDocument"), "198", "relatedDocument"),
]


@pytest.mark.parametrize(("edit", "code", "where"), REFUSED)
def test_what_leaves_identity_routing_or_metadata_impossible_is_refused(
    edit: Callable[[Element], object], code: str, where: str
) -> None:
    with pytest.raises(Rejected) as caught:
        read(edited(edit))
    assert [(each.code, each.location) for each in caught.value.problems] == [(code, f"/ClinicalDocument/{where}")]
    assert {each.severity for each in caught.value.problems} == {"error"}


def test_all_refusals_come_at_once_and_quote_nothing() -> None:
    def edit(tree: Element) -> None:
        for path in ("title", "confidentialityCode", "component/nonXMLBody/text"):
            drop(path)(tree)
        find(tree, "effectiveTime").set("value", "DUPONT")
        find(tree, "id").set("root", "DUPONT")
        find(tree, "code").set("codeSystem", "")

    with pytest.raises(Rejected) as caught:
        read(edited(edit))
    assert [each.location.removeprefix("/ClinicalDocument/") for each in caught.value.problems] == [
        "id/@root",
        "code/@codeSystem",
        "title",
        "effectiveTime/@value",
        "confidentialityCode",
        "component/nonXMLBody/text",
    ]
    assert "DUPONT" not in str(caught.value)
    assert "PAT-TROIS" not in str(caught.value)


def test_the_same_ins_twice_is_one_patient() -> None:
    assert len(read(edited(repeat("recordTarget/patientRole/id"))).patient.ids) == 3


def test_other_relations_replace_nothing() -> None:
    assert read(changed(UNSTRUCTURED, ('typeCode="RPLC"', 'typeCode="APND"'))).replaces is None


@pytest.mark.parametrize(
    "value",
    [
        *("2024", "202401", "20240131", "2024013123", "202401312359", "20240131235959", "20240131235959.123"),
        *("202401312359+0100", "20240131235959-1400", "19790328"),
    ],
)
def test_times_of_every_precision(value: str) -> None:
    assert is_time(value)


@pytest.mark.parametrize(
    "value",
    [
        *("", "24", "0024", "20241301", "20240132", "20240100", "2024013124", "202401312360", "2024-01-31"),
        *("20240131T10", "20240131235959+1", "20240131235959+0160", "20240131235959Z", " 2024", "2024\n", "٢٠٢٤"),
        "20240131" + "0" * 40,
    ],
)
def test_what_is_no_time(value: str) -> None:
    assert not is_time(value)


@pytest.mark.parametrize("value", ["1.2.250.1", "2.16.840", "0.0", "1.2." + "3" * 36])
def test_what_is_an_oid(value: str) -> None:
    assert is_oid(value)


@pytest.mark.parametrize(
    "value", ["1", "3.1", "1.02", "1..2", "1.2.", "", "1.2\n", "1.2" * 50, "D52DE737-001D", "1.2 "]
)
def test_what_is_no_oid(value: str) -> None:
    assert not is_oid(value)


@settings(max_examples=200, deadline=2_000)
@given(st.data())
def test_a_document_whose_header_was_shaken_is_read_or_rejected(data: st.DataObject) -> None:
    """Elements dropped, repeated, emptied, their attributes overwritten: a document or a refusal, nothing else."""
    tree = etree.fromstring(data.draw(st.sampled_from([UNSTRUCTURED, STRUCTURED])).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        elements = [each for each in tree.iterdescendants() if isinstance(each.tag, str)]
        element = data.draw(st.sampled_from(elements)) if elements else tree
        parent = element.getparent()
        match data.draw(st.sampled_from(["drop", "repeat", "empty", "attribute", "rename"])):
            case "drop" if parent is not None:
                parent.remove(element)
            case "repeat" if parent is not None:
                element.addnext(etree.fromstring(etree.tostring(element, with_tail=False)))
            case "empty":
                element.clear()
            case "attribute":
                name = data.draw(
                    st.sampled_from(["root", "extension", "code", "codeSystem", "value", "nullFlavor", "qualifier"])
                )
                element.set(name, data.draw(st.sampled_from(["", " ", "DUPONT", "1.2", "UNK", "9" * 300])))
            case _:
                element.tag = data.draw(st.sampled_from([V3 + "id", V3 + "name", "{other}x", "bare"]))
    try:
        document = read(etree.tostring(tree))
    except Rejected as rejected:
        said = str(rejected)
    else:
        assert document.id.root
        assert document.title
        return
    assert "DUPONT" not in said
    assert "PAT-TROIS" not in said


def test_official_documents_are_read(shared: Path) -> None:
    files = sorted((shared / "vectors" / "cda").glob("*.xml"))
    assert files
    for file in files:
        document = read(file.read_bytes())
        assert document.level == ("N3" if file.name.startswith("n3") else "N1"), file.name
        assert document.patient.ins(test_platform=True) is not None or document.patient.local_id() is not None
        assert document.patient.has_five_traits(), file.name
        assert document.service_events[0].start
        assert (document.replaces is not None) == ("rplc" in file.name), file.name
        assert document.version == ("2" if "rplc" in file.name else "1"), file.name
