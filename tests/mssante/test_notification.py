from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.mssante.notification import (
    SMTP_ERRORS,
    Answerer,
    DeliveryStatus,
    Fault,
    may_answer,
    may_notify,
    read_dsn,
    read_mdn,
    write_mdn,
)
from pfiflow.mssante.reading import ReceivedMail, read
from tests.mssante.mails import ARCHIVE, BOX, HEAD, ID, SENDER, SUBJECT, letter, raw_mail

ANSWERER = Answerer(BOX, "CHB, service Y", "DEV935997", contact="secretariat@chb.mssante.fr")
NOW = datetime(2026, 11, 23, 12, 30, tzinfo=timezone(timedelta(hours=1)))
UNKNOWN = Fault("902", "Identifiant patient inconnu")
AUTHOR = Fault("901", "Auteur non autorisé à remplacer ou supprimer un document", "document 2 sur 2")
PATIENT = "279035121518989@patient.mssante.fr"
TEXT = "Content-Type: text/plain\n\nUn texte."


def asked(**headers: str) -> ReceivedMail:
    return read(letter(headers={"Disposition-Notification-To": SENDER, **headers}))


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def dsn(*blocks: str, third: str = "", media_type: str = "message/delivery-status", head: str = HEAD) -> ReceivedMail:
    status = f"Content-Type: {media_type}\n\n" + "\n\n".join(blocks)
    parts = (TEXT, status, *((third,) if third else ()))
    return read(raw_mail(head, *parts, subtype="report; report-type=delivery-status"))


def mdn(fields: str, *, head: str = HEAD, encoding: str = "", third: str = "") -> ReceivedMail:
    part = f"Content-Type: message/disposition-notification{encoding}\n\n{fields}"
    parts = (TEXT, part, *((third,) if third else ()))
    return read(raw_mail(head, *parts, subtype="report; report-type=disposition-notification"))


# -- DSN -------------------------------------------------------------------------------------------------------------

MESSAGE = "Reporting-MTA: dns; mx.op.mssante.fr\nOriginal-Envelope-Id: 0123abcd\nArrival-Date: Mon, 23 Nov 2026 12:00"


def recipient(address: str, action: str, status: str, *more: str) -> str:
    return "\n".join([f"Final-Recipient: rfc822; {address}", f"Action: {action}", f"Status: {status}", *more])


def test_every_action_of_several_recipients() -> None:
    report = read_dsn(
        dsn(
            MESSAGE,
            recipient("a@x.fr", "delivered", "2.1.5 (ok)", "Remote-MTA: dns; mx.x.fr"),
            recipient("b@x.fr", "Failed", "5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 User unknown"),
            recipient("c@x.fr", "delayed", "4.4.1", "Will-Retry-Until: Tue, 24 Nov 2026 12:00:00 +0100"),
            recipient("d@x.fr", "relayed (to a server without DSN)", "2.1.9"),
            recipient("e@x.fr", "expanded", "2.1.5"),
            recipient("f@x.fr", "surprise", "5.0.0"),
        )
    )
    assert [(s.recipient, s.action, s.smtp_code) for s in report.statuses] == [
        ("a@x.fr", "delivered", ""),
        ("b@x.fr", "failed", "550"),
        ("c@x.fr", "delayed", "441"),
        ("d@x.fr", "relayed", ""),
        ("e@x.fr", "expanded", ""),
        ("f@x.fr", "failed", "554"),
    ]
    assert report.reporting_server == "mx.op.mssante.fr"
    assert report.statuses[0].remote_server == "mx.x.fr"
    assert report.statuses[1].diagnostic == "550 5.1.1 User unknown"


def test_the_recipient_is_the_one_that_we_wrote_to() -> None:
    (status,) = read_dsn(
        dsn(MESSAGE, recipient("new@y.fr", "failed", "5.2.2", "Original-Recipient: rfc822;old@x.fr"))
    ).statuses
    assert (status.recipient, status.final_recipient) == ("old@x.fr", "new@y.fr")


def test_the_keys_stand_from_the_surest_to_the_least() -> None:
    head = HEAD + "\nIn-Reply-To: <third@z>\nReferences: <first@z> <third@z>"
    third = f"Content-Type: text/rfc822-headers\n\nSubject: x\nMessage-ID: {ID}"
    report = read_dsn(dsn(MESSAGE, recipient("a@x.fr", "failed", "5.1.1"), third=third, head=head))
    assert report.correlation.keys == (
        ("envelope-id", "0123abcd"),
        ("returned-message-id", ID),
        ("in-reply-to", "<third@z>"),
        ("in-reply-to", "<first@z>"),
    )
    assert report.correlation.first("envelope-id") == "0123abcd"
    assert report.correlation.first("original-message-id") == ""


@pytest.mark.parametrize("encoding", ["", "\nContent-Transfer-Encoding: base64"])
@pytest.mark.parametrize(
    "media_type", ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"]
)
def test_the_returned_mail_in_every_form(media_type: str, encoding: str) -> None:
    body = f"Message-ID: {ID}\nSubject: x\n\nbody\n"
    body = base64.encodebytes(body.encode()).decode() if encoding else body
    third = f"Content-Type: {media_type}{encoding}\n\n{body}"
    report = read_dsn(dsn(MESSAGE, recipient("a@x.fr", "failed", "5.1.1"), third=third))
    assert ("returned-message-id", ID) in report.correlation.keys


def test_a_global_delivery_status_keeps_all_its_blocks() -> None:
    """The standard library keeps the first one alone."""
    report = read_dsn(
        dsn(
            MESSAGE,
            "Final-Recipient: utf-8; dr@x.fr\nAction: failed\nStatus: 5.1.1",
            "Final-Recipient: utf-8; \\x{64}r2@x.fr\nAction: delivered\nStatus: 2.0.0",
            media_type="message/global-delivery-status",
        )
    )
    assert [(s.recipient, s.action) for s in report.statuses] == [("dr@x.fr", "failed"), ("dr2@x.fr", "delivered")]


def test_a_status_part_in_base64() -> None:
    body = base64.encodebytes(f"{MESSAGE}\r\n\r\n{recipient('a@x.fr', 'failed', '5.1.1')}".encode()).decode()
    raw = raw_mail(
        HEAD,
        TEXT,
        f"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n{body}",
        subtype="report; report-type=delivery-status",
    )
    assert read_dsn(read(raw)).statuses[0].action == "failed"


def test_one_block_for_all() -> None:
    report = read_dsn(dsn(f"{MESSAGE}\n{recipient('a@x.fr', 'failed', '5.1.1')}"))
    assert (report.correlation.first("envelope-id"), report.statuses[0].recipient) == ("0123abcd", "a@x.fr")


def test_a_bounce_in_plain_words_has_no_status() -> None:
    raw = f"Return-Path: <>\nFrom: MAILER-DAEMON@x.fr\nIn-Reply-To: {ID}\n\nUser unknown".encode()
    report = read_dsn(read(raw))
    assert (report.statuses, report.correlation.keys) == ((), (("in-reply-to", ID),))


def test_a_status_of_nobody_is_refused() -> None:
    with pytest.raises(Rejected, match="no recipient"):
        read_dsn(dsn(MESSAGE))


def test_another_mail_is_no_receipt() -> None:
    for reader in (read_dsn, read_mdn):
        with pytest.raises(Rejected, match="kind xdm"):
            reader(read(letter()))


@pytest.mark.parametrize(
    ("status", "diagnostic", "code"),
    [
        ("5.1.1", "smtp; 550 no", "550"),
        ("5.2.2", "smtp; 550 5.2.2 over quota", "552"),
        ("5.3.4", "", "523"),
        ("5.7.1", "smtp; 554 5.7.1 spam", "541"),
        ("5.0.0", "smtp; 553 no", "553"),
        ("5.0.0", "smtp; (553) no", "554"),
        ("5.0.0", "X-Unknown; 599 no", "554"),
        ("4.0.0", "smtp; nothing", "450"),
        ("", "550 no", "550"),
        ("", "", "554"),
    ],
)
def test_smtp_codes(status: str, diagnostic: str, code: str) -> None:
    block = recipient("a@x.fr", "failed", status, f"Diagnostic-Code: {diagnostic}")
    assert read_dsn(dsn(MESSAGE, block)).statuses[0].smtp_code == code
    assert code in SMTP_ERRORS


def test_no_patient_is_shown() -> None:
    matricule = PATIENT.partition("@")[0]
    words = f"smtp; 550 5.1.1 <{PATIENT}>: {matricule} unknown"
    report = read_dsn(dsn(MESSAGE, recipient(PATIENT, "failed", "5.1.1", f"Diagnostic-Code: {words}")))
    assert report.statuses[0].recipient == PATIENT
    assert matricule not in f"{report!r} {report.statuses[0].diagnostic}"


# -- MDN read --------------------------------------------------------------------------------------------------------

FIELDS = f"Reporting-UA: x\nOriginal-Recipient: rfc822;{BOX}\nFinal-Recipient: rfc822; other@chb.mssante.fr\n"
FIELDS += f"Original-Message-ID: {ID}\n"
AUTOMATIC = "Disposition: automatic-action/MDN-sent-automatically; "


@pytest.mark.parametrize(
    ("fields", "disposition", "failed", "code", "label"),
    [
        (AUTOMATIC + "processed", "processed", False, "", ""),
        (AUTOMATIC + "processed/error\nError: 902^Inconnu^x| E^Error^x", "processed", True, "902", "Inconnu"),
        (AUTOMATIC + "processed/Error: 903^Pas d'INS^messageError| E^Error^x", "processed", True, "903", "Pas d'INS"),
        ("Disposition:automatic-action/MDN-sent-automatically;processed/Error:904", "processed", True, "904", ""),
        (AUTOMATIC + "processed/ERROR\nError: 905 - incomplet", "processed", True, "905", "incomplet"),
        (AUTOMATIC + "processed/error\nError: =?utf-8?Q?902=5Ed=C3=A9j=C3=A0=5E?=", "processed", True, "902", "déjà"),
        (AUTOMATIC + "processed/error", "processed", True, "", ""),
        (AUTOMATIC + "processed/error\nError: something went wrong", "processed", True, "", "something went wrong"),
        (AUTOMATIC + "deleted/failure\nFailure: 207^x", "deleted", True, "207", "x"),
        (AUTOMATIC + "failed", "failed", True, "", ""),
        (AUTOMATIC + "processed/warning", "processed", False, "", ""),
        ("Disposition: manual-action/MDN-sent-manually; displayed", "displayed", False, "", ""),
        ("Disposition: manual-action/MDN-sent-automatically; deleted", "deleted", False, "", ""),
        ("Disposition: Manual-Action/MDN-sent-manually; Dispatched", "dispatched", False, "", ""),
        ("Disposition: displayed", "displayed", False, "", ""),
    ],
)  # fmt: skip
def test_both_forms_of_the_error_and_none(fields: str, disposition: str, failed: bool, code: str, label: str) -> None:
    report = read_mdn(mdn(FIELDS + fields))
    assert (report.disposition, report.failed, report.code, report.label) == (disposition, failed, code, label)
    assert report.manual is ("manual-action" in fields.lower())
    assert (report.recipient, report.final_recipient) == (BOX, "other@chb.mssante.fr")
    assert report.correlation.first("original-message-id") == ID


def test_the_subject_gives_the_code_that_the_fields_do_not() -> None:
    head = HEAD.replace(SUBJECT, f"[KO Intégration système !][906] {SUBJECT}")
    report = read_mdn(mdn(FIELDS + AUTOMATIC + "processed", head=head))
    assert (report.failed, report.code) == (True, "906")


def test_the_form_of_the_older_guide_which_is_no_valid_mime() -> None:
    """No empty line before the fields, dashes that close nothing, a blank in the message id."""
    raw = raw_mail(
        HEAD.replace(SUBJECT, f"[KO Intégration système !][902] {SUBJECT}"),
        "Le document n’a pas pu être intégré.\n902^Identifiant de patient inconnu",
        f"Content-Type: message/disposition-notification\nOriginal-Recipient: rfc822;{BOX} \n"
        f"Final-Recipient: rfc822; {BOX} \nOriginal-Message-ID: <1995.23456 >\n"
        "Disposition:automatic-action/MDN-sent-automatically; processed/Error: 902^Identifiant de patient inconnu",
        "Content-Type: message/rfc822\n\nIci le courriel.\n--B—\nContent-Type: application/zip",
        subtype="report; report-type=disposition-notification",
    )
    report = read_mdn(read(raw))
    assert (report.code, report.label, report.recipient) == ("902", "Identifiant de patient inconnu", BOX)
    assert report.correlation.first("original-message-id") == "<1995.23456>"


def test_fields_in_base64() -> None:
    fields = base64.encodebytes((FIELDS + AUTOMATIC + "processed/error\nError: 902^x").encode()).decode()
    assert read_mdn(mdn(fields, encoding="\nContent-Transfer-Encoding: base64")).code == "902"


@pytest.mark.parametrize("fields", ["", FIELDS, "Disposition: ", "Disposition: a; <script>"])
def test_an_mdn_without_disposition_is_refused(fields: str) -> None:
    with pytest.raises(Rejected, match="Disposition"):
        read_mdn(mdn(fields))


# -- whether to answer -----------------------------------------------------------------------------------------------


def test_an_mdn_goes_to_who_asked_for_it() -> None:
    assert may_notify(asked(), [BOX]) == ""
    assert may_answer(asked(), [BOX]) == ""


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Return-Path": "<>"}, "null"),
        ({"Auto-Submitted": "auto-generated"}, "Auto-Submitted"),
        ({"Auto-Submitted": "auto-replied"}, "answer"),
        ({"Precedence": "bulk"}, "bulk"),
        ({"List-Id": "<a.b>"}, "list"),
        ({"From": f"Nous <{BOX.upper()}>"}, "our own"),
        ({"Return-Path": f"<{BOX}>"}, "our own"),
        ({"Reply-To": BOX}, "our own"),
        ({"Subject": f"[KO Intégration système !][902] {SUBJECT}"}, "answer"),
        ({"From": "nobody"}, "From"),
    ],
)
def test_the_loop_guard(headers: dict[str, str], reason: str) -> None:
    mail = asked(**headers)
    assert reason in may_answer(mail, [BOX])
    assert reason in may_notify(mail, [BOX])


def test_a_report_is_never_answered() -> None:
    for raw in (mdn(FIELDS + AUTOMATIC + "processed"), dsn(MESSAGE, recipient("a@x.fr", "failed", "5.1.1")), read(b"")):
        assert may_answer(raw, [])
        assert may_notify(raw, [])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Disposition-Notification-To": ""}, "no MDN is asked for"),
        ({"Disposition-Notification-To": "nobody"}, "no MDN is asked for"),
        ({"Disposition-Notification-To": "other@hopital.mssante.fr"}, "differs from Return-Path"),
        ({"Disposition-Notification-To": f"{SENDER}, other@x.fr"}, "several"),
        ({"Return-Path": ""}, "no Return-Path"),
    ],
)
def test_no_mdn_while_a_mail_may_go(headers: dict[str, str], reason: str) -> None:
    mail = asked(**headers)
    assert reason in may_notify(mail, [BOX])
    assert may_answer(mail, [BOX]) == ""


def test_what_we_write_is_never_answered() -> None:
    answer = write_mdn(asked(), ANSWERER, faults=[UNKNOWN], date=NOW)
    back = read(b"Return-Path: <>\r\n" + answer.raw)
    assert may_answer(back, [])
    assert may_notify(back, [])


# -- MDN written -----------------------------------------------------------------------------------------------------


def test_a_negative_mdn_of_the_current_form() -> None:
    mail = asked(References="<old@z>")
    answer = write_mdn(mail, ANSWERER, faults=[UNKNOWN, AUTHOR], date=NOW)
    message = parsed(answer.raw)
    assert dict(message.items()) == {
        "From": '"CHB, service Y" <bal@chb.mssante.fr>',
        "To": SENDER,
        "Reply-To": "secretariat@chb.mssante.fr",
        "Subject": f"[KO Intégration système !][902] {SUBJECT}",
        "Date": "Mon, 23 Nov 2026 12:30:00 +0100",
        "Message-ID": answer.message_id,
        "In-Reply-To": ID,
        "References": f"<old@z> {ID}",
        "Auto-Submitted": "auto-replied",
        "X-MSS-NIL": "DEV935997",
        "MIME-Version": "1.0",
        "Content-Type": message["Content-Type"],
    }
    assert message["Content-Type"].params["report-type"] == "disposition-notification"
    text, fields, original = message.iter_parts()
    assert "902 - Identifiant patient inconnu" in text.get_content()
    assert "document 2 sur 2 : 901 - Auteur non autorisé" in text.get_content()
    block: Any = fields.get_payload()
    assert dict(block[0].items()) == {
        "Reporting-UA": "chb.mssante.fr; pfiflow",
        "Original-Recipient": f"rfc822;{BOX}",
        "Final-Recipient": f"rfc822;{BOX}",
        "Original-Message-ID": ID,
        "Disposition": "automatic-action/MDN-sent-automatically; processed/error",
        "Error": block[0].get_all("Error")[-1],
    }
    assert block[0].get_all("Error") == [
        "902^Identifiant patient inconnu^applicationErrorCondition| E^Error^errorSeverity",
        "901^Auteur non autorise a remplacer ou supprimer un document^applicationErrorCondition| E^Error^errorSeverity",
    ]
    assert original.get_content_type() == "message/rfc822"
    assert b"\r\n\r\n" + mail.raw + b"\r\n--=_" in answer.raw
    assert answer.raw.count(base64.encodebytes(ARCHIVE).replace(b"\n", b"\r\n")[:70]) == 1
    assert (answer.sender, answer.recipients, answer.notify) == ("", (SENDER,), ())


def test_a_positive_mdn() -> None:
    answer = write_mdn(asked(), ANSWERER, date=NOW)
    assert parsed(answer.raw)["Subject"] == SUBJECT
    report = read_mdn(read(answer.raw))
    assert (report.disposition, report.failed, report.code, report.manual) == ("processed", False, "", False)


def test_the_older_form_by_setting() -> None:
    older = attrs.evolve(ANSWERER, version="1.1.2", null_sender=False)
    answer = write_mdn(asked(), older, faults=[UNKNOWN], date=NOW)
    parts = list(parsed(answer.raw).iter_parts())
    assert [part.get_content_type() for part in parts][2:] == ["message/rfc822", "application/zip"]
    assert parts[3].get_content() == ARCHIVE
    assert parts[3].get_filename() == "IHE_XDM.zip"
    assert b"\nDisposition: automatic-action/MDN-sent-automatically; processed/Error: 902^" in answer.raw
    assert b"\nError:" not in answer.raw
    assert answer.sender == BOX


@pytest.mark.parametrize("version", ["1.1.3", "1.1.2"])
@pytest.mark.parametrize("faults", [(), (UNKNOWN,), (AUTHOR, UNKNOWN)])
def test_what_we_write_we_read(version: Any, faults: tuple[Fault, ...]) -> None:
    answer = write_mdn(asked(), attrs.evolve(ANSWERER, version=version), faults=faults, date=NOW)
    mail = read(answer.raw)
    report = read_mdn(mail)
    assert (mail.kind, mail.archives, mail.problems) == ("mdn", (), ())
    assert (report.failed, report.code) == (bool(faults), faults[0].code if faults else "")
    assert [key for key in report.correlation.keys if key[1] == ID] == [
        ("original-message-id", ID),
        ("returned-message-id", ID),
        ("in-reply-to", ID),
    ]


def test_every_attempt_gives_the_same_bytes_and_every_mailbox_its_own() -> None:
    mail = asked()
    first, again = write_mdn(mail, ANSWERER, date=NOW), write_mdn(read(mail.raw), ANSWERER, date=NOW)
    other = write_mdn(mail, attrs.evolve(ANSWERER, address="autre@chb.mssante.fr"), date=NOW)
    assert first == again
    assert first.message_id != other.message_id


def test_the_original_recipient_is_what_the_mail_says() -> None:
    answer = write_mdn(asked(**{"Original-Recipient": "rfc822;service@chb.mssante.fr"}), ANSWERER, date=NOW)
    assert read_mdn(read(answer.raw)).recipient == "service@chb.mssante.fr"
    internal = write_mdn(asked(**{"Delivered-To": "interne@chb.mssante.fr"}), ANSWERER, date=NOW)
    assert read_mdn(read(internal.raw)).recipient == BOX  # what our own servers wrote is nobody's business


def test_an_original_that_guesses_our_boundary() -> None:
    seed = write_mdn(asked(), ANSWERER, date=NOW)
    trap = f"--=_{seed.message_id[1:41]}"
    mail = read(letter(text=f"{trap}\n", headers={"Disposition-Notification-To": SENDER}))
    mail = read(mail.raw.replace(b"--=3D_", b"--=_"))
    assert trap.encode() in mail.raw
    answer = write_mdn(mail, ANSWERER, faults=[UNKNOWN], date=NOW)
    assert len(list(parsed(answer.raw).iter_parts())) == 3


def test_a_mail_in_8_bits_is_returned_in_7() -> None:
    raw = raw_mail(
        HEAD + f"\nDisposition-Notification-To: {SENDER}\nX-Raw: été",
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nBonjour été\n.\nfin",
        "Content-Type: application/zip\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(ARCHIVE).decode(),
        "Content-Type: message/rfc822\n\nFrom: a@b.fr\n\nété enclosé",
    ).replace(b"\r\n", b"\n")
    answer = write_mdn(read(raw), ANSWERER, faults=[UNKNOWN], date=NOW)
    assert answer.raw.isascii()
    assert answer.raw.count(b"\n") == answer.raw.count(b"\r\n") == answer.raw.count(b"\r")
    original: Any = list(parsed(answer.raw).iter_parts())[2].get_payload()
    text, archive, inner = original[0].iter_parts()
    assert text.get_content() == "Bonjour été\n.\nfin"
    assert archive.get_content() == ARCHIVE
    assert inner.get_payload()[0].get_payload(decode=True).decode() == "été enclosé"


@given(st.binary(max_size=300))
def test_whatever_was_received_is_returned_in_7_bits(noise: bytes) -> None:
    raw = f"From: {SENDER}\nDisposition-Notification-To: {SENDER}\nMessage-ID: {ID}\n".encode() + noise
    mail = read(raw)
    if not mail.notification_to:
        return
    answer = write_mdn(mail, ANSWERER, faults=[UNKNOWN], date=NOW)
    assert answer.raw.isascii()
    assert b"\0" not in answer.raw
    assert answer.raw.count(b"\n") == answer.raw.count(b"\r\n") == answer.raw.count(b"\r")
    assert read_mdn(read(answer.raw)).code == "902"


def test_too_large_an_answer_returns_the_headers_alone() -> None:
    mail = asked()
    answer = write_mdn(mail, attrs.evolve(ANSWERER, max_bytes=2_500), faults=[UNKNOWN], date=NOW)
    third = list(parsed(answer.raw).iter_parts())[2]
    assert third.get_content_type() == "text/rfc822-headers"
    assert f"Message-ID: {ID}" in third.get_content()
    assert base64.b64encode(ARCHIVE)[:40] not in answer.raw


def test_settings_that_cannot_be_written_are_all_told() -> None:
    broken = Answerer("no address", "x", "bad nil\r\nBcc: a@b.fr", contact="neither")
    with pytest.raises(Rejected) as caught:
        write_mdn(asked(), broken, date=NOW)
    assert [problem.location for problem in caught.value.problems] == ["From", "Reply-To", "X-MSS-NIL"]
    with pytest.raises(Rejected, match="To"):
        write_mdn(read(letter()), ANSWERER, date=NOW)
    with pytest.raises(ValueError, match="time zone"):
        write_mdn(asked(), ANSWERER, date=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_hostile_message_id_starts_no_header() -> None:
    raw = letter(headers={"Message-ID": "", "Disposition-Notification-To": SENDER})
    mail = read(b"Message-ID: <a@b\r\n \r\n Bcc: x@y.fr>\r\n" + raw)
    answer = write_mdn(mail, ANSWERER, faults=[UNKNOWN], date=NOW)
    assert "Bcc" not in parsed(answer.raw)


def test_a_status_shows_no_patient() -> None:
    assert "279035" not in repr(DeliveryStatus(PATIENT, "failed", "5.1.1"))
