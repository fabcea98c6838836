"""Receipts: reads DSN (RFC 3461, 3464, 6522, 6533) and MDN (RFC 8098, and the volet LPS), writes MDN.

What a receipt says is the sender's word alone: it counts only when one of its `Correlation.keys` is a mail of ours.
Nothing in these values shows a patient's address: diagnostics are masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from attrs import frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante import headers
from pfiflow.mssante.address import mask_address, mask_text
from pfiflow.mssante.answers import Answerer, Fault, may_answer, may_notify
from pfiflow.mssante.classification import error_code_of
from pfiflow.mssante.headers import Headers, addresses, message_ids
from pfiflow.mssante.notification_writer import write_mdn
from pfiflow.mssante.parts import Part
from pfiflow.mssante.reading import ReceivedMail

__all__ = [
    "SMTP_ERRORS",
    "Answerer",
    "Correlation",
    "DeliveryReport",
    "DeliveryStatus",
    "Fault",
    "ReadingReport",
    "correlation",
    "may_answer",
    "may_notify",
    "read_dsn",
    "read_mdn",
    "write_mdn",
]

Key = Literal["envelope-id", "original-message-id", "returned-message-id", "in-reply-to"]
Outcome = Literal["delivered", "failed", "delayed", "relayed", "expanded", "unknown"]

_BLOCKS: Final = 1_000  # recipients of one DSN
_ACTIONS: Final[frozenset[Outcome]] = frozenset({"delivered", "failed", "delayed", "relayed", "expanded"})
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})")
_REPLY: Final = re.compile(r"(?:^|[^\d.])([245]\d\d)(?=[ \t-]|$)")
_CODED: Final = re.compile(r"\s*(\d{3})\s*(?:\^|[:\-–]|$)\s*([^^|\r\n]*)")
_UNICODE: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")

SMTP_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "101": "Serveur injoignable",
        "111": "Connexion refusée par le serveur",
        "251": "Utilisateur non local : message relayé",
        "252": "Destinataire non vérifiable : remise tentée",
        "420": "Délai de connexion dépassé",
        "421": "Service indisponible",
        "422": "Boîte aux lettres pleine",
        "431": "Espace insuffisant sur le serveur",
        "432": "Le serveur n'accepte pas de message pour le moment",
        "441": "Le serveur ne répond pas",
        "442": "Connexion interrompue pendant la transmission",
        "450": "Boîte aux lettres indisponible",
        "451": "Erreur de traitement sur le serveur",
        "452": "Ressources insuffisantes sur le serveur",
        "500": "Commande non reconnue",
        "501": "Paramètre incorrect",
        "502": "Commande non implémentée",
        "503": "Séquence de commandes incorrecte",
        "504": "Paramètre non implémenté",
        "510": "Adresse incorrecte",
        "512": "Domaine introuvable",
        "513": "Type d'adresse incorrect",
        "523": "Message trop volumineux",
        "530": "Authentification refusée",
        "541": "Message refusé par le destinataire",
        "550": "Boîte aux lettres inexistante",
        "551": "Utilisateur non local",
        "552": "Boîte aux lettres pleine",
        "553": "Nom de boîte aux lettres incorrect",
        "554": "Échec de la transmission",
    }
)
"""The codes of table SMTPERRORCODE (volet Transmission 2.1), with a short label of ours."""

_CODES_OF_STATUS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "5.1.1": "550", "5.1.2": "512", "5.1.3": "510", "5.1.6": "551", "5.1.10": "550",
        "5.2.1": "550", "5.2.2": "552", "5.2.3": "523", "5.3.4": "523", "5.4.4": "512",
        "5.5.1": "502", "5.5.4": "501", "5.7.1": "541", "5.7.8": "530",
        "4.2.1": "450", "4.2.2": "422", "4.3.1": "431", "4.3.2": "432", "4.4.1": "441", "4.4.2": "442", "4.4.7": "441",
    }
)  # fmt: skip
"""RFC 3463 enhanced status → SMTPERRORCODE. It is finer than the reply code, and so wins over it."""


@frozen(repr=False)
class Correlation:
    """What ties a receipt to the mail that it is about.

    Attributes:
        keys: (kind, value) from the surest to the least sure; message ids with their angle brackets.
    """

    keys: tuple[tuple[Key, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Correlation by {', '.join(dict.fromkeys(kind for kind, _ in self.keys)) or 'nothing'}>"

    def first(self, kind: Key) -> str:
        """The first value of that kind, "" when there is none."""
        return next((value for found, value in self.keys if found == kind), "")


@frozen(repr=False)
class DeliveryStatus:
    """What became of the mail for one recipient (RFC 3464 §2.3).

    Attributes:
        recipient: the address that we wrote to: Original-Recipient, else Final-Recipient; "" when neither is one.
        action: `delivered`; `relayed` and `expanded` are final too, without confirmation; `delayed` is no failure.
        status: enhanced status code, "" when absent.
        smtp_code: code of table SMTPERRORCODE for a failure or delay, "" otherwise.
        diagnostic: the server's words, addresses of patients masked.
    """

    recipient: str
    action: Outcome
    status: str = ""
    smtp_code: str = ""
    diagnostic: str = ""
    final_recipient: str = ""
    remote_server: str = ""

    def __repr__(self) -> str:
        return f"<DeliveryStatus {self.action} {self.status} for {mask_address(self.recipient)}>"


@frozen
class DeliveryReport:
    """A DSN. `statuses` is () for a bounce in plain words: it says that something failed, not what."""

    statuses: tuple[DeliveryStatus, ...]
    correlation: Correlation
    reporting_server: str = ""


@frozen(repr=False)
class ReadingReport:
    """An MDN.

    Attributes:
        disposition: `displayed`, `processed`, `deleted`, `dispatched`… (lower case), by whoever or whatever read it.
        failed: the recipient's system could not integrate the document (`processed/error`, an `Error:` or `Failure:`
            field, or `[KO…` in the subject).
        code: of the error, as 902; "" when there is none. `label`: its words, as the peer wrote them.
        manual: a person acted (`manual-action`).
        recipient: Original-Recipient, else Final-Recipient; "" when neither is a mailbox.
    """

    disposition: str
    failed: bool
    code: str
    label: str
    manual: bool
    recipient: str
    correlation: Correlation
    final_recipient: str = ""

    def __repr__(self) -> str:
        return f"<ReadingReport {self.disposition}{' error ' + self.code if self.failed else ''}>"


def read_dsn(mail: ReceivedMail) -> DeliveryReport:
    """A delivery receipt. A bounce without machine-readable part gives a report without statuses.

    Raises:
        Rejected: the mail is no DSN, or none of its blocks tells of a recipient.
    """
    top = _top_of(mail, "dsn")
    part = next((p for p in top.leaves() if p.media_type.endswith("delivery-status")), None)
    if part is None:
        return DeliveryReport((), correlation(mail))
    blocks = _blocks(part.content())
    message, recipients = _split_blocks(blocks)
    statuses = tuple(_status(each) for each in recipients)
    if not statuses:
        raise Rejected(_problem("the delivery status tells of no recipient", "message/delivery-status", "RFC 3464 §2"))
    server = message.text("reporting-mta").rpartition(";")[2].strip()
    return DeliveryReport(statuses, correlation(mail, message), server)


def read_mdn(mail: ReceivedMail) -> ReadingReport:
    """A reading receipt, in either form of the error: a field `Error:`, or `processed/Error: 902^…`.

    Raises:
        Rejected: the mail is no MDN, or its Disposition cannot be read.
    """
    top = _top_of(mail, "mdn")
    part = next((p for p in top.leaves() if p.media_type.endswith("disposition-notification")), None)
    # The volet's own example has no empty line before the fields, which makes them headers of the part.
    blocks = [*_blocks(part.content()), part.headers] if part is not None else []
    fields = Headers(tuple(field for block in blocks for field in block.fields))
    mode, _, rest = fields.get("disposition").partition(";")
    if not rest:
        mode, rest = "", mode
    kind, slash, modifier = rest.partition("/")
    kind = kind.strip().lower()
    if re.fullmatch(r"[a-z-]{1,30}", kind) is None:
        raise Rejected(_problem("Disposition is missing or malformed", "Disposition", "RFC 8098 §3.2.6"))
    texts = [headers.words(text) for name in ("error", "failure") for text in fields.all(name)]
    if slash and (found := re.match(r"\s*(?:error|failure)\s*:?(.*)", modifier, re.IGNORECASE | re.DOTALL)):
        texts.append(found[1])
    code, label = _coded(texts)
    original, final = (_recipient(fields.text(name)) for name in ("original-recipient", "final-recipient"))
    failed = bool(texts) or bool(error_code_of(mail.subject)) or kind == "failed"
    return ReadingReport(
        disposition=kind,
        failed=failed,
        code=code or error_code_of(mail.subject),
        label=label,
        manual="manual-action" in mode.lower(),
        recipient=original or final,
        correlation=correlation(mail, fields),
        final_recipient=final,
    )


def correlation(mail: ReceivedMail, fields: Headers | None = None) -> Correlation:
    """The keys of a receipt or of a returned mail, from the surest to the least sure.

    Original-Envelope-Id (our ENVID), Original-Message-ID, the Message-ID among the returned headers, In-Reply-To and
    References.

    Args:
        mail: the receipt.
        fields: the machine-readable fields of it, when it has some.
    """
    keys: list[tuple[Key, str]] = []
    if fields is not None:
        if envelope_id := fields.text("original-envelope-id").strip()[:200]:
            keys.append(("envelope-id", envelope_id))
        keys += [("original-message-id", each) for each in message_ids(fields.text("original-message-id"))]
    keys += [("returned-message-id", each) for each in _returned_ids(mail.top)]
    keys += [("in-reply-to", each) for each in (*mail.in_reply_to, *reversed(mail.references))]
    return Correlation(tuple(dict.fromkeys(keys)))


def _top_of(mail: ReceivedMail, kind: str) -> Part:
    if mail.kind != kind:
        raise Rejected(_problem(f"the mail is of kind {mail.kind}, not {kind}", "Content-Type", "RFC 6522"))
    return mail.top


def _problem(message: str, location: str, rule: str) -> Problem:
    return Problem("207", message, location, rule=rule)


def _blocks(content: bytes) -> list[Headers]:
    """The header blocks of a status part, whatever its line ends."""
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b"\n")
    found = []
    for block in re.split(rb"\n[ \t]*\n+", content, maxsplit=_BLOCKS + 1)[: _BLOCKS + 1]:
        fields, _ = headers.parse(block, 0, len(block))
        if fields.fields:
            found.append(fields)
    return found


def _split_blocks(blocks: list[Headers]) -> tuple[Headers, list[Headers]]:
    """The per-message fields and the per-recipient ones: some senders leave the first block, or the blank line, out."""
    recipients = [block for block in blocks if {"action", "final-recipient", "original-recipient"} & _names(block)]
    message = blocks[0] if blocks else Headers()
    return message, recipients


def _names(block: Headers) -> set[str]:
    return {name for name, _ in block.fields}


def _status(block: Headers) -> DeliveryStatus:
    word = block.text("action").strip().lower().partition(" ")[0]
    action: Outcome = next((each for each in _ACTIONS if each == word), "unknown")
    found = _STATUS.search(block.text("status"))
    status = found[0] if found else ""
    if action == "unknown" and found:
        action = {"2": "delivered", "4": "delayed", "5": "failed"}[found[1]]  # type: ignore[assignment]
    original, final = (_recipient(block.text(name)) for name in ("original-recipient", "final-recipient"))
    diagnostic = headers.words(block.text("diagnostic-code"))
    kind, separator, words = diagnostic.partition(";")
    words = words.strip() if separator else kind.strip()
    return DeliveryStatus(
        recipient=original or final,
        action=action,
        status=status,
        smtp_code=_smtp_code(status, words) if action in {"failed", "delayed", "unknown"} else "",
        diagnostic=mask_text(words[:500], (original, final)),
        final_recipient=final,
        remote_server=block.text("remote-mta").rpartition(";")[2].strip()[:255],
    )


def _smtp_code(status: str, words: str) -> str:
    """From the enhanced status, else the reply code in the diagnostic, else the class of the status."""
    if status in _CODES_OF_STATUS:
        return _CODES_OF_STATUS[status]
    reply = _REPLY.search(words[:500])
    if reply and reply[1] in SMTP_ERRORS:
        return reply[1]
    return "450" if (status or (reply[1] if reply else "5")).startswith("4") else "554"


def _recipient(value: str) -> str:
    """The address of `rfc822; a@b` or `utf-8; …` (RFC 6533)."""
    address = value.partition(";")[2] or value
    address = _UNICODE.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), address)
    return next((each.address for each in addresses(address.strip())), "")


def _coded(texts: list[str]) -> tuple[str, str]:
    for text in texts:
        if match := _CODED.match(text):
            return match[1], match[2].strip()[:250]
    return "", next((text.strip()[:250] for text in texts if text.strip()), "")


def _returned_ids(top: Part) -> tuple[str, ...]:
    """The Message-ID of the mail, or of the headers, that a report returns."""
    found: list[str] = []
    for part in top.leaves():
        if part.media_type in {"text/rfc822-headers", "message/global-headers"}:
            content = part.content()[: headers.MAX_BYTES]
            fields, _ = headers.parse(content, 0, len(content))
            found += message_ids(fields.text("message-id"))
        elif part.is_message:
            try:
                found += message_ids(part.enclosed().headers.text("message-id"))
            except Rejected:  # too many parts to open: its first header block is enough
                fields, _ = headers.parse(part.data, part.start, part.end)
                found += message_ids(fields.text("message-id"))
    return tuple(found)
