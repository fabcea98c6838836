"""Mutate a synthetic message: set fields, drop, insert, move segments. Paths are `PID-3`, `OBX[4]-5` (whole fields)."""

from __future__ import annotations

import re
from functools import cache

from pfiflow.cda import document as cda
from pfiflow.cda.values import ClinicalDocument
from pfiflow.errors import Problem, Rejected
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action, Transmission
from pfiflow.simulators.messages import Family, document, message

_PATH = re.compile(r"([A-Z0-9]{3})(?:\[(\d+)\])?(?:-(\d+))?")


@cache
def base(kind: Family = "MDM", action: Action = Action.NEW) -> bytes:
    """A faultless small message of each kind; a replacement and a deletion have a parent."""
    first = document("N1", number=1, patient=1, size=0)
    second = document("N1", number=2, patient=1, size=0, replaces=first)
    return message(first if action is Action.NEW else second, kind=kind, action=action, processing_id="P")


def split(data: bytes) -> list[bytes]:
    return data.rstrip(b"\r").split(b"\r")


def join(segments: list[bytes]) -> bytes:
    return b"\r".join(segments) + b"\r"


def place(segments: list[bytes], path: str) -> tuple[int, int]:
    """(index of the segment, field number)."""
    match = _PATH.fullmatch(path)
    assert match, path
    name, occurrence, number = match.groups(default="1")
    found = [i for i, each in enumerate(segments) if each.startswith(name.encode())]
    return found[int(occurrence) - 1], int(number)


def edited(data: bytes, changes: dict[str, str | bytes]) -> bytes:
    segments = split(data)
    for path, value in changes.items():
        index, number = place(segments, path)
        fields = segments[index].split(b"|")
        number -= fields[0] == b"MSH"
        fields += [b""] * (number + 1 - len(fields))
        fields[number] = value.encode() if isinstance(value, str) else value
        segments[index] = b"|".join(fields)
    return join(segments)


def value_of(data: bytes, path: str) -> bytes:
    segments = split(data)
    index, number = place(segments, path)
    fields = segments[index].split(b"|")
    return fields[number - (fields[0] == b"MSH")]


def without(data: bytes, *paths: str) -> bytes:
    segments = split(data)
    gone = {place(segments, path)[0] for path in paths}
    return join([each for i, each in enumerate(segments) if i not in gone])


def inserted(data: bytes, before: str, *new: str | bytes) -> bytes:
    segments = split(data)
    index = len(segments) if before == "end" else place(segments, before)[0]
    segments[index:index] = [each.encode() if isinstance(each, str) else each for each in new]
    return join(segments)


def flags(data: bytes, **marks: str) -> bytes:
    """Set metadata flags by code, wherever they stand."""
    segments = split(data)
    for i, each in enumerate(segments):
        fields = each.split(b"|")
        if fields[0] == b"OBX" and (code := fields[3].split(b"^")[0].decode()) in marks:
            fields[5] = marks[code].encode() + b"^^expandedYes-NoIndicator"
            segments[i] = b"|".join(fields)
    return join(segments)


def refusal(data: bytes) -> tuple[Problem, ...]:
    """The problems of a message that must be refused."""
    try:
        accepted = read(data)
    except Rejected as error:
        return error.problems
    raise AssertionError(f"accepted, with warnings {accepted.warnings}")


def told(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    """(code, location) of each, sorted."""
    return sorted((each.code, each.location) for each in problems)


@cache
def header_of(data: bytes) -> ClinicalDocument:
    return cda.read(data)


def both(data: bytes) -> tuple[Transmission, ClinicalDocument]:
    transmission = read(data)
    return transmission, header_of(transmission.document)
