"""The rendered PDF says everything that the CDA says, is PDF/A-1b, always the same, and bounded."""

from __future__ import annotations

import io
import re
import shutil
import string
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pypdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL.ImageCms import ImageCmsProfile, createProfile

from pfiflow.cda.pages.blocks import BREAK, Block, Cell, Paragraph, Style, Table, Text
from pfiflow.cda.pages.composer import Composer
from pfiflow.cda.pages.labels import list_label
from pfiflow.cda.pages.narrative import NarrativeReader
from pfiflow.cda.pages.sheet import BOTTOM, MARGIN, PAGE_WIDTH, TOP, Drawn
from pfiflow.cda.render import french_time, instant, render, render_images, render_narrative, render_text
from pfiflow.errors import Rejected
from tests.cda.papers import (
    V3,
    copy_section,
    media,
    narrative,
    pages_of,
    picture,
    read,
    squeezed,
    structured,
    text_of,
    unstructured,
)

EVERYTHING = f"""
<title>Bilan <content styleCode="Italics">biologique</content> H<sub>2</sub>O<footnote>note du titre</footnote></title>
<text ID="t">Texte libre au début, avec une valeur ≤ 5 µg/m², α-fœtoprotéine ≥ 3 ✓, x² et CO₂.
<paragraph styleCode="bold"><caption>Légende de paragraphe</caption>Paragraphe gras
<content styleCode="Underline">souligné</content><br/>après saut
<content styleCode="Emphasis">mis en valeur<content styleCode="Bold Italics">gras italique</content></content>
<content revised="delete">supprimé</content><content revised="insert">ajouté</content>
<linkHtml href="https://example.org/guide">le guide</linkHtml> <linkHtml href="https://example.org/nu"/>
exposant<sup>3</sup> fin<footnote
ID="f1">première note <content styleCode="Bold">grasse</content></footnote>.</paragraph>
<list listType="ordered" styleCode="LittleRoman"><caption>Légende de liste</caption><item>un</item>
<item><caption>Légende d'élément</caption>deux<list><item>imbriqué A</item><item>imbriqué B
<table><tbody><tr><td>dans une liste</td></tr></tbody></table></item></list></item><item/></list>
<table border="1"><caption>Légende de tableau</caption><col width="20%"/>
<thead><tr><th>Analyse</th><th colspan="2">Résultat</th></tr></thead>
<tfoot><tr><td colspan="3">Pied de tableau</td></tr></tfoot>
<tbody><tr><td rowspan="2">Sodium</td><td align="right">140</td><td>mmol/L</td></tr><tr><td>141<footnoteRef
IDREF="f1"/></td>
<td><list><item>dans une cellule</item></list><paragraph align="center">centré</paragraph></td></tr></tbody>
<tbody><tr><th>Potassium</th><td>4,1</td><td><renderMultiMedia referencedObject="im1"><caption>Légende d'image</caption>
</renderMultiMedia></td></tr></tbody></table>
<renderMultiMedia referencedObject="im1 roi"/><renderMultiMedia referencedObject="nulle-part"/>
<p>élément inconnu <b>de HTML</b></p>
Texte final</text>{media("im1", picture("RGBA", "PNG"), "image/png")}
<entry><regionOfInterest classCode="ROIOVL" moodCode="EVN" ID="roi"><entryRelationship typeCode="SUBJ">
{media("im2", picture("RGB", "JPEG"), "image/jpeg").removeprefix("<entry>").removesuffix("</entry>")}
</entryRelationship></regionOfInterest></entry>
<component><section><title>Sous-section</title><text>contenu imbriqué</text>
<component><section><title>Sous-sous-section</title><text>plus profond</text></section></component>
</section></component>
"""


def narrative_texts(data: bytes) -> list[str]:
    """Every text node of every section's title and narrative, read apart from the code under test."""
    _, tree = read(data)
    nodes: list[str] = []
    for section in tree.iter(f"{V3}section"):
        for part in section.findall(f"{V3}title") + section.findall(f"{V3}text"):
            nodes.extend(filter(None, (squeezed(str(text)) for text in part.itertext())))
    return nodes


def check_nothing_lost(data: bytes) -> None:
    document, tree = read(data)
    said = text_of(render(document, tree))
    lost = [text for text in narrative_texts(data) if text not in said]
    assert lost == []


OFFICIAL = [
    "n3_cr_bio_microbio_v1",
    "n3_cr_bio_microbio_v2_rplc",
    "n3_cr_bio_tsh",
    "n3_dispensation_known_strucmin_error",
    "n3_lettre_liaison_sortie",
    "n3_note_vaccination",
    "n3_prescription_poso_struct",
    "n3_vsm",
]


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_examples_lose_no_text(shared: Path, name: str) -> None:
    check_nothing_lost((shared / "vectors" / "cda" / f"{name}.xml").read_bytes())


def test_every_construct_keeps_its_text() -> None:
    data = structured(EVERYTHING)
    check_nothing_lost(data)
    document, tree = read(data)
    said = text_of(render(document, tree))
    assert "[1]" in said
    assert "notedutitre" in said[said.index("Textefinal") :]  # footnotes stand at the end of their section
    assert "[2]premièrenotegrasse" in said
    assert "141[2]" in said  # footnoteRef points back at it
    assert "https://example.org/nu" in said  # a link without text shows its target
    assert "i.un" in said
    assert "iii." in said  # an item without text keeps its number
    assert said.index("Pieddetableau") > said.index("Potassium")
    assert (
        said.index("Textelibre") < said.index("Paragraphegras") < said.index("Textefinal") < said.index("Sous-section")
    )


def test_header_facts() -> None:
    document, tree = read(narrative("x"))
    said = text_of(render(document, tree))
    for fact in (
        *("Compte rendu d'hospitalisation en cardiologie", "CR hospitalier", "Créé le 29/02/2024 à 14:30"),
        *("Nom de naissance PAT-TROIS", "Nom utilisé NOM-USAGE", "Prénom de naissance DOMINIQUE", "Sexe Féminin"),
        *("Prénoms de naissance DOMINIQUE MARIE-LOUISE", "Né(e) le 28/03/1979", "DOMPREMY (code INSEE 51215)"),
        *("279035121518989 (NIR de test)", "IPP-77", "Auteur DR Paul AUTEUR, Service Éloïse, le 29/02/2024 à 12:00"),
        *("Responsable Jeanne RESPONSABLE, le 29/02/2024 à 14:20", "Hôpital conservateur (1750803447)"),
        *("Hospitalisation complète, du 25/02/2024 au 29/02/2024", "1.2.250.1.213.1.1.9999^DOC-1, version 2"),
        "Remplace le document 1.2.250.1.213.1.1.9999^DOC-0",
    ):
        assert squeezed(fact) in said


def test_every_page_names_patient_document_and_number() -> None:
    document, tree = read(narrative("<paragraph>ligne</paragraph>" * 200))
    reader = pypdf.PdfReader(io.BytesIO(render(document, tree)))
    assert len(reader.pages) > 2
    for number, page in enumerate(reader.pages, start=1):
        last = [line.strip() for line in page.extract_text().splitlines()[-3:]]
        assert last == [
            "NOM-USAGE DOMINIQUE, né(e) le 28/03/1979",
            "Document 1.2.250.1.213.1.1.9999^DOC-1, version 2",
            f"Page {number}/{len(reader.pages)}",
        ]


def test_properties_agree_with_the_document() -> None:
    document, tree = read(structured("<title>Antécédents</title><text>x</text>"))
    pdf = render(document, tree)
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    xmp = reader.xmp_metadata
    assert xmp is not None
    assert (xmp.pdfaid_part, xmp.pdfaid_conformance) == ("1", "B")
    assert xmp.xmp_create_date == datetime(2024, 2, 29, 13, 30, 5)  # noqa: DTZ001 - pypdf gives UTC without saying so
    assert xmp.dc_creator == ["DR Paul AUTEUR, Service Éloïse"]
    assert xmp.dc_title == {"x-default": document.title}
    assert b"/Lang (fr-FR)" in pdf
    assert next(str(entry["/Title"]) for entry in reader.outline if isinstance(entry, dict)) == document.title


# -- PDF/A-1b, judged by PDFBox preflight ------------------------------------------------------------------------------

JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in ("preflight", "xmpbox", "pdfbox2", "fontbox2", "commons-logging", "javax.activation", "jaxb-api")
]


def preflight(folder: Path, pdfs: dict[str, bytes]) -> str:
    """What PDFBox says of each file; "" when all are PDF/A-1b."""
    missing = [jar.stem for jar in JARS if not jar.exists()]
    if missing or not shutil.which("java"):
        what = f"jars {', '.join(missing)}" if missing else "java"
        pytest.skip(
            f"no independent PDF/A checker ({what}): "
            "apt-get install libpdfbox2-java libactivation-java libjaxb-api-java"
        )
    for name, data in pdfs.items():
        (folder / f"{name}.pdf").write_bytes(data)
    source = Path(__file__).with_name("Preflight.java")
    command = ["java", "-cp", ":".join(map(str, JARS)), str(source), *(str(folder / f"{name}.pdf") for name in pdfs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    said = done.stdout + done.stderr
    assert said.count("valid ") + said.count("BROKEN ") == len(pdfs), said
    return "" if done.returncode == 0 else said


def test_what_we_make_is_pdf_a(tmp_path: Path) -> None:
    made = {}
    document, tree = read(structured(EVERYTHING))
    made["everything"] = render(document, tree)
    document, tree = read(narrative("漢字 אבג \U0001f600 Кириллица ℵ <content styleCode='Bold'>漢 Ж</content> \x85"))
    made["characters"] = render(document, tree)
    images = {
        "rgba": picture("RGBA", "PNG"),
        "grey-alpha": picture("LA", "PNG"),
        "palette": picture("P", "PNG", transparency=90),
        "bilevel": picture("1", "PNG"),
        "16-bit": picture("I;16", "PNG"),
        "cmyk": picture("CMYK", "JPEG"),
        "grey-jpeg": picture("L", "JPEG"),
        "progressive": picture("RGB", "JPEG", progressive=True),
        "profile": picture("RGB", "JPEG", icc_profile=ImageCmsProfile(createProfile("sRGB")).tobytes()),
        "lab profile": picture("RGB", "PNG", icc_profile=ImageCmsProfile(createProfile("LAB")).tobytes()),
        "gif": picture("P", "GIF"),
        "group4": picture("1", "TIFF", compression="group4"),
    }
    for name, content in images.items():
        media_type = f"image/{name if name == 'gif' else 'png'}"
        document, tree = read(
            structured(f"<text><renderMultiMedia referencedObject='m'/></text>{media('m', content, media_type)}")
        )
        rendering = render_narrative(document, tree)
        assert rendering.warnings == (), name
        made[name] = rendering.data
    made["text"] = render_text(document, "Colonne A    Colonne B\n\n\t12 ≤ 13\x0c漢").data
    assert preflight(tmp_path, made) == ""


def test_official_examples_are_pdf_a(shared: Path, tmp_path: Path) -> None:
    made = {}
    for name in OFFICIAL:
        document, tree = read((shared / "vectors" / "cda" / f"{name}.xml").read_bytes())
        made[name] = render(document, tree)
    assert preflight(tmp_path, made) == ""


def test_the_checker_can_refuse(tmp_path: Path) -> None:
    document, tree = read(narrative("x"))
    good = render(document, tree)
    broken = good.replace(b"<pdfaid:part>1", b"<pdfaid:part>7")
    assert broken != good
    assert "BROKEN" in preflight(tmp_path, {"broken": broken})


# -- the same bytes, from any thread and any process -------------------------------------------------------------------


def test_same_bytes_at_every_call_and_from_every_thread() -> None:
    document, tree = read(structured(EVERYTHING))
    first = render(document, tree)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: render(document, tree), range(8))) == {first}


def test_same_bytes_in_another_process_and_another_time_zone(tmp_path: Path) -> None:
    data = structured(EVERYTHING.replace("Texte final", "Texte final 漢字 Ж"))
    (tmp_path / "document.xml").write_bytes(data)
    program = (
        "import hashlib, sys; from pathlib import Path; from pfiflow.cda.document import read_tree;"
        "from pfiflow.cda.render import render;"
        "print(hashlib.sha256(render(*read_tree(Path(sys.argv[1]).read_bytes()))).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "document.xml")],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "TZ": zone, "PATH": ""},
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed, zone in (("1", "Asia/Tokyo"), ("2", "America/Lima"))
    }
    assert len(digests) == 1


def test_another_document_has_another_identifier() -> None:
    ids = set()
    for text in ("a", "b"):
        document, tree = read(narrative(text))
        ids.add(str(pypdf.PdfReader(io.BytesIO(render(document, tree))).trailer["/ID"]))
    assert len(ids) == 2


# -- characters --------------------------------------------------------------------------------------------------------


def test_missing_glyphs_are_visible_reported_and_still_copied() -> None:
    document, tree = read(narrative("avant 漢字 אב après"))
    rendering = render_narrative(document, tree)
    assert "avant漢字" in text_of(rendering.data)
    assert {"א", "ב"} <= set(text_of(rendering.data))  # pypdf turns right-to-left runs round
    assert [problem.severity for problem in rendering.warnings] == ["warning"]
    assert "U+05D0, U+05D1, U+5B57, U+6F22" in rendering.warnings[0].message


@pytest.mark.parametrize(
    "text", ["≤ ≥ ± µ ² ³ ½ √ ∞ → ✓ ✗ € œ Œ Ÿ … – — « » α β Δ Ω ♀ ♂ ° ‰ ☐ ☑", "Кириллица ℵ ⚠ ⅓ ḿ ﬁ"]
)
def test_usual_characters_have_glyphs(text: str) -> None:
    document, tree = read(narrative(text))
    rendering = render_narrative(document, tree)
    assert rendering.warnings == ()
    assert squeezed(text) in text_of(rendering.data)


def test_decomposed_text_is_composed_and_invisible_characters_print_nothing() -> None:
    document, tree = read(narrative("e\u0301te\u0301 in\u00advisi\u200bble"))
    rendering = render_narrative(document, tree)
    assert rendering.warnings == ()
    assert "étéinvisible" in text_of(rendering.data)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff<>&"), max_size=80
    )
)
def test_no_character_is_ever_dropped(text: str) -> None:
    document, tree = read(narrative(f"d{text}f"))
    wanted = squeezed(f"d{text}f")
    # pypdf reorders right-to-left runs: compare what is said, character by character
    assert sorted(wanted) == sorted(text_of(render(document, tree)).partition("Section")[2])


# -- layout, apart from any PDF ----------------------------------------------------------------------------------------


class HalfEm:
    """Every character is half an em wide."""

    def word(self, text: str, style: Style) -> tuple[tuple[str, str, float], ...]:
        return (("bold" if style.bold else "plain", text, 500.0 * len(text)),)


def drawn(*blocks: Block) -> list[list[Drawn]]:
    composer = Composer(HalfEm())
    composer.new_page()
    composer.blocks(blocks)
    return composer.pages


def words_of(pages: list[list[Drawn]]) -> list[str]:
    return [d.text for page in pages for d in page if d.kind == "text"]


def check_geometry(pages: list[list[Drawn]]) -> None:
    """Everything inside the margins; no two cells of one page share a place."""
    for page in pages:
        boxes = [d for d in page if d.kind == "box"]
        for d in page:
            assert d.x >= MARGIN - 0.1
            assert d.x + d.width <= PAGE_WIDTH - MARGIN + 0.1, d
            assert d.y >= TOP - 0.1
            assert d.y + d.height <= BOTTOM + 0.1
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
                down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
                assert across < 0.1 or down < 0.1, (a, b)


cells = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 400))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(cells, min_size=0, max_size=6), min_size=1, max_size=12), st.booleans())
def test_any_table_keeps_every_word_once_and_in_its_place(rows: list[list[tuple[int, int, int]]], head: bool) -> None:
    number = 0
    body = ""
    wanted = []
    for row in rows:
        body += "<tr>"
        for columns, height, length in row:
            names = [f"w{number + i}" for i in range(length)]
            number += length
            wanted += names
            body += f'<td colspan="{columns}" rowspan="{height}">{" ".join(names)}</td>'
        body += "</tr>"
    thead = "<thead><tr><th>TETE</th></tr></thead>" if head else ""
    _, tree = read(narrative(f"<table>{thead}<tbody>{body}</tbody></table>"))
    reader = NarrativeReader(tree)
    (section,) = reader.sections(next(tree.iter(f"{V3}structuredBody")))
    pages = drawn(*section.blocks)
    check_geometry(pages)
    said = " ".join(words_of(pages)).replace("TETE", "").split()
    assert sorted(said) == sorted(wanted)


TAGS = [
    "content",
    "paragraph",
    "list",
    "item",
    "table",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "td",
    "th",
    "br",
    "sub",
    "sup",
    "caption",
    "linkHtml",
    "footnote",
    "footnoteRef",
    "renderMultiMedia",
    "p",
    "unknown",
]
words = st.integers(0, 10**9).map(lambda number: f"w{number} ")
narratives = st.recursive(
    words,
    lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner | words, max_size=5)).map(
        lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"
    ),
    max_leaves=40,
)


@settings(max_examples=100, deadline=None)
@given(narratives)
def test_any_nesting_at_all_keeps_every_word(text: str) -> None:
    _, tree = read(narrative(text))
    sections = list(NarrativeReader(tree).sections(next(tree.iter(f"{V3}structuredBody"))))
    pages = drawn(*(block for section in sections for block in section.blocks + section.notes))
    check_geometry(pages)
    said = re.findall(r"w\d+", " ".join(words_of(pages)))
    assert sorted(said) == sorted(re.findall(r"w\d+", text))


def table(rows: int, text: str = "valeur", head: str = "TETE") -> Table:
    def row(content: str) -> tuple[Cell, ...]:
        return (Cell(0, 1, 1, (Paragraph((Text(content),)),)),)

    return Table(1, (row(head),), tuple(row(f"{text}{i}") for i in range(rows)))


def test_head_is_repeated_on_every_page() -> None:
    pages = drawn(table(150))
    assert len(pages) > 2
    for page in pages:
        texts = [d.text for d in page if d.kind == "text"]
        assert texts.count("TETE") == 1
        assert texts[0] == "TETE"
    check_geometry(pages)


def test_a_head_as_high_as_a_page_is_not_repeated() -> None:
    pages = drawn(table(60, head=" ".join(["mot"] * 4000)))
    assert len(pages) > 1
    assert " ".join(words_of(pages)).split().count("mot") == 4000
    check_geometry(pages)


def test_a_row_higher_than_a_page_goes_on_overleaf() -> None:
    long = " ".join(f"m{i}" for i in range(6000))
    pages = drawn(
        Table(2, (), ((Cell(0, 1, 1, (Paragraph((Text(long),)),)), Cell(1, 1, 1, (Paragraph((Text("a"),)),))),))
    )
    assert len(pages) > 1
    assert " ".join(d for d in words_of(pages) if d != "a").split() == long.split()
    check_geometry(pages)


def test_wide_tables_take_smaller_letters_before_they_cut_words() -> None:
    row = tuple(Cell(i, 1, 1, (Paragraph((Text("remboursable"),)),)) for i in range(12))
    pages = drawn(Table(12, (), (row,)))
    assert words_of(pages) == ["remboursable"] * 12
    assert {d.size for d in pages[0] if d.kind == "text"} <= {6.0, 6.5, 7.0, 7.5}
    check_geometry(pages)


def test_a_word_wider_than_the_page_is_cut_and_kept() -> None:
    word = "x" * 1000
    pages = drawn(Paragraph((Text(word),)))
    assert "".join(words_of(pages)) == word
    check_geometry(pages)


def test_narrow_columns_get_what_they_want_before_wide_ones() -> None:
    texts = ("01/01/2024", "Résultat 10", "commentaire long " * 40)
    cells = tuple(Cell(i, 1, 1, (Paragraph((Text(text),)),)) for i, text in enumerate(texts))
    assert words_of(drawn(Table(3, (), (cells,))))[:2] == ["01/01/2024", "Résultat 10"]


def test_dates_are_not_cut_where_words_are() -> None:
    cells = tuple(
        Cell(i, 1, 1, (Paragraph((Text(t),)),)) for i, t in enumerate(["01/12/2023"] * 5 + ["d'administration" * 9])
    )
    pages = drawn(Table(6, (), (cells,)))
    assert words_of(pages).count("01/12/2023") == 5


def test_styles_and_breaks() -> None:
    bold, under = Style(bold=True), Style(underline=True, link="https://example.org")
    pages = drawn(Paragraph((Text("a "), Text("gras", bold), BREAK, Text("lien", under), Text("3", Style(rise=1)))))
    texts = [d for d in pages[0] if d.kind == "text"]
    assert [(d.text, d.face) for d in texts] == [("a", "plain"), ("gras", "bold"), ("lien", "plain"), ("3", "plain")]
    assert texts[2].y > texts[1].y
    assert texts[3].y < texts[2].y
    assert texts[3].size < texts[2].size
    assert [d.text for d in pages[0] if d.kind == "link"] == ["https://example.org"]
    assert any(d.kind == "rule" for d in pages[0])


def test_struck_text_is_struck() -> None:
    _, tree = read(narrative("<content revised='delete'>retiré</content>"))
    (section,) = NarrativeReader(tree).sections(next(tree.iter(f"{V3}structuredBody")))
    pages = drawn(*section.blocks)
    (text,) = (d for d in pages[0] if d.kind == "text")
    (rule,) = (d for d in pages[0] if d.kind == "rule")
    assert text.y - text.size < rule.y < text.y


def test_headings_stay_with_what_follows() -> None:
    filler = "<paragraph>ligne</paragraph>"
    for lines in range(30, 46):
        document, tree = read(
            structured(
                f"<title>Premier</title><text>{filler * lines}</text>",
                "<title>TITRE</title><component><section><title>SOUS-TITRE</title><text>"
                "<table><thead><tr><th>TETE</th></tr></thead><tbody><tr><td>CELLULE</td></tr></tbody></table>"
                "</text></section></component>",
            )
        )
        (page,) = [page for page in pages_of(render(document, tree)) if "TITRE" in page]
        assert "CELLULE" in page


@pytest.mark.parametrize(
    ("number", "codes", "label"),
    [
        *(
            (1, set(), "1."),
            (4, {"littleroman"}, "iv."),
            (1994, {"bigroman"}, "MCMXCIV."),
            (4000, {"bigroman"}, "4000."),
        ),
        *(
            (1, {"littlealpha"}, "a."),
            (26, {"bigalpha"}, "Z."),
            (27, {"bigalpha"}, "AA."),
            (703, {"littlealpha"}, "aaa."),
        ),
    ],
)
def test_ordered_labels(number: int, codes: set[str], label: str) -> None:
    assert list_label(number, codes, ordered=True) == label


def test_bullets() -> None:
    assert list_label(1, {"square"}, ordered=False) == "▪"
    assert list_label(1, set(), ordered=False) == "•"


# -- what cannot be shown ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("", "207"),
        (media("m", b"%PDF-1.4", "application/pdf"), "207"),
        (media("m", b"not an image", "image/png"), "102"),
        (media("m", b"RIFF", "image/webp"), "103"),
        (
            media("m", b"", "image/png"),
            "102",
        ),
    ],
)
def test_a_picture_that_cannot_be_shown_is_said(entry: str, code: str) -> None:
    document, tree = read(structured(f"<text>avant<renderMultiMedia referencedObject='m'/>après</text>{entry}"))
    rendering = render_narrative(document, tree)
    assert code in {problem.code for problem in rendering.warnings}
    assert {problem.severity for problem in rendering.warnings} == {"warning"}
    assert all(problem.location.startswith("/ClinicalDocument/component") for problem in rendering.warnings)
    said = text_of(rendering.data)
    assert said.index("avant") < said.index("[Contenumultimédianonaffichédansce") < said.index("après")


def test_a_table_of_too_many_columns_is_shown_cell_by_cell() -> None:
    cells = "".join(f"<td>c{i}</td>" for i in range(41))
    document, tree = read(narrative(f"<table><tbody><tr>{cells}</tr></tbody></table>"))
    rendering = render_narrative(document, tree)
    assert [problem.severity for problem in rendering.warnings] == ["warning"]
    assert "".join(f"c{i}" for i in range(41)) in text_of(rendering.data)


def test_a_huge_span_costs_nothing() -> None:
    data = narrative(
        "<table><tbody><tr><td colspan='1000000000' rowspan='99999999999999999999'>A</td><td>B</td></tr>"
        "<tr><td colspan='0'>C</td><td colspan='-3' rowspan='x'>D</td></tr></tbody></table>"
    )
    begin = time.thread_time()
    check_nothing_lost(data)
    assert time.thread_time() - begin < 5


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<table><tbody>" + "<tr><td>a</td></tr>" * 40_000 + "</tbody></table>", id="cells"),
        pytest.param("<table><tbody>" + "<tr><td>a</td></tr>" * 25_000 + "</tbody></table>", id="pages of rows"),
        pytest.param("<list>" + "<item>a</item>" * 40_000 + "</list>", id="pages of items"),
        pytest.param("<list><item>" * 40 + "x" + "</item></list>" * 40, id="depth"),
        pytest.param("mot " * 600_000, id="characters"),
        pytest.param("M" * 1_900_000, id="one word"),
        pytest.param("x<br/>" * 60_000, id="breaks"),
        pytest.param("<table><tbody><tr>" + "<td rowspan='9'>a</td>" * 201 + "</tr><tr/></tbody></table>", id="spans"),
        pytest.param("<renderMultiMedia referencedObject='im'/>" * 201, id="pictures"),
        pytest.param("<content styleCode='Bold'>a</content>b" * 130_000, id="pieces"),
    ],
)
def test_hostile_narratives_are_refused_in_seconds(text: str) -> None:
    data = structured(f"<title>Section</title><text>{text}</text>{media('im', picture('L', 'PNG'), 'image/png')}")
    document, tree = read(data)
    begin = time.thread_time()
    with pytest.raises(Rejected, match="cannot be rendered as PDF") as refusal:
        render(document, tree)
    assert time.thread_time() - begin < 30  # 0.1 to 5 s alone on the machine
    assert refusal.value.problems[0].code == "207"


def test_sections_too_deep_are_refused() -> None:
    text = "<title>t</title>"
    for _ in range(70):
        text = f"<title>t</title><component><section>{text}</section></component>"
    document, tree = read(structured(text))
    with pytest.raises(Rejected, match="nested more than 64 deep"):
        render(document, tree)


def test_a_copy_section_among_others_is_rendered_as_a_remark() -> None:
    document, tree = read(structured("<title>A</title><text>aa</text>", copy_section(b"%PDF-1.4")))
    rendering = render_narrative(document, tree)
    assert "type:application/pdf" in text_of(rendering.data)
    assert rendering.warnings


# -- plain text and scans ----------------------------------------------------------------------------------------------


def test_plain_text_keeps_its_columns() -> None:
    document, _ = read(unstructured(b"x", "text/plain"))
    text = "Analyse     Valeur\nSodium      140\n    en retrait\n\nTrès long " + "mot " * 60
    pdf = render_text(document, text).data
    lines = pages_of(pdf)[0].splitlines()
    assert "Analyse     Valeur" in lines
    assert "Sodium      140" in lines
    assert "\u00a0\u00a0\u00a0\u00a0en retrait" in lines
    assert squeezed(text) in text_of(pdf)


@given(st.text("".join(c for c in string.printable if c not in "\x0b\x0c") + "é≤漢", max_size=200))
@settings(max_examples=12, deadline=None)
def test_plain_text_loses_nothing(text: str) -> None:
    document, _ = read(unstructured(b"x", "text/plain"))
    assert squeezed(text) in text_of(render_text(document, text).data)


def test_scan_takes_a_page_for_each_image() -> None:
    from pfiflow.cda.pages.images import read_images

    document, _ = read(unstructured(b"x", "image/jpeg"))
    images = read_images(picture("RGB", "JPEG", (400, 300)), "image/jpeg", "") * 3
    reader = pypdf.PdfReader(io.BytesIO(render_images(document, images).data))
    assert [len(page.images) for page in reader.pages] == [0, 1, 1, 1]


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "french"),
    [
        *(
            ("20231203143005+0100", "03/12/2023 à 14:30"),
            ("2023120314", "03/12/2023 à 14:00"),
            ("20231203", "03/12/2023"),
        ),
        *(("202312", "12/2023"), ("2023", "2023"), ("hier", "hier"), ("20231203143005.123+0100", "03/12/2023 à 14:30")),
    ],
)
def test_times_as_french_readers_write_them(value: str, french: str) -> None:
    assert french_time(value) == french


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        *(("20231203143005+0100", "2023-12-03T14:30:05+01:00"), ("20231203143005-0430", "2023-12-03T14:30:05-04:30")),
        *(
            ("2023", "2023-01-01T00:00:00+00:00"),
            ("20230231", "1970-01-01T00:00:00+00:00"),
            ("", "1970-01-01T00:00:00+00:00"),
        ),
    ],
)
def test_instants(value: str, iso: str) -> None:
    assert instant(value).isoformat() == iso
