"""Real input through the running service: each transmission leaves as a mail whose archive and PDF are right."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from lxml import etree

from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action, Transmission
from pfiflow.simulators.mail import MailSimulator
from pfiflow.simulators.messages import document, message
from tests.conftest import SHARED
from tests.segur.edits import edited
from tests.system.conftest import MAILBOX
from tests.system.mails import Opened, opened
from tests.system.service import ROOT, Peer, Service, run_command

OWN_SCHEMA = etree.XMLSchema(etree.parse(ROOT / "schemas" / "xdm-metadata.xsd"))
EXAMPLES = sorted((ROOT / "examples" / "messages").glob("*.hl7"))
OFFICIAL = sorted((SHARED / "vectors" / "hl7").glob("*"))
SLOT = {Action.NEW: "", Action.REPLACE: "C", Action.DELETE: "D"}

official = pytest.mark.skipif(not OFFICIAL, reason="the official examples (../shared) are not here")


def content(path: Path) -> bytes:
    """The file as it travels: segments ended by CR."""
    return path.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")


def send(service: Service, *paths: Path, options: tuple[str, ...] = ()) -> tuple[int, str]:
    for path in paths:
        service.keep_secret(content(path))
    done = run_command("send", *paths, "--to", f"mllp://127.0.0.1:{service.port}", *options)
    assert done.stderr == ""
    return done.returncode, done.stdout


def wanted(transmission: Transmission) -> list[bool]:
    """Which audiences it goes to: False is the professionals, True the patient."""
    to = transmission.destinations
    return [False] * to.professionals + [True] * to.patient


def check_mail(mail: Opened, transmission: Transmission) -> None:
    """Against the message itself, without the code that made the mail."""
    OWN_SCHEMA.assertValid(mail.metadata)
    assert mail.documents == (transmission.document,)
    assert mail.action == SLOT[transmission.action]
    (pdf,) = mail.pdfs
    tree = etree.fromstring(transmission.document)
    body = tree.findtext(".//{urn:hl7-org:v3}nonXMLBody/{urn:hl7-org:v3}text")
    if body is not None:
        assert pdf == base64.b64decode(body)
    assert pdf.startswith(b"%PDF-")
    if not mail.to_patient:
        addresses = {recipient.address for recipient in transmission.recipients}
        assert set(mail.recipients) <= addresses


def test_every_example_leaves_as_mail(service: Service, operator: MailSimulator) -> None:
    assert len(EXAMPLES) >= 8
    status, told = send(service, *EXAMPLES)
    assert status == 0, told
    assert f"{len(EXAMPLES)} of {len(EXAMPLES)} accepted" in told
    service.settled()
    assert service.channel().dead == 0
    transmissions = [read(content(path)) for path in EXAMPLES]
    mails = [opened(mail) for mail in operator.received]
    for transmission in transmissions:
        for to_patient in wanted(transmission):
            # The ORU carry the documents of two of the MDM: found by what they say as well.
            candidates = [
                mail
                for mail in mails
                if mail.to_patient is to_patient
                and mail.documents == (transmission.document,)
                and mail.action == SLOT[transmission.action]
            ]
            assert candidates
            for mail in candidates:
                check_mail(mail, transmission)
    assert len(mails) == sum(len(wanted(transmission)) for transmission in transmissions)
    assert len({mail.message_id for mail in mails}) == len(mails)
    assert {(mail.login, mail.sender) for mail in operator.received} == {(MAILBOX, MAILBOX)}
    assert all(mail.certificate_subject for mail in operator.received)
    assert service.channel("dmp").waiting == sum(transmission.destinations.dmp for transmission in transmissions)


@official
def test_every_official_transmission_leaves_as_mail(service: Service, operator: MailSimulator, shared: Path) -> None:
    schema = etree.XMLSchema(etree.parse(shared / "xsd/xds/ebRS30/lcm.xsd"))
    paths = [path for path in OFFICIAL if path.name.startswith("transmission")]
    assert len(paths) == 5
    seen = 0
    for path in paths:
        transmission = read(content(path))
        status, told = send(service, path, options=("--new-control-id",))
        assert status == 0, told
        assert "1 of 1 accepted" in told
        service.settled()
        mails = [opened(mail) for mail in operator.received[seen:]]
        seen = len(operator.received)
        for mail in mails:
            schema.assertValid(mail.metadata)
            check_mail(mail, transmission)
        expected = wanted(transmission)
        assert expected, path.name
        if path.stem == "transmission_oru_submit_n3":
            # The example's own fault: its patient's address is not the INS's. Only that mail is refused, and reported.
            assert expected == [False, True]
            expected = [False]
        assert sorted(mail.to_patient for mail in mails) == expected, path.name
    (dead,) = service.messages(state="dead")
    assert dead.headers["audience"] == "patient"
    assert dead.headers["hl7-type"] == "ORU^R01"
    assert dead.cause.startswith("207 at PRT[3]-15: the patient's address is not the one built from the INS")
    (refusal,) = service.journal("rejected")
    assert refusal.exchange_id == dead.exchange_id
    assert "PRT[3]-15" in refusal.facts["problems"]
    assert len(service.journal("mail-sent")) == seen


@official
def test_what_is_no_transmission_is_refused(service: Service, operator: MailSimulator) -> None:
    others = [path for path in OFFICIAL if not path.name.startswith("transmission")]
    assert len(others) == 6
    with Peer(service) as peer:
        for path in others:
            answer = peer.send(content(path))
            assert answer.code == "AE", path.name
            assert answer.errors[0].code in {"200", "201", "207"}, path.name
            assert answer.errors[0].location.startswith("MSH-"), path.name
            assert answer.errors[0].message, path.name
    status, told = send(service, *others)
    assert status == 1
    assert "0 of 6 accepted" in told
    assert not service.messages("mail")
    assert not service.messages("dmp")
    assert not operator.received
    assert len(service.journal("rejected")) == 12


def test_the_same_message_again_is_one_mail(service: Service, operator: MailSimulator) -> None:
    order = message(document(number=1, patient=1), flags={"DESTMSSANTEPAT": "N"}, control_id="ONCE-1")
    with Peer(service) as peer, Peer(service) as other:
        answers = [peer.send(order), peer.send(order), other.send(order)]
        assert [answer.code for answer in answers] == ["AA"] * 3
        assert [answer.control_id for answer in answers] == ["ONCE-1"] * 3
        service.settled()
        assert peer.send(order).code == "AA"  # also when it has left already
        changed = message(document(number=2, patient=1), flags={"DESTMSSANTEPAT": "N"}, control_id="ONCE-1")
        answer = peer.send(changed)
        assert (answer.code, answer.errors[0].code, answer.errors[0].location) == ("AE", "207", "MSH-10")
        # Another software may use the same number.
        elsewhere = edited(changed, {"MSH-3": "RIS-DEMO"})
        assert peer.send(elsewhere).code == "AA"
    service.settled()
    assert [opened(mail).unique_id for mail in operator.received] == [
        document(number=1, patient=1).id.root,
        document(number=2, patient=1).id.root,
    ]
    service.terminate()
    service.start()
    with Peer(service) as peer:
        assert peer.send(order).code == "AA"  # remembered over a restart
    service.settled()
    assert len(operator.received) == 2


def test_a_burst_of_copies_on_many_connections_is_one_mail(service: Service, operator: MailSimulator) -> None:
    order = message(document(number=1, patient=1), flags={"DESTMSSANTEPAT": "N"}, control_id="BURST-1")
    peers = [Peer(service) for _ in range(10)]
    frame = b"\x0b" + order + b"\x1c\r"
    service.keep_secret(order)
    for peer in peers:
        peer.write(frame)
    assert [peer.answer().code for peer in peers] == ["AA"] * 10
    for peer in peers:
        peer.close()
    service.settled()
    assert len(operator.received) == 1


def test_texts_receipts_and_the_closed_channel_reach_the_mails(service: Service, operator: MailSimulator) -> None:
    order = message(
        document("N3", number=1, patient=1, pdf_copy=True),
        recipients=("a@demo.mssante.fr", "b@demo.mssante.fr"),
        flags={"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y"},
        professional_text="Texte pour les confrères.",
        patient_text="Texte pour la personne.",
        close_channel=True,
        reply_to="accueil@demo.mssante.fr",
    )
    with Peer(service) as peer:
        assert peer.send(order).code == "AA"
    service.settled()
    to_professionals, to_patient = sorted(operator.received, key=lambda mail: opened(mail).to_patient)
    assert to_professionals.recipients == ("a@demo.mssante.fr", "b@demo.mssante.fr")
    assert "Texte pour les confrères." in opened(to_professionals).text
    assert "Texte pour la personne." in opened(to_patient).text
    assert b"X-MSS-MES: FIN" in to_patient.content
    assert b"X-MSS-MES" not in to_professionals.content
    assert b"Reply-To: accueil@demo.mssante.fr" in to_professionals.content
    assert all("NOTIFY=" in each for each in to_professionals.recipient_parameters)
    assert b"Disposition-Notification-To:" in to_professionals.content


def test_pipelined_messages_are_answered_in_order(service: Service, operator: MailSimulator) -> None:
    orders = [
        message(
            document(number=n, patient=n),
            kind="ORU" if n % 2 else "MDM",
            encoding="iso8859_15" if n % 3 else "utf-8",
            flags={"DESTMSSANTEPAT": "N"},
            control_id=f"PIPE-{n}",
        )
        for n in range(24)
    ]
    for order in orders:
        service.keep_secret(order)
    with Peer(service) as peer:
        peer.write(b"".join(b"\x0b" + order + b"\x1c\r" for order in orders))
        answers = [peer.answer() for _ in orders]
    assert [(answer.code, answer.control_id) for answer in answers] == [("AA", f"PIPE-{n}") for n in range(24)]
    service.settled()
    assert sorted(opened(mail).unique_id for mail in operator.received) == sorted(
        document(number=n, patient=n).id.root for n in range(24)
    )


def test_a_document_of_three_megabytes(service: Service, operator: MailSimulator) -> None:
    order = message(document("N1", number=1, patient=1, size=3_000_000), flags={"DESTMSSANTEPAT": "N"})
    with Peer(service) as peer:
        assert peer.send(order).code == "AA"
    service.settled()
    check_mail(opened(operator.received[0]), read(order))
