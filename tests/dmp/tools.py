"""Independent verifiers, where the machine has them: xmlsec1 and the OASIS schemas, as Debian ships them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from pfiflow.resources import schema_path

_OPENSAML = Path("/usr/share/xml/opensaml")
_XMLTOOLING = Path("/usr/share/xml/xmltooling")


def xmlsec1(document: bytes, authority: Path, folder: Path, *arguments: str) -> bool:
    """Whether xmlsec1 accepts the signature of a document; skips where there is none."""
    tool = shutil.which("xmlsec1")
    if tool is None:
        pytest.skip("xmlsec1 is not installed (Debian package xmlsec1)")
    path = folder / "signed.xml"
    path.write_bytes(document)
    command = [tool, "--verify", "--trusted-pem", str(authority), *arguments, str(path)]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


class _Local(etree.Resolver):
    """Schemas by their file name, from the folders of Debian."""

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]
        name = system_url.rpartition("/")[2]
        found = next((folder / name for folder in (_OPENSAML, _XMLTOOLING) if (folder / name).is_file()), None)
        return self.resolve_filename(str(found), context) if found else None  # type: ignore[attr-defined]


def oasis_schema() -> etree.XMLSchema:
    """SAML 2.0 and XML-DSig as their makers published them, with our CE; skips where they are not installed."""
    if not (_OPENSAML.is_dir() and _XMLTOOLING.is_dir()):
        pytest.skip("the SAML schemas are not installed (Debian packages opensaml-schemas, xmltooling-schemas)")
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Local())
    imports = (
        ("urn:oasis:names:tc:SAML:2.0:assertion", "saml-schema-assertion-2.0.xsd"),
        ("http://www.w3.org/2000/09/xmldsig#", "xmldsig-core-schema.xsd"),
        ("urn:hl7-org:v3", str(schema_path("dmp-vihf-codes.xsd"))),
    )
    lines = "".join(f'<xs:import namespace="{name}" schemaLocation="{place}"/>' for name, place in imports)
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{lines}</xs:schema>'
    return etree.XMLSchema(etree.fromstring(text, parser))
