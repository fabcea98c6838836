"""The shipped inbound routes: what a mail becomes, who is told, once, in order, whatever goes wrong."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from pfiflow.cda import document as cda
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.hl7.er7 import Message, parse
from pfiflow.mssante.notification import read_mdn
from pfiflow.segur.values import Action
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from tests.mssante import mails
from tests.processors.hospital import BOX, QUICK, ROUTES, WHOLE, Hospital, Keys, hospital
from tests.segur.mails import MAILBOX, archive, changed, letter, sent, without_title

pytestmark = pytest.mark.anyio

FIRST = document("N1", number=1, patient=1, size=20_000)
SECOND = document("N3", number=2, patient=1, size=16_000)
THIRD = document("N1", number=3, patient=1, size=8_000)
PATIENT = FIRST.patient

Start = Callable[..., AbstractAsyncContextManager[Hospital]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.in_folder(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def operator(keys: Keys) -> Iterator[MailSimulator]:
    tls = TlsOptions(ca=(keys.authority.certificate,), certificate=keys.server.certificate, key=keys.server.key)
    with MailSimulator(tls=tls, logins={BOX: ""}) as simulator:
        yield simulator
    assert simulator.errors == []


def _dpi() -> Iterator[DpiSimulator]:
    with DpiSimulator() as simulator:
        yield simulator
    assert simulator.errors == []


documents = pytest.fixture(_dpi)
receipts = pytest.fixture(_dpi)


@pytest.fixture
def start(keys: Keys, operator: MailSimulator, documents: DpiSimulator, receipts: DpiSimulator) -> Start:
    return partial(hospital, keys, operator, documents, receipts)


def mdm(site: Hospital, number: int = 0) -> Message:
    return parse(site.documents.received[number].raw)


def content(message: Message) -> bytes:
    return base64.b64decode(message.get("OBX-5.5"))


async def test_a_mail_of_ours_becomes_an_mdm_and_its_sender_gets_an_mdn(start: Start) -> None:
    async with start() as site:
        raw = sent(FIRST)
        assert await site.put(raw) == "done"
        await site.settled()
        message = mdm(site)
        assert len(site.documents.received) == 1
        assert (message.get("MSH-9"), message.get("MSH-9.2")) == ("MDM", "T02")
        assert content(message) == FIRST.data
        (answer,) = site.answers()
        report = read_mdn(answer)
        assert (report.disposition, report.failed) == ("processed", False)
        assert site.operator.received[0].recipients == (MAILBOX.address,)
        assert site.operator.received[0].sender == ""
        assert raw in site.operator.received[0].content


async def test_without_a_request_for_an_mdn_success_is_not_told(start: Start) -> None:
    async with start() as site:
        assert await site.put(sent(FIRST, flags={"ACK_LECTURE_MSS": "N"})) == "done"
        await site.settled()
        assert [each.answer for each in site.documents.received] == ["AA"]
        assert site.operator.received == []
        (told,) = await site.journal("mail-settled")
        assert told.facts["answer"] == "none"
        assert "no MDN is asked for" in told.facts["reason"]


@pytest.mark.parametrize("detail", ["900", "901", "902", "903", "904", "905", "906"])
async def test_a_refusal_is_told_by_a_negative_mdn(start: Start, detail: str) -> None:
    async with start() as site:
        site.documents.script("AE", detail=detail, text="PAT-UN Dominique is unknown")
        await site.put(sent(FIRST))
        await site.settled()
        (answer,) = site.answers()
        report = read_mdn(answer)
        assert (report.failed, report.code) == (True, detail)
        assert answer.subject.startswith(f"[KO Intégration système !][{detail}] XDM/1.0/DDM+")
        assert b"PAT-UN Dominique is unknown" not in site.operator.received[0].content
        assert await site.counts("delivery") == (0, 0, 1)


async def test_a_refusal_is_told_by_mail_when_no_mdn_was_asked_for(start: Start) -> None:
    async with start() as site:
        site.documents.script("AE", detail="902")
        raw = sent(FIRST, flags={"ACK_LECTURE_MSS": "N"})
        await site.put(raw)
        await site.settled()
        (answer,) = site.answers()
        assert (answer.kind, answer.error_code) == ("error-report", "902")
        assert site.operator.received[0].recipients == (MAILBOX.address,)
        assert site.operator.received[0].content.count(raw) == 1


async def test_one_of_three_documents_is_refused(start: Start) -> None:
    async with start() as site:
        site.documents.script("AA", times=1)
        site.documents.script("AE", times=1, detail="904")
        fields = {"Disposition-Notification-To": mails.SENDER}
        assert await site.put(letter(archive([FIRST, SECOND, THIRD]), headers=fields)) == "done"
        await site.settled()
        assert [each.answer for each in site.documents.received] == ["AA", "AE", "AA"]
        assert [content(mdm(site, place)) for place in range(3)] == [FIRST.data, SECOND.data, THIRD.data]
        assert len({each.control_id for each in site.documents.received}) == 3
        (answer,) = site.answers()
        assert read_mdn(answer).code == "904"
        assert "document 2 sur 3 : 904" in answer.text
        assert await site.counts("delivery") == (0, 2, 1)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_whichever_is_refused_the_sender_is_told_once(start: Start, place: int) -> None:
    async with start() as site:
        for each in range(3):
            site.documents.script("AE" if each == place else "AA", times=1, detail="902")
        await site.put(letter(archive([FIRST, SECOND, THIRD])))
        await site.settled()
        (answer,) = site.answers()
        assert answer.error_code == "902"
        assert f"document {place + 1} sur 3" in answer.text


@pytest.mark.parametrize("place", [1, 2, 3])
async def test_one_damaged_document_of_three_is_refused_alone(start: Start, place: int) -> None:
    samples = [FIRST, SECOND, THIRD]
    whole = archive(samples)
    damaged = changed(whole, place, lambda raw: raw[:-1] + b" ", rehash=False)
    fields = {"Disposition-Notification-To": mails.SENDER}
    async with start() as site:
        assert await site.put(letter(damaged, headers=fields)) == "done"
        await site.settled()
        good = [each.data for each in samples if each is not samples[place - 1]]
        assert [content(mdm(site, at)) for at in range(len(site.documents.received))] == good
        (answer,) = site.answers()
        assert read_mdn(answer).code == "906"
        assert f"document {place} sur 3 : 906" in answer.text
        assert "Un document du message ci-dessous n'a pas pu être intégré" in answer.text
        assert "Les 2 autres documents du message ont été intégrés." in answer.text
        assert await site.counts("delivery") == (0, 2, 1)
        (faulty,) = await site.journal("document-faulty")
        assert (faulty.facts["number"], faulty.facts["of"]) == (str(place), "3")
        # The sender repairs it and sends all three again: the one that was missing is delivered, and only that.
        again = letter(whole, headers={**fields, "Message-ID": "<again@x.example>"})
        assert await site.put(again) == "done"
        await site.settled()
        assert len(site.documents.received) == 3
        assert content(mdm(site, 2)) == samples[place - 1].data
        assert len(await site.journal("delivered-before")) == 2
        assert [read_mdn(each).failed for each in site.answers()] == [True, False]


async def test_a_damaged_and_a_refused_document_are_told_in_one_answer(start: Start) -> None:
    async with start() as site:
        site.documents.script("AE", times=1, detail="902")
        await site.put(letter(changed(archive([FIRST, SECOND, THIRD]), 2, without_title)))
        await site.settled()
        assert [each.answer for each in site.documents.received] == ["AE", "AA"]
        (answer,) = site.answers()
        assert "document 1 sur 3 : 902" in answer.text
        assert "document 2 sur 3 : 101" in answer.text
        assert "2 documents du message ci-dessous n'ont pas pu être intégrés" in answer.text
        assert "L'autre document du message a été intégré." in answer.text
        assert "document 3" not in answer.text


async def test_a_mail_without_one_good_document_is_refused(start: Start) -> None:
    async with start() as site:
        assert (
            await site.put(letter(changed(archive([FIRST]), 1, lambda raw: raw[:-1] + b" ", rehash=False))) == "refused"
        )
        await site.settled()
        assert site.documents.received == []
        assert [each.error_code for each in site.answers()] == ["906"]


async def test_the_documents_of_a_mail_are_kept_once(start: Start, documents: DpiSimulator) -> None:
    documents.stop()
    async with start() as site:
        raw = letter(archive([FIRST, SECOND, THIRD]))
        await site.put(raw)
        waiting = await site.store.messages(channel="delivery")
        assert [each.headers["split-index"] for each in waiting] == ["1", "2", "3"]
        payloads = [await site.store.message(each.sequence) for each in waiting]
        assert {found[1] for found in payloads if found} == {raw}  # one content, which the store keeps once
        assert not any(PATIENT.matricule in f"{each.key}{dict(each.headers)}" for each in waiting)
    documents.start()


async def test_a_dpi_that_was_down_gets_everything_in_order(start: Start, documents: DpiSimulator) -> None:
    documents.stop()
    chain = [document("N1", number=number, patient=1, size=4_000) for number in range(10, 16)]
    others = [document("N1", number=number, patient=2, size=4_000) for number in range(20, 23)]
    async with start() as site:
        for number, each in enumerate(chain + others):
            raw = letter(archive([each]), headers={"Message-ID": f"<{number}@x.example>"})
            assert await site.put(raw) == "done"
        await anyio.sleep(0.3)
        assert await site.counts("delivery") == (9, 0, 0)
        documents.start()
        await site.settled()
        got = [content(mdm(site, place)) for place in range(9)]
        assert [each for each in got if each in {one.data for one in chain}] == [each.data for each in chain]
        assert [each for each in got if each in {one.data for one in others}] == [each.data for each in others]
        assert len({each.control_id for each in site.documents.received}) == 9
        assert site.operator.received == []


@pytest.mark.parametrize("answer", ["AR", "close", "cut"])
async def test_a_passing_trouble_is_tried_again_under_the_same_id(start: Start, answer: str) -> None:
    async with start() as site:
        site.documents.script(answer, times=2)  # type: ignore[arg-type]
        await site.put(sent(FIRST))
        await site.settled()
        assert site.documents.received[-1].answer == "AA"
        assert len({each.raw for each in site.documents.received}) == 1
        assert len(site.answers()) == 1
        assert not read_mdn(site.answers()[0]).failed


async def test_a_document_that_is_given_up_is_told(start: Start) -> None:
    async with start(delivery=evolve(QUICK, max_attempts=2)) as site:
        site.documents.script("AR")
        await site.put(sent(FIRST))
        await site.settled()
        assert read_mdn(site.answers()[0]).code == "906"
        assert len(site.answers()) == 1


async def test_the_same_mail_is_taken_over_once(start: Start) -> None:
    async with start() as site:
        raw = sent(FIRST)
        fates = [await site.put(raw, uid=7), await site.put(raw, uid=7), await site.put(raw, uid=1, uidvalidity=2)]
        trace = b"Received: from relay.example by mx.example; Mon, 23 Nov 2026 12:00:01 +0100\r\n"
        fates.append(await site.put(trace + raw, uid=8))
        assert fates == ["done", "duplicate", "duplicate", "refused"]  # the last one is to look at: some header differs
        await site.settled()
        assert len(site.documents.received) == 1
        assert len(site.answers()) == 1


async def test_the_same_mail_in_two_mailboxes_is_two_deliveries(start: Start) -> None:
    async with start() as site:
        raw = sent(FIRST)
        assert [await site.put(raw), await site.put(raw, mailbox="imagerie@chb.mssante.fr")] == ["done", "done"]
        await site.settled()
        first, second = mdm(site), mdm(site, 1)
        assert first.get("MSH-10") != second.get("MSH-10")
        assert content(first) == content(second) == FIRST.data


async def test_a_forwarded_mail_is_not_delivered_twice(start: Start) -> None:
    async with start() as site:
        raw = sent(FIRST)
        await site.put(raw)
        await site.settled()
        fields = {"Message-ID": "<forward@x.example>", "Subject": "TR: document"}
        assert await site.put(mails.letter(archives=(), enclosed=(raw,), headers=fields)) == "done"
        await site.settled()
        assert len(site.documents.received) == 1
        assert len(await site.journal("delivered-before")) == 1
        assert len(site.answers()) == 1  # the forward asked for none


async def test_a_forwarded_mail_alone_is_delivered(start: Start) -> None:
    async with start() as site:
        site.documents.script("AE", detail="902")
        fields = {"Message-ID": "<forward@x.example>", "Subject": "TR: document"}
        assert await site.put(mails.letter(archives=(), enclosed=(sent(FIRST),), headers=fields)) == "done"
        await site.settled()
        assert content(mdm(site)) == FIRST.data
        (answer,) = site.answers()
        assert (answer.kind, site.operator.received[0].recipients) == ("error-report", (mails.SENDER,))


async def test_a_refused_document_may_come_again(start: Start) -> None:
    async with start() as site:
        site.documents.script("AE", times=1, detail="902")
        await site.put(sent(FIRST))
        await site.settled()
        again = sent(FIRST).replace(b"Message-ID: <", b"Message-ID: <again-")
        await site.put(again)
        await site.settled()
        assert [each.answer for each in site.documents.received] == ["AE", "AA"]
        assert [read_mdn(each).failed for each in site.answers()] == [True, False]


async def test_another_content_under_the_same_id_is_refused(start: Start) -> None:
    async with start() as site:
        await site.put(letter(archive([FIRST])))
        await site.settled()
        other = document("N1", number=1, patient=1, size=24_000)
        assert other.id == FIRST.id
        await site.put(letter(archive([other]), headers={"Message-ID": "<other@x.example>"}))
        await site.settled()
        assert len(site.documents.received) == 1
        assert [each.error_code for each in site.answers()] == ["900"]


async def test_replacement_and_deletion_follow_the_document(start: Start) -> None:
    new = document("N1", number=4, patient=1, size=4_000, replaces=FIRST)
    async with start() as site:
        for number, (each, action) in enumerate(((FIRST, None), (new, None), (new, Action.DELETE))):
            raw = sent(each, action=action).replace(b"Message-ID: <", f"Message-ID: <{number}-".encode())
            assert await site.put(raw) == "done"
        await site.settled()
        assert [each.type for each in site.documents.received] == ["MDM^T02", "MDM^T10", "MDM^T04"]


async def test_several_archives_are_refused_and_answered_once(start: Start) -> None:
    async with start() as site:
        raw = mails.letter(archives=[archive([FIRST]), archive([SECOND])])
        assert await site.put(raw) == "refused"
        await site.settled()
        assert await site.put(raw) == "refused"  # as after a crash, before the mailbox had noted it
        await site.settled()
        assert site.documents.received == []
        (answer,) = site.answers()
        assert (answer.kind, answer.error_code) == ("error-report", "906")


async def test_our_own_answers_are_not_answered(start: Start) -> None:
    """Every answer that we write, delivered to ourselves: nothing leaves, nothing comes in."""
    async with start() as site:
        site.documents.script("AE", times=2, detail="902")
        await site.put(sent(FIRST))
        await site.put(sent(SECOND, flags={"ACK_LECTURE_MSS": "N"}).replace(b"Message-ID: <", b"Message-ID: <2"))
        await site.settled()
        returned = [b"Return-Path: <>\r\n" + each.content for each in site.operator.received]
        assert len(returned) == 2
        for raw in returned:
            assert await site.put(raw) == "done"
        await site.settled()
        assert await site.counts("reports") == (0, 0, 2)
        assert len(site.operator.received) == 2
        assert len(site.documents.received) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Return-Path": "<>"},
        {"Auto-Submitted": "auto-generated"},
        {"Precedence": "bulk"},
        {"From": f"CHB <{BOX}>"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_automatic_mails_are_delivered_and_never_answered(start: Start, headers: dict[str, str]) -> None:
    async with start() as site:
        site.documents.script("AE", detail="902")
        fields = {"Disposition-Notification-To": mails.SENDER, **headers}
        assert await site.put(letter(archive([FIRST]), headers=fields)) == "done"
        await site.settled()
        assert len(site.documents.received) == 1
        assert site.operator.received == []
        (told,) = await site.journal("mail-settled")
        assert told.facts["reason"]


async def test_what_is_no_document_is_left_to_people(start: Start) -> None:
    absent = {"Subject": "Absence du bureau", "Auto-Submitted": "auto-replied"}
    async with start() as site:
        assert await site.put(mails.letter(archives=())) == "refused"
        assert await site.put(mails.letter(archives=(), headers=absent)) == "refused"
        assert await site.put(b"\x00\xff no mail at all") == "refused"
        await site.settled()
        assert site.operator.received == []
        assert len(await site.journal("rejected")) == 3
        assert {entry.facts["kind"] for entry in await site.journal("mail-read")} == {
            "ordinary",
            "auto-reply",
            "unreadable",
        }


async def test_a_sealed_mail_is_answered(start: Start) -> None:
    """Nobody here can open it: its sender must know."""
    async with start() as site:
        raw = mails.letter(archives=[b"sealed"], name="smime.p7m", media_type="application/pkcs7-mime")
        assert await site.put(raw) == "refused"
        await site.settled()
        assert [(each.kind, each.error_code) for each in site.answers()] == [("error-report", "906")]


async def test_error_mailboxes_get_their_copy(start: Start, tmp_path: Path) -> None:
    """The settings that inbound.yaml has as comments."""
    shutil.copytree(ROUTES, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "inbound.yaml").read_text()
    text = text.replace("delivery-outcome: {}", "delivery-outcome: {tell-others: true}")
    text = text.replace("# error-mailboxes: [dsi@hopital", "error-mailboxes: [dsi@hopital")
    (tmp_path / "inbound.yaml").write_text(text)
    async with start(paths=[tmp_path / path.name for path in WHOLE]) as site:
        site.documents.script("AE", times=1, detail="902")
        await site.put(sent(FIRST))
        await site.put(sent(SECOND).replace(b"Message-ID: <", b"Message-ID: <2"))
        await site.settled()
        to = sorted(each.recipients for each in site.operator.received)
        assert to == [("dsi@hopital.mssante.example",), (MAILBOX.address,), (MAILBOX.address,)]
        copy = next(each for each in site.answers() if each.kind == "error-report")
        assert copy.error_code == "902"


async def test_what_the_journal_says_holds_no_identity(start: Start) -> None:
    async with start() as site:
        site.documents.script("AE", times=1, detail="902", text=PATIENT.family)
        await site.put(sent(FIRST))
        await site.put(mails.letter(archives=[archive([FIRST]), archive([SECOND])]))
        await site.settled()
        told = " ".join(f"{entry.event} {dict(entry.facts)}" for entry in await site.store.journal(limit=1000))
        for secret in (PATIENT.matricule, PATIENT.family, PATIENT.given, PATIENT.birth_date):
            assert secret not in told
        (line,) = await site.journal("document")
        assert line.facts["action"] == "new"
        assert line.facts["document_id"] == cda.read(FIRST.data).id.unique_id
