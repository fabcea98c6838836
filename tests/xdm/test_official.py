"""The official documents, and those inside the official messages, from header to archive and back."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from pfiflow import xdm
from pfiflow.cda import document
from pfiflow.xds.from_cda import document_entry, entry_uuid_of, replacement
from tests.conftest import SHARED
from tests.xdm.builders import FOLDER, SENDER, SOFTWARE, members
from tests.xdm.test_writer import OWN, RIM, check_independently, slot
from tests.xds.builders import submission_of

_BASE64_CDA = re.compile(rb"\^XML\^Base64\^([A-Za-z0-9+/=]+)", re.IGNORECASE)


def embedded(message: bytes) -> bytes:
    """The first document of an official message; some lack their base64 padding."""
    match = _BASE64_CDA.search(message)
    assert match is not None
    return base64.b64decode(match[1] + b"=" * (-len(match[1]) % 4))


DOCUMENTS = sorted((SHARED / "vectors" / "cda").glob("*.xml"))
MESSAGES = [path for path in sorted((SHARED / "vectors" / "hl7").glob("*")) if path.stat().st_size > 1000]

pytestmark = pytest.mark.skipif(not DOCUMENTS, reason="the official examples (../shared) are not here")


def raws() -> list[pytest.ParameterSet]:
    return [pytest.param(path, id=path.stem) for path in (*DOCUMENTS, *MESSAGES)]


@pytest.mark.parametrize("path", raws())
def test_an_official_document_travels(path: Path, tmp_path: Path, shared: Path) -> None:
    raw = path.read_bytes()
    raw = raw if path.suffix == ".xml" else embedded(raw)
    cda = document.read(raw)
    unique_id = cda.id.unique_id
    # Everything that the DMP requires can be made from every one of them.
    entry = document_entry(cda, target="dmp", entry_uuid=entry_uuid_of(unique_id), test_platform=True)
    replaces = cda.replaces.unique_id if cda.replaces else ""
    associations = (replacement(entry.entry_uuid, replaced_unique_id=replaces),) if replaces else ()
    submission = submission_of(entry, associations=associations)
    data = xdm.pack(submission, [raw], sender=SENDER, software=SOFTWARE, action="C" if replaces else "")

    root = check_independently(data, [raw])
    OWN.assertValid(root)
    etree.XMLSchema(etree.parse(shared / "xsd/xds/ebRS30/lcm.xsd")).assertValid(root)

    # Against the document itself, with XPath of our own.
    header = etree.fromstring(raw)
    (extrinsic,) = root.findall(".//rim:ExtrinsicObject", RIM)

    def first(path: str) -> str:
        return str(header.xpath(f"string({path})", namespaces={"h": "urn:hl7-org:v3"})).strip()

    patient = "/h:ClinicalDocument/h:recordTarget/h:patientRole"
    ins = first(f"{patient}/h:id[1]/@extension") + "^^^&" + first(f"{patient}/h:id[1]/@root") + "&ISO^NH"
    identifiers = [e.get("value") for e in extrinsic.findall("rim:ExternalIdentifier", RIM)]
    assert identifiers == [ins, unique_id]
    family = first(f"{patient}/h:patient/h:name/h:family[@qualifier='BR']")
    given = first(f"{patient}/h:patient/h:name/h:given[@qualifier='BR']")
    assert slot(extrinsic, "sourcePatientInfo") == f"PID-5|{family}^{given}^^^^^L"
    author = "/h:ClinicalDocument/h:author[1]/h:assignedAuthor"
    parts = (
        f"{author}/h:id/@extension",
        f"{author}/h:assignedPerson/h:name/h:family | {author}//h:softwareName",
        f"{author}/h:assignedPerson/h:name/h:given | {author}//h:manufacturerModelName",
    )
    person = "^".join(map(first, parts)) + "^^^^^^&1.2.250.1.71.4.2.1&ISO^"
    values = [str(value.text) for value in extrinsic.iter(f"{{{RIM['rim']}}}Value")]
    assert [value for value in values if value.startswith(person)]

    archive = xdm.unpack(data)
    assert archive.warnings == ()
    (read,) = archive.submissions[0].entries
    assert archive.documents[read] == raw
    assert archive.actions[read] == ("C" if replaces else "")
    assert members(data)[FOLDER + "DOC00001.XML"] == raw
    if shutil.which("unzip"):
        file = tmp_path / "IHE_XDM.zip"
        file.write_bytes(data)
        assert subprocess.run(["unzip", "-tqq", str(file)], check=False).returncode == 0


def test_a_replacement_points_to_the_entry_of_the_first_archive() -> None:
    folder = SHARED / "vectors" / "cda"
    first = document.read((folder / "v2_ris_cr_imagerie_v1.xml").read_bytes())
    second = document.read((folder / "v2_ris_cr_imagerie_v2_rplc.xml").read_bytes())
    assert second.replaces is not None
    association = replacement("urn:uuid:new", replaced_entry_uuid=entry_uuid_of(second.replaces.unique_id))
    assert association.target == entry_uuid_of(first.id.unique_id)
