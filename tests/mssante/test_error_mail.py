from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import attrs
import pytest

from pfiflow.errors import Rejected
from pfiflow.mssante.answers import Answerer, Fault, may_answer
from pfiflow.mssante.error_mail import read_error_mail, write_error_mail
from pfiflow.mssante.reading import read
from tests.mssante.mails import ARCHIVE, BOX, HEAD, ID, SENDER, SUBJECT, letter, raw_mail

ANSWERER = Answerer(BOX, "CHB", "DEV935997", contact="secretariat@chb.mssante.fr")
NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
FAULTS = (Fault("904", "L'INS transmis ne correspond pas exactement à celui stocké"),)


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_the_standard_mail_returns_the_original_once() -> None:
    mail = read(letter())
    answer = write_error_mail(mail, ANSWERER, faults=FAULTS, date=NOW)
    message = parsed(answer.raw)
    assert message["Subject"] == f"[KO Intégration système !][904] {SUBJECT}"
    assert (message["To"], message["In-Reply-To"], message["Auto-Submitted"]) == (SENDER, ID, "auto-replied")
    assert message["X-MSS-NIL"] == "DEV935997"
    assert "X-MSS-INS" not in message
    text, original = message.iter_parts()
    assert "904 - L'INS transmis ne correspond pas exactement à celui stocké" in text.get_content()
    assert "secretariat@chb.mssante.fr" in text.get_content()
    assert (original.get_content_type(), original.get_filename()) == ("message/rfc822", "message_original.eml")
    assert b"\r\n\r\n" + mail.raw + b"\r\n--=_" in answer.raw
    assert (answer.sender, answer.recipients) == ("", (SENDER,))


def test_the_older_form_repeats_the_attachments() -> None:
    older = attrs.evolve(ANSWERER, version="1.1.2")
    answer = write_error_mail(read(letter()), older, faults=FAULTS, date=NOW)
    parts = list(parsed(answer.raw).iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "message/rfc822", "application/zip"]
    assert parts[2].get_content() == ARCHIVE


def test_configured_mailboxes_instead_of_the_sender() -> None:
    to = ("erreurs@chb.mssante.fr", "dsi@chb.mssante.fr", "Erreurs@chb.mssante.fr")
    answer = write_error_mail(read(letter()), ANSWERER, faults=FAULTS, date=NOW, recipients=to)
    assert answer.recipients == to[:2]
    assert answer.message_id != write_error_mail(read(letter()), ANSWERER, faults=FAULTS, date=NOW).message_id


@pytest.mark.parametrize("version", ["1.1.3", "1.1.2"])
def test_what_we_write_we_read_and_never_answer(version: Any) -> None:
    answer = write_error_mail(read(letter()), attrs.evolve(ANSWERER, version=version), faults=FAULTS, date=NOW)
    mail = read(f"Return-Path: <{BOX}>\r\n".encode() + answer.raw)
    report = read_error_mail(mail)
    assert (mail.kind, mail.archives, report.code) == ("error-report", (), "904")
    assert report.correlation.keys == (("returned-message-id", ID), ("in-reply-to", ID))
    assert may_answer(mail, [])


@pytest.mark.parametrize(
    ("text", "code"),
    [("- Code d’erreur : 902", "902"), ("- 905 - incomplet", "905"), ("- document 1 sur 2 : 901 - x", "901"), ("", "")],
)
def test_a_code_that_only_the_text_gives(text: str, code: str) -> None:
    raw = raw_mail(
        HEAD.replace(SUBJECT, f"[Erreur d’intégration !] {SUBJECT}"),
        f"Content-Type: text/plain; charset=utf-8\n\nBonjour,\n\n{text}\n",
    )
    assert read_error_mail(read(raw)).code == code


def test_an_original_without_message_id_or_title() -> None:
    mail = read(letter(subject="Un sujet à lui", headers={"Message-ID": ""}))
    answer = write_error_mail(mail, ANSWERER, faults=FAULTS, date=NOW)
    message = parsed(answer.raw)
    assert "In-Reply-To" not in message
    assert message["Subject"] == "[KO Intégration système !][904] Un sujet à lui"
    assert answer == write_error_mail(mail, ANSWERER, faults=FAULTS, date=NOW)


def test_a_reply_prefix_and_an_older_mark_do_not_pile_up() -> None:
    mail = read(letter(subject=f"TR: RE: {SUBJECT}"))
    assert parsed(write_error_mail(mail, ANSWERER, faults=FAULTS, date=NOW).raw)["Subject"].endswith(f"[904] {SUBJECT}")


def test_an_unreadable_mail_can_be_returned() -> None:
    raw = b"From: a@b.fr\r\n" + b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + b"--B\r\n\r\nx\r\n" * 300
    mail = read(raw)
    assert mail.kind == "unreadable"
    answer = write_error_mail(mail, ANSWERER, faults=FAULTS, date=NOW, recipients=("erreurs@chb.mssante.fr",))
    assert raw in answer.raw


def test_too_large_an_answer_returns_the_headers_alone() -> None:
    answer = write_error_mail(read(letter()), attrs.evolve(ANSWERER, max_bytes=2_000), faults=FAULTS, date=NOW)
    assert [part.get_content_type() for part in parsed(answer.raw).iter_parts()][1] == "text/rfc822-headers"


def test_nobody_to_write_to() -> None:
    with pytest.raises(Rejected, match="To"):
        write_error_mail(read(letter(headers={"From": "nobody"})), ANSWERER, faults=FAULTS, date=NOW)
    with pytest.raises(ValueError, match="fault"):
        write_error_mail(read(letter()), ANSWERER, faults=(), date=NOW)


def test_another_mail_is_no_error_mail() -> None:
    with pytest.raises(Rejected, match="kind xdm"):
        read_error_mail(read(letter()))
    assert "PAT-TROIS" not in repr(read_error_mail(read(letter(subject=f"[Erreur d'intégration !][902] {SUBJECT}"))))
