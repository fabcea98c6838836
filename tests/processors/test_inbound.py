"""`read-mail`, `xdm-unpack`, `mdm-build`, and the memory of mails read."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.flow.component import Registry
from pfiflow.flow.exchange import Exchange
from pfiflow.hl7.er7 import parse
from pfiflow.mssante.reading import ReceivedMail
from pfiflow.processors.inbound import MdmBuildOptions
from pfiflow.processors.opened import OpenedMails
from pfiflow.simulators.documents import document
from pfiflow.store.api import Record
from tests.mssante import mails
from tests.segur.mails import archive, letter, sent

pytestmark = pytest.mark.anyio

BOX = "bal@chb.mssante.fr"
FIRST, SECOND = document("N1", number=1, patient=1, size=6_000), document("N3", number=2, patient=1)
REGISTRY = Registry.installed()
OPTIONS = MdmBuildOptions(
    sending_facility="CHB",
    receiving_application="DPI",
    receiving_facility="CHB",
    organization_name="Service Y",
    organization_id="3435",
    organization_id_type="UF",
    organization_authority="120456789",
    test_platform=True,
)


@define
class Memory:
    """Records in a dictionary."""

    known: dict[tuple[str, str], Record] = field(factory=dict)

    async def find_record(self, kind: str, key: str, /) -> Record | None:
        return self.known.get((kind, key))

    def keep(self, exchange: Exchange[Any]) -> None:
        for memory in exchange.memories:
            self.known[memory.kind, memory.key] = Record(memory.kind, memory.key, 1.0, exchange.id, memory.facts)


def exchange(body: Any, headers: Mapping[str, str] | None = None, name: str = "x") -> Exchange[Any]:
    return Exchange(name, body, {"mailbox": BOX, "imap-uid": "7", **(headers or {})}, received=1_795_000_000.0)


def read(raw: bytes, name: str = "x") -> Exchange[ReceivedMail]:
    component = REGISTRY.component("read-mail", "processor")
    done: Exchange[ReceivedMail] = component.build(component.options())(exchange(raw, name=name))
    return done


def unpack(raw: bytes) -> Exchange[tuple[ReceivedMail, ...]]:
    component = REGISTRY.component("xdm-unpack", "processor")
    done: Exchange[tuple[ReceivedMail, ...]] = component.build(component.options())(read(raw))
    return done


async def build(raw: bytes, memory: Memory, *, number: int = 1, name: str = "x") -> Exchange[bytes]:
    component = REGISTRY.component("mdm-build", "processor")
    body = read(raw).body
    done: Exchange[bytes] = await component.build(OPTIONS, memory)(exchange(body, {"split-index": str(number)}, name))
    return done


def test_a_mail_says_what_it_is() -> None:
    done = read(sent(FIRST))
    assert done.headers["mail-kind"] == "xdm"
    assert done.headers["mail-id"] == done.body.message_id
    (note,) = done.notes
    assert (note.event, note.facts["mailbox"], note.facts["uid"]) == ("mail-read", BOX, "7")


def test_a_patients_address_is_masked_in_the_journal() -> None:
    raw = mails.letter(headers={"From": "279035121518989@patient.mssante.fr"})
    assert read(raw).notes[0].facts["sender"] == "***@patient.mssante.fr"


def test_two_copies_of_a_mail_have_one_key_and_other_documents_another() -> None:
    raw = sent(FIRST)
    keys = [read(each).headers["mail-key"] for each in (raw, b"Received: by mx.example\r\n" + raw, sent(SECOND))]
    assert keys[0] == keys[1] != keys[2]
    plain = mails.letter(archives=(), text="a")
    assert read(plain).headers["mail-key"] != read(mails.letter(archives=(), text="b")).headers["mail-key"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_read_mail_refuses_nothing(raw: bytes) -> None:
    done = read(raw)
    body_type = REGISTRY.body_types["received-mail"]
    assert body_type.encode(done.body) == raw
    assert body_type.decode(raw).kind == done.headers["mail-kind"]
    assert set(body_type.view(done.body)) == {"kind", "message_id", "forwarded", "automatic", "size"}


def test_a_mail_goes_on_once_for_each_document_and_names_no_patient() -> None:
    done = unpack(letter(archive([FIRST, SECOND])))
    assert len(done.body) == 2
    assert done.body[0] is done.body[1]
    assert [note.facts["number"] for note in done.notes if note.event == "document"] == ["1", "2"]
    assert FIRST.patient.matricule not in f"{done.headers}{done.notes}"


def test_one_patient_has_one_lane() -> None:
    lanes = [unpack(sent(document("N1", number=n, patient=p))).headers["patient"] for n, p in ((1, 1), (2, 1), (3, 2))]
    assert lanes[0] == lanes[1] != lanes[2]


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(Rejected, match="archive"):
        unpack(mails.letter(archives=()))


async def test_the_mdm_is_the_same_on_every_attempt() -> None:
    memory = Memory()
    first, second = await build(sent(FIRST), memory), await build(sent(FIRST), memory)
    assert first.body == second.body
    message = parse(first.body)
    assert first.headers["mdm-control-id"] == message.get("MSH-10")
    assert (message.get("MSH-5"), message.get("MSH-7")) == ("DPI", "20261118120640+0100")
    rct = next(each for each in message.all("PRT") if each.text(4) == "RCT")
    assert (rct.text(8), rct.text(8, 10)) == ("Service Y", "3435")


async def test_each_document_has_its_own_mdm() -> None:
    raw = letter(archive([FIRST, SECOND]))
    built = [await build(raw, Memory(), number=number) for number in (1, 2)]
    assert len({each.headers["mdm-control-id"] for each in built}) == 2
    assert [each.headers["document-id"] for each in built] != [built[0].headers["document-id"]] * 2


async def test_what_was_delivered_is_remembered() -> None:
    memory = Memory()
    memory.keep(await build(sent(FIRST), memory))
    again = await build(sent(FIRST), memory, name="other")
    assert again.headers["delivered"] == "before"
    assert again.memories == ()


async def test_a_replay_is_sent_again() -> None:
    memory = Memory()
    memory.keep(await build(sent(FIRST), memory))
    assert (await build(sent(FIRST), memory)).headers["delivered"] == ""


async def test_another_content_under_the_same_id_is_refused() -> None:
    memory = Memory()
    memory.keep(await build(sent(FIRST), memory))
    with pytest.raises(Rejected) as refusal:
        await build(sent(document("N1", number=1, patient=1, size=20_000)), memory, name="other")
    assert refusal.value.problems[0].detail_code == "900"


def test_few_mails_are_remembered() -> None:
    raws = [sent(document("N1", number=number, patient=1)) for number in range(1, 5)]
    opened = OpenedMails(mails=2, size=10**9)
    first = opened.read(raws[0])
    assert opened.read(bytes(bytearray(raws[0]))) is first
    assert opened.open(first) is opened.open(first)
    for raw in raws[1:]:
        opened.read(raw)
    assert opened.read(raws[0]) is not first


def test_few_bytes_are_remembered() -> None:
    raw = sent(FIRST)
    opened = OpenedMails(mails=9, size=len(raw) - 1)
    assert opened.read(raw) is not opened.read(raw)
    opened = OpenedMails(mails=9, size=len(raw))
    first = opened.read(raw)
    assert opened.read(raw) is first
    opened.read(mails.letter())
    assert opened.read(raw) is not first


def test_threads_may_share_it() -> None:
    raws = [sent(document("N1", number=number, patient=1)) for number in range(1, 5)]
    opened = OpenedMails(mails=2, size=10**9)
    wrong: list[str] = []

    def use() -> None:
        for raw in raws * 50:
            if opened.open(opened.read(raw)).deliverable[0].document.raw != known[raw]:
                wrong.append("another mail's document")  # noqa: PERF401 - several threads

    known = {raw: OpenedMails().open(OpenedMails().read(raw)).deliverable[0].document.raw for raw in raws}
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
