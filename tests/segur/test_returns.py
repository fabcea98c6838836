"""What comes back for a mail that we sent: the facts remembered, and whom a report may speak of."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.hl7.er7 import parse
from pfiflow.mssante import reading
from pfiflow.mssante.notification import Correlation, DeliveryReport, DeliveryStatus, ReadingReport
from pfiflow.segur import transmission
from pfiflow.segur.receipts import original_of
from pfiflow.segur.returns import Return, SentMail, message_ids_of, origin_facts, returns_of, sent_mail
from pfiflow.simulators.documents import document
from pfiflow.simulators.messages import message
from tests.mssante import mails
from tests.segur.mails import NOW

A, B = "a@demo.mssante.fr", "b@demo.mssante.fr"
FLAGS = {"DESTMSSANTEPAT": "Y", "INVISIBLE_PATIENT": "N", "INVISIBLE_REP_LEGAUX": "N"}
ORDER = message(document(number=1), recipients=(A, B), flags=FLAGS, control_id="MSG-1", encoding="iso8859_15")
FACTS = {**origin_facts(transmission.read(ORDER)), "recipients": f"{A} {B}", "wants-receipts": "delivery reading"}
SENT = sent_mail("exchange", FACTS)
MAIL = reading.read(mails.letter(archives=()))


def delivered(*statuses: DeliveryStatus, sent: SentMail = SENT) -> tuple[Return, ...]:
    return returns_of(MAIL, DeliveryReport(statuses, Correlation()), sent, now=NOW)


def read(disposition: str, recipient: str, *, failed: bool = False, code: str = "") -> tuple[Return, ...]:
    report = ReadingReport(disposition, failed, code, "", False, recipient, Correlation())
    return returns_of(MAIL, report, SENT, now=NOW)


def test_the_original_is_remembered_as_it_was() -> None:
    assert SENT.original == original_of(ORDER)
    (found,) = delivered(DeliveryStatus(A, "delivered"))
    receipt = parse(found.receipt)
    assert (receipt.get("MSH-18"), receipt.get("OBX-4")) == ("8859/15", "MSG-1")
    assert receipt.get("OBX[2]-4") == "899900001001"


def test_the_patient_is_not_remembered() -> None:
    patient = document(number=1).patient
    assert patient.matricule in ORDER.decode("iso8859_15")
    assert patient.matricule not in str(origin_facts(transmission.read(ORDER)))


def test_addresses_are_compared_without_case() -> None:
    (found,) = delivered(DeliveryStatus(A.upper(), "failed", "5.1.1", "550"))
    assert (found.address, found.said, found.code) == (A, "failed", "550")


def test_nobody_of_ours_is_meant() -> None:
    with pytest.raises(Rejected, match="none of the recipients"):
        delivered(DeliveryStatus("c@demo.mssante.fr", "delivered"))
    with pytest.raises(Rejected, match="none of the recipients"):
        read("displayed", "c@demo.mssante.fr")


def test_the_only_recipient_is_meant_whatever_its_new_address() -> None:
    alone = sent_mail("exchange", {**FACTS, "recipients": A})
    assert delivered(DeliveryStatus("new@demo.mssante.fr", "delivered"), sent=alone)[0].address == A
    with pytest.raises(Rejected):  # two addresses: which of them ours became is a guess
        delivered(DeliveryStatus("x@y.example", "delivered"), DeliveryStatus("z@y.example", "failed"), sent=alone)


@pytest.mark.parametrize(
    ("disposition", "failed", "status"),
    [("displayed", False, "Y"), ("processed", False, "Y"), ("processed", True, "N"), ("deleted", False, "")],
)
def test_what_counts_as_read(disposition: str, failed: bool, status: str) -> None:
    (found,) = read(disposition, A, failed=failed, code="902" if failed else "")
    assert (parse(found.receipt).get("OBX-5") if found.receipt else "") == status


def test_an_error_without_code_is_906() -> None:
    assert read("processed", A, failed=True)[0].code == "906"


def test_an_envelope_id_is_the_local_part_of_a_message_id() -> None:
    keys = (("envelope-id", "abc"), ("original-message-id", "<abc@h.example>"), ("in-reply-to", "<x@y.example>"))
    report = DeliveryReport((), Correlation(keys))  # type: ignore[arg-type]
    assert message_ids_of(report, "h.example") == ("<abc@h.example>", "<x@y.example>")


def test_what_is_not_asked_for_is_not_written() -> None:
    silent = sent_mail("exchange", {**FACTS, "wants-receipts": ""})
    assert delivered(DeliveryStatus(A, "delivered"), sent=silent)[0].receipt == b""


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FACTS)), st.text(max_size=60)))
def test_any_record_can_be_read(facts: Mapping[str, str]) -> None:
    found = sent_mail("exchange", facts)
    assert isinstance(found, SentMail)
    assert "@" not in repr(found)
