"""A CDA narrative block read into blocks that a page can hold.

The grammar is HL7's `NarrativeBlock.xsd` (StrucDoc.Text), read with tolerance: an element that it does not know is
transparent, so that its text is kept. Pure data comes out; how it looks is for the rest of this package.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve

from pfiflow.cda.pages.blocks import (
    BREAK,
    MAX_CELLS,
    MAX_CHARACTERS,
    MAX_COLUMNS,
    MAX_DEPTH,
    MAX_PICTURES,
    MAX_SPANS,
    PLAIN,
    RULE,
    Block,
    Break,
    Cell,
    Inline,
    Listing,
    Paragraph,
    Picture,
    Section,
    Style,
    Text,
    clean,
    collapse,
    too_large,
)
from pfiflow.cda.pages.images import Image, decode_base64, read_images
from pfiflow.cda.pages.labels import list_label
from pfiflow.cda.pages.spans import TooWideError, placed, span_of
from pfiflow.errors import Problem, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

__all__ = ["V3", "NarrativeReader", "name_of", "path_of"]

V3 = "{urn:hl7-org:v3}"

_STYLES: dict[str, dict[str, bool]] = {
    "bold": {"bold": True},
    "italics": {"italic": True},
    "italic": {"italic": True},
    "emphasis": {"italic": True},
    "underline": {"underline": True},
}
_BLOCKS = frozenset({"paragraph", "list", "table", "p", "div"})
_LINK = re.compile(r"(?:https?://|mailto:)[!-~]+\Z", re.IGNORECASE)


def name_of(element: etree._Element) -> str:
    """Local name of an element, "" for a comment or a processing instruction."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def path_of(element: etree._Element) -> str:
    """XPath of an element from its ClinicalDocument, without namespace prefixes, for a human."""
    steps: list[str] = []
    node: etree._Element | None = element
    while node is not None:
        before = sum(1 for _ in node.itersiblings(node.tag, preceding=True))
        steps.append(name_of(node) + (f"[{before + 1}]" if before else ""))
        if node.tag == f"{V3}ClinicalDocument":
            break
        node = node.getparent()
    return "/" + "/".join(reversed(steps))


class _Builder:
    """Collects inline content into paragraphs, and blocks between them."""

    def __init__(self, align: Literal["left", "center", "right"] = "left") -> None:
        self.blocks: list[Block] = []
        self.items: list[Inline] = []
        self.align = align

    def flush(self) -> None:
        items = collapse(self.items)
        self.items = []
        if any(not isinstance(item, Break) for item in items):
            self.blocks.append(Paragraph(items, self.align))


class NarrativeReader:
    """Reads every section of one document. Not shared: one per document.

    Attributes:
        warnings: what could not be shown as it is (each is shown in some other way).
    """

    def __init__(self, document: etree._Element) -> None:
        self.warnings: list[Problem] = []
        self._media = {
            identifier: element
            for element in document.iter(f"{V3}observationMedia", f"{V3}regionOfInterest")
            if (identifier := element.get("ID"))
        }
        self._footnotes = list(document.iter(f"{V3}footnote"))  # keeps the proxies alive: `_notes` has their identity
        self._notes = {id(element): number for number, element in enumerate(self._footnotes, start=1)}
        self._note_numbers = {element.get("ID", ""): self._notes[id(element)] for element in self._footnotes}
        self._images: dict[int, tuple[etree._Element, tuple[Image, ...]]] = {}
        self._pictures = 0
        self._pending: list[etree._Element] = []
        self._cells = 0
        self._characters = 0

    def sections(self, body: etree._Element, depth: int = 0) -> Iterator[Section]:
        """Sections below `structuredBody` (or a section), in document order.

        Raises:
            Rejected: nested deeper than `MAX_DEPTH`, or larger than the bounds of this module.
        """
        _check_depth(depth, body)
        for section in body.iterfind(f"{V3}component/{V3}section"):
            yield self._section(section, depth)
            yield from self.sections(section, depth + 1)

    def _section(self, section: etree._Element, depth: int) -> Section:
        title_builder, builder = _Builder(), _Builder()
        title, text = section.find(f"{V3}title"), section.find(f"{V3}text")
        if title is not None:
            self._walk(title, Style(bold=True), title_builder, depth)
        if text is not None:
            self._walk(text, _styled(PLAIN, text), builder, depth)
            builder.flush()
        return Section(depth, collapse(title_builder.items), tuple(builder.blocks), self._notes_of_section(depth))

    def _notes_of_section(self, depth: int) -> tuple[Block, ...]:
        """The footnotes met since the last call; a footnote may hold another, which then follows."""
        entries: list[tuple[str, tuple[Block, ...]]] = []
        while self._pending:
            notes, self._pending = self._pending, []
            for note in notes:
                builder = _Builder()
                self._walk(note, _styled(PLAIN, note), builder, depth)
                builder.flush()
                entries.append((f"[{self._notes[id(note)]}]", tuple(builder.blocks)))
        return (Listing(tuple(entries)),) if entries else ()

    def _walk(self, element: etree._Element, style: Style, builder: _Builder, depth: int) -> None:
        _check_depth(depth, element)
        self._add(element.text, style, builder)
        for child in element:
            name = name_of(child)
            if name:
                self._child(child, name, style, builder, depth + 1)
            self._add(child.tail, style, builder)

    def _add(self, text: str | None, style: Style, builder: _Builder) -> None:
        if not text:
            return
        self._characters += len(text)
        if self._characters > MAX_CHARACTERS:
            raise too_large(f"its narrative has more than {MAX_CHARACTERS} characters")
        builder.items.append(Text(clean(text), style))

    def _child(self, child: etree._Element, name: str, style: Style, builder: _Builder, depth: int) -> None:
        if name in _BLOCKS:
            builder.flush()
            if name == "list":
                self._list(child, style, builder, depth)
            elif name == "table":
                self._table(child, style, builder, depth)
            else:
                inner = _Builder(_align(child) or builder.align)
                self._walk(child, _styled(style, child), inner, depth)
                inner.flush()
                builder.blocks.extend(inner.blocks)
        elif name == "br":
            builder.items.append(BREAK)
            self._walk(child, style, builder, depth)
        elif name in {"sub", "sup"}:
            self._walk(child, evolve(style, rise=-1 if name == "sub" else 1), builder, depth)
        elif name == "caption":
            builder.flush()
            self._walk(child, evolve(_styled(style, child), bold=True), builder, depth)
            builder.flush()
        elif name == "footnote":
            self._pending.append(child)
            builder.items.append(Text(f"[{self._notes[id(child)]}]", evolve(style, rise=1)))
        elif name == "footnoteRef":
            number = self._note_numbers.get(child.get("IDREF", ""))
            builder.items.append(Text(f"[{number or '?'}]", evolve(style, rise=1)))
            self._walk(child, style, builder, depth)
        elif name == "linkHtml":
            self._link(child, style, builder, depth)
        elif name == "renderMultiMedia":
            self._media_of(child, style, builder, depth)
        else:
            self._walk(child, _styled(style, child), builder, depth)

    def _link(self, child: etree._Element, style: Style, builder: _Builder, depth: int) -> None:
        target = (child.get("href") or "").strip()
        linked = evolve(_styled(style, child), link=target) if _LINK.match(target) else _styled(style, child)
        before = len(builder.items)
        self._walk(child, linked, builder, depth)
        if len(builder.items) == before and target and not target.startswith("#"):
            self._add(target, linked, builder)

    def _list(self, element: etree._Element, style: Style, builder: _Builder, depth: int) -> None:
        _check_depth(depth, element)
        style = _styled(style, element)
        codes = {code.lower() for code in (element.get("styleCode") or "").split()}
        ordered = element.get("listType") == "ordered"
        entries: list[tuple[str, tuple[Block, ...]]] = []
        for child in element:
            name = name_of(child)
            if name == "item":
                inner = _Builder()
                self._walk(child, _styled(style, child), inner, depth + 1)
                inner.flush()
                label = list_label(len(entries) + 1, codes, ordered=ordered)
                entries.append((label, tuple(inner.blocks)))
            elif name:
                self._child(child, name, style, builder, depth + 1)
                builder.flush()
        self._stray(element, style, builder)
        builder.blocks.append(Listing(tuple(entries)))

    def _stray(self, element: etree._Element, style: Style, builder: _Builder) -> None:
        """Text where the schema allows none (directly in a list, table or row): kept, before it."""
        for text in (element.text, *(child.tail for child in element)):
            if text and not text.isspace():
                self._add(text, style, builder)
                builder.flush()

    def _table(self, element: etree._Element, style: Style, builder: _Builder, depth: int) -> None:
        _check_depth(depth, element)
        style = _styled(style, element)
        groups: dict[str, list[list[etree._Element]]] = {"thead": [], "tbody": [], "tfoot": []}
        loose: list[etree._Element] = []
        for child in element:
            name = name_of(child)
            if name in groups:
                self._stray(child, style, builder)
                groups[name].append([row for row in child if name_of(row)])
            elif name == "tr":
                loose.append(child)
            elif name and name not in {"col", "colgroup"}:
                self._child(child, name, style, builder, depth)
                builder.flush()
        if loose:
            groups["tbody"].append(loose)
        self._stray(element, style, builder)
        for row in (row for rows in groups.values() for group in rows for row in group):
            self._stray(row, style, builder)
        # The foot closes the table, wherever the schema makes it stand.
        head = [self._rows(rows, style, depth) for rows in groups["thead"]]
        body = [self._rows(rows, style, depth) for rows in groups["tbody"] + groups["tfoot"]]
        builder.blocks.extend(self._placed(head, body))

    def _rows(self, rows: list[etree._Element], style: Style, depth: int) -> list[list[Cell]]:
        """The cells of one row group, placed on the grid; `column` may still count columns that nothing begins in."""
        result: list[list[Cell]] = []
        busy: list[tuple[int, int, int]] = []  # (first column, column after the last, rows still covered)
        for index, row in enumerate(rows):
            self._count_cell()
            row_style = _styled(style, row)
            column = 0
            taken = sorted(busy)
            cells: list[Cell] = []
            for child in row:
                if not name_of(child):
                    continue
                self._count_cell()
                for first, end, _ in taken:
                    if first <= column < end:
                        column = end
                header = name_of(child) == "th"
                inner = _Builder(_align(child) or _align(row) or "left")
                cell_style = _styled(row_style, child)
                self._walk(child, evolve(cell_style, bold=True) if header else cell_style, inner, depth + 2)
                inner.flush()
                # A span stops where a cell from above stands: nothing may lie on anything else.
                room = min((first - column for first, _, _ in taken if first > column), default=1000)
                columns = span_of(child, "colspan", room)
                height = span_of(child, "rowspan", len(rows) - index)
                cells.append(Cell(column, columns, height, tuple(inner.blocks), header))
                if height > 1:
                    busy.append((column, column + columns, height))
                    if len(busy) > MAX_SPANS:
                        raise too_large(f"one of its tables has more than {MAX_SPANS} cells spanning the same row")
                column += columns
            result.append(cells)
            busy = [(first, end, left - 1) for first, end, left in busy if left > 1]
        return result

    def _count_cell(self) -> None:
        self._cells += 1
        if self._cells > MAX_CELLS:
            raise too_large(f"its tables have more than {MAX_CELLS} rows and cells")

    def _placed(self, head: list[list[list[Cell]]], body: list[list[list[Cell]]]) -> list[Block]:
        try:
            return placed(head, body)
        except TooWideError:
            message = f"a table of more than {MAX_COLUMNS} columns is shown cell by cell in the PDF"
            self.warnings.append(Problem("207", message, severity="warning", rule=RULE))
        return [block for group in head + body for row in group for cell in row for block in cell.blocks]

    def _media_of(self, element: etree._Element, style: Style, builder: _Builder, depth: int) -> None:
        for identifier in (element.get("referencedObject") or "").split():
            media = self._media.get(identifier)
            inner = media.iter(f"{V3}observationMedia") if media is not None else ()
            shown = False
            for observation in inner:
                shown = self._picture(observation, builder) or shown
            if media is None or not shown:
                self._not_shown(element, media, style, builder)
        self._walk(element, style, builder, depth)  # its caption

    def _picture(self, media: etree._Element, builder: _Builder) -> bool:
        images = self._images_of(media)
        self._pictures += len(images)
        if self._pictures > MAX_PICTURES:
            raise too_large(f"it shows more than {MAX_PICTURES} pictures")
        builder.items.extend(Picture(image) for image in images)
        return bool(images)

    def _images_of(self, media: etree._Element) -> tuple[Image, ...]:
        """Its images, decoded once however often they are shown; none (and a warning) when they cannot be read."""
        known = self._images.get(id(media))
        if known is not None:
            return known[1]
        path = path_of(media)
        value = media.find(f"{V3}value")
        media_type = (value.get("mediaType") or "").lower() if value is not None else ""
        images: tuple[Image, ...] = ()
        if value is not None and media_type.startswith("image/") and value.get("representation") == "B64":
            try:
                images = read_images(decode_base64(value.text or "", path), media_type, path)
            except Rejected as refusal:
                self.warnings.extend(evolve(problem, severity="warning") for problem in refusal.problems)
        self._images[id(media)] = (media, images)  # keeps the proxy alive, and with it its identity
        return images

    def _not_shown(
        self, element: etree._Element, media: etree._Element | None, style: Style, builder: _Builder
    ) -> None:
        value = media.find(f".//{V3}value") if media is not None else None
        media_type = (value.get("mediaType") or "inconnu") if value is not None else "inconnu"
        builder.items.append(
            Text(f"[Contenu multimédia non affiché dans ce PDF, type : {media_type[:60]}]", evolve(style, italic=True))
        )
        self.warnings.append(
            Problem(
                "207",
                "a renderMultiMedia points at nothing that can be drawn (only images in base64 can): "
                "the PDF says so in its place",
                location=path_of(media if media is not None else element),
                severity="warning",
                rule=RULE,
            )
        )


def _check_depth(depth: int, element: etree._Element) -> None:
    if depth > MAX_DEPTH:
        raise too_large(f"sections or narrative elements nested more than {MAX_DEPTH} deep (in {name_of(element)})")


def _styled(style: Style, element: etree._Element) -> Style:
    codes = element.get("styleCode")
    revised = element.get("revised")
    if not codes and not revised:
        return style
    changes: dict[str, Any] = {}
    for code in (codes or "").lower().split():
        changes.update(_STYLES.get(code, {}))
    if revised == "delete":
        changes["strike"] = True
    elif revised == "insert":
        changes["underline"] = True
    return evolve(style, **changes) if changes else style


def _align(element: etree._Element) -> Literal["left", "center", "right"] | None:
    align = element.get("align")
    if align == "center":
        return "center"
    if align == "right":
        return "right"
    return "left" if align == "left" else None
