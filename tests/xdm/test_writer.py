from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from lxml import etree

from pfiflow import xdm
from pfiflow.xdm import ActionSlot
from pfiflow.xds.metadata import SubmissionSet
from tests.xdm.builders import FOLDER, OTHER, SENDER, SOFTWARE, members, packed, submission
from tests.xds.builders import RAW
from tests.xds.strategies import SUBMISSIONS

RIM = {"rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"}
OWN = etree.XMLSchema(etree.parse(Path(__file__).parents[2] / "schemas" / "xdm-metadata.xsd"))
ISO = re.compile(r"[A-Z0-9_]{1,8}(\.[A-Z0-9]{1,3})?")


def slot(element: etree._Element, name: str) -> str | None:
    return element.findtext(f"rim:Slot[@name='{name}']/rim:ValueList/rim:Value", namespaces=RIM)


def check_independently(data: bytes, documents: list[bytes]) -> etree._Element:
    """Read an archive with zipfile and lxml alone; the root of its metadata."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        names = [info.filename for info in infos]
        assert names[:3] == ["README.TXT", "INDEX.HTM", FOLDER + "METADATA.XML"]
        assert all(ISO.fullmatch(part) for name in names for part in name.split("/"))
        assert {info.compress_type for info in infos} <= {zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED}
        assert not any(info.flag_bits for info in infos)
        root = etree.fromstring(archive.read(FOLDER + "METADATA.XML"))
        entries = root.findall(".//rim:ExtrinsicObject", RIM)
        assert len(names) - 3 == len(entries) == len(documents)
        for entry, document in zip(entries, documents, strict=True):
            content = archive.read(f"{FOLDER}{slot(entry, 'URI')}")
            assert content == document
            assert slot(entry, "hash") == hashlib.sha1(content).hexdigest()
            assert slot(entry, "size") == str(len(content))
    return root


def test_an_independent_reader_finds_everything() -> None:
    root = check_independently(packed(RAW, OTHER), [RAW, OTHER])
    OWN.assertValid(root)
    assert [slot(e, "URI") for e in root.findall(".//rim:ExtrinsicObject", RIM)] == ["DOC00001.XML", "DOC00002.XML"]


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "IHE_XDM.zip"
    path.write_bytes(packed(RAW, OTHER))
    result = subprocess.run(["unzip", "-t", str(path)], capture_output=True, check=False, text=True)
    assert result.returncode == 0
    assert "No errors detected" in result.stdout


def test_oasis_accepts_the_metadata(shared: Path) -> None:
    schema = etree.XMLSchema(etree.parse(shared / "xsd/xds/ebRS30/lcm.xsd"))
    for action in ("", "C", "D"):
        schema.assertValid(etree.fromstring(members(packed(action=action))[FOLDER + "METADATA.XML"]))


def test_the_same_input_gives_the_same_bytes() -> None:
    assert packed(RAW, OTHER) == packed(RAW, OTHER)
    assert packed(RAW) != packed(OTHER)


def test_times_and_attributes_do_not_come_from_the_machine() -> None:
    with zipfile.ZipFile(io.BytesIO(packed())) as archive:
        for info in archive.infolist():
            assert info.date_time == (2026, 1, 2, 3, 4, 6)
            assert (info.create_system, info.external_attr >> 16) == (3, 0o100644)


@pytest.mark.parametrize("time", ["", "1970", "2200", "20", "x026", "20261301", "21079999999999"])
def test_a_submission_time_that_zip_cannot_say(time: str) -> None:
    data = xdm.pack(evolve(submission(), submission_time=time), [RAW], sender=SENDER, software=SOFTWARE)
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_a_submission_day() -> None:
    data = xdm.pack(evolve(submission(), submission_time="20260203"), [RAW], sender=SENDER, software=SOFTWARE)
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].date_time == (2026, 2, 3, 0, 0, 0)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_any_level(level: int) -> None:
    check_independently(packed(level=level), [RAW])


@pytest.mark.parametrize(
    ("action_slot", "object_name", "slots"),
    [
        (None, "ExtrinsicObject", ["action"]),
        (ActionSlot(names=("action", "urn:fr:action")), "ExtrinsicObject", ["action", "urn:fr:action"]),
        (ActionSlot(carrier="submission"), "RegistryPackage", ["action"]),
    ],
)
@pytest.mark.parametrize("action", ["C", "D"])
def test_the_action(action: xdm.Action, action_slot: ActionSlot | None, object_name: str, slots: list[str]) -> None:
    data = packed(action=action, action_slot=action_slot)
    root = check_independently(data, [RAW])
    OWN.assertValid(root)
    for kind in ("ExtrinsicObject", "RegistryPackage"):
        for element in root.findall(f".//rim:{kind}", RIM):
            found = [slot(element, name) for name in slots]
            assert found == ([action] * len(slots) if kind == object_name else [None] * len(slots))
    notice = {"C": "annule et remplace", "D": "suppression"}[action]
    assert notice in members(data)["README.TXT"].decode()
    assert notice in members(data)["INDEX.HTM"].decode()


def test_a_first_sending_has_no_action() -> None:
    assert b"action" not in members(packed())[FOLDER + "METADATA.XML"]


@pytest.mark.parametrize(
    ("mime_type", "name"),
    [
        ("text/xml", "DOC00001.XML"),
        ("application/xslt+xml", "DOC00001.XML"),
        ("application/pdf", "DOC00001.PDF"),
        ("application/x-unheard-of", "DOC00001.BIN"),
    ],
)
def test_file_names_follow_the_media_type(mime_type: str, name: str) -> None:
    one = submission()
    one = evolve(one, entries=(evolve(one.entries[0], mime_type=mime_type),))
    assert FOLDER + name in members(xdm.pack(one, [RAW], sender=SENDER, software=SOFTWARE))


@pytest.mark.parametrize("uri", ["doc.xml", "TOOLONGNAME.XML", "../A.XML", "A.XML/", "A", "METADATA.XML", "É.XML"])
def test_a_name_outside_iso_9660_is_a_defect(uri: str) -> None:
    one = submission()
    one = evolve(one, entries=(evolve(one.entries[0], uri=uri),))
    with pytest.raises(ValueError, match="name"):
        xdm.pack(one, [RAW], sender=SENDER, software=SOFTWARE)


def test_entries_and_documents_must_match() -> None:
    one = submission()
    with pytest.raises(ValueError, match="1 entries for 0"):
        xdm.pack(one, [], sender=SENDER, software=SOFTWARE)
    with pytest.raises(ValueError, match="bytes"):
        xdm.pack(one, [RAW + b" "], sender=SENDER, software=SOFTWARE)
    with pytest.raises(ValueError, match="SHA-1"):
        xdm.pack(one, [RAW.replace(b"<x>", b"<y>")], sender=SENDER, software=SOFTWARE)
    with pytest.raises(ValueError, match="1 to"):
        xdm.pack(evolve(one, entries=()), [], sender=SENDER, software=SOFTWARE)
    twice = evolve(one, entries=tuple(evolve(e, uri="A.XML") for e in (*one.entries, *one.entries)))
    with pytest.raises(ValueError, match="twice"):
        xdm.pack(twice, [RAW, RAW], sender=SENDER, software=SOFTWARE)


@given(SUBMISSIONS)
def test_reading_gives_back_what_was_packed(submission: SubmissionSet) -> None:
    patient = submission.entries[0].patient_id
    documents = [str(entry).encode("utf-8", "replace") for entry in submission.entries]
    entries = tuple(
        evolve(entry, patient_id=patient, size=len(document), hash=hashlib.sha1(document).hexdigest())
        for entry, document in zip(submission.entries, documents, strict=True)
    )
    submission = evolve(submission, entries=entries)
    data = xdm.pack(submission, documents, sender=SENDER, software=SOFTWARE)
    archive = xdm.unpack(data)
    assert archive.submissions == (xdm.prepare(submission),)
    assert [archive.documents[entry] for entry in archive.submissions[0].entries] == documents
    assert archive.warnings == ()
    assert data == xdm.pack(submission, documents, sender=SENDER, software=SOFTWARE)
