"""HL7v2 composite strings of XDS metadata: XCN, XON, CX, CXi, XTN (ITI TF-3 §4.2.3.1.7; CI-SIS volet "Partage", PDSM).

Every free value passes through `escape`, so that no name can add a component. Every function returns "" when there
is nothing to say. `rim.xsd` allows `LONGEST` characters in a slot value: names are cut to fit, identifiers never are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "LONGEST",
    "ORGANIZATION_ID_TYPES",
    "ORGANIZATION_PREFIXES",
    "ORGANIZATION_ROOT",
    "PERSON_PREFIXES",
    "PERSON_ROOT",
    "cx",
    "cxi",
    "escape",
    "fit",
    "national_organization_id",
    "national_person_id",
    "one_line",
    "xcn",
    "xon",
    "xtn",
]

LONGEST = 256
"""Characters in one slot value (`LongName` of rim.xsd)."""

PERSON_ROOT = "1.2.250.1.71.4.2.1"
"""Authority of the national identifiers of professionals (PS_IdNat)."""

ORGANIZATION_ROOT = "1.2.250.1.71.4.2.2"
"""Authority of the national identifiers of structures (Struct_IdNat)."""

PERSON_PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "0": "ADELI",
        "1": "cabinet ADELI / internal",
        "3": "FINESS / internal",
        "4": "SIREN / internal",
        "5": "SIRET / internal",
        "6": "cabinet RPPS / internal",
        "8": "RPPS",
    }
)
"""First digit of a PS_IdNat → what follows it."""

ORGANIZATION_PREFIXES: Mapping[str, str] = MappingProxyType(
    {"0": "ADELI-rang", "1": "FINESS", "2": "SIREN", "3": "SIRET", "4": "RPPS-rang"}
)
"""First digit of a Struct_IdNat → what follows it."""

ORGANIZATION_ID_TYPES: Mapping[str, str] = MappingProxyType({ORGANIZATION_ROOT: "IDNST", "1.3.2": "SIREN"})
"""XON-7 by authority (PDSM); any other authority is `XX` of HL7 table 0203."""

# A bare registry number, as PRT-5 and PRT-8 carry it: (type, length) → the prefix that makes it national.
_PERSON_NUMBERS = MappingProxyType({("RPPS", 11): "8", ("ADELI", 9): "0"})
_ORGANIZATION_NUMBERS = MappingProxyType(
    {("FINEJ", 9): "1", ("FINEG", 9): "1", ("FINESS", 9): "1", ("SIREN", 9): "2", ("SIRET", 14): "3"}
)

_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
_NEEDS_ESCAPE = re.compile(r"[\\|^&~]")
# What XML 1.0 cannot carry, and what must not break a line.
_UNFIT = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def one_line(text: str) -> str:
    """Text on one line: control characters, and what XML cannot carry, become one space; ends trimmed."""
    return _UNFIT.sub(" ", text).strip()


def escape(text: str) -> str:
    r"""Text fit for one component: on one line, delimiters as HL7v2 escape sequences (`&` → `\T\`; HL7v2 §2.7)."""
    text = one_line(text)
    return text.translate(_ESCAPES) if _NEEDS_ESCAPE.search(text) else text


def national_person_id(identifier: str, type_: str) -> str:
    """PS_IdNat of a PRT-5.1: a bare RPPS (11 digits) or ADELI (9) gets its prefix, anything else stays as it is."""
    return _PERSON_NUMBERS.get((type_.upper(), len(identifier)), "") + identifier


def national_organization_id(identifier: str, type_: str) -> str:
    """Struct_IdNat of a PRT-8.10: a bare FINESS, SIREN or SIRET gets its prefix, anything else stays as it is."""
    return _ORGANIZATION_NUMBERS.get((type_.upper(), len(identifier)), "") + identifier


def xcn(  # noqa: D417
    identifier: str, family: str, given: str, *, authority: str, name_type: str, id_type: str
) -> str:
    """`id^family^given^^^^^^&authority&ISO^name_type^^^id_type`: authorPerson, legalAuthenticator.

    Args:
        name_type: XCN-10: `D` for a person, `U` for a system.
        id_type: XCN-13: `IDNPS`, `EI` (internal), `NH` (the patient, by INS), `RI` (system).
    """
    if not (identifier or family or given):
        return ""
    assigner = f"&{escape(authority)}&ISO" if identifier and authority else ""
    tail = f"^^^^^^{assigner}^{name_type}^^^{id_type}" if identifier else f"^^^^^^^{name_type}"
    head = escape(identifier)
    room = LONGEST - len(head) - len(tail) - 2
    first = fit(family, room)
    second = fit(given, room - len(first))
    return f"{head}^{first}^{second}{tail}".rstrip("^")


def xon(name: str, identifier: str, *, authority: str = ORGANIZATION_ROOT) -> str:
    """`name^^^^^&authority&ISO^type^^^id`: authorInstitution. Without id, XON-6, 7 and 10 are left out."""
    if not identifier:
        return fit(name, LONGEST)
    id_type = ORGANIZATION_ID_TYPES.get(authority, "XX") if authority else ""
    assigner = f"&{escape(authority)}&ISO" if authority else ""
    tail = f"^^^^^{assigner}^{id_type}^^^{escape(identifier)}"
    return fit(name, LONGEST - len(tail)) + tail


def cx(identifier: str, authority: str, id_type: str) -> str:
    """`id^^^&authority&ISO^id_type`: patientId (`NH`), sourcePatientId (`PI`)."""
    return f"{escape(identifier)}^^^&{escape(authority)}&ISO^{id_type}"


def cxi(identifier: str, authority: str, id_type: str) -> str:
    """`id^^^&authority&ISO^urn`: one value of referenceIdList. CX-4 is left out when there is no authority."""
    assigner = f"&{escape(authority)}&ISO" if authority else ""
    return f"{escape(identifier)}^^^{assigner}^{id_type}"


def xtn(address: str) -> str:
    """`^^Internet^address`: one mail address, the third field of an intendedRecipient."""
    return f"^^Internet^{escape(address)}" if address else ""


def fit(text: str, room: int = LONGEST) -> str:
    """The escaped text, its end cut off where it would not fit: a long name must not cost the whole document."""
    escaped = escape(text)
    while len(escaped) > max(room, 0):
        # Cut in the plain text, never inside an escape sequence; each turn removes at least one character.
        text = one_line(text)[: -max(1, (len(escaped) - room) // 3)]
        escaped = escape(text)
    return escaped
