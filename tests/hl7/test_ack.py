from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import Problem, ProtocolError, Severity
from pfiflow.hl7.ack import MAX_ERRORS, AckCode, Acknowledgement, acknowledge, error_location, parse_ack
from pfiflow.hl7.er7 import Message, MessageError, parse
from pfiflow.hl7.tables import MESSAGE_ERRORS
from tests.hl7.examples import MDM, ORU, VECTORS, official

NOW = datetime(2026, 1, 2, 3, 4, 6, tzinfo=timezone(timedelta(hours=1)))


def answer(
    message: Message | None, code: AckCode = "AE", problems: tuple[Problem, ...] = (), head: bytes = b""
) -> list[str]:
    data = acknowledge(message, code, problems, control_id="ACK-1", now=NOW, head=head)
    assert data.endswith(b"\r")
    return data.decode("utf-8").split("\r")[:-1]


class TestHeader:
    def test_is_turned_round(self) -> None:
        assert answer(parse(MDM.replace(b"|RIS|CHU|", b"|RIS^1.2^ISO|SITE|")), "AA") == [
            "MSH|^~\\&|PFI|CHU|RIS^1.2^ISO|SITE|20260102030406+0100||ACK^T02^ACK|ACK-1|P|2.6|||||FRA|UNICODE UTF-8",
            "MSA|AA|MSG-1",
        ]

    @pytest.mark.skipif(not VECTORS.is_dir(), reason="official examples absent: no ../shared/vectors/hl7")
    def test_like_the_official_one(self) -> None:
        received = parse((VECTORS / "transmission_mdm_t10_n1.er7").read_bytes())
        example = (VECTORS / "ack_t10.er7").read_bytes().replace(b"\n", b"\r")
        ours = acknowledge(received, "AA", control_id="016", now=datetime(2021, 6, 6, 9, 32))  # noqa: DTZ001
        assert ours.replace(b"20210606093200", b"202106060932") == example

    @official
    def test_every_official_message_can_be_answered(self, path: Path) -> None:
        message = parse(path.read_bytes())
        read = parse_ack(acknowledge(message, "AA", control_id="1", now=NOW))
        assert read == Acknowledgement("AA", message.get("MSH-10"))

    def test_separators_are_the_senders(self) -> None:
        message = parse(b"MSH$%*!/$A%B$$C$$$$MDM%T02%MDM_T02$I!F!D$P$2.6")
        lines = answer(message, "AE", (Problem("101", "a|b$c", "PID-3"),))
        assert lines[0] == "MSH$%*!/$C$$A%B$$20260102030406+0100$$ACK%T02%ACK$ACK-1$P$2.6$$$$$FRA$UNICODE UTF-8"
        assert lines[1] == "MSA$AE$I!F!D"
        assert lines[2] == "ERR$$PID%1%3$101%Required field missing%messageErrorCondition$E$$$$a|b!F!c"

    @pytest.mark.parametrize(
        ("version", "kind", "answered"),
        [
            (b"2.5", b"ORU", "2.5"),
            (b"2.6^FRA", b"MDM", "2.6^FRA"),
            (b"2.3", b"ORU", "2.5"),
            (b"3.14", b"MDM", "2.6"),
            (b"", b"MDM", "2.6"),
        ],
    )
    def test_a_version_without_our_err_is_not_mirrored(self, version: bytes, kind: bytes, answered: str) -> None:
        message = parse(b"MSH|^~\\&|A|B|C|D|||%s^X|1|P|%s" % (kind, version))
        assert answer(message)[0].split("|")[11] == answered

    def test_charset(self) -> None:
        problem = Problem("101", "nom d’usage à compléter, œuvre", "PID-5")
        latin = acknowledge(parse(ORU), "AE", (problem,), control_id="1", now=NOW)
        assert parse(latin).get("MSH-18") == "8859/15"
        assert parse(latin).get("ERR-8") == "nom d?usage à compléter, œuvre"
        unknown = answer(parse(MDM.replace(b"UNICODE UTF-8", b"KLINGON")), "AE", (problem,))
        assert unknown[0].endswith("UNICODE UTF-8")
        assert unknown[2].endswith("nom d?usage ? compl?ter, ?uvre")
        ascii_ = acknowledge(parse(b"MSH|^~\\&|A" + b"|" * 15 + b"ASCII"), "AE", (problem,), control_id="1", now=NOW)
        assert ascii_.isascii()
        assert parse(ascii_).get("MSH-18") == "ASCII"

    def test_the_control_id_is_mirrored_byte_for_byte(self) -> None:
        for identifier in (b"A\\F\\B", b"\xff\xfe", b"a&b", b"\xc3\xa9"):
            data = acknowledge(parse(MDM.replace(b"MSG-1", identifier)), "AA", control_id="1", now=NOW)
            assert data.split(b"\r")[1] == b"MSA|AA|" + identifier

    def test_no_amplifier_and_no_injection(self) -> None:
        data = acknowledge(parse(MDM.replace(b"|RIS|", b"|" + b"R" * 100_000 + b"|")), "AA", control_id="1", now=NOW)
        assert len(data) < 300
        data = acknowledge(parse(MDM.replace(b"|RIS|", b"|a\nb|")), "AA", control_id="x\rERR|", now=NOW)
        assert [line[:3] for line in data.split(b"\r")[:-1]] == [b"MSH", b"MSA"]
        assert b"|ab|" in data


class TestUnreadable:
    def test_nothing_known(self) -> None:
        assert answer(None, "AE", (Problem("100", "not an ER7 message", "MSH"),), head=b"GET / HTTP") == [
            "MSH|^~\\&|||||20260102030406+0100||ACK|ACK-1|P|2.6|||||FRA|UNICODE UTF-8",
            "MSA|AE",
            "ERR||MSH^1|100^Segment sequence error^messageErrorCondition|E||||not an ER7 message",
        ]

    def test_what_the_header_still_says(self) -> None:
        broken = MDM.replace(b"\rPID", b"\rpid\0\n")
        with pytest.raises(MessageError) as caught:
            parse(broken)
        lines = answer(None, "AE", (caught.value.problem,), head=broken[:4096])
        assert lines[0].startswith("MSH|^~\\&|PFI|CHU|RIS|CHU|")
        assert lines[1] == "MSA|AE|MSG-1"
        assert "|102^Data type error^" in lines[2]


class TestErrors:
    @pytest.mark.parametrize(
        ("location", "erl"),
        [
            ("PID", "PID^1"),
            ("OBX[2]", "OBX^2"),
            ("PID-3", "PID^1^3"),
            ("PID-3.1", "PID^1^3^^1"),
            ("OBX[2]-5", "OBX^2^5"),
            ("PID-3[2].4.2", "PID^1^3^2^4^2"),
            ("MSH-12.1", "MSH^1^12^^1"),
        ],
    )
    def test_locations(self, location: str, erl: str) -> None:
        line = answer(parse(MDM), "AE", (Problem("101", "m", location),))[2]
        assert line.split("|")[2] == erl
        assert parse_ack(
            acknowledge(parse(MDM), "AE", (Problem("101", "m", location),), control_id="1", now=NOW)
        ).errors[0].location == (location)

    @pytest.mark.parametrize(
        "location", ["", "pid-3", "PID-", "file.yaml:3:4", "IHE_XDM/DOC.XML", "PID-3.1.2.3", "/a/b", "PID-٣"]
    )
    def test_other_locations_are_no_erl(self, location: str) -> None:
        assert error_location(location) == ()

    def test_an_xpath_points_at_the_document(self) -> None:
        (line,) = answer(parse(MDM), "AE", (Problem("199", "m", "/ClinicalDocument/id[1] | x"),))[2:]
        assert line == "ERR||OBX^1^5|199^Other HL7 Error^messageErrorCondition|E|||/ClinicalDocument/id[1] \\F\\ x|m"

    def test_another_place_is_said_as_it_is(self) -> None:
        (line,) = answer(parse(MDM), "AE", (Problem("199", "m", "routes.yaml:3:4"),))[2:]
        assert line == "ERR|||199^Other HL7 Error^messageErrorCondition|E|||routes.yaml:3:4|m"

    def test_severities_rule_and_details(self) -> None:
        lines = answer(
            parse(MDM),
            "AR",
            (
                Problem("103", "i", "PID-8", "information"),
                Problem("207", "w", "PID-3", "warning", detail_code="902"),
                Problem("207", "e", rule="volet 2.1 §4", detail_code="X-1"),
                Problem("cda-id", "own code"),
                Problem("101", "no detail", detail_code="ignored"),
            ),
        )
        assert lines[1] == "MSA|AR|MSG-1"
        assert lines[2:] == [
            "ERR|||207^Application error^messageErrorCondition|E|X-1^^L|||e [volet 2.1 §4]",
            "ERR|||207^Application error^messageErrorCondition|E|cda-id^^L|||own code",
            "ERR|||101^Required field missing^messageErrorCondition|E||||no detail",
            (
                "ERR||PID^1^3|207^Application error^messageErrorCondition|W|"
                "902^Identifiant patient inconnu^applicationErrorCondition|||w"
            ),
            "ERR||PID^1^8|103^Table value not found^messageErrorCondition|I||||i",
        ]

    def test_an_acceptance_carries_no_error(self) -> None:
        assert len(answer(parse(MDM), "AA", (Problem("103", "w", severity="warning"),))) == 2

    def test_a_refusal_always_carries_one(self) -> None:
        assert len(answer(parse(MDM), "AE")) == 3

    def test_many_problems_are_bounded(self) -> None:
        lines = answer(parse(MDM), "AE", (Problem("101", "m"),) * 1000)
        assert len(lines) == 2 + MAX_ERRORS
        assert "951 further problems" in lines[-1]
        assert len(answer(parse(MDM), "AE", (Problem("101", "m"),) * MAX_ERRORS)) == 2 + MAX_ERRORS

    def test_a_long_message_is_cut_to_the_field(self) -> None:
        (line,) = answer(parse(MDM), "AE", (Problem("101", "é" * 300),))[2:]
        assert line.rsplit("|", 1)[1] == "é" * 249 + "…"


class TestParseAck:
    def test_positive(self) -> None:
        read = parse_ack(b"MSH|^~\\&|A||||||ACK|1|P|2.6\rMSA|AA|MSG-1\r")
        assert read == Acknowledgement("AA", "MSG-1")
        assert read.accepted

    def test_errors_of_a_peer(self) -> None:
        read = parse_ack(
            b"MSH|^~\\&|A||||||ACK^R01^ACK|1|P|2.5\rMSA|AE|MSG-1\r"
            b"ERR||MSH^1^12|203^ Unsupported version^messageErrorCondition| E\r"
            b"ERR||PID^1^3^2^4^2~OBX^1|207^x|W|900^v||diagnostic|message\r"
            b"ERR||^^^|\r"
        )
        assert not read.accepted
        assert read.errors == (
            Problem("203", "Unsupported version", "MSH-12"),
            Problem("207", "message", "PID-3[2].4.2", "warning", detail_code="900"),
            Problem("207", ""),
        )

    def test_an_old_peer_says_it_in_msa(self) -> None:
        read = parse_ack(b"MSH|^~\\&|A||||||ACK|1|P|2.3\rMSA|AR|MSG-1|file pleine\r")
        assert read.errors == (Problem("207", "file pleine"),)

    def test_an_acceptance_stays_one_whatever_its_texts(self) -> None:
        assert parse_ack(b"MSH|^~\\&|A" + b"|" * 15 + b"KLINGON\rMSA|CA|\xe9|\xff\r").accepted
        assert parse_ack(b"MSH|^~\\&|A\rMSA|AA|\xe9\r") == Acknowledgement("AA", "é")

    @pytest.mark.parametrize("data", [b"", b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\rMSA|OK|1\r", b"MSH|^~\\&|A\rMSA\r"])
    def test_no_acknowledgement(self, data: bytes) -> None:
        with pytest.raises(MessageError):
            parse_ack(data)

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        for candidate in (data, b"MSH|^~\\&|A\rMSA|AE|1\rERR|" + data):
            with suppress(ProtocolError):
                parse_ack(candidate)


problems = st.builds(
    Problem,
    st.one_of(st.sampled_from(sorted(MESSAGE_ERRORS)), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.one_of(st.sampled_from(["PID-3", "OBX[2]-5.1", "/a/b", ""]), st.text(max_size=10)),
    st.sampled_from(["error", "warning", "information"]),
)


@given(st.sampled_from(["AE", "AR"]), st.lists(problems, max_size=5), st.binary(max_size=60))
def test_any_problem_gives_a_readable_acknowledgement(code: AckCode, found: list[Problem], head: bytes) -> None:
    for message, beginning in ((parse(MDM), b""), (parse(ORU), b""), (None, b"MSH|^~\\&|" + head)):
        data = acknowledge(message, code, tuple(found), control_id="1", now=NOW, head=beginning)
        read = parse_ack(data)
        assert read.code == code
        assert len(read.errors) == max(1, len(found))
        order: list[Severity] = ["error", "warning", "information"]
        assert [e.severity for e in read.errors] == sorted(
            (p.severity for p in found or [Problem("", "")]), key=order.index
        )


@given(st.lists(problems, max_size=3))
def test_what_we_say_a_client_reads(found: list[Problem]) -> None:
    read = parse_ack(acknowledge(parse(MDM), "AE", tuple(found), control_id="1", now=NOW))
    for written, got in zip(sorted(found, key=lambda p: "ewi".index(p.severity[0])), read.errors, strict=False):
        if written.code in MESSAGE_ERRORS:
            assert got.code == written.code
        if written.location in ("PID-3", "OBX[2]-5.1", "/a/b"):
            assert got.location == written.location
        if written.message.strip():
            assert got.message == written.message
