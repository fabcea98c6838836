"""The DMP simulator's door: what is read of a request before its body is looked at. Whatever is wrong is a SOAP Fault.

SOAP 1.2 and MTOM, WS-Addressing (its SOAP binding §6.4 names the faults), the VIHF in wsse:Security (WS-Security §12).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Final, Literal, cast

from attrs import frozen
from cryptography import x509
from lxml import etree

from pfiflow.dmp import answers, assertion, mtom, query, soap, submission, update
from pfiflow.dmp.answers import Context, Transaction
from pfiflow.dmp.assertion import Verified
from pfiflow.dmp.soap import SoapMessage
from pfiflow.dmp.vihf import RESOURCE_ID, SAML
from pfiflow.errors import ProtocolError, Rejected
from pfiflow.resources import schema_path
from pfiflow.terminology import Terminology
from pfiflow.xds import vocabulary as v

__all__ = [
    "BASE",
    "OPERATIONS",
    "Door",
    "Fault",
    "Incoming",
    "Operation",
    "Settings",
    "glance",
    "read",
    "schema_errors",
]

BASE: Final = "/si-dmp-server/v2/services"

_UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UNDERSTOOD: Final = frozenset(
    {
        f"{{{soap.WSSE}}}Security",
        *(f"{{{soap.WSA}}}{name}" for name in ("Action", "MessageID", "To", "ReplyTo", "From", "FaultTo")),
    }
)


@frozen
class Operation:
    """One transaction: its service, the Action of its answer, the element of its body."""

    transaction: Transaction
    service: str
    response_action: str
    body: str


OPERATIONS: Final[Mapping[str, Operation]] = {
    submission.ACTION: Operation(
        "ITI-41",
        "repository",
        submission.RESPONSE_ACTION,
        f"{{{submission.XDS}}}ProvideAndRegisterDocumentSetRequest",
    ),
    update.ACTION: Operation("ITI-57", "registry", update.RESPONSE_ACTION, f"{{{v.LCM}}}SubmitObjectsRequest"),
    query.ACTION: Operation("ITI-18", "registry", query.RESPONSE_ACTION, f"{{{query.QUERY}}}AdhocQueryRequest"),
}
"""By the Action of the request."""


@frozen
class Settings:
    """What is not the same on every DMP, or that nobody outside knows.

    Attributes:
        signature: a submission without its XAdES signature is refused, or taken.
        same_document: what a document's uniqueId with the same content is worth a second time. IHE has no error for
            it; what the DMP says is not known. `refuse` answers XDSDuplicateUniqueIdInRegistry.
        hidden_from_all: take MASQUE_PS together with INVISIBLE_PATIENT.
        seal_of_structure: the VIHF's structure must be the OU of the seal's subject.
        leaf_class: answer ITI-18 with returnType LeafClass, which a PFI has no right to.
        documents: look into CDA documents: well-formed, and of the uniqueId and patient of their metadata.
        mtom_answers: answer ITI-41 as MTOM, as IHE has it.
    """

    signature: Literal["required", "optional"] = "required"
    same_document: Literal["refuse", "accept"] = "refuse"
    hidden_from_all: bool = False
    seal_of_structure: bool = False
    leaf_class: bool = False
    documents: bool = True
    mtom_answers: bool = True


@frozen
class Incoming:
    """One HTTP request, whole."""

    path: str
    content_type: str
    body: bytes


class Fault(Exception):
    """A refusal before any body is looked at. `name` is its innermost code."""

    def __init__(
        self,
        reason: str,
        *,
        code: Literal["Sender", "MustUnderstand", "VersionMismatch"] = "Sender",
        subcode: str = "",
        namespace: str = soap.SOAP12,
    ) -> None:
        super().__init__(reason)
        self.reply = answers.fault(code, reason, subcode=subcode, namespace=namespace)
        self.name = subcode or code


class Door:
    """Lets a request in once, when its addressing and its VIHF are good."""

    def __init__(self, authorities: Sequence[x509.Certificate], tables: Terminology) -> None:
        self._authorities = tuple(authorities)
        self._tables = tables
        self._seen: set[str] = set()  # MessageIDs and assertion IDs

    def addressing(self, message: SoapMessage, request: Incoming) -> Operation:
        """The operation that a message asks for. Raises Fault."""
        service = request.path.removeprefix(f"{BASE}/")
        for name in ("Action", "MessageID", "To", "ReplyTo"):
            found = message.envelope.findall(f"{{{soap.SOAP12}}}Header/{{{soap.WSA}}}{name}")
            if len(found) > 1:
                raise _addressing("InvalidCardinality", f"wsa:{name} comes twice")
            if not found:
                reason = "A required header representing a Message Addressing Property is not present"
                raise _addressing("MessageAddressingHeaderRequired", f"{reason}: {name}")
        action = message.addressing("Action")
        operation = OPERATIONS.get(action)
        if operation is None or operation.service != service:
            raise _addressing("ActionNotSupported", f"the Action is none of the service {service}")
        if not _must_understand(message.header("Action")):
            raise _addressing("InvalidAddressingHeader", "wsa:Action must have mustUnderstand")
        if mtom.media_type(request.content_type)[1].get("action", action) != action:
            raise _addressing("ActionMismatch", "the Content-Type's action is not wsa:Action")
        if not message.addressing("To").endswith(request.path):
            raise _addressing("DestinationUnreachable", f"wsa:To is not the address of the service {service}")
        if _reply_to(message) != soap.ANONYMOUS:
            raise _addressing("OnlyAnonymousAddressSupported", "wsa:ReplyTo is not the anonymous address")
        for header in message.envelope.iterfind(f"{{{soap.SOAP12}}}Header/*"):
            if header.tag not in _UNDERSTOOD and _must_understand(header):
                raise Fault("a header that must be understood is not known here", code="MustUnderstand")
        if (operation.transaction == "ITI-41") != message.multipart:
            how = "as plain SOAP" if message.multipart else "as MTOM"
            raise Fault(f"{operation.transaction} goes {how}")
        identifier = message.addressing("MessageID")
        if not _UUID.fullmatch(identifier):
            raise _addressing("InvalidAddressingHeader", "wsa:MessageID is no urn:uuid")
        self._once(identifier, _addressing("DuplicateMessageID", "this wsa:MessageID has come before"))
        return operation

    def security(self, message: SoapMessage, settings: Settings, now: datetime) -> Verified:
        """The VIHF of a message, verified. Raises Fault."""
        headers = message.envelope.findall(f"{{{soap.SOAP12}}}Header/{{{soap.WSSE}}}Security")
        if len(headers) != 1 or [child.tag for child in headers[0]] != [f"{{{SAML}}}Assertion"]:
            raise _security("InvalidSecurity", "there must be one wsse:Security with one assertion")
        element = headers[0][0]
        try:
            verified = assertion.verify(element, self._authorities, now=now)
        except Rejected as refused:
            problem = refused.problems[0]
            raise _vihf_fault(problem.detail_code, problem.location, problem.message) from None
        if problems := [*schema_errors(element), *self._vihf_problems(verified, settings)]:
            raise _security("InvalidSecurityToken", "; ".join(problems))
        self._once(verified.assertion_id, _security("InvalidSecurityToken", "this assertion has come before"))
        return verified

    def _vihf_problems(self, verified: Verified, settings: Settings) -> Iterator[str]:
        values = verified.vihf
        sector, _, system = values.sector.partition("^")
        if self._tables.value_set("JDV_J61").find(sector, system) is None:
            yield "JDV_J61: Secteur_Activite is not in the value set"
        if values.version not in {"3.0", "4.0"}:
            yield "VIHF_Version is neither 3.0 nor 4.0"
        if not 1 <= len(values.roles) <= 2:
            yield "there are one or two roles"
        units = [each.value for each in verified.signer.subject if each.rfc4514_attribute_name == "OU"]
        if settings.seal_of_structure and values.structure not in units:
            yield "Identifiant_Structure is not the structure of the seal's certificate"

    def _once(self, identifier: str, fault: Fault) -> None:
        if identifier in self._seen:
            raise fault
        self._seen.add(identifier)


def read(request: Incoming) -> SoapMessage:
    """The message of a request. Raises Fault."""
    try:
        message = soap.read_message(request.content_type, request.body)
    except ProtocolError as error:
        raise Fault(str(error)) from None
    if message.namespace != soap.SOAP12:
        raise Fault("SOAP 1.2 is spoken here", code="VersionMismatch")
    return message


def glance(request: Incoming) -> tuple[Context, str]:
    """What a request says it is, and its patient, without any check: for scripted answers."""
    try:
        message = soap.read_message(request.content_type, request.body)
    except ProtocolError:
        return Context(), ""
    operation = OPERATIONS.get(message.addressing("Action"))
    values = message.envelope.iterfind(f".//{{{SAML}}}Attribute[@Name='{RESOURCE_ID}']/{{{SAML}}}AttributeValue")
    patient = next(((value.text or "").strip() for value in values), "")
    identifier = message.addressing("MessageID")
    if operation is None:
        return Context(message_id=identifier), patient
    return Context(operation.transaction, identifier, operation.response_action), patient


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(schema_path("dmp-request.xsd")))


def schema_errors(element: etree._Element) -> Iterator[str]:
    """Where an element breaks the schema of requests, ten places at most; never with what stands there."""
    schema = _schema()
    if not schema.validate(element):
        for error in islice(cast("Iterable[etree._LogEntry]", schema.error_log), 10):
            path = re.sub(r"\w+:", "", error.path or "")
            yield f"{error.type_name} at {path}"


def _must_understand(element: etree._Element | None) -> bool:
    """With the SOAP prefix, or without as published samples have it."""
    names = (f"{{{soap.SOAP12}}}mustUnderstand", "mustUnderstand")
    return element is not None and any(element.get(name, "").strip() in {"true", "1"} for name in names)


def _reply_to(message: SoapMessage) -> str:
    element = message.header("ReplyTo")
    return "" if element is None else (element.findtext(f"{{{soap.WSA}}}Address") or "").strip()


def _addressing(subcode: str, reason: str) -> Fault:
    return Fault(reason, subcode=subcode, namespace=soap.WSA)


def _security(subcode: str, reason: str) -> Fault:
    return Fault(reason, subcode=subcode, namespace=soap.WSSE)


def _vihf_fault(detail_code: str, location: str, message: str) -> Fault:
    reason = f"{location}: {message}"
    if detail_code == assertion.INVALID_CERTIFICATE:
        return Fault(reason, subcode=detail_code)
    if "Instant" in location or "Conditions" in location:
        return _security("MessageExpired", reason)
    if "Signature" in location or location.endswith("@ID"):
        return _security("FailedCheck", reason)
    return _security("InvalidSecurityToken", reason)
