"""`smtp-out`: what a mail's attempts make of its exchange, over attempts as an engine makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from pfiflow.endpoints.smtp import SmtpSink
from pfiflow.endpoints.smtp_client import SmtpOptions
from pfiflow.errors import Deferred, Rejected
from pfiflow.flow.exchange import Exchange
from pfiflow.mssante.values import OutgoingMail
from pfiflow.simulators.mail import MailSimulator

pytestmark = pytest.mark.anyio

A, B, C = "a@cabinet.mssante.fr", "b@cabinet.mssante.fr", "c@cabinet.mssante.fr"


@pytest.fixture
def server() -> Iterator[MailSimulator]:
    with MailSimulator() as simulator:
        yield simulator


@pytest.fixture
async def sink(server: MailSimulator) -> AsyncIterator[SmtpSink]:
    made = SmtpSink(SmtpOptions(host="127.0.0.1", port=server.port, security="none", auth="none"))
    yield made
    await made.aclose()


def exchange(*recipients: str, number: int = 1) -> Exchange[OutgoingMail]:
    raw = b"Subject: XDM/1.0/DDM+x\r\n\r\nBonjour\r\n"
    return Exchange("e1", OutgoingMail(raw, "pfi@ch.mssante.fr", recipients, f"<{number}@ch.mssante.fr>"))


async def attempt(sink: SmtpSink, current: Exchange[OutgoingMail]) -> Exchange[OutgoingMail]:
    """One attempt, or the exchange that the next one would start from."""
    try:
        return await sink.send(current)
    except Deferred as deferral:
        return current.with_headers(deferral.headers)


async def test_a_mail_taken_for_everybody(sink: SmtpSink, server: MailSimulator) -> None:
    sent = await sink.send(exchange(A, B))
    (note,) = sent.notes
    assert note.event == "mail-sent"
    assert note.facts["to"] == f"{A} {B}"
    assert note.facts["message_id"] == "<1@ch.mssante.fr>"
    assert sent.headers["smtp-refused"] == ""
    assert [mail.recipients for mail in server.received] == [(A, B)]


async def test_one_refused_is_final_for_that_one_alone(sink: SmtpSink, server: MailSimulator) -> None:
    server.script("RCPT", "550 5.1.1 unknown", address=B)
    sent = await sink.send(exchange(A, B, C))
    assert [note.event for note in sent.notes] == ["mail-sent", "recipient-refused"]
    assert sent.notes[0].facts["to"] == f"{A} {C}"
    assert sent.notes[1].facts["recipient"] == B
    assert sent.headers["smtp-refused"] == f"{B}:550"


async def test_one_later_gets_it_later_and_nobody_twice(sink: SmtpSink, server: MailSimulator) -> None:
    server.script("RCPT", "450 4.2.1 later", address=B, times=2)
    server.script("RCPT", "550 5.1.1 unknown", address=C)
    current = exchange(A, B, C)
    with pytest.raises(Deferred) as first:
        await sink.send(current)
    assert "450" in first.value.message
    assert B in first.value.message
    current = await attempt(sink, current.with_headers(first.value.headers))
    sent = await sink.send(current)
    assert [mail.recipients for mail in server.received] == [(A,), (B,)]
    assert sent.notes[0].facts["to"] == f"{A} {B}", "those of the first attempt are told as well"
    assert sent.headers["smtp-refused"] == f"{C}:550"


async def test_all_refused_over_several_attempts_is_a_refusal_of_each(sink: SmtpSink, server: MailSimulator) -> None:
    server.script("RCPT", "550 5.1.1 unknown", address=A)
    server.script("RCPT", "450 4.2.1 later", address=B, times=1)
    server.script("RCPT", "554 5.7.1 no", address=B)
    current = await attempt(sink, exchange(A, B))
    with pytest.raises(Rejected) as refusal:
        await sink.send(current)
    assert [problem.detail_code for problem in refusal.value.problems] == ["550", "554"]
    assert not server.received


async def test_a_patients_address_is_in_no_note_and_no_refusal(sink: SmtpSink, server: MailSimulator) -> None:
    patient = "279035121518989@patient.mssante.fr"
    sent = await sink.send(exchange(patient))
    assert "279035121518989" not in str(sent.notes)
    server.script("RCPT", "550 5.1.1 279035121518989@patient.mssante.fr unknown", address=patient)
    with pytest.raises(Rejected) as refusal:
        await sink.send(exchange(patient))
    assert "279035121518989" not in str(refusal.value)


async def test_a_server_that_is_down_opens_the_circuit(server: MailSimulator, sink: SmtpSink) -> None:
    server.stop()
    with pytest.raises(Deferred) as deferral:
        await sink.send(exchange(A))
    assert deferral.value.unavailable
    server.start()
    await sink.send(exchange(A))


async def test_what_one_mail_achieved_is_no_other_mails_progress(sink: SmtpSink, server: MailSimulator) -> None:
    """One exchange, split, sends two mails to the same mailboxes: the second is not taken for sent."""
    server.script("RCPT", "450 4.2.1 later", address=B, times=1)
    server.script("RCPT", "550 5.1.1 unknown", address=C, times=1)
    first = await attempt(sink, exchange(A, B, C))
    second = exchange(A, C, number=2).with_headers(first.headers)
    sent = await sink.send(second)
    assert sent.notes[0].facts["to"] == f"{A} {C}"
    assert sent.headers["smtp-refused"] == ""
    await sink.send(exchange(A, B, C).with_headers(sent.headers))
    assert [mail.recipients for mail in server.received] == [(A,), (A, C), (B,)]


async def test_a_mail_that_is_done_is_not_sent_again(sink: SmtpSink, server: MailSimulator) -> None:
    """The step after it failed, and the exchange comes again with what was achieved."""
    server.script("RCPT", "550 5.1.1 unknown", address=B)
    sent = await sink.send(exchange(A, B))
    again = await sink.send(exchange(A, B).with_headers(sent.headers))
    assert [mail.recipients for mail in server.received] == [(A,)]
    assert again.headers == sent.headers
    assert again.notes[0].facts["to"] == A


async def test_a_header_may_be_called_as_a_fact_that_is_remembered(sink: SmtpSink) -> None:
    sent = await sink.send(exchange(A).with_headers({"recipients": "all of them"}))
    assert sent.memories[0].facts["recipients"] == A
