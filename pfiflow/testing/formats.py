"""The formats that tests of routes look into: `hl7`, `mail`, `archive`, `xml`, `json`, `base64`."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import json
import re
import zipfile
from email.message import EmailMessage
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pfiflow.errors import ProtocolError
from pfiflow.flow.format import Format, Value, Values
from pfiflow.hl7 import er7

if TYPE_CHECKING:
    from lxml import etree

__all__ = ["COMPONENTS"]

_STAR = re.compile(r"\[\*\]")
_SEGMENT = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+|\*|[^\]]*=[^\]]*)\])?(?:-(.+))?")
_FIELD = re.compile(r"(\d+)(?:\[(\d+|\*)\])?(?:\.(\d+)(?:\.(\d+))?)?")


# -- hl7 -------------------------------------------------------------------------------------------------------------


def _returns(content: bytes) -> bytes:
    """A message file's segments end with CR, however the file's lines end."""
    return content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\r").replace(b"\n", b"\r")


def _message(content: bytes) -> er7.Message:
    try:
        return er7.parse(content)
    except ProtocolError as error:
        raise ValueError(f"this is no HL7 message: {error}") from None


def _segments(message: er7.Message, path: str) -> tuple[list[er7.Segment], str]:
    """The segments that a path names, and what it says of the field."""
    found = _SEGMENT.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no HL7 path, such as MSH-10, PID-3[2].1, OBX[2]-5 or OBX[3.1=DESTDMP]-5")
    name, which, rest = found.groups()
    segments = list(message.all(name))
    if which is None and rest is not None:
        which = "1"
    if which is None or which == "*":
        return segments, rest or ""
    if which.isdigit():
        return segments[int(which) - 1 : int(which)], rest or ""
    where, _, value = which.partition("=")
    return [each for each in segments if value in _field(each, where)], rest or ""


def _field(segment: er7.Segment, path: str) -> list[str]:
    found = _FIELD.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no field of an HL7 segment, such as 3, 3.1, 3[2].4.2 or 3[*].1")
    number, component, subcomponent = int(found[1]), int(found[3] or 1), int(found[4] or 1)
    repetitions = [int(found[2] or 1)] if found[2] != "*" else range(1, segment.repetition_count(number) + 1)
    texts = [segment.text(number, component, subcomponent, repetition) for repetition in repetitions]
    return [text for text in texts if text]


def _look_hl7(content: bytes, path: str) -> Values:
    segments, rest = _segments(_message(content), path)
    if not rest:
        return [segment.raw for segment in segments]
    return [text for segment in segments for text in _field(segment, rest)]


def _edit_hl7(content: bytes, path: str, value: str) -> bytes:
    message = _message(content)
    segments, rest = _segments(message, path)
    if not segments:
        raise ValueError(f"there is no segment at {path!r}")
    found = _FIELD.fullmatch(rest)
    if found is None or found[2] == "*":
        raise ValueError(f"{path!r} is no field that can be set")
    lines = [segment.raw for segment in message.segments]
    separators = message.separators
    for segment in segments:
        fields = lines[segment.position - 1].split(separators.field)
        number = int(found[1]) - (segment.name == "MSH")
        fields += [b""] * (number + 1 - len(fields))
        marks = (separators.repetition, separators.component, separators.subcomponent)
        escaped = er7.escape(value, separators).encode(message.encoding)
        fields[number] = _replaced(fields[number], marks, [found[2], found[3], found[4]], escaped)
        lines[segment.position - 1] = separators.field.join(fields)
    return b"\r".join(lines) + b"\r"


def _replaced(text: bytes, marks: tuple[bytes, ...], places: list[str | None], value: bytes) -> bytes:
    """The text with one of its parts, of its parts, replaced; what a path leaves out is all of it."""
    if not any(places):
        return value
    pieces = text.split(marks[0])
    at = int(places[0] or 1) - 1
    pieces += [b""] * (at + 1 - len(pieces))
    pieces[at] = _replaced(pieces[at], marks[1:], places[1:], value)
    return marks[0].join(pieces)


# -- mail ------------------------------------------------------------------------------------------------------------


def _crlf(content: bytes) -> bytes:
    """A mail file's lines end with CR LF, however the file's do."""
    return re.sub(rb"\r?\n", b"\r\n", content)


def _look_mail(content: bytes, path: str) -> Values:
    # The standard library's reader, and not ours: what we have written is read by somebody else.
    mail = email.message_from_bytes(content, policy=email.policy.default)
    leaves = [part for part in mail.walk() if not part.is_multipart()]
    if path == "body":
        texts = [part for part in leaves if part.get_content_type() == "text/plain" and not part.get_filename()]
        return [str(part.get_content()) for part in texts[:1]]
    if path == "attachments":
        return [name for part in leaves if (name := part.get_filename())]
    if path == "parts":
        return [part.get_content_type() for part in mail.walk()]
    kind, slash, name = path.partition("/")
    if kind == "attachments" and slash:
        return [_content_of(part) for part in leaves if fnmatchcase(part.get_filename() or "", name)]
    if kind == "parts" and slash:
        return [_content_of(part) for part in mail.walk() if part.get_content_type() == name]
    return [str(value) for value in mail.get_all(path, [])]


def _content_of(part: EmailMessage) -> bytes:
    """Its decoded content; of what is made of parts itself (a report's fields, an enclosed mail), these as written."""
    if part.is_multipart():
        return b"\r\n".join(each.as_bytes() for each in part.iter_parts())
    decoded = part.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    return decoded


def _edit_mail(content: bytes, path: str, value: str) -> bytes:
    head, blank, body = content.partition(b"\r\n\r\n")
    lines = re.split(rb"\r\n(?![ \t])", head)
    name = path.encode("ascii") + b":"
    kept = [line for line in lines if not line.lower().startswith(name.lower())]
    return b"\r\n".join([*kept, name + b" " + value.encode()]) + blank + body


# -- archive, xml, json, base64 --------------------------------------------------------------------------------------


def _look_archive(content: bytes, path: str) -> Values:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if path == "members":
                return names
            return [archive.read(name) for name in names if fnmatchcase(name, path)]
    except zipfile.BadZipFile as error:
        raise ValueError(f"this is no ZIP archive: {error}") from None


def _look_xml(content: bytes, path: str) -> Values:
    import elementpath
    from lxml import etree

    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"this is no XML: {error}") from None
    namespaces: dict[str, str] = {}
    for element in root.iter():
        for prefix, uri in element.nsmap.items():
            namespaces.setdefault(prefix or "", uri)
    namespaces[""] = root.nsmap.get(None, "")
    try:
        found: Any = elementpath.select(root.getroottree(), path, namespaces)
    except elementpath.ElementPathError as error:
        raise ValueError(f"{path!r}: {error}") from None
    return [_xml_value(each) for each in (found if isinstance(found, list) else [found])]


def _xml_value(found: Any) -> Value:
    if isinstance(found, bool):
        return "true" if found else "false"
    if hasattr(found, "itertext"):
        element: etree._Element = found
        return "".join(element.itertext()).strip()  # type: ignore[arg-type]
    return str(found)


def _look_json(content: bytes, path: str) -> Values:
    """RFC 6901."""
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ValueError(f"this is no JSON: {error}") from None
    if path and not path.startswith("/"):
        raise ValueError(f"{path!r} is no JSON pointer, such as /patient/0/name")
    for key in path.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - RFC 6901 §4
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return []
    if isinstance(value, list):
        return [_json_text(each) for each in value]
    return [] if value is None else [_json_text(value)]


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _edit_json(content: bytes, path: str, value: str) -> bytes:
    document = json.loads(content)
    *way, last = [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")[1:]]
    target = document
    try:
        for key in way:
            target = target[int(key)] if isinstance(target, list) else target[key]
        target[int(last) if isinstance(target, list) else last] = value
    except (KeyError, IndexError, ValueError, TypeError):
        raise ValueError(f"there is nothing at {path!r}") from None
    return json.dumps(document, ensure_ascii=False).encode()


def _look_base64(content: bytes, path: str) -> Values:
    if path != "content":
        raise ValueError(f"{path!r}: what base64 holds is its `content`")
    try:
        return [base64.b64decode(b"".join(content.split()), validate=True)]
    except ValueError as error:
        raise ValueError(f"this is no base64: {error}") from None


COMPONENTS = (
    Format(
        "hl7",
        "An HL7 v2 message in ER7.",
        "`MSH-10`, `PID-3[2].4.2`, `OBX[2]-5`; `OBX[*]-3.1` is that of every OBX, `OBX[3.1=DESTDMP]-5` of those whose "
        "OBX-3.1 is DESTDMP, `OBX` each OBX as it is written.",
        _look_hl7,
        (".hl7", ".er7"),
        _returns,
        _edit_hl7,
    ),
    Format(
        "mail",
        "A mail.",
        "The name of a header; `body` is its text, `attachments` the names, `attachments/IHE_XDM.zip` the bytes of one "
        "(`*` stands for anything), `parts` the media types, `parts/message/disposition-notification` what one holds.",
        _look_mail,
        (".eml",),
        _crlf,
        _edit_mail,
    ),
    Format(
        "archive",
        "A ZIP archive.",
        "`members` are the names; the name of a member is its bytes: `IHE_XDM/*/METADATA.XML`.",
        _look_archive,
        (".zip",),
    ),
    Format(
        "xml",
        "An XML document.",
        "XPath 2.0; a name without prefix is of the root's namespace, prefixes are the document's own: "
        "`/ClinicalDocument/id/@root`, `count(//entry)`.",
        _look_xml,
        (".xml",),
    ),
    Format(
        "json",
        "A JSON document.",
        "JSON Pointer (RFC 6901): `/patient/0/name`.",
        _look_json,
        (".json",),
        edit=_edit_json,
    ),
    Format("base64", "Base64.", "`content`, that is what it holds.", _look_base64),
)
