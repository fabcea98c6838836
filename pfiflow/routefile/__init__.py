"""Route files: YAML to flow values with every error at its place, lint, and the JSON Schema for editors."""

from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.routefile.lint import Finding, lint
from pfiflow.routefile.load import load
from pfiflow.routefile.output import as_github, as_json, as_text
from pfiflow.routefile.schema import json_schema, schema_text

__all__ = [
    "ConfigError",
    "ConfigErrors",
    "Finding",
    "as_github",
    "as_json",
    "as_text",
    "json_schema",
    "lint",
    "load",
    "schema_text",
]
