"""The doubles of the built-in endpoints: the endpoint's own code runs against what a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pfiflow.endpoints.mllp_double import MllpAnswer
from pfiflow.endpoints.smtp_client import SmtpClient, SmtpOptions
from pfiflow.endpoints.smtp_double import ScriptedServer, SmtpAnswer
from pfiflow.mssante.values import OutgoingMail
from pfiflow.routefile.environment import read_environment
from pfiflow.testing import Tester, assert_matches
from tests.system.service import ROOT

ROUTES = ROOT / "routes"
N1 = ROOT / "examples/messages/mdm_t02_n1.hl7"
RECEIPT = ROOT / "examples/receipts/zam_z02.hl7"
MAIL = ROOT / "examples/mails/xdm.eml"
PROFESSIONALS = {"audience": "professionals", "hl7-sender": "DPI-DEMO|HOPITAL-DEMO"}
FROM_DPI = {"hl7-sender": "DPI|HOPITAL"}


def _tester(name: str, *routes: str) -> Tester:
    environment: dict[str, str] = {}
    for path in sorted(ROUTES.glob("*.env.example")):
        environment.update(read_environment(path))
    environment["PFI_TEST_PLATFORM"] = "true"
    return Tester([ROUTES / name], environment, routes)


@pytest.fixture
def outbound() -> Iterator[Tester]:
    with _tester("outbound.yaml", "transmission", "mssante") as tester:
        yield tester


@pytest.fixture
def receipts() -> Iterator[Tester]:
    with _tester("receipts.yaml", "receipts") as tester:
        yield tester


@pytest.fixture
def inbound() -> Iterator[Tester]:
    with _tester("inbound.yaml", "mailbox") as tester:
        yield tester


# -- smtp-out --------------------------------------------------------------------------------------------------------


def _mail(tester: Tester, **answer: Any) -> tuple[str, str]:
    """One attempt at a mail: what came of it, and why."""
    tester.script("operator", **answer)
    tester.put("mail", N1, headers=PROFESSIONALS)
    tester.run(0)
    (attempt,) = tester.attempts
    return attempt.outcome, attempt.cause


@pytest.mark.parametrize(
    ("answer", "outcome", "cause"),
    [
        ({}, "accepted", ""),
        ({"connection": "refused"}, "deferred", "Connection refused"),
        ({"connection": "timeout"}, "deferred", "no answer in time"),
        ({"login": "535 5.7.8 Wrong password"}, "deferred", "login refused: 535"),
        ({"mail": "451 4.3.0 Later"}, "deferred", "MAIL: 451"),
        ({"mail": "550 5.7.1 Not you"}, "refused", "550 5.7.1 Not you"),
        ({"recipients": {"docteur.test@demo.mssante.fr": "550 5.1.1 Unknown"}}, "refused", "550 5.1.1 Unknown"),
        ({"recipients": {"Docteur.Test@demo.mssante.fr": "450 4.2.0 Later"}}, "deferred", "RCPT: 450"),
        ({"content": "552 5.3.4 Too large"}, "refused", "552 5.3.4 Too large"),
        ({"content": "451 4.3.0 Later"}, "deferred", "DATA: 451"),
        ({"content": "timeout"}, "deferred", "unknown whether delivered"),
        ({"content": "closed"}, "deferred", "unknown whether delivered"),
        ({"size": 1000}, "refused", "the limit is 1000"),
    ],
)
def test_smtp_out_makes_of_each_answer_what_it_does_of_a_server(
    outbound: Tester, answer: Any, outcome: str, cause: str
) -> None:
    found, why = _mail(outbound, **answer)
    assert found == outcome, why
    assert cause in why


def test_a_mail_counts_as_sent_where_the_server_may_have_taken_it(outbound: Tester) -> None:
    _mail(outbound, content="timeout")
    assert [sent.facts["recipients"] for sent in outbound.sent] == ["docteur.test@demo.mssante.fr"]


def test_a_mail_that_the_server_refused_has_not_left(outbound: Tester) -> None:
    _mail(outbound, content="552 5.3.4 Too large")
    assert outbound.sent == []


def test_dots_at_the_beginning_of_lines_come_out_as_they_went_in() -> None:
    sent: list[bytes] = []

    class Outside:
        answer = SmtpAnswer()

        def sent(self, content: bytes, /, **_facts: str) -> None:
            sent.append(content)

    raw = b"Subject: a\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n"
    mail = OutgoingMail(raw, "pfi@a.example", ("b@b.example",), "<1@a.example>")

    async def send() -> None:
        options = SmtpOptions(host="a.example", username="pfi@a.example", security="none", allow_plaintext=True)
        client = SmtpClient(options, ScriptedServer(Outside()).open_session)
        await client.send(mail)
        await client.aclose()

    asyncio.run(send())
    assert sent == [raw]


# -- mllp-out, mllp-in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome", "cause"),
    [
        ({}, "accepted", ""),
        ({"connection": "refused"}, "deferred", "cannot connect"),
        ({"connection": "timeout"}, "deferred", "cannot connect (timeout)"),
        ({"reply": "timeout"}, "deferred", "no acknowledgement within 30 s; unknown whether it was taken"),
        ({"reply": "closed"}, "deferred", "unknown whether it was taken"),
        ({"reply": "another"}, "deferred", "it acknowledged another message"),
        ({"code": "AE", "error": "207", "detail": "902"}, "refused", "207"),
        ({"code": "AE", "error": "101", "location": "PID-3.1"}, "refused", "101 at PID-3.1"),
        ({"code": "AR", "error": "207"}, "deferred", "AR"),
    ],
)
def test_mllp_out_makes_of_each_answer_what_it_does_of_a_listener(
    receipts: Tester, answer: Any, outcome: str, cause: str
) -> None:
    receipts.script("dpi", **answer)
    receipts.put("receipts", RECEIPT, headers=FROM_DPI)
    receipts.run(0)
    (attempt,) = receipts.attempts
    assert attempt.outcome == outcome, attempt.cause
    assert cause in attempt.cause


def test_mllp_in_answers_what_is_no_hl7(outbound: Tester) -> None:
    answer = outbound.give("transmission", b"hello")
    assert answer.outcome == "refused"
    assert_matches(answer.content, hl7={"MSA-1": "AE", "ERR-3": "100"})


def test_mllp_in_gives_the_headers_of_the_message(outbound: Tester) -> None:
    outbound.give("transmission", N1, headers={"hl7-sender": "made up"})
    (message, _), *_ = outbound.waiting("dmp")
    assert message.headers["hl7-sender"] == "DPI-DEMO|HOPITAL-DEMO"


# -- imap-in ---------------------------------------------------------------------------------------------------------


def test_imap_in_refuses_what_is_too_large_without_asking_the_route(inbound: Tester) -> None:
    answer = inbound.give("mailbox", MAIL.read_bytes() + b"x" * (51 * 2**20))
    assert (answer.outcome, answer.facts["folder"]) == ("refused", "PFI-Refuses")
    assert not any(line.event == "received" for line in inbound.seen.journal)


def test_imap_in_counts_uids_and_marks_each_mail(inbound: Tester) -> None:
    first = inbound.give("mailbox", MAIL)
    second = inbound.give("mailbox", MAIL, set={"Message-ID": "<other@nord.example>"})
    assert [each.facts["keyword"] for each in (first, second)] == ["$PfiflowDone", "$PfiflowDone"]
    uids = [message.headers["imap-uid"] for message, _ in inbound.waiting("delivery")]
    assert uids == ["1", "2"]


# -- what a test scripts ----------------------------------------------------------------------------------------------


def test_the_defaults_of_an_answer_are_a_destination_that_takes_what_it_gets() -> None:
    assert MllpAnswer().code == "AA"
    assert SmtpAnswer().content.startswith("250")


def test_an_endpoint_that_is_not_there_is_told(receipts: Tester) -> None:
    with pytest.raises(Exception, match=r"known: .*dpi"):
        receipts.script("dip", code="AE")


def test_nothing_is_read_from_the_settings_files(outbound: Tester) -> None:
    """Certificates, keys and seals of the settings do not exist here."""
    assert not Path("/etc/pfiflow/auth-cli.pem").exists()
    assert _mail(outbound)[0] == "accepted"
