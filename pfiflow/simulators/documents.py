"""Synthetic patients and CDA R2 documents, N1 and N3, that satisfy the CI-SIS "structuration minimale".

Nobody in here exists. Patients carry test INS (authority 1.2.250.1.213.1.4.10) with a right key; families begin with
`PAT-`, as in the official test identities. Everything else lies under a made-up structure, FINESS 999999999:

* OID 1.2.250.1.71.4.2.2.999999999.1.<number>: the documents;
* ….2.<number>: their setId; ….3: the patients' local identifiers (IPP); ….4: the stays.

Same arguments, same bytes, on every machine.
"""

from __future__ import annotations

import binascii
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal
from uuid import NAMESPACE_OID, uuid5
from xml.sax.saxutils import escape, quoteattr

from attrs import field, frozen

from pfiflow.cda.values import Code, Identifier
from pfiflow.simulators.paper import pdf

__all__ = [
    "OPERATIVE_REPORT",
    "ORGANIZATION",
    "ROOT",
    "TEST_INS_AUTHORITY",
    "SyntheticDocument",
    "SyntheticPatient",
    "document",
    "patient",
]

ROOT = "1.2.250.1.71.4.2.2.999999999"
"""Arc of the made-up structure."""

ORGANIZATION = "1999999999"
"""National identifier of the made-up structure: prefix 1 and a FINESS that nobody has."""

TEST_INS_AUTHORITY = "1.2.250.1.213.1.4.10"

_LOINC = "2.16.840.1.113883.6.1"
_TYPES = {
    "N1": (Code("11488-4", _LOINC, "CR ou fiche de consultation ou de visite", "LOINC"), "1.3.6.1.4.1.19376.1.2.20"),
    "N3": (
        Code("11490-0", _LOINC, "Lettre de liaison à la sortie d'un établissement de soins", "LOINC"),
        "1.2.250.1.213.1.1.1.29",
    ),
}
"""Level → type (in JDV_J07 and JDV_J66) and the third templateId (N1; model LDL-SES, which ASS_A11 gives a format)."""

OPERATIVE_REPORT = Code("34874-8", _LOINC, "CR opératoire", "LOINC")
"""Compte-rendu opératoire."""

_SECTIONS = (
    (
        "46239-0",
        "Motif d'hospitalisation et antécédents",
        """<paragraph>Patient fictif, admis pour une démonstration.
<content styleCode="Bold">Aucune allergie connue.</content></paragraph>""",
    ),
    (
        "10160-0",
        "Traitements à la sortie",
        """<list listType="ordered"><item>PARACÉTAMOL 1 g, 3 fois par jour, 5 jours</item>
<item>Reprise de l'activité &lt; 1 semaine</item></list>""",
    ),
    (
        "18776-5",
        "Suite à donner",
        "<list><item>Consultation à 1 mois</item><item>Contrôle biologique</item></list>",
    ),
)
"""LOINC code, title and narrative of the sections beside the table of results."""

_SYLLABLES = ("BA", "CO", "DU", "FI", "GE", "LA", "MO", "NU", "PI", "RE", "SA", "TO", "VU", "ZI", "BRE", "CLO")
_GIVEN = (("CAMILLE", "DOMINIQUE", "SACHA", "LOUISON"), ("CLAUDE", "MORGAN", "ALEX", "NOA"))
_PLACES = ("63113", "69123", "13055", "59350", "33063", "2A004", "2B033", "35238", "67482", "31555", "97411")
_PATIENTS = 1_080_000  # order number × year × month
_TABLE_ROW = (
    "<tr><td>Examen {n}</td><td>{value:.2f} mmol/L</td><td>3,50 à 5,30</td><td>Prélèvement synthétique</td></tr>"
)


@frozen
class SyntheticPatient:
    """A patient who does not exist. `number` decides everything."""

    number: int
    matricule: str
    family: str
    given: str
    given_names: str
    birth_date: str  # yyyymmdd
    gender: Literal["M", "F"]
    birth_place: str  # INSEE code
    ipp: str


@frozen
class SyntheticDocument:
    """A CDA and the facts that a message about it needs. `time` is yyyymmddhhmmss+zzzz."""

    data: bytes = field(repr=False)
    level: Literal["N1", "N3"]
    id: Identifier
    set_id: Identifier
    version: int
    type: Code
    patient: SyntheticPatient
    time: str
    replaces: Identifier | None = None


def patient(number: int) -> SyntheticPatient:
    """Patient `number` (0 ≤ number < 1 080 000): another number, another matricule and another family name."""
    if not 0 <= number < _PATIENTS:
        raise ValueError(f"patients are numbered from 0 to {_PATIENTS - 1}, not {number}")
    scattered = number * 7_919 % _PATIENTS  # 7919 is prime to 1 080 000: a permutation
    order, rest = scattered % 1_000, scattered // 1_000
    year, month = 1930 + rest % 90, 1 + rest // 90
    gender: Literal["M", "F"] = "M" if number % 2 else "F"
    place = _PLACES[number % len(_PLACES)]
    matricule = f"{'1' if gender == 'M' else '2'}{year % 100:02d}{month:02d}{place}{order:03d}"
    given = _GIVEN[number % 2][number // 2 % 4]
    return SyntheticPatient(
        number=number,
        matricule=f"{matricule}{_key(matricule)}",
        family="PAT-" + _spelt(number),
        given=given,
        given_names=f"{given} TEST",
        birth_date=f"{year}{month:02d}{1 + number % 28:02d}",
        gender=gender,
        birth_place=place,
        ipp=f"IPP{number:07d}",
    )


def document(
    level: Literal["N1", "N3"] = "N1",
    *,
    number: int,
    patient: SyntheticPatient | int = 0,
    size: int = 20_000,
    replaces: SyntheticDocument | None = None,
    pdf_copy: bool = False,
    extension: bool = False,
    confidentiality: Literal["N", "R", "V"] = "N",
    seed: int = 0,
    code: Code | None = None,
) -> SyntheticDocument:
    """One document.

    Args:
        level: N1 holds a PDF/A-1b; N3 narrative sections with a table and lists.
        number: decides the document's id and time; use each once.
        patient: who it is about.
        size: bytes of the CDA, met to a few bytes (N1) or a table row (N3), or exceeded when the header is larger.
        replaces: the previous version: same setId, next version, relatedDocument RPLC.
        pdf_copy: an N3 with the section "Copie du document" (1.2.250.1.213.1.1.2.243); it takes half of `size`.
        extension: give the id an extension (TXA-12 then has three components).
        confidentiality: code of confidentialityCode.
        seed: for the padding and the values of the table.
        code: its type, such as `OPERATIVE_REPORT`; None: the one of the level.
    """
    who = _patient_of(patient)
    usual, template = _TYPES[level]
    code = code or usual
    made = datetime(2025, 1, 6, 8, 0, 0) + timedelta(minutes=number % 60_000)  # noqa: DTZ001 - the offset is written
    time = f"{made:%Y%m%d%H%M%S}+0100"
    identifier = Identifier(f"{ROOT}.1", str(number)) if extension else Identifier(f"{ROOT}.1.{number}")
    set_id = replaces.set_id if replaces else Identifier(f"{ROOT}.2.{number}")
    version = replaces.version + 1 if replaces else 1
    head = _header(
        who, code, template, identifier, set_id, version, time, confidentiality, replaces.id if replaces else None
    ).encode()
    title = (code.display, f"Patient : {who.family} {who.given}", f"Document {number} version {version}")
    tail = b"</component></ClinicalDocument>"
    room = size - len(head) - len(tail)
    body = _unstructured(title, room, seed) if level == "N1" else _structured(title, room, seed, number, pdf_copy)
    return SyntheticDocument(
        data=b"".join((head, *body, tail)),
        level=level,
        id=identifier,
        set_id=set_id,
        version=version,
        type=code,
        patient=who,
        time=time,
        replaces=replaces.id if replaces else None,
    )


def _patient_of(who: SyntheticPatient | int) -> SyntheticPatient:
    return patient(who) if isinstance(who, int) else who


def _key(number: str) -> str:
    """97 less the number modulo 97; 2A counts as 19, 2B as 18 (NIR)."""
    digits = number[:5] + number[5:7].replace("2A", "19").replace("2B", "18") + number[7:]
    return f"{97 - int(digits) % 97:02d}"


def _spelt(number: int) -> str:
    """A number in syllables, two at least: no two numbers alike, for no syllable begins another."""
    found: list[str] = []
    while number or len(found) < 2:
        number, rest = divmod(number, len(_SYLLABLES))
        found.append(_SYLLABLES[rest])
    return "".join(reversed(found))


def _id(tag: str, identifier: Identifier) -> str:
    extension = f" extension={quoteattr(identifier.extension)}" if identifier.extension else ""
    return f'<{tag} root="{identifier.root}"{extension}/>'


def _code(tag: str, code: Code) -> str:
    name = f" codeSystemName={quoteattr(code.system_name)}" if code.system_name else ""
    return f'<{tag} code="{code.code}" displayName={quoteattr(code.display)} codeSystem="{code.system}"{name}/>'


def _header(
    who: SyntheticPatient,
    code: Code,
    template: str,
    identifier: Identifier,
    set_id: Identifier,
    version: int,
    time: str,
    confidentiality: str,
    replaced: Identifier | None,
) -> str:
    organization = (
        f'<id root="1.2.250.1.71.4.2.2" extension="{ORGANIZATION}"/><name>Hôpital de démonstration</name>'
        '<telecom value="tel:0100000000" use="WP"/><addr><city>TESTVILLE</city></addr>'
    )
    setting = _code(
        "standardIndustryClassCode", Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9", "Etablissement de santé")
    )
    professional = (
        '<id root="1.2.250.1.71.4.2.1" extension="899900000001"/>{code}<addr nullFlavor="NAV"/>'
        '<telecom value="tel:0100000001" use="WP"/><assignedPerson><name><family>DOCTEUR-TEST</family>'
        "<given>Andrea</given><prefix>MME</prefix><suffix>DR</suffix></name></assignedPerson>"
        f"<representedOrganization>{organization}{setting}</representedOrganization>"
    )
    specialty = Code("G15_10/SM26", "1.2.250.1.213.1.1.4.5", "Médecin - Qualifié en Médecine Générale (SM)")
    author = professional.replace("{code}", _code("code", specialty))
    entity = professional.replace("{code}", "")
    sex = Code(who.gender, "2.16.840.1.113883.5.1", "Masculin" if who.gender == "M" else "Féminin")
    visit = Identifier(f"{ROOT}.4", f"SEJ{who.number:07d}")
    related = (
        f'<relatedDocument typeCode="RPLC"><parentDocument>{_id("id", replaced)}{_id("setId", set_id)}'
        f'<versionNumber value="{version - 1}"/></parentDocument></relatedDocument>'
        if replaced
        else ""
    )
    return "".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>\n',
            '<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">',
            '<realmCode code="FR"/><typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>',
            '<templateId root="2.16.840.1.113883.2.8.2.1"/><templateId root="1.2.250.1.213.1.1.1.1"/>',
            f'<templateId root="{template}"/>',
            f"{_id('id', identifier)}{_code('code', code)}<title>{escape(code.display)}</title>",
            f'<effectiveTime value="{time}"/>',
            _code(
                "confidentialityCode",
                Code(confidentiality, "2.16.840.1.113883.5.25", _CONFIDENTIALITY[confidentiality]),
            ),
            f'<languageCode code="fr-FR"/>{_id("setId", set_id)}<versionNumber value="{version}"/>',
            f'<recordTarget><patientRole><id root="{TEST_INS_AUTHORITY}" extension="{who.matricule}"/>',
            f'<id root="{ROOT}.3" extension="{who.ipp}"/><addr use="H"><streetAddressLine>1 rue de la Démonstration',
            '</streetAddressLine><city>TESTVILLE</city></addr><telecom nullFlavor="NASK"/>',
            f'<patient><name><family qualifier="BR">{who.family}</family><family qualifier="CL">{who.family}</family>',
            f'<given>{who.given_names}</given><given qualifier="BR">{who.given}</given></name>',
            f'{_code("administrativeGenderCode", sex)}<birthTime value="{who.birth_date}"/>',
            f"<birthplace><place><addr><county>{who.birth_place}</county></addr></place></birthplace></patient>",
            f'</patientRole></recordTarget><author><time value="{time}"/>',
            f"<assignedAuthor>{author}</assignedAuthor></author>",
            f"<custodian><assignedCustodian><representedCustodianOrganization>{organization}",
            "</representedCustodianOrganization></assignedCustodian></custodian>",
            f'<legalAuthenticator><time value="{time}"/><signatureCode code="S"/>',
            f"<assignedEntity>{entity}</assignedEntity></legalAuthenticator>",
            f'<documentationOf><serviceEvent><effectiveTime><low value="{time}"/><high value="{time}"/>',
            "</effectiveTime>",
            f'<performer typeCode="PRF"><assignedEntity>{entity}</assignedEntity></performer></serviceEvent>',
            f"</documentationOf>{related}<componentOf><encompassingEncounter>{_id('id', visit)}",
            f'<effectiveTime><low value="{time}"/></effectiveTime><location><healthCareFacility>',
            _code("code", Code("SA01", "1.2.250.1.71.4.2.4", "Etablissement public de santé")),
            "</healthCareFacility></location></encompassingEncounter></componentOf><component>",
        )
    )


_CONFIDENTIALITY = {"N": "Normal", "R": "Restreint", "V": "Très restreint"}


def _unstructured(title: tuple[str, ...], room: int, seed: int) -> Iterator[bytes]:
    opening, closing = (
        b'<nonXMLBody><text mediaType="application/pdf" representation="B64">',
        b"</text></nonXMLBody>",
    )
    yield opening
    yield binascii.b2a_base64(pdf(title, size=(room - len(opening) - len(closing)) * 3 // 4, seed=seed), newline=False)
    yield closing


def _structured(title: tuple[str, ...], room: int, seed: int, number: int, pdf_copy: bool) -> Iterator[bytes]:
    opening = b"<structuredBody>"
    closing = "".join(_section(number, *each) for each in _SECTIONS).encode() + b"</structuredBody>"
    copy = _copy_section(number, title, room // 2, seed) if pdf_copy else b""
    table = (
        '<table border="1"><caption>Résultats</caption><thead><tr><th>Examen</th><th>Résultat</th><th>Référence</th>'
        "<th>Commentaire</th></tr></thead><tbody>{rows}</tbody></table>"
    )
    before, after = _section(number, "30954-2", "Résultats d'examens", table).encode().split(b"{rows}")
    left = room - sum(map(len, (opening, closing, copy, before, after)))
    yield from (opening, before)
    yield from _rows(left, seed)
    yield from (after, closing[: -len(b"</structuredBody>")], copy, b"</structuredBody>")


def _rows(room: int, seed: int) -> Iterator[bytes]:
    """At least one row; as many as fill `room` bytes. A block of rows is made once and repeated."""
    values = random.Random(seed)  # noqa: S311 - no secret
    block = [_TABLE_ROW.format(n=n, value=values.uniform(2, 7)).encode() for n in range(1, 501)]
    whole = b"".join(block)
    yield from (whole for _ in range(max(0, room) // len(whole)))
    room = max(0, room) % len(whole)
    for row in block:
        yield row
        room -= len(row)
        if room <= 0:
            return


def _section(number: int, code: str, title: str, text: str) -> str:
    return (
        f'<component><section><id root="{_uuid(number, code)}"/>{_code("code", Code(code, _LOINC, title, "LOINC"))}'
        f"<title>{escape(title)}</title><text>{text}</text></section></component>"
    )


def _copy_section(number: int, title: tuple[str, ...], size: int, seed: int) -> bytes:
    """FR-Document-PDF-copie (CI-SIS): organizer FR-Document-attache with an observationMedia."""
    name = "Copie du document"
    data = binascii.b2a_base64(pdf(title, size=size * 3 // 4, seed=seed), newline=False)
    opening = (
        '<component><section><templateId root="1.2.250.1.213.1.1.2.243"/>'
        f'<id root="{_uuid(number, "copy")}"/>{_code("code", Code("55108-5", _LOINC, name, "LOINC"))}'
        f'<title>{name}</title><text><renderMultiMedia referencedObject="copy-1"/></text><entry>'
        '<organizer classCode="CLUSTER" moodCode="EVN"><templateId root="1.2.250.1.213.1.1.3.18"/>'
        f'<id root="{_uuid(number, "attached")}"/>{_code("code", Code("55107-7", _LOINC, "Document attaché", "LOINC"))}'
        '<statusCode code="completed"/><component><observationMedia classCode="OBS" moodCode="EVN" ID="copy-1">'
        f'<id root="{_uuid(number, "media")}"/><value mediaType="application/pdf" representation="B64">'
    )
    closing = b"</value></observationMedia></component></organizer></entry></section></component>"
    return b"".join((opening.encode(), data, closing))


def _uuid(number: int, what: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{ROOT}.1.{number}/{what}")).upper()
