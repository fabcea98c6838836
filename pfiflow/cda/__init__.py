"""CDA R2: header facts, schema checks, PDF.

* `pfiflow.cda.document` reads a document: `read`, `read_tree`; its values are in `pfiflow.cda.values`.
* `pfiflow.cda.rules` judges its header, `pfiflow.cda.schema` its structure.
* `pfiflow.cda.xml` is the one door through which XML enters, for every other package too.
"""
