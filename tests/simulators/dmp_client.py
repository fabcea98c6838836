"""A PFI in small: right requests built by `pfiflow.dmp`, which a test may spoil, and `http.client` to send them."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

from attrs import evolve, field, frozen
from lxml import etree

from pfiflow.cda import document as cda
from pfiflow.dmp import query, response, soap, update, vihf
from pfiflow.dmp.mtom import Part
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.soap import Outgoing, SoapMessage
from pfiflow.dmp.submission import ACTION, Call, provide_and_register
from pfiflow.dmp.vihf import Software, Vihf
from pfiflow.dmp.xades import SignatureDocument, sign_submission
from pfiflow.simulators.certificates import Credentials
from pfiflow.simulators.documents import ORGANIZATION, SyntheticDocument
from pfiflow.xds.authors import author_of
from pfiflow.xds.from_cda import content_type_of, document_entry, replacement, submission_set
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet

BASE_URL = "https://localhost/si-dmp-server/v2/services"


def seal_of(credentials: Credentials) -> Seal:
    return Seal.load(credentials.certificate.read_bytes(), credentials.key.read_bytes())


def entry_of(document: SyntheticDocument, hidden: tuple[str, ...] = ()) -> DocumentEntry:
    return document_entry(
        cda.read(document.data), target="dmp", entry_uuid="Document01", hidden=hidden, test_platform=True
    )


def unique() -> str:
    return f"2.25.{uuid4().int}"


@frozen
class Sender:
    """Who sends: the seal, the structure, and the URL of the service."""

    seal: Seal = field(repr=False)
    url: str = BASE_URL
    structure: str = ORGANIZATION
    values: Vihf | None = None
    clock: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock

    def vihf(self, patient_id: str) -> Vihf:
        return self.values or Vihf(
            structure=self.structure,
            sector="SA01^1.2.250.1.71.4.2.4",
            name_id=f"{self.structure}/1",
            subject="pfiflow, simulateur, essais",
            patient_id=patient_id,
            software=Software("pfiflow", "0.1.0", "HOMOLOGATION"),
        )

    def call(self, service: str, patient_id: str) -> Call:
        assertion = vihf.sign(self.vihf(patient_id), self.seal, now=self.now(), assertion_id=f"_{uuid4()}")
        return Call(f"{self.url}/{service}", f"urn:uuid:{uuid4()}", assertion)

    def submission(self, *entries: DocumentEntry, replaces: str = "", unique_id: str = "") -> SubmissionSet:
        associations = (replacement(entries[0].entry_uuid, replaced_entry_uuid=replaces),) if replaces else ()
        return submission_set(
            entries,
            unique_id=unique_id or unique(),
            source_id="1.2.250.1.71.4.2.2.999999999",
            submission_time=self.now(),
            content_type=content_type_of("I"),
            author=author_of(
                device="pfiflow",
                organization_name="CH DES CHARMES",
                organization_id=self.structure,
            ),
            associations=associations,
        )

    def submit(
        self, document: SyntheticDocument, *, replaces: str = "", unique_id: str = "", hidden: tuple[str, ...] = ()
    ) -> Outgoing:
        """A right ITI-41."""
        submission = self.submission(entry_of(document, hidden), replaces=replaces, unique_id=unique_id)
        return self.provide(submission, (document.data,))

    def provide(
        self,
        submission: SubmissionSet,
        documents: Sequence[bytes],
        *,
        signed: bool = True,
        spoil_signature: Callable[[SignatureDocument], SignatureDocument] = lambda signature: signature,
        patient_id: str = "",
        signed_documents: Sequence[bytes] = (),
        signed_set: SubmissionSet | None = None,
    ) -> Outgoing:
        signature = None
        if signed:
            signature = spoil_signature(
                sign_submission(
                    signed_set or submission,
                    signed_documents or documents,
                    self.seal,
                    now=self.now(),
                    unique_id=unique(),
                    entry_uuid="Signature01",
                )
            )
        call = self.call("repository", patient_id or submission.patient_id)
        return provide_and_register(submission, documents, call, signature=signature)

    def find(self, unique_id: str, patient_id: str) -> Outgoing:
        """A right ITI-18."""
        return query.get_documents(unique_id, self.call("registry", patient_id))

    def delete(self, entry_uuid: str, patient_id: str, *, submission: SubmissionSet | None = None) -> Outgoing:
        """A right ITI-57."""
        submission = submission or evolve(self.submission(), patient_id=patient_id)
        return update.delete(submission, entry_uuid, self.call("registry", patient_id))


@frozen
class Got:
    """An HTTP answer."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: http.client.HTTPMessage = field(repr=False)

    @property
    def message(self) -> SoapMessage:
        return soap.read_message(self.content_type, self.body)

    @property
    def errors(self) -> tuple[response.RegistryError, ...]:
        """Of a RegistryResponse."""
        body = self.message.body
        assert body is not None
        assert etree.QName(body).localname != "Fault", self.fault
        return response.registry_response(body)[1]

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(error.code for error in self.errors))

    @property
    def succeeded(self) -> bool:
        body = self.message.body
        assert body is not None
        assert etree.QName(body).localname != "Fault", self.fault
        found = response.registry_response(body)
        assert found == (response.SUCCESS, ()), [(error.code, error.context) for error in found[1]]
        return True

    @property
    def fault(self) -> tuple[str, str]:
        """The innermost code of a Fault, and its reason."""
        body = self.message.body
        assert body is not None
        assert body.tag == f"{{{soap.SOAP12}}}Fault"
        values = [(element.text or "") for element in body.iter(f"{{{soap.SOAP12}}}Value")]
        reason = next(body.iter(f"{{{soap.SOAP12}}}Text")).text or ""
        return values[-1].partition(":")[2], reason

    @property
    def found(self) -> tuple[str, ...]:
        """The entryUUIDs of an answer to ITI-18."""
        return tuple(reference.entry_uuid for reference in query.references(self.message))


def context_of(authority: Credentials | object, client: Credentials | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(getattr(authority, "certificate")))  # noqa: B009
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def post(
    url: str,
    outgoing: Outgoing,
    context: ssl.SSLContext,
    *,
    patience: float = 60,
    content_type: str = "",
    body: bytes = b"",
) -> Got:
    service = "repository" if outgoing.action == ACTION else "registry"
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection("localhost", parts.port, timeout=60, context=context)
    try:
        content = body or b"".join(outgoing.parts)
        headers = {"Content-Type": content_type or outgoing.content_type}
        connection.request("POST", f"{parts.path}/{service}", content, headers)
        connection.sock.settimeout(patience)  # for the answer alone: the request has left whole
        answer = connection.getresponse()
        return Got(answer.status, answer.headers.get("Content-Type", ""), answer.read(), answer.headers)
    finally:
        connection.close()


def edited(outgoing: Outgoing, change: Callable[[etree._Element], None]) -> Outgoing:
    """A request with its envelope changed after it was made: what the signature covers stays as it is."""
    message = soap.read_message(outgoing.content_type, b"".join(outgoing.parts))
    change(message.envelope)
    content = etree.tostring(message.envelope, encoding="UTF-8")
    action, identifier = outgoing.action, outgoing.message_id
    if not message.multipart:
        return soap.plain(content, action=action, message_id=identifier)
    parts = [Part(name, "text/xml", bytes(data)) for name, data in message.attachments.items()]
    return soap.multipart(content, parts, action=action, message_id=identifier)


def hashed(entry: DocumentEntry, content: bytes) -> DocumentEntry:
    return evolve(entry, hash=hashlib.sha1(content, usedforsecurity=False).hexdigest(), size=len(content))
