"""Cells with spans put on a grid that has no more columns than cells begin in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from pfiflow.cda.pages.blocks import MAX_COLUMNS, Block, Cell, Table

if TYPE_CHECKING:
    from lxml import etree

__all__ = ["TooWideError", "placed", "span_of"]


class TooWideError(Exception):
    """A table has more than `MAX_COLUMNS` columns."""


def placed(head: list[list[list[Cell]]], body: list[list[list[Cell]]]) -> list[Block]:
    """The table of these row groups; none when it has no cell.

    Columns that no cell begins in are left out, so that a huge colspan costs nothing.

    Raises:
        TooWideError: more columns than a page can show.
    """
    starts = sorted({cell.column for group in head + body for row in group for cell in row})
    if not starts:
        return []
    if len(starts) > MAX_COLUMNS:
        raise TooWideError
    position = {column: index for index, column in enumerate(starts)}

    def place(row: list[Cell]) -> tuple[Cell, ...]:
        result = []
        for cell in row:
            covered = sum(1 for column in starts if cell.column <= column < cell.column + cell.columns)
            result.append(evolve(cell, column=position[cell.column], columns=covered))
        return tuple(result)

    return [
        Table(
            len(starts),
            tuple(place(row) for group in head for row in group),
            tuple(place(row) for group in body for row in group),
        )
    ]


def span_of(element: etree._Element, attribute: str, most: int) -> int:
    """A span attribute between 1 and `most`; 0 (to the end, in HTML) is `most`, anything unreadable is 1."""
    value = (element.get(attribute) or "1").strip()
    if not value.isascii() or not value.isdigit():
        return 1
    if len(value) > 6:
        return most
    return min(int(value) or most, most)
