"""The JSON Schema (draft-07) of test files, for editors, from the same classes that the loader reads by."""

from __future__ import annotations

import json
from typing import Any

from pfiflow.flow.component import Registry
from pfiflow.flow.matching import Match
from pfiflow.flow.testing import answers_of
from pfiflow.routefile.schema import PLACEHOLDER, Schema, SchemaWriter
from pfiflow.routefile.testfile import AnswerForm, TestFile
from pfiflow.routefile.testfile_load import CONDITIONS

__all__ = ["test_schema", "test_schema_text"]

_MATCH: Schema = {"$ref": "#/definitions/match"}
_TEXT: Schema = {"type": ["string", "number", "boolean"]}


def test_schema(registry: Registry) -> Schema:
    """The schema of test files that use this registry."""
    return _TestWriter(registry).test_file()


def test_schema_text(registry: Registry) -> str:
    """The same as the text of a file."""
    return json.dumps(test_schema(registry), ensure_ascii=False, indent=1) + "\n"


class _TestWriter(SchemaWriter):
    def test_file(self) -> Schema:
        root = self.options(TestFile)
        self.definitions["placeholder"] = PLACEHOLDER
        self.definitions["match"] = self._match()
        self.definitions["answer"] = self._answer()
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "pfiflow test file",
            **root,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def special(self, hint: Any) -> Schema | None:
        if hint in (Match, Match | None):
            return {"allOf": [_MATCH]}
        if hint is AnswerForm:
            return {"$ref": "#/definitions/answer"}
        return super().special(hint)

    def _match(self) -> Schema:
        conditions = {
            name: {"description": condition.doc, **self._type(condition.hint)} for name, condition in CONDITIONS.items()
        }
        formats = {
            format_.name: {
                "description": f"{format_.doc} Paths: {format_.paths}",
                "type": "object",
                "additionalProperties": _MATCH,
            }
            for format_ in self.registry.formats.values()
        }
        return {
            "description": "A text, a list of texts, or all that a mapping says.",
            "anyOf": [
                _TEXT,
                {"type": "array", "items": _TEXT},
                {
                    "type": "object",
                    "minProperties": 1,
                    "properties": {**conditions, **formats},
                    "additionalProperties": False,
                },
            ],
        }

    def _answer(self) -> Schema:
        sinks = sorted(each.name for each in self.registry.components.values() if each.kind == "sink")
        for name in sinks:
            self.definitions[f"answer-{name}"] = self.options(answers_of(self.registry.components[name]))
        times = {"type": "integer", "minimum": 0, "default": 1, "description": "For so many attempts; 0: from then on."}
        return {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 2,
            "properties": {"times": times, **{name: {"$ref": f"#/definitions/answer-{name}"} for name in sinks}},
            "additionalProperties": False,
        }
