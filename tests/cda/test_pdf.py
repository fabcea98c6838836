"""The PDF beside a document: carried byte for byte, or rendered; refusals that say where and never what."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import time
import zlib
from pathlib import Path

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.cda.pages.images import decode_base64, read_images
from pfiflow.cda.pdf import Pdf, embedded_pdf, pdf_of
from pfiflow.cda.xml import parse
from pfiflow.errors import Rejected
from tests.cda.papers import copy_section, narrative, picture, read, squeezed, structured, text_of, unstructured

PLAIN_PDF = b"%PDF-1.4\n% no claim\n%%EOF\n"
CLAIMING_PDF = b"%PDF-1.4\n<pdfaid:part>1</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance>\n%%EOF\n"


def made(data: bytes) -> Pdf:
    return pdf_of(*read(data))


def refused(data: bytes) -> Rejected:
    """The refusal of a body, whatever the header reader would say of it."""
    document, _ = read(narrative("x"))
    tree = parse(data)
    with pytest.raises(Rejected) as refusal:
        pdf_of(document, tree)
    return refusal.value


# -- carried -----------------------------------------------------------------------------------------------------------


def test_n1_is_the_encapsulated_pdf_byte_for_byte() -> None:
    data = unstructured(CLAIMING_PDF, "application/pdf")
    assert made(data) == Pdf(CLAIMING_PDF, "embedded")
    assert embedded_pdf(read(data)[1]) == CLAIMING_PDF


def test_n3_copy_is_taken_byte_for_byte() -> None:
    data = structured("<title>Résultats</title><text>x</text>", copy_section(CLAIMING_PDF))
    assert made(data) == Pdf(CLAIMING_PDF, "copy")
    assert embedded_pdf(read(data)[1]) == CLAIMING_PDF


@pytest.mark.parametrize(("template", "code"), [("1.2.250.1.213.1.1.2.243", "0-0"), ("1.2.3", "55108-5")])
def test_a_copy_is_known_by_its_template_or_its_code(template: str, code: str) -> None:
    assert made(structured(copy_section(CLAIMING_PDF, template=template, code=code))).origin == "copy"


def test_a_pdf_in_another_section_is_not_a_copy() -> None:
    data = structured(copy_section(CLAIMING_PDF, template="1.2.3", code="0-0"))
    assert embedded_pdf(read(data)[1]) is None
    assert made(data).origin == "rendered"


def test_the_same_copy_twice_is_one_copy_and_two_different_ones_are_refused() -> None:
    same = structured(copy_section(CLAIMING_PDF), copy_section(CLAIMING_PDF, identifier="doc-2"))
    assert made(same).data == CLAIMING_PDF
    refusal = refused(structured(copy_section(CLAIMING_PDF), copy_section(PLAIN_PDF, identifier="doc-2")))
    assert "2 different PDF copies" in refusal.problems[0].message


def test_a_wrapped_document_is_found_from_its_root() -> None:
    inner = unstructured(CLAIMING_PDF, "application/pdf").partition(b"?>")[2]
    wrapper = (
        b'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Object>'
        + inner
        + b"</ds:Object></ds:Signature>"
    )
    assert embedded_pdf(parse(wrapper)) == CLAIMING_PDF
    document, _ = read(wrapper)
    assert pdf_of(document, parse(wrapper)).data == CLAIMING_PDF


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        *((b"<pdfaid:part>1</pdfaid:part>", ""), (b"pdfaid:part='1'", ""), (b'pdfaid:part = "1"', "")),
        *(
            (b"<pdfaid:part>3</pdfaid:part>", "claims PDF/A-3"),
            (b"", "no PDF/A claim"),
            (b"pdfaid:partial", "no PDF/A claim"),
        ),
    ],
)
def test_a_pdf_without_a_claim_goes_with_a_warning(claim: bytes, words: str) -> None:
    content = b"%PDF-1.4\n" + claim
    pdf = made(unstructured(content, "application/pdf"))
    assert pdf.data == content
    assert [problem.severity for problem in pdf.warnings] == (["warning"] if words else [])
    assert all(words in problem.message for problem in pdf.warnings)


def test_official_examples(shared: Path) -> None:
    origins = {}
    claims = {}
    for path in sorted((shared / "vectors" / "cda").glob("*.xml")):
        document, tree = read(path.read_bytes())
        pdf = pdf_of(document, tree)
        origins[path.stem] = pdf.origin
        claims[path.stem] = [problem.message for problem in pdf.warnings]
        if pdf.origin != "rendered":
            carried = [base64.b64decode(each.text or "") for each in tree.iter() if each.get("representation") == "B64"]
            assert pdf.data in carried
        assert pypdf.PdfReader(io.BytesIO(pdf.data)).pages
    assert {name for name, origin in origins.items() if origin == "embedded"} == {
        *("n1_cr_bio", "n1_cr_imagerie_rplc", "v2_ris_cr_imagerie_v1", "v2_ris_cr_imagerie_v2_rplc")
    }
    assert {name for name, origin in origins.items() if origin == "copy"} == {
        *("n3_cr_bio_microbio_v1", "n3_cr_bio_microbio_v2_rplc", "n3_cr_bio_tsh", "n3_prescription_poso_struct")
    }
    assert claims["n3_cr_bio_tsh"] == []  # claims PDF/A-1B
    assert claims["n1_cr_bio"] != []  # claims nothing


# -- refused -----------------------------------------------------------------------------------------------------------

SECRET = "DUPONTSECRET"


@pytest.mark.parametrize(
    ("body", "code", "location"),
    [
        ((f"{SECRET}*", "application/pdf"), "102", "nonXMLBody/text"),
        ((base64.b64encode(PLAIN_PDF).decode()[:-3], "application/pdf"), "102", "nonXMLBody/text"),
        (("", "application/pdf"), "102", "nonXMLBody/text"),
        ((SECRET.encode(), "application/pdf"), "102", "nonXMLBody/text"),
        ((b" " * 1024 + PLAIN_PDF, "application/pdf"), "102", "nonXMLBody/text"),
        ((rb"{\rtf1 DUPONTSECRET}", "text/rtf"), "103", "@mediaType"),
        ((SECRET.encode(), "audio/basic"), "103", "@mediaType"),
        ((SECRET.encode(), "image/jpeg"), "102", "nonXMLBody/text"),
        ((picture("RGB", "PNG")[:-40], "image/png"), "102", "nonXMLBody/text"),
        ((SECRET.encode(), "image/svg+xml"), "103", "nonXMLBody/text"),
        (("", "text/plain"), "102", "nonXMLBody/text"),
    ],
)
def test_bodies_that_cannot_become_a_pdf(body: tuple[bytes | str, str], code: str, location: str) -> None:
    refusal = refused(unstructured(*body))
    assert [problem.code for problem in refusal.problems] == [code]
    assert refusal.problems[0].location.endswith(location)
    assert SECRET not in str(refusal)


def test_a_broken_copy_is_refused_where_it_stands() -> None:
    data = structured("<text>x</text>", copy_section(b"not a pdf"))
    problem = refused(data).problems[0]
    assert problem.location == (
        "/ClinicalDocument/component/structuredBody/component[2]/section/entry/observationMedia/value"
    )
    with pytest.raises(Rejected):
        embedded_pdf(read(data)[1])


def test_a_body_that_only_refers_elsewhere_is_refused() -> None:
    refusal = refused(unstructured('<reference value="http://example.org/x"/>', "text/plain", attributes=""))
    assert refusal.problems[0].code == "101"
    assert "only reference" in refusal.problems[0].message


# -- rendered ----------------------------------------------------------------------------------------------------------


def test_n3_without_copy_is_rendered() -> None:
    pdf = made(narrative("Le récit"))
    assert pdf.origin == "rendered"
    assert pdf.warnings == ()
    assert "Lerécit" in text_of(pdf.data)


@pytest.mark.parametrize(
    ("content", "attributes", "warned"),
    [
        ("Été à l'hôpital".encode(), 'representation="B64"', False),
        (b"\xef\xbb\xbf" + "Été à l'hôpital".encode(), 'representation="B64"', False),
        ("Été à l'hôpital".encode("cp1252"), 'representation="B64"', True),
        ("Été à l'hôpital", "", False),
        ("Été à l'hôpital", 'representation="TXT"', False),
    ],
)
def test_plain_text_is_rendered(content: bytes | str, attributes: str, warned: bool) -> None:
    pdf = made(unstructured(content, "text/plain", attributes=attributes))
    assert pdf.origin == "rendered"
    assert squeezed("Été à l'hôpital") in text_of(pdf.data)
    assert bool(pdf.warnings) == warned


@pytest.mark.parametrize(
    ("mode", "file_format", "media_type"),
    [
        ("RGB", "JPEG", "image/jpeg"),
        ("CMYK", "JPEG", "image/jpeg"),
        ("RGBA", "PNG", "image/png"),
        ("1", "TIFF", "image/tiff"),
    ],
)
def test_scans_are_rendered(mode: str, file_format: str, media_type: str) -> None:
    pdf = made(unstructured(picture(mode, file_format), media_type))
    assert pdf.origin == "rendered"
    assert [len(page.images) for page in pypdf.PdfReader(io.BytesIO(pdf.data)).pages] == [0, 1]


def test_every_page_of_a_tiff_is_shown() -> None:
    from PIL import Image

    buffer = io.BytesIO()
    pages = [Image.new("L", (30, 40), shade) for shade in (0, 90, 255)]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    pdf = made(unstructured(buffer.getvalue(), "image/tiff"))
    reader = pypdf.PdfReader(io.BytesIO(pdf.data))
    shown = [page.images[0].image for page in reader.pages if page.images]
    assert [image.getpixel((5, 5)) for image in shown if image is not None] == [0, 90, 255]


# -- images ------------------------------------------------------------------------------------------------------------


def test_a_plain_jpeg_goes_in_as_it_is() -> None:
    content = picture("RGB", "JPEG")
    (image,) = read_images(content, "image/jpeg", "")
    assert image.data is content


def test_transparency_is_laid_on_white() -> None:
    from PIL import Image

    (image,) = read_images(picture("RGBA", "PNG"), "image/png", "")
    shown = Image.open(io.BytesIO(image.data))
    assert shown.mode == "RGB"
    assert shown.getpixel((1, 1)) == pytest.approx((227, 127, 127), abs=2)


def test_a_turned_photograph_is_turned_back() -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    (image,) = read_images(picture("RGB", "JPEG", (40, 30), exif=exif), "image/jpeg", "")
    assert (image.width, image.height) == (30, 40)


def test_the_file_says_what_it_is() -> None:
    (image,) = read_images(picture("L", "PNG", (7, 5)), "image/jpeg", "")
    assert (image.width, image.height) == (7, 5)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (1, 2_000_000_000), (40_001, 1_000)])
def test_decompression_bombs_are_refused_before_they_open(width: int, height: int) -> None:
    begin = time.thread_time()
    with pytest.raises(Rejected):
        read_images(bomb(width, height), "image/png", "")
    assert time.thread_time() - begin < 2


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"GIF89a"])
)
def test_any_bytes_are_an_image_or_refused(content: bytes, start: bytes) -> None:
    with contextlib.suppress(Rejected):
        assert all(image.width > 0 for image in read_images(start + content, "image/png", "x"))


# -- base64 ------------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200), st.integers(1, 80))
def test_base64_may_be_folded(content: bytes, width: int) -> None:
    text = base64.b64encode(content).decode()
    folded = "\r\n\t ".join(text[i : i + width] for i in range(0, len(text), width))
    assert decode_base64(folded, "") == content


@given(st.text(max_size=60))
def test_any_text_is_base64_or_refused(text: str) -> None:
    with contextlib.suppress(Rejected):
        assert base64.b64encode(decode_base64(text, "")).decode() == "".join(text.split())
