from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow import errors
from pfiflow.dmp import soap
from pfiflow.dmp.codes import CODES, FAULT_CODES, HTTP_STATUSES, Meaning
from pfiflow.dmp.mtom import Part
from pfiflow.dmp.response import (
    ATTEMPTS,
    ERROR,
    FAILURE,
    MAX_ANSWER,
    PARTIAL,
    RS,
    SUCCESS,
    WARNING,
    Accepted,
    Deferred,
    Failure,
    Outcome,
    Rejected,
    failed,
    outcome,
)
from tests.dmp.builders import MESSAGE_ID

SOAP = "application/soap+xml; charset=UTF-8"
SECRET = "279035121518989 DUPONT"


def envelope(body: bytes | str) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    return soap.envelope(body, action="urn:r", message_id="urn:uuid:1", relates_to=MESSAGE_ID)


def answer(status: str, *codes: str, severity: str = ERROR) -> bytes:
    found = "".join(
        f'<rs:RegistryError errorCode="{code}" codeContext="{SECRET}" location="{SECRET}" severity="{severity}"/>'
        for code in codes
    )
    errors_ = f"<rs:RegistryErrorList>{found}</rs:RegistryErrorList>" if codes else ""
    return envelope(f'<rs:RegistryResponse xmlns:rs="{RS}" status="{status}">{errors_}</rs:RegistryResponse>')


def of(body: bytes, status: int = 200, content_type: str = SOAP, **options: object) -> Outcome:
    return outcome(status, content_type, body, **options)  # type: ignore[arg-type]


def codes(found: Outcome) -> list[str]:
    assert isinstance(found, Rejected)
    return [problem.detail_code for problem in found.problems]


def test_success_plain_and_mtom() -> None:
    assert of(answer(SUCCESS)) == Accepted()
    out = soap.multipart(answer(SUCCESS), (Part("a", "b/c", b""),), action="urn:r", message_id=MESSAGE_ID)
    assert of(b"".join(out.parts), content_type=out.content_type) == Accepted()
    warned = answer(SUCCESS, "XDSExtraMetadataNotSaved", severity=WARNING)
    assert of(warned) == Accepted(warnings=("XDSExtraMetadataNotSaved",))


def test_success_to_a_query() -> None:
    query = '<q:AdhocQueryResponse xmlns:q="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0" status="%s"/>'
    assert of(envelope(query % SUCCESS)) == Accepted()


@pytest.mark.parametrize("code", [code for code, meaning in CODES.items() if meaning is Meaning.RETRY])
def test_a_busy_service_is_deferred(code: str) -> None:
    found = of(answer(FAILURE, code), retry_after=30)
    assert found == Deferred(f"the DMP cannot take it now ({code})", code, 30)
    assert isinstance(found, Deferred)
    assert found.error().retry_after == 30
    assert isinstance(found.error(), errors.Deferred)


@pytest.mark.parametrize(
    "code",
    [code for code, meaning in CODES.items() if meaning in {Meaning.REFUSED, Meaning.LOOK_UP_AGAIN}]
    + ["XDSDuplicateUniqueIdInRegistry", "DMPNeverSeenBefore"],
)
def test_a_functional_or_unknown_error_is_rejected_as_received(code: str) -> None:
    found = of(answer(FAILURE, code))
    assert codes(found) == [code]
    assert isinstance(found, Rejected)
    assert found.code == code
    assert found.look_up_again == (CODES.get(code) is Meaning.LOOK_UP_AGAIN)
    assert isinstance(found.error(), errors.Rejected)
    assert code in str(found.error())
    assert "DUPONT" not in repr(found)


def test_a_repeated_submission_set_was_fed_already() -> None:
    duplicate = answer(FAILURE, "XDSDuplicateUniqueIdInRegistry")
    assert of(duplicate, same_submission=True) == Accepted(already=True)
    assert codes(of(duplicate)) == ["XDSDuplicateUniqueIdInRegistry"]
    both = answer(FAILURE, "XDSDuplicateUniqueIdInRegistry", "XDSMissingDocument")
    assert isinstance(of(both, same_submission=True), Rejected)


def test_generic_errors_are_tried_a_few_times() -> None:
    generic = answer(FAILURE, "XDSRepositoryError")
    assert isinstance(of(generic, attempt=ATTEMPTS - 1), Deferred)
    assert codes(of(generic, attempt=ATTEMPTS)) == ["XDSRepositoryError"]


def test_the_worst_of_several_decides() -> None:
    found = of(answer(FAILURE, "XDSRepositoryBusy", "XDSMissingDocument", "XDSMissingDocument", "DMPClosed"))
    assert codes(found) == ["XDSMissingDocument", "DMPClosed"]
    assert isinstance(of(answer(FAILURE, "XDSRepositoryBusy", "XDSRegistryBusy")), Deferred)
    mixed = of(answer(FAILURE, "XDSReplaceFailed", "XDSMissingDocument"))
    assert isinstance(mixed, Rejected)
    assert not mixed.look_up_again


def test_partial_success() -> None:
    assert codes(of(answer(PARTIAL))) == [""]
    assert codes(of(answer(PARTIAL, "XDSMissingDocument"))) == ["XDSMissingDocument"]
    busy = of(answer(PARTIAL, "XDSRepositoryBusy"))
    assert isinstance(busy, Deferred)
    assert busy.ambiguous
    replace = of(answer(SUCCESS, "PartialReplaceContentNotProcessed", severity=WARNING))
    assert codes(replace) == ["PartialReplaceContentNotProcessed"]


def test_neither_success_nor_a_reason() -> None:
    assert codes(of(answer(FAILURE))) == [""]
    assert codes(of(answer("urn:other"))) == [""]
    assert codes(of(answer(""))) == [""]
    assert isinstance(of(answer(SUCCESS, "XDSMissingDocument")), Rejected)


def test_faults() -> None:
    refused_us = of(envelope(soap.fault("Sender", SECRET, subcode="DMPInvalidCertificate")), 500)
    assert isinstance(refused_us, Deferred)
    assert (refused_us.code, refused_us.configuration) == ("DMPInvalidCertificate", True)
    assert codes(of(envelope(soap.fault("Sender", SECRET, subcode="DMPSomething")), 500)) == ["DMPSomething"]
    assert codes(of(envelope(soap.fault("Sender", SECRET)), 500)) == ["Sender"]
    assert codes(of(envelope(soap.fault("Sender", SECRET, subcode="DMPClosed")), 500)) == ["DMPClosed"]
    theirs = of(envelope(soap.fault("Receiver", SECRET, subcode="Oops")), 500, retry_after=5)
    assert theirs == Deferred("the DMP has a fault of its own (Oops)", "Oops", 5, ambiguous=True)
    skewed = of(envelope(soap.fault("Sender", SECRET, subcode="MessageExpired")), 500)
    assert isinstance(skewed, Deferred)
    assert skewed.configuration
    for found in (refused_us, theirs, skewed):
        assert "DUPONT" not in repr(found)


def test_a_soap_1_1_fault_and_one_without_code() -> None:
    old = (
        f'<s:Envelope xmlns:s="{soap.SOAP11}"><s:Body><s:Fault><faultcode>s:%s</faultcode>'
        "<faultstring>x</faultstring></s:Fault></s:Body></s:Envelope>"
    )
    assert isinstance(of((old % "Server").encode(), 500, "text/xml"), Deferred)
    assert codes(of((old % "Client").encode(), 500, "text/xml")) == ["Client"]
    assert isinstance(of(envelope(f'<s:Fault xmlns:s="{soap.SOAP12}"/>'), 500), Rejected)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "ambiguous"),
        (202, "ambiguous"),
        (302, "configuration"),
        (400, "rejected"),
        (401, "configuration"),
        (403, "configuration"),
        (404, "configuration"),
        (408, "again"),
        (413, "rejected"),
        (418, "rejected"),
        (429, "again"),
        (500, "ambiguous"),
        (502, "ambiguous"),
        (503, "again"),
        (504, "ambiguous"),
        (599, "ambiguous"),
    ],
)
def test_html_instead_of_soap(status: int, kind: str) -> None:
    found = of(f"<html>{SECRET}</html>".encode(), status, "text/html")
    if kind == "rejected":
        assert codes(found) == [""]
    else:
        assert isinstance(found, Deferred)
        flags = {"ambiguous": (True, False), "configuration": (False, True), "again": (False, False)}
        assert (found.ambiguous, found.configuration) == flags[kind]
    assert str(status) in repr(found)
    assert "DUPONT" not in repr(found)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (SOAP, b""),
        (SOAP, answer(SUCCESS)[:-9]),
        (SOAP, envelope(b"")),
        (SOAP, envelope("<other/>")),
        ("", answer(SUCCESS)),
        ("multipart/related; boundary=B", b"--B\r\n\r\n" + answer(SUCCESS)),
        (SOAP, b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 1000 + b'"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;&c;</a>'),
    ],
)
def test_an_answer_that_cannot_be_read_is_never_success(content_type: str, body: bytes) -> None:
    found = of(body, 200, content_type)
    assert isinstance(found, Deferred)
    assert found.ambiguous


def test_a_huge_answer_costs_nothing() -> None:
    huge = b"<a>" + bytes(100_000_000)
    started = time.thread_time()
    found = of(huge)
    assert time.thread_time() - started < 1
    assert isinstance(found, Deferred)
    assert found.ambiguous
    padded = answer(SUCCESS)[:-1] + b" " * MAX_ANSWER + b">"
    assert isinstance(of(padded), Deferred)


def test_what_is_shown_is_bounded_and_plain() -> None:
    found = of(answer(FAILURE, "urn:x:" + "A" * 500))
    assert codes(found) == ["A" * 80]
    assert codes(of(answer(FAILURE, "DUPONT Jean\u00e9"))) == ["DUPONT?Jean?"]
    many = of(answer(FAILURE, *(f"Code{number}" for number in range(500))))
    assert len(codes(many)) == 50


def test_the_table_can_be_extended() -> None:
    table = {**CODES, "DMPSaturated": Meaning.RETRY, "DMPClosed": Meaning.CONFIGURATION}
    assert isinstance(of(answer(FAILURE, "DMPSaturated"), codes=table), Deferred)
    closed = of(answer(FAILURE, "DMPClosed"), codes=table)
    assert isinstance(closed, Deferred)
    assert closed.configuration
    assert isinstance(of(b"", 418, "", statuses={**HTTP_STATUSES, 418: Meaning.RETRY}), Deferred)


def test_failures_before_any_answer() -> None:
    assert {failure: (failed(failure).ambiguous, failed(failure).configuration) for failure in Failure} == {
        Failure.UNREACHABLE: (False, False),
        Failure.TIMEOUT: (False, False),
        Failure.TLS: (False, True),
        Failure.OWN_CERTIFICATE: (False, True),
        Failure.CUT: (True, False),
        Failure.TOO_LONG: (True, True),
    }


def test_no_code_has_two_tables_that_disagree() -> None:
    assert not set(CODES) & set(FAULT_CODES)


@given(
    status=st.integers(100, 599), content_type=st.sampled_from([SOAP, "", "text/html"]), body=st.binary(max_size=200)
)
def test_any_answer_has_an_outcome_and_none_is_success(status: int, content_type: str, body: bytes) -> None:
    assert isinstance(of(body, status, content_type), Deferred | Rejected)
