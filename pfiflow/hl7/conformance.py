"""Full conformance check of MDM_T02 (HL7 2.6) and ORU_R01 (HL7 2.5) as the volet 2.1 constrains them. Slow, optional.

hl7apy says what the standard says (structures, cardinalities, data types, tables; imported when first asked), and
judges dates and numbers. It does not read the message: its parser drops the segments that it cannot place, and its
strict errors quote the document. The reading is `pfiflow.hl7.er7`'s: no segment is lost, hl7apy sees one short value at
a time and never the document, and no word of its errors reaches a `Problem`.

PRT, pre-adopted from HL7 2.9, is taught from hl7apy's HL7 2.8.2 definition with its data types, fields 1 to 15.
Tables are a warning: French extensions add values to them. Z segments are allowed anywhere and not looked into.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from pfiflow.errors import Problem, Severity
from pfiflow.hl7.structure import Node, match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pfiflow.hl7.er7 import Message, Segment

__all__ = ["MAX_PROBLEMS", "check"]

MAX_PROBLEMS = 100
"""The check stops there; the last problem says so."""

_STRUCTURES = MappingProxyType({"MDM": ("2.6", "MDM_T02"), "ORU": ("2.5", "ORU_R01")})
_TRIGGERS = MappingProxyType({"MDM": ("T02", "T04", "T10"), "ORU": ("R01",)})

_ONCE, _SOME = (1, 1), (1, -1)
_TIGHTENED: Mapping[tuple[str, str], tuple[int, int]] = MappingProxyType(
    {
        ("MDM_T02", "MDM_T02_COMMON_ORDER"): _ONCE,
        ("ORU_R01", "ORU_R01_PATIENT_RESULT"): _ONCE,
        ("ORU_R01_PATIENT_RESULT", "ORU_R01_PATIENT"): _ONCE,
        ("ORU_R01_ORDER_OBSERVATION", "ORC"): _ONCE,
        ("ORU_R01_ORDER_OBSERVATION", "ORU_R01_OBSERVATION"): _SOME,
    }
)
"""(parent, child) → cardinality of the volet where it is narrower than HL7's (volet 2.1, profils ORU_R01 and MDM)."""

_REQUIRED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "MSH": (3, 4, 5, 6, 7, 9, 10, 11, 12, 17, 18, 21),
        "PID": (3, 5),
        "PV1": (2,),
        "ORC": (1,),
        "OBR": (4,),
        "TXA": (1, 2, 3, 12, 17),
        "OBX": (1, 2, 3, 5, 11),
        "PRT": (2, 4),
    }
)
"""Fields that the volet requires (usage R), HL7's own apart."""

_PRT_VERSION, _PRT_FIELDS = "2.8.2", 15
_UNTABLED = frozenset({("OBX", 2), ("PRT", 2)})
"""Fields whose table hl7apy has out of date: without the type CWE and the action UC, which the volet asks for."""

_JUDGED = frozenset({"DT", "TM", "DTM", "NM", "SI"})
_NULL = b'""'


@frozen
class _Type:
    """A data type: the base type's name, or components (each with its own type and whether it is required)."""

    name: str
    components: tuple[tuple[_Type, bool], ...] = ()


@frozen
class _Field:
    number: int
    type: _Type
    minimum: int
    maximum: int
    table: frozenset[str] | None  # for the ID type only: HL7's own tables


def check(message: Message) -> tuple[Problem, ...]:
    """Every departure of `message` from its structure, in the message's order, segments first; () when there is none.

    Raises:
        MessageError: more fields or repetitions than the reader takes.
    """
    kind, version = message.get("MSH-9.1"), message.get("MSH-12.1")
    known = _STRUCTURES.get(kind)
    if known is None:
        return (Problem("200", f"no structure to check but of {', '.join(_STRUCTURES)}", "MSH-9.1", rule="volet 2.1"),)
    expected_version, structure = known
    findings = _Findings(f"HL7 {expected_version} {structure}")
    if message.get("MSH-9.2") not in _TRIGGERS[kind]:
        findings.add("201", f"the event of {kind} is one of {', '.join(_TRIGGERS[kind])}", "MSH-9.2")
    if message.get("MSH-9.3") != structure:
        findings.add("200", f"the structure of {kind} is {structure}", "MSH-9.3")
    if version != expected_version:
        findings.add("203", f"the version of {kind} is {expected_version}", "MSH-12.1")
    segments = [segment for segment in message.segments if not segment.name.startswith("Z")]
    findings.problems += match(_structure(structure, expected_version), segments, findings.rule)
    for segment in segments:
        if len(findings.problems) > MAX_PROBLEMS:
            break
        _check_segment(segment, expected_version, findings)
    return findings.bounded()


@define
class _Findings:
    rule: str
    problems: list[Problem] = field(factory=list)

    def add(self, code: str, message: str, location: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(code, message, location, severity, self.rule))

    def bounded(self) -> tuple[Problem, ...]:
        if len(self.problems) <= MAX_PROBLEMS:
            return tuple(self.problems)
        rest = Problem(
            "199", f"only the first {MAX_PROBLEMS - 1} problems are listed; correct them first", rule=self.rule
        )
        return (*self.problems[: MAX_PROBLEMS - 1], rest)


def _check_segment(segment: Segment, version: str, findings: _Findings) -> None:
    fields = _fields(segment.name, version)
    if fields is None:
        return  # the structure match has refused it already
    required = _REQUIRED.get(segment.name, ())
    for each in fields:
        location = f"{segment.location}-{each.number}"
        count = segment.repetition_count(each.number)
        if not count:
            if each.minimum or each.number in required:
                findings.add("101", "the field is required and empty", location)
            continue
        if 0 <= each.maximum < count:
            findings.add("198", f"the field may be repeated {each.maximum} times at most, it is {count}", location)
        _check_field(segment, each, version, location, findings)
    last = fields[-1].number
    if any(segment.repetition_count(n) for n in range(last + 1, segment.field_count + 1)):
        text = f"fields after {segment.name}-{last} do not exist in this version and are not read"
        findings.add("199", text, segment.location, "warning")


def _check_field(segment: Segment, each: _Field, version: str, location: str, findings: _Findings) -> None:
    if segment.name == "MSH" and each.number <= 2:
        return
    type_ = each.type
    if type_.name == "varies":
        named = _data_type(segment.text(2), version)
        if named is None:
            findings.add("103", f"OBX-2 names no data type of HL7 {version}", f"{segment.location}-2")
            return
        type_ = named
    if type_.name == "ED":  # the document: its data component stays uncut
        if segment.component(each.number, len(type_.components) + 1):
            findings.add("102", f"ED has {len(type_.components)} components", location)
        return
    for index, repetition in enumerate(segment.repetitions(each.number), 1):
        if repetition == _NULL:
            continue
        where = location if index == 1 else f"{location}[{index}]"
        separators = (segment.separators.component, segment.separators.subcomponent)
        _check_value(repetition, type_, separators, version, where, findings)
        if each.table is not None and repetition.decode("latin-1") not in each.table:
            findings.add("103", "the value is not in the HL7 table of this field", where, "warning")


def _check_value(
    value: bytes, type_: _Type, separators: tuple[bytes, ...], version: str, location: str, findings: _Findings
) -> None:
    if not type_.components:
        if any(separator in value for separator in separators):
            text = f"{type_.name} is one value; escape the separators in it"
            findings.add("102", text, location, "warning")
        elif type_.name in _JUDGED and value != _NULL and not _is_valid(value, type_.name, version):
            findings.add("102", f"the value is no {type_.name} of HL7 {version}", location)
        return
    if not separators:  # components of a subcomponent: HL7 has no separator for them, the first one counts
        _check_value(value, type_.components[0][0], separators, version, location, findings)
        return
    size = len(type_.components)
    parts = value.split(separators[0], size)
    if len(parts) > size and parts[size].strip(separators[0]):
        findings.add("102", f"{type_.name} has {size} components", location, "warning")
    for number, (component, required) in enumerate(type_.components, 1):
        part = parts[number - 1] if number <= len(parts) else b""
        if part:
            _check_value(part, component, separators[1:], version, f"{location}.{number}", findings)
        elif required:
            findings.add(
                "101", f"this component of {type_.name} is required and empty", f"{location}.{number}", "warning"
            )


def _is_valid(value: bytes, name: str, version: str) -> bool:
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.exceptions import HL7apyException
    from hl7apy.factories import datatype_factory

    if len(value) > 64 or not value.isascii():
        return False
    try:
        datatype_factory(name, value.decode("ascii"), version, VALIDATION_LEVEL.STRICT)
    except (ValueError, HL7apyException):
        return False
    return True


def _reference(name: str, kind: str, version: str) -> Any:
    """hl7apy's definition, None when it has none."""
    from hl7apy import load_reference
    from hl7apy.exceptions import ChildNotFound

    try:
        return load_reference(name, kind, version)
    except ChildNotFound:
        return None


@lru_cache(maxsize=8)
def _structure(name: str, version: str) -> Node:
    return Node(name, 1, 1, _children(name, _reference(name, "Message", version)))


def _children(parent: str, reference: Any) -> tuple[Node, ...]:
    nodes = []
    for name, child, cardinality, kind in reference[1]:
        minimum, maximum = _TIGHTENED.get((parent, name), cardinality)
        nodes.append(Node(name, minimum, maximum, _children(name, child) if kind == "GRP" else ()))
        if name == "OBX" and parent.endswith("_OBSERVATION"):
            nodes.append(Node("PRT", 0, -1))
    return tuple(nodes)


@lru_cache(maxsize=256)
def _fields(segment: str, version: str) -> tuple[_Field, ...] | None:
    taught = segment == "PRT"
    reference = _reference(segment, "Segment", _PRT_VERSION if taught else version)
    if reference is None:
        return None
    fields = []
    for name, (kind, components, type_name, _, table, *_), (minimum, maximum), _ in reference[1]:
        number = int(name.rsplit("_", 1)[1])
        type_ = _Type(type_name) if kind == "leaf" else _composed(type_name, components)
        known = _table(table, type_name, version) if (segment, number) not in _UNTABLED else None
        fields.append(_Field(number, type_, minimum, maximum, known))
    return tuple(fields[:_PRT_FIELDS] if taught else fields)


def _table(name: str | None, type_name: str, version: str) -> frozenset[str] | None:
    reference = _reference(name, "Table", version) if name and type_name == "ID" else None
    return frozenset(reference[1]) if reference and reference[1] else None


@lru_cache(maxsize=256)
def _data_type(name: str, version: str) -> _Type | None:
    from hl7apy import load_library

    components = _reference(name, "Datatypes_Structs", version)
    if components is not None:
        return _composed(name, components)
    return _Type(name) if name in load_library(version).get_base_datatypes() or name in ("ID", "varies") else None


def _composed(name: str, components: Any) -> _Type:
    """Components at their own numbers: hl7apy leaves withdrawn ones out (XTN of 2.6 begins at XTN_2)."""
    found: list[tuple[_Type, bool]] = []
    for component, (kind, inner, type_name, *_), (minimum, _), _ in components:
        withdrawn = int(component.rsplit("_", 1)[1]) - 1 - len(found)
        found += [(_Type("ST"), False)] * withdrawn
        type_ = _Type(type_name) if kind == "leaf" else _composed(type_name, inner)
        found.append((type_, minimum > 0))
    return _Type(name, tuple(found))
