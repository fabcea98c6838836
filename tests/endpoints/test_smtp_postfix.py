"""The SMTP client against a real Postfix: STARTTLS with client certificate, DSN, mixed refusals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import Message

import pytest

from pfiflow.endpoints.smtp_client import Delivery, MailRejected, SmtpClient, SmtpOptions
from pfiflow.endpoints.tls import CONF_03_SUITES, TlsOptions
from pfiflow.errors import Deferred
from pfiflow.mssante.message import Attachment, build, message_id
from pfiflow.mssante.values import OutgoingMail
from pfiflow.simulators.certificates import Authority
from tests.endpoints.postfix import Postfix, reason_not_to_run

pytestmark = pytest.mark.skipif(bool(reason_not_to_run()), reason=reason_not_to_run() or "runs")

SENDER = "pfi@hopital.test"
ACCEPTED, OTHER, LATER, UNKNOWN = (f"{name}@cabinet.test" for name in ("accepted", "other", "later", "unknown"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def postfix(authority: Authority) -> Iterator[Postfix]:
    with Postfix(authority, (SENDER, ACCEPTED, OTHER, LATER), {LATER: "450 4.2.1 come back later"}) as server:
        yield server


@pytest.fixture
def options(authority: Authority, postfix: Postfix) -> SmtpOptions:
    ours = authority.issue(SENDER)
    return SmtpOptions(
        host="localhost",
        port=postfix.port,
        auth="none",
        tls=TlsOptions(ca=(authority.certificate,), certificate=ours.certificate, key=ours.key),
        local_hostname="pfi.localhost",
    )


def mail(exchange: str, *recipients: str, receipt_wanted: bool = False) -> OutgoingMail:
    return build(
        archive=b"PK\x03\x04" + bytes(range(256)) * 1500,
        documents=[Attachment("20240502_Compte rendu_PAT-TROIS_Éloïse.pdf", b"%PDF" + bytes(range(256)) * 500)],
        labels=["Compte rendu"],
        family="PAT-TROIS",
        given="DOMINIQUE",
        sender=SENDER,
        sender_label="Hôpital",
        reply_to=SENDER,
        recipients=recipients,
        text=".\n..\nTexte",
        message_id=message_id(exchange, "professionals", "hopital.test"),
        date=datetime(2024, 5, 2, tzinfo=UTC),
        nil="DEV1",
        ins_qualified=True,
        cda_codes=("11490-0",),
        receipt_wanted=receipt_wanted,
    )


def send(options: SmtpOptions, message: OutgoingMail) -> Delivery:
    async def run() -> Delivery:
        client = SmtpClient(options)
        try:
            return await client.send(message)
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_the_mail_and_its_receipts_arrive(options: SmtpOptions, postfix: Postfix) -> None:
    sent = mail("receipts", OTHER, receipt_wanted=True)
    delivery = send(options, sent)
    assert [(r.address, r.code, r.status) for r in delivery.accepted] == [(OTHER, 250, "2.0.0")]
    (received,) = postfix.mails(OTHER)
    _, _, body = sent.raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    assert received.rstrip(b"\n").endswith(body.rstrip(b"\n"))
    parsed = message_from_bytes(received, policy=policy.default)
    assert parsed["Message-ID"] == sent.message_id
    assert parsed["X-MSS-CODECDA"] == "11490-0"

    (receipt,) = postfix.mails(SENDER)
    report = message_from_bytes(receipt)
    assert report.get_content_type() == "multipart/report"
    parts = report.get_payload()
    assert isinstance(parts, list)
    status = parts[1]
    assert isinstance(status, Message)
    blocks = status.get_payload()
    assert isinstance(blocks, list)
    per_message, per_recipient = blocks
    assert isinstance(per_message, Message)
    assert isinstance(per_recipient, Message)
    assert per_message["Original-Envelope-Id"] == sent.envelope_id
    assert per_recipient["Original-Recipient"] == f"rfc822;{OTHER}"
    assert per_recipient["Action"] == "delivered"
    assert b"PK" not in receipt  # RET=HDRS: the document does not come back
    assert len(receipt) < 10_000


def test_recipients_are_decided_alone(options: SmtpOptions, postfix: Postfix) -> None:
    delivery = send(options, mail("mixed", UNKNOWN, ACCEPTED, LATER))
    assert [r.address for r in delivery.accepted] == [ACCEPTED]
    assert [(r.address, r.code, r.status, r.stage) for r in delivery.refused] == [(UNKNOWN, 550, "5.1.1", "RCPT")]
    assert [(r.address, r.code, r.status, r.stage) for r in delivery.deferred] == [(LATER, 450, "4.2.1", "RCPT")]
    # The mailbox holds other tests' mails too: one of those may be there first.
    this_mail = message_id("mixed", "professionals", "hopital.test").encode()
    assert len(postfix.mails(ACCEPTED, holding=this_mail)) == 1


def test_nobody_accepted(options: SmtpOptions) -> None:
    with pytest.raises(MailRejected) as caught:
        send(options, mail("refused", UNKNOWN))
    assert [problem.detail_code for problem in caught.value.problems] == ["550"]


def test_no_client_certificate_no_mail(options: SmtpOptions, postfix: Postfix) -> None:
    assert options.tls is not None
    bare = SmtpOptions(host="localhost", port=postfix.port, auth="none", tls=TlsOptions(ca=options.tls.ca))
    with pytest.raises(Deferred):
        send(bare, mail("bare", ACCEPTED))


def test_a_connection_with_a_suite_of_the_list_serves_again(options: SmtpOptions, postfix: Postfix) -> None:
    async def run() -> None:
        client = SmtpClient(options)
        try:
            for number in range(3):
                assert (await client.send(mail(f"again {number}", ACCEPTED))).accepted
        finally:
            await client.aclose()

    before = len(postfix.quiet_log())  # another test's connection may still be being logged
    asyncio.run(run())
    log = postfix.quiet_log()[before:]
    assert log.count("]: connect from localhost") == 1
    suites = re.findall(r"Trusted TLS connection established .*: TLSv1\.2 with cipher (\S+)", log)
    assert len(suites) == 1
    assert suites[0] in CONF_03_SUITES
