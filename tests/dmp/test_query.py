from __future__ import annotations

import pytest
from lxml import etree

from pfiflow.dmp import query
from pfiflow.dmp.query import Reference, current, references
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.soap import SOAP12, SoapMessage
from pfiflow.dmp.update import APPROVED, DELETED
from pfiflow.errors import ProtocolError, Rejected
from tests.dmp.builders import call_of, our_schema, read

RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"


def answer(objects: str, root: str = "AdhocQueryResponse") -> SoapMessage:
    body = (
        f'<q:{root} xmlns:q="{query.QUERY}" xmlns="{RIM}"><RegistryObjectList>{objects}</RegistryObjectList></q:{root}>'
    )
    return SoapMessage(etree.fromstring(f'<s:Envelope xmlns:s="{SOAP12}"><s:Body>{body}</s:Body></s:Envelope>'))


@pytest.mark.parametrize("return_type", ["ObjectRef", "LeafClass"])
def test_the_question(seal: Seal, return_type: query.ReturnType) -> None:
    out = query.get_documents("1.2.3^A'B", call_of(seal, "registry"), return_type=return_type)
    message = read(out)
    our_schema().assertValid(message.envelope)
    assert message.addressing("Action") == "urn:ihe:iti:2007:RegistryStoredQuery"
    assert message.body is not None
    option, asked = message.body
    assert option.get("returnType") == return_type
    assert asked.get("id") == "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
    assert [value.text for value in asked.iter(f"{{{RIM}}}Value")] == ["('1.2.3^A''B')"]


def test_references_in_either_form() -> None:
    objects = (
        f'<ObjectRef id="urn:uuid:1"/><ObjectRef id="urn:uuid:1"/><ObjectRef/><Association id="x"/>'
        f'<ExtrinsicObject id="urn:uuid:2" status="{APPROVED}"><VersionInfo versionName="2"/></ExtrinsicObject>'
    )
    assert references(answer(objects)) == (Reference("urn:uuid:1"), Reference("urn:uuid:2", APPROVED, "2"))
    assert references(answer("")) == ()


def test_what_is_no_answer() -> None:
    for wrong in (answer("", "AdhocQueryRequest"), SoapMessage(etree.fromstring(f'<s:Envelope xmlns:s="{SOAP12}"/>'))):
        with pytest.raises(ProtocolError):
            references(wrong)


def test_the_only_one_is_current() -> None:
    assert current(()) is None
    assert current((Reference("a"),)) == Reference("a")
    assert current((Reference("a", DELETED),)) is None
    assert current((Reference("a", DELETED), Reference("b", APPROVED))) == Reference("b", APPROVED)


def test_the_newest_approved_one_is_current() -> None:
    old, new = Reference("a", APPROVED, "9"), Reference("b", APPROVED, "10")
    assert current((old, new)) == current((new, old)) == new


@pytest.mark.parametrize(
    "several",
    [
        (Reference("a"), Reference("b")),
        (Reference("a", APPROVED, "1"), Reference("b")),
        (Reference("a", APPROVED, "1"), Reference("b", APPROVED, "1")),
        (Reference("a", APPROVED, "x"), Reference("b", APPROVED, "y")),
    ],
)
def test_no_guess_among_several(several: tuple[Reference, ...]) -> None:
    with pytest.raises(Rejected, match="does not say which is current"):
        current(several)
