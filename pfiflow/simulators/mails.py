"""Synthetic mails as they lie in an applicative mailbox, for examples and tests of routes.

    python -m pfiflow.simulators.mails OUT_DIR      writes the files of `examples/mails`

Another hospital sends documents; the reports are about a mail of ours, `SENT`. Nobody exists.
Same arguments, same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from pathlib import Path

from attrs import evolve

from pfiflow import xdm
from pfiflow.cda import document as cda
from pfiflow.mssante import reading
from pfiflow.mssante.answers import Answerer, Fault
from pfiflow.mssante.error_mail import write_error_mail
from pfiflow.segur import sending, transmission
from pfiflow.simulators.documents import document
from pfiflow.simulators.messages import message
from pfiflow.xds import authors, from_cda

__all__ = ["examples"]

MAILBOX = "pfi@hopital.mssante.example"
SENDER = "pfi@hopital-nord.mssante.example"
ENVELOPE_ID = "0123456789" * 4  # in the form of ours
SENT = f"<{ENVELOPE_ID}@hopital.mssante.example>"
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

_FROM = xdm.Sender("PFI", "Hôpital Nord")
_SOFTWARE = xdm.Software("pfiflow", "1", "pfiflow")
_POLICY = policy.SMTP.clone(cte_type="7bit")


def examples() -> Mapping[str, bytes]:
    """The mails by file name."""
    return {
        "xdm.eml": one_document(),
        "xdm_two.eml": two_documents(),
        "xdm_broken.eml": broken(),
        "dsn_failed.eml": report("delivery-status", _DSN),
        "mdn_displayed.eml": report("disposition-notification", _MDN),
        "error_report.eml": error_report(),
        "ordinary.eml": ordinary(),
    }


def one_document() -> bytes:
    """A mail as a PFI sends it: the archive, and the PDF that says the same."""
    er7 = message(document("N1", number=1), flags={"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y"}, recipients=(MAILBOX,))
    publisher = sending.Publisher("1.2.250.1.999.2", _FROM, _SOFTWARE, xdm.ActionSlot(), test_platform=True)
    mailbox = sending.Mailbox(SENDER, "Hôpital Nord", "secretariat@hopital-nord.mssante.example", "DEV1")
    package = sending.pack(transmission.read(er7), publisher, exchange_id="example", received=NOW)
    mail = sending.mail(package, mailbox, audience="professionals", exchange_id="example", received=NOW)
    return f"Return-Path: <{SENDER}>\r\n".encode() + mail.raw


def broken() -> bytes:
    """A mail whose archive was damaged on its way."""
    return _letter(b"PK\x03\x04 and nothing more", "<broken@nord.example>")


def two_documents() -> bytes:
    """Two documents of one patient in one archive."""
    read = [cda.read(document("N1", number=number).data) for number in (5, 6)]
    entries = tuple(
        from_cda.document_entry(
            each, target="xdm", entry_uuid=from_cda.entry_uuid_of(f"{number}"), hidden=(), test_platform=True
        )
        for number, each in enumerate(read)
    )
    submission = from_cda.submission_set(
        entries[:1],
        unique_id="2.25.1",
        source_id="1.2.250.1.999.2",
        submission_time=NOW,
        content_type=from_cda.content_type_of("N"),
        author=authors.author_of(person_id="801234567890", person_id_type="IDNPS", family="MÉDECIN", given="TEST"),
        associations=(),
    )
    archive = xdm.pack(
        evolve(submission, entries=entries), [each.raw for each in read], sender=_FROM, software=_SOFTWARE, action=""
    )
    return _letter(archive, "<two@nord.example>")


def _letter(archive: bytes, message_id: str) -> bytes:
    mail = _mail("XDM/1.0/DDM+CR ou fiche de consultation PAT-BABA CAMILLE 01/01/1930", message_id)
    mail["Disposition-Notification-To"] = SENDER
    mail.set_content("Bonjour,\n\nDes documents vous sont adressés.\n", cte="quoted-printable")
    mail.add_attachment(archive, maintype="application", subtype="zip", filename="IHE_XDM.zip")
    mail.set_boundary("=_letter")
    return mail.as_bytes()


def error_report() -> bytes:
    """A mail in which another platform says that it could not deliver a document of ours (volet LPS)."""
    ours = _mail("XDM/1.0/DDM+CR", SENT)
    ours.replace_header("Return-Path", f"<{MAILBOX}>")
    ours.replace_header("From", MAILBOX)
    ours.set_content("Bonjour,\n", cte="quoted-printable")
    answerer = Answerer(SENDER, "Hôpital Nord", "DEV1", "secretariat@hopital-nord.mssante.example")
    fault = Fault("902", "Identifiant patient inconnu")
    mail = write_error_mail(reading.read(ours.as_bytes()), answerer, faults=(fault,), date=NOW)
    return b"Return-Path: <>\r\n" + mail.raw


def ordinary() -> bytes:
    """A mail that somebody wrote."""
    mail = _mail("Rendez-vous", "<ordinary@nord.example>")
    mail.set_content("Bonjour,\n\nPouvez-vous me rappeler ?\n", cte="quoted-printable")
    return mail.as_bytes()


_DSN = f"""\
Reporting-MTA: dns; mx.demo.mssante.example
Original-Envelope-Id: {ENVELOPE_ID}

Original-Recipient: rfc822;docteur.test@demo.mssante.fr
Final-Recipient: rfc822;docteur.test@demo.mssante.fr
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user
"""

_MDN = f"""\
Reporting-UA: demo.mssante.example; test
Final-Recipient: rfc822;docteur.test@demo.mssante.fr
Original-Message-ID: {SENT}
Disposition: automatic-action/MDN-sent-automatically; displayed
"""


def report(kind: str, fields: str) -> bytes:
    """A delivery report (RFC 3464) or a reading report (RFC 8098)."""
    mail = MIMEMultipart("report", boundary="=_report")
    mail.set_param("report-type", kind)
    for name, value in {
        "Return-Path": "<>",
        "From": "postmaster@demo.mssante.fr",
        "To": MAILBOX,
        "Subject": "Report",
        "Date": "Mon, 05 Jan 2026 08:00:00 +0000",
        "Message-ID": f"<{kind}@demo.mssante.example>",
    }.items():
        mail[name] = value
    words = MIMENonMultipart("text", "plain", charset="utf-8")
    words.set_payload("This is about your message.\n")
    facts = message_from_bytes(f"Content-Type: message/{kind}\n\n{fields}".encode())
    mail.attach(words)
    mail.attach(facts)
    return mail.as_bytes(policy=policy.SMTP)


def _mail(subject: str, message_id: str) -> EmailMessage:
    mail = EmailMessage(policy=_POLICY)
    for name, value in {
        "Return-Path": f"<{SENDER}>",
        "From": f"Hôpital Nord <{SENDER}>",
        "To": MAILBOX,
        "Subject": subject,
        "Date": "Mon, 05 Jan 2026 08:00:00 +0000",
        "Message-ID": message_id,
    }.items():
        mail[name] = value
    return mail


def main() -> None:
    """Write the examples into the folder given."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in examples().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
