"""XDS metadata: values, derivation from a CDA header, ebRIM 3.0."""
