"""The pictures are what their data draws, and no text leaves its box."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
from lxml import etree

from tests.system.service import ROOT

FOLDER = ROOT / "docs" / "concepts"


def _draw() -> Any:
    spec = importlib.util.spec_from_file_location("pfiflow_docs_draw", FOLDER / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DRAW = _draw()


@pytest.mark.parametrize("name", DRAW.PICTURES)
def test_a_picture_is_fresh_and_used(name: str) -> None:
    drawn = DRAW.svg(DRAW.PICTURES[name])
    assert (FOLDER / "pictures" / f"{name}.svg").read_text() == drawn, "run `python docs/concepts/draw.py`"
    assert f"pictures/{name}.svg" in (FOLDER / f"{name}.md").read_text()
    etree.fromstring(drawn)
    assert "prefers-color-scheme:dark" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("name", DRAW.PICTURES)
def test_texts_fit(name: str) -> None:
    """7.4 and 6.4 pixels a letter is what DejaVu Sans, a wide font, needs on the average."""
    for box in DRAW.PICTURES[name].boxes:
        if box.kind != "plain":
            wide = box.wide * 190 - 40
            assert len(box.text) * 7.6 <= wide + 8, box
            assert len(box.small) * 6.5 <= wide + 8, box
