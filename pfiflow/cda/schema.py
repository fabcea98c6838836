"""Schema check of a CDA: a fast verdict by lxml, and only when it is bad an explanation by xmlschema.

Our own schema (`schemas/cda-header.xsd`) judges the header; an integrator who has the full CDA schema of the CI-SIS can
point at it instead, and lxml then explains alone (xmlschema cannot build that one). Explanations name elements,
attributes and types, never values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol, cast

from lxml import etree

from pfiflow.cda.header import Element, location
from pfiflow.errors import ConfigError, Problem
from pfiflow.resources import schema_path

if TYPE_CHECKING:
    import xmlschema

__all__ = ["MAX_PROBLEMS", "SchemaChecker"]

MAX_PROBLEMS: Final = 50

_RULE: Final = "CDA R2 schema"
_IS_LARGE: Final = etree.XPath("count(descendant::*) > 10000")
_ELEMENT: Final = re.compile(r"Element '(?:\{[^{}]{0,200}\})?([A-Za-z_][A-Za-z0-9_.-]{0,63})'")
_NAME: Final = re.compile(r"attribute '?(?:\{[^{}]{0,200}\})?([A-Za-z_][A-Za-z0-9_.-]{0,63})\b")
_EXPECTED: Final = re.compile(r"Expected is (?:one of )?\( ([^()]*) \)\.\s*\Z")
_NAMESPACE: Final = re.compile(r"\{[^{}]*\}")
_NOT_EXPECTED: Final = "This element is not expected here"
_INCOMPLETE: Final = "The content of this element is incomplete"
_VALUE: Final = "The value does not have the form, or is not one, that its type allows."
_MISSING: Final = "This attribute is required and absent."
_FORBIDDEN: Final = "This attribute is not allowed here."
_TEXT: Final = "Text is not allowed between the elements here."


class _Entry(Protocol):
    """An entry of lxml's error log, which its stubs leave out."""

    message: str
    type_name: str
    path: str | None


class SchemaChecker:
    """Checks ClinicalDocument elements against one schema, which is compiled at the first check. Safe between threads.

    Args:
        xsd: a schema whose root element is ClinicalDocument; pfiflow's own, of the header, by default.
    """

    def __init__(self, xsd: Path | None = None) -> None:
        self._own = xsd is None
        self._path = xsd or schema_path("cda-header.xsd")
        self._lock = Lock()
        self._schema: etree.XMLSchema | None = None
        self._explainer: xmlschema.XMLSchema10 | None = None

    def check(self, tree: Element) -> tuple[Problem, ...]:
        """Every breach of the schema, at most `MAX_PROBLEMS`; none when the document is valid.

        Raises:
            ConfigError: the schema itself cannot be read.
        """
        with self._lock:  # the error log belongs to the schema object
            if self._schema is None:
                self._schema = _compile(self._path)
            if _IS_LARGE(tree):
                return _check_large(self._schema, tree)
            if self._schema.validate(tree):
                return ()
            entries = cast("Iterable[_Entry]", self._schema.error_log)
            found = tuple(_by_lxml(entry, tree) for entry in islice(entries, MAX_PROBLEMS))
            return (self._by_xmlschema(tree) or found) if self._own else found

    def _by_xmlschema(self, tree: Element) -> tuple[Problem, ...]:
        """All breaches, where lxml stops at the first one among siblings. Nothing when xmlschema fails."""
        import xmlschema  # 126 ms, for documents that are wrong only

        if self._explainer is None:
            self._explainer = xmlschema.XMLSchema10(str(self._path), allow="local", defuse="always")
        try:
            errors = self._explainer.iter_errors(tree, use_location_hints=False)
            return tuple(_explain(error, tree) for error in islice(errors, MAX_PROBLEMS))
        except xmlschema.XMLSchemaException:
            return ()  # an unknown xsi:type raises instead of being reported; lxml has said it


def _compile(path: Path) -> etree.XMLSchema:
    try:
        return etree.XMLSchema(etree.parse(path, etree.XMLParser(no_network=True, resolve_entities=False)))
    except (OSError, etree.LxmlError) as error:
        problem = error
    raise ConfigError(f"cannot use the schema: {problem}", file=str(path), code="schema")


def _check_large(schema: etree.XMLSchema, tree: Element) -> tuple[Problem, ...]:
    """The verdict on a document of many elements, in linear time.

    On a tree, lxml looks up the path of every error, which takes as long as the element has siblings: half a minute for
    sixty thousand of them. While parsing it does not, so the tree is written and read again; places are then names.
    """
    parser = etree.XMLParser(schema=schema, resolve_entities=False, no_network=True, huge_tree=True)
    try:
        etree.fromstring(etree.tostring(tree, with_tail=False), parser)
    except etree.XMLSyntaxError as error:
        entries = cast("Iterable[_Entry]", error.error_log)
        found = dict.fromkeys(_by_lxml(entry, tree) for entry in entries)
        return tuple(islice(found, MAX_PROBLEMS))
    return ()


def _by_lxml(entry: _Entry, tree: Element) -> Problem:
    named = _NAME.search(entry.message)
    wanted = _EXPECTED.search(entry.message)
    expected = [] if wanted is None else _NAMESPACE.sub("", wanted[1]).split(", ")
    where = _place(tree, entry)
    match entry.type_name:
        case "SCHEMAV_ELEMENT_CONTENT" if "Missing child" in entry.message[:400]:
            return _problem("101", where, _INCOMPLETE, expected)
        case "SCHEMAV_ELEMENT_CONTENT":
            return _problem("198", where, _NOT_EXPECTED, expected)
        case "SCHEMAV_CVC_COMPLEX_TYPE_4" if named:
            return _problem("101", f"{where}/@{named[1]}", _MISSING)
        case "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1" | "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2" if named:
            return _problem("198", f"{where}/@{named[1]}", _FORBIDDEN)
        case "SCHEMAV_CVC_COMPLEX_TYPE_2_3":
            return _problem("198", where, _TEXT)
        case _ if named:
            return _problem("102", f"{where}/@{named[1]}", _VALUE)
        case other:
            return _problem("102", where, f"The element breaks the schema ({other}).")


def _place(tree: Element, entry: _Entry) -> str:
    """The XPath of the element that lxml reports under a path of positions, or at least its name."""
    prefixes = {prefix: uri for prefix, uri in tree.nsmap.items() if prefix}
    if entry.path:
        relative = entry.path.lstrip("/").partition("/")[2]
        try:
            found = tree.xpath(f"./{relative}" if relative else ".", namespaces=prefixes)
        except etree.XPathError:
            found = []
        if isinstance(found, list) and found and isinstance(found[0], Element):
            return location(found[0])
    name = _ELEMENT.match(entry.message)
    return f"//{name[1]}" if name else "/ClinicalDocument"


def _explain(error: xmlschema.XMLSchemaValidationError, tree: Element) -> Problem:
    import xmlschema

    element = error.elem if isinstance(error.elem, Element) else tree
    where = location(element)
    reason = error.reason or ""
    if isinstance(error, xmlschema.XMLSchemaChildrenValidationError):
        names = [getattr(each, "local_name", None) or "any" for each in error.expected or ()]
        child: object = error.invalid_child  # typed for ElementTree, but this tree is lxml's
        if isinstance(child, Element):
            return _problem("198", location(child), _NOT_EXPECTED, names)
        return _problem("101", where, _INCOMPLETE, names)
    named = _NAME.search(reason)
    if named is None:
        return _problem("198", where, _TEXT) if reason.startswith("character data") else _problem("102", where, _VALUE)
    where += f"/@{named[1]}"
    if reason.startswith("missing required attribute"):
        return _problem("101", where, _MISSING)
    if reason.endswith("not allowed") or "prohibited" in reason:
        return _problem("198", where, _FORBIDDEN)
    fixed = getattr(error.validator, "fixed", None)
    return _problem("102", where, f"The value must be {fixed}." if fixed else _VALUE)


def _problem(code: str, where: str, message: str, expected: list[str] | None = None) -> Problem:
    if expected is not None:
        message += f"; expected {' or '.join(expected)}." if expected else "."
    return Problem(code, message, where, rule=_RULE)
