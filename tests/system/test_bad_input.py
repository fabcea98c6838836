"""What a peer may send that is no good: each gets a clear answer with its code and place, nothing is kept of it."""

from __future__ import annotations

import base64
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from pfiflow.hl7.ack import Acknowledgement
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import document, message, patient
from tests.segur.edits import edited, flags, inserted, split, value_of, without
from tests.system.mails import opened
from tests.system.service import Peer, Service, until

GOOD = message(document(number=1, patient=1, size=0), control_id="GOOD", flags={"DESTDMP": "N"})
TO_PROFESSIONALS = message(
    document(number=1, patient=1, size=0), control_id="GOOD", flags={"DESTDMP": "N", "DESTMSSANTEPAT": "N"}
)
LIMITS = ('listen: "${env:PFI_MLLP_LISTEN:-127.0.0.1:2575}"',) * 2

Errors = dict[tuple[str, str], str]


def with_cda(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The message with its document changed."""
    kind, subtype, encoding, content = value_of(data, "OBX-5").split(b"^")[1:5]
    document = change(base64.b64decode(content))
    return edited(data, {"OBX-5": b"^".join((b"", kind, subtype, encoding, base64.b64encode(document)))})


def replaced(old: str, new: str, count: int = 1) -> Callable[[bytes], bytes]:
    """The change of a text in a document."""

    def change(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode(), count)

    return change


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">]>'
)


def bombed(content: bytes) -> bytes:
    """A document whose title grows without end."""
    _, rest = content.split(b"?>", 1)
    return BOMB + re.sub(rb"<title>.*?</title>", b"<title>&e;</title>", rest)


def external(content: bytes) -> bytes:
    """A document that asks for a file of ours."""
    _, rest = content.split(b"?>", 1)
    doctype = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    return doctype + re.sub(rb"<title>.*?</title>", b"<title>&e;</title>", rest)


def prts(data: bytes) -> list[str]:
    return [f"PRT[{n}]" for n in range(1, sum(each.startswith(b"PRT") for each in split(data)) + 1)]


@frozen
class Case:
    """One bad message: code and location of one error that its answer must hold, and words of its text."""

    name: str
    data: bytes
    code: str
    location: str
    words: str = ""


ELSEWHERE = patient(9)

CASES = (
    Case("not HL7", b"GET / HTTP/1.1\r\nHost: pfi\r\n\r\n", "100", "MSH", "not an HL7 v2 message"),
    Case("empty", b"", "100", "MSH"),
    Case("only MSH", GOOD.split(b"\r")[0] + b"\r", "100", "PID"),
    Case("wrong version", edited(GOOD, {"MSH-12": "2.3"}), "203", "MSH-12"),
    Case("no version", edited(GOOD, {"MSH-12": ""}), "101", "MSH-12"),
    Case("unknown trigger", edited(GOOD, {"MSH-9": "MDM^T99^MDM_T02"}), "201", "MSH-9.2"),
    Case("unknown type", edited(GOOD, {"MSH-9": "ADT^A01^ADT_A01"}), "200", "MSH-9"),
    Case("unknown charset", edited(GOOD, {"MSH-18": "KLINGON"}), "103", "MSH-18"),
    Case("no control id", edited(GOOD, {"MSH-10": ""}), "101", "MSH-10"),
    Case("trigger against ORC", edited(GOOD, {"ORC-1": "RO"}), "199", "ORC-1", "contradicts the event T02"),
    Case("trigger against OBX", edited(GOOD, {"OBX-11": "D"}), "199", "OBX-11", "contradicts"),
    Case("TXA against OBR", edited(GOOD, {"TXA-2": "11490-0"}), "199", "TXA-2"),
    Case("OBX against OBR", edited(GOOD, {"OBX-3": "11490-0^Lettre^LN"}), "199", "OBX-3"),
    Case("TXA against CDA", edited(GOOD, {"TXA-12": "1.2.3.4"}), "207", "TXA-12"),
    Case("missing PRT", without(GOOD, *prts(GOOD)), "101", "PRT", "recipient"),
    Case("no recipient", without(TO_PROFESSIONALS, prts(TO_PROFESSIONALS)[-1]), "101", "PRT"),
    Case("missing PID", without(GOOD, "PID"), "100", "PID"),
    Case("missing document", without(GOOD, "OBX"), "101", ""),
    Case("two PID", inserted(GOOD, "PV1", split(GOOD)[2]), "198", "PID[2]"),
    Case("bad base64", edited(GOOD, {"OBX-5": "^text^XML^Base64^PD94!!!bWw"}), "102", "OBX-5.5", "not base64"),
    Case("cut base64", edited(GOOD, {"OBX-5": value_of(GOOD, "OBX-5")[:-3]}), "102", "OBX-5.5"),
    Case("no document", edited(GOOD, {"OBX-5": "^text^XML^Base64^"}), "101", "OBX-5.5"),
    Case("not XML", with_cda(GOOD, lambda _: b"%PDF-1.4 this is no CDA"), "102", "OBX-5.5", "XML"),
    Case("cut XML", with_cda(GOOD, lambda content: content[: len(content) // 2]), "102", "OBX-5.5", "well-formed"),
    Case("not a CDA", with_cda(GOOD, lambda _: b"<html xmlns='http://www.w3.org/1999/xhtml'/>"), "207", ""),
    Case("DTD bomb", with_cda(GOOD, bombed), "207", "OBX-5.5", "DOCTYPE"),
    Case("external entity", with_cda(GOOD, external), "207", "OBX-5.5", "DOCTYPE"),
    Case(
        "deep XML",
        with_cda(GOOD, replaced("<title>", "<title>" + "<b>" * 5000)),
        "207",
        "OBX-5.5",
        "too deep",
    ),
    Case(
        "no INS, to the patient",
        with_cda(
            GOOD,
            replaced(f'<id root="1.2.250.1.213.1.4.10" extension="{patient(1).matricule}"/>', ""),
        ),
        "207",
        "PID-3",
        "no INS",
    ),
    Case(
        "another patient's document",
        with_cda(GOOD, lambda _: document(number=1, patient=9, size=0).data),
        "207",
        "PID-3",
        "another patient's document",
    ),
    Case("PID-3 against CDA", edited(GOOD, {"PID-3": value_of(GOOD, "PID-3").replace(b"1", b"2", 1)}), "207", ""),
    Case("PID-7 against CDA", edited(GOOD, {"PID-7": "19000101"}), "207", "PID-7"),
    Case("PID-8 against CDA", edited(GOOD, {"PID-8": "F"}), "207", "PID-8"),
    Case(
        "PID-5 against CDA", edited(GOOD, {"PID-5": f"{ELSEWHERE.family}^{ELSEWHERE.given}^X^^^^L"}), "207", "PID-5.1"
    ),
    Case(
        "unknown type code",
        with_cda(
            edited(GOOD, {"OBR-4": "99999-9^X^LN", "TXA-2": "99999-9", "OBX-3": "99999-9^X^LN"}),
            replaced('code="11488-4"', 'code="99999-9"'),
        ),
        "103",
        "OBR-4",
        "JDV_J07",
    ),
    Case(
        "restricted",
        with_cda(GOOD, replaced('<confidentialityCode code="N"', '<confidentialityCode code="V"')),
        "207",
        "",
    ),
    Case("no destination", flags(GOOD, DESTMSSANTEPS="N", DESTMSSANTEPAT="N"), "207", "OBX"),
    Case("hidden yet sent", flags(GOOD, INVISIBLE_PATIENT="Y"), "207", ""),
    Case("two documents", inserted(GOOD, "PRT", split(GOOD)[7]), "198", "OBX[2]"),
    Case("null bytes", edited(GOOD, {"PID-5": b"\x00\x00\x00"}), "102", "MSH", "0x00"),
    Case("wrong UTF-8", edited(GOOD, {"PID-5": b"PAT-BACO\xff\xfe^CLAUDE^CLAUDE TEST^^^^L"}), "102", "PID-5.1"),
)


def told(answer: Acknowledgement) -> str:
    return "\n".join(str(problem) for problem in answer.errors)


def test_every_bad_message_gets_a_clear_answer(service: Service, operator: MailSimulator) -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    secrets = [word for n in (1, 9) for word in (patient(n).matricule, patient(n).family, patient(n).ipp)]
    wrong: list[str] = []
    with Peer(service) as peer:
        for number, case in enumerate(CASES, 1):
            # A control id of its own, where there is one: none is a duplicate of another.
            data = case.data.replace(b"|GOOD|", f"|BAD-{number}|".encode())
            answer = peer.send(data)
            print(f"-- {case.name}: {answer.code}\n{told(answer)}")
            as_expected = [
                problem
                for problem in answer.errors
                if problem.code == case.code
                and (not case.location or problem.location == case.location)
                and case.words in problem.message
            ]
            has_control_id = b"|GOOD|" in case.data
            if not (
                answer.code == "AE"
                and as_expected
                and all(problem.location and problem.message for problem in answer.errors)
                and (not has_control_id or answer.control_id == f"BAD-{number}")
                # Nothing of the patient or the document travels back in an error's text either.
                and not any(secret in told(answer) for secret in secrets)
            ):
                wrong.append(f"{case.name}: {answer.code} {answer.control_id} {told(answer)}")
        assert peer.send(GOOD).code == "AA"  # on the same connection
    assert wrong == []
    service.settled()
    assert len(operator.received) == 2
    assert len(service.journal("rejected")) >= len(CASES) - 2  # what has no MSH never becomes an exchange
    assert {each.exchange_id for each in service.messages()} == {service.messages()[0].exchange_id}
    assert not service.logged("error")


def test_all_faults_of_a_message_are_told_at_once(service: Service) -> None:
    bad = edited(GOOD, {"ORC-1": "RO", "PID-7": "19000101", "OBX-11": "D", "TXA-17": "DI"})
    with Peer(service) as peer:
        answer = peer.send(bad)
    assert answer.code == "AE"
    found = {(problem.code, problem.location) for problem in answer.errors}
    assert {("199", "ORC-1"), ("199", "OBX-11"), ("103", "TXA-17")} <= found


def test_without_an_ins_nothing_goes_to_the_patient(service: Service, operator: MailSimulator) -> None:
    """Neither side has an INS: the professionals' mail leaves, the patient's is a dead letter that says why."""
    without_ins = with_cda(
        edited(GOOD, {"PID-3": value_of(GOOD, "PID-3").split(b"~")[1]}),
        replaced(f'<id root="1.2.250.1.213.1.4.10" extension="{patient(1).matricule}"/>', ""),
    )
    with Peer(service) as peer:
        assert peer.send(without_ins).code == "AA"
    service.settled()
    (mail,) = operator.received
    assert not opened(mail).to_patient
    assert b"X-MSS-INS: N" in mail.content
    (dead,) = service.messages(state="dead")
    assert dead.headers["audience"] == "patient"
    assert dead.cause == "207 at PID: the INS is not qualified: PID-3 (INS)"
    assert any("dead letter" in line and "INS" in line for line in service.logged("error"))


@pytest.fixture
def narrow(make_service: Callable[..., Service], derive: Callable[..., Path]) -> Service:
    """The shipped route with small limits, running."""
    old = LIMITS[0]
    extra = "max-frame: 256KiB\n        frame-timeout: 2s\n        max-garbage: 1KiB\n        max-connections: 12"
    return make_service(derive((old, f"{old}\n        {extra}"))).start()


def test_frames_that_are_no_good(narrow: Service, operator: MailSimulator) -> None:
    frame = b"\x0b" + GOOD + b"\x1c\r"
    with Peer(narrow) as peer:
        # Too large: answered at once, read no further, the next frame is fine.
        large = message(document(number=2, patient=2, size=400_000), control_id="LARGE")
        answer = peer.send(large)
        assert (answer.code, answer.control_id, answer.errors[0].code) == ("AE", "LARGE", "207")
        assert "262144 bytes" in answer.errors[0].message
        # Cut by the start of another: the second one is answered.
        peer.write(b"\x0b" + GOOD[:500] + frame)
        assert (answer := peer.answer()).code == "AA", answer
        # A little between frames is skipped, line ends and a lone CR above all.
        narrow.keep_secret(GOOD)
        peer.write(b"\r\n\n\rnoise" + frame)
        assert peer.answer().code == "AA"
        # Byte by byte.
        small = edited(GOOD, {"MSH-10": "BYTES", "OBX-5": "^text^XML^Base64^"})
        for byte in b"\x0b" + small + b"\x1c\r":
            peer.write(bytes([byte]))
        assert peer.answer().control_id == "BYTES"
    # Cut by the end of the connection: nothing was acknowledged, nothing is kept.
    with Peer(narrow) as peer:
        peer.write(b"\x0b" + edited(GOOD, {"MSH-10": "CUT"})[:3000])
    # Cut and silent: closed in time.
    with Peer(narrow) as peer:
        peer.write(b"\x0b" + edited(GOOD, {"MSH-10": "SILENT"})[:3000])
        with pytest.raises(OSError, match=r"closed without an answer|reset"):
            peer.answer()
    # Without FS, half-closed: no answer, closed.
    with socket.create_connection(("127.0.0.1", narrow.port), 10) as raw:
        raw.sendall(b"\x0b" + edited(GOOD, {"MSH-10": "HALF"}))
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100) == b""
    # Half-closed after a whole frame: answered first.
    with socket.create_connection(("127.0.0.1", narrow.port), 10) as raw:
        raw.sendall(frame)
        raw.shutdown(socket.SHUT_WR)
        assert b"MSA|AA|GOOD" in raw.recv(4096)
    # Not MLLP at all: closed after a while of it.
    with socket.create_connection(("127.0.0.1", narrow.port), 10) as raw:
        try:
            for _ in range(20):
                raw.sendall(b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n" * 10)
                time.sleep(0.02)
            assert raw.recv(100) == b""
        except OSError:
            pass
    # Gone before the answer: stored all the same, the second sending is a duplicate.
    gone = message(document(number=3, patient=3, size=0), control_id="GONE", flags={"DESTMSSANTEPAT": "N"})
    with Peer(narrow) as peer:
        peer.write(b"\x0b" + gone + b"\x1c\r")
    with Peer(narrow) as peer:
        assert peer.send(gone).code == "AA"
    narrow.settled()
    identities = [opened(mail).unique_id for mail in operator.received]
    assert sorted(identities) == sorted(document(number=n, patient=n).id.root for n in (1, 1, 3))
    controls = {entry.headers["hl7-control-id"] for entry in narrow.messages()}
    assert controls == {"GOOD", "GONE"}
    warnings = narrow.logged("warning")
    for words in ("a frame was cut after", "bytes outside a frame", "not completed in time", "not an MLLP peer"):
        assert any(words in line for line in warnings), words


def test_more_connections_than_allowed(narrow: Service) -> None:
    peers = [Peer(narrow) for _ in range(12)]
    for peer in peers:
        assert peer.send(GOOD).code == "AA"
    with Peer(narrow) as one_too_many, pytest.raises(OSError, match=r"closed|reset|pipe"):
        one_too_many.send(GOOD)
    for peer in peers:
        assert peer.send(GOOD).code == "AA"
        peer.close()
    with Peer(narrow) as peer:
        until(lambda: _answers(peer), what="a place is free again")


def _answers(peer: Peer) -> bool:
    try:
        return peer.send(GOOD).code == "AA"
    except OSError:
        return False


def test_a_production_platform_refuses_tests(make_service: Callable[..., Service], operator: MailSimulator) -> None:
    service = make_service(PFI_TEST_PLATFORM="false").start()
    with Peer(service) as peer:
        answer = peer.send(GOOD)
        assert (answer.code, answer.errors[0].code, answer.errors[0].location) == ("AE", "202", "MSH-11")
        # A test INS is not a qualified one: nothing goes to that patient's address.
        answer = peer.send(edited(GOOD, {"MSH-11": "P", "MSH-10": "PRODUCTION"}))
        assert answer.code in {"AA", "AE"}
    if service.messages():
        until(lambda: not service.channel().waiting, what="settled")
    assert all(not opened(mail).to_patient for mail in operator.received)
