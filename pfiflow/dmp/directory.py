"""Who is what: profession and specialty by professional, sector by structure, from two CSV settings.

The DMP wants in the VIHF what the HL7v2 message does not carry. Each file is UTF-8 with a header line, separated by
`,` or `;`; lines that start with `#` and empty ones are skipped; unknown columns too.

professionals:
    `professional` (RPPS or PS_IdNat: `10001234567` or `810001234567`), `profession` (TRE_G15, such as `10` médecin or
    `21` pharmacien), `profession_label`; optional: `specialty` (TRE_R01, such as `SM26`; for a pharmacist the section,
    TRE_G05), `specialty_label`, `profession_system`, `specialty_system` (OIDs, where the defaults do not hold).
structures:
    `structure` (FINESS or Struct_IdNat: `120456789` or `1120456789`), `sector` (JDV_J61, such as `SA01`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

from pfiflow.cda.values import Code
from pfiflow.dmp.vihf import AUTOMATE
from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.xds.composite import national_organization_id, national_person_id

__all__ = ["Directory", "person_key", "structure_key"]

_PROFESSION: Final = "1.2.250.1.71.1.2.7"  # TRE_G15
_KNOW_HOW: Final = "1.2.250.1.71.4.2.5"  # TRE_R01
_SECTION: Final = "1.2.250.1.71.4.2.6"  # TRE_G05
_SECTOR: Final = "1.2.250.1.71.4.2.4"  # TRE_R02
_PHARMACIST: Final = "21"
_NOTHING: Final[Mapping[str, tuple[Code, ...]]] = MappingProxyType({})
_NO_SECTOR: Final[Mapping[str, str]] = MappingProxyType({})


@frozen
class Directory:
    """Roles by PS_IdNat, sectors by Struct_IdNat."""

    professionals: Mapping[str, tuple[Code, ...]] = _NOTHING
    structures: Mapping[str, str] = _NO_SECTOR

    @classmethod
    def load(
        cls,
        professionals: str = "",
        structures: str = "",
        *,
        professionals_file: str = "professionals",
        structures_file: str = "structures",
    ) -> Directory:
        """The directory of two CSV texts; the file names are for the errors.

        Raises:
            ConfigErrors: every line that cannot be used, with its file and line.
        """
        errors: list[ConfigError] = []
        people = dict(_professionals(_Table(professionals, professionals_file, ("professional", "profession"), errors)))
        places = dict(_structures(_Table(structures, structures_file, ("structure", "sector"), errors)))
        if errors:
            raise ConfigErrors(errors)
        return cls(MappingProxyType(people), MappingProxyType(places))

    def roles(self, professional: str) -> tuple[Code, ...]:
        """Profession, then specialty; AUTOMATE for one who is not in the directory."""
        return self.professionals.get(person_key(professional), (AUTOMATE,))

    def sector(self, structure: str, default: str = "") -> str:
        """`SA01^1.2.250.1.71.4.2.4`; `default` for a structure that is not in the directory."""
        return self.structures.get(structure_key(structure), default)


def person_key(identifier: str) -> str:
    """A professional's identifier as a PS_IdNat: a bare RPPS gets its 8."""
    return national_person_id(identifier.strip(), "RPPS")


def structure_key(identifier: str) -> str:
    """A structure's identifier as a Struct_IdNat: a bare FINESS gets its 1, a bare SIRET its 3."""
    bare = identifier.strip()
    return national_organization_id(national_organization_id(bare, "FINESS"), "SIRET")


class _Table:
    """The rows of one CSV text, by column name, each with its line."""

    def __init__(self, text: str, file: str, required: tuple[str, ...], errors: list[ConfigError]) -> None:
        self._text = text.removeprefix("\ufeff")
        self._file = file
        self._required = required
        self._errors = errors

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        lines = [
            (number, line)
            for number, line in enumerate(self._text.splitlines(), 1)
            if line.strip() and not line.startswith("#")
        ]
        if not lines:
            return
        first = lines[0][1]
        reader = csv.reader(io.StringIO("\n".join(line for _, line in lines)), delimiter=";" if ";" in first else ",")
        rows = [[cell.strip() for cell in row] for row in reader]
        header = rows[0]
        if missing := [name for name in self._required if name not in header]:
            self.error(lines[0][0], f"the header has no column {' nor '.join(missing)}")
            return
        if len(rows) != len(lines):
            self.error(lines[0][0], "a quoted cell goes over several lines")
            return
        for (number, _), row in zip(lines[1:], rows[1:], strict=True):
            record = dict(zip(header, row, strict=False))
            if all(record.get(name) for name in self._required):
                yield number, record
            else:
                self.error(number, f"each line needs {' and '.join(self._required)}")

    def error(self, line: int, message: str) -> None:
        self._errors.append(ConfigError(message, file=self._file, line=line, column=1, code="directory"))


def _professionals(table: _Table) -> Iterator[tuple[str, tuple[Code, ...]]]:
    seen: set[str] = set()
    for line, row in table:
        key = person_key(row["professional"])
        if key in seen:
            table.error(line, "the professional is in the file twice")
        seen.add(key)
        profession = row["profession"]
        role = Code(profession, row.get("profession_system") or _PROFESSION, row.get("profession_label", ""))
        if not (specialty := row.get("specialty", "")):
            yield key, (role,)
            continue
        system = row.get("specialty_system") or (_SECTION if profession == _PHARMACIST else _KNOW_HOW)
        yield key, (role, Code(specialty, system, row.get("specialty_label", "")))


def _structures(table: _Table) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for line, row in table:
        key = structure_key(row["structure"])
        if key in seen:
            table.error(line, "the structure is in the file twice")
        seen.add(key)
        code = row["sector"]
        yield key, code if "^" in code else f"{code}^{_SECTOR}"
