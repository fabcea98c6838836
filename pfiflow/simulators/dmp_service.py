"""What the simulated DMP does with one request: checks everything, changes its registry, answers. Sans-I/O.

Checks come in the order of a real service: HTTP, SOAP and MTOM, addressing, VIHF (each a Fault), then schema, metadata,
documents, signature, registry (each a RegistryError). Within one of them, everything wrong is told at once.
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

from pfiflow import terminology
from pfiflow.dmp import assertion, query, soap, submission, update
from pfiflow.dmp.assertion import Verified
from pfiflow.dmp.soap import SoapMessage
from pfiflow.dmp.vihf import SAML
from pfiflow.errors import ProtocolError, Rejected
from pfiflow.resources import schema_path
from pfiflow.simulators import dmp_answers as answers
from pfiflow.simulators import dmp_documents, dmp_metadata, dmp_signature
from pfiflow.simulators.dmp_answers import Answer, Context, Transaction, XdsError
from pfiflow.simulators.dmp_metadata import Metadata
from pfiflow.simulators.dmp_registry import RPLC, Registry
from pfiflow.terminology import Terminology
from pfiflow.xds import ebrim_reader
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import SubmissionSet

__all__ = ["BASE", "Incoming", "Processed", "Service", "Settings"]

BASE: Final = "/si-dmp-server/v2/services"

_UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_QUERY_VALUES: Final = re.compile(r"\(?\s*'((?:[^']|'')*)'\s*(?:,\s*'((?:[^']|'')*)'\s*)*\)?")
_DENIED: Final = "DMPAccessDeniedByRightsService"


@frozen
class _Operation:
    transaction: Transaction
    service: str
    response_action: str
    body: str


_OPERATIONS: Final[Mapping[str, _Operation]] = {
    submission.ACTION: _Operation(
        "ITI-41",
        "repository",
        submission.RESPONSE_ACTION,
        f"{{{submission.XDS}}}ProvideAndRegisterDocumentSetRequest",
    ),
    update.ACTION: _Operation("ITI-57", "registry", update.RESPONSE_ACTION, f"{{{v.LCM}}}SubmitObjectsRequest"),
    query.ACTION: _Operation("ITI-18", "registry", query.RESPONSE_ACTION, f"{{{query.QUERY}}}AdhocQueryRequest"),
}


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


@frozen
class Processed:
    """What became of a request: the answer, and for a test, what it was about.

    `codes`: of the answer's errors, or the Fault's subcode (its code when it has none).
    """

    answer: Answer
    context: Context
    codes: tuple[str, ...] = ()
    patient: str = ""
    submission: str = ""
    documents: tuple[str, ...] = ()


class _Fault(Exception):
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


class _Refused(Exception):
    def __init__(self, *errors: XdsError) -> None:
        super().__init__(", ".join(error.code for error in errors))
        self.errors = errors


class Service:
    """The services `repository` and `registry` of one DMP."""

    def __init__(
        self,
        registry: Registry,
        authorities: Sequence[x509.Certificate],
        settings: Settings,
        tables: Terminology | None = None,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self._authorities = tuple(authorities)
        self._tables = tables or terminology.default()
        self._seen: set[str] = set()  # MessageIDs and assertion IDs

    def process(self, request: Incoming, *, now: datetime) -> Processed:
        """Carry out one request. `now` is aware."""
        facts = _Facts()
        try:
            self._process(request, facts, now)
        except _Fault as fault:
            return facts.processed(fault.reply(facts.context), (fault.name,))
        except _Refused as refused:
            errors = tuple(dict.fromkeys(refused.errors))
            return facts.processed(answers.registry_answer(facts.context, errors), _codes(errors))
        return facts.processed(answers.registry_answer(facts.context, objects=facts.found))

    def _process(self, request: Incoming, facts: _Facts, now: datetime) -> None:
        message = _read(request)
        operation = self._addressing(message, request, facts)
        verified = self._security(message, now)
        body = message.body
        if body is None or body.tag != operation.body:
            raise _Fault(f"the body of {operation.transaction} is not the one of its Action")
        facts.patient = verified.vihf.patient_id
        if operation.transaction == "ITI-41":
            self._provide(message, body, verified, facts, now)
        elif operation.transaction == "ITI-57":
            self._update(body, verified, facts, now)
        else:
            self._query(body, verified, facts)

    # -- addressing and security --------------------------------------------------------------------------------------

    def _addressing(self, message: SoapMessage, request: Incoming, facts: _Facts) -> _Operation:
        identifier = message.addressing("MessageID")
        service = request.path.removeprefix(f"{BASE}/")
        facts.context = Context(message_id=identifier)
        for name in ("Action", "MessageID", "To", "ReplyTo"):
            found = message.envelope.findall(f"{{{soap.SOAP12}}}Header/{{{soap.WSA}}}{name}")
            if len(found) > 1:
                raise _addressing_fault("InvalidCardinality", f"wsa:{name} comes twice")
            if not found:
                reason = "A required header representing a Message Addressing Property is not present"
                raise _addressing_fault("MessageAddressingHeaderRequired", f"{reason}: {name}")
        operation = _OPERATIONS.get(message.addressing("Action"))
        if operation is None or operation.service != service:
            raise _addressing_fault("ActionNotSupported", f"the Action is none of the service {service}")
        facts.context = Context(
            operation.transaction,
            identifier,
            operation.response_action,
            mtom=self.settings.mtom_answers and operation.transaction == "ITI-41",
        )
        if not _must_understand(message.header("Action")):
            raise _addressing_fault("InvalidAddressingHeader", "wsa:Action must have mustUnderstand")
        if not _UUID.fullmatch(identifier):
            raise _addressing_fault("InvalidAddressingHeader", "wsa:MessageID is no urn:uuid")
        self._once(identifier, _addressing_fault("DuplicateMessageID", "this wsa:MessageID has come before"))
        if not message.addressing("To").endswith(request.path):
            raise _addressing_fault("DestinationUnreachable", f"wsa:To is not the address of the service {service}")
        reply_to = message.header("ReplyTo")
        address = "" if reply_to is None else (reply_to.findtext(f"{{{soap.WSA}}}Address") or "").strip()
        if address != soap.ANONYMOUS:
            raise _addressing_fault("OnlyAnonymousAddressSupported", "wsa:ReplyTo is not the anonymous address")
        declared = _parameters(request.content_type).get("action", operation_action := message.addressing("Action"))
        if declared != operation_action:
            raise _addressing_fault("ActionMismatch", "the Content-Type's action is not wsa:Action")
        if (operation.transaction == "ITI-41") != message.multipart:
            raise _Fault(f"{operation.transaction} goes {'as MTOM' if not message.multipart else 'as plain SOAP'}")
        known = {f"{{{soap.WSA}}}{name}" for name in ("Action", "MessageID", "To", "ReplyTo", "From", "FaultTo")}
        for header in message.envelope.iterfind(f"{{{soap.SOAP12}}}Header/*"):
            if header.tag not in known | {f"{{{soap.WSSE}}}Security"} and _must_understand(header):
                raise _Fault("a header that must be understood is not known here", code="MustUnderstand")
        return operation

    def _security(self, message: SoapMessage, now: datetime) -> Verified:
        headers = message.envelope.findall(f"{{{soap.SOAP12}}}Header/{{{soap.WSSE}}}Security")
        if len(headers) != 1 or [child.tag for child in headers[0]] != [f"{{{SAML}}}Assertion"]:
            raise _security_fault("InvalidSecurity", "there must be one wsse:Security with one assertion")
        element = headers[0][0]
        try:
            verified = assertion.verify(element, self._authorities, now=now)
        except Rejected as refused:
            problem = refused.problems[0]
            raise _vihf_fault(problem.detail_code, problem.location, problem.message) from None
        problems = list(_schema_errors(element))
        sector, _, system = verified.vihf.sector.partition("^")
        if self._tables.value_set("JDV_J61").find(sector, system) is None:
            problems.append("JDV_J61: Secteur_Activite is not in the value set")
        if verified.vihf.version not in {"3.0", "4.0"}:
            problems.append("VIHF_Version is neither 3.0 nor 4.0")
        if not 1 <= len(verified.vihf.roles) <= 2:
            problems.append("one or two roles")
        units = [each.value for each in verified.signer.subject if each.rfc4514_attribute_name == "OU"]
        if self.settings.seal_of_structure and verified.vihf.structure not in units:
            problems.append("Identifiant_Structure is not the structure of the seal's certificate")
        if problems:
            raise _security_fault("InvalidSecurityToken", "; ".join(problems))
        self._once(verified.assertion_id, _security_fault("InvalidSecurityToken", "this assertion has come before"))
        return verified

    def _once(self, identifier: str, fault: _Fault) -> None:
        if identifier in self._seen:
            raise fault
        self._seen.add(identifier)

    # -- ITI-41 -------------------------------------------------------------------------------------------------------

    def _provide(
        self, message: SoapMessage, body: etree._Element, verified: Verified, facts: _Facts, now: datetime
    ) -> None:
        documents = _documents(message, body)
        ids = [each.get("id", "") for each in body.iter(f"{{{v.RIM}}}ExtrinsicObject")]
        _refuse(_unpaired(ids, list(documents)))
        metadata = self._metadata(body, verified, "XDSRepositoryMetadataError", now)
        submitted = metadata.submission
        facts.about(submitted)
        _refuse(dmp_metadata.check_set(metadata))
        self._patient(submitted.patient_id)
        associations = dmp_metadata.read_associations(body)
        _refuse(dmp_metadata.check_entries(metadata))
        _refuse(dmp_metadata.check_associations(metadata, associations))
        _refuse(dmp_documents.check(submitted, documents, look_inside=self.settings.documents))
        _refuse(self._signature(submitted, documents, verified, now))
        _refuse(self._registered(submitted, verified))
        self.registry.register(submitted, [documents[entry.entry_uuid] for entry in submitted.entries])

    def _metadata(self, body: etree._Element, verified: Verified, code: str, now: datetime) -> Metadata:
        _refuse(XdsError(code, f"schema: {error}", "SubmitObjectsRequest") for error in _schema_errors(body))
        try:
            (submitted,) = ebrim_reader.parse(etree.tostring(body, with_tail=False))
        except (Rejected, ValueError):
            error = XdsError(code, "ITI TF-3 4.2.1: there must be one submission set", "RegistryObjectList")
            raise _Refused(error) from None
        return Metadata(
            submission=submitted,
            vihf=verified.vihf,
            code=code,
            tables=self._tables,
            now=now,
            hidden_from_all=self.settings.hidden_from_all,
            signature_required=self.settings.signature == "required",
        )

    def _patient(self, patient: str) -> None:
        state = self.registry.state(patient)
        if state == "closed":
            raise _Refused(XdsError("DMPClosed", "EF_DMP12_01: the patient's DMP is closed", "patientId"))
        if state == "unknown":
            raise _Refused(XdsError("XDSUnknownPatientId", "EF_DMP12_01: the patient has no DMP", "patientId"))

    def _signature(
        self, submitted: SubmissionSet, documents: Mapping[str, bytes | memoryview], verified: Verified, now: datetime
    ) -> Iterator[XdsError]:
        signatures = [entry for entry in submitted.entries if dmp_metadata.is_signature(entry)]
        covered = dmp_signature.SignedSubmission(
            submitted.unique_id,
            {e.unique_id: documents[e.entry_uuid] for e in submitted.entries if e not in signatures},
        )
        for entry in signatures:
            content = bytes(documents[entry.entry_uuid])
            for wrong in dmp_signature.check(content, covered, verified.signer, now=now):
                yield XdsError("XDSRepositoryMetadataError", f"TD2.1 submission signature: {wrong}", entry.entry_uuid)

    def _registered(self, submitted: SubmissionSet, verified: Verified) -> Iterator[XdsError]:
        duplicate = "XDSDuplicateUniqueIdInRegistry"
        if submitted.unique_id in self.registry.submissions:
            message = "ITI TF-3 4.2.4: this submission set uniqueId is registered"
            yield XdsError(duplicate, message, "SubmissionSet.uniqueId")
            return
        for number, entry in enumerate(submitted.entries, 1):
            where = f"DocumentEntry[{number}].uniqueId"
            for other in (*self.registry.entries(unique_id=entry.unique_id), *self.registry.signatures()):
                if other.unique_id != entry.unique_id:
                    continue
                if other.metadata.hash != entry.hash:
                    message = "ITI TF-3 4.2.4: this uniqueId is registered with other content"
                    yield XdsError("XDSNonIdenticalHash", message, where)
                elif self.settings.same_document == "refuse":
                    message = "setting same_document: this document is registered (IHE itself has no error for it)"
                    yield XdsError(duplicate, message, where)
        for each in submitted.associations:
            if each.type == RPLC:
                yield from self._replaced(each.target, submitted.patient_id, verified)

    def _replaced(self, target: str, patient: str, verified: Verified) -> Iterator[XdsError]:
        where = "Association/@targetObject"
        entry = self.registry.entry(target)
        if entry is None:
            yield XdsError("UnresolvedReferenceException", "TD2.1b: the RPLC target is not known here", where)
        elif entry.patient_id != patient:
            yield XdsError("XDSPatientIdDoesNotMatch", "TD2.1b: the RPLC target is another patient's", where)
        elif entry.status != "Approved":
            message = f"TD2.1b: the RPLC target is {entry.status}, not Approved"
            yield XdsError("XDSRegistryDeprecatedDocumentError", message, where)
        elif verified.vihf.structure not in entry.structures:
            yield XdsError(_DENIED, "EX_2.1-1140: only a structure that is an author may replace", where)

    # -- ITI-57 -------------------------------------------------------------------------------------------------------

    def _update(self, body: etree._Element, verified: Verified, facts: _Facts, now: datetime) -> None:
        if next(body.iter(f"{{{v.RIM}}}ExtrinsicObject"), None) is not None:
            message = "TD3.3a, TD3.3b: metadata are not updated in indirect authentication"
            raise _Refused(XdsError(_DENIED, message, "ExtrinsicObject"))
        metadata = self._metadata(body, verified, "XDSRegistryMetadataError", now)
        submitted = metadata.submission
        facts.about(submitted)
        _refuse(dmp_metadata.check_set(metadata))
        self._patient(submitted.patient_id)
        if submitted.unique_id in self.registry.submissions:
            message = "ITI TF-3 4.2.4: this submission set uniqueId is registered"
            raise _Refused(XdsError("XDSDuplicateUniqueIdInRegistry", message, "SubmissionSet.uniqueId"))
        associations = dmp_metadata.read_associations(body)
        if not associations:
            raise _Refused(metadata.error("TD3.3c", "there is nothing to update", "RegistryObjectList"))
        for each in associations:
            where = "Association"
            slots = {name: values[0] if len(values) == 1 else "" for name, values in each.slots}
            if each.type != update.UPDATE_STATUS or each.source != submitted.entry_uuid:
                message = "an UpdateAvailabilityStatus from the submission set is all that is accepted"
                raise _Refused(metadata.error("TD3.3c", message, where))
            if slots.get("NewStatus") != update.DELETED:
                raise _Refused(XdsError(_DENIED, "TD3.3d: a PFI deletes, and changes no other status", where))
            _refuse(self._deleted(each.target, slots.get("OriginalStatus", ""), submitted.patient_id, verified))
        facts.documents = tuple(e.unique_id for a in associations if (e := self.registry.entry(a.target)) is not None)
        self.registry.delete([each.target for each in associations], submitted.unique_id)

    def _deleted(self, target: str, original: str, patient: str, verified: Verified) -> Iterator[XdsError]:
        where = "Association/@targetObject"
        entry = self.registry.entry(target)
        if entry is None or entry.status == "Deleted":
            yield XdsError("UnresolvedReferenceException", "TD3.3c: the document is not known here", where)
        elif entry.patient_id != patient:
            yield XdsError("XDSPatientIdDoesNotMatch", "TD3.3c: the document is another patient's", where)
        elif verified.vihf.structure not in entry.structures:
            yield XdsError(_DENIED, "TD3.3c: a structure deletes its own documents only", where)
        elif original != f"urn:oasis:names:tc:ebxml-regrep:StatusType:{entry.status}":
            message = f"ITI-57 OriginalStatus: the document is {entry.status}"
            yield XdsError("XDSMetadataUpdateError", message, "Association/OriginalStatus")

    # -- ITI-18 -------------------------------------------------------------------------------------------------------

    def _query(self, body: etree._Element, verified: Verified, facts: _Facts) -> None:
        asked = body.find(f"{{{v.RIM}}}AdhocQuery")
        option = body.find(f"{{{query.QUERY}}}ResponseOption")
        if asked is None or asked.get("id") != query.GET_DOCUMENTS:
            raise _Refused(XdsError("XDSUnknownStoredQuery", "TD3.1b: GetDocuments is the only query here", "id"))
        slots = {
            slot.get("name", ""): [(value.text or "").strip() for value in slot.iter(f"{{{v.RIM}}}Value")]
            for slot in asked.iterfind(f"{{{v.RIM}}}Slot")
        }
        values = slots.pop(query.UNIQUE_ID, [])
        if not values:
            raise _Refused(XdsError("XDSStoredQueryMissingParam", f"TD3.1b: {query.UNIQUE_ID}", "Slot"))
        if slots:
            raise _Refused(XdsError("XDSStoredQueryParamNumber", "TD3.1b: one parameter is expected", "Slot"))
        if not all(_QUERY_VALUES.fullmatch(value) for value in values):
            message = "ITI-18 3.18.4.1.2.3.5: a value is a quoted string in parentheses"
            raise _Refused(XdsError("XDSRegistryError", message, "Slot/ValueList"))
        _refuse(XdsError("XDSRegistryError", f"schema: {error}", "AdhocQueryRequest") for error in _schema_errors(body))
        if option is None or (option.get("returnType") != "ObjectRef" and not self.settings.leaf_class):
            raise _Refused(XdsError(_DENIED, "TD3.1b: a PFI gets references, not metadata", "ResponseOption"))
        patient = verified.vihf.patient_id
        self._patient(patient)
        wanted = {text.replace("''", "'") for value in values for text in re.findall(r"'((?:[^']|'')*)'", value)}
        facts.documents = tuple(sorted(wanted))
        facts.found = tuple(
            entry.entry_uuid
            for entry in self.registry.entries(patient=patient)
            if entry.unique_id in wanted and entry.status != "Deleted"
        )


class _Facts:
    """What is known of a request so far."""

    def __init__(self) -> None:
        self.context = Context()
        self.patient = ""
        self.submission = ""
        self.documents: tuple[str, ...] = ()
        self.found: tuple[str, ...] = ()

    def about(self, submitted: SubmissionSet) -> None:
        self.submission = submitted.unique_id
        self.documents = tuple(e.unique_id for e in submitted.entries if not dmp_metadata.is_signature(e))

    def processed(self, answer: Answer, codes: tuple[str, ...] = ()) -> Processed:
        return Processed(answer, self.context, codes, self.patient, self.submission, self.documents)


def _read(request: Incoming) -> SoapMessage:
    try:
        message = soap.read_message(request.content_type, request.body)
    except ProtocolError as error:
        raise _Fault(str(error)) from None
    if message.namespace != soap.SOAP12:
        raise _Fault("SOAP 1.2 is spoken here", code="VersionMismatch")
    return message


def _documents(message: SoapMessage, body: etree._Element) -> dict[str, bytes | memoryview]:
    """The documents by the id of their entry. Every part of the message belongs to one."""
    found: dict[str, bytes | memoryview] = {}
    try:
        for element in body.iterfind(f"{{{submission.XDS}}}Document"):
            identifier = element.get("id", "")
            if identifier in found:
                raise _Fault("two Documents have the same id")
            found[identifier] = soap.included(element, message)
    except ProtocolError as error:
        raise _Fault(f"MTOM: {error}") from None
    if len(found) != len(message.attachments):
        raise _Fault("MTOM: a part belongs to no Document, or two Documents share one")
    return found


def _unpaired(entries: list[str], documents: list[str]) -> Iterator[XdsError]:
    for number, identifier in enumerate(entries, 1):
        if identifier not in documents:
            yield XdsError("XDSMissingDocument", "ITI-41: the entry has no Document", f"DocumentEntry[{number}]")
    for number, identifier in enumerate(documents, 1):
        if identifier not in entries:
            yield XdsError("XDSMissingDocumentMetadata", "ITI-41: the Document has no entry", f"Document[{number}]")


def _refuse(errors: Iterator[XdsError]) -> None:
    if found := tuple(errors):
        raise _Refused(*found)


def _codes(errors: Sequence[XdsError]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(error.code for error in errors))


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(schema_path("dmp-request.xsd")))


def _schema_errors(element: etree._Element) -> Iterator[str]:
    """Where an element breaks the schema of requests; never with what stands there."""
    schema = _schema()
    if not schema.validate(element):
        for error in islice(cast("Iterable[etree._LogEntry]", schema.error_log), 10):
            path = re.sub(r"\w+:", "", error.path or "")
            yield f"{error.type_name} at {path}"


def _parameters(content_type: str) -> Mapping[str, str]:
    from pfiflow.dmp.mtom import media_type

    return media_type(content_type)[1]


def _must_understand(element: etree._Element | None) -> bool:
    """With the SOAP prefix, or without as published samples have it."""
    value = (
        "" if element is None else element.get(f"{{{soap.SOAP12}}}mustUnderstand", element.get("mustUnderstand", ""))
    )
    return value.strip() in {"true", "1"}


def _addressing_fault(subcode: str, reason: str) -> _Fault:
    return _Fault(reason, subcode=subcode, namespace=soap.WSA)


def _security_fault(subcode: str, reason: str) -> _Fault:
    return _Fault(reason, subcode=subcode, namespace=soap.WSSE)


def _vihf_fault(detail_code: str, location: str, message: str) -> _Fault:
    reason = f"{location}: {message}"
    if detail_code == assertion.INVALID_CERTIFICATE:
        return _Fault(reason, subcode=detail_code)
    if "Instant" in location or "Conditions" in location:
        return _security_fault("MessageExpired", reason)
    if "Signature" in location or location.endswith("@ID"):
        return _security_fault("FailedCheck", reason)
    return _security_fault("InvalidSecurityToken", reason)
