from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pfiflow.xdm.pages import index_htm, readme_txt
from pfiflow.xdm.values import Sender, Software
from pfiflow.xdm.writer import prepare
from tests.xdm.builders import OTHER, SOFTWARE, members, packed, submission
from tests.xds.builders import RAW

XHTML = {"h": "http://www.w3.org/1999/xhtml"}
# The elements that XHTML Basic allows where we put them, and the attributes that we use.
CHILDREN = {
    "html": {"head", "body"},
    "head": {"meta", "title"},
    "body": {"h1", "p", "ul"},
    "ul": {"li"},
    "li": {"a"},
    "p": {"a"},
    "h1": set(),
    "a": set(),
    "title": set(),
    "meta": set(),
}


def page(data: bytes) -> etree._Element:
    return etree.fromstring(data, etree.XMLParser(load_dtd=False, no_network=True, resolve_entities=False))


def test_the_page_is_xhtml_with_links_that_lead_somewhere() -> None:
    files = members(packed(RAW, OTHER))
    root = page(files["INDEX.HTM"])
    assert root.tag == "{http://www.w3.org/1999/xhtml}html"
    assert root.getroottree().docinfo.public_id == "-//W3C//DTD XHTML Basic 1.1//EN"
    for element in root.iter(etree.Element):
        name = etree.QName(element).localname
        assert {etree.QName(child).localname for child in element} <= CHILDREN[name]
    links = [str(link.get("href")) for link in root.iterfind(".//h:a", XHTML)]
    assert links == ["README.TXT", "IHE_XDM/SUBSET01/DOC00001.XML", "IHE_XDM/SUBSET01/DOC00002.XML"]
    assert set(links) <= set(files)
    text = "".join(map(str, root.itertext()))
    assert "Dr <Martin> & Co" in text
    assert "CH des Charmes" in text
    assert "Compte rendu d'examens biologiques" in text


def test_the_readme_has_the_four_sections() -> None:
    text = members(packed())["README.TXT"].decode("utf-8")
    lines = text.split("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    sections = [line for line, under in itertools.pairwise(lines) if line and under == "=" * len(line)]
    assert sections == ["Emetteur", "Application de l'émetteur", "Instructions", "Arborescence"]
    for line in (
        ". Nom : Dr <Martin> & Co",
        ". Organisme : CH des Charmes",
        ". Adresse : 1 rue de la Paix 75001 Paris",
        ". Téléphone : 01 02 03 04 05",
        ". Version : 0.1.0",
        ". Editeur : pfiflow",
        "    DOC00001.XML",
    ):
        assert line in lines


def test_what_is_unknown_has_no_line() -> None:
    text = readme_txt(Sender("Nom", "CH"), SOFTWARE, folder="IHE_XDM/SUBSET01", names=["A.XML"]).decode()
    assert "Adresse" not in text
    assert "Téléphone" not in text


@given(st.text(max_size=60))
def test_no_text_breaks_the_pages(text: str) -> None:
    sender = Sender(text, text, text, text, text)
    root = page(index_htm(prepare(submission()), sender, folder="IHE_XDM/SUBSET01"))
    assert len(root.findall(".//h:li", XHTML)) == 1
    readme = readme_txt(sender, Software(text, text, text), folder="IHE_XDM/SUBSET01", names=["A.XML"]).decode()
    full = readme_txt(Sender(*"abcde"), SOFTWARE, folder="IHE_XDM/SUBSET01", names=["A.XML"]).decode()
    assert readme.count("\n") == readme.count("\r\n") == full.count("\r\n") - (0 if text else 5)
