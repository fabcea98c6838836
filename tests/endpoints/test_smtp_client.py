from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfiflow.endpoints.smtp_client import Delivery, MailDeferred, MailRejected, SmtpClient, SmtpOptions
from pfiflow.endpoints.smtp_session import SmtpSession
from pfiflow.endpoints.smtp_transaction import _stuffed, xtext
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.options import Duration, Secret, Size
from pfiflow.mssante import mime
from pfiflow.mssante.values import OutgoingMail
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.mail import MailSimulator, Stage
from tests.flow.bakery import eventually

SENDER = "pfi@hopital.mssante.fr"
A, B, C = "a@cabinet.mssante.fr", "b@cabinet.mssante.fr", "c@cabinet.mssante.fr"
INS = "279035121518989"
PATIENT = f"{INS}@patient.mssante.fr"
SUBJECT = b"XDM/1.0/DDM+Compte rendu PAT-TROIS\r\n DOMINIQUE 28/03/1979"
RAW = b"Subject: " + SUBJECT + b"\r\n\r\nBonjour\r\n.\r\n..point\r\n" + b"x" * 76 + b"\r\n"
T = TypeVar("T")


def mail(*recipients: str, raw: bytes | mime.Content = RAW, sender: str = SENDER, **changes: Any) -> OutgoingMail:
    return OutgoingMail(
        content=raw, sender=sender, recipients=recipients or (A,), message_id="<1@hopital.mssante.fr>", **changes
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> TlsOptions:
    issued = authority.issue("localhost", "127.0.0.1")
    return TlsOptions(ca=(authority.certificate,), certificate=issued.certificate, key=issued.key)


@pytest.fixture(scope="module")
def client_certificate(authority: Authority) -> Credentials:
    return authority.issue(SENDER)


@pytest.fixture
def simulator(server_tls: TlsOptions) -> Iterator[MailSimulator]:
    with MailSimulator(tls=server_tls, logins={SENDER: ""}) as server:
        yield server
    assert server.errors == []


@pytest.fixture
def plain() -> Iterator[MailSimulator]:
    with MailSimulator() as server:
        yield server
    assert server.errors == []


@pytest.fixture
def secure(simulator: MailSimulator, authority: Authority, client_certificate: Credentials) -> SmtpOptions:
    return SmtpOptions(
        host="127.0.0.1",
        port=simulator.port,
        tls=TlsOptions(
            ca=(authority.certificate,), certificate=client_certificate.certificate, key=client_certificate.key
        ),
        username=SENDER,
        local_hostname="pfi.localhost",
    )


def open_to(port: int, **changes: Any) -> SmtpOptions:
    return SmtpOptions(
        **{"host": "127.0.0.1", "port": port, "security": "none", "auth": "none", "local_hostname": "pfi", **changes}
    )


def with_client(options: SmtpOptions, work: Callable[[SmtpClient], Awaitable[T]]) -> T:
    async def run() -> T:
        client = SmtpClient(options)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(run())


def send(options: SmtpOptions, message: OutgoingMail, already_done: frozenset[str] = frozenset()) -> Delivery:
    return with_client(options, lambda client: client.send(message, already_done=already_done))


def addresses(recipients: tuple[Any, ...]) -> list[str]:
    return [recipient.address for recipient in recipients]


# --- the way in -----------------------------------------------------------------------------------------------------


def test_a_mail_goes_over_starttls_with_certificate_and_login(simulator: MailSimulator, secure: SmtpOptions) -> None:
    delivery = send(secure, mail(A, B, envelope_id="id+1=x y", notify=("SUCCESS", "FAILURE")))
    assert addresses(delivery.accepted) == [A, B]
    assert (delivery.refused, delivery.deferred, delivery.message_size) == ((), (), len(RAW))
    assert delivery.response == "2.0.0 accepted"
    (received,) = simulator.received
    assert received.content == RAW
    assert (received.sender, received.recipients, received.login) == (SENDER, (A, B), SENDER)
    assert received.certificate_subject
    assert received.mail_parameters == "RET=HDRS ENVID=id+2B1+3Dx+20y"
    assert received.recipient_parameters == tuple(f"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{r}" for r in (A, B))
    assert simulator.counts["EHLO"] == 2
    assert simulator.counts["QUIT"] == 1


def test_no_dsn_parameter_where_it_is_not_offered_or_not_wanted(plain: MailSimulator) -> None:
    plain.dsn = False
    assert send(open_to(plain.port), mail(envelope_id="x", notify=("SUCCESS",))).accepted
    plain.dsn = True
    assert send(open_to(plain.port, dsn=False), mail(envelope_id="x", notify=("SUCCESS",))).accepted
    assert send(open_to(plain.port), mail(envelope_id="x" * 101)).accepted
    assert [m.mail_parameters for m in plain.received] == ["", "", "RET=HDRS"]


def test_the_null_sender(plain: MailSimulator) -> None:
    send(open_to(plain.port), mail(sender=""))
    assert plain.received[0].sender == ""


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("CONNECT", "554 5.3.2 no"), ("CONNECT", "421 4.3.2 busy"), ("EHLO", "502 no"),
        ("STARTTLS", "454 4.7.0 not now"), ("AUTH", "535 5.7.8 bad credentials"), ("AUTH", "454 4.7.0 later"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("close", [False, True])
def test_whatever_stands_in_the_way_in_defers(
    simulator: MailSimulator, secure: SmtpOptions, stage: Stage, reply: str, close: bool
) -> None:
    simulator.script(stage, reply, close=close)
    with pytest.raises(Deferred):
        send(secure, mail())
    assert simulator.counts["MAIL"] == 0


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "STARTTLS", "AUTH"])
def test_a_connection_cut_on_the_way_in_defers(simulator: MailSimulator, secure: SmtpOptions, stage: Stage) -> None:
    simulator.script(stage, close=True)
    with pytest.raises(Deferred):
        send(secure, mail())


def test_starttls_taken_away_sends_nothing_in_clear(authority: Authority, plain: MailSimulator) -> None:
    options = open_to(
        plain.port, security="starttls", auth="plain", username=SENDER, tls=TlsOptions(ca=(authority.certificate,))
    )
    with pytest.raises(Deferred, match="STARTTLS"):
        send(options, mail())
    assert plain.counts["AUTH"] == plain.counts["MAIL"] == 0


def test_certificates_decide(
    simulator: MailSimulator, secure: SmtpOptions, authority: Authority, tmp_path: Path
) -> None:
    assert secure.tls is not None
    yesterday = datetime.now(UTC) - timedelta(days=1)
    stranger = Authority(tmp_path / "stranger")
    expired, foreign = authority.issue(SENDER, not_after=yesterday), stranger.issue(SENDER)
    ca = (authority.certificate,)
    cases = {
        "certificate was refused": TlsOptions(ca=(stranger.certificate,)),
        "our TLS certificate": TlsOptions(ca=ca, certificate=expired.certificate, key=expired.key),
        "cannot open": TlsOptions(ca=ca),
        "cannot open a": TlsOptions(ca=ca, certificate=foreign.certificate, key=foreign.key),
        "TLS settings": TlsOptions(ca=(tmp_path / "absent",)),
    }
    for words, tls in cases.items():
        with pytest.raises(Deferred, match=words):
            send(open_to(simulator.port, security="starttls", tls=tls), mail())
    assert simulator.counts["MAIL"] == 0


def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(Deferred, match="cannot open a session"):
            send(open_to(reserved.getsockname()[1]), mail())


def test_a_server_that_says_nothing_is_left(plain: MailSimulator) -> None:
    plain.script("CONNECT", delay=30)
    started = monotonic()
    with pytest.raises(Deferred):
        send(open_to(plain.port, connect_timeout=0.2), mail())
    assert monotonic() - started < 25


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "mail.example"}, "in clear"),
        ({"security": "starttls"}, "needs the tls settings"),
        ({"auth": "plain"}, "username"),
        ({"pool_size": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SmtpClient(open_to(25, **changes))


def test_clear_text_beyond_loopback_needs_to_be_wanted() -> None:
    SmtpClient(open_to(25, host="mail.example", allow_plaintext=True))
    for host in ("localhost", "127.0.0.2", "::1"):
        SmtpClient(open_to(25, host=host))


def test_the_password_is_in_no_repr() -> None:
    assert "sesame" not in repr(open_to(25, password=Secret("sesame")))


# --- each recipient alone -------------------------------------------------------------------------------------------


def test_a_refused_recipient_is_refused_alone(plain: MailSimulator) -> None:
    plain.script("RCPT", "550 5.1.1 no such mailbox", address=B)
    delivery = send(open_to(plain.port), mail(A, B, C))
    assert addresses(delivery.accepted) == [A, C]
    (refused,) = delivery.refused
    assert (refused.address, refused.code, refused.status, refused.text, refused.stage) == (
        B, 550, "5.1.1", "no such mailbox", "RCPT",
    )  # fmt: skip
    assert delivery.settled == {A, B, C}
    assert plain.received[0].recipients == (A, C)


def test_nobody_receives_twice_and_nobody_is_forgotten(plain: MailSimulator) -> None:
    plain.script("RCPT", "450 4.2.1 greylisted", address=B, times=1)
    first = send(open_to(plain.port), mail(A, B, C))
    assert addresses(first.accepted) == [A, C]
    assert [(r.address, r.code, r.status) for r in first.deferred] == [(B, 450, "4.2.1")]
    second = send(open_to(plain.port), mail(A, B, C), first.settled)
    assert addresses(second.accepted) == [B]
    third = send(open_to(plain.port), mail(A, B, C), first.settled | second.settled)
    assert third == Delivery(message_size=len(RAW))
    assert [m.recipients for m in plain.received] == [(A, C), (B,)]
    assert plain.counts["CONNECT"] == 2


def test_all_refused_rejects_with_every_problem(plain: MailSimulator) -> None:
    plain.script("RCPT", "550 5.1.1 unknown", address=A)
    plain.script("RCPT", "552 5.2.2 full", address=PATIENT)
    with pytest.raises(MailRejected) as caught:
        send(open_to(plain.port), mail(A, PATIENT))
    assert [(p.detail_code, p.location, p.message) for p in caught.value.problems] == [
        ("550", f"RCPT TO {A}", "550 5.1.1 unknown"),
        ("552", "RCPT TO ***@patient.mssante.fr", "552 5.2.2 full"),
    ]
    assert addresses(caught.value.delivery.refused) == [A, PATIENT]
    assert plain.counts["DATA"] == 0
    assert plain.counts["RSET"] == 1


def test_all_deferred_defers(plain: MailSimulator) -> None:
    plain.script("RCPT", "451 4.7.1 later")
    with pytest.raises(MailDeferred, match="RCPT: 451 later"):
        send(open_to(plain.port), mail(A, B))


def test_refused_and_deferred_are_told_apart(plain: MailSimulator) -> None:
    plain.script("RCPT", "550 no", address=A)
    plain.script("RCPT", "450 later", address=B)
    delivery = send(open_to(plain.port), mail(A, B))
    assert (addresses(delivery.refused), addresses(delivery.deferred)) == ([A], [B])


def test_a_late_refusal_does_not_reject_what_others_have_received(plain: MailSimulator) -> None:
    plain.script("RCPT", "550 no", address=B)
    delivery = send(open_to(plain.port), mail(A, B), frozenset({A}))
    assert addresses(delivery.refused) == [B]


@pytest.mark.parametrize("stage", ["MAIL", "DATA", "BODY"])
def test_the_mail_itself_refused(plain: MailSimulator, stage: Stage) -> None:
    plain.script(stage, "554 5.7.1 not from you", times=1)
    with pytest.raises(MailRejected) as caught:
        send(open_to(plain.port), mail(A, B))
    (problem,) = caught.value.problems
    assert problem.detail_code == "554"
    assert "5.7.1 not from you" in problem.message
    plain.script(stage, "451 4.3.0 try later", times=1)
    with pytest.raises(MailDeferred, match="451 try later"):
        send(open_to(plain.port), mail(A, B))
    assert send(open_to(plain.port), mail(A, B)).accepted
    assert len(plain.received) == 1


def test_a_refusal_at_the_end_concerns_those_accepted_so_far(plain: MailSimulator) -> None:
    plain.script("RCPT", "450 later", address=B)
    plain.script("BODY", "554 5.6.0 no")
    delivery = send(open_to(plain.port), mail(A, B))
    assert (addresses(delivery.refused), addresses(delivery.deferred)) == ([A], [B])


def test_too_many_recipients_is_temporary(plain: MailSimulator) -> None:
    plain.script("RCPT", "552 too many", address=B)
    delivery = send(open_to(plain.port), mail(A, B))
    assert [(r.address, r.code) for r in delivery.deferred] == [(B, 452)]
    plain.clear_script()
    plain.script("RCPT", "552 5.2.2 mailbox full", address=B)
    assert addresses(send(open_to(plain.port), mail(A, B)).refused) == [B]


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "BODY"])
def test_421_defers_everybody_and_ends_the_connection(plain: MailSimulator, stage: Stage) -> None:
    plain.script(stage, "421 4.3.2 closing", address=B if stage == "RCPT" else "", times=1)

    async def work(client: SmtpClient) -> None:
        with pytest.raises(MailDeferred) as caught:
            await client.send(mail(A, B, C))
        assert addresses(caught.value.delivery.deferred) == [A, B, C]
        assert not caught.value.delivery.outcome_unknown
        assert (await client.send(mail(A, B, C))).accepted

    with_client(open_to(plain.port), work)
    assert plain.counts["CONNECT"] == 2
    assert len(plain.received) == 1


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_connection_cut_before_the_content_defers(plain: MailSimulator, stage: Stage) -> None:
    plain.script(stage, close=True, times=1)
    with pytest.raises(MailDeferred) as caught:
        send(open_to(plain.port), mail(A, B))
    assert addresses(caught.value.delivery.deferred) == [A, B]
    assert not caught.value.delivery.outcome_unknown
    assert plain.received == []


@pytest.mark.parametrize("keep", [False, True])
def test_no_answer_to_the_final_dot_is_unknown(plain: MailSimulator, keep: bool) -> None:
    plain.script("BODY", close=True, keep=keep, times=1)
    plain.script("RCPT", "550 no", address=B, times=1)
    delivery = send(open_to(plain.port), mail(A, B))
    assert delivery.outcome_unknown
    assert addresses(delivery.refused) == [B]
    assert [(r.address, r.stage) for r in delivery.deferred] == [(A, "CONNECTION")]
    assert "unknown whether delivered" in delivery.deferred[0].text
    assert len(plain.received) == keep


def test_a_slow_answer_to_the_final_dot_is_unknown(plain: MailSimulator) -> None:
    plain.script("BODY", delay=5)
    with pytest.raises(MailDeferred, match=r"unknown whether delivered.*no answer in time") as caught:
        send(open_to(plain.port, data_timeout=1.5), mail())
    assert caught.value.delivery.outcome_unknown


def test_a_slow_command_defers(plain: MailSimulator) -> None:
    plain.script("RCPT", delay=5)
    with pytest.raises(MailDeferred, match="no answer in time") as caught:
        send(open_to(plain.port, command_timeout=2.0), mail())
    assert not caught.value.delivery.outcome_unknown


def test_a_server_that_leaves_amid_the_content_has_not_taken_it(plain: MailSimulator) -> None:
    plain.script("DATA", "354 go on\r\n421 4.3.2 closing", close=True)
    with pytest.raises(MailDeferred) as caught:
        send(open_to(plain.port), mail(raw=RAW + b"y" * 76 * 200_000 + b"\r\n"))
    assert not caught.value.delivery.outcome_unknown


def test_a_refusal_amid_the_content_is_heard() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb", buffering=0) as stream:
            stream.write(b"220 x\r\n")
            while line := stream.readline():
                if line.startswith(b"DATA"):
                    stream.write(b"354 go on\r\n")
                    stream.read(100_000)
                    stream.write(b"552 5.3.4 too much\r\n")
                    while stream.read(100_000):
                        pass
                    return
                stream.write(b"250 ok\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    with listener, pytest.raises(MailRejected, match=r"5\.3\.4 too much"):
        send(open_to(listener.getsockname()[1]), mail(raw=RAW + b"y" * 76 * 400_000 + b"\r\n"))
    thread.join()


def test_sizes_are_checked_before_the_transaction(server_tls: TlsOptions) -> None:
    with MailSimulator(size_limit=1000) as plain:
        large = mail(raw=RAW + b"y" * 1000 + b"\r\n")
        with pytest.raises(MailRejected, match="limit is 1000") as caught:
            send(open_to(plain.port), large)
        assert caught.value.problems[0].detail_code == "552"
        assert plain.counts["MAIL"] == 0
        with pytest.raises(MailRejected, match="limit is 100"):
            send(open_to(plain.port, max_size=Size(100)), large)
        assert plain.counts["CONNECT"] == 1


def test_an_address_that_would_inject_a_command_is_refused_alone(plain: MailSimulator) -> None:
    evil = f"x@y.fr>\r\nRCPT TO:<{B}"
    delivery = send(open_to(plain.port), mail(A, evil))
    assert addresses(delivery.accepted) == [A]
    assert [(r.code, r.stage) for r in delivery.refused] == [(553, "ADDRESS")]
    assert plain.counts["RCPT"] == 1


# --- what is said of it ---------------------------------------------------------------------------------------------


def test_neither_patient_nor_content_reaches_texts(plain: MailSimulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pfiflow")
    plain.script("RCPT", f"550 5.1.1 <{PATIENT}>: user {INS} unknown", address=PATIENT, times=1)
    plain.script("BODY", "554 5.6.0 header 'Subject: compte rendu Pat-Trois' refused", times=1)
    seen = []
    for _ in range(2):
        with pytest.raises(MailRejected) as caught:
            send(open_to(plain.port), mail(PATIENT))
        seen += [
            str(caught.value),
            repr(caught.value),
            repr(caught.value.delivery),
            str(caught.value.delivery.refused[0]),
        ]
    everything = " ".join((*seen, caplog.text))
    assert INS not in everything
    assert "trois" not in everything.casefold()
    assert "5.6.0" in everything
    assert "***@patient.mssante.fr" in everything


def test_a_servers_words_are_bounded_and_on_one_line(plain: MailSimulator) -> None:
    plain.script("RCPT", "550-5.1.1 first\r\n550 5.1.1 " + "long " * 300)
    with pytest.raises(MailRejected) as caught:
        send(open_to(plain.port), mail())
    (problem,) = caught.value.problems
    assert len(problem.message) < 350
    assert problem.message.isprintable()


# --- the connections ------------------------------------------------------------------------------------------------


def test_a_connection_is_kept_and_reused(simulator: MailSimulator, secure: SmtpOptions) -> None:
    async def work(client: SmtpClient) -> None:
        for _ in range(3):
            await client.send(mail())

    with_client(secure, work)
    assert len(simulator.received) == 3
    assert simulator.counts["CONNECT"] == simulator.counts["AUTH"] == simulator.counts["QUIT"] == 1


def test_a_connection_is_renewed_after_its_mails_or_its_rest(plain: MailSimulator) -> None:
    async def work(client: SmtpClient) -> None:
        for _ in range(4):
            await client.send(mail())
        assert plain.counts["CONNECT"] == 2
        await eventually(lambda: plain.counts["QUIT"] == 2)
        await client.send(mail())

    with_client(open_to(plain.port, max_mails=2, idle_timeout=Duration(2.0)), work)
    assert plain.counts["CONNECT"] == 3


def test_a_dead_connection_is_replaced_before_the_transaction(plain: MailSimulator) -> None:
    async def work(client: SmtpClient) -> None:
        await client.send(mail())
        plain.drop_connections()
        await asyncio.sleep(0.1)
        assert (await client.send(mail())).accepted
        # The server leaves as the next mail begins: nothing transacted yet, so another connection takes over.
        plain.script("MAIL", "421 4.4.2 idle too long", close=True, times=1)
        assert (await client.send(mail())).accepted
        plain.script("MAIL", close=True, times=1)
        assert (await client.send(mail())).accepted

    with_client(open_to(plain.port), work)
    assert len(plain.received) == 4
    assert plain.counts["CONNECT"] == 4


def test_a_connection_silent_for_long_is_asked_first(plain: MailSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfiflow.endpoints.smtp_client._PROBE_AFTER", 0.0)

    async def work(client: SmtpClient) -> None:
        await client.send(mail())
        await client.send(mail())
        plain.script("NOOP", delay=30)
        assert (await client.send(mail())).accepted

    with_client(open_to(plain.port, command_timeout=Duration(3.0)), work)
    assert plain.counts["NOOP"] == 2
    assert plain.counts["CONNECT"] == 2


@pytest.mark.anyio
async def test_a_connection_is_left_by_nobody_when_its_probe_is_cancelled(plain: MailSimulator) -> None:
    plain.script("NOOP", delay=30)
    session = await SmtpSession.open(open_to(plain.port), None)
    probe = asyncio.create_task(session.probe())
    await eventually(lambda: plain.counts["NOOP"] == 1)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert not session.usable


def test_the_pool_is_bounded_and_used(plain: MailSimulator) -> None:
    plain.script("MAIL", delay=0.1)

    async def work(client: SmtpClient) -> None:
        await asyncio.gather(*(client.send(mail()) for _ in range(9)))

    with_client(open_to(plain.port, pool_size=3), work)
    assert len(plain.received) == 9
    assert plain.counts["CONNECT"] == 3


def test_a_cancelled_send_leaves_no_half_transaction(plain: MailSimulator) -> None:
    async def work(client: SmtpClient) -> None:
        plain.script("RCPT", delay=1, times=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send(mail()), 0.2)
        assert (await client.send(mail(B))).accepted

    with_client(open_to(plain.port), work)
    assert [m.recipients for m in plain.received] == [(B,)]
    assert plain.counts["CONNECT"] == 2


# --- the bytes ------------------------------------------------------------------------------------------------------


def test_a_large_mail_arrives_unchanged(simulator: MailSimulator, secure: SmtpOptions) -> None:
    raw = RAW + b"".join(b".%075d\r\n" % number for number in range(40_000))
    assert len(raw) > 3_000_000
    send(secure, mail(raw=raw))
    assert simulator.received[0].content == raw


@pytest.mark.parametrize("size", [0, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 256 * 1024])
def test_mails_of_every_size_arrive_unchanged(plain: MailSimulator, size: int) -> None:
    lines = b"y" * 76 + b"\r\n"
    raw = (lines * (size // len(lines) + 1))[:size].rstrip(b"\r") + b"\r\n"
    send(open_to(plain.port), mail(raw=raw))
    assert plain.received[0].content == raw


def test_a_mail_made_while_it_is_sent_arrives_as_it_is(plain: MailSimulator) -> None:
    attached = mime.attachment("a.pdf", "application/pdf", bytes(range(256)) * 4_000)
    content = mime.Content([b"Subject: x"], [[b"Content-Type: text/plain", b"", b".", b"..", b"end"], attached], "=_x")
    send(open_to(plain.port), mail(raw=content))
    assert plain.received[0].content == bytes(content)


@given(st.text(alphabet=".\r\na", max_size=40).map(str.encode))
@example(b".")
@example(b"a\n.\r\na")
@settings(max_examples=300)
def test_no_line_can_end_the_content(raw: bytes) -> None:
    stuffed = _stuffed(raw)
    for ending in (b"\r\n", b"\n", b"\r"):
        for before in (b"\n.", b"\r."):
            assert before + ending not in b"\n" + stuffed
    if b"\r" not in raw.replace(b"\r\n", b"") and b"\n" not in raw.replace(b"\r\n", b""):
        lines = stuffed.split(b"\r\n")
        assert b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines) == raw


def test_a_mail_without_a_leading_dot_is_not_copied() -> None:
    raw = b"a.b\r\nc.\r\n"
    assert _stuffed(raw) is raw


def test_xtext() -> None:
    assert xtext("a+b=c d\x7fé") == "a+2Bb+3Dc+20d+7F+C3+A9"
    assert xtext(PATIENT) == PATIENT
