"""The page and what is drawn on it, as frozen values. Lengths are points (1/72 inch), y grows downwards."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from pfiflow.cda.pages.images import Image

__all__ = ["BOTTOM", "MARGIN", "PAGE_HEIGHT", "PAGE_WIDTH", "TOP", "WIDTH", "Drawn", "Ink", "Page"]

PAGE_WIDTH, PAGE_HEIGHT = 595.28, 841.89  # ISO 216 A4
MARGIN, TOP, BOTTOM = 45.0, 42.0, 790.0
WIDTH = PAGE_WIDTH - 2 * MARGIN

Ink = Literal["text", "muted", "link"]


@frozen
class Drawn:
    """One drawing operation. `kind` says which fields count."""

    kind: Literal["text", "rule", "fill", "box", "image", "link", "mark"]
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    text: str = ""  # text: characters; link: target; mark: outline title
    face: str = ""
    size: float = 0
    ink: Ink = "text"
    image: Image | None = None
    level: int = 0


Page = list[Drawn]
