"""What kind of mail this is: by its top-level type first, never by what is enclosed in it.

An MDN, a DSN and an error mail enclose the original with its archive: whoever looks for archives first delivers the
hospital's own documents back to it, and answers answers.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from pfiflow.mssante.headers import addresses
from pfiflow.mssante.naming import ascii_fold
from pfiflow.mssante.parts import Part

__all__ = ["ERROR_SUBJECT", "Kind", "answer_kind", "error_code_of", "is_automatic_reply", "is_encrypted", "is_tnef"]

Kind = Literal["mdn", "dsn", "error-report", "xdm", "auto-reply", "encrypted", "ordinary", "unreadable"]
"""What a received mail is.

`mdn` reading receipt; `dsn` delivery receipt, or a bounce in plain words; `error-report` a PFI's standard error mail;
`xdm` carries an archive, or claims to; `auto-reply` out of office and the like; `encrypted` sealed S/MIME or PGP;
`ordinary` anything else from a person; `unreadable` for a person to look at.
"""

ERROR_SUBJECT: Final = "[KO Intégration système !]"
"""Beginning of the subject of every refusal (volet LPS 1.1.3). `[Erreur d'intégration !]` is read too."""

_ERROR: Final = re.compile(r"\[\s*(?:KO\s+integration\s+systeme|Erreur\s+d.?\s?integration)\s*!?\s*\]", re.IGNORECASE)
_CODE: Final = re.compile(r"\s*\[\s*(\d{1,4})\s*\]")
_REPORTS: Final[dict[str, Kind]] = {"disposition-notification": "mdn", "delivery-status": "dsn"}
_REPORT_TYPES: Final = frozenset(
    {"multipart/report", "message/disposition-notification", "message/global-disposition-notification"}
)
_BOUNCERS: Final = frozenset({"mailer-daemon", "postmaster"})
_ABSENT: Final = re.compile(
    r"^(?:reponse automatique|message automatique|absence du bureau|automatic reply|auto(?:matic)?[- ]?reply"
    r"|out of (?:the )?office)",
    re.IGNORECASE,
)
_SEALED: Final = frozenset({"multipart/encrypted", "application/pgp-encrypted"})
_PKCS7: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})


def answer_kind(top: Part) -> Kind | None:
    """The kind of a mail that answers, or reports on, another: nothing in it is a document for us. None otherwise."""
    report = _report(top)
    if report is not None:
        declared = _REPORTS.get(report.parameters.get("report-type", "").strip().lower())
        return declared or _report_of(report) or "auto-reply"
    if _ERROR.search(ascii_fold(top.headers.get("subject"))):
        return "error-report"
    if is_automatic_reply(top):
        return "dsn" if _is_bounce(top) else "auto-reply"
    return "dsn" if _is_bounce(top) else None


def error_code_of(subject: str) -> str:
    """The code in `[KO Intégration système !][902] …`, "" when there is none."""
    folded = ascii_fold(subject)
    found = _ERROR.search(folded)
    code = _CODE.match(folded, found.end()) if found else None
    return code[1] if code else ""


def is_automatic_reply(top: Part) -> bool:
    """Whether an automaton answers (RFC 3834 §5, and the marks that came before it).

    `auto-generated` is not among them: a PFI may rightly mark the mails by which it sends documents so.
    """
    fields = top.headers
    if auto_submitted(top).startswith(("auto-replied", "auto-notified")):
        return True
    if "x-autoreply" in fields or "x-autorespond" in fields or fields.text("precedence").lower() == "auto_reply":
        return True
    return not _has_attachment(top) and _ABSENT.match(ascii_fold(fields.get("subject"))) is not None


def auto_submitted(top: Part) -> str:
    """The keyword of Auto-Submitted in lower case, "" when the header is absent."""
    return top.headers.text("auto-submitted").partition(";")[0].partition("(")[0].strip().lower()


def is_encrypted(part: Part) -> bool:
    """Sealed content: enveloped S/MIME, or signed S/MIME in one opaque piece, or PGP. A clear signature is none."""
    if part.media_type in _SEALED:
        return True
    return part.media_type in _PKCS7 or (
        part.media_type == "application/octet-stream" and part.name.lower().endswith(".p7m")
    )


def is_tnef(part: Part) -> bool:
    """Outlook's winmail.dat."""
    return part.media_type in {"application/ms-tnef", "application/vnd.ms-tnef"} or part.name.lower() == "winmail.dat"


def _report(top: Part) -> Part | None:
    """The report that the mail is, also when a signature or a gateway's footer is wrapped around it."""
    wrapped = top.parts if top.media_type in {"multipart/signed", "multipart/mixed"} else ()
    return next((part for part in (top, *wrapped) if part.media_type in _REPORT_TYPES), None)


def _report_of(top: Part) -> Kind | None:
    for part in (top, *top.parts):
        if part.media_type.endswith("disposition-notification"):
            return "mdn"
        if part.media_type.endswith("delivery-status"):
            return "dsn"
    return None


def _is_bounce(top: Part) -> bool:
    """A mail server's own words: a null return path, or none, from MAILER-DAEMON or postmaster."""
    sender = addresses(top.headers.text("from"))
    local = sender[0].address.partition("@")[0].lower() if sender else top.headers.text("from").strip().lower()
    return local in _BOUNCERS and top.headers.text("return-path").strip() in {"", "<>"}


def _has_attachment(top: Part) -> bool:
    return any(part.disposition == "attachment" or part.starts_like_zip() for part in top.leaves())
