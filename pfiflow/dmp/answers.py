"""Answers of a DMP, written: the true ones, and the wrong ones that a test asks for. Nothing here is sent by us.

A `Reply` makes an answer once the request is known, so that it relates to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal
from uuid import uuid4

from attrs import field, frozen
from lxml import etree

from pfiflow.dmp import query, response, soap
from pfiflow.xds import vocabulary as v

__all__ = [
    "Answer",
    "Context",
    "Reply",
    "Transaction",
    "XdsError",
    "bomb",
    "fault",
    "html",
    "http",
    "huge",
    "partial",
    "raw",
    "refused",
    "registry_answer",
    "truncated_mtom",
]

Transaction = Literal["", "ITI-41", "ITI-57", "ITI-18"]

_SEVERITIES: Final = {"Error": response.ERROR, "Warning": response.WARNING}


@frozen
class Answer:
    """An HTTP answer. `padding` blanks follow the body without ever being held in memory."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    padding: int = 0

    @property
    def length(self) -> int:
        """Content-Length."""
        return len(self.body) + self.padding


@frozen
class Context:
    """What an answer relates to."""

    transaction: Transaction = ""
    message_id: str = ""  # of the request
    action: str = ""  # of the answer
    mtom: bool = False


@frozen
class XdsError:
    """One rs:RegistryError. `context` begins with the rule that is broken."""

    code: str
    context: str = ""
    location: str = ""
    severity: Literal["Error", "Warning"] = "Error"


Reply = Callable[[Context], Answer]


def registry_answer(
    context: Context, errors: Sequence[XdsError] = (), *, status: str = "", objects: Sequence[str] = ()
) -> Answer:
    """A RegistryResponse, or an AdhocQueryResponse to ITI-18.

    Args:
        context: what it answers.
        errors: Failure when one of them is an error, unless `status` says otherwise.
        status: the status URN.
        objects: ITI-18: entryUUIDs found.
    """
    failed = any(error.severity == "Error" for error in errors)
    attributes = {"status": status or (response.FAILURE if failed else response.SUCCESS)}
    namespaces = {"rs": response.RS, "query": query.QUERY, "rim": v.RIM}
    is_query = context.transaction == "ITI-18"
    name = f"{{{query.QUERY}}}AdhocQueryResponse" if is_query else f"{{{response.RS}}}RegistryResponse"
    root = etree.Element(name, attributes, nsmap=namespaces)
    if errors:
        listed = etree.SubElement(root, f"{{{response.RS}}}RegistryErrorList")
        for error in errors:
            etree.SubElement(
                listed,
                f"{{{response.RS}}}RegistryError",
                {
                    "errorCode": error.code,
                    "codeContext": error.context,
                    "location": error.location,
                    "severity": _SEVERITIES[error.severity],
                },
            )
    if is_query:
        found = etree.SubElement(root, f"{{{v.RIM}}}RegistryObjectList")
        for identifier in objects:
            etree.SubElement(found, f"{{{v.RIM}}}ObjectRef", {"id": identifier})
    return _soap(context, etree.tostring(root, encoding="UTF-8", xml_declaration=False), 200)


def refused(*codes: str, context: str = "scripted", severity: Literal["Error", "Warning"] = "Error") -> Reply:
    """A Failure with these error codes; with severity Warning, a Success that warns."""
    return lambda request: registry_answer(request, [XdsError(code, context, "simulator", severity) for code in codes])


def partial(*codes: str) -> Reply:
    """A PartialSuccess, with these error codes."""
    return lambda request: registry_answer(
        request, [XdsError(code, "scripted", "simulator") for code in codes], status=response.PARTIAL
    )


def fault(
    code: Literal["Sender", "Receiver", "MustUnderstand", "VersionMismatch"],
    reason: str = "scripted",
    *,
    subcode: str = "",
    namespace: str = soap.SOAP12,
    status: int = 500,
) -> Reply:
    """A SOAP 1.2 Fault."""

    def reply(request: Context) -> Answer:
        body = soap.fault("Sender", reason, subcode=subcode, subcode_namespace=namespace)
        body = body.replace(b"soap:Sender", f"soap:{code}".encode(), 1)
        action = f"{soap.WSA}/fault"
        return _soap(Context(request.transaction, request.message_id, action), body, status)

    return reply


def http(status: int, *, retry_after: int | None = None, text: str = "") -> Reply:
    """An HTTP status without SOAP, such as a reverse proxy answers."""
    headers = (("Retry-After", str(retry_after)),) if retry_after is not None else ()
    return lambda _: Answer(status, "text/plain; charset=UTF-8", text.encode(), headers)


def html(status: int = 200) -> Reply:
    """A web page: a proxy's, or a maintenance notice."""
    page = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><p>Service indisponible</body></html>"
    return lambda _: Answer(status, "text/html; charset=UTF-8", page)


def raw(status: int, content_type: str, body: bytes) -> Reply:
    """Exactly this."""
    return lambda _: Answer(status, content_type, body)


def truncated_mtom() -> Reply:
    """A whole HTTP answer whose multipart ends within its root part."""

    def reply(request: Context) -> Answer:
        whole = registry_answer(Context(request.transaction, request.message_id, request.action, mtom=True))
        return Answer(whole.status, whole.content_type, whole.body[: len(whole.body) * 2 // 3])

    return reply


def huge(size: int = 100_000_000) -> Reply:
    """A success of `size` bytes: blanks after it, which XML allows."""

    def reply(request: Context) -> Answer:
        whole = registry_answer(Context(request.transaction, request.message_id, request.action))
        return Answer(whole.status, whole.content_type, whole.body, padding=max(0, size - len(whole.body)))

    return reply


def bomb() -> Reply:
    """A success behind a DOCTYPE whose entities grow to gigabytes ("billion laughs")."""

    def reply(request: Context) -> Answer:
        whole = registry_answer(Context(request.transaction, request.message_id, request.action))
        entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
        doctype = f'<!DOCTYPE bomb [<!ENTITY a0 "lol">{entities}]>'.encode()
        body = doctype + whole.body.replace(b"</soap:Header>", b"<x>&a9;</x></soap:Header>")
        return Answer(whole.status, whole.content_type, body)

    return reply


def _soap(context: Context, body: bytes, status: int) -> Answer:
    identifier = f"urn:uuid:{uuid4()}"
    content = soap.envelope(body, action=context.action, message_id=identifier, relates_to=context.message_id)
    if context.mtom:
        outgoing = soap.multipart(content, (), action=context.action, message_id=identifier)
    else:
        outgoing = soap.plain(content, action=context.action, message_id=identifier)
    return Answer(status, outgoing.content_type, b"".join(outgoing.parts))
