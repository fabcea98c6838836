"""What every automatic answer shares: whether one may be sent, its headers, its subject, its words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from typing import Final, Literal

from attrs import frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante import mime
from pfiflow.mssante.address import is_mailbox
from pfiflow.mssante.classification import ERROR_SUBJECT
from pfiflow.mssante.message import message_id
from pfiflow.mssante.reading import ReceivedMail

__all__ = ["Answerer", "Fault", "answer_id", "may_answer", "may_notify", "separator_for", "subject_of", "words_of"]

_TITLE: Final = re.compile(r"XDM/1\.0/DDM.*", re.IGNORECASE | re.DOTALL)
_LONGEST_SUBJECT: Final = 400
_REFERENCES: Final = 20
_BULK: Final = frozenset({"bulk", "junk", "list"})
_ANSWERS: Final = frozenset({"mdn", "dsn", "error-report", "auto-reply"})
_TOKEN: Final = re.compile(r"[A-Za-z0-9._:/-]{1,100}")


@frozen
class Fault:
    """Why a document could not be integrated: what the CONSOMMATEUR answered.

    Attributes:
        code: ERR-5 when ERR-3 is 207, else ERR-3.
        label: its words in French, from the table: never a peer's free text, which may name a patient.
        document: which one, when the mail holds several (`document 2 sur 3`).
        integrated: how many documents of the same mail were integrated: the sender is not to think that none was.
    """

    code: str
    label: str
    document: str = ""
    integrated: int = 0


@frozen
class Answerer:
    """The applicative mailbox that answers, and how.

    Attributes:
        address: its address: From, and Final-Recipient.
        label: the meaningful label beside it (MSS/va1.16).
        nil: the product's reference number (X-MSS-NIL, CONF.16).
        contact: a mailbox that people read: Reply-To and the closing words; "" leaves both out (MSS/va1.09).
        version: form of the volet LPS: 1.1.3 returns the original once; 1.1.2 repeats the attachments beside it, and
            writes the error into the disposition.
        null_sender: MAIL FROM `<>`, as RFC 8098 §3 wants; False where the operator refuses it.
        max_bytes: a larger answer returns the original's headers alone; None: no limit.
    """

    address: str
    label: str
    nil: str
    contact: str = ""
    version: Literal["1.1.3", "1.1.2"] = "1.1.3"
    null_sender: bool = True
    max_bytes: int | None = None


def may_answer(mail: ReceivedMail, our_mailboxes: Collection[str]) -> str:
    """Why no automatic answer may be sent to the sender; "" when one may (RFC 3834 §2, RFC 8098 §2.1).

    Holds for MDN and standard mail alike; `may_notify` adds what an MDN needs.
    """
    ours = {address.lower() for address in our_mailboxes}
    sources = {mail.sender.lower(), (mail.return_path or "").lower(), mail.reply_to.lower()}
    if mail.kind in _ANSWERS or mail.top.media_type == "multipart/report":
        return f"the mail is itself an answer or a report ({mail.kind})"
    if mail.return_path == "":
        return "the return path is null"
    if mail.auto_submitted not in {"", "no"}:
        return f"Auto-Submitted is {mail.auto_submitted[:40]}"
    fields = mail.top.headers
    if "list-id" in fields or fields.text("precedence").strip().lower() in _BULK:
        return "the mail comes from a list, or is sent in bulk"
    if ours & (sources - {""}):
        return "the mail comes from one of our own mailboxes"
    return "" if mail.sender else "From holds no usable address"


def may_notify(mail: ReceivedMail, our_mailboxes: Collection[str]) -> str:
    """Why no MDN may be sent automatically; "" when one may. A standard mail may remain possible.

    Only to the one address of Disposition-Notification-To, and only where it is the return path (RFC 8098 §2.1): a
    forward on the way breaks that, and a person would have to consent.
    """
    if reason := may_answer(mail, our_mailboxes):
        return reason
    wanted = {address.lower() for address in mail.notification_to}
    if not wanted:
        return "no MDN is asked for: Disposition-Notification-To is absent or holds no usable address"
    if len(wanted) > 1:
        return "Disposition-Notification-To names several addresses"
    if mail.return_path is None:
        return "there is no Return-Path to compare Disposition-Notification-To with"
    if wanted != {mail.return_path.lower()}:
        return "Disposition-Notification-To differs from Return-Path"
    return ""


def answer_id(mail: ReceivedMail, answerer: Answerer, purpose: str) -> str:
    """The Message-ID of the answer: the same on every attempt, for one mail in one mailbox."""
    origin = mail.message_id or hashlib.sha256(mail.raw).hexdigest()
    return message_id(f"{answerer.address.lower()} {origin}", purpose, answerer.address.rpartition("@")[2])


def subject_of(mail: ReceivedMail, faults: Sequence[Fault]) -> str:
    """`[KO Intégration système !][902] XDM/1.0/DDM+…`, or the original's `XDM/1.0/DDM+…` when nothing failed."""
    found = _TITLE.search(mail.subject)
    title = (found[0] if found else mail.subject)[:_LONGEST_SUBJECT]
    return f"{ERROR_SUBJECT}[{faults[0].code}] {title}".rstrip() if faults else title


def words_of(faults: Sequence[Fault], contact: str) -> str:
    """The text that a person reads: at least the code and the label of each error (volet LPS, MDN part 1)."""
    if faults:
        lines = [
            "Bonjour,",
            "",
            f"{_what_failed(faults)} automatiquement dans le système destinataire "
            + ("pour la raison suivante :" if len(faults) == 1 else "pour les raisons suivantes :"),
            "",
            *(f"- {f'{each.document} : ' if each.document else ''}{each.code} - {each.label}" for each in faults),
            "",
            *_what_did_not(faults[0].integrated),
            "Le message d'origine est joint. Merci de vérifier les informations, puis de renvoyer le document corrigé.",
        ]
    else:
        lines = ["Bonjour,", "", "Le message ci-dessous a été intégré automatiquement dans le système destinataire."]
    lines += ["", "Ce courriel a été généré automatiquement, merci de ne pas y répondre."]
    if contact:
        lines.append(f"Pour toute question, écrivez à : {contact}")
    return "\n".join(lines) + "\n"


def _what_failed(faults: Sequence[Fault]) -> str:
    if not faults[0].integrated:
        return "Le message ci-dessous n'a pas pu être intégré"
    if len(faults) == 1:
        return "Un document du message ci-dessous n'a pas pu être intégré"
    return f"{len(faults)} documents du message ci-dessous n'ont pas pu être intégrés"


def _what_did_not(integrated: int) -> Sequence[str]:
    match integrated:
        case 0:
            return ()
        case 1:
            return ("L'autre document du message a été intégré.", "")
        case _:
            return (f"Les {integrated} autres documents du message ont été intégrés.", "")


def headers_of(
    mail: ReceivedMail,
    answerer: Answerer,
    *,
    recipients: Sequence[str],
    subject: str,
    identifier: str,
    date: datetime,
) -> list[bytes]:
    """The header lines of an answer, MIME-Version last.

    Raises:
        Rejected: a recipient, the mailbox or its settings cannot be written into a header.
        ValueError: `date` has no time zone.
    """
    if date.tzinfo is None:
        msg = "the Date of a mail needs a time zone"
        raise ValueError(msg)
    problems = [
        Problem("207", "not a plain ASCII mailbox address; correct the setting", where, rule="RFC 5321 §4.1.2")
        for where, address in (("From", answerer.address), ("Reply-To", answerer.contact or answerer.address))
        if not is_mailbox(address)
    ]
    if not recipients or not all(map(is_mailbox, recipients)):
        problems.append(Problem("207", "an answer needs plain mailbox addresses to go to", "To", rule="RFC 5321"))
    if _TOKEN.fullmatch(answerer.nil) is None:
        message = "the product's reference number is missing or malformed; set it"
        problems.append(Problem("207", message, "X-MSS-NIL", rule="REM SC.MSS/CONF.16"))
    if problems:
        raise Rejected(*problems)
    references = tuple(dict.fromkeys((*mail.references, mail.message_id)))[-_REFERENCES:] if mail.message_id else ()
    return [
        *mime.header("From", mime.display_mailbox(answerer.label, answerer.address)),
        *mime.header("To", ", ".join(recipients)),
        *(mime.header("Reply-To", answerer.contact) if answerer.contact else ()),
        *_encoded("Subject", subject),
        mime.unfolded("Date", format_datetime(date)),
        mime.unfolded("Message-ID", identifier),
        *((mime.unfolded("In-Reply-To", mail.message_id),) if mail.message_id else ()),
        *(mime.header("References", " ".join(references)) if references else ()),
        mime.unfolded("Auto-Submitted", "auto-replied"),
        mime.unfolded("X-MSS-NIL", answerer.nil),
        mime.unfolded("MIME-Version", "1.0"),
    ]


def separator_for(raw: bytes, identifier: str) -> str:
    """A boundary that does not occur in the mail to enclose: whoever wrote that one may have guessed ours."""
    seed = identifier[1:41]
    separator = mime.boundary(seed)
    number = 0
    while f"--{separator}".encode("ascii") in raw:
        number += 1
        separator = mime.boundary(f"{number}.{hashlib.sha256(raw).hexdigest()[:40]}{seed[:8]}")
    return separator


def _encoded(name: str, text: str) -> list[bytes]:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if text.isascii() and "=?" not in text:
        return mime.header(name, text)
    folded = Header(text, "utf-8", maxlinelen=75, header_name=name).encode(linesep="\n")
    return f"{name}: {folded}".encode("ascii").split(b"\n")
