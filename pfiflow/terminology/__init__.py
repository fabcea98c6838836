"""French health value sets (JDV) and associations (ASS), as dated data: looked up by name or OID.

The tables in `data/` are facts (codes, labels, identifiers) of the Nomenclature des objets de santé; `manifest.csv`
says the OID, version and source of each. An integrator replaces or adds tables with a directory of the same format:
`Terminology(overlay=Path("…"))`. The functions of this module use the tables shipped with pfiflow.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Final

from pfiflow.errors import ConfigError
from pfiflow.terminology import tables
from pfiflow.terminology.values import Association, Concept, ValueSet

__all__ = [
    "Association",
    "Concept",
    "Terminology",
    "ValueSet",
    "class_of",
    "default",
    "format_of_media_type",
    "format_of_template",
    "value_set",
]

_CI_SIS_MODELS: Final = "1.2.250.1.213.1.1.1."  # the arc of the CI-SIS document models


class Terminology:
    """The tables shipped with pfiflow, under those of an optional directory, which win by name.

    Tables are read at their first use and kept; what is handed out is immutable. Safe to share between threads.

    Args:
        overlay: a directory in the format of `pfiflow.terminology.tables`, for newer or local tables.

    Raises:
        ConfigError: the overlay has no manifest, or one that is not in our format.
    """

    def __init__(self, overlay: Path | None = None) -> None:
        self._entries = dict(tables.read_manifest(files("pfiflow.terminology") / "data"))
        if overlay is not None:
            self._entries.update(tables.read_manifest(overlay))
        self._names = {entry.oid: entry.name for entry in self._entries.values() if entry.oid}
        self._value_sets: dict[str, ValueSet] = {}
        self._associations: dict[str, Association] = {}
        self._lock = Lock()

    def names(self) -> tuple[str, ...]:
        """The names of all tables, sorted."""
        return tuple(sorted(self._entries))

    def _entry(self, name: str, kind: str) -> tables.Entry:
        entry = self._entries.get(self._names.get(name, name))
        if entry is None or entry.kind != kind:
            known = ", ".join(sorted(n for n, e in self._entries.items() if e.kind == kind))
            raise ConfigError(f"unknown {kind} {name!r}", code="terminology", hint=f"Known: {known}.")
        return entry

    def value_set(self, name: str) -> ValueSet:
        """The value set with this name (`JDV_J07`) or OID. Raises ConfigError when there is none."""
        found = self._value_sets.get(name)
        if found is None:
            entry = self._entry(name, "value-set")
            with self._lock:
                found = self._value_sets.get(entry.name) or tables.read_value_set(entry)
                self._value_sets[entry.name] = self._value_sets[name] = found
        return found

    def association(self, name: str) -> Association:
        """The association with this name (`ASS_X04`) or OID. Raises ConfigError when there is none."""
        found = self._associations.get(name)
        if found is None:
            entry = self._entry(name, "association")
            with self._lock:
                found = self._associations.get(entry.name) or tables.read_association(entry)
                self._associations[entry.name] = self._associations[name] = found
        return found

    def class_of(self, type_code: str, *, dmp: bool = False) -> Concept | None:
        """The XDS class of a document type: ASS_X04 (CI-SIS), or for the DMP ASS_X16 and, in its gaps, ASS_X04.

        None when no table knows the type: true today of `101881-1` (carte d'implant), which is in JDV_J66 all the same.
        """
        concept = self.association("ASS_X16").get(type_code) if dmp else None
        return concept or self.association("ASS_X04").get(type_code)

    def format_of_template(self, template_ids: Iterable[str]) -> Concept | None:
        """The XDS format of an N3 from the templateId roots of its header (ASS_A11), or None.

        A CI-SIS model (arc 1.2.250.1.213.1.1.1) wins over an IHE one, the first listed wins within an arc. The template
        of the N1 (1.3.6.1.4.1.19376.1.2.20) decides nothing: there, `format_of_media_type` does.
        """
        formats = self.association("ASS_A11")
        found = [(root, concept) for root in template_ids if (concept := formats.get(root)) is not None]
        found.sort(key=lambda pair: not pair[0].startswith(_CI_SIS_MODELS))  # stable: keeps the document's order
        return found[0][1] if found else None

    def format_of_media_type(self, media_type: str) -> Concept | None:
        """The XDS format of an N1 from nonXMLBody/text/@mediaType (ASS_A12), or None."""
        return self.association("ASS_A12").get(media_type.strip().lower())


@cache
def default() -> Terminology:
    """The tables shipped with pfiflow."""
    return Terminology()


def value_set(name: str) -> ValueSet:
    """`Terminology.value_set` on the tables shipped with pfiflow."""
    return default().value_set(name)


def class_of(type_code: str, *, dmp: bool = False) -> Concept | None:
    """`Terminology.class_of` on the tables shipped with pfiflow."""
    return default().class_of(type_code, dmp=dmp)


def format_of_template(template_ids: Iterable[str]) -> Concept | None:
    """`Terminology.format_of_template` on the tables shipped with pfiflow."""
    return default().format_of_template(template_ids)


def format_of_media_type(media_type: str) -> Concept | None:
    """`Terminology.format_of_media_type` on the tables shipped with pfiflow."""
    return default().format_of_media_type(media_type)
