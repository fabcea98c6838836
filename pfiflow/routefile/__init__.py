"""YAML route files: load, schema, lint, placeholders."""
