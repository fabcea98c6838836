"""A CDA shown as PDF/A-1b: its header facts, then the title and narrative of every section (SC.CDA/DD.12).

What French users read is in French. The layout is ours; the words are the document's.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from attrs import frozen

from pfiflow.cda.pages.blocks import (
    BOLD,
    BREAK,
    MAX_CHARACTERS,
    PLAIN,
    Block,
    Cell,
    Inline,
    Paragraph,
    Section,
    Style,
    Table,
    Text,
    clean,
    too_large,
)
from pfiflow.cda.pages.composer import Composer, Heading
from pfiflow.cda.pages.images import Image
from pfiflow.cda.pages.lines import break_lines
from pfiflow.cda.pages.narrative import V3, NarrativeReader
from pfiflow.cda.pages.paint import Faces, Properties, open_pdf, paint
from pfiflow.cda.pages.sheet import BOTTOM, MARGIN, PAGE_HEIGHT, TOP, WIDTH, Drawn
from pfiflow.cda.values import ClinicalDocument, Organization, Patient, Person
from pfiflow.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lxml import etree

__all__ = ["Rendering", "render", "render_images", "render_narrative", "render_text"]

_HEADINGS = (12.0, 10.8, 10.0, 9.5)
_MUTED = Style(muted=True)
_TIME = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\d\d)?)?)?)?)?(?:\.\d+)?([+-]\d{4})?")
_CONTROL = re.compile("[\\x00-\\x08\\x0e-\\x1b\\x7f]")  # no XML holds them, but base64 can
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z]{2})?")
_SEXES = {"M": "Masculin", "F": "Féminin", "U": "Indéterminé"}
_INS_KINDS = {
    "1.2.250.1.213.1.4.8": "NIR",
    "1.2.250.1.213.1.4.9": "NIA",
    "1.2.250.1.213.1.4.10": "NIR de test",
    "1.2.250.1.213.1.4.11": "NIR de démonstration",
}


@frozen
class Rendering:
    """A PDF/A-1b and what could not be shown in it as it is."""

    data: bytes
    warnings: tuple[Problem, ...] = ()


def render(document: ClinicalDocument, tree: etree._Element) -> bytes:
    """The PDF/A-1b of a structured document, without its warnings. See `render_narrative`."""
    return render_narrative(document, tree).data


def render_narrative(document: ClinicalDocument, tree: etree._Element) -> Rendering:
    """The PDF/A-1b of a structured document: header facts, then the title and narrative of every section.

    The same document gives the same bytes, whenever and wherever it is rendered.

    Args:
        document: the header facts, as `pfiflow.cda.document.read_tree` gives them.
        tree: the ClinicalDocument element (or a root that holds it).

    Raises:
        Rejected: more pages, cells, characters or depth than a PDF can reasonably show.
    """
    root = next(tree.iter(f"{V3}ClinicalDocument"), tree)
    reader = NarrativeReader(root)
    sections = [
        section for body in root.iterfind(f"{V3}component/{V3}structuredBody") for section in reader.sections(body)
    ]
    with closing(_Paper(document)) as paper:
        paper.front()
        for section in sections:
            paper.section(section)
        return paper.finished(reader.warnings)


def render_text(document: ClinicalDocument, text: str) -> Rendering:
    """The PDF/A-1b of a document whose body is plain text: header facts, then the text, aligned as it was typed.

    Raises:
        Rejected: more characters or pages than a PDF can reasonably show.
    """
    if len(text) > MAX_CHARACTERS:
        raise too_large(f"it has more than {MAX_CHARACTERS} characters")
    lines = [_indented(line) for line in clean(_CONTROL.sub("\ufffd", text)).expandtabs(8).splitlines()]
    longest = max(map(len, lines), default=0)
    size = min(9.0, max(6.0, WIDTH / (0.6021 * longest))) if longest else 9.0
    mono = Style(mono=True)
    with closing(_Paper(document)) as paper:
        paper.front()
        for line in lines:
            items: tuple[Inline, ...] = (Text(line, mono),) if line else (BREAK,)
            paper.composer.lines(break_lines(items, WIDTH, size, paper.faces), MARGIN)
        return paper.finished(())


def _indented(line: str) -> str:
    """The line without its last spaces, its first ones kept from being collapsed."""
    words = line.strip(" ")
    return "\u00a0" * (len(line) - len(line.lstrip(" "))) + words if words else ""


def render_images(document: ClinicalDocument, images: Sequence[Image]) -> Rendering:
    """The PDF/A-1b of a document whose body is a scan: header facts, then each image on a page of its own."""
    with closing(_Paper(document)) as paper:
        paper.front()
        for image in images:
            composer = paper.composer
            composer.new_page()
            scale = min(WIDTH / image.width, (BOTTOM - TOP) / image.height)
            width, height = image.width * scale, image.height * scale
            composer.draw(Drawn("image", MARGIN + (WIDTH - width) / 2, TOP, width, height, image=image))
            composer.y = BOTTOM
        return paper.finished(())


class _Paper:
    """One PDF being composed."""

    def __init__(self, document: ClinicalDocument) -> None:
        self.document = document
        self.pdf = open_pdf(_properties(document))
        self.faces = Faces(self.pdf)
        self.composer = Composer(self.faces)

    def close(self) -> None:
        """Let go of the font files."""
        self.faces.close()

    def front(self) -> None:
        """Title, patient and document facts."""
        document, composer = self.document, self.composer
        composer.new_page()
        composer.draw(Drawn("mark", text=document.title, level=0))
        self._lines((Text(clean(document.title), BOLD),), 16)
        if document.code.display and document.code.display.casefold() != document.title.casefold():
            self._lines((Text(clean(document.code.display), _MUTED),), 10.5)
        composer.y += 6
        self._facts(f"Patient : {patient_name(document.patient)}", patient_facts(document.patient), pairs=2)
        self._facts("Document", document_facts(document), pairs=1)

    def section(self, section: Section) -> None:
        """A section's title and narrative, then its footnotes."""
        composer = self.composer
        size = _HEADINGS[min(section.depth, len(_HEADINGS) - 1)]
        if section.title:
            lines = tuple(break_lines(section.title, WIDTH, size, self.faces))
            title = "".join(item.text for item in section.title if isinstance(item, Text))
            top = section.depth == 0
            composer.heading(Heading(lines, title, min(section.depth + 1, 8), 10 if top else 5, ruled=top))
        composer.blocks(section.blocks)
        if section.notes:
            composer.gap(3)
            composer.need(30)
            composer.draw(Drawn("rule", MARGIN, composer.y, 120, size=0.5, ink="muted"))
            composer.y += 3
            composer.blocks(section.notes, size=8.0)

    def finished(self, warnings: Iterable[Problem]) -> Rendering:
        """Footers, now that the number of pages is known, and the bytes."""
        self.composer.need(0)  # a last heading without text
        pages = self.composer.pages
        for number, page in enumerate(pages, start=1):
            self._footer(page, f"Page {number}/{len(pages)}")
        return Rendering(paint(self.pdf, pages), (*warnings, *self._missing()))

    def _missing(self) -> tuple[Problem, ...]:
        codes = sorted(self.faces.missing)
        if not codes:
            return ()
        shown = ", ".join(f"U+{code:04X}" for code in codes[:10]) + (" …" if len(codes) > 10 else "")
        message = f"{len(codes)} characters have no glyph in the PDF's fonts and are shown as U+FFFD: {shown}"
        return (Problem("207", message, severity="warning", rule="SC.CDA/DD.12"),)

    def _lines(self, items: Sequence[Inline], size: float) -> None:
        self.composer.lines(break_lines(items, WIDTH, size, self.faces), MARGIN)

    def _facts(self, heading: str, facts: Sequence[tuple[str, str]], *, pairs: int) -> None:
        composer = self.composer
        composer.draw(Drawn("fill", MARGIN, composer.y, WIDTH, 15))
        composer.y += 1
        self._lines((Text(clean(f" {heading}"), BOLD),), 9.5)
        composer.y += 3
        cells = [
            (Cell(0, 1, 1, _cell(label, _MUTED)), Cell(1, 1, 1, _cell(value, PLAIN))) for label, value in facts if value
        ]
        rows = []
        for index in range(0, len(cells), pairs):
            row: list[Cell] = []
            for pair in cells[index : index + pairs]:
                for cell in pair:
                    row.append(Cell(len(row), 1, 1, cell.blocks))
            rows.append(tuple(row))
        composer.blocks([Table(2 * pairs, (), tuple(rows), kind="facts")])
        composer.y += 2

    def _footer(self, page: list[Drawn], numbering: str) -> None:
        document = self.document
        version = f", version {document.version}" if document.version else ""
        patient = patient_name(document.patient)
        born = f", né(e) le {french_time(document.patient.birth_time)}" if document.patient.birth_time else ""
        page.append(Drawn("rule", MARGIN, BOTTOM + 10, WIDTH, size=0.4, ink="muted"))
        for row, text in enumerate((f"{patient}{born}", f"Document {document.id.unique_id}{version}")):
            line = break_lines((Text(clean(text), _MUTED),), WIDTH - 70, 7.5, self.faces)[0]
            for part in line.fragments:
                y = BOTTOM + 20 + row * 10
                page.append(Drawn("text", MARGIN + part.x, y, 0, 0, part.text, part.face, part.size, "muted"))
        for part in break_lines((Text(numbering, _MUTED),), 70, 7.5, self.faces, "right")[0].fragments:
            x = MARGIN + WIDTH - 70 + part.x
            page.append(Drawn("text", x, BOTTOM + 20, 0, 0, part.text, part.face, part.size, "muted"))
        assert PAGE_HEIGHT > BOTTOM + 30


def _cell(text: str, style: Style) -> tuple[Block, ...]:
    return (Paragraph((Text(clean(text), style),)),)


def french_time(value: str) -> str:
    """An HL7 v3 TS as a French reader writes it, to the precision that it has: `03/12/2023 à 14:30`."""
    match = _TIME.fullmatch(value)
    if match is None:
        return value
    year, month, day, hour, minute, _, _ = match.groups()
    date = "/".join(part for part in (day, month, year) if part)
    return f"{date} à {hour}:{minute or '00'}" if hour else date


def instant(value: str) -> datetime:
    """An HL7 v3 TS as a moment, for the PDF's properties. Without offset it is taken as UTC; unreadable, as 1970."""
    match = _TIME.fullmatch(value)
    if match is None:
        return datetime(1970, 1, 1, tzinfo=UTC)
    year, month, day, hour, minute, second, offset = match.groups()
    zone: timezone = UTC
    if offset:
        minutes = int(offset[1:3]) * 60 + int(offset[3:5])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    try:
        return datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=zone
        )
    except ValueError:
        return datetime(1970, 1, 1, tzinfo=UTC)


def patient_name(patient: Patient) -> str:
    """Name in use, or at birth, and given name."""
    family = patient.used_family or patient.birth_family
    given = patient.used_given or patient.first_birth_given or patient.birth_given_names
    return " ".join(filter(None, (family, given)))


def patient_facts(patient: Patient) -> list[tuple[str, str]]:
    """Label and value of each identity trait; an empty value is not shown."""
    ins = patient.ins(test_platform=True)
    local = patient.local_id()
    place = patient.birth_place_name
    if patient.birth_place:
        place = f"{place} (code INSEE {patient.birth_place})" if place else f"code INSEE {patient.birth_place}"
    return [
        ("Nom de naissance", patient.birth_family),
        ("Né(e) le", french_time(patient.birth_time)),
        ("Prénom de naissance", patient.first_birth_given),
        ("Sexe", _SEXES.get(patient.gender, patient.gender)),
        ("Prénoms de naissance", patient.birth_given_names),
        ("Lieu de naissance", place),
        ("Nom utilisé", patient.used_family),
        ("Matricule INS", f"{ins.extension} ({_INS_KINDS[ins.root]})" if ins else ""),
        ("Prénom utilisé", patient.used_given),
        ("Identifiant local (IPP)", local.extension if local else ""),
    ]


def document_facts(document: ClinicalDocument) -> list[tuple[str, str]]:
    """Label and value of each fact about the document; an empty value is not shown."""
    facts = [
        ("Type", document.code.display or document.code.code),
        ("Créé le", french_time(document.effective_time)),
    ]
    for author in document.authors:
        when = f"le {french_time(author.time)}" if author.time else ""
        facts.append(("Auteur", _joined(person_text(author.person), author.function, when)))
    if document.legal_authenticator:
        time = document.legal_authenticator_time
        when = f"le {french_time(time)}" if time else ""
        facts.append(("Responsable", _joined(person_text(document.legal_authenticator), when)))
    facts.append(("Organisation conservant le document", _organization(document.custodian)))
    for event in document.service_events:
        act = (event.code.display or event.code.code) if event.code else ""
        performer = f"réalisé par {person_text(event.performer)}" if event.performer else ""
        if act or event.start:
            facts.append(("Acte documenté", _joined(act, _period(event.start, event.stop), performer)))
    if document.encounter:
        kind = document.encounter.code.display if document.encounter.code else ""
        facility = document.encounter.facility_type.display if document.encounter.facility_type else ""
        period = _period(document.encounter.start, document.encounter.stop)
        facts.append(("Prise en charge", _joined(kind, period, facility)))
    version = f"version {document.version}" if document.version else ""
    facts.append(("Identifiant", _joined(document.id.unique_id, version)))
    if document.replaces:
        facts.append(("Remplace le document", document.replaces.unique_id))
    if document.confidentiality.code not in {"", "N"}:
        facts.append(("Confidentialité", document.confidentiality.display or document.confidentiality.code))
    return facts


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _period(start: str, stop: str) -> str:
    if start and stop and start != stop:
        return f"du {french_time(start)} au {french_time(stop)}"
    return f"le {french_time(start or stop)}" if start or stop else ""


def _organization(organization: Organization | None) -> str:
    if organization is None:
        return ""
    identifier = organization.id.extension or organization.id.root if organization.id else ""
    return (
        f"{organization.name} ({identifier})" if organization.name and identifier else organization.name or identifier
    )


def person_text(person: Person) -> str:
    """A professional in one line: titles, names, specialty, organisation; or the device."""
    if person.device:
        name = _joined(person.device.software, person.device.model)
    else:
        name = " ".join(filter(None, (person.suffix or person.prefix, person.given, person.family)))
    return _joined(
        name or next((each.extension for each in person.ids if each.extension), ""),
        person.code.display if person.code else "",
        person.organization.name if person.organization else "",
    )


def _properties(document: ClinicalDocument) -> Properties:
    author = person_text(document.authors[0].person) if document.authors else ""
    return Properties(
        title=document.title,
        author=author or "inconnu",
        subject=document.code.display or document.code.code,
        created=instant(document.effective_time),
        language=document.language if _LANGUAGE.fullmatch(document.language) else "fr-FR",
        identifier=hashlib.sha256(document.raw).digest()[:16],
    )
