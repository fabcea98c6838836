from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import ProtocolError
from pfiflow.hl7.conformance import MAX_PROBLEMS, check
from pfiflow.hl7.er7 import parse
from pfiflow.hl7.structure import Node, match
from tests.hl7.examples import DOCUMENT, MDM, ORU, official, without


def found(data: bytes) -> list[tuple[str, str]]:
    """(code, location) of each problem."""
    return [(problem.code, problem.location) for problem in check(parse(data))]


def errors(data: bytes) -> list[tuple[str, str]]:
    return [(problem.code, problem.location) for problem in check(parse(data)) if problem.severity == "error"]


class TestWhyNotHl7apyAlone:
    def names(self, element: Any) -> list[str]:
        if element.classname == "Segment":
            return [element.name]
        return [name for child in element.children for name in self.names(child)]

    @pytest.mark.parametrize("data", [MDM, ORU])
    def test_hl7apy_drops_prt_and_we_do_not(self, data: bytes) -> None:
        from hl7apy.parser import parse_message

        ours = [segment.name for segment in parse(data).segments]
        theirs = self.names(parse_message(data.decode("latin-1"), find_groups=True))
        assert ours.count("PRT") in (1, 2)
        assert theirs.count("PRT") == 0
        assert theirs == [name for name in ours if name != "PRT"]

    def test_hl7apy_is_imported_when_asked(self) -> None:
        code = "import pfiflow.hl7.conformance, sys; assert not any(m.startswith('hl7apy') for m in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestCorrectMessages:
    @pytest.mark.parametrize("data", [MDM, ORU])
    def test_have_no_problem(self, data: bytes) -> None:
        assert check(parse(data)) == ()

    @official
    def test_official_transmissions_and_deliveries(self, path: Path) -> None:
        message = parse(path.read_bytes())
        expected = [] if message.get("MSH-9.1") in ("MDM", "ORU") else [("200", "MSH-9.1")]
        assert [(p.code, p.location) for p in check(message)] == expected

    @pytest.mark.parametrize("trigger", [b"T04", b"T10"])
    def test_each_event(self, trigger: bytes) -> None:
        assert found(MDM.replace(b"^T02^", b"^%s^" % trigger)) == []

    def test_z_segments_anywhere(self) -> None:
        assert found(MDM.replace(b"\rPV1", b"\rZBE|1\rPV1") + b"ZZZ\r") == []

    def test_optional_segments_of_the_standard(self) -> None:
        assert found(ORU.replace(b"\rPV1", b"\rPD1\rNK1|1\rPV1").replace(b"\rOBX|1", b"\rNTE|1\rTQ1|1\rOBX|1")) == []
        assert found(MDM.replace(b"\rEVN", b"\rSFT|A|1|P|B\rEVN").replace(b"\rOBR", b"\rTQ1|1\rTQ2|1\rOBR")) == []

    def test_two_documents_in_an_oru(self) -> None:
        order = ORU[ORU.index(b"ORC") :]
        assert found(ORU + order) == []


class TestStructure:
    @pytest.mark.parametrize("name", [b"EVN", b"PID", b"PV1", b"ORC", b"OBR", b"TXA"])
    def test_a_missing_segment_of_mdm(self, name: bytes) -> None:
        assert found(without(MDM, name)) == [("100", name.decode())]

    @pytest.mark.parametrize("name", [b"PID", b"ORC", b"OBR"])
    def test_a_missing_segment_of_oru(self, name: bytes) -> None:
        assert found(without(ORU, name)) == [("100", name.decode())]

    def test_what_is_optional_may_be_missing(self) -> None:
        assert found(without(without(ORU, b"PV1"), b"PRT")) == []

    def test_no_document(self) -> None:
        assert found(without(without(without(MDM, b"OBX"), b"PRT"), b"NTE")) == [("100", "OBX")]

    def test_a_doubled_segment(self) -> None:
        pid = MDM[MDM.index(b"PID") : MDM.index(b"PV1")]
        assert found(MDM.replace(pid, pid * 2)) == [("100", "PID[2]")]

    def test_two_orders_in_an_mdm(self) -> None:
        order = MDM[MDM.index(b"ORC") : MDM.index(b"TXA")]
        assert found(MDM.replace(order, order * 2)) == [("100", "ORC[2]"), ("100", "OBR[2]")]

    def test_two_patients_in_an_oru(self) -> None:
        assert found(ORU + ORU[ORU.index(b"PID") :])[0] == ("100", "PID[2]")

    def test_wrong_order(self) -> None:
        evn, pid, rest = MDM.index(b"EVN"), MDM.index(b"PID"), MDM.index(b"PV1")
        swapped = MDM[:evn] + MDM[pid:rest] + MDM[evn:pid] + MDM[rest:]
        assert found(swapped) == [("100", "EVN"), ("100", "EVN")]

    def test_a_segment_of_another_message(self) -> None:
        data = MDM.replace(b"\rPV1", b"\rAL1|1||X\rPV1")
        assert found(data) == [("100", "AL1")]
        assert "after PID" in str(check(parse(data))[0])

    def test_an_unknown_segment(self) -> None:
        assert found(MDM.replace(b"\rPV1", b"\rXYZ|1||X\rPV1")) == [("100", "XYZ")]


class TestHeader:
    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            (b"MDM^T02^MDM_T02", b"ADT^A01^ADT_A01", ("200", "MSH-9.1")),
            (b"MDM^T02^MDM_T02", b"MDM^T01^MDM_T02", ("201", "MSH-9.2")),
            (b"MDM^T02^MDM_T02", b"MDM^T02^MDM_T01", ("200", "MSH-9.3")),
            (b"|2.6|", b"|2.5|", ("203", "MSH-12.1")),
        ],
    )
    def test_kind_event_version(self, old: bytes, new: bytes, problem: tuple[str, str]) -> None:
        assert found(MDM.replace(old, new)) == [problem]


class TestFields:
    @pytest.mark.parametrize(
        ("old", "new", "location"),
        [
            (b"|RIS|", b"||", "MSH-3"),
            (b"|UNICODE UTF-8|", b"||", "MSH-18"),
            (b"2.1^CISIS_CDA_HL7_V2", b"", "MSH-21"),
            (b"PV1|1|I", b"PV1|1|", "PV1-2"),
            (b"OBR|1|||18748-4^CR d'imagerie m\xc3\xa9dicale^LN", b"OBR|1", "OBR-4"),
            (b"ORC|NW", b"ORC|", "ORC-1"),
            (b"|||||AU", b"", "TXA-17"),
            (b"||||||F\rPRT", b"\rPRT", "OBX-11"),
            (b"N^^expandedYes-NoIndicator", b"", "OBX[2]-5"),
            (b"PRT||UC||SB", b"PRT||||SB", "PRT-2"),
        ],
    )
    def test_required(self, old: bytes, new: bytes, location: str) -> None:
        assert MDM.count(old)
        assert ("101", location) in errors(MDM.replace(old, new, 1))

    def test_repetitions(self) -> None:
        assert found(MDM.replace(b"PV1|1|I", b"PV1|1|I~E~O")) == [("198", "PV1-2")]

    @pytest.mark.parametrize(
        ("old", "new", "location"),
        [
            (b"|19790328|", b"|19791328|", "PID-7"),
            (b"|19790328|", b"|28/03/1979|", "PID-7"),
            (b"EVN||20260102030405", b"EVN||hier", "EVN-2"),
            (b"OBX|2|", b"OBX|deux|", "OBX[2]-1"),
            (b"|19790328|", b"|" + b"1" * 100 + b"|", "PID-7"),
            (b"|19790328|", b"|\xc3\xa9|", "PID-7"),
        ],
    )
    def test_data_types(self, old: bytes, new: bytes, location: str) -> None:
        assert errors(MDM.replace(old, new)) == [("102", location)]

    def test_dates_in_components(self) -> None:
        assert errors(MDM.replace(b"&ISO^PI~", b"&ISO^PI^^demain~")) == [("102", "PID-3.7")]
        assert errors(ORU.replace(b"20260102030405", b"maintenant")) == [("102", "MSH-7.1")]

    def test_the_null_value_is_no_date(self) -> None:
        assert found(MDM.replace(b"|19790328|", b'|""|')) == []

    def test_an_unknown_type_in_obx_2(self) -> None:
        assert errors(MDM.replace(b"OBX|2|CWE|", b"OBX|2|QQQ|")) == [("103", "OBX[2]-2")]

    def test_warnings(self) -> None:
        assert found(MDM.replace(b"^LN\r", b"^LN^1^2^3^4^5^6^7^8^9^10\r")) == [("102", "OBR-4")]
        assert found(MDM.replace(b"|UF|", b"|R&D&E&F|")) == [("102", "PV1-3.1")]
        assert found(MDM.replace(b"ORC|NW", b"ORC|QQ")) == [("103", "ORC-1")]
        assert found(MDM.replace(b"ORC|NW", b"ORC|NW" + b"|" * 50 + b"X")) == [("199", "ORC")]
        assert found(MDM.replace(b"123456^^^", b"^^^")) == [("101", "PID-3.1")]
        assert errors(MDM.replace(b"^LN\r", b"^LN^1^2^3^4^5^6^7^8^9^10\r").replace(b"ORC|NW", b"ORC|QQ")) == []

    def test_telecom_of_2_6_begins_at_its_second_component(self) -> None:
        # hl7apy's XTN of 2.6 leaves the withdrawn first component out: numbers, not positions, count
        assert found(MDM.replace(b"BDL^^63220||", b"BDL^^63220||^NET^X.400^a@b.fr")) == []

    def test_the_document_is_not_looked_into(self) -> None:
        assert found(MDM.replace(DOCUMENT, b"a&b\\T\\")) == []
        assert found(MDM.replace(DOCUMENT, DOCUMENT + b"^X")) == [("102", "OBX-5")]

    def test_problems_are_bounded(self) -> None:
        problems = check(parse(MDM + b"OBX|x|CWE|A||B||||||F\r" * 500))
        assert len(problems) == MAX_PROBLEMS
        assert problems[-1].code == "199"


class TestSecrecy:
    def test_no_content_in_problems(self) -> None:
        data = (
            MDM.replace(b"19790328", b"SECRET7")
            .replace(b"OBX|2|CWE", b"OBX|SECRET1|SECRET2")
            .replace(b"ORC|NW", b"ORC|SECRET3~SECRET4")
            .replace(b"MDM^T02^MDM_T02", b"MDM^SECRET^SECRET")
            .replace(b"|2.6|", b"|SECRET|")
        )
        problems = check(parse(data))
        assert len(problems) >= 7
        assert not any("SECRET" in str(p) or "DOMINIQUE" in str(p) or DOCUMENT.decode() in str(p) for p in problems)


class TestFuzz:
    @given(st.data())
    @settings(max_examples=150, deadline=None)
    def test_damaged_messages(self, data: st.DataObject) -> None:
        message = bytearray(data.draw(st.sampled_from([MDM, ORU])))
        for _ in range(data.draw(st.integers(1, 8))):
            place = data.draw(st.integers(0, len(message) - 1))
            message[place : place + data.draw(st.integers(0, 9))] = data.draw(
                st.one_of(
                    st.binary(max_size=3), st.sampled_from([b"|", b"^", b"~", b"&", b"\r", b'""', b"|||", b"\rOBX|"])
                )
            )
        with suppress(ProtocolError):
            check(parse(bytes(message)))

    @given(st.permutations(MDM.split(b"\r")[1:-1]), st.integers(0, 11))
    def test_any_order_is_read_wholly(self, lines: list[bytes], count: int) -> None:
        message = parse(b"\r".join([MDM.split(b"\r")[0], *lines[:count]]))
        structure = Node(
            "X",
            1,
            1,
            (
                Node("MSH", 0, 1),
                Node("PID", 0, 1),
                Node("G", 0, -1, (Node("OBX", 1, 1), Node("PRT", 0, -1))),
            ),
        )
        placed_or_refused = match(structure, message.segments, "test")
        assert all(problem.code == "100" for problem in placed_or_refused)
        assert {p.location for p in placed_or_refused if "not expected" in p.message} >= {
            s.location for s in message.segments if s.name not in ("MSH", "PID", "OBX", "PRT")
        }
