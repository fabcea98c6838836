"""SOAP 1.2 with WS-Addressing 1.0, plain or MTOM, written and read by bytes (dmp-details §1.3).

Both sides: the client writes requests and reads answers, the simulator reads requests and writes answers.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import unquote

from attrs import field, frozen
from lxml import etree

from pfiflow.cda import xml
from pfiflow.dmp import mtom
from pfiflow.dmp.mtom import Part
from pfiflow.dmp.signing import attribute, text
from pfiflow.errors import ProtocolError, Rejected

__all__ = [
    "MAX_ENVELOPE",
    "SOAP11",
    "SOAP12",
    "WSA",
    "WSSE",
    "XOP",
    "Outgoing",
    "SoapMessage",
    "envelope",
    "fault",
    "included",
    "multipart",
    "plain",
    "read_message",
]

SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
WSA: Final = "http://www.w3.org/2005/08/addressing"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
XOP: Final = "http://www.w3.org/2004/08/xop/include"
ANONYMOUS: Final = WSA + "/anonymous"

MAX_ENVELOPE: Final = 5_000_000
"""The longest envelope read: an answer takes a few kilobytes, a request with metadata less than a hundred."""

_XML_TYPES: Final = frozenset({"application/soap+xml", "text/xml", "application/xml", "application/xop+xml"})


@frozen
class Outgoing:
    """A message ready for HTTP: POST the `parts` one after the other, `length` bytes in all."""

    action: str
    message_id: str
    content_type: str
    parts: tuple[bytes | memoryview, ...] = field(repr=False)

    @property
    def length(self) -> int:
        """Content-Length."""
        return sum(len(part) for part in self.parts)


@frozen
class SoapMessage:
    """A message read: its envelope, without comments and processing instructions, and its attachments by Content-ID."""

    envelope: etree._Element = field(repr=False)
    attachments: Mapping[str, bytes | memoryview] = field(repr=False, factory=lambda: MappingProxyType({}))
    multipart: bool = False

    @property
    def namespace(self) -> str:
        """`SOAP12`, or `SOAP11`, which is read but never written."""
        return etree.QName(self.envelope).namespace or ""

    def header(self, name: str, namespace: str = WSA) -> etree._Element | None:
        """The first header block with this name: `Action`, `MessageID`, `RelatesTo`, `To`, or `Security` of `WSSE`."""
        return self.envelope.find(f"{{{self.namespace}}}Header/{{{namespace}}}{name}")

    def addressing(self, name: str) -> str:
        """The text of a WS-Addressing header, "" when there is none."""
        element = self.header(name)
        return "" if element is None else (element.text or "").strip()

    @property
    def body(self) -> etree._Element | None:
        """The first element of the Body: the request, the response or a Fault; None when the Body is empty."""
        found = self.envelope.find(f"{{{self.namespace}}}Body")
        return None if found is None else next(found.iterchildren(etree.Element), None)


def envelope(
    body: bytes,
    *,
    action: str,
    message_id: str,
    to: str = "",
    security: bytes = b"",
    relates_to: str = "",
) -> bytes:
    """A SOAP 1.2 envelope in UTF-8.

    Args:
        body: one serialised element, without XML declaration, that declares every prefix it uses.
        action: wsa:Action.
        message_id: wsa:MessageID, `urn:uuid:…`.
        to: the service's URL in a request. A request gets wsa:ReplyTo too.
        security: what wsse:Security holds: a signed assertion, kept byte for byte. Nothing declares a default namespace
            or one of its prefixes above it, so that its signature stays good.
        relates_to: in an answer, the MessageID of its request.
    """
    head = (
        f'<soap:Envelope xmlns:soap="{SOAP12}" xmlns:wsa="{WSA}"><soap:Header>'
        f'<wsa:Action soap:mustUnderstand="true">{text(action)}</wsa:Action>'
        f"<wsa:MessageID>{text(message_id)}</wsa:MessageID>"
    )
    if relates_to:
        head += f"<wsa:RelatesTo>{text(relates_to)}</wsa:RelatesTo>"
    else:
        head += f'<wsa:ReplyTo soap:mustUnderstand="true"><wsa:Address>{ANONYMOUS}</wsa:Address></wsa:ReplyTo>'
    if to:
        head += f"<wsa:To>{text(to)}</wsa:To>"
    opening, closing = (f'<wsse:Security xmlns:wsse="{WSSE}">', "</wsse:Security>") if security else ("", "")
    return b"".join(
        (
            (head + opening).encode(),
            security,
            f"{closing}</soap:Header><soap:Body>".encode(),
            body,
            b"</soap:Body></soap:Envelope>",
        )
    )


def plain(content: bytes, *, action: str, message_id: str) -> Outgoing:
    """An envelope as `application/soap+xml`: ITI-57, ITI-18, most answers."""
    content_type = f'application/soap+xml; charset=UTF-8; action="{action}"'
    return Outgoing(action, message_id, content_type, (content,))


def multipart(content: bytes, attachments: Sequence[Part], *, action: str, message_id: str) -> Outgoing:
    """An envelope with attachments as MTOM: ITI-41. The boundary comes from `message_id`, which nobody can foresee."""
    boundary = "MIMEBoundary_" + "".join(c for c in message_id if c.isalnum())[-40:]
    root = Part("root@pfiflow", 'application/xop+xml; charset=UTF-8; type="application/soap+xml"', content)
    content_type = (
        f'multipart/related; type="application/xop+xml"; boundary="{boundary}"; start="<{root.content_id}>"; '
        f'start-info="application/soap+xml"; action="{action}"'
    )
    return Outgoing(action, message_id, content_type, mtom.write((root, *attachments), boundary))


def fault(
    code: Literal["Sender", "Receiver", "MustUnderstand"],
    reason: str,
    *,
    subcode: str = "",
    subcode_namespace: str = SOAP12,
) -> bytes:
    """A SOAP 1.2 Fault, the body of an answer with HTTP 400 or 500. The DMP puts its code into the Subcode."""
    value = f'<soap:Value xmlns:sub="{attribute(subcode_namespace)}">sub:{text(subcode)}</soap:Value>'
    inner = f"<soap:Subcode>{value}</soap:Subcode>" if subcode else ""
    return (
        f'<soap:Fault xmlns:soap="{SOAP12}"><soap:Code><soap:Value>soap:{code}</soap:Value>{inner}</soap:Code>'
        f'<soap:Reason><soap:Text xml:lang="fr">{text(reason)}</soap:Text></soap:Reason></soap:Fault>'
    ).encode()


def read_message(content_type: str, body: bytes, *, max_envelope: int = MAX_ENVELOPE) -> SoapMessage:
    """The SOAP message of an HTTP request or response, plain or MTOM by its Content-Type, SOAP 1.2 or 1.1.

    Attachments are views of `body`. The caller bounds `body`; the envelope is bounded here.

    Raises:
        ProtocolError: anything else: HTML, a broken or cut multipart, an envelope that is no acceptable XML or no SOAP.
    """
    kind, parameters = mtom.media_type(content_type)
    if kind == "multipart/related":
        root, others = mtom.read(parameters, body)
        if root.content_type and mtom.media_type(root.content_type)[0] not in _XML_TYPES:
            raise ProtocolError("the root part of the multipart message is no SOAP")
        attachments = {part.content_id: part.data for part in others if part.content_id}
        return SoapMessage(_envelope(bytes(root.data), max_envelope), MappingProxyType(attachments), multipart=True)
    if kind not in _XML_TYPES:
        raise ProtocolError(f"{kind[:80]} instead of SOAP: is this the address of the service?")
    return SoapMessage(_envelope(body, max_envelope))


def included(element: etree._Element, message: SoapMessage) -> bytes | memoryview:
    """The bytes that an element holds: those of its `xop:Include`, or its base64 text.

    Raises:
        ProtocolError: the Include refers to no part, or the text is no base64.
    """
    include = element.find(f"{{{XOP}}}Include")
    if include is not None:
        reference = include.get("href", "")
        found = message.attachments.get(unquote(reference.removeprefix("cid:")))
        if found is None or not reference.startswith("cid:"):
            raise ProtocolError("an xop:Include refers to no part of the message")
        return found
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except ValueError:
        pass
    raise ProtocolError("an element is neither an xop:Include nor base64")


def _envelope(data: bytes, max_bytes: int) -> etree._Element:
    problem = ""
    try:
        root = xml.parse(data, max_bytes=max_bytes, max_depth=100, max_tags=100_000, max_attributes=100_000)
    except Rejected as error:
        problem = error.problems[0].message
    if problem:
        raise ProtocolError(f"the SOAP envelope cannot be read: {problem}")
    if root.tag not in {f"{{{SOAP12}}}Envelope", f"{{{SOAP11}}}Envelope"}:
        raise ProtocolError("the XML document is no SOAP envelope")
    return root
