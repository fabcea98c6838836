"""`smtp-out`: hands mails to an SMTP server, and says recipient by recipient what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, evolve, field

from pfiflow.endpoints.smtp_client import MailDeferred, MailRejected, Recipient, SmtpClient, SmtpOptions, check_options
from pfiflow.endpoints.smtp_double import ScriptedServer, SmtpAnswer
from pfiflow.endpoints.tls import TLS_EXAMPLE, check_client
from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.component import Component, Double, Field
from pfiflow.flow.double import Outside
from pfiflow.flow.exchange import Exchange
from pfiflow.mssante.address import mask_address
from pfiflow.mssante.settlement import read_settled, write_settled
from pfiflow.mssante.values import OutgoingMail

__all__ = ["COMPONENTS", "SmtpSink"]

_DONE = "smtp-done"  # what earlier attempts have settled, accepted or refused, mail by mail: see mssante/settlement.py
_REFUSED = "smtp-refused"  # of those, the refused ones, as `address:code`
_DEFERRED = "smtp-deferred"  # those that the last attempt left, as `address:code`; code 0 when no answer came


@define(eq=False)
class SmtpSink:
    """The sink of the component `smtp-out`.

    A mail is done when each recipient was accepted or refused for good, and at least one accepted; those refused are
    named in the journal and in the header `smtp-refused`. Recipients to be tried again keep the message in its channel,
    with the others remembered in the header `smtp-done`, which a mail that is done leaves too: should what follows it
    fail, the next attempt sends nothing again. When all are refused the exchange is Rejected, with the same header.
    """

    options: SmtpOptions
    _client: SmtpClient = field()

    @_client.default
    def _connected_by_tcp(self) -> SmtpClient:
        return SmtpClient(self.options)

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        """One attempt at the recipients that are left."""
        mail: OutgoingMail = exchange.body
        settled = read_settled(exchange.headers.get(_DONE, ""))
        done = settled.get(mail.message_id, frozenset())
        refused = [entry for entry in exchange.headers.get(_REFUSED, "").split() if entry.rpartition(":")[0] in done]
        try:
            delivery = await self._client.send(mail, already_done=done)
        except MailDeferred as deferral:
            raise Deferred(deferral.message, headers={_DEFERRED: _codes(deferral.delivery.deferred)}) from None
        except MailRejected as refusal:
            delivery = refusal.delivery
        earlier = tuple(refused)
        refused += _codes(delivery.refused).split()
        settled[mail.message_id] = done | delivery.settled
        if delivery.deferred:
            progress = {
                _DONE: write_settled(settled),
                _REFUSED: " ".join(refused),
                _DEFERRED: _codes(delivery.deferred),
            }
            raise Deferred(_told(delivery.deferred), headers=progress)
        out = {entry.rpartition(":")[0] for entry in refused}
        accepted = [address for address in mail.recipients if address not in out]  # now, or in an earlier attempt
        if not accepted:
            problems = (*map(_refused_earlier, earlier), *MailRejected(delivery).problems)
            raise Rejected(*problems, headers={_REFUSED: " ".join(refused)})
        sent = exchange.with_note(
            "mail-sent",
            account=self.options.username or "",
            message_id=mail.message_id,
            to=" ".join(map(mask_address, accepted)),
            size=delivery.message_size,
            response=delivery.response,
        )
        # What a DSN or an MDN that comes back later is matched with: by Message-ID, or by ENVID, its local part.
        sent = sent.with_memory("mail", mail.message_id, **{**sent.headers, "recipients": " ".join(accepted)})
        for recipient in delivery.refused:
            sent = sent.with_note(
                "recipient-refused", recipient=mask_address(recipient.address), answer=_answer(recipient)
            )
        return sent.with_headers({_DONE: write_settled(settled), _REFUSED: " ".join(refused)})

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._client.aclose()


def _codes(recipients: Iterable[Recipient]) -> str:
    return " ".join(f"{recipient.address}:{recipient.code}" for recipient in recipients)


def _refused_earlier(entry: str) -> Problem:
    address, _, code = entry.rpartition(":")
    return Problem("207", "refused in an earlier attempt", f"RCPT TO {mask_address(address)}", detail_code=code)


def _told(recipients: Iterable[Recipient]) -> str:
    return "; ".join(f"{mask_address(recipient.address)}: {_answer(recipient)}" for recipient in recipients)


def _answer(recipient: Recipient) -> str:
    return " ".join(filter(None, (str(recipient.code or ""), recipient.status, recipient.text)))


def _check(options: Any) -> None:
    check_options(options)
    check_client(options.tls)


def _build(options: Any) -> SmtpSink:
    return SmtpSink(options)


def _build_double(options: Any, outside: Outside) -> SmtpSink:
    # A connection for each mail: a scripted one cannot be there already.
    return SmtpSink(options, SmtpClient(evolve(options, max_mails=1), ScriptedServer(outside).open_session))


COMPONENTS = (
    Component(
        name="smtp-out",
        kind="sink",
        build=_build,
        options=SmtpOptions,
        doc="Sends mails by SMTP, with STARTTLS or TLS, client certificate and AUTH PLAIN; one outcome a recipient.",
        accepts=OutgoingMail,
        check=_check,
        example={"username": "pfi@hopital.mssante.example", "tls": TLS_EXAMPLE},
        sets={
            _DONE: Field("Recipients settled, accepted or refused."),
            _REFUSED: Field("Of those, the ones refused for good, as `address:code …`; empty when there are none."),
            _DEFERRED: Field("Recipients whom a failed attempt left, as `address:code …`.", always=False),
        },
        reads={
            _DONE: Field("From an earlier attempt: never written to again.", always=False),
            _REFUSED: Field("From an earlier attempt.", always=False),
        },
        double=Double(build=_build_double, answers=SmtpAnswer),
    ),
)
