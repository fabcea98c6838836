"""Mails as others send them, built by the standard library (not by the code under test) or by hand. Nobody exists."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

BOX = "bal@chb.mssante.fr"
SENDER = "pfi@hopital.mssante.fr"
ID = "<123.456@hopital.mssante.fr>"
SUBJECT = "XDM/1.0/DDM+CR de consultation PAT-TROIS DOMINIQUE 28/03/1979"


def xdm_like(marker: str = "1", folder: str = "IHE_XDM", metadata: str = "METADATA.XML") -> bytes:
    """A zip with the layout of an XDM archive; `marker` makes it another one."""
    return zipped({f"{folder}/SUBSET01/{metadata}": f"<x>{marker}</x>", "INDEX.HTM": marker})


def zipped(files: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return target.getvalue()


ARCHIVE = xdm_like()


def letter(
    *,
    subject: str = SUBJECT,
    archives: Sequence[bytes] = (ARCHIVE,),
    name: str = "IHE_XDM.zip",
    media_type: str = "application/zip",
    text: str = "Bonjour,\n\nUn document vous est adressé.\n",
    enclosed: Sequence[bytes] = (),
    headers: dict[str, str] | None = None,
) -> bytes:
    """A mail with archives and enclosed mails, by the standard library, with a Return-Path as a mailbox has it."""
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    fields = {
        "Return-Path": f"<{SENDER}>",
        "From": f"Hôpital Nord <{SENDER}>",
        "To": BOX,
        "Reply-To": "secretariat@hopital.mssante.fr",
        "Subject": subject,
        "Date": "Mon, 23 Nov 2026 12:00:00 +0100",
        "Message-ID": ID,
        **(headers or {}),
    }
    for field, value in fields.items():
        if value:
            message[field] = value
    message.set_content(text, cte="quoted-printable")
    main, sub = media_type.split("/")
    for archive in archives:
        message.add_attachment(archive, maintype=main, subtype=sub, filename=name)
    for each in enclosed:
        enclose(message, each)
    return message.as_bytes()


def enclose(message: EmailMessage, raw: bytes) -> None:
    """`raw` as a message/rfc822 attachment."""
    inner: Message = _parsed(raw)
    message.add_attachment(inner)


def _parsed(raw: bytes) -> EmailMessage:
    inner = message_from_bytes(raw, policy=policy.SMTP.clone(cte_type="7bit"))
    assert isinstance(inner, EmailMessage)
    return inner


def raw_mail(head: str, *parts: str, boundary: str = "B", subtype: str = "mixed") -> bytes:
    """A multipart by hand: `head` without Content-Type, each part with its own headers; CRLF everywhere."""
    lines = [head.strip("\n"), f'Content-Type: multipart/{subtype}; boundary="{boundary}"', ""]
    for part in parts:
        lines += [f"--{boundary}", part.strip("\n")]
    lines += [f"--{boundary}--", ""]
    return "\n".join(lines).replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8")


HEAD = f"""Return-Path: <{SENDER}>
From: {SENDER}
To: {BOX}
Subject: {SUBJECT}
Message-ID: {ID}
MIME-Version: 1.0"""
