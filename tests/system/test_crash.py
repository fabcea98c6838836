"""`kill -9` at random instants under load, and orderly stops: nothing acknowledged is lost, none is out of order.

The sender behaves as a hospital's software does: one message at a time on a connection, the same message again (same
MSH-10) until it is answered AA.
"""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Semaphore

import pytest
from attrs import define, field, frozen

from pfiflow.segur.values import Action
from pfiflow.simulators.mail import MailSimulator, ReceivedMail
from pfiflow.simulators.messages import document, message, patient
from tests.system.conftest import QUICK
from tests.system.mails import Opened, opened
from tests.system.service import Peer, Service, until

CONNECTIONS = 8
PATIENTS = 40
KILLS = 20
STARTUP_KILLS = 4  # besides, while it starts and recovers


@frozen
class Order:
    """One HL7 message, and what has to come of it."""

    control_id: str
    data: bytes = field(repr=False)
    patient: int
    document_id: str
    action: str  # "", C or D
    to_patient: bool
    to_dmp: bool

    @property
    def identities(self) -> list[tuple[str, str, bool]]:
        """The mails that fulfil it, as `Opened.identity`."""
        audiences = (False, True) if self.to_patient else (False,)
        return [(self.document_id, self.action, audience) for audience in audiences]


def mailbox_of(number: int) -> str:
    """The professional whom a patient's documents go to."""
    return f"medecin{number}@demo.mssante.fr"


def orders_of(number: int) -> list[Order]:
    """What one patient gets: a document, its replacement, its deletion, another document, its replacement."""
    first = document(number=10 * number + 1, patient=number, size=12_000)
    second = document(number=10 * number + 2, patient=number, size=12_000, replaces=first)
    third = document("N3", number=10 * number + 3, patient=number, size=12_000, pdf_copy=True)
    fourth = document("N3", number=10 * number + 4, patient=number, size=12_000, pdf_copy=True, replaces=third)
    steps = (
        (first, Action.NEW, ""),
        (second, Action.REPLACE, "C"),
        (second, Action.DELETE, "D"),
        (third, Action.NEW, ""),
        (fourth, Action.REPLACE, "C"),
    )
    orders = []
    for place, (carried, action, slot) in enumerate(steps):
        to_patient, to_dmp = number % 4 == 0, number % 3 == 0
        flags = {"DESTMSSANTEPAT": "Y" if to_patient else "N", "DESTDMP": "Y" if to_dmp else "N"}
        control_id = f"P{number}-{place}"
        data = message(
            carried,
            action=action,
            flags=flags,
            control_id=control_id,
            recipients=(mailbox_of(number),),
            kind="ORU" if number % 5 == 0 and action is not Action.DELETE else "MDM",
        )
        orders.append(Order(control_id, data, number, carried.id.root, slot, to_patient, to_dmp))
    return orders


def shares(rng: random.Random, patients: Sequence[int]) -> list[list[Order]]:
    """The orders of each connection: some patients' each, mixed, every patient's own in sequence."""
    result = []
    for connection in range(CONNECTIONS):
        waiting = [orders_of(number) for number in patients if number % CONNECTIONS == connection]
        share: list[Order] = []
        while waiting:
            chosen = rng.choice(waiting)
            share.append(chosen.pop(0))
            waiting = [orders for orders in waiting if orders]
        result.append(share)
    return result


@define(eq=False)
class Load:
    """Eight senders. `allow(n)` lets n more messages go, so that the load lasts as long as the test wants."""

    service: Service
    shares: list[list[Order]]
    gate: Semaphore = field(factory=lambda: Semaphore(0))
    accepted: list[Order] = field(factory=list)  # in the order of their AA
    sendings: int = 0
    counting: Lock = field(factory=Lock)
    over: bool = False

    def run(self, share: list[Order]) -> None:
        with Peer(self.service) as peer:
            for order in share:
                self.gate.acquire()
                sendings = peer.persist(order.data, over=lambda: self.over)
                with self.counting:  # an unguarded `+=` around the slow call would lose other threads' counts
                    self.sendings += sendings
                    self.accepted.append(order)

    @contextmanager
    def senders(self) -> Iterator[list[Future[None]]]:
        """The eight at work. When the test fails they are let go, or it would wait for them to its timeout."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                yield [pool.submit(self.run, share) for share in self.shares]
            except BaseException:
                self.over = True
                self.allow(1000)
                raise

    def allow(self, count: int) -> None:
        self.gate.release(count)


def check_all_delivered(accepted: Sequence[Order], received: Sequence[ReceivedMail], service: Service) -> str:
    """Every AA's mails exactly once by Message-ID, in order within a patient; nothing waits. Says what was seen."""
    contents: dict[str, bytes] = {}
    firsts: list[Opened] = []
    duplicates = 0
    for mail in received:
        found = opened(mail)
        if found.message_id in contents:
            assert contents[found.message_id] == mail.content  # the very same bytes: a peer can drop it
            duplicates += 1
        else:
            contents[found.message_id] = mail.content
            firsts.append(found)
    by_identity: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for found in firsts:
        by_identity[found.identity].append(found.message_id)
    expected = [identity for order in accepted for identity in order.identities]
    assert sorted(by_identity) == sorted(expected)
    assert all(len(message_ids) == 1 for message_ids in by_identity.values())

    # Order: the first copies, patient by patient and audience by audience, as the messages were sent.
    place = {identity: position for position, identity in enumerate(found.identity for found in firsts)}
    lanes: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for order in sorted(accepted, key=lambda order: (order.patient, order.control_id)):
        for identity in order.identities:
            lanes[order.patient, identity[2]].append(place[identity])
    assert all(lane == sorted(lane) for lane in lanes.values())
    # Nor does a late second copy come after the mail that follows it.
    latest: dict[tuple[int, bool], int] = defaultdict(int)
    rank = {
        identity: (order.patient, int(order.control_id.rpartition("-")[2]))
        for order in accepted
        for identity in order.identities
    }
    for mail in received:
        identity = opened(mail).identity
        who, position = rank[identity]
        assert position >= latest[who, identity[2]]
        latest[who, identity[2]] = position

    status = service.channel()
    assert (status.waiting, status.dead) == (0, 0)
    assert service.channel("dmp").waiting == sum(order.to_dmp for order in accepted)
    return f"{len(accepted)} AA, {len(firsts)} mails, {duplicates} sent twice with the same bytes"


@pytest.mark.timeout(400)  # 25 starts, each a second of processor time
def test_nothing_is_lost_by_twenty_kills_under_load(
    make_service: Callable[..., Service], derive: Callable[..., Path], operator: MailSimulator
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    operator.script("BODY", delay=0.015)  # the time of a real server: kills fall between its 250 and our commit too
    for number in range(1, PATIENTS + 1, 3):  # their mails wait for a retry, with the next ones behind them
        operator.script("RCPT", "450 4.2.1 busy", address=mailbox_of(number), times=2)
    service = make_service(derive(QUICK))
    load = Load(service, shares(rng, range(1, PATIENTS + 1)))
    total = sum(map(len, load.shares))
    assert total == 200
    kills = [*["load"] * KILLS, *["start"] * STARTUP_KILLS]
    rng.shuffle(kills)
    batch = total // (KILLS + 1)
    interrupted = allowed = 0
    with load.senders() as senders:
        for kind in kills:
            if kind == "load":
                service.start()
                load.allow(batch)
                allowed += batch
                time.sleep(rng.uniform(0.0, 0.25))
                mails = sum(len(order.identities) for order in list(load.accepted))
                interrupted += len(load.accepted) < allowed or len(operator.received) < mails
            else:
                service.start(wait=False)
                time.sleep(rng.uniform(0.3, 1.5))
            service.kill()
        assert interrupted >= KILLS // 2  # most came while messages were taken in or mails sent
        service.start()
        load.allow(total)
        for sender in senders:
            sender.result(timeout=200)
    service.settled(timeout=60)
    assert len(load.accepted) == total
    print(check_all_delivered(load.accepted, operator.received, service))
    print(f"{interrupted} of {KILLS} kills interrupted work; {service.lives} lives, {load.sendings} sendings")
    assert load.sendings > total  # some were sent again, and came once
    service.terminate()


def test_a_stop_drains_and_loses_nothing(service: Service, operator: MailSimulator) -> None:
    operator.script("BODY", delay=0.05)
    load = Load(service, shares(random.Random(1), range(41, 57)))
    total = sum(map(len, load.shares))
    with load.senders() as senders:
        load.allow(total // 2)
        until(lambda: len(load.accepted) > total // 4, what="the load is on")
        began = time.monotonic()
        service.terminate()  # asserts exit 0
        assert time.monotonic() - began < 25  # the drain time is 30 s; what was in flight took less
        stopped = len(operator.received)
        assert service.logged("info")[-1].startswith("drained:")
        assert service.channel().waiting  # the queue itself waits for the next life
        load.allow(total)
        service.start()
        for sender in senders:
            sender.result(timeout=200)
    service.settled()
    assert 0 < stopped < len(operator.received)
    assert operator.counts["BODY"] == len(operator.received)
    message_ids = [opened(mail).message_id for mail in operator.received]
    assert len(set(message_ids)) == len(message_ids)  # an orderly stop sends nothing twice
    print(check_all_delivered(load.accepted, operator.received, service))


def test_a_second_signal_stops_at_once_and_loses_nothing(service: Service, operator: MailSimulator) -> None:
    operator.script("BODY", delay=20.0)
    load = Load(service, shares(random.Random(2), range(61, 69)))
    with load.senders() as senders:
        load.allow(20)
        until(lambda: operator.counts["BODY"], what="a mail is in flight")
        service.signal(signal.SIGTERM)
        time.sleep(0.7)
        assert service.process is not None
        assert service.process.poll() is None  # it drains
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.wait() == 130
        assert time.monotonic() - began < 15  # the mail in flight takes 20 s
        operator.clear_script()
        operator.drop_connections()
        service.start()
        load.allow(1000)
        for sender in senders:
            sender.result(timeout=200)
    service.settled()
    print(check_all_delivered(load.accepted, operator.received, service))


def test_signals_in_quick_succession_and_sigint(service: Service, operator: MailSimulator) -> None:
    operator.script("BODY", delay=20.0)
    order = orders_of(70)[0]
    with Peer(service) as peer:
        assert peer.send(order.data).code == "AA"
        until(lambda: operator.counts["BODY"], what="a mail is in flight")
    service.signal(signal.SIGINT)
    time.sleep(0.3)
    service.signal(signal.SIGTERM)
    service.signal(signal.SIGINT)
    assert service.wait() == 130
    assert patient(70).family not in service.log_path.read_text()
