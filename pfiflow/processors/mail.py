"""`xdm-pack` and `mss-mail`: a Transmission becomes an archive, then a mail to one audience.

Both read the header `audience` (`professionals` or `patient`), which the route sets.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

from attrs import frozen

from pfiflow import xdm
from pfiflow.flow.component import Component, Field
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Size, option
from pfiflow.mssante.values import OutgoingMail
from pfiflow.processors.transmissions import RECENT
from pfiflow.segur import sending
from pfiflow.segur.returns import origin_facts
from pfiflow.segur.values import Transmission

__all__ = ["COMPONENTS", "MssMailOptions", "XdmPackOptions"]

_PARIS = ZoneInfo("Europe/Paris")


@frozen
class XdmPackOptions:
    """Options of `xdm-pack`."""

    source_id: str = option(doc="OID of this PFI: SubmissionSet.sourceId.", example="1.2.250.1.213.9.9")
    sender_name: str = option(doc="README.TXT: who sends.", example="Plateforme d'intermédiation")
    organization: str = option(doc="README.TXT: the hospital.", example="CH de Démonstration")
    address: str = option(
        default="", doc="README.TXT: postal address of the hospital.", example="1 rue de l'Exemple, 75000 Paris"
    )
    phone: str = option(default="", doc="README.TXT: phone number of the hospital.", example="01 00 00 00 00")
    software: str = option(default="pfiflow", doc="README.TXT: name of the product.", example="pfiflow")
    software_version: str = option(default=version("pfiflow"), doc="README.TXT: version of the product.", example="1.0")
    publisher: str = option(default="pfiflow", doc="README.TXT: publisher of the product.", example="pfiflow")
    action_slots: tuple[str, ...] = option(
        default=("action",), doc="Names of the slots that carry the action C or D.", example=["action"]
    )
    action_carrier: Literal["entry", "submission"] = option(
        default="entry", doc="Which object of the metadata carries the action.", example="entry"
    )
    test_platform: bool = option(default=False, doc="Accept test INS authorities: never in production.", example=False)


@frozen
class MssMailOptions:
    """Options of `mss-mail`."""

    mailbox: str = option(doc="The applicative mailbox that sends.", example="pfi@hopital.mssante.example")
    label: str = option(
        doc="Meaningful label of that mailbox, shown to recipients.", example="CH de Démonstration - Documents"
    )
    reply_to: str = option(
        doc="Mailbox that people read, for messages that name none.", example="secretariat@hopital.mssante.example"
    )
    nil: str = option(doc="X-MSS-NIL: the product's reference number (Convergence).", example="DEV000000")
    recipients: tuple[str, ...] = option(
        default=(),
        doc="Who gets it, instead of the professionals whom the message names: mailboxes of the hospital.",
        example=["archives@hopital.mssante.fr"],
    )
    max_size: Size | None = option(
        default=None, doc="Largest mail; unset: 25 MB to patients, else what the server allows.", example="25MB"
    )
    professional_text: str = option(
        default="",
        doc="Body of mails to professionals, when the message brings none (CORPSMAIL_PS). Unset: ours.",
        example="Bonjour,\n\nVeuillez trouver ci-joint un document du CH de Démonstration.",
    )
    patient_text: str = option(
        default="",
        doc="Body of mails to the patient, when the message brings none (CORPSMAIL_PATIENT). Unset: ours.",
        example="Bonjour,\n\nLe CH de Démonstration vous adresse un document.",
    )
    test_platform: bool = option(default=False, doc="Accept test INS authorities: never in production.", example=False)


def _received(exchange: Exchange[Any]) -> datetime:
    return datetime.fromtimestamp(int(exchange.received), UTC).astimezone(_PARIS)


def _audience(exchange: Exchange[Any]) -> sending.Audience:
    audience = exchange.headers["audience"]
    if audience not in {"professionals", "patient"}:
        raise ValueError(f"header `audience` is {audience!r}: expected professionals or patient")
    return cast("sending.Audience", audience)


def _pack(exchange: Exchange[Transmission], *, publisher: sending.Publisher) -> Exchange[sending.Package]:
    package = sending.pack(
        exchange.body,
        publisher,
        exchange_id=f"{exchange.id}/{_audience(exchange)}",
        received=_received(exchange),
        read=RECENT.tree,
    )
    packed = exchange.with_body(package)
    if package.pdf.warnings:
        packed = packed.with_note("pdf-warnings", problems=" | ".join(map(str, package.pdf.warnings)))
    return packed


def _mail(exchange: Exchange[sending.Package], *, mailbox: sending.Mailbox) -> Exchange[OutgoingMail]:
    built = sending.mail(
        exchange.body, mailbox, audience=_audience(exchange), exchange_id=exchange.id, received=_received(exchange)
    )
    headers = {"message-id": built.message_id, **origin_facts(exchange.body.transmission)}
    if mailbox.recipients:  # a mailbox of ours: the message asked for receipts of others
        headers["wants-receipts"] = ""
    return exchange.with_body(built).with_headers(headers)


def _packer(options: XdmPackOptions) -> Callable[[Exchange[Any]], Exchange[sending.Package]]:
    publisher = sending.Publisher(
        options.source_id,
        xdm.Sender(options.sender_name, options.organization, options.address, options.phone),
        xdm.Software(options.software, options.software_version, options.publisher),
        xdm.ActionSlot(options.action_slots, options.action_carrier),
        options.test_platform,
    )
    return partial(_pack, publisher=publisher)


def _mailer(options: MssMailOptions) -> Callable[[Exchange[Any]], Exchange[OutgoingMail]]:
    mailbox = sending.Mailbox(
        options.mailbox,
        options.label,
        options.reply_to,
        options.nil,
        options.max_size,
        options.test_platform,
        options.professional_text,
        options.patient_text,
        options.recipients,
    )
    return partial(_mail, mailbox=mailbox)


_AUDIENCE = Field("Whom this mail is for.", values=("professionals", "patient"))

COMPONENTS = (
    Component(
        name="xdm-pack",
        kind="processor",
        build=_packer,
        options=XdmPackOptions,
        doc="Makes the IHE_XDM archive of a transmission, and the PDF/A that says the same.",
        accepts=Transmission,
        gives=sending.Package,
        reads={"audience": _AUDIENCE},
        threaded=True,
    ),
    Component(
        name="mss-mail",
        kind="processor",
        build=_mailer,
        options=MssMailOptions,
        doc="Writes the MSSanté mail of a package to the audience named by the header `audience`.",
        accepts=sending.Package,
        gives=OutgoingMail,
        reads={"audience": _AUDIENCE},
        sets={
            "message-id": Field("Message-ID of the mail, the same on every attempt."),
            "wants-receipts": Field("`delivery`, `reading`, both, or nothing: what the message asked for."),
            "hl7-header": Field("MSH of the message, for receipts that come back later."),
            "recipient-ids": Field("Who the recipients are, as `address=identifier`, for receipts too."),
        },
    ),
)
