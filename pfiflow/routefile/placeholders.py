"""Placeholders: what a site fills in, so that route files hold no secret.

    ${env:NAME}              the environment variable
    ${env:NAME:-default}     the same, or `default` (up to the closing brace) when it is not set
    ${file:path}             the content of a file, without its last line end; the path starts from the route file
    ${parameter:name}        in a template: what its use gives for that parameter, filled in before all else
    $${                      a dollar and a brace, meant literally

They stand anywhere inside a scalar, never inside each other. No value ever enters an error message.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import frozen

__all__ = [
    "MAX_FILE_BYTES",
    "PlaceholderError",
    "Reference",
    "UnresolvedError",
    "is_open",
    "parameters",
    "parse",
    "resolve",
]

MAX_FILE_BYTES = 64 * 1024

_REFERENCE = re.compile(r"env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?|file:(?P<path>[^{}]+)")
_PARAMETER = re.compile(r"parameter:(?P<name>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
_OPENING = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)(?P<closed>\})?")


class PlaceholderError(ValueError):
    """A placeholder is not well-formed. `index` is where it starts in the text."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class UnresolvedError(ValueError):
    """A placeholder has no value here and now."""


@frozen
class Reference:
    """One placeholder: an environment variable, or a file. `index` is where it starts in the text."""

    kind: Literal["env", "file"]
    name: str
    default: str | None
    index: int

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


def parse(text: str) -> tuple[str | Reference, ...]:
    """The text's literal pieces and its references, in order. Raises PlaceholderError."""
    pieces: list[str | Reference] = []
    position = 0
    for opening in _OPENING.finditer(text):
        pieces.append(text[position : opening.start()])
        position = opening.end()
        if opening[0] == "$${":
            pieces.append("${")
            continue
        reference = _REFERENCE.fullmatch(opening["inside"]) if opening["closed"] else None
        if reference is None and _PARAMETER.fullmatch(opening["inside"] or ""):
            raise PlaceholderError("a ${parameter:…} stands inside of a template only", opening.start())
        if reference is None:
            msg = "expected ${env:NAME}, ${env:NAME:-default} or ${file:path}, not nested; $${ means a literal ${"
            raise PlaceholderError(msg, opening.start())
        if reference["path"]:
            pieces.append(Reference("file", reference["path"], None, opening.start()))
        else:
            pieces.append(Reference("env", reference["name"], reference["default"], opening.start()))
    pieces.append(text[position:])
    return tuple(piece for piece in pieces if piece)


def parameters(text: str) -> tuple[tuple[int, int, str], ...]:
    """Where a text of a template names parameters: start, end, name."""
    found = []
    for opening in _OPENING.finditer(text):
        match = _PARAMETER.fullmatch(opening["inside"] or "") if opening["closed"] else None
        if match:
            found.append((opening.start(), opening.end(), match["name"]))
    return tuple(found)


def resolve(reference: Reference, *, environment: Mapping[str, str], directory: Path) -> str:
    """The value of one placeholder; `directory` is where the route file lies. Raises UnresolvedError."""
    if reference.kind == "file":
        return _content(reference, directory)
    value = environment.get(reference.name, reference.default)
    if value is None:
        raise UnresolvedError(f"environment variable {reference.name} is not set")
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise UnresolvedError(f"environment variable {reference.name} is not UTF-8 text")
    return value


def is_open(reference: Reference, directory: Path) -> bool:
    """Whether every user of this machine may read the file that the placeholder names."""
    try:
        return reference.kind == "file" and bool((directory / reference.name).stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


def _content(reference: Reference, directory: Path) -> str:
    try:
        with (directory / reference.name).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise UnresolvedError(f"file {reference.name!r} cannot be read: {reason}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UnresolvedError(f"file {reference.name!r} is longer than {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnresolvedError(f"file {reference.name!r} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
