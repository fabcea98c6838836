"""`read-transmission`, `check-transmission`: what is refused at the door, and what to one destination alone."""

from __future__ import annotations

from typing import Any

import pytest

from pfiflow.errors import Rejected
from pfiflow.flow.component import Registry
from pfiflow.flow.exchange import Exchange
from pfiflow.processors.transmission import COMPONENTS, CheckOptions, ReadOptions
from pfiflow.segur.values import Transmission
from pfiflow.simulators.documents import document
from pfiflow.simulators.messages import message

REGISTRY = Registry.of(*COMPONENTS)
PATIENT_ONLY = {"DESTDMP": "N", "DESTMSSANTEPS": "N", "DESTMSSANTEPAT": "Y"}


def read(data: bytes, **options: Any) -> Exchange[Transmission]:
    made: Exchange[Transmission] = REGISTRY.component("read-transmission").build(ReadOptions(**options))(
        Exchange("e", data)
    )
    return made


def check(data: bytes, **options: Any) -> Exchange[Transmission]:
    step = REGISTRY.component("check-transmission").build(CheckOptions(**{"test_platform": True, **options}))
    checked: Exchange[Transmission] = step(read(data))
    return checked


def refusal(data: bytes, **options: Any) -> list[str]:
    with pytest.raises(Rejected) as caught:
        check(data, **options)
    return [str(problem) for problem in caught.value.problems if problem.severity == "error"]


def test_a_right_message_goes_on_with_what_routes_need() -> None:
    exchange = check(message(document("N1", number=1)))
    assert exchange.headers["document-type"] == "11488-4"
    assert exchange.headers["action"] == "new"
    view = REGISTRY.body_types["transmission"].view(exchange.body)
    assert view["destinations"] == {"dmp": True, "professionals": True, "patient": True}


def test_a_transmission_crosses_a_channel_as_the_bytes_that_came_in() -> None:
    data = message(document("N3", number=1))
    body_type = REGISTRY.body_types["transmission"]
    encoded = body_type.encode(read(data).body)
    assert encoded == data
    assert body_type.decode(encoded) == read(data).body


def test_mails_go_to_the_domains_that_are_allowed() -> None:
    mailboxes = ("a@cabinet.MSSante.fr", "b@mssante.fr.example", "c@mssante.fr", "d@notmssante.fr")
    data = message(document("N1", number=1), recipients=mailboxes)
    told = refusal(data, recipient_domains=("mssante.fr",))
    assert [each.partition(":")[0] for each in told] == ["207 at PRT[3]-15", "207 at PRT[5]-15"]
    assert "notmssante" not in str(told)
    assert check(data)
    assert check(data, recipient_domains=("mssante.fr", "mssante.fr.example", "notmssante.fr"))


def test_what_is_no_hl7_is_a_refusal() -> None:
    with pytest.raises(Rejected, match="MSH"):
        read(b"hello")


def test_conformance_may_be_asked_for() -> None:
    data = message(document("N1", number=1))
    assert read(data, conformance=True).body.structure == "MDM"
    with pytest.raises(Rejected):
        read(data.replace(b"\rPV1|", b"\rZZ1|", 1), conformance=True)


def test_for_the_patient_alone_an_identity_in_doubt_is_told_at_once() -> None:
    data = message(document("N1", number=1), flags=PATIENT_ONLY)
    assert check(data)
    (told,) = refusal(data.replace(b"|VALI", b"|PROV"))
    assert "INS is not qualified" in told


def test_for_others_too_it_is_the_patients_mail_alone_that_is_refused_later() -> None:
    assert check(message(document("N1", number=1)).replace(b"|VALI", b"|PROV"))


def test_strict_refuses_what_lenient_only_tells() -> None:
    data = message(document("N1", number=1)) + b"ZZZ|1\r"
    (note,) = check(data).notes
    assert note.event == "warnings"
    assert "ZZZ" in note.facts["problems"]
    with pytest.raises(Rejected, match="ZZZ"):
        check(data, cda_rules="strict")


def test_a_test_message_is_refused_by_a_platform_in_production() -> None:
    assert any("MSH-11" in told for told in refusal(message(document("N1", number=1)), test_platform=False))


def test_confidential_documents_are_refused_unless_allowed() -> None:
    data = message(document("N1", number=1, confidentiality="R"))
    assert any("confidentialityCode" in told for told in refusal(data))
    assert check(data, confidentiality=("N", "R"))


def test_every_rule_broken_is_in_one_refusal() -> None:
    data = message(document("N1", number=1, confidentiality="R", patient=1))
    other = message(document("N1", number=1, confidentiality="R", patient=2))
    pid = next(segment for segment in other.split(b"\r") if segment.startswith(b"PID"))
    mixed = b"\r".join(pid if segment.startswith(b"PID") else segment for segment in data.split(b"\r"))
    told = refusal(mixed)
    assert any("confidentialityCode" in each for each in told)
    assert sum("PID" in each for each in told) >= 3
