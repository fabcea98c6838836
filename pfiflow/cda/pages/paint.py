"""Laid-out pages drawn as PDF/A-1b with fpdf2, and the fonts that measure and draw them.

The same input gives the same bytes: the dates and the file identifier come from the document. Every call has
its own `FPDF` and its own fonts, so that threads share nothing.
"""

from __future__ import annotations

import io
from importlib import resources
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from attrs import frozen

from pfiflow.cda.pages.blocks import Style
from pfiflow.cda.pages.sheet import Drawn, Page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fpdf import FPDF
    from fpdf.fonts import TTFFont

__all__ = ["Faces", "Properties", "open_pdf", "paint"]

PRODUCER: Final = "pfiflow"
REPLACEMENT: Final = 0xFFFD

_FONTS = resources.files("pfiflow.cda.pages") / "fonts"
_NAMES = {
    "core": "DejaVuSansCondensed",
    "core-bold": "DejaVuSansCondensed-Bold",
    "core-oblique": "DejaVuSansCondensed-Oblique",
    "core-bold-oblique": "DejaVuSansCondensed-BoldOblique",
    "core-mono": "DejaVuSansMono",
    "wide": "DejaVuSansCondensed-Wide",
}
_INKS = {"text": (0, 0, 0), "muted": (90, 90, 90), "link": (0, 60, 140)}
_SHADE = (232, 238, 244)
_LINE = (150, 150, 150)


@frozen
class Properties:
    """What the PDF says of itself."""

    title: str
    author: str
    subject: str
    created: datetime  # with its offset
    language: str  # RFC 5646
    identifier: bytes  # 16 bytes, the trailer's /ID


class Faces:
    """The fonts of one PDF: `layout.Measure`. A font is read when a word first needs it.

    Attributes:
        missing: code points that no font has; each is drawn as U+FFFD, and copied from the PDF as itself.
    """

    def __init__(self, pdf: FPDF) -> None:
        self.missing: set[int] = set()
        self._pdf = pdf
        self._fonts: dict[str, TTFFont] = {}
        self._covered: dict[str, set[str]] = {}
        self._words: dict[tuple[str, str], tuple[tuple[str, str, float], ...]] = {}

    def close(self) -> None:
        """Close the font files. Painting has done so already; a refusal before that has not."""
        for font in self._fonts.values():
            font.close()

    def word(self, text: str, style: Style) -> tuple[tuple[str, str, float], ...]:
        """Parts of `text` with the face that can draw each: (face, text, width in thousandths of the size)."""
        face = _face_of(style)
        parts = self._words.get((face, text))
        if parts is None:
            parts = self._words[face, text] = self._parts(text, face)
        return parts

    def _parts(self, text: str, face: str) -> tuple[tuple[str, str, float], ...]:
        font = self._font(face)
        if self._covered[face].issuperset(text):
            widths = font.cw
            return ((face, text, float(sum(widths[ord(character)] for character in text))),)
        parts: list[tuple[str, str, float]] = []
        for character in text:
            chosen = face if character in self._covered[face] else self._other_face(character)
            width = float(self._font(chosen).cw[ord(character)])
            if parts and parts[-1][0] == chosen:
                _, before, so_far = parts[-1]
                parts[-1] = (chosen, before + character, so_far + width)
            else:
                parts.append((chosen, character, width))
        return tuple(parts)

    def _other_face(self, character: str) -> str:
        wide = self._font("wide")
        if character in self._covered["wide"]:
            return "wide"
        # A glyph of its own for this code point, which looks like U+FFFD: the text can still be copied out.
        code = ord(character)
        self.missing.add(code)
        wide.cmap[code] = wide.cmap[REPLACEMENT]
        wide.glyph_ids[code] = wide.glyph_ids[REPLACEMENT]
        wide.cw[code] = wide.cw[REPLACEMENT]
        return "wide"

    def _font(self, face: str) -> TTFFont:
        from fpdf.fonts import CoreFont

        font = self._fonts.get(face)
        if font is None:
            with resources.as_file(_FONTS / f"{face}.ttf") as path:
                self._pdf.add_font(face, fname=path)
            added = self._pdf.fonts[face]
            assert not isinstance(added, CoreFont)
            font = added
            font.name = _NAMES[face]
            self._fonts[face] = font
            self._covered[face] = {chr(code) for code in font.cmap}
        return font


def _face_of(style: Style) -> str:
    if style.mono:
        return "core-mono"
    if style.bold:
        return "core-bold-oblique" if style.italic else "core-bold"
    return "core-oblique" if style.italic else "core"


def open_pdf(properties: Properties) -> FPDF:
    """An empty PDF/A-1b of A4 pages, in points."""
    from fpdf import FPDF

    class Reproducible(FPDF):
        """Its /ID comes from the document, not from the clock."""

        def file_id(self) -> str:
            digits = properties.identifier.hex().upper()
            return f"<{digits}><{digits}>"

    pdf = Reproducible(unit="pt", format="A4", enforce_compliance="PDF/A-1B")
    pdf.set_auto_page_break(auto=False)
    pdf.str_alias_nb_pages = ""  # page numbers are known before drawing; a text may hold the alias
    pdf.set_lang(properties.language)
    pdf.set_xmp_metadata(_xmp(properties))
    return pdf


def _xmp(properties: Properties) -> str:
    """The XMP packet (ISO 19005-1 §6.7); a PDF/A of fpdf2 has no information dictionary that would have to agree.

    fpdf2's own packet has the clock in it, and holds `xmp:` properties as attributes, where PDFBox preflight does not
    find them: hence one rdf:Description for each schema, and elements only.
    """
    title, author, subject = (escape(v) for v in (properties.title, properties.author, properties.subject))
    created = properties.created.isoformat(timespec="seconds")
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}">'
        '<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">'
        "<pdfaid:part>1</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance></rdf:Description>"
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>'
        f"<dc:creator><rdf:Seq><rdf:li>{author}</rdf:li></rdf:Seq></dc:creator>"
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{subject}</rdf:li></rdf:Alt></dc:description>'
        "</rdf:Description>"
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        f"<xmp:CreatorTool>{PRODUCER}</xmp:CreatorTool><xmp:CreateDate>{created}</xmp:CreateDate></rdf:Description>"
        '<rdf:Description rdf:about="" xmlns:pdf="http://ns.adobe.com/pdf/1.3/">'
        f"<pdf:Producer>{PRODUCER}</pdf:Producer></rdf:Description>"
        "</rdf:RDF></x:xmpmeta>"
    )


def paint(pdf: FPDF, pages: Sequence[Page]) -> bytes:
    """Draw every page and close the PDF."""
    pdf.set_draw_color(*_LINE)
    pdf.set_fill_color(*_SHADE)
    for page in pages:
        pdf.add_page()
        font, ink = ("", 0.0), ""
        for drawn in page:
            if drawn.kind == "text":
                if font != (drawn.face, drawn.size):
                    font = (drawn.face, drawn.size)
                    pdf.set_font(drawn.face, size=drawn.size)
                if ink != drawn.ink:
                    ink = drawn.ink
                    pdf.set_text_color(*_INKS[drawn.ink])
                pdf.text(drawn.x, drawn.y, drawn.text)
            else:
                _figure(pdf, drawn)
    return bytes(pdf.output())


def _figure(pdf: FPDF, drawn: Drawn) -> None:
    if drawn.kind == "fill":
        pdf.rect(drawn.x, drawn.y, drawn.width, drawn.height, style="F")
    elif drawn.kind == "box":
        pdf.set_line_width(0.4)
        pdf.rect(drawn.x, drawn.y, drawn.width, drawn.height)
    elif drawn.kind == "rule":
        pdf.set_draw_color(*_INKS[drawn.ink])
        pdf.set_line_width(drawn.size or 0.5)
        pdf.line(drawn.x, drawn.y, drawn.x + drawn.width, drawn.y)
        pdf.set_draw_color(*_LINE)
    elif drawn.kind == "link":
        pdf.link(drawn.x, drawn.y, drawn.width, drawn.height, drawn.text)
    elif drawn.kind == "image":
        assert drawn.image is not None
        pdf.image(io.BytesIO(drawn.image.data), drawn.x, drawn.y, drawn.width, drawn.height)
    else:
        pdf.start_section(drawn.text, level=drawn.level, strict=False)
