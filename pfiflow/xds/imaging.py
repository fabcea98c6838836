"""eventCodeList and referenceIdList (DRIM-M: SC.DB/PFI.01; ITI TF-3 §4.2.3.2.8 and .28)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pfiflow.cda.values import ClinicalDocument, Code
from pfiflow.xds.composite import cxi, one_line
from pfiflow.xds.metadata import CodedValue

__all__ = ["CLASS", "CODE_SYSTEMS", "VALUE_SETS", "event_codes", "reference_ids"]

CLASS: Final = "31"
"""classCode of imaging documents."""

MODALITY: Final = "121139"  # DCM, qualifier of the translation that says the modality
REGION: Final = "39111-0"  # LOINC, qualifier of the translation that says the region

CODE_SYSTEMS: Mapping[str, str] = MappingProxyType({})
"""codingScheme of modality and region: the code system that the CDA names (DCM, SNOMED CT). The default."""

VALUE_SETS: Mapping[str, str] = MappingProxyType(
    {MODALITY: "1.2.250.1.213.1.1.5.618", REGION: "1.2.250.1.213.1.1.5.695"}
)
"""codingScheme of modality and region: the OID of the value set, as the ANS's DRIMbox writes it."""

ACCESSION: Final = "urn:ihe:iti:xds:2013:accession"
ORDER: Final = "urn:ihe:iti:xds:2013:order"
STUDY: Final = "urn:ihe:iti:xds:2016:studyInstanceUID"


def event_codes(document: ClinicalDocument, schemes: Mapping[str, str] = CODE_SYSTEMS) -> Iterator[CodedValue]:
    """Every act of every documentationOf, then its translations (CCAM, modality, region); each code once."""
    seen: set[tuple[str, str]] = set()
    for event in document.service_events:
        for code, qualifier in ((event.code, ""), *event.translations):
            coded = _coded(code, schemes.get(qualifier, ""))
            if coded and (coded.code, coded.scheme) not in seen:
                seen.add((coded.code, coded.scheme))
                yield coded


def reference_ids(document: ClinicalDocument) -> Iterator[str]:
    """CXi of every accession number, order and study, each once; JDV_J231 allows these three types in the DMP."""
    found: dict[str, None] = {}
    for order in document.orders:
        for identifier, kind in ((order.accession_number, ACCESSION), (order.id, ORDER)):
            if identifier and identifier.extension:
                found[cxi(identifier.extension, identifier.root, kind)] = None
            elif identifier and identifier.root:
                found[cxi(identifier.root, "", kind)] = None
    for event in document.service_events:
        # A Study Instance UID is an OID by itself; with an extension, the id is something else.
        if event.id and event.id.root and not event.id.extension:
            found[cxi(event.id.root, "", STUDY)] = None
    yield from found


def _coded(code: Code | None, scheme: str) -> CodedValue | None:
    if code is None or not code.code or not (scheme or code.system):
        return None
    return CodedValue(one_line(code.code), one_line(scheme or code.system), one_line(code.display))
