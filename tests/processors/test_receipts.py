"""`mss-receipts`: who is told what, from the headers that the sink and the engine leave."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from attrs import evolve

from pfiflow.flow.component import Registry
from pfiflow.flow.exchange import Exchange
from pfiflow.hl7.er7 import Message, parse
from pfiflow.processors.receipts import COMPONENTS
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Transmission
from pfiflow.simulators.dpi import check
from pfiflow.simulators.messages import document, message, patient

RECIPIENTS = ("a@demo.mssante.fr", "b@demo.mssante.fr", "C@demo.mssante.fr")
INS = patient(0).matricule
PATIENT = f"{INS}@patient.mssante.fr"
PROFESSIONALS = {"audience": "professionals", "hl7-sender": "DPI-DEMO|HOPITAL-DEMO"}
TO_PATIENT = {"audience": "patient", "hl7-sender": "DPI-DEMO|HOPITAL-DEMO"}


def transmission(**flags: str) -> Transmission:
    return read(
        message(
            document(number=7, size=8_000),
            recipients=RECIPIENTS,
            control_id="DPI-7",
            flags={"ACK_RECEPTION": "Y", **flags},
        )
    )


def receipts(headers: Mapping[str, str], body: Transmission | None = None) -> list[Message]:
    (component,) = COMPONENTS
    process = component.build(component.options())
    told = process(Exchange("e1", transmission() if body is None else body, headers))
    return [parse(each) for each in told.body]


def told(headers: Mapping[str, str], body: Transmission | None = None) -> list[tuple[str, str, str]]:
    """(address, recipient's id, code) of each receipt, each checked as a DPI does."""
    found = receipts(headers, body)
    for each in found:
        assert check(each) == ()
        assert (each.get("MSH-9.2"), each.get("OBX-4"), each.get("OBX-5")) == ("Z02", "DPI-7", "N")
        assert (each.get("MSH-3"), each.get("MSH-5"), each.get("MSH-11")) == ("PFI", "DPI-DEMO", "T")
    return [(each.get("OBX[2]-5.4"), each.get("OBX[2]-4"), each.get("ERR-5")) for each in found]


def test_it_is_installed() -> None:
    assert Registry.installed().component("mss-receipts").gives == tuple[bytes, ...]


def test_nobody_was_refused() -> None:
    assert told(PROFESSIONALS) == []
    assert told({**PROFESSIONALS, "smtp-refused": ""}) == []


def test_one_refused_of_three_is_one_receipt() -> None:
    assert told({**PROFESSIONALS, "smtp-refused": "b@demo.mssante.fr:550"}) == [
        ("b@demo.mssante.fr", "899900001002", "550")
    ]


def test_an_earlier_attempts_leftovers_are_not_told_after_success() -> None:
    headers = {
        **PROFESSIONALS,
        "smtp-refused": "c@DEMO.mssante.fr:553",
        "smtp-deferred": "a@demo.mssante.fr:450",
        "smtp-done": "c@demo.mssante.fr",
    }
    assert told(headers) == [("C@demo.mssante.fr", "899900001003", "553")]


def test_all_were_refused() -> None:
    refused = "a@demo.mssante.fr:550 b@demo.mssante.fr:551 C@demo.mssante.fr:521"
    headers = {**PROFESSIONALS, "smtp-refused": refused, "error-code": "207", "error-detail-code": "550"}
    assert [code for _, _, code in told(headers)] == ["550", "551", "554"]
    assert receipts(headers)[2].get("ERR-8") == "SMTP 521"


def test_a_mail_that_was_given_up() -> None:
    headers = {
        **PROFESSIONALS,
        "smtp-done": "a@demo.mssante.fr b@demo.mssante.fr",
        "smtp-refused": "b@demo.mssante.fr:550",
        "smtp-deferred": "C@demo.mssante.fr:450",
        "error-code": "given-up",
        "error-message": "cold",
    }
    assert told(headers) == [
        ("b@demo.mssante.fr", "899900001002", "550"),
        ("C@demo.mssante.fr", "899900001003", "450"),
    ]


def test_a_mail_that_everybody_has_and_an_error_after_it() -> None:
    done = "<1@ch.mssante.fr> a@demo.mssante.fr b@demo.mssante.fr C@demo.mssante.fr"
    headers = {**PROFESSIONALS, "smtp-done": done, "smtp-refused": "b@demo.mssante.fr:550", "error-code": "defect"}
    assert told(headers) == [("b@demo.mssante.fr", "899900001002", "550")]
    assert [code for _, _, code in told({**PROFESSIONALS, "error-code": "defect"})] == ["554"] * 3


@pytest.mark.parametrize(("deferred", "code"), [("", "101"), ("a@demo.mssante.fr:0", "442")])
def test_a_mail_given_up_without_an_answer(deferred: str, code: str) -> None:
    headers = {**PROFESSIONALS, "smtp-deferred": deferred, "error-code": "given-up", "error-message": "no route"}
    found = told(headers)
    assert len(found) == 3
    assert found[0] == ("a@demo.mssante.fr", "899900001001", code)


@pytest.mark.parametrize(
    ("detail", "code"), [("904", "510"), ("905", "554"), ("552", "552"), ("", "554"), ("900", "554")]
)
def test_a_patients_mail_that_a_gate_stopped(detail: str, code: str) -> None:
    headers = {**TO_PATIENT, "error-code": "207", "error-detail-code": detail, "error-message": "why not"}
    assert told(headers) == [(PATIENT, INS, code)]
    assert receipts(headers)[0].get("ERR-8") == "why not"


def test_the_address_told_is_the_one_asked_for() -> None:
    body = transmission()
    recipients = tuple(
        evolve(each, address=f"123456789012345@{domain}") if each.address == PATIENT else each
        for each in body.recipients
        for domain in ("patient.mssante.f",)
    )
    headers = {**TO_PATIENT, "error-code": "207", "error-detail-code": "904", "error-message": "differs"}
    assert told(headers, evolve(body, recipients=recipients)) == [("123456789012345@patient.mssante.f", INS, "510")]


def test_a_patient_asked_for_without_an_address_is_told_of_all_the_same() -> None:
    body = transmission()
    professionals = tuple(each for each in body.recipients if each.address != PATIENT)
    headers = {**TO_PATIENT, "error-code": "207", "error-detail-code": "905"}
    assert told(headers, evolve(body, recipients=professionals)) == [("", "", "554")]


def test_each_mailbox_is_told_of_once() -> None:
    body = transmission()
    twice = (*body.recipients, *body.recipients)
    headers = {**PROFESSIONALS, "error-code": "207"}
    assert len(told(headers, evolve(body, recipients=twice))) == 3


def test_no_receipt_unless_it_was_asked_for() -> None:
    body = transmission(ACK_RECEPTION="N")
    assert receipts({**PROFESSIONALS, "smtp-refused": "b@demo.mssante.fr:550"}, body) == []
    assert receipts({**PROFESSIONALS, "error-code": "207"}, body) == []


def test_msh_10_is_the_same_on_every_attempt_and_another_for_each_recipient() -> None:
    headers = {**PROFESSIONALS, "error-code": "207"}
    first, second = ([each.get("MSH-10") for each in receipts(headers)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 3
    assert all(len(control_id) == 20 for control_id in first)


def test_the_journal_counts_and_names_nobody() -> None:
    (component,) = COMPONENTS
    process = component.build(component.options())
    exchange = process(Exchange("e1", transmission(), {**TO_PATIENT, "error-code": "207"}))
    (note,) = exchange.notes
    assert (note.event, dict(note.facts)) == ("receipts", {"kind": "Z02", "count": "1"})
