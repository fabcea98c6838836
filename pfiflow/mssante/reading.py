"""Reads a mail of an applicative mailbox as it is in the world: bytes to a frozen value, whatever the bytes.

`read` never raises: what cannot be read is of kind `unreadable`, with its reasons, so that it is kept and shown. A mail
with an error among its problems is not to be processed automatically; the sender may be told (`error_mail`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from attrs import evolve, frozen
from lxml import etree

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante.archives import Forwarded, FoundArchive, search
from pfiflow.mssante.classification import Kind, answer_kind, auto_submitted, error_code_of, is_encrypted
from pfiflow.mssante.headers import Address, addresses, date_of, decode, message_ids
from pfiflow.mssante.parts import Limits, Part, outline, parse

__all__ = ["Forwarded", "FoundArchive", "Kind", "Limits", "ReceivedMail", "read"]

_TEXT: Final = 1_000_000  # bytes of a text body that are read
_HINTS: Final = ("original-recipient", "x-original-to", "envelope-to", "delivered-to")
_FORWARD: Final = re.compile(r"^\s*(?:TR|FW|FWD|WG)\s*:", re.IGNORECASE)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACES: Final = re.compile(r"\s+")
_BLOCKS: Final = frozenset({"p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote"})
_UNSHOWN: Final = frozenset({"script", "style", "head", "title"})


@frozen(eq=False, repr=False)
class ReceivedMail:
    """A mail that has been read. Its `repr` shows its kind and its size alone.

    Attributes:
        raw: the mail as fetched.
        top: its MIME structure, windows on `raw`; unopened when it passes the limits.
        kind: see `classification.Kind`.
        message_id: with its angle brackets; "" when absent.
        sender: the address of From, "" when there is no usable one; `sender_label` the name beside it.
        reply_to: the address of Reply-To, "" when absent.
        return_path: None when the header is absent, "" for the null path `<>`.
        recipients: To, then Cc.
        original_recipients: Original-Recipient, X-Original-To, Envelope-To, Delivered-To: hints of the mailbox that
            the sender wrote to; a forward on the server may have lost it.
        subject: decoded, on one line.
        date: aware, or None.
        in_reply_to, references: message ids, in order.
        auto_submitted: the keyword in lower case, "" when absent (RFC 3834).
        notification_to: Disposition-Notification-To: who asks for an MDN (RFC 8098).
        text: the body in plain text, LF a line; of an HTML body, its words.
        archives: the XDM archives found, identical ones once.
        error_code: of an `error-report`'s subject.
        forwarded: `attached` when the archive came in an enclosed mail, `inline` when the subject says a forward.
        problems: errors keep the mail from being processed automatically; warnings are to journal.
    """

    raw: bytes
    top: Part
    kind: Kind
    message_id: str = ""
    sender: str = ""
    sender_label: str = ""
    reply_to: str = ""
    return_path: str | None = None
    recipients: tuple[str, ...] = ()
    original_recipients: tuple[str, ...] = ()
    subject: str = ""
    date: datetime | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    auto_submitted: str = ""
    notification_to: tuple[str, ...] = ()
    text: str = ""
    archives: tuple[FoundArchive, ...] = ()
    error_code: str = ""
    forwarded: str = ""
    problems: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        return f"<ReceivedMail {self.kind} of {len(self.raw)} bytes>"

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the mail from being processed automatically."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def archive(self) -> FoundArchive:
        """The one archive of an `xdm` mail.

        Raises:
            Rejected: the mail is none, or something keeps it from being processed automatically.
        """
        if self.errors:
            raise Rejected(*self.errors)
        if self.kind != "xdm" or len(self.archives) != 1:
            raise Rejected(Problem("207", f"no XDM archive in the mail, which is of kind {self.kind}", "attachments"))
        return self.archives[0]


def read(raw: bytes, *, limits: Limits | None = None) -> ReceivedMail:
    """What a mail says, and what kind it is. Memory: the mail, its decoded archive, and little more. Never raises."""
    limits = limits or Limits()
    refusal: tuple[Problem, ...] = ()
    try:
        top = parse(raw, limits=limits)
    except Rejected as error:
        top, refusal = outline(raw), error.problems
    mail = _facts(raw, top)
    answer = answer_kind(top)
    if answer is not None:
        return evolve(mail, kind=answer, error_code=error_code_of(mail.subject), problems=refusal)
    if refusal:
        return evolve(mail, kind="unreadable", problems=refusal)
    if not top.headers.fields:
        problem = Problem("207", "no header field at all: this is no mail", "headers", rule="RFC 5322 §3.6")
        return evolve(mail, kind="unreadable", problems=(problem,))
    found = search(top, limits)
    problems = [*found.problems, *_oddities(top)]
    kind: Kind = "ordinary"
    if found.archives or found.claims_archive:
        kind = "xdm"
    elif found.sealed or is_encrypted(top):
        kind = "encrypted"
        message = "the mail is encrypted or sealed (S/MIME, PGP): it cannot be opened here, send it in clear in MSSanté"
        problems.append(Problem("207", message, "Content-Type", rule="RFC 8551", detail_code="906"))
    elif any(problem.severity == "error" for problem in problems):
        kind = "unreadable"
    carried = any(archive.carrier is not None for archive in found.archives)
    inline = bool(found.archives) and _FORWARD.match(mail.subject) is not None
    forwarded = "attached" if carried else "inline" if inline else ""
    return evolve(mail, kind=kind, archives=found.archives, forwarded=forwarded, problems=tuple(problems))


def _facts(raw: bytes, top: Part) -> ReceivedMail:
    fields = top.headers
    sender = next(iter(addresses(fields.text("from"))), Address(""))
    ids = message_ids(fields.text("message-id"))
    return_path = _return_path(fields.text("return-path")) if "return-path" in fields else None
    hints = (value.partition(";")[2] or value for name in _HINTS for value in fields.all(name)[:20])
    return ReceivedMail(
        raw=raw,
        top=top,
        kind="ordinary",
        message_id=ids[0] if ids else "",
        sender=sender.address,
        sender_label=sender.label,
        reply_to=_first(fields.text("reply-to")),
        return_path=return_path,
        recipients=_distinct(each.address for name in ("to", "cc") for each in addresses(fields.text(name))),
        original_recipients=_distinct(_first(hint) for hint in hints),
        subject=fields.get("subject"),
        date=date_of(fields.text("date")),
        in_reply_to=message_ids(fields.text("in-reply-to")),
        references=message_ids(fields.text("references")),
        auto_submitted=auto_submitted(top),
        notification_to=_distinct(each.address for each in addresses(fields.text("disposition-notification-to"))),
        text=_body(top),
    )


def _first(value: str) -> str:
    return next((each.address for each in addresses(value)), "")


def _return_path(value: str) -> str | None:
    """The address; "" for `<>`. A path that is no mailbox is not the null path: it is as good as absent."""
    return "" if value.strip() in {"<>", ""} else _first(value) or None


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _oddities(top: Part) -> list[Problem]:
    warning = []
    if any(part.guessed for part in _multiparts(top)):
        message = "the boundary of a multipart is missing or wrong; its parts were found by their look"
        warning.append(Problem("207", message, "Content-Type", severity="warning", rule="RFC 2046 §5.1"))
    if "message-id" not in top.headers:
        warning.append(Problem("207", "no Message-ID", "Message-ID", severity="warning", rule="MSS/va1.12"))
    return warning


def _multiparts(part: Part) -> list[Part]:
    return [part, *(each for child in part.parts for each in _multiparts(child))]


def _body(top: Part) -> str:
    """The first text that is no attachment: plain before HTML. Enclosed mails are not the sender's words."""
    texts = [part for part in top.leaves() if part.disposition != "attachment" and part.media_type.startswith("text/")]
    for media_type in ("text/plain", "text/html"):
        for part in texts:
            if part.media_type == media_type and (text := _text(part).strip()):
                return text + "\n"
    return ""


def _text(part: Part) -> str:
    window = evolve(part, end=min(part.end, part.start + _TEXT))
    content = window.content()
    if part.media_type == "text/html":
        return _words_of_html(content, part.parameters.get("charset", ""))
    text = decode(content, part.parameters.get("charset", ""))
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _words_of_html(content: bytes, charset: str) -> str:
    parser = etree.HTMLParser(no_network=True, remove_comments=True, remove_pis=True, recover=True, encoding="utf-8")
    try:
        root = etree.fromstring(decode(content, charset).encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError):
        return ""
    pieces: list[str] = []
    if root is not None:
        for event, element in etree.iterwalk(root, events=("start", "end")):
            shown = element.tag not in _UNSHOWN
            if event == "start" and shown:
                pieces.append(_SPACES.sub(" ", element.text or ""))
            elif event == "end":
                if element.tag in _BLOCKS:
                    pieces.append("\n")
                pieces.append(_SPACES.sub(" ", element.tail or ""))
    lines = (" ".join(line.split()) for line in _CONTROLS.sub("", "".join(pieces)).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
