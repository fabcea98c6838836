"""`dmp-submit` against a real HTTPS server with mutual TLS that behaves, and misbehaves, as told."""

from __future__ import annotations

import itertools
import logging
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, evolve, field

from pfiflow.dmp import answers
from pfiflow.dmp.values import Feeding
from pfiflow.endpoints.dmp import RECORD, DmpSink, DmpSubmitOptions
from pfiflow.endpoints.seal_file import SealFile, SealOptions
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import ConfigError, Deferred, Rejected
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, Secret
from pfiflow.segur.values import Action
from pfiflow.simulators.certificates import Authority, Credentials
from pfiflow.simulators.dmp import DmpSimulator, Stage
from pfiflow.simulators.documents import ORGANIZATION, SyntheticDocument
from pfiflow.simulators.messages import document
from pfiflow.store.api import Record
from tests.dmp.orders import order

pytestmark = pytest.mark.anyio

_NUMBERS = itertools.count(1000)
EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DmpSimulator]:
    with DmpSimulator(tmp_path_factory.mktemp("dmp")) as simulator:
        yield simulator


@pytest.fixture
def dmp(shared: DmpSimulator) -> Iterator[DmpSimulator]:
    """The simulator, which may hold other patients' documents: each test has patients of its own."""
    server = shared.server
    shared.reset()
    yield shared
    shared.clear_script()
    shared.server = server
    assert shared.errors == []


@define
class Sender:
    """A sink, the records that the store would keep, and the exchanges that a channel would."""

    sink: DmpSink
    memory: dict[tuple[str, str], Record]
    progress: dict[str, dict[str, str]] = field(factory=dict)

    async def send(self, of: Feeding, *, exchange_id: str = "") -> Exchange[Any]:
        """One attempt, as the engine makes it."""
        exchange_id = exchange_id or of.submission.unique_id
        headers = self.progress.setdefault(exchange_id, {})
        try:
            done = await self.sink.send(Exchange(exchange_id, of, headers))
        except Deferred as deferral:
            headers |= deferral.headers
            raise
        for memory in done.memories:
            self.memory[memory.kind, memory.key] = Record(memory.kind, memory.key, 0.0, exchange_id, memory.facts)
        return done

    async def insist(self, of: Feeding) -> int:
        """Attempts until it is accepted; how many it took."""
        for attempt in itertools.count(1):
            try:
                await self.send(of)
            except Deferred:
                assert attempt < 10
            else:
                return attempt
        raise AssertionError

    def facts(self, of: SyntheticDocument) -> Mapping[str, str]:
        return self.memory[RECORD, of.id.unique_id].facts


class Records:
    def __init__(self, memory: dict[tuple[str, str], Record]) -> None:
        self._memory = memory

    async def find_record(self, kind: str, key: str, /) -> Record | None:
        return self._memory.get((kind, key))


def options(dmp: DmpSimulator, **changes: Any) -> DmpSubmitOptions:
    settings: dict[str, Any] = {
        "base_url": dmp.url,
        "tls": TlsOptions(ca=(dmp.authority.certificate,), certificate=dmp.client.certificate, key=dmp.client.key),
        "seal": SealOptions(certificate=dmp.seal.certificate, key=dmp.seal.key),
        "timeout": Duration(5.0),
    }
    return DmpSubmitOptions(**(settings | changes))


def sender_of(settings: DmpSubmitOptions) -> Sender:
    memory: dict[tuple[str, str], Record] = {}
    return Sender(DmpSink(settings, Records(memory)), memory)


@pytest.fixture
async def sender(dmp: DmpSimulator) -> AsyncIterator[Sender]:
    made = sender_of(options(dmp))
    yield made
    await made.sink.aclose()


@pytest.fixture
def first() -> SyntheticDocument:
    """A document of a patient whom no other test has."""
    number = next(_NUMBERS)
    return document("N1", number=number, patient=number, size=0)


def after(previous: SyntheticDocument) -> SyntheticDocument:
    return document("N1", number=next(_NUMBERS), patient=previous.patient, size=0, replaces=previous)


def statuses(dmp: DmpSimulator, of: Feeding) -> list[str]:
    return [entry.status for entry in dmp.registry.entries(patient=of.vihf.patient_id)]


async def refusal(sender: Sender, of: Feeding) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await sender.send(of)
    return caught.value


async def deferral(sender: Sender, of: Feeding) -> Deferred:
    with pytest.raises(Deferred) as caught:
        await sender.send(of)
    return caught.value


# -- the plain ways ---------------------------------------------------------------------------------------------------


async def test_a_life(dmp: DmpSimulator, sender: Sender, first: SyntheticDocument) -> None:
    second = after(first)
    done = await sender.send(order(first))
    assert done.headers["dmp-outcome"] == "accepted"
    (note,) = done.notes
    assert note.event == "dmp-accepted"
    assert note.facts["document"] == first.id.unique_id
    await sender.send(order(second))
    assert statuses(dmp, order(first)) == ["Deprecated", "Approved"]
    assert (sender.facts(first)["state"], sender.facts(second)["state"]) == ("replaced", "submitted")
    assert sender.facts(first)["replaced_by"] == second.id.unique_id
    await sender.send(order(second, Action.DELETE))
    assert statuses(dmp, order(first)) == ["Deprecated", "Deleted"]
    assert sender.facts(second)["state"] == "deleted"
    assert [len(each.client) > 0 for each in dmp.requests] == [True] * 5


async def test_the_document_arrives_as_it_was(dmp: DmpSimulator, sender: Sender, first: SyntheticDocument) -> None:
    await sender.send(order(first))
    (entry,) = dmp.registry.entries(patient=order(first).vihf.patient_id)
    assert entry.document == first.data


async def test_what_was_accepted_is_not_submitted_again(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument
) -> None:
    """A step after it failed: nothing of it was recorded, and the exchange comes again with what was achieved."""
    done = await sender.send(order(first))
    sender.memory.clear()
    again = await sender.sink.send(Exchange(order(first).submission.unique_id, order(first), done.headers))
    assert again.headers["dmp-outcome"] == "accepted"
    assert [each.processed.context.transaction for each in dmp.requests if each.processed] == ["ITI-41", "ITI-18"]


async def test_no_identity_in_notes_records_logs(
    sender: Sender, first: SyntheticDocument, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    done = await sender.send(order(first))
    shown = f"{done.notes} {done.memories} {done.headers} {caplog.text}"
    patient = first.patient
    assert not any(fact in shown for fact in (patient.matricule, patient.family, patient.ipp))


async def test_one_connection_serves_again(dmp: DmpSimulator, sender: Sender) -> None:
    for _ in range(3):
        number = next(_NUMBERS)
        await sender.send(order(document("N1", number=number, patient=number, size=0)))
    assert dmp.counts["CONNECT"] == 1


async def test_at_most_so_many_connections(dmp: DmpSimulator) -> None:
    sender = sender_of(options(dmp, connections=2))
    dmp.script("RECEIVED", delay=0.05)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                number = next(_NUMBERS)
                tasks.start_soon(sender.send, order(document("N1", number=number, patient=number, size=0)))
    finally:
        await sender.sink.aclose()
    assert dmp.counts["CONNECT"] == 2


# -- cuts, at each stage ----------------------------------------------------------------------------------------------

STAGES: tuple[Stage, ...] = ("CONNECT", "HEADERS", "BODY", "RECEIVED", "PROCESSED", "RESPONSE")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("action", ["new", "replace", "delete"])
async def test_a_cut_leaves_one_entry(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument, stage: Stage, action: str
) -> None:
    second = after(first)
    if action != "new":
        await sender.send(order(first))
        dmp.drop_connections()
        await anyio.sleep(0.05)
    of = {"new": order(first), "replace": order(second), "delete": order(first, Action.DELETE)}[action]
    dmp.script(stage, cut=True, times=2)
    assert await sender.insist(of) in {2, 3}
    wanted = {"new": ["Approved"], "replace": ["Deprecated", "Approved"], "delete": ["Deleted"]}
    assert statuses(dmp, of) == wanted[action]


@pytest.mark.parametrize("stage", STAGES)
async def test_what_a_cut_leaves_in_doubt(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument, stage: Stage
) -> None:
    """Whether the request may have been carried out: not before its body has begun to leave."""
    dmp.script(stage, cut=True, times=1)
    deferred = await deferral(sender, order(first))
    if stage != "HEADERS":  # there, the body may have begun or not
        assert deferred.headers["dmp-ask-first"] == ("false" if stage == "CONNECT" else "true")
    await sender.insist(order(first))
    asked = [each.processed.context.transaction for each in dmp.requests if each.processed is not None]
    assert asked[-1] == ("ITI-18" if stage in {"PROCESSED", "RESPONSE"} else "ITI-41")


async def test_a_redirection_is_not_followed(dmp: DmpSimulator, sender: Sender, first: SyntheticDocument) -> None:
    headers = (("Location", f"{dmp.url}/registry"),)
    dmp.script("RECEIVED", lambda _: answers.Answer(307, "text/plain", b"", headers), times=1)
    assert "307" in (await deferral(sender, order(first))).message
    assert len(dmp.requests) == 1


@pytest.mark.parametrize("stage", STAGES[1:])
async def test_silence_at_a_stage(dmp: DmpSimulator, first: SyntheticDocument, stage: Stage) -> None:
    sender = sender_of(options(dmp, timeout=Duration(0.3), connect_timeout=Duration(0.3)))
    dmp.script(stage, delay=1.2, times=1)
    try:
        deferred = await deferral(sender, order(first))
        assert deferred.unavailable
        assert await sender.insist(order(first)) <= 3
    finally:
        await sender.sink.aclose()
    assert statuses(dmp, order(first)) == ["Approved"]


async def test_nobody_there(dmp: DmpSimulator, sender: Sender, first: SyntheticDocument) -> None:
    dmp.stop()
    try:
        deferred = await deferral(sender, order(first))
        assert deferred.unavailable
        assert "cannot be reached" in deferred.message
        assert deferred.headers["dmp-ask-first"] == "false"
    finally:
        dmp.start()
    await sender.send(order(first))


async def test_a_kept_connection_that_died_meanwhile(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument
) -> None:
    await sender.send(order(first))
    dmp.drop_connections()
    await anyio.sleep(0.1)
    await sender.send(order(after(first)))
    assert statuses(dmp, order(first)) == ["Deprecated", "Approved"]


# -- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["expired", "foreign", "another host's"])
async def test_a_server_whom_nobody_should_trust(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument, wrong: str, tmp_path: Path
) -> None:
    dmp.server = {
        "expired": lambda: dmp.authority.issue("localhost", not_after=EXPIRED),
        "foreign": lambda: Authority(tmp_path, "foreign").issue("localhost"),
        "another host's": lambda: dmp.authority.issue("dmp.example"),
    }[wrong]()
    deferred = await deferral(sender, order(first))
    assert deferred.unavailable
    assert "TLS" in deferred.message
    assert "certificate" in deferred.message
    assert dmp.requests == []


def _client(dmp: DmpSimulator) -> TlsOptions:
    return TlsOptions(ca=(dmp.authority.certificate,), certificate=dmp.client.certificate, key=dmp.client.key)


def test_a_client_certificate_is_demanded(dmp: DmpSimulator) -> None:
    with pytest.raises(ConfigError, match=r"tls\.certificate"):
        sender_of(options(dmp, tls=TlsOptions(ca=(dmp.authority.certificate,))))


async def test_a_client_certificate_that_the_dmp_refuses(
    dmp: DmpSimulator, first: SyntheticDocument, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = Authority(tmp_path, "foreign").issue_seal(ORGANIZATION, signs=False)
    tls = evolve(_client(dmp), certificate=own.certificate, key=own.key)
    sender = sender_of(options(dmp, tls=tls))
    try:
        deferred = await deferral(sender, order(first))
    finally:
        await sender.sink.aclose()
    assert deferred.unavailable
    assert deferred.headers["dmp-ask-first"] == "false"
    assert "TLS" in deferred.message
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    assert dmp.requests == []


@pytest.mark.parametrize("which", ["tls", "seal"])
async def test_our_own_certificate_expired(
    dmp: DmpSimulator, first: SyntheticDocument, tmp_path: Path, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The order waits; the renewed certificate, put in the old one's place, lets it go."""
    signs = which == "seal"
    files = Credentials(tmp_path / "own.pem", tmp_path / "own.key")
    _install(dmp.authority.issue_seal(ORGANIZATION, signs=signs, not_after=EXPIRED), files)
    if signs:
        changed = options(dmp, seal=SealOptions(certificate=files.certificate, key=files.key))
    else:
        tls = TlsOptions(ca=(dmp.authority.certificate,), certificate=files.certificate, key=files.key)
        changed = options(dmp, tls=tls)
    sender = sender_of(changed)
    try:
        deferred = await deferral(sender, order(first))
        assert deferred.unavailable
        assert "expired on 2020-01-01" in deferred.message
        assert any(record.levelno == logging.ERROR for record in caplog.records)
        assert dmp.counts["CONNECT"] == 0
        _install(dmp.authority.issue_seal(ORGANIZATION, signs=signs), files)
        await sender.send(order(first))
    finally:
        await sender.sink.aclose()
    assert statuses(dmp, order(first)) == ["Approved"]


def _install(made: Credentials, files: Credentials) -> None:
    """As an administrator renews a certificate: each file is replaced in one go."""
    for source, target in ((made.certificate, files.certificate), (made.key, files.key)):
        copy = target.with_suffix(".new")
        copy.write_bytes(source.read_bytes())
        copy.replace(target)


async def test_swapped_certificates_are_told(dmp: DmpSimulator, first: SyntheticDocument) -> None:
    sender = sender_of(options(dmp, seal=SealOptions(certificate=dmp.client.certificate, key=dmp.client.key)))
    deferred = await deferral(sender, order(first))
    assert "ORG_SIGN" in deferred.message
    assert deferred.unavailable


async def test_a_seal_that_the_dmp_refuses(dmp: DmpSimulator, first: SyntheticDocument, tmp_path: Path) -> None:
    seal = Authority(tmp_path, "foreign").issue_seal(ORGANIZATION)
    sender = sender_of(options(dmp, seal=SealOptions(certificate=seal.certificate, key=seal.key)))
    try:
        deferred = await deferral(sender, order(first))
    finally:
        await sender.sink.aclose()
    assert deferred.unavailable
    assert "DMPInvalidCertificate" in deferred.message


async def test_files_that_are_not_there_lose_nothing(dmp: DmpSimulator, first: SyntheticDocument) -> None:
    for changes in (
        {"seal": SealOptions(certificate=Path("/nowhere/seal.pem"))},
        {"tls": evolve(_client(dmp), ca=(Path("/nowhere/ca.pem"),))},
    ):
        deferred = await deferral(sender_of(options(dmp, **changes)), order(first))
        assert deferred.unavailable
        assert "/nowhere/" in deferred.message


def test_a_seal_follows_its_files(dmp: DmpSimulator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = Credentials(tmp_path / "seal.pem", tmp_path / "seal.key")
    _install(dmp.seal, files)
    seal = SealFile(SealOptions(certificate=files.certificate, key=files.key))
    before = seal.current()
    assert seal.current() is before
    files.key.write_bytes(b"half a file")
    assert seal.current() is before
    assert "former stay in use" in caplog.text
    renewed = dmp.authority.issue_seal(ORGANIZATION)
    _install(renewed, files)
    assert seal.current().certificate != before.certificate


def test_an_encrypted_seal(dmp: DmpSimulator, tmp_path: Path) -> None:
    made = dmp.authority.issue("seal@hopital.example", password="secret")
    with pytest.raises(ConfigError, match="password"):
        SealFile(SealOptions(certificate=made.certificate, key=made.key)).current()
    opened = SealFile(SealOptions(certificate=made.certificate, key=made.key, key_password=Secret("secret")))
    with pytest.raises(Deferred, match="ORG_SIGN"):  # it opens; what it is for is another matter
        opened.current()


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answers.fault("Receiver"), "Receiver"),
        (answers.html(), "no readable SOAP"),
        (answers.partial("XDSRegistryBusy"), "XDSRegistryBusy"),
        (answers.truncated_mtom(), "no readable SOAP"),
        (answers.bomb(), "no readable SOAP"),
        (answers.huge(), "longer than any"),
        (answers.http(503, retry_after=7), "503"),
        (answers.http(302), "302"),
        (answers.refused("XDSRepositoryBusy"), "XDSRepositoryBusy"),
    ],
)
async def test_answers_that_make_an_order_wait(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument, reply: answers.Reply, words: str
) -> None:
    dmp.script("PROCESSED", reply, times=1)
    deferred = await deferral(sender, order(first))
    assert words in deferred.message
    assert deferred.retry_after == (7.0 if words == "503" else None)
    assert await sender.insist(order(first)) == 1
    assert statuses(dmp, order(first)) == ["Approved"]


async def test_a_hundred_megabytes_are_not_read(dmp: DmpSimulator, sender: Sender, first: SyntheticDocument) -> None:
    await sender.send(order(first))  # schemas and value sets are loaded once
    first = after(first)
    dmp.script("PROCESSED", answers.huge(100_000_000), times=1)
    tracemalloc.start()
    try:
        await deferral(sender, order(first))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answers.refused("DMPClosed"), "DMPClosed"),
        (answers.fault("Sender", subcode="DMPAccessDeniedByRightsService"), "DMPAccessDeniedByRightsService"),
        (answers.partial("XDSRegistryMetadataError"), "XDSRegistryMetadataError"),
        (answers.refused("DMPNobodyKnowsThis"), "DMPNobodyKnowsThis"),
        (answers.http(400), ""),
    ],
)
async def test_answers_that_end_an_order(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument, reply: answers.Reply, code: str
) -> None:
    dmp.script("RECEIVED", reply, times=1)
    refused = await refusal(sender, order(first))
    assert refused.headers == {"dmp-outcome": "refused", "dmp-code": code}
    assert refused.problems[0].detail_code == code


async def test_codes_can_be_added(dmp: DmpSimulator, first: SyntheticDocument) -> None:
    sender = sender_of(options(dmp, codes={"DMPMaintenance": "retry"}))
    dmp.script("RECEIVED", answers.refused("DMPMaintenance"), times=1)
    try:
        assert (await deferral(sender, order(first))).unavailable
        await sender.send(order(first))
    finally:
        await sender.sink.aclose()


async def test_what_the_peer_writes_is_not_repeated(
    dmp: DmpSimulator, sender: Sender, first: SyntheticDocument, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "NOM-DU-PATIENT"
    for reply in (
        answers.refused("DMPClosed", context=secret),
        answers.fault("Receiver", secret),
        answers.http(500, text=secret),
        answers.raw(200, f"text/{secret}", secret.encode()),
    ):
        dmp.script("RECEIVED", reply, times=1)
        try:
            await sender.send(order(first))
        except (Deferred, Rejected) as error:
            assert secret not in f"{error} {error.headers}"  # noqa: PT017 - either of two
    assert secret not in caplog.text


async def test_an_early_refusal_of_a_big_document(dmp: DmpSimulator, sender: Sender) -> None:
    number = next(_NUMBERS)
    big = document("N1", number=number, patient=number, size=9_000_000)
    limit, dmp.size_limit = dmp.size_limit, 1_000_000
    try:
        with pytest.raises((Rejected, Deferred)):
            await sender.send(order(big))
    finally:
        dmp.size_limit = limit
    assert await sender.insist(order(big)) <= 2


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://dmp.example/services", "https:///services", "https://me:secret@dmp.example", "https://dmp.example?a=1"],
)
def test_an_address_that_is_none(dmp: DmpSimulator, url: str) -> None:
    with pytest.raises(ConfigError, match="base-url"):
        sender_of(options(dmp, base_url=url))


def test_host_names_are_checked_outside_of_this_machine(dmp: DmpSimulator) -> None:
    tls = evolve(_client(dmp), check_hostname=False)
    with pytest.raises(ConfigError, match="check-hostname"):
        sender_of(options(dmp, base_url="https://dmp.example/services", tls=tls))


async def test_without_signature(dmp: DmpSimulator, first: SyntheticDocument) -> None:
    sender = sender_of(options(dmp, signature="off"))
    settings = dmp.service.settings
    dmp.service.settings = evolve(settings, signature="optional")
    try:
        await sender.send(order(first))
    finally:
        dmp.service.settings = settings
        await sender.sink.aclose()
    assert not any(entry.submission == order(first).submission.unique_id for entry in dmp.registry.signatures())


async def test_an_ssl_context_made_anew_is_used(dmp: DmpSimulator, first: SyntheticDocument, tmp_path: Path) -> None:
    """A certificate renewed while the old one is still good: the next request shows the new one."""
    files = Credentials(tmp_path / "own.pem", tmp_path / "own.key")
    _install(dmp.client, files)
    tls = TlsOptions(ca=(dmp.authority.certificate,), certificate=files.certificate, key=files.key)
    sender = sender_of(options(dmp, tls=tls))
    try:
        await sender.send(order(first))
        _install(dmp.authority.issue_seal("1120456789", signs=False), files)
        await sender.send(order(after(first)))
    finally:
        await sender.sink.aclose()
    assert [each.client for each in dmp.requests] == [ORGANIZATION, "1120456789", "1120456789"]
