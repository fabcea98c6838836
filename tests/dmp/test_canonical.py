from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pfiflow.dmp.canonical import canonical_digest
from pfiflow.errors import Rejected

LONG = b"QUJD" * 5000
LINES = b"\r\n".join([b"QUJDREVG" * 9] * 40_000)


def by_lxml(document: bytes, algorithm: str = "sha1") -> str:
    tree = etree.fromstring(document).getroottree()
    octets = etree.tostring(tree, method="c14n", with_comments=True)
    return base64.b64encode(hashlib.new(algorithm, octets).digest()).decode()


DOCUMENTS = {
    "short": b"<a b='1' a='2'>x</a>",
    "long text": b"<?xml version='1.0'?><a><b z='1' a='2'/>\xc3\xa9<c>" + LONG + b"</c></a>",
    "twice": b"<a><b>" + LONG + b"</b><b><![CDATA[<]]></b><c>" + LONG + b"</c></a>",
    "lines": b"<a>\r\n<b>" + LINES + b"</b>\r</a>",
    "lone carriage returns": b"<a>" + LINES.replace(b"\n", b"") + b"</a>",
    "a reference": b"<a>" + LONG + b"&#65;" + LONG + b"</a>",
    "a line end at the edge of a window": b"<a>" + b"A" * ((1 << 20) - 1) + b"\r\n" + LONG + b"</a>",
    "not ASCII": b"<a>" + LONG + b"\xc3\xa9" + LONG + b"</a>",
    "a greater-than sign": b"<a>1 > " + LONG + b"</a>",
    "long space outside": b"<?xml version='1.0'?>" + b" " * 40_000 + b"<a>" + LONG + b"</a>" + b"\n" * 40_000,
    "long space inside": b"<a>" + b" " * 40_000 + b"<b/></a>",
    "comments": b"<!-- > " + LONG + b" --><a><!-- > " + LONG + b"--><b/></a><!-- end -->",
    "instructions": b"<?x > " + LONG + b"?><a><?y > " + LONG + b"?><b/></a>",
    "a long attribute": b"<a b='" + LONG + b"'>" + LONG + b"</a>",
    "character data": b"<a><![CDATA[ > " + LONG + b"]]></a>",
    "the token": b"<a>PFIFLOW-0-<b>" + LONG + b"</b>PFIFLOW-1-</a>",
    "latin": "<?xml version='1.0' encoding='ISO-8859-15'?><a>é€<b>".encode("iso-8859-15") + LONG + b"</b></a>",
    "utf-16": "<?xml version='1.0' encoding='UTF-16'?><a>é<b>".encode("utf-16")
    + LONG.decode().encode("utf-16-le")
    + "</b></a>".encode("utf-16-le"),
    "a style sheet": b"<?xml-stylesheet href='x'?><a xmlns='urn:x'><b xmlns=''>" + LONG + b"</b></a>",
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_the_same_digest_as_of_the_whole_canonical_form(name: str, algorithm: str) -> None:
    document = DOCUMENTS[name]
    assert canonical_digest(document, algorithm) == by_lxml(document, algorithm)  # type: ignore[arg-type]


PIECES = st.sampled_from(
    [
        b"<b>",
        b"</b>",
        b"<c/>",
        b"&lt;",
        b">",
        b" ",
        b"\r\n",
        b"\r",
        b"\xc3\xa9",
        b"<!-- > -->",
        b"<?p > ?>",
        LONG,
        LONG[:9000],
        b" " * 9000,
        b"<![CDATA[ > &",
        b"]]>",
        b"x" * 8192,
        b"\n" * 8193,
    ]
)


@given(pieces=st.lists(PIECES, max_size=12))
def test_any_document_has_the_digest_of_its_canonical_form(pieces: list[bytes]) -> None:
    document = b"<a>" + b"".join(pieces) + b"</a>"
    try:
        expected = by_lxml(document)
    except etree.XMLSyntaxError:
        expected = ""
    if expected:
        assert canonical_digest(document, "sha1") == expected
    else:
        with pytest.raises(Rejected):
            canonical_digest(document, "sha1")


def test_what_has_no_canonical_form_is_refused() -> None:
    for document in (b"<a xmlns='relative'/>", b"<!DOCTYPE a><a/>", b"<a>", b""):
        with pytest.raises(Rejected):
            canonical_digest(document, "sha1")


def test_official_documents(shared: Path) -> None:
    paths = sorted((shared / "vectors/cda").glob("*.xml"))
    assert paths
    for path in paths:
        document = path.read_bytes()
        assert canonical_digest(document, "sha1") == by_lxml(document), path.name
