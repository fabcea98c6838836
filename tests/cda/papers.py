"""Synthetic CDA documents to make PDFs of, and what a PDF says, read back by somebody else's code."""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import pypdf
from PIL import Image

from pfiflow.cda.document import read_tree
from pfiflow.cda.pages.blocks import clean

if TYPE_CHECKING:
    from lxml import etree

    from pfiflow.cda.values import ClinicalDocument

V3 = "{urn:hl7-org:v3}"

_HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<realmCode code="FR"/><typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
<templateId root="2.16.840.1.113883.2.8.2.1"/><templateId root="1.2.250.1.213.1.1.1.1"/>
<id root="1.2.250.1.213.1.1.9999" extension="DOC-1"/>
<code code="34112-3" codeSystem="2.16.840.1.113883.6.1" displayName="CR hospitalier"/>
<title>Compte rendu d'hospitalisation en cardiologie</title>
<effectiveTime value="20240229143005+0100"/>
<confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/><languageCode code="fr-FR"/>
<setId root="1.2.250.1.213.1.1.9998"/><versionNumber value="2"/>
<recordTarget><patientRole>
<id root="1.2.250.1.213.1.4.10" extension="279035121518989"/><id root="1.2.3.4" extension="IPP-77"/>
<patient><name><family qualifier="BR">PAT-TROIS</family><family qualifier="CL">NOM-USAGE</family>
<given>DOMINIQUE MARIE-LOUISE</given><given qualifier="BR">DOMINIQUE</given></name>
<administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19790328"/>
<birthplace><place><addr><county>51215</county><city>DOMPREMY</city></addr></place></birthplace></patient>
</patientRole></recordTarget>
<author><time value="20240229120000+0100"/><assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="801234500017"/>
<assignedPerson><name><prefix>M</prefix><given>Paul</given><family>AUTEUR</family><suffix>DR</suffix></name></assignedPerson>
<representedOrganization><id root="1.2.250.1.71.4.2.2" extension="1750803447"/><name>Service Éloïse</name>
</representedOrganization></assignedAuthor></author>
<custodian><assignedCustodian><representedCustodianOrganization>
<id root="1.2.250.1.71.4.2.2" extension="1750803447"/><name>Hôpital conservateur</name>
</representedCustodianOrganization></assignedCustodian></custodian>
<legalAuthenticator><time value="20240229142000+0100"/><signatureCode code="S"/><assignedEntity>
<id root="1.2.250.1.71.4.2.1" extension="801234500025"/>
<assignedPerson><name><given>Jeanne</given><family>RESPONSABLE</family></name></assignedPerson></assignedEntity>
</legalAuthenticator>
<documentationOf><serviceEvent><code code="IMP" displayName="Hospitalisation complète"/>
<effectiveTime><low value="20240225"/><high value="20240229"/></effectiveTime>
<performer typeCode="PRF"><assignedEntity><id root="1.2.250.1.71.4.2.1" extension="801234500033"/></assignedEntity>
</performer></serviceEvent></documentationOf>
<relatedDocument typeCode="RPLC"><parentDocument><id root="1.2.250.1.213.1.1.9999" extension="DOC-0"/></parentDocument>
</relatedDocument>
"""


def structured(*sections: str) -> bytes:
    """An N3 with these `section` elements (their inner XML)."""
    body = "".join(f"<component><section>{section}</section></component>" for section in sections)
    return f"{_HEADER}<component><structuredBody>{body}</structuredBody></component></ClinicalDocument>".encode()


def narrative(text: str) -> bytes:
    """An N3 with one section of this narrative."""
    return structured(f"<title>Section</title><text>{text}</text>")


def unstructured(content: bytes | str, media_type: str, *, attributes: str = 'representation="B64"') -> bytes:
    """An N1; bytes are put in base64, a str goes in as it is."""
    text = base64.b64encode(content).decode() if isinstance(content, bytes) else content
    body = f'<component><nonXMLBody><text mediaType="{media_type}" {attributes}>{text}</text></nonXMLBody></component>'
    return f"{_HEADER}{body}</ClinicalDocument>".encode()


def media(identifier: str, content: bytes, media_type: str) -> str:
    """An `entry` with an observationMedia."""
    value = base64.b64encode(content).decode()
    return (
        f'<entry><observationMedia classCode="OBS" moodCode="EVN" ID="{identifier}">'
        f'<value mediaType="{media_type}" representation="B64">{value}</value></observationMedia></entry>'
    )


def copy_section(
    content: bytes, *, template: str = "1.2.250.1.213.1.1.2.243", code: str = "55108-5", identifier: str = "doc-1"
) -> str:
    """The inner XML of a "Copie du document" section."""
    return (
        f'<templateId root="{template}"/><code code="{code}" codeSystem="2.16.840.1.113883.6.1"/>'
        f"<title>Copie du document</title>"
        f'<text><renderMultiMedia referencedObject="{identifier}"/></text>'
        f"{media(identifier, content, 'application/pdf')}"
    )


def read(data: bytes) -> tuple[ClinicalDocument, etree._Element]:
    return read_tree(data)


def picture(mode: str, file_format: str, size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    """An image file of one colour (half transparent where the mode can be)."""
    colour: Any = {"RGBA": (200, 0, 0, 128), "LA": (90, 128), "RGB": (0, 120, 0), "CMYK": (0, 90, 90, 0), "1": 0}.get(
        mode, 90
    )
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, file_format, **options)
    return buffer.getvalue()


def pages_of(pdf: bytes) -> list[str]:
    """The text of each page, without its footer."""
    pages = []
    for page in pypdf.PdfReader(io.BytesIO(pdf)).pages:
        lines = page.extract_text().splitlines()
        assert re.fullmatch(r"Page \d+/\d+", lines[-1].strip()), lines[-3:]
        pages.append("\n".join(lines[:-3]))
    return pages


def squeezed(text: str) -> str:
    """Text without any white space, composed: what must not change between a CDA and its PDF."""
    return "".join(unicodedata.normalize("NFC", clean(text)).split())


def text_of(pdf: bytes) -> str:
    return squeezed("".join(pages_of(pdf)))
