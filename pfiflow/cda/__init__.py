"""CDA R2: header facts, schema checks, PDF."""
