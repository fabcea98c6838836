from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.hl7.er7 import parse
from pfiflow.hl7.faults import MessageError
from pfiflow.segur.receipts import (
    Addressee,
    Failure,
    Original,
    Party,
    control_id,
    dmp_receipt,
    mail_receipt,
    original_of,
    reading_failure,
    reading_receipt,
    smtp_failure,
)
from pfiflow.segur.smtp_errors import SMTP_ERRORS, nearest_code
from pfiflow.simulators.messages import document, message

NOW = datetime(2025, 3, 4, 9, 33, 1, tzinfo=timezone(timedelta(hours=1)))
ORIGINAL = Original("015", Party("SIL-Y", "labo"), Party("PFI-X", "Organisation-X"))
DOCTOR = Addressee("docteur@demo.mssante.fr", "899900001001")
MAILBOX = "|899900001001|^^X.400^docteur@demo.mssante.fr||||||F|"
HEADER = "MSH|^~\\&|PFI-X|Organisation-X|SIL-Y|labo|20250304093301+0100||ZAM^Z01^ZAM_Z01|017|P"
UNKNOWN_PATIENT = "|902^Identifiant patient inconnu^applicationErrorCondition|||corrigez l'identité"
PATIENT = Addressee("279035121518989@patient.mssante.fr", "279035121518989")


def lines(data: bytes, encoding: str = "utf-8") -> list[str]:
    assert data.endswith(b"\r")
    return data.decode(encoding).split("\r")[:-1]


def test_the_dmp_refused() -> None:
    data = dmp_receipt(ORIGINAL, control_id="017", now=NOW, failure=Failure("DMPClosed", "DMP fermé"))
    assert lines(data) == [
        HEADER + "|2.6|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2",
        "EVN||20250304093301+0100",
        "OBX|1|CWE|ACK_RECEPTION_DMP^Accusé de réception DMP^AckMetierZAM|015|N^^expandedYes-NoIndicator||||||F|",
        "ERR|||207^Application internal error^messageErrorCondition|E|DMPClosed^DMP fermé^DMPERRORCODE",
    ]


def test_the_dmp_accepted() -> None:
    assert lines(dmp_receipt(ORIGINAL, control_id="017", now=NOW))[2:] == [
        "OBX|1|CWE|ACK_RECEPTION_DMP^Accusé de réception DMP^AckMetierZAM|015|Y^^expandedYes-NoIndicator||||||F|",
    ]


def test_a_recipient_was_refused() -> None:
    assert lines(mail_receipt(ORIGINAL, DOCTOR, control_id="018", now=NOW, failure=smtp_failure("510")))[2:] == [
        "OBX|1|CWE|ACK_RECEPTION_MSS^Accusé de réception MSSanté^AckMetierZAM|015|N^^expandedYes-NoIndicator||||||F|",
        "OBX|2|XTN|DESTINATAIRE_MSS^Destinataire MSSanté^AckMetierZAM" + MAILBOX,
        "ERR|||207^Application error^messageErrorCondition|E|510^Mauvaise adresse courriel^SMTPERRORCODE",
    ]


def test_a_reader_could_not_integrate() -> None:
    failure = reading_failure("902", "corrigez l'identité")
    assert lines(reading_receipt(ORIGINAL, DOCTOR, control_id="019", now=NOW, failure=failure))[2:] == [
        "OBX|1|CWE|ACK_LECTURE_MSS^Accusé de lecture^AckMetierZAM|015|N^^expandedYes-NoIndicator||||||F|",
        "OBX|2|XTN|LECTEUR_MSS^Lecteur du courriel MSSanté^AckMetierZAM" + MAILBOX,
        "ERR|||207^Application error^messageErrorCondition|E" + UNKNOWN_PATIENT,
    ]
    assert reading_failure("999").label == ""


def test_an_addressee_without_an_identifier_or_an_address() -> None:
    unknown = lines(mail_receipt(ORIGINAL, Addressee(""), control_id="1", now=NOW))[3]
    assert unknown == "OBX|2|XTN|DESTINATAIRE_MSS^Destinataire MSSanté^AckMetierZAM||^^X.400||||||F|"


def official(shared: Path, name: str) -> list[bytes]:
    data = (shared / "vectors" / "hl7" / name).read_bytes()
    return data.replace(b"\r\n", b"\r").replace(b"\n", b"\r").rstrip(b"\r").split(b"\r")


@pytest.mark.parametrize("name", ["receipt_z01_dmp.er7", "receipt_z02_mss.er7", "receipt_z03_reading.er7"])
def test_the_official_examples_byte_for_byte(shared: Path, name: str) -> None:
    expected = official(shared, name)
    example = parse(b"\r".join(expected))
    sender = Party(example.get("MSH-5"), example.get("MSH-6"))
    receiver = Party(example.get("MSH-3"), example.get("MSH-4"))
    original = Original(example.get("OBX-4"), sender, receiver, example.get("MSH-11"))
    addressee = Addressee(example.get("OBX[2]-5.4"), example.get("OBX[2]-4"))
    failure = Failure(example.get("ERR-5"), example.get("ERR-5.2")) if example.first("ERR") else None
    now = datetime.strptime(example.get("MSH-7"), "%Y%m%d%H%M")  # noqa: DTZ007 - the examples have no offset
    control = example.get("MSH-10")
    match example.get("MSH-9.2"):
        case "Z01":
            built = dmp_receipt(original, control_id=control, now=now, failure=failure)
        case "Z02":
            built = mail_receipt(original, addressee, control_id=control, now=now, failure=failure)
        case _:
            built = reading_receipt(original, addressee, control_id=control, now=now, failure=failure)
    seconds = now.strftime("%Y%m%d%H%M%S").encode()
    expected[0] = expected[0].replace(example.get("MSH-7").encode(), seconds)
    expected[1] = b"EVN||" + seconds
    assert built.split(b"\r")[:-1] == expected


def test_what_is_repeated_of_the_original() -> None:
    data = message(document(number=1), control_id="DPI-1", encoding="iso8859_15", processing_id="T")
    assert original_of(data) == Original(
        "DPI-1", Party(("DPI-DEMO",), ("HOPITAL-DEMO",)), Party(("PFI",), ("HOPITAL-DEMO",)), "T", "iso8859_15"
    )
    header = b"MSH|^~\\&|DPI^1.2.3^ISO|CH \\T\\ Co||PFI|2025||MDM^T02|9||2.6|||||FRA|UNICODE UTF-8\r"
    original = original_of(header)
    assert original == Original("9", Party(("DPI", "1.2.3", "ISO"), ("CH & Co",)), Party((), ("PFI",)), "P")
    assert lines(dmp_receipt(original, control_id="1", now=NOW))[0].startswith(
        "MSH|^~\\&||PFI|DPI^1.2.3^ISO|CH \\T\\ Co|"
    )
    with pytest.raises(MessageError):
        original_of(b"hello")


def test_the_character_set_of_the_original_is_kept() -> None:
    original = Original("1", Party("DPI", "CH"), Party("PFI", "CH"), encoding="iso8859_15")
    data = mail_receipt(original, DOCTOR, control_id="1", now=NOW, failure=Failure("1", "l’été œ漢"))
    text = "\r".join(lines(data, "iso8859_15"))
    assert "|8859/15|" in text
    assert "l?été œ?" in text


def test_a_value_stays_one_value() -> None:
    original = Original("1|2\r3", Party("DPI|x", "CH"), Party("PFI", "CH"))
    data = mail_receipt(original, Addressee("a^b@x.fr", "i&d"), control_id="1", now=NOW, failure=Failure("5~", "\r"))
    read = parse(data)
    assert [each.name for each in read.segments] == ["MSH", "EVN", "OBX", "OBX", "ERR"]
    assert (read.get("OBX-4"), read.get("OBX[2]-5.4"), read.get("OBX[2]-4")) == ("1|2\r3", "a^b@x.fr", "i&d")


def test_nobody_is_named_by_a_representation() -> None:
    assert PATIENT.id not in repr(PATIENT)
    assert PATIENT.id not in f"{(PATIENT,)}"


# -- MSH-10 ------------------------------------------------------------------------------------------------------------


def test_the_control_id_is_the_same_on_every_attempt_and_differs_otherwise() -> None:
    first = control_id("0001", "Z02", "A@x.fr")
    assert first == control_id("0001", "Z02", "a@X.FR")
    assert len(first) == 20
    assert first.isalnum()
    others = {control_id("0001", "Z03", "a@x.fr"), control_id("0001", "Z02", "b@x.fr"), control_id("0001", "Z01")}
    assert len(others | {first, control_id("000", "Z02", "1a@x.fr")}) == 5


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_makes_a_control_id_that_hl7_takes(exchange: str, address: str) -> None:
    made = control_id(exchange, "Z02", address)
    assert len(made) == 20
    assert made.isascii()
    assert made.isalnum()


# -- SMTPERRORCODE -----------------------------------------------------------------------------------------------------


def test_the_table_is_the_one_of_the_guide() -> None:
    listed = "101 111 251 252 420 421 422 431 432 441 442 450 451 452 500 501 502 503 504 510 512 513 523 530 541"
    assert list(SMTP_ERRORS) == [*listed.split(), "550", "551", "552", "553", "554"]
    assert all(len(label) <= 199 for label in SMTP_ERRORS.values())  # CWE.2


@pytest.mark.parametrize(
    ("code", "known"),
    [
        ("550", "550"),
        ("0", "442"),
        ("535", "530"),
        ("521", "554"),
        ("556", "512"),
        ("599", "554"),
        ("471", "452"),
        ("426", "422"),
        ("250", "251"),
        ("354", "554"),
        ("", "554"),
        ("5xx", "554"),
        ("٥٥٠", "554"),
    ],
)
def test_a_code_outside_becomes_the_nearest_of_its_class(code: str, known: str) -> None:
    assert nearest_code(code) == known


@given(st.text(max_size=5))
def test_any_code_has_a_place_in_the_table(code: str) -> None:
    failure = smtp_failure(code)
    assert failure.label == SMTP_ERRORS[failure.code]


def test_a_mapped_code_is_told() -> None:
    assert smtp_failure("521").explanation == "SMTP 521"
    assert smtp_failure("550").explanation == ""
    assert smtp_failure("521", "own words").explanation == "own words"
    assert smtp_failure("0").explanation == ""


def test_times_carry_their_offset() -> None:
    assert b"|20250304083301+0000|" in dmp_receipt(ORIGINAL, control_id="1", now=NOW.astimezone(UTC))
