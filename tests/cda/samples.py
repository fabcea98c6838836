"""Synthetic CDA documents: the test patient PAT-TROIS DOMINIQUE of the French INS test set, invented professionals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lxml import etree

from pfiflow.cda.header import V3, Element

SHARED = Path(__file__).parents[2].parent / "shared"
"""Official examples, when they stand beside the checkout."""

NAMESPACES = {"v3": "urn:hl7-org:v3", "ps3-20": "urn:dicom-org:ps3-20"}

_PROFESSIONAL = """
    <id root="1.2.250.1.71.4.2.1" extension="801234567897"/>
    <code code="G15_10/SM44" displayName="Médecin - Radio-diagnostic (SM)" codeSystem="1.2.250.1.213.1.1.4.5"/>
    <telecom value="tel:0100000000" use="WP"/>
    <assignedPerson>
      <name><prefix>MME</prefix><family>EXEMPLE</family><given>Ada</given><suffix>DR</suffix></name>
    </assignedPerson>
    <representedOrganization>
      <id root="1.2.250.1.71.4.2.2" extension="1750000000"/>
      <name>Centre
        d'essai</name>
      <standardIndustryClassCode code="ETABLISSEMENT" codeSystem="1.2.250.1.213.1.1.4.9"/>
    </representedOrganization>"""

HEADER = f"""
  <realmCode code="FR"/>
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <templateId root="2.16.840.1.113883.2.8.2.1"/>
  <templateId root="1.2.250.1.213.1.1.1.1"/>
  <templateId root="1.3.6.1.4.1.19376.1.2.20"/>
  <id root="1.2.250.1.999.1" extension="DOC-2"/>
  <code code="18748-4" displayName="CR d'imagerie médicale" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"/>
  <title>CR d'imagerie médicale</title>
  <effectiveTime value="20240108111700+0100"/>
  <confidentialityCode code="N" displayName="Normal" codeSystem="2.16.840.1.113883.5.25"/>
  <languageCode code="fr-FR"/>
  <setId root="1.2.250.1.999.1" extension="DOC"/>
  <versionNumber value="2"/>
  <recordTarget>
    <patientRole>
      <id root="1.2.250.1.213.1.4.10" extension="279035121518989"/>
      <id root="1.2.250.1.999.2" extension="IPP-1"/>
      <addr use="H"><streetAddressLine>1 rue de l'Essai</streetAddressLine><city>PARIS</city></addr>
      <telecom value="tel:0100000001" use="H"/>
      <patient>
        <name>
          <family qualifier="BR">PAT-TROIS</family>
          <given>DOMINIQUE MARIE-LOUISE</given>
          <given qualifier="BR">DOMINIQUE</given>
          <family qualifier="CL">PAT-USAGE</family>
          <given qualifier="CL">DOMI</given>
        </name>
        <administrativeGenderCode code="F" displayName="Féminin" codeSystem="2.16.840.1.113883.5.1"/>
        <birthTime value="19790328"/>
        <birthplace><place><addr><county>51215</county><city>DOMPREMY</city></addr></place></birthplace>
      </patient>
    </patientRole>
  </recordTarget>
  <author>
    <functionCode code="ATTPHYS" displayName="Responsable du patient" codeSystem="2.16.840.1.113883.5.88"/>
    <time value="20240108111700+0100"/>
    <assignedAuthor>{_PROFESSIONAL}</assignedAuthor>
  </author>
  <informant>
    <relatedEntity classCode="ECON"><relatedPerson><name><family>PROCHE</family></name></relatedPerson></relatedEntity>
  </informant>
  <custodian>
    <assignedCustodian>
      <representedCustodianOrganization>
        <id root="1.2.250.1.71.4.2.2" extension="1750000000"/><name>Centre d'essai</name>
      </representedCustodianOrganization>
    </assignedCustodian>
  </custodian>
  <legalAuthenticator>
    <time value="20240108111700+0100"/>
    <signatureCode code="S"/>
    <assignedEntity>{_PROFESSIONAL}</assignedEntity>
  </legalAuthenticator>
  <participant typeCode="INF">
    <time nullFlavor="NA"/>
    <associatedEntity classCode="PROV"><id root="1.2.250.1.71.4.2.1" extension="801234567805"/></associatedEntity>
  </participant>
  <inFulfillmentOf>
    <order>
      <id root="1.2.250.1.999.3" extension="ORDER-1"/>
      <ps3-20:accessionNumber root="1.2.250.1.999.4" extension="ACCESSION-1"/>
    </order>
  </inFulfillmentOf>
  <inFulfillmentOf><order><id root="1.2.250.1.999.3" extension="ORDER-2"/></order></inFulfillmentOf>
  <documentationOf>
    <serviceEvent classCode="ACT">
      <id root="1.2.250.1.999.5.1"/>
      <code code="24727-0" displayName="CT Head W contrast IV" codeSystem="2.16.840.1.113883.6.1">
        <translation code="ACQH004" codeSystem="1.2.250.1.215.300.1" codeSystemName="CCAM"/>
        <translation code="CT" codeSystem="1.2.840.10008.2.16.4">
          <qualifier><name code="121139" codeSystem="1.2.840.10008.2.16.4"/></qualifier>
        </translation>
        <translation code="774007" codeSystem="2.16.840.1.113883.6.96">
          <qualifier><name code="39111-0" codeSystem="2.16.840.1.113883.6.1"/></qualifier>
        </translation>
      </code>
      <effectiveTime><low value="20240108102500+0100"/><high value="20240108111700+0100"/></effectiveTime>
      <performer typeCode="PRF"><assignedEntity>{_PROFESSIONAL}</assignedEntity></performer>
    </serviceEvent>
  </documentationOf>
  <documentationOf>
    <serviceEvent>
      <code code="Z13.9" codeSystem="2.16.840.1.113883.6.3"/>
    </serviceEvent>
  </documentationOf>
  <relatedDocument typeCode="RPLC">
    <parentDocument><id root="1.2.250.1.999.1" extension="DOC-1"/></parentDocument>
  </relatedDocument>
  <componentOf>
    <encompassingEncounter>
      <id root="1.2.250.1.999.6" extension="STAY-1"/>
      <code code="AMB" codeSystem="2.16.840.1.113883.5.4"/>
      <effectiveTime><low value="20240108102500+0100"/><high value="20240108120000+0100"/></effectiveTime>
      <location>
        <healthCareFacility>
          <code code="SA01" displayName="Etablissement public de santé" codeSystem="1.2.250.1.71.4.2.4"/>
        </healthCareFacility>
      </location>
    </encompassingEncounter>
  </componentOf>"""

_OPENING = '<?xml version="1.0" encoding="UTF-8"?>\n<?xml-stylesheet type="text/xsl" href="any.xsl"?>\n'
_ROOT = '<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:ps3-20="urn:dicom-org:ps3-20">'
_PDF = (
    '<component><nonXMLBody><text mediaType="application/pdf" representation="B64">JVBERi0xLjQ=</text>'
    "</nonXMLBody></component>"
)
_SECTIONS = (
    "<component><structuredBody><component><section><title>Conclusion</title>"
    "<text>Rien à signaler.</text></section></component></structuredBody></component>"
)

UNSTRUCTURED = f"{_OPENING}{_ROOT}{HEADER}\n  {_PDF}\n</ClinicalDocument>\n"
"""An N1 that breaks no rule at all on a test platform."""

STRUCTURED = f"{_OPENING}{_ROOT}{HEADER}\n  {_SECTIONS}\n</ClinicalDocument>\n".replace(
    '<templateId root="1.3.6.1.4.1.19376.1.2.20"/>', '<templateId root="1.2.250.1.213.1.1.1.45" extension="2024.01"/>'
)
"""An N3 that breaks no rule at all on a test platform."""


def changed(text: str, *changes: tuple[str, str]) -> bytes:
    """A document with pieces of text replaced, once each; every piece must be there."""
    for old, new in changes:
        assert old in text, f"{old} is not in the sample"
        text = text.replace(old, new, 1)
    return text.encode()


def edited(edit: Callable[[Element], object], text: str = UNSTRUCTURED) -> bytes:
    """A document whose tree was edited by hand."""
    root = etree.fromstring(text.encode())
    edit(root)
    return etree.tostring(root)


def find(root: Element, path: str) -> Element:
    """The one element at a path of plain names such as `author/time`, or of prefixed ones."""
    steps = (step if ":" in step else f"v3:{step}" for step in path.split("/"))
    found = root.find("/".join(steps), NAMESPACES)
    assert found is not None, path
    return found


def drop(path: str) -> Callable[[Element], object]:
    """An edit that removes the first element at a path."""

    def edit(root: Element) -> None:
        element = find(root, path)
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)

    return edit


def repeat(path: str) -> Callable[[Element], object]:
    """An edit that puts a copy of the first element at a path after it."""

    def edit(root: Element) -> None:
        element = find(root, path)
        element.addnext(etree.fromstring(etree.tostring(element, with_tail=False)))

    return edit


def bogus(name: str = "bogus") -> Element:
    """An element of the CDA namespace that CDA does not know."""
    return etree.Element(V3 + name)


def official(pattern: str = "*.xml") -> Iterator[Path]:
    """The official example documents, none when the folder is absent."""
    return iter(sorted((SHARED / "vectors" / "cda").glob(pattern)))
