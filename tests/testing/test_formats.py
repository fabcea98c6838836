"""The formats that tests look into: paths, edits, and what is none of theirs."""

from __future__ import annotations

import base64
import io
import zipfile

import pytest

from pfiflow.flow.format import Format
from pfiflow.testing.formats import COMPONENTS
from tests.system.service import ROOT

FORMATS: dict[str, Format] = {each.name: each for each in COMPONENTS}
ER7 = (
    b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5\rPID|||1^^^X&1.2&ISO~2^^^Y||N\xc3\x89E^ADA\rOBX|1|ST|A^a||x\rOBX|2|ST|B^b||y\r"
)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("MSH-10", ["1"]),
        ("MSH-9.2", ["R01"]),
        ("PID-3", ["1"]),
        ("PID-3[2]", ["2"]),
        ("PID-3[*].4", ["X", "Y"]),
        ("PID-3.4.2", ["1.2"]),
        ("PID-5.2", ["ADA"]),
        ("PID-8", []),
        ("OBX-5", ["x"]),
        ("OBX[2]-5", ["y"]),
        ("OBX[3]-5", []),
        ("OBX[*]-5", ["x", "y"]),
        ("OBX[3.1=B]-5", ["y"]),
        ("OBX[3.1=C]-5", []),
        ("OBX", [b"OBX|1|ST|A^a||x", b"OBX|2|ST|B^b||y"]),
        ("ZZZ-1", []),
    ],
)
def test_hl7_paths(path: str, values: list[str | bytes]) -> None:
    message = ER7.replace(b"||||ORU", b"||||ORU").replace(b"P|2.5", b"P|2.5||||||UNICODE UTF-8")
    assert list(FORMATS["hl7"].look(message, path)) == values


@pytest.mark.parametrize("path", ["msh-1", "OBX[]-1", "PID-", "PID-3.", "PID-x", ""])
def test_what_is_no_hl7_path(path: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        FORMATS["hl7"].look(ER7, path)


@pytest.mark.parametrize(
    ("path", "value", "segment"),
    [
        ("MSH-10", "2", b"MSH|^~\\&|A|B|||||ORU^R01|2|P|2.5"),
        ("PID-3", "9", b"PID|||9||N\xc3\x89E^ADA"),
        ("PID-3[2]", "9", b"PID|||1^^^X&1.2&ISO~9||N\xc3\x89E^ADA"),
        ("PID-3.4.2", "9", b"PID|||1^^^X&9&ISO~2^^^Y||N\xc3\x89E^ADA"),
        ("PID-5.2", "A|B", b"PID|||1^^^X&1.2&ISO~2^^^Y||N\xc3\x89E^A\\F\\B"),
        ("PID-11.3", "PARIS", b"PID|||1^^^X&1.2&ISO~2^^^Y||N\xc3\x89E^ADA||||||^^PARIS"),
        ("OBX[3.1=B]-5", "z", b"OBX|2|ST|B^b||z"),
    ],
)
def test_hl7_values_are_set_and_nothing_else_changes(path: str, value: str, segment: bytes) -> None:
    edit = FORMATS["hl7"].edit
    assert edit is not None
    before, after = ER7.split(b"\r"), edit(ER7, path, value).split(b"\r")
    assert [line for line in after if line not in before] == [segment]
    assert len(after) == len(before)


def test_setting_what_is_not_there_is_told() -> None:
    edit = FORMATS["hl7"].edit
    assert edit is not None
    for path in ("NTE-1", "OBX[9]-5", "PID-3[*]", "PID"):
        with pytest.raises(ValueError, match=r"."):
            edit(ER7, path, "x")


def test_hl7_files_have_any_line_ends() -> None:
    assert FORMATS["hl7"].read(b"\xef\xbb\xbfMSH|a\r\nPID|b\nOBX|c\r") == b"MSH|a\rPID|b\rOBX|c\r"


def test_mail_paths() -> None:
    mail = FORMATS["mail"]
    content = mail.read((ROOT / "examples/mails/xdm.eml").read_bytes())
    assert mail.look(content, "To") == ["pfi@hopital.mssante.example"]
    assert mail.look(content, "X-Nothing") == []
    assert mail.look(content, "attachments") == [
        "IHE_XDM.zip",
        "20250106_CR ou fiche de consultation ou de visite_PAT-BABA_CAMILLE_DOS0000000.pdf",
    ]
    (archive,) = mail.look(content, "attachments/IHE*.zip")
    assert isinstance(archive, bytes)
    assert "INDEX.HTM" in FORMATS["archive"].look(archive, "members")
    (body,) = mail.look(content, "body")
    assert "Bonjour" in str(body)
    report = mail.read((ROOT / "examples/mails/mdn_displayed.eml").read_bytes())
    (fields,) = mail.look(report, "parts/message/disposition-notification")
    assert isinstance(fields, bytes)
    assert b"displayed" in fields


def test_a_header_of_a_mail_is_set_or_taken_out() -> None:
    mail = FORMATS["mail"]
    content = mail.read((ROOT / "examples/mails/ordinary.eml").read_bytes())
    assert mail.edit is not None
    assert mail.look(mail.edit(content, "Message-ID", "<2@a.example>"), "Message-ID") == ["<2@a.example>"]
    assert mail.look(mail.edit(content, "X-New", "a"), "X-New") == ["a"]
    assert mail.look(mail.edit(content, "X-New", "a"), "body") == mail.look(content, "body")


def test_xml_paths_speak_the_roots_namespace() -> None:
    look = FORMATS["xml"].look
    document = b'<a xmlns="urn:a" xmlns:b="urn:b"><c d="1">x</c><c d="2"><b:e>y</b:e></c></a>'
    assert look(document, "/a/c/@d") == ["1", "2"]
    assert look(document, "//b:e") == ["y"]
    assert look(document, "//c[@d='2']") == ["y"]
    assert look(document, "count(//c)") == ["2"]
    assert look(document, "exists(//z)") == ["false"]
    assert look(document, "//z") == []
    for wrong in ("//", "//f:e"):
        with pytest.raises(ValueError, match=r"."):
            look(document, wrong)


def test_xml_entities_are_not_followed() -> None:
    secret = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'
    assert b"root:" not in b"".join(str(value).encode() for value in FORMATS["xml"].look(secret, "/a"))


def test_json_pointers() -> None:
    content = b'{"a": [{"b/c": "x"}, {"d": 2}], "e": null, "f": true}'
    look, edit = FORMATS["json"].look, FORMATS["json"].edit
    assert look(content, "/a/0/b~1c") == ["x"]
    assert look(content, "/a/1/d") == ["2"]
    assert look(content, "/f") == ["true"]
    assert look(content, "/e") == []
    assert look(content, "/g/h") == []
    assert len(look(content, "/a")) == 2
    assert edit is not None
    assert look(edit(content, "/a/1/d", "3"), "/a/1/d") == ["3"]
    with pytest.raises(ValueError, match="pointer"):
        look(content, "a")


def test_archives_and_base64() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("A/B.TXT", "x")
    assert FORMATS["archive"].look(target.getvalue(), "members") == ["A/B.TXT"]
    assert FORMATS["archive"].look(target.getvalue(), "*/B.TXT") == [b"x"]
    assert FORMATS["archive"].look(target.getvalue(), "C") == []
    assert FORMATS["base64"].look(base64.b64encode(b"\x00x"), "content") == [b"\x00x"]


@pytest.mark.parametrize(("name", "path"), [("hl7", "MSH-1"), ("xml", "/a"), ("json", "/a"), ("archive", "a")])
def test_what_is_none_of_its_format_is_told(name: str, path: str) -> None:
    with pytest.raises(ValueError, match="this is no"):
        FORMATS[name].look(b"\xff\xfe nonsense", path)
