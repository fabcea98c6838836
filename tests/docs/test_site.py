"""The site builds with what is on the machine, has no broken link, and its pages fetch nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree, html

from tests.system.service import ROOT

pytest.importorskip("sphinx", reason="the site needs the extra `docs`")

_FETCHING = {"src", "srcset", "data", "poster", "action", "formaction", "background"}
_ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"url\(\s*['\"]?\s*(?:https?:)?//|@import\s+(?:url\()?\s*['\"]?(?:https?:)?//", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    recipe = re.search(r"^\t\$\(BIN\)/sphinx-build (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe, "make docs builds with sphinx-build"
    options = recipe[1].replace("build/doctrees", str(folder / "doctrees")).replace("build/site", str(folder / "site"))
    assert "-W" in options.split(), "a warning fails"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    found = [f"{page.relative_to(site)}: {what}" for page in pages for what in _fetched(page)]
    found += [
        f"{style.relative_to(site)}: {match[0]}"
        for style in site.rglob("*.css")
        for match in _IN_STYLES.finditer(style.read_text())
    ]
    assert found == []


def _fetched(page: Path) -> list[str]:
    """What a browser would load from another server when it shows the page; a link that a reader follows is no such."""
    found = list[str]()
    for element in html.parse(str(page)).getroot().iter(etree.Element):
        for name, value in element.attrib.items():
            fetches = name in _FETCHING or (name == "href" and element.tag in {"link", "use", "image"})
            if (fetches and _ELSEWHERE.match(str(value))) or (name == "style" and _IN_STYLES.search(str(value))):
                found.append(f"<{element.tag} {name}={value!r}>")
        if element.tag in {"style", "script"} and _IN_STYLES.search(element.text or ""):
            found.append(f"<{element.tag}>: {element.text}")
    return found


def test_links_lead_somewhere(site: Path) -> None:
    """Sphinx has checked the Markdown; this looks at what came out of it, files of the project included."""
    ids = {page: set(html.parse(str(page)).xpath("//@id")) for page in site.rglob("*.html")}
    broken = list[str]()
    for page in ids:
        for target in html.parse(str(page)).xpath("//@href | //@src"):
            if re.match(r"[a-z]+:", str(target)):
                continue
            path, _, anchor = str(target).partition("#")
            goal = (page.parent / path.partition("?")[0]).resolve() if path else page
            if not goal.exists() or (anchor and goal in ids and anchor not in ids[goal]):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


def test_the_check_sees_what_it_looks_for(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<html><head><link rel=stylesheet href=https://a.example/a><style>@import '//b.example/b.css';</style></head>"
        "<body style='background: url(http://c.example/c.png)'><img src=//d.example/d.png><a href=https://e.example>e</a>"
    )
    assert len(_fetched(page)) == 4
