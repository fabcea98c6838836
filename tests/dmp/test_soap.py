from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pfiflow.dmp import soap
from pfiflow.dmp.mtom import Part
from pfiflow.dmp.soap import SOAP11, SOAP12, SoapMessage, included, read_message
from pfiflow.errors import ProtocolError
from tests.dmp.builders import MESSAGE_ID


def envelope(body: bytes = b"<x/>") -> bytes:
    return soap.envelope(body, action="urn:a", message_id=MESSAGE_ID, to="https://dmp.test/a?b&c", security=b"<s/>")


def test_a_request() -> None:
    message = read_message("application/soap+xml; charset=UTF-8", envelope())
    assert message.namespace == SOAP12
    assert message.addressing("Action") == "urn:a"
    assert message.addressing("MessageID") == MESSAGE_ID
    assert message.addressing("To") == "https://dmp.test/a?b&c"
    assert message.addressing("RelatesTo") == ""
    action = message.header("Action")
    assert action is not None
    assert action.get(f"{{{SOAP12}}}mustUnderstand") == "true"
    assert message.header("ReplyTo") is not None
    security = message.header("Security", soap.WSSE)
    assert security is not None
    assert security[0].tag == "s"
    assert message.body is not None
    assert message.body.tag == "x"


def test_an_answer() -> None:
    answer = soap.envelope(b"<x/>", action="urn:aResponse", message_id="urn:uuid:2", relates_to=MESSAGE_ID)
    message = read_message("application/soap+xml", answer)
    assert message.addressing("RelatesTo") == MESSAGE_ID
    assert message.header("ReplyTo") is None
    assert message.header("Security", soap.WSSE) is None


def test_mtom_round_trip() -> None:
    document = bytes(range(256)) * 4
    out = soap.multipart(envelope(), (Part("d@x", "text/xml", document),), action="urn:a", message_id=MESSAGE_ID)
    body = b"".join(out.parts)
    assert out.length == len(body)
    message = read_message(out.content_type, body)
    assert message.multipart
    assert bytes(message.attachments["d@x"]) == document
    kind = (
        'multipart/related; type="application/xop+xml"; boundary="MIMEBoundary_urnuuid0b5c3bd464a34d9c8f0e3c1d9e0f7a11"'
    )
    assert out.content_type == f'{kind}; start="<root@pfiflow>"; start-info="application/soap+xml"; action="urn:a"'


def test_included_bytes() -> None:
    include = f'<d><i:Include xmlns:i="{soap.XOP}" href="cid:a%40b"/></d>'
    message = SoapMessage(etree.fromstring("<e/>"), {"a@b": b"data"})
    assert included(etree.fromstring(include), message) == b"data"
    assert included(etree.fromstring(f"<d> {base64.b64encode(b'x').decode()}\n</d>"), message) == b"x"
    for wrong in (include.replace("cid:", ""), include.replace("%40", ""), "<d>!</d>"):
        with pytest.raises(ProtocolError):
            included(etree.fromstring(wrong), message)


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("text/html; charset=utf-8", b"<html>Bonjour</html>", "text/html instead of SOAP"),
        ("", b"", "Content-Type"),
        ("application/soap+xml", b"<html/>", "no SOAP envelope"),
        ("application/soap+xml", b"", "cannot be read"),
        ("application/soap+xml", envelope()[:-5], "cannot be read"),
        ("application/soap+xml", b'<!DOCTYPE a [<!ENTITY b "c">]>' + envelope(), "DOCTYPE"),
        ("application/soap+xml", b"<a>" * 200 + b"</a>" * 200, "nested deeper"),
        ("application/soap+xml", b"<a>" + b"<b/>" * 200_000 + b"</a>", "more than 100000 tags"),
        ("application/soap+xml", b"<a>" + b"x" * soap.MAX_ENVELOPE + b"</a>", "bytes; at most"),
        ("multipart/related; boundary=B", b"--B\r\nContent-Type: text/html\r\n\r\n<html/>\r\n--B--", "no SOAP"),
        ("multipart/related; boundary=C", b"--B\r\n\r\n" + envelope() + b"\r\n--B--", "does not hold its boundary"),
        ("multipart/related; boundary=B", b"--B\r\n\r\n" + envelope(), "is cut"),
        ("multipart/related; boundary=B; start=r", b"--B\r\n\r\n" + envelope() + b"\r\n--B--", "`start`"),
    ],
)
def test_what_is_no_soap(content_type: str, body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read_message(content_type, body)


def test_no_message_quotes_content() -> None:
    with pytest.raises(ProtocolError) as caught:
        read_message("application/soap+xml", b"<DUPONT><MARTIN></DUPONT>")
    assert "DUPONT" not in str(caught.value)
    assert "MARTIN" not in str(caught.value)
    assert caught.value.__context__ is None


def test_soap_1_1_is_read() -> None:
    old = envelope().replace(SOAP12.encode(), SOAP11.encode())
    message = read_message("text/xml", old)
    assert (message.namespace, message.addressing("Action")) == (SOAP11, "urn:a")
    assert message.body is not None


def test_an_empty_body() -> None:
    assert read_message("application/soap+xml", envelope(b"")).body is None
    assert read_message("application/soap+xml", f'<a:Envelope xmlns:a="{SOAP12}"/>'.encode()).body is None


@given(body=st.binary(max_size=400), kind=st.sampled_from(["application/soap+xml", "multipart/related; boundary=B"]))
def test_any_bytes(body: bytes, kind: str) -> None:
    with contextlib.suppress(ProtocolError):
        read_message(kind, body)


@given(place=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_one_wrong_byte(place: int, byte: int) -> None:
    out = soap.multipart(envelope(), (Part("d@x", "text/xml", b"data"),), action="urn:a", message_id=MESSAGE_ID)
    body = bytearray(b"".join(out.parts))
    body[place % len(body)] = byte
    with contextlib.suppress(ProtocolError):
        read_message(out.content_type, bytes(body))
