"""From a transmission to a mail: what travels, to whom, and the same bytes on every attempt."""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
import zipfile
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from lxml import etree

from pfiflow import xdm
from pfiflow.errors import Rejected
from pfiflow.mssante.values import OutgoingMail
from pfiflow.segur import sending
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action, Transmission, Visibility
from pfiflow.simulators.documents import document
from pfiflow.simulators.messages import message

RECEIVED = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)
PUBLISHER = sending.Publisher(
    "1.2.250.1.999.1",
    xdm.Sender("PFI", "CH de Démonstration"),
    xdm.Software("pfiflow", "1", "pfiflow"),
    xdm.ActionSlot(),
    test_platform=True,
)
MAILBOX = sending.Mailbox("pfi@ch.mssante.example", "CH", "contact@ch.mssante.example", "DEV000000", test_platform=True)
NS = {"rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"}


def transmission(**changes: Any) -> Transmission:
    return read(message(document("N1", number=1, patient=1), **changes))


def mail(of: Transmission, audience: sending.Audience = "professionals", exchange_id: str = "e1") -> OutgoingMail:
    package = sending.pack(of, PUBLISHER, exchange_id=f"{exchange_id}/{audience}", received=RECEIVED)
    return sending.mail(package, MAILBOX, audience=audience, exchange_id=exchange_id, received=RECEIVED)


def parts(of: OutgoingMail) -> tuple[EmailMessage, dict[str, bytes]]:
    parsed = email.message_from_bytes(of.raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    found = {}
    for part in parsed.iter_attachments():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[part.get_content_type()] = content
    return parsed, found


def metadata(of: OutgoingMail) -> Any:
    archive = zipfile.ZipFile(io.BytesIO(parts(of)[1]["application/zip"]))
    return etree.fromstring(archive.read("IHE_XDM/SUBSET01/METADATA.XML"))


def test_attempts_are_the_same_to_the_byte_and_exchanges_and_audiences_differ() -> None:
    first = transmission()
    assert mail(first) == mail(first)
    ids = {mail(first, audience, exchange).message_id for audience in ("professionals", "patient") for exchange in "ab"}
    assert len(ids) == 4
    submissions = {
        metadata(mail(first, audience, exchange)).xpath(
            "string(//rim:RegistryPackage/rim:ExternalIdentifier[rim:Name/*/@value='XDSSubmissionSet.uniqueId']/@value)",
            namespaces=NS,
        )
        for audience in ("professionals", "patient")
        for exchange in "ab"
    }
    assert len(submissions) == 4


def test_professionals_and_patient_each_get_their_own_mail() -> None:
    both = transmission(
        recipients=("a@x.mssante.fr", "b@x.mssante.fr"), professional_text="Cher confrère", patient_text="Bonjour"
    )
    to_professionals, to_patient = mail(both), mail(both, "patient")
    assert to_professionals.recipients == ("a@x.mssante.fr", "b@x.mssante.fr")
    (address,) = to_patient.recipients
    assert address == f"{both.patient.ids[0].id}@patient.mssante.fr"
    bodies = [str(parts(m)[0].get_body(("plain",)).get_content()) for m in (to_professionals, to_patient)]  # type: ignore[union-attr]
    assert "Cher confrère" in bodies[0]
    assert "Bonjour" in bodies[1]
    assert "Cher confrère" not in bodies[1]


def test_the_archive_holds_the_document_byte_for_byte_and_says_so() -> None:
    first = transmission()
    sent = mail(first)
    archive = zipfile.ZipFile(io.BytesIO(parts(sent)[1]["application/zip"]))
    assert archive.read("IHE_XDM/SUBSET01/DOC00001.XML") == first.document
    digest = metadata(sent).xpath("string(//rim:ExtrinsicObject/rim:Slot[@name='hash']//rim:Value)", namespaces=NS)
    assert digest == hashlib.sha1(first.document).hexdigest()


def test_the_submission_is_authored_by_who_sends_not_by_who_wrote() -> None:
    slots = metadata(mail(transmission())).xpath(
        "//rim:RegistryPackage/rim:Classification/rim:Slot[@name='authorPerson']//rim:Value/text()", namespaces=NS
    )
    assert slots[0].startswith("899900000001^DOCTEUR-TEST^Andrea^")


@pytest.mark.parametrize(("action", "slot"), [(Action.NEW, None), (Action.REPLACE, "C"), (Action.DELETE, "D")])
def test_the_action_is_in_the_archive_and_in_the_words(action: Action, slot: str | None) -> None:
    original = document("N1", number=1, patient=1)
    current = document("N1", number=2, patient=1, replaces=original) if action is not Action.NEW else original
    sent = mail(read(message(current, action=action)))
    written = metadata(sent).xpath("//rim:ExtrinsicObject/rim:Slot[@name='action']//rim:Value/text()", namespaces=NS)
    assert written == ([slot] if slot else [])
    body = str(parts(sent)[0].get_body(("plain",)).get_content()).casefold()  # type: ignore[union-attr]
    assert ("annule et remplace" in body) == (action is Action.REPLACE)
    assert ("supprimé" in body) == (action is Action.DELETE)
    replaces = metadata(sent).xpath("//rim:Association[contains(@associationType, 'RPLC')]", namespaces=NS)
    assert len(replaces) == (action is Action.REPLACE)


def test_a_replacement_targets_the_entry_that_the_first_archive_carried() -> None:
    original = document("N1", number=1, patient=1)
    replacing = document("N1", number=2, patient=1, replaces=original)
    entry = metadata(mail(read(message(original)))).xpath("string(//rim:ExtrinsicObject/@id)", namespaces=NS)
    target = metadata(mail(read(message(replacing)))).xpath(
        "string(//rim:Association[contains(@associationType, 'RPLC')]/@targetObject)", namespaces=NS
    )
    assert target == entry


def test_receipts_are_asked_for_only_when_the_message_does() -> None:
    wanted = mail(transmission(flags={"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y"}))
    unwanted = mail(transmission(flags={"ACK_RECEPTION": "N", "ACK_LECTURE_MSS": "N"}))
    assert wanted.notify == ("SUCCESS", "FAILURE", "DELAY")
    assert parts(wanted)[0]["Disposition-Notification-To"] == MAILBOX.address
    assert unwanted.notify == ()
    assert parts(unwanted)[0]["Disposition-Notification-To"] is None


def test_the_closed_channel_is_said_to_the_patient_alone() -> None:
    closed = transmission(close_channel=True)
    assert parts(mail(closed, "patient"))[0]["X-MSS-MES"] == "FIN"
    assert parts(mail(closed))[0]["X-MSS-MES"] is None


def test_the_ins_is_called_qualified_only_when_pid_and_document_both_carry_it() -> None:
    first = transmission()
    assert parts(mail(first))[0]["X-MSS-INS"] == "O"
    provisional = evolve(first, patient=evolve(first.patient, reliability="PROV"))
    assert parts(mail(provisional))[0]["X-MSS-INS"] == "N"
    in_production = evolve(MAILBOX, test_platform=False)
    package = sending.pack(first, PUBLISHER, exchange_id="e", received=RECEIVED)
    sent = sending.mail(package, in_production, audience="professionals", exchange_id="e", received=RECEIVED)
    assert parts(sent)[0]["X-MSS-INS"] == "N", "a test INS is no INS in production"


@pytest.mark.parametrize(
    ("trait", "value"),
    [("birth_family", "N"), ("first_birth_given", "N"), ("birth_time", "N"), ("gender", "N"), ("birth_place", "O")],
)
def test_the_traits_that_conf_14_names(trait: str, value: str) -> None:
    package = sending.pack(transmission(), PUBLISHER, exchange_id="e1/professionals", received=RECEIVED)
    patient = evolve(package.document.patient, **{trait: ""})  # type: ignore[arg-type]
    package = evolve(package, document=evolve(package.document, patient=patient))
    sent = sending.mail(package, MAILBOX, audience="professionals", exchange_id="e1", received=RECEIVED)
    assert parts(sent)[0]["X-MSS-INS"] == value


def test_a_patient_without_qualified_ins_gets_no_mail() -> None:
    first = transmission()
    provisional = evolve(first, patient=evolve(first.patient, reliability="PROV"))
    with pytest.raises(Rejected):
        mail(provisional, "patient")
    assert mail(provisional).recipients, "professionals do not need it"


def test_the_reply_address_of_the_message_wins_over_the_setting() -> None:
    assert (
        parts(mail(transmission(reply_to="service@ch.mssante.example")))[0]["Reply-To"] == "service@ch.mssante.example"
    )
    assert parts(mail(transmission()))[0]["Reply-To"] == MAILBOX.reply_to


def test_the_text_of_the_message_wins_over_the_setting_and_each_audience_has_its_own() -> None:
    ours = evolve(MAILBOX, professional_text="Le CH vous écrit.", patient_text="Le CH vous écrit, patient.")
    package = sending.pack(transmission(), PUBLISHER, exchange_id="x", received=RECEIVED)

    def words(of: sending.Package, audience: sending.Audience) -> str:
        head, _ = parts(sending.mail(of, ours, audience=audience, exchange_id="x", received=RECEIVED))
        body = head.get_body(("plain",))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")

    assert words(package, "professionals").startswith("Le CH vous écrit.\n")
    assert words(package, "patient").startswith("Le CH vous écrit, patient.\n")
    assert "généré automatiquement" in words(package, "patient")
    told = evolve(package, transmission=evolve(package.transmission, professional_text="Du service."))
    assert words(told, "professionals").startswith("Du service.\n")


def test_mailboxes_of_the_hospital_get_a_mail_of_their_own_without_receipts() -> None:
    wanted = transmission(flags={"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y"})
    package = sending.pack(wanted, PUBLISHER, exchange_id="x", received=RECEIVED)

    def copy(to: tuple[str, ...], audience: sending.Audience = "professionals", of: Any = package) -> OutgoingMail:
        ours = evolve(MAILBOX, recipients=to)
        return sending.mail(of, ours, audience=audience, exchange_id="x", received=RECEIVED)

    theirs, ours = copy(()), copy(("bloc@ch.mssante.example",))
    assert ours.recipients == ("bloc@ch.mssante.example",)
    assert (theirs.notify, ours.notify) == (("SUCCESS", "FAILURE", "DELAY"), ())
    assert parts(ours)[0]["Disposition-Notification-To"] is None
    assert len({theirs.message_id, ours.message_id, copy(("archives@ch.mssante.example",)).message_id}) == 3
    assert ours == copy(("bloc@ch.mssante.example",))
    masked = evolve(package, transmission=evolve(wanted, visibility=Visibility(hidden_from_professionals=True)))
    with pytest.raises(Rejected):
        copy(("bloc@ch.mssante.example",), "patient")
    with pytest.raises(Rejected):
        copy(("137016912391923@patient.mssante.fr",))
    with pytest.raises(Rejected):
        copy(("bloc@ch.mssante.example",), of=masked)


def test_official_messages_become_mails(shared: Path) -> None:
    for path in sorted((shared / "vectors" / "hl7").glob("transmission_*")):
        data = path.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        sent = mail(read(data))
        assert sent.recipients == ("adam.hoda@test-ci-sis.mssante.fr",)
        assert parts(sent)[1]["application/pdf"].startswith(b"%PDF")
