"""`mss-receipts`: what SMTP made of a transmission's mail becomes receipts (ZAM^Z02) for the CREATEUR.

It tells of what is known at once: a recipient whom the server refused, and a mail that could not be sent. That a mail
reached its recipient's server is told by the server's delivery report, later.

After the sink, the header `smtp-refused` (`address:code …`) names who was refused. Among a route's `on-rejected` steps
(the header `error-code` is there) nobody else will get the mail: each recipient who has it not is told of, with

* the SMTP code of the recipient, when the server gave one (`smtp-refused`, `smtp-deferred`);
* 101 (cannot connect) when the mail was given up and no server was ever reached;
* else the code of what refused the mail before it left (`_GATES`), with the reason in ERR-8.

Those who have the mail may still report on it (DSN, MDN). `smtp-out` remembers a mail once its attempt succeeds; of one
that was given up, what `mail-receipts` needs is remembered here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from pfiflow.flow.component import Component, Field, NoOptions
from pfiflow.flow.exchange import Exchange
from pfiflow.mssante.settlement import read_settled
from pfiflow.segur.addresses import is_patient_mailbox
from pfiflow.segur.participations import names_patient
from pfiflow.segur.receipts import Addressee, Failure, control_id, mail_receipt, original_of, smtp_failure
from pfiflow.segur.recipients import professional_recipients
from pfiflow.segur.returns import origin_facts
from pfiflow.segur.smtp_errors import ADDRESS_REFUSED, CANNOT_CONNECT, SENDING_FAILED
from pfiflow.segur.values import Participation, Transmission

__all__ = ["COMPONENTS"]

_PARIS = ZoneInfo("Europe/Paris")
_GIVEN_UP = "given-up"  # the engine's error-code
_GATES: Mapping[str, str] = MappingProxyType(
    {
        "904": ADDRESS_REFUSED,  # another address or matricule than the INS gives
        "905": SENDING_FAILED,  # the INS is not qualified
        "552": "552",  # larger than the mailbox takes
    }
)
"""ERR-5 of the refusal (`error-detail-code`) → code of table SMTPERRORCODE; any other refusal is 554."""


def _receipts(exchange: Exchange[Transmission]) -> Exchange[tuple[bytes, ...]]:
    failures = tuple(_failures(exchange)) if exchange.body.wants_delivery_receipts else ()
    told = _remembered(exchange)
    if not failures:
        return told.with_body(())
    original = original_of(exchange.body.raw)
    now = datetime.now(UTC).astimezone(_PARIS)
    receipts = tuple(
        mail_receipt(
            original, addressee, control_id=control_id(exchange.id, "Z02", addressee.address), now=now, failure=failure
        )
        for addressee, failure in failures
    )
    return told.with_body(receipts).with_note("receipts", kind="Z02", count=len(receipts))


def _remembered(exchange: Exchange[Transmission]) -> Exchange[Transmission]:
    """With the record of each mail that was given up after somebody had accepted it."""
    headers = exchange.headers
    if "error-code" not in headers:
        return exchange
    refused = _codes(headers.get("smtp-refused", ""))
    facts = {name: value for name, value in headers.items() if not name.startswith("error-")}
    for message_id, addresses in read_settled(headers.get("smtp-done", "")).items():
        accepted = sorted(address for address in addresses if address.lower() not in refused)
        if message_id and accepted:
            facts |= {**origin_facts(exchange.body), "message-id": message_id, "recipients": " ".join(accepted)}
            exchange = exchange.with_memory("mail", message_id, **facts)
    return exchange


def _failures(exchange: Exchange[Transmission]) -> Iterator[tuple[Addressee, Failure]]:
    """Who did not get the mail, and why; each mailbox once."""
    headers = exchange.headers
    refused = _codes(headers.get("smtp-refused", ""))
    known = {addressee.address.lower(): addressee for addressee in _addressees(exchange)}
    if "error-code" not in headers:
        for address, code in refused.items():
            yield known.get(address, Addressee(address)), smtp_failure(code)
        return
    settled = read_settled(headers.get("smtp-done", "")).values()
    accepted = {address.lower() for addresses in settled for address in addresses} - set(refused)
    deferred = _codes(headers.get("smtp-deferred", ""))
    for address, addressee in known.items():
        if address in refused:
            yield addressee, smtp_failure(refused[address])
        elif address not in accepted:
            yield addressee, _unsent(headers, deferred.get(address, ""))


def _unsent(headers: Mapping[str, str], code: str) -> Failure:
    reason = headers.get("error-message", "")
    if headers["error-code"] == _GIVEN_UP:
        return smtp_failure(code or CANNOT_CONNECT)
    return smtp_failure(_GATES.get(headers.get("error-detail-code", ""), SENDING_FAILED), reason)


def _codes(header: str) -> dict[str, str]:
    """`address:code …` → code by address in lower case."""
    pairs = (entry.rpartition(":") for entry in header.split())
    return {address.lower(): code for address, _, code in pairs}


def _addressees(exchange: Exchange[Transmission]) -> tuple[Addressee, ...]:
    """The recipients of the header `audience` (both, without it), as the message names them."""
    transmission, audience = exchange.body, exchange.headers.get("audience", "")
    found: list[Addressee] = []
    if audience != "patient":
        mailboxes = {address.lower() for address in professional_recipients(transmission)}
        found += [_addressee(r) for r in transmission.recipients if r.address.lower() in mailboxes]
    if audience != "professionals" and transmission.destinations.patient:
        patients = [r for r in transmission.recipients if names_patient(r) or is_patient_mailbox(r.address)]
        found += map(_addressee, patients)
        if not patients:  # asked for by DESTMSSANTEPAT alone: no address to repeat
            found.append(Addressee(""))
    return tuple(found)


def _addressee(recipient: Participation) -> Addressee:
    return Addressee(recipient.address, recipient.person_id or recipient.organization_id or recipient.device)


def _builder(_options: Any) -> Any:
    return _receipts


COMPONENTS = (
    Component(
        name="mss-receipts",
        kind="processor",
        build=_builder,
        options=NoOptions,
        doc="Writes a ZAM^Z02 for each recipient who did not get the mail, when the message asks for receipts.",
        accepts=Transmission,
        gives=tuple[bytes, ...],
        reads={
            "audience": Field("Whom the mail was for; without it, everybody.", always=False),
            "smtp-refused": Field("Recipients whom the server refused, from `smtp-out`.", always=False),
            "smtp-done": Field("Recipients settled by earlier attempts, from `smtp-out`.", always=False),
            "smtp-deferred": Field("Recipients whom the last attempt left, from `smtp-out`.", always=False),
            "error-code": Field("Among `on-rejected` steps: the mail was refused or given up.", always=False),
            "error-detail-code": Field("The finer code of the refusal.", always=False),
            "error-message": Field("Why.", always=False),
        },
    ),
)
