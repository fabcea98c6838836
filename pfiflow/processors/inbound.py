"""`read-mail`, `xdm-unpack`, `mdm-build`: a mail of an applicative mailbox becomes one MDM for each of its documents.

A mail crosses channels as a ReceivedMail, that is as its own bytes; which of its documents is meant is said by the
header `split-index`, so that a mail of three documents is stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import anyio.to_thread
from attrs import define, frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.flow.component import BodyType, Component, Field, NoOptions, Records
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import option
from pfiflow.mssante.address import mask_address
from pfiflow.mssante.classification import Kind
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.processors.opened import encode, mail_of, opened
from pfiflow.segur import delivery
from pfiflow.segur.delivery_patient import identity_of
from pfiflow.segur.incoming import FaultyDocument, IncomingDocument

__all__ = ["COMPONENTS", "MdmBuildOptions"]

_PARIS = ZoneInfo("Europe/Paris")
_DELIVERED = "delivered-document"  # kind of record: MSH-10 → digest of the document that the LPS has taken


@frozen
class MdmBuildOptions:
    """Options of `mdm-build`."""

    sending_application: str = option(default="PFI", doc="MSH-3 of the MDM.", example="PFI")
    sending_facility: str = option(doc="MSH-4 of the MDM: the hospital, as its software calls it.", example="CH-DEMO")
    receiving_application: str = option(doc="MSH-5: the software that gets it.", example="DPI")
    receiving_facility: str = option(doc="MSH-6: the hospital, or the site of that software.", example="CH-DEMO")
    processing_id: Literal["P", "T", "D"] = option(
        default="P", doc="MSH-11: `P` production, `T` test, `D` debugging.", example="P"
    )
    encoding: Literal["utf-8", "iso8859_15"] = option(
        default="utf-8", doc="Character set of the MDM (MSH-18).", example="utf-8"
    )
    organization_name: str = option(
        default="", doc="PRT-8 of RCT: the service or UF that the mailbox stands for.", example="Service de cardiologie"
    )
    organization_id: str = option(default="", doc="Identifier of that service or UF.", example="3435")
    organization_id_type: str = option(default="", doc="What kind of identifier `organization-id` is.", example="UF")
    organization_authority: str = option(
        default="", doc="Who gave `organization-id`: an OID, or a local namespace.", example="1.2.250.1.999.1.4"
    )
    test_platform: bool = option(default=False, doc="Accept test INS authorities: never in production.", example=False)


def _read(exchange: Exchange[bytes]) -> Exchange[ReceivedMail]:
    mail = mail_of(exchange.body)
    headers = {
        "mail-kind": mail.kind,
        "mail-id": mail.message_id,
        "mail-key": f"{mail.message_id} {_digest(mail)}",
    }
    read = exchange.with_body(mail).with_headers(headers)
    facts = {"forwarded": mail.forwarded} if mail.forwarded else {}
    if mail.problems:
        facts["problems"] = " | ".join(map(str, mail.problems))
    return read.with_note(
        "mail-read",
        kind=mail.kind,
        mailbox=exchange.headers.get("mailbox", ""),
        uid=exchange.headers.get("imap-uid", ""),
        message_id=mail.message_id,
        sender=mask_address(mail.sender),
        size=len(mail.raw),
        **facts,
    )


def _digest(mail: ReceivedMail) -> str:
    """Of the archives, else of the whole: a server adds a header to each copy of a mail that it delivers."""
    contents = [archive.content for archive in mail.archives] or [mail.raw]
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:32]


def _unpack(exchange: Exchange[ReceivedMail]) -> Exchange[tuple[ReceivedMail, ...]]:
    mail = exchange.body
    incoming = opened(mail)
    first = incoming.deliverable[0].document
    key = identity_of(first, [], test_platform=True).ordering_key
    # A digest: headers are shown to operators, and an identifier is a patient's.
    patient = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32] if key != "|" else exchange.id
    unpacked = exchange.with_body((mail,) * len(incoming.documents)).with_headers({"patient": patient})
    if incoming.warnings:
        unpacked = unpacked.with_note("warnings", problems=" | ".join(map(str, incoming.warnings)))
    for each in incoming.documents:
        place = {"number": each.number, "of": each.count, "message_id": mail.message_id}
        if isinstance(each, FaultyDocument):
            unpacked = unpacked.with_note("document-faulty", problems=" | ".join(map(str, each.problems)), **place)
        else:
            unpacked = unpacked.with_note("document", **place, **_facts(each))
    return unpacked


def _facts(incoming: IncomingDocument) -> dict[str, str]:
    document = incoming.document
    return {
        "document_id": document.id.unique_id,
        "version": document.version,
        "action": incoming.action.name.lower(),
        "type": document.code.code,
    }


@define(eq=False)
class _Builder:
    """`mdm-build`: the MDM of the document that `split-index` names; never two contents under one MSH-10.

    What the LPS has taken is remembered by MSH-10, which stands for mailbox, document, version and action. The same
    document in another mail has the header `delivered` set to `before`, and is not to be sent again. Another content
    under the same id and version is refused: the LPS could not tell it from the first.
    """

    options: MdmBuildOptions
    records: Records

    async def __call__(self, exchange: Exchange[ReceivedMail]) -> Exchange[bytes]:
        incoming, made = await anyio.to_thread.run_sync(self._build, exchange)
        digest = hashlib.sha256(incoming.document.raw).hexdigest()
        known = await self.records.find_record(_DELIVERED, made.control_id)
        before = known is not None and known.exchange_id != exchange.id  # its own, and replayed: sent again
        if known is not None and before and known.facts["digest"] != digest:
            message = "another content was delivered before under this document id and version; give it a new version"
            raise Rejected(Problem("207", message, "ClinicalDocument/versionNumber", detail_code="900"))
        facts = _facts(incoming)
        built = exchange.with_body(made.raw).with_headers(
            {
                "delivered": "before" if before else "",
                "mdm-control-id": made.control_id,
                "document-id": facts["document_id"],
                "document-action": facts["action"],
                "document-type": facts["type"],
            }
        )
        if before:
            return built.with_note("delivered-before", control_id=made.control_id, **facts)
        built = built.with_memory(_DELIVERED, made.control_id, digest=digest, **facts)
        return built.with_note("mdm", control_id=made.control_id, message_id=exchange.body.message_id, **facts)

    def _build(self, exchange: Exchange[ReceivedMail]) -> tuple[IncomingDocument, delivery.Delivery]:
        options, mail = self.options, exchange.body
        number = int(exchange.headers.get("split-index", "1"))
        incoming = opened(mail).documents[number - 1]
        if isinstance(incoming, FaultyDocument):
            raise Rejected(*incoming.problems)
        mailbox = delivery.Mailbox(
            exchange.headers["mailbox"],
            options.organization_name,
            options.organization_id,
            options.organization_id_type,
            options.organization_authority,
        )
        consumer = delivery.Consumer(
            options.sending_application,
            options.sending_facility,
            options.receiving_application,
            options.receiving_facility,
            options.processing_id,
            options.encoding,
            options.test_platform,
        )
        # The same on every attempt, so that all attempts are the same bytes.
        now = datetime.fromtimestamp(int(exchange.received), UTC).astimezone(_PARIS)
        return incoming, delivery.build(incoming, delivery.letter_of(mail, mailbox, incoming), consumer, now=now)


def _builder(options: Any, records: Records) -> Callable[[Exchange[Any]], Awaitable[Exchange[bytes]]]:
    return _Builder(options, records)


def _reader(_options: Any) -> Any:
    return _read


def _unpacker(_options: Any) -> Any:
    return _unpack


def _view(mail: ReceivedMail) -> Mapping[str, object]:
    return {
        "kind": mail.kind,
        "message_id": mail.message_id,
        "forwarded": mail.forwarded,
        "automatic": mail.auto_submitted not in {"", "no"},
        "size": len(mail.raw),
    }


_KIND = Field("What the mail is, by its top-level type.", values=get_args(Kind))
_FIELDS: Mapping[str, Field] = {
    "kind": _KIND,
    "message_id": Field("Message-ID; empty when it has none."),
    "forwarded": Field("How the documents were forwarded by a person; empty when they were not."),
    "automatic": Field("Auto-Submitted says that no person sent it.", bool),
    "size": Field("Of the mail, in bytes.", int),
}

COMPONENTS = (
    BodyType("received-mail", ReceivedMail, encode, mail_of, _view, _FIELDS),
    Component(
        name="read-mail",
        kind="processor",
        build=_reader,
        options=NoOptions,
        doc="Reads a mail of a mailbox and says what kind it is (header mail-kind); never refuses one.",
        accepts=bytes,
        gives=ReceivedMail,
        sets={
            "mail-kind": _KIND,
            "mail-id": Field("Message-ID; empty when it has none."),
            "mail-key": Field("What tells this mail from others: Message-ID and a digest of what it carries."),
        },
        threaded=True,
    ),
    Component(
        name="xdm-unpack",
        kind="processor",
        build=_unpacker,
        options=NoOptions,
        doc="Opens the archive of a mail, checks it, and gives the mail once for each of its documents, to be split.",
        accepts=ReceivedMail,
        gives=tuple[ReceivedMail, ...],
        sets={"patient": Field("A digest of the patient's identifier: the same for all documents of a patient.")},
        threaded=True,
    ),
    Component(
        name="mdm-build",
        kind="processor",
        build=_builder,
        options=MdmBuildOptions,
        doc="Writes the MDM of one document of a mail (header split-index); remembers what was delivered.",
        accepts=ReceivedMail,
        gives=bytes,
        reads={
            "mailbox": Field("The mailbox that the mail came to."),
            "split-index": Field("Which document of the mail is meant; without it, the first.", always=False),
        },
        sets={
            "delivered": Field("`before`: the same was delivered already, in another mail.", values=("before", "")),
            "mdm-control-id": Field("MSH-10 of the MDM, the same for the same mailbox, document, version and action."),
            "document-id": Field("uniqueId of the CDA document."),
            "document-action": Field("What the sender asks for.", values=("create", "replace", "delete")),
            "document-type": Field("Its type: the LOINC code of `ClinicalDocument/code`."),
        },
        uses_records=True,
    ),
)
