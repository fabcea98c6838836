from __future__ import annotations

from attrs import evolve

from pfiflow.cda.values import Code, Identifier, Order, ServiceEvent
from pfiflow.xds.imaging import VALUE_SETS
from tests.xds.builders import DOCUMENT, IMAGING, LOINC, entry_of


def test_every_act_modality_and_region_once() -> None:
    entry = entry_of(IMAGING, target="dmp")
    assert [(code.code, code.scheme) for code in entry.event_codes] == [
        ("24727-0", LOINC),
        ("ACQH004", "1.2.250.1.215.300.1"),
        ("CT", "1.2.840.10008.2.16.4"),
        ("774007", "2.16.840.1.113883.6.96"),
        ("36235-0", LOINC),
    ]


def test_every_accession_order_and_study_once() -> None:
    assert entry_of(IMAGING).reference_ids == (
        "ACC1^^^&1.2.8&ISO^urn:ihe:iti:xds:2013:accession",
        "P1^^^&1.2.7&ISO^urn:ihe:iti:xds:2013:order",
        "ACC2^^^&1.2.8&ISO^urn:ihe:iti:xds:2013:accession",
        "1.2.840.99.1^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        "1.2.840.99.2^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
    )


def test_modality_and_region_under_the_value_set() -> None:
    entry = entry_of(IMAGING, imaging_schemes=VALUE_SETS)
    schemes = {code.code: code.scheme for code in entry.event_codes}
    assert schemes["CT"] == "1.2.250.1.213.1.1.5.618"
    assert schemes["774007"] == "1.2.250.1.213.1.1.5.695"
    assert schemes["ACQH004"] == "1.2.250.1.215.300.1"


def test_an_act_with_extension_is_no_study_and_an_order_may_be_a_bare_oid() -> None:
    document = evolve(
        IMAGING,
        service_events=(ServiceEvent(id=Identifier("1.2", "X"), code=Code("Y", "")),),
        orders=(Order(id=Identifier("1.2.7.1")), Order()),
    )
    assert entry_of(document).reference_ids == ("1.2.7.1^^^^urn:ihe:iti:xds:2013:order",)
    assert entry_of(document).event_codes == ()  # a code without system says nothing


def test_no_references_outside_imaging() -> None:
    assert entry_of(evolve(DOCUMENT, orders=IMAGING.orders)).reference_ids == ()
