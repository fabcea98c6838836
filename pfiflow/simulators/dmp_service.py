"""What the simulated DMP does with one request: checks everything, changes its registry, answers. Sans-I/O.

Checks come in the order of a real service: HTTP, SOAP and MTOM, addressing, VIHF (each a Fault), then schema, metadata,
documents, signature, registry (each a RegistryError). Within one of them, everything wrong is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

from attrs import frozen
from cryptography import x509
from lxml import etree

from pfiflow import terminology
from pfiflow.dmp import answers, query, soap, submission, update
from pfiflow.dmp.answers import Answer, Context, XdsError
from pfiflow.dmp.assertion import Verified
from pfiflow.dmp.soap import SoapMessage
from pfiflow.errors import ProtocolError, Rejected
from pfiflow.simulators import dmp_documents, dmp_metadata, dmp_signature
from pfiflow.simulators.dmp_door import Door, Fault, Incoming, Settings, read, schema_errors
from pfiflow.simulators.dmp_metadata import Metadata
from pfiflow.simulators.dmp_registry import RPLC, Registry
from pfiflow.terminology import Terminology
from pfiflow.xds import ebrim_reader
from pfiflow.xds import vocabulary as v
from pfiflow.xds.metadata import SubmissionSet

__all__ = ["Processed", "Service"]

_QUERY_VALUES: Final = re.compile(r"\(?\s*'((?:[^']|'')*)'\s*(?:,\s*'((?:[^']|'')*)'\s*)*\)?")
_DENIED: Final = "DMPAccessDeniedByRightsService"


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
        self._tables = tables or terminology.default()
        self._door = Door(authorities, self._tables)

    def process(self, request: Incoming, *, now: datetime) -> Processed:
        """Carry out one request. `now` is aware."""
        facts = _Facts()
        try:
            self._process(request, facts, now)
        except Fault as fault:
            return facts.processed(fault.reply(facts.context), (fault.name,))
        except _Refused as refused:
            errors = tuple(dict.fromkeys(refused.errors))
            return facts.processed(answers.registry_answer(facts.context, errors), _codes(errors))
        return facts.processed(answers.registry_answer(facts.context, objects=facts.found))

    def _process(self, request: Incoming, facts: _Facts, now: datetime) -> None:
        message = read(request)
        facts.context = Context(message_id=message.addressing("MessageID"))
        operation = self._door.addressing(message, request)
        facts.context = Context(
            operation.transaction,
            facts.context.message_id,
            operation.response_action,
            mtom=self.settings.mtom_answers and operation.transaction == "ITI-41",
        )
        verified = self._door.security(message, self.settings, now)
        body = message.body
        if body is None or body.tag != operation.body:
            raise Fault(f"the body of {operation.transaction} is not the one of its Action")
        facts.patient = verified.vihf.patient_id
        if operation.transaction == "ITI-41":
            self._provide(message, body, verified, facts, now)
        elif operation.transaction == "ITI-57":
            self._update(body, verified, facts, now)
        else:
            self._query(body, verified, facts)

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
        _refuse(
            _against_schema(body, metadata.code),
            dmp_metadata.check_set(metadata),
            dmp_metadata.check_entries(metadata),
            dmp_metadata.check_associations(metadata, dmp_metadata.read_associations(body)),
        )
        self._patient(submitted.patient_id)
        _refuse(dmp_documents.check(submitted, documents, look_inside=self.settings.documents))
        _refuse(self._signature(submitted, documents, verified, now))
        _refuse(self._registered(submitted, verified))
        self.registry.register(submitted, [documents[entry.entry_uuid] for entry in submitted.entries])

    def _metadata(self, body: etree._Element, verified: Verified, code: str, now: datetime) -> Metadata:
        try:
            (submitted,) = ebrim_reader.parse(etree.tostring(body, with_tail=False))
        except (Rejected, ValueError):
            error = XdsError(code, "ITI TF-3 4.2.1: there must be one submission set", "RegistryObjectList")
            raise _Refused(*_against_schema(body, code), error) from None
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
        if self.registry.knows(submitted.unique_id):
            message = "ITI TF-3 4.2.4: this submission set uniqueId is registered"
            yield XdsError(duplicate, message, "SubmissionSet.uniqueId")
            return
        for number, entry in enumerate(submitted.entries, 1):
            where = f"DocumentEntry[{number}].uniqueId"
            for other in self.registry.find(entry.unique_id):
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
        _refuse(_against_schema(body, metadata.code), dmp_metadata.check_set(metadata))
        self._patient(submitted.patient_id)
        if self.registry.knows(submitted.unique_id):
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
        _refuse(XdsError("XDSRegistryError", f"schema: {error}", "AdhocQueryRequest") for error in schema_errors(body))
        if option is None or (option.get("returnType") != "ObjectRef" and not self.settings.leaf_class):
            raise _Refused(XdsError(_DENIED, "TD3.1b: a PFI gets references, not metadata", "ResponseOption"))
        patient = verified.vihf.patient_id
        self._patient(patient)
        wanted = {text.replace("''", "'") for value in values for text in re.findall(r"'((?:[^']|'')*)'", value)}
        facts.documents = tuple(sorted(wanted))
        facts.found = tuple(
            entry.entry_uuid
            for unique_id in sorted(wanted)
            for entry in self.registry.entries(unique_id=unique_id, patient=patient)
            if entry.status != "Deleted"
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


def _documents(message: SoapMessage, body: etree._Element) -> dict[str, bytes | memoryview]:
    """The documents by the id of their entry. Every part of the message belongs to one."""
    found: dict[str, bytes | memoryview] = {}
    try:
        for element in body.iterfind(f"{{{submission.XDS}}}Document"):
            identifier = element.get("id", "")
            if identifier in found:
                raise Fault("two Documents have the same id")
            found[identifier] = soap.included(element, message)
    except ProtocolError as error:
        raise Fault(f"MTOM: {error}") from None
    if len({id(part) for part in found.values()}) != len(message.attachments):
        raise Fault("MTOM: a part belongs to no Document, or two Documents share one")
    return found


def _unpaired(entries: list[str], documents: list[str]) -> Iterator[XdsError]:
    for number, identifier in enumerate(entries, 1):
        if identifier not in documents:
            yield XdsError("XDSMissingDocument", "ITI-41: the entry has no Document", f"DocumentEntry[{number}]")
    for number, identifier in enumerate(documents, 1):
        if identifier not in entries:
            yield XdsError("XDSMissingDocumentMetadata", "ITI-41: the Document has no entry", f"Document[{number}]")


def _against_schema(body: etree._Element, code: str) -> Iterator[XdsError]:
    return (XdsError(code, f"schema: {error}", "SubmitObjectsRequest") for error in schema_errors(body))


def _refuse(*errors: Iterator[XdsError]) -> None:
    if found := tuple(chain.from_iterable(errors)):
        raise _Refused(*found)


def _codes(errors: Sequence[XdsError]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(error.code for error in errors))
