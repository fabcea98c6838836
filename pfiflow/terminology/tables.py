"""The file format of the terminology tables: one `manifest.csv` and one CSV file a table, in UTF-8.

Manifest: `name,kind,oid,version,title,source,note`, kind `value-set` or `association`; the table `name` is in
`<name>.csv`. A value set has the columns `code,system,display`; an association
`source_code,source_system,target_code,target_system,target_display`. Systems are OIDs (or URNs where there is no OID).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

from attrs import frozen

from pfiflow.errors import ConfigError
from pfiflow.terminology.values import Association, Concept, ValueSet

__all__ = ["Entry", "read_association", "read_manifest", "read_value_set"]

MANIFEST: Final = ("name", "kind", "oid", "version", "title", "source", "note")
COLUMNS: Final = MappingProxyType(
    {
        "value-set": ("code", "system", "display"),
        "association": ("source_code", "source_system", "target_code", "target_system", "target_display"),
    }
)


@frozen
class Entry:
    """One line of a manifest, and the directory that it was read from."""

    name: str
    kind: str
    oid: str
    version: str
    title: str
    source: str
    note: str
    directory: Traversable


def _rows(file: Traversable, columns: tuple[str, ...]) -> list[list[str]]:
    """The rows of one CSV file without its header. Raises ConfigError (file, line) when it is not in our format."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        table = list(csv.reader(lines, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"cannot read the terminology table: {type(error).__name__}"
        raise ConfigError(message, file=str(file), hint="A UTF-8 CSV file is expected.") from error
    if not table or tuple(table[0]) != columns:
        raise ConfigError("wrong header", file=str(file), line=1, hint=f"Expected {','.join(columns)}.")
    for number, row in enumerate(table[1:], start=2):
        if len(row) != len(columns) or not row[0]:
            message = f"{len(row)} columns instead of {len(columns)}, or an empty first one"
            raise ConfigError(message, file=str(file), line=number)
    return table[1:]


def read_manifest(directory: Traversable) -> Mapping[str, Entry]:
    """The tables that a directory declares, by name. Raises ConfigError when the manifest is not in our format."""
    file = directory.joinpath("manifest.csv")
    entries: dict[str, Entry] = {}
    for number, row in enumerate(_rows(file, MANIFEST), start=2):
        entry = Entry(row[0], row[1], row[2], row[3], row[4], row[5], row[6], directory)
        if entry.kind not in COLUMNS:
            hint = f"Expected one of {', '.join(COLUMNS)}."
            raise ConfigError(f"unknown kind {entry.kind!r}", file=str(file), line=number, hint=hint)
        if entry.name in entries:
            raise ConfigError(f"{entry.name} is declared twice", file=str(file), line=number)
        entries[entry.name] = entry
    return MappingProxyType(entries)


def read_value_set(entry: Entry) -> ValueSet:
    """The value set of a manifest entry. Raises ConfigError when its file is missing, malformed or has duplicates."""
    file = entry.directory.joinpath(f"{entry.name}.csv")
    concepts = tuple(Concept(row[0], row[1], row[2]) for row in _rows(file, COLUMNS["value-set"]))
    if len({(concept.code, concept.system) for concept in concepts}) != len(concepts):
        raise ConfigError(f"{entry.name} has the same code and system twice", file=str(file))
    return ValueSet(entry.name, entry.oid, entry.version, entry.title, entry.source, concepts, entry.note)


def read_association(entry: Entry) -> Association:
    """The association of a manifest entry. Raises ConfigError when its file is missing, malformed or ambiguous."""
    file = entry.directory.joinpath(f"{entry.name}.csv")
    rows = _rows(file, COLUMNS["association"])
    targets = {row[0]: Concept(row[2], row[3], row[4]) for row in rows}
    if len(targets) != len(rows):
        raise ConfigError(f"{entry.name} maps the same source code twice", file=str(file))
    return Association(entry.name, entry.oid, entry.version, entry.title, entry.source, targets, entry.note)
