"""The simulated operator: SMTP in, mailboxes out, delivery reports (RFC 3461) read by us and by the library."""

from __future__ import annotations

import email
import email.policy
import smtplib
from collections.abc import Iterator
from time import monotonic, sleep

import pytest

from pfiflow.mssante import reading
from pfiflow.mssante.notification import DeliveryReport, read_dsn
from pfiflow.simulators.mailboxes import StoredMail
from pfiflow.simulators.operator import MailOperator

A, B, FULL = "a@hopital.test", "b@hopital.test", "full@hopital.test"
MAIL = b"From: A <a@hopital.test>\r\nMessage-ID: <1@hopital.test>\r\nSubject: test\r\n\r\nBonjour\r\n"
ALL = "NOTIFY=SUCCESS,FAILURE,DELAY"


@pytest.fixture
def operator() -> Iterator[MailOperator]:
    with MailOperator(A, B, FULL) as running:
        running.bounce(FULL, "5.2.2", "552 5.2.2 mailbox full")
        yield running
    assert running.errors == []


def send(operator: MailOperator, *recipients: str, sender: str = A, notify: str = ALL, ret: str = "HDRS") -> None:
    with smtplib.SMTP("localhost", operator.port, timeout=10) as client:
        client.ehlo()
        assert client.mail(sender, [f"RET={ret}", "ENVID=one+2Btwo"])[0] == 250
        for recipient in recipients:
            options = [notify, f"ORCPT=rfc822;{recipient}"] if notify else []
            assert client.rcpt(recipient, options)[0] == 250
        assert client.data(MAIL)[0] == 250


def mails(operator: MailOperator, address: str, count: int = 1) -> list[StoredMail]:
    deadline = monotonic() + 20
    while len(found := operator.mailboxes.mails(address)) < count:
        assert monotonic() < deadline, f"{address} got {len(found)} mails"
        sleep(0.01)
    return found


def report(operator: MailOperator) -> tuple[DeliveryReport, bytes]:
    (mail,) = mails(operator, A)
    return read_dsn(reading.read(mail.content)), mail.content


def test_a_mail_is_delivered_and_the_sender_told(operator: MailOperator) -> None:
    send(operator, B)
    (mail,) = mails(operator, B)
    assert mail.content.endswith(MAIL)
    assert mail.content.startswith(b"Return-Path: <a@hopital.test>\r\nDelivered-To: b@hopital.test\r\nReceived: ")
    told, raw = report(operator)
    assert [(each.recipient, each.action, each.status) for each in told.statuses] == [(B, "delivered", "2.0.0")]
    assert told.correlation.first("envelope-id") == "one+two"
    assert told.correlation.first("returned-message-id") == "<1@hopital.test>"
    assert raw.startswith(b"Return-Path: <>\r\n")
    parsed = email.message_from_bytes(raw, policy=email.policy.default)  # a second reader
    assert [part.get_content_type() for part in parsed.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert b"Bonjour" not in raw


def test_one_report_for_all_recipients_of_a_mail(operator: MailOperator) -> None:
    send(operator, B, FULL)
    told, _ = report(operator)
    assert [(each.recipient, each.action, each.smtp_code) for each in told.statuses] == [
        (B, "delivered", ""),
        (FULL, "failed", "552"),
    ]
    assert operator.mailboxes.mails(FULL) == []


@pytest.mark.parametrize(
    ("recipient", "notify", "reported"),
    [
        (FULL, "", True),  # RFC 3461 §4.1: failures are told unless declined
        (FULL, "NOTIFY=NEVER", False),
        (FULL, "NOTIFY=SUCCESS", False),
        (FULL, "NOTIFY=FAILURE", True),
        (B, "", False),
        (B, "NOTIFY=FAILURE", False),
        (B, "NOTIFY=SUCCESS", True),
    ],
)
def test_who_is_told_what(operator: MailOperator, recipient: str, notify: str, reported: bool) -> None:
    send(operator, recipient, notify=notify)
    send(operator, B, notify=ALL)  # the queue is in order: its report comes last
    deadline = monotonic() + 20
    while not any(
        b"b@hopital.test\r\nAction: delivered" in mail.content for mail in operator.mailboxes.mails(A)[reported:]
    ):
        assert monotonic() < deadline
        sleep(0.01)
    assert len(operator.mailboxes.mails(A)) == 1 + reported


def test_a_report_is_never_reported_on(operator: MailOperator) -> None:
    send(operator, FULL, sender="")
    send(operator, B)
    assert len(mails(operator, A)) == 1
    told, _ = report(operator)
    assert [each.action for each in told.statuses] == ["delivered"]


@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
def test_what_comes_back(operator: MailOperator, ret: str) -> None:
    send(operator, FULL, ret=ret)
    told, raw = report(operator)
    assert told.correlation.first("returned-message-id") == "<1@hopital.test>"
    assert (b"Bonjour" in raw) == (ret == "FULL")


def test_unknown_here_is_refused_and_elsewhere_is_relayed(operator: MailOperator) -> None:
    with smtplib.SMTP("localhost", operator.port, timeout=10) as client:
        client.ehlo()
        client.mail(A)
        assert client.rcpt("nobody@hopital.test") == (550, b"5.1.1 no such mailbox here")
    send(operator, "dr@elsewhere.test")
    told, _ = report(operator)
    assert [each.action for each in told.statuses] == ["relayed"]


def test_without_a_list_every_address_has_a_mailbox() -> None:
    with MailOperator() as operator:
        send(operator, "anybody@anywhere.test", sender="pfi@hopital.test")
        assert len(mails(operator, "anybody@anywhere.test")) == 1
        assert len(mails(operator, "pfi@hopital.test")) == 1


def test_what_was_taken_is_delivered_though_it_stops() -> None:
    operator = MailOperator(delay=3600)
    with operator:
        send(operator, B)
    assert len(operator.mailboxes.mails(B)) == 1


def test_what_another_server_took(operator: MailOperator) -> None:
    operator.post(B, MAIL)
    assert reading.read(mails(operator, B)[0].content).return_path == A
