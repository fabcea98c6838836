"""The simulator over the network: TLS, HTTP, and every way in which it can be told to misbehave."""

from __future__ import annotations

import http.client
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pfiflow.dmp import answers, response
from pfiflow.dmp.answers import Reply, Transaction
from pfiflow.errors import ProtocolError
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.dmp import DmpSimulator, Stage
from pfiflow.simulators.dmp_door import BASE
from pfiflow.simulators.documents import ORGANIZATION, SyntheticDocument, document
from tests.simulators.dmp_client import Got, Sender, context_of, entry_of, post, seal_of

NUMBERS = itertools.count(100_000)


def fresh(patient: int = 0) -> SyntheticDocument:
    return document(number=next(NUMBERS), patient=patient)


@pytest.fixture
def sender(dmp: DmpSimulator) -> Sender:
    return Sender(seal_of(dmp.seal), dmp.url)


@pytest.fixture
def context(dmp: DmpSimulator) -> ssl.SSLContext:
    return context_of(dmp.authority, dmp.client)


def held(dmp: DmpSimulator, made: SyntheticDocument) -> int:
    """How many entries the registry holds of a document."""
    return len(dmp.registry.entries(unique_id=entry_of(made).unique_id))


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


# -- the way in ------------------------------------------------------------------------------------------------------


def test_submit_replace_delete(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    first = document(number=next(NUMBERS), patient=501)
    second = document(number=next(NUMBERS), patient=501, replaces=first)
    patient = entry_of(first).patient_id
    assert post(dmp.url, sender.submit(first), context).succeeded
    (old,) = post(dmp.url, sender.find(entry_of(first).unique_id, patient), context).found
    assert post(dmp.url, sender.submit(second, replaces=old), context).succeeded
    (new,) = post(dmp.url, sender.find(entry_of(second).unique_id, patient), context).found
    assert post(dmp.url, sender.delete(new, patient), context).succeeded
    entries = dmp.registry.entries(patient=patient)
    assert [(entry.entry_uuid, entry.status) for entry in entries] == [(old, "Deprecated"), (new, "Deleted")]
    assert [r.processed.context.transaction for r in dmp.requests if r.processed] == [
        "ITI-41", "ITI-18", "ITI-41", "ITI-18", "ITI-57",
    ]  # fmt: skip
    assert {received.client for received in dmp.requests} == {ORGANIZATION}


def test_several_requests_on_one_connection(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection("localhost", dmp.port, timeout=10, context=context)
    try:
        for _ in range(3):
            request = sender.submit(fresh())
            headers = {"Content-Type": request.content_type, "Transfer-Encoding": "chunked"}
            connection.request(
                "POST", f"{BASE}/repository", iter(map(bytes, request.parts)), headers, encode_chunked=True
            )
            answer = connection.getresponse()
            assert Got(answer.status, answer.headers["Content-Type"], answer.read(), answer.headers).succeeded
    finally:
        connection.close()
    assert dmp.counts["CONNECT"] == 1
    assert dmp.counts["PROCESSED"] == 3


def test_sixteen_at_once(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    made = [fresh(patient) for patient in range(16)]
    requests = [sender.submit(each) for each in made]
    threads = [threading.Thread(target=post, args=(dmp.url, request, context)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [held(dmp, each) for each in made] == [1] * 16


@pytest.mark.parametrize(
    ("client", "served"),
    [("none", False), ("foreign", False), ("expired", False), ("the seal", False), ("a second one", True)],
)
def test_who_is_let_in(dmp: DmpSimulator, sender: Sender, tmp_path: Path, client: str, served: bool) -> None:
    made: dict[str, Callable[[], Credentials | None]] = {
        "none": lambda: None,
        "foreign": lambda: Authority(tmp_path).issue_seal(ORGANIZATION, signs=False),
        "expired": lambda: dmp.authority.issue_seal(
            ORGANIZATION, signs=False, not_after=datetime.now(UTC) - timedelta(days=1)
        ),
        "the seal": lambda: dmp.seal,
        "a second one": lambda: dmp.authority.issue_seal("1000000000", signs=False),
    }
    context = context_of(dmp.authority, made[client]())
    if served:
        assert post(dmp.url, sender.submit(fresh()), context).succeeded
        assert dmp.requests[0].client == "1000000000"
        return
    with pytest.raises((ssl.SSLError, ConnectionError)):
        post(dmp.url, sender.submit(fresh()), context)
    assert eventually(lambda: dmp.counts["REFUSED"] == 1)
    assert dmp.requests == []


def test_clients_of_another_authority_may_be_let_in(dmp_authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    client = other.issue("client.localhost")
    with DmpSimulator(tmp_path / "dmp", authority=dmp_authority, clients=[other.certificate]) as simulator:
        sender = Sender(seal_of(simulator.seal), simulator.url)
        assert post(simulator.url, sender.submit(fresh()), context_of(simulator.authority, client)).succeeded


def test_tls_1_3_is_not_spoken(dmp: DmpSimulator) -> None:
    context = ssl.create_default_context(cafile=str(dmp.authority.certificate))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_connection(("localhost", dmp.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_the_server_may_show_a_wrong_certificate(
    dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext, tmp_path: Path
) -> None:
    good = dmp.server
    try:
        for wrong, reason in (
            (dmp.authority.issue("localhost", not_after=datetime.now(UTC) - timedelta(days=1)), "expired"),
            (dmp.authority.issue("elsewhere.localhost"), "Hostname mismatch"),
            (Authority(tmp_path).issue("localhost"), "unable to get local issuer|self.signed"),
        ):
            dmp.server = wrong
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                post(dmp.url, sender.submit(fresh()), context)
    finally:
        dmp.server = good
    assert post(dmp.url, sender.submit(fresh()), context).succeeded


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (("POST", f"{BASE}/nowhere", b"x"), 404),
        (("POST", "/", b"x"), 404),
        (("GET", f"{BASE}/repository", b""), 405),
        (("POST", f"{BASE}/repository", b"x" * 60_000_001), 413),
    ],
    ids=["no service", "the root", "GET", "too long"],
)
def test_http_refusals(
    dmp: DmpSimulator, context: ssl.SSLContext, request_: tuple[str, str, bytes], status: int
) -> None:
    method, path, body = request_
    connection = http.client.HTTPSConnection("localhost", dmp.port, timeout=10, context=context)
    try:
        connection.putrequest(method, path)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body if status != 413 else None)
        assert connection.getresponse().status == status
    finally:
        connection.close()
    assert dmp.requests == []


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"GET\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"x" * 40_000])
def test_what_is_no_http_is_answered_400(dmp: DmpSimulator, context: ssl.SSLContext, garbage: bytes) -> None:
    with (
        socket.create_connection(("localhost", dmp.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(garbage)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")


def test_a_client_that_asks_first_is_told_to_go_on(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    request = sender.submit(fresh())
    head = (
        f"POST {BASE}/repository HTTP/1.1\r\nHost: localhost\r\nContent-Type: {request.content_type}\r\n"
        f"Content-Length: {request.length}\r\nExpect: 100-continue\r\n\r\n"
    )
    with (
        socket.create_connection(("localhost", dmp.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"".join(request.parts))
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


# -- the script ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "kept"),
    [("CONNECT", 0), ("HEADERS", 0), ("BODY", 0), ("RECEIVED", 0), ("PROCESSED", 1), ("RESPONSE", 1)],
)
def test_the_connection_is_cut(
    dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext, stage: Stage, kept: int
) -> None:
    made = fresh()
    dmp.script(stage, cut=True, times=1)
    with pytest.raises((ConnectionError, ssl.SSLError, http.client.HTTPException)):
        post(dmp.url, sender.submit(made), context)
    assert held(dmp, made) == kept
    assert dmp.counts[stage] == 1
    again = post(dmp.url, sender.submit(made), context)
    assert again.codes == (("XDSDuplicateUniqueIdInRegistry",) if kept else ())
    assert held(dmp, made) == 1


@pytest.mark.parametrize("stage", ["CONNECT", "HEADERS", "BODY", "RECEIVED", "PROCESSED", "RESPONSE"])
def test_it_is_slow(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext, stage: Stage) -> None:
    dmp.script(stage, delay=0.3, times=1)
    started = time.monotonic()
    assert post(dmp.url, sender.submit(fresh()), context).succeeded
    assert time.monotonic() - started >= 0.3


def test_a_request_given_up_is_carried_out_all_the_same(
    dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext
) -> None:
    made = fresh()
    dmp.script("RECEIVED", delay=2, times=1)
    with pytest.raises(TimeoutError):
        post(dmp.url, sender.submit(made), context, patience=0.2)
    assert held(dmp, made) == 0
    assert eventually(lambda: held(dmp, made) == 1)


def test_a_reset_leaves_nothing_of_the_test_before(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    made = fresh()
    dmp.script("RECEIVED", delay=1)
    with pytest.raises(TimeoutError):
        post(dmp.url, sender.submit(made), context, patience=0.2)
    assert eventually(lambda: dmp.counts["RECEIVED"] == 1)
    dmp.reset()
    assert dmp.counts == {}
    assert post(dmp.url, sender.submit(fresh()), context).succeeded
    time.sleep(1)
    assert held(dmp, made) == 0
    assert len(dmp.requests) == 1


def test_it_goes_down_and_comes_back_on_its_port(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    made, later = fresh(), fresh()
    assert post(dmp.url, sender.submit(made), context).succeeded
    port = dmp.port
    dmp.stop()
    with pytest.raises(ConnectionRefusedError):
        post(dmp.url, sender.submit(later), context)
    dmp.start()
    assert dmp.port == port
    assert post(dmp.url, sender.submit(later), context).succeeded
    assert (held(dmp, made), held(dmp, later)) == (1, 1)


def test_a_port_in_use_is_said(dmp: DmpSimulator, dmp_authority: Authority, tmp_path: Path) -> None:
    other = DmpSimulator(tmp_path, authority=dmp_authority, port=dmp.port)
    with pytest.raises(OSError, match="in use"):
        other.start()


def test_stopping_ends_every_connection(dmp_authority: Authority, tmp_path: Path) -> None:
    before = threading.active_count()
    simulator = DmpSimulator(tmp_path, authority=dmp_authority)
    simulator.start()
    simulator.script("HEADERS", delay=60)
    context = context_of(simulator.authority, simulator.client)
    silent = socket.create_connection(("localhost", simulator.port), timeout=10)
    connection = http.client.HTTPSConnection("localhost", simulator.port, timeout=10, context=context)
    connection.request("POST", f"{BASE}/repository", b"x")
    assert eventually(lambda: simulator.counts["HEADERS"] == 1)
    simulator.stop()
    simulator.stop()
    with pytest.raises((ConnectionError, ssl.SSLError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()
    silent.close()
    assert threading.active_count() == before
    assert simulator.errors == []


def test_connections_are_dropped(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection("localhost", dmp.port, timeout=10, context=context)
    request = sender.find("1.2.3", entry_of(fresh()).patient_id)
    headers = {"Content-Type": request.content_type}
    connection.request("POST", f"{BASE}/registry", b"".join(request.parts), headers)
    assert connection.getresponse().read()
    dmp.drop_connections()
    with pytest.raises((ConnectionError, ssl.SSLError)):
        for _ in range(2):
            connection.request("POST", f"{BASE}/registry", b"".join(request.parts), headers)
            connection.getresponse()
    connection.close()
    assert post(dmp.url, sender.submit(fresh()), context).succeeded


def test_rules_apply_in_order_run_out_and_choose(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    made = fresh(patient=11)
    patient = entry_of(made).patient_id
    transaction: Transaction = "ITI-41"
    dmp.script("RECEIVED", answers.refused("XDSRegistryBusy"), transaction=transaction, times=2)
    dmp.script("RECEIVED", answers.refused("XDSRepositoryBusy"), patient=patient, times=1)
    assert post(dmp.url, sender.submit(made), context).codes == ("XDSRegistryBusy",)
    assert post(dmp.url, sender.find("1.2.3", patient), context).codes == ("XDSRepositoryBusy",)
    assert post(dmp.url, sender.submit(made), context).codes == ("XDSRegistryBusy",)
    assert post(dmp.url, sender.submit(made), context).succeeded
    dmp.script("PROCESSED", answers.http(503), patient=patient)
    assert post(dmp.url, sender.submit(fresh(patient=12)), context).succeeded
    assert post(dmp.url, sender.submit(fresh(patient=11)), context).status == 503
    dmp.clear_script()
    assert post(dmp.url, sender.submit(fresh(patient=11)), context).succeeded
    assert [received.processed is None for received in dmp.requests] == [True, True, True, False, False, False, False]


REPLIES: dict[str, tuple[Reply, type[response.Outcome], str]] = {
    "busy": (answers.refused("XDSRepositoryBusy"), response.Deferred, "XDSRepositoryBusy"),
    "closed": (answers.refused("DMPClosed"), response.Rejected, "DMPClosed"),
    "several": (answers.refused("XDSRepositoryBusy", "XDSMissingDocument"), response.Rejected, "XDSMissingDocument"),
    "a code nobody knows": (answers.refused("DMPQuelqueChose"), response.Rejected, "DMPQuelqueChose"),
    "a part": (answers.partial("XDSRegistryBusy"), response.Deferred, "XDSRegistryBusy"),
    "a fault of the server": (answers.fault("Receiver"), response.Deferred, "Receiver"),
    "a fault of ours": (
        answers.fault("Sender", subcode="DMPInvalidCertificate"), response.Deferred, "DMPInvalidCertificate"
    ),
    "gateway": (answers.http(502, text="Bad Gateway"), response.Deferred, ""),
    "forbidden": (answers.http(403), response.Deferred, ""),
    "teapot": (answers.http(418), response.Rejected, ""),
    "a page": (answers.html(), response.Deferred, ""),
    "an error page": (answers.html(500), response.Deferred, ""),
    "a truncated MTOM": (answers.truncated_mtom(), response.Deferred, ""),
    "an XML bomb": (answers.bomb(), response.Deferred, ""),
    "nothing": (answers.raw(200, "application/soap+xml", b""), response.Deferred, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", REPLIES)
def test_it_answers_what_it_is_told_to(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext, case: str) -> None:
    reply, meaning, code = REPLIES[case]
    dmp.script("RECEIVED", reply, times=1)
    made = fresh()
    got = post(dmp.url, sender.submit(made), context)
    outcome = response.outcome(got.status, got.content_type, got.body)
    assert isinstance(outcome, meaning)
    assert getattr(outcome, "code", "") == code
    assert held(dmp, made) == 0


def test_a_warning_is_no_refusal(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    dmp.script("PROCESSED", answers.refused("XDSExtraMetadataNotSaved", severity="Warning"), times=1)
    made = fresh()
    got = post(dmp.url, sender.submit(made), context)
    assert response.outcome(got.status, got.content_type, got.body) == response.Accepted(
        warnings=("XDSExtraMetadataNotSaved",)
    )
    assert held(dmp, made) == 1


def test_retry_after_is_sent(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    dmp.script("RECEIVED", answers.http(503, retry_after=120), times=1)
    got = post(dmp.url, sender.submit(fresh()), context)
    assert (got.status, got.headers["Retry-After"]) == (503, "120")


def test_an_answer_of_100_megabytes(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    dmp.script("PROCESSED", answers.huge(), times=1)
    request = sender.submit(fresh())
    connection = http.client.HTTPSConnection("localhost", dmp.port, timeout=10, context=context)
    try:
        connection.request(
            "POST", f"{BASE}/repository", b"".join(request.parts), {"Content-Type": request.content_type}
        )
        answer = connection.getresponse()
        assert answer.headers["Content-Length"] == "100000000"
        assert len(answer.read(response.MAX_ANSWER + 1)) == response.MAX_ANSWER + 1
    finally:
        connection.close()
    assert post(dmp.url, sender.submit(fresh()), context).succeeded


def test_a_bomb_is_one(dmp: DmpSimulator, sender: Sender, context: ssl.SSLContext) -> None:
    dmp.script("RECEIVED", answers.bomb(), times=1)
    got = post(dmp.url, sender.submit(fresh()), context)
    assert b"<!ENTITY a9" in got.body
    with pytest.raises(ProtocolError):
        _ = got.message
