from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import Problem, ProtocolError
from pfiflow.hl7.er7 import (
    MAX_FIELDS,
    MAX_REPETITIONS,
    CharsetError,
    Message,
    MessageError,
    Segment,
    Separators,
    build,
    escape,
    parse,
    segment,
)
from tests.cost import assert_linear
from tests.hl7.examples import DOCUMENT, MDM, ORU, official

MEGABYTE = 1 << 20


def cut(value: bytes, separator: bytes) -> int:
    return value.count(separator) + 1


def nested(of: Segment, n: int, encoding_field: bool) -> list[list[list[str]]]:
    """Field `n` as decoded text: repetitions of components of subcomponents, trailing empty ones included."""
    if encoding_field:
        return [[[of.text(n)]]]
    s = of.separators
    return [
        [
            [of.text(n, c, sub, r) for sub in range(1, cut(of.component(n, c, r), s.subcomponent) + 1)]
            for c in range(1, cut(repetition, s.component) + 1)
        ]
        for r, repetition in enumerate(of.repetitions(n) or (b"",), 1)
    ]


def rewritten(of: Segment, encoding: str) -> bytes:
    """The segment put together again from nothing but its decoded values."""
    s = of.separators
    fields = []
    for n in range(1, of.field_count + 1):
        is_encoding = of.name == "MSH" and n <= 2
        values = nested(of, n, is_encoding)
        fields.append(
            s.repetition.join(
                s.component.join(
                    s.subcomponent.join((sub if is_encoding else escape(sub, s)).encode(encoding) for sub in component)
                    for component in repetition
                )
                for repetition in values
            )
        )
    name = of.name.encode()
    if of.name == "MSH":
        return name + fields[0] + s.field.join(fields[1:])
    return s.field.join([name, *fields])


def trimmed(data: bytes) -> bytes:
    """Without trailing empty subcomponents, components, repetitions, fields (default separators); MSH-2 left alone."""
    head, rest = data[:8], data[8:]
    for separator, after in ((b"&", rb"\^~|\r"), (b"^", rb"~|\r"), (b"~", rb"|\r"), (b"|", rb"\r")):
        rest = re.sub(re.escape(separator) + rb"+(?=[" + after + rb"])", b"", rest)
    return head + rest


class TestOfficialMessages:
    @official
    def test_survives_byte_for_byte(self, path: Path) -> None:
        data = path.read_bytes()
        message = parse(data)
        assert message.to_bytes(terminator=b"\n") == data
        assert message.to_bytes() == data.replace(b"\n", b"\r")
        assert parse(message.to_bytes()).to_bytes() == message.to_bytes()

    @official
    def test_no_segment_is_dropped(self, path: Path) -> None:
        lines = [line for line in path.read_bytes().split(b"\n") if line]
        assert [s.raw for s in parse(path.read_bytes()).segments] == lines

    @official
    def test_is_rebuilt_from_its_decoded_values(self, path: Path) -> None:
        message = parse(path.read_bytes())
        for each in message.segments:
            assert rewritten(each, message.encoding) == each.raw

    @official
    def test_goes_through_the_writer(self, path: Path) -> None:
        message = parse(path.read_bytes())
        specs = [
            segment(
                each.name,
                {
                    n: [
                        tuple(tuple(subs) for subs in repetition)
                        for repetition in nested(each, n, encoding_field=False)
                    ]
                    for n in range(3 if each.name == "MSH" else 1, each.field_count + 1)
                },
            )
            for each in message.segments
        ]
        assert build(specs) == trimmed(message.to_bytes())


class TestReading:
    def test_values(self) -> None:
        message = parse(MDM)
        assert len(message.segments) == 12
        assert message.encoding == "utf-8"
        assert message.get("MSH-1") == "|"
        assert message.get("MSH-2") == "^~\\&"
        assert message.get("MSH-9.2") == "T02"
        assert message.get("MSH-9.3") == "MDM_T02"
        assert message.get("PID-3") == "123456"
        assert message.get("PID-3.4.2") == "1.2.250.1.999"
        assert message.get("PID-3[2].4.2") == "1.2.250.1.213.1.4.10"
        assert message.get("OBX[2]-3.2") == "Masqué aux professionnels de Santé"
        assert message.get("OBX-5.5").encode() == DOCUMENT
        assert message.get("NTE-3") == "une note&suite \n ligne"

    @pytest.mark.parametrize(
        "path", ["PID-99", "PID-3[9]", "PID-3.99", "PID-3.1.7", "OBX[9]-1", "ZZZ-1", "PV1-4", "MSH-2.2", "MSH-1[2]"]
    )
    def test_what_is_absent_is_empty(self, path: str) -> None:
        assert parse(MDM).get(path) == ""

    @pytest.mark.parametrize(
        "path", ["", "PID", "PID-", "PID-0", "pid-3", "PID-3.", "PID-3[0]", "PID-3.0", "PID-3.1.2.3", "PID-٣"]
    )
    def test_a_malformed_path_is_a_defect(self, path: str) -> None:
        with pytest.raises(ValueError):
            parse(MDM).get(path)

    def test_segments_know_their_place(self) -> None:
        message = parse(MDM)
        second = message.all("OBX")[1]
        assert (second.name, second.occurrence, second.position, second.location) == ("OBX", 2, 11, "OBX[2]")
        assert message.first("OBX") is message.all("OBX")[0]
        assert message.first("ZZZ") is None
        assert message.all("ZZZ") == ()
        assert "DOMINIQUE" not in repr(message) + repr(message.segments)

    def test_raw_access(self) -> None:
        pid = parse(MDM).first("PID")
        assert pid is not None
        assert pid.field(3).split(b"~") == list(pid.repetitions(3))
        assert pid.repetition_count(3) == 2
        assert pid.repetition_count(4) == 0
        assert pid.repetitions(4) == ()
        assert pid.component(3, 4, 2) == b"INS-NIR&1.2.250.1.213.1.4.10&ISO"
        assert pid.field_count == 32
        assert pid.field(33) == b""
        start, end = pid.span(3)
        assert parse(MDM).raw[start:end] == pid.field(3)
        assert len(range(*pid.span(33))) == 0

    def test_header_numbering(self) -> None:
        msh = parse(MDM).segments[0]
        assert (msh.field(1), msh.field(2), msh.field(3)) == (b"|", b"^~\\&", b"RIS")
        assert msh.repetitions(2) == (b"^~\\&",)
        assert msh.repetition_count(2) == 1
        assert msh.component(2, 1) == b"^~\\&"
        assert msh.component(2, 2) == b""
        assert msh.field_count == 21

    def test_the_null_value_stays(self) -> None:
        assert parse(b'MSH|^~\\&|""').get("MSH-3") == '""'

    def test_own_separators(self) -> None:
        message = parse(b"MSH$%*!/#$A!E!B!X41!C!F!$D%E/F*G!P!\rPID$1%2/3*4")
        assert message.separators == Separators(b"$", b"%", b"*", b"!", b"/", b"#")
        assert message.get("MSH-3") == "A!BAC$"
        assert message.get("MSH-4") == "D"
        assert message.get("MSH-4.2.2") == "F"
        assert message.get("MSH-4[2]") == "G#"
        assert message.get("PID-1.2.2") == "3"

    def test_equality_is_that_of_the_bytes(self) -> None:
        assert parse(MDM) == parse(bytes(bytearray(MDM)))
        assert parse(MDM) != parse(ORU)
        assert len({parse(MDM), parse(MDM)}) == 1

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            (rb"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
            (rb"\X41\\X4243\\XC3A9\ ", "ABCé "),
            (rb"x\.br\y", "x\ny"),
            (rb"\H\bold\N\ ", r"\H\bold\N\ "),
            (rb"\Zzz\\C1234\\.sp+3\ ", r"\Zzz\\C1234\\.sp+3\ "),
            (rb"\X4\\X\\XZZ\ ", r"\X4\\X\\XZZ\ "),
            (rb"C:\temp and \T\ ", r"C:\temp and & "),
            (b"lone \\", "lone \\"),
            (rb"\P\ ", r"\P\ "),
            (rb"\E\F\E\ ", "\\F\\ "),
        ],
    )
    def test_escapes(self, written: bytes, read: str) -> None:
        assert parse(b"MSH|^~\\&|" + written).get("MSH-3") == read


class TestSegmentEnds:
    @pytest.mark.parametrize("terminator", [b"\r", b"\n", b"\r\n"])
    def test_each_terminator(self, terminator: bytes) -> None:
        data = MDM.replace(b"\r", terminator)
        message = parse(data)
        assert message.raw is data
        assert message.to_bytes(terminator=terminator) is data
        assert message.to_bytes() == MDM
        assert message.to_bytes(terminator=b"\r\n") == MDM.replace(b"\r", b"\r\n")

    def test_the_last_terminator_may_be_missing(self) -> None:
        data = MDM[:-1]
        assert len(parse(data).segments) == 12
        assert parse(data).to_bytes() is data
        assert parse(data).to_bytes(terminator=b"\n") == MDM.replace(b"\r", b"\n")

    def test_blank_lines_and_byte_order_mark_are_skipped(self) -> None:
        data = b"\xef\xbb\xbf" + MDM.replace(b"\r", b"\r\n\r\n\n")
        message = parse(data)
        assert message.raw is data
        assert message.to_bytes() == MDM
        assert message.get("MSH-1") == "|"

    def test_a_line_feed_in_a_value_is_data(self) -> None:
        message = parse(b"MSH|^~\\&|A\rNTE|1||one\ntwo\nOBX is no segment here\rNTE|2\r")
        assert [s.name for s in message.segments] == ["MSH", "NTE", "NTE"]
        assert message.get("NTE-3") == "one\ntwo\nOBX is no segment here"
        assert message.to_bytes() is message.raw

    def test_mixed_ends_are_refused_not_guessed(self) -> None:
        for data in (b"MSH|^~\\&|A\rPID|1\nPV1|1\r", b"MSH|^~\\&|A\nPID|1\rPV1|1\r"):
            with pytest.raises(MessageError, match="CR"):
                parse(data)


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"", "100"),
            (b"GET / HTTP/1.1\r\n", "100"),
            (b" MSH|^~\\&|", "100"),
            (b"\xef\xbb\xbf", "100"),
            (b"MSH", "102"),
            (b"MSH|", "102"),
            (b"MSH|\r", "102"),
            (b"MSH|^~\\|A", "102"),
            (b"MSH|^~\\&##|A", "102"),
            (b"MSH|^^\\&|A", "102"),
            (b"MSH|^~|&|A", "102"),
            (b"MSHa^~\\&aA", "102"),
            (b"MSH|^~\\\x01|A", "102"),
            (b"MSH|^~\\\xe9|A", "102"),
            (b"MSH\r^~\\&\rA", "102"),
            (b"MSH|^~\\&|A\0\rPID|", "102"),
            (b"MSH|^~\\&|A\x0b\rPID|", "102"),
            (b"MSH|^~\\&|A\x1c\rPID|", "102"),
            (b"MSH|^~\\&|A\rpid|1", "100"),
            (b"MSH|^~\\&|A\rPIDX|1", "100"),
            (b"MSH|^~\\&|A\rPI", "100"),
            (b"MSH|^~\\&|A\rMSH|^~\\&|B", "100"),
        ],
    )
    def test_says_what_to_answer(self, data: bytes, code: str) -> None:
        with pytest.raises(MessageError) as caught:
            parse(data)
        assert caught.value.problem.code == code
        assert isinstance(caught.value, ProtocolError)

    def test_no_content_in_the_error(self) -> None:
        with pytest.raises(MessageError) as caught:
            parse(b"MSH|^~\\&|A\rDUPONT MARIE\r")
        assert "DUPONT" not in str(caught.value)

    def test_too_many_segments(self) -> None:
        data = b"MSH|^~\\&|A\r" + b"NTE\r" * 9
        assert len(parse(data, max_segments=10).segments) == 10
        with pytest.raises(MessageError) as caught:
            parse(data, max_segments=9)
        assert caught.value.problem.code == "198"

    def test_too_many_fields_or_repetitions(self) -> None:
        message = parse(b"MSH|^~\\&|A\rNTE" + b"|" * MAX_FIELDS + b"\rPID|" + b"~" * (MAX_REPETITIONS - 1))
        assert message.all("NTE")[0].field_count == MAX_FIELDS
        assert len(message.all("PID")[0].repetitions(1)) == MAX_REPETITIONS
        message = parse(b"MSH|^~\\&|A\rNTE" + b"|" * (MAX_FIELDS + 1) + b"\rPID|" + b"~" * MAX_REPETITIONS)
        with pytest.raises(MessageError, match="fields"):
            message.all("NTE")[0].field(1)
        with pytest.raises(MessageError, match="repetitions"):
            message.all("PID")[0].repetitions(1)

    def test_numbers_count_from_one(self) -> None:
        pid = parse(MDM).all("PID")[0]
        with pytest.raises(ValueError):
            pid.field(0)
        for wrong in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            with pytest.raises(ValueError):
                pid.text(3, *wrong)


class TestCharsets:
    def test_latin(self) -> None:
        message = parse(ORU)
        assert message.encoding == "iso8859_15"
        assert message.get("PID-5.2") == "ANAÏS"

    def test_the_first_repetition_counts(self) -> None:
        assert parse(ORU.replace(b"8859/15", b"8859/15~UNICODE UTF-8")).encoding == "iso8859_15"

    def test_default_is_a_setting(self) -> None:
        data = b"MSH|^~\\&|\xa4"
        assert parse(data, default_encoding="iso8859_15").get("MSH-3") == "€"
        with pytest.raises(CharsetError):
            parse(data).get("MSH-3")

    def test_foreign_bytes_are_a_problem_with_a_place(self) -> None:
        message = parse(MDM.replace(b"DOMINIQUE^DOMINIQUE", b"ANA\xcfS"))
        with pytest.raises(CharsetError) as caught:
            message.get("PID-5.2")
        assert (caught.value.problem.code, caught.value.problem.location) == ("102", "PID-5.2")
        assert "ANA" not in str(caught.value)

    def test_an_unknown_set_does_not_stop_the_reading(self) -> None:
        message = parse(MDM.replace(b"UNICODE UTF-8", b"ISO IR87"))
        assert message.segments[0].field(10) == b"MSG-1"
        with pytest.raises(CharsetError) as caught:
            message.encoding  # noqa: B018 - the property raises
        assert (caught.value.problem.code, caught.value.problem.location) == ("103", "MSH-18")
        with pytest.raises(CharsetError, match="MSH-18"):
            message.get("PID-5.2")


class TestCost:
    def big(self, megabytes: int) -> bytes:
        head, tail = MDM.split(DOCUMENT)
        return head + b"A" * (megabytes * MEGABYTE) + tail

    def test_the_document_is_sliced_once(self) -> None:
        data = self.big(20)
        tracemalloc.start()
        message = parse(data)
        assert message.get("OBX-11") == "F"
        assert tracemalloc.get_traced_memory()[1] < MEGABYTE
        document = message.all("OBX")[0].component(5, 5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(document) == 20 * MEGABYTE
        assert peak < 21 * MEGABYTE

    def test_linear(self) -> None:
        def prepared(megabytes: int) -> Callable[[], object]:
            data = self.big(megabytes)

            def work() -> None:
                message = parse(data)
                assert len(message.all("OBX")[0].component(5, 5)) == megabytes * MEGABYTE
                assert message.get("OBX-11") == "F"

            return work

        assert_linear(prepared, 5, 50, slack=5)

    @pytest.mark.parametrize("last", [b"a", "é".encode(), b"\xff", b"\\T\\"])
    def test_many_values_are_linear(self, last: bytes) -> None:
        """Also where a segment cannot be decoded as a whole, or holds escape sequences."""

        def prepared(size: int) -> Callable[[], object]:
            message = parse(b"MSH|^~\\&|A\r" + (b"NTE|1||" + b"a^" * 50 + last + b"\r") * size)
            return lambda: [each.text(3, 50) for each in message.all("NTE")]

        assert_linear(prepared, 900, 9_000)

    @pytest.mark.parametrize("size", [4, 60])
    def test_many_repetitions_are_linear(self, size: int) -> None:
        """Also where they are too long for their segment to be cut as a whole."""

        def prepared(count: int) -> Callable[[], object]:
            (pid,) = parse(b"MSH|^~\\&|A\rPID|1||" + b"~".join([b"a^" + b"b" * size] * count)).all("PID")
            assert [pid.component(3, 2, r) for r in (1, 2, count, count + 1)] == [b"b" * size] * 3 + [b""]
            return lambda: [pid.text(3, part, 1, r) for r in range(1, count + 1) for part in range(1, 8)]

        assert_linear(prepared, 90, 900)

    def test_many_segments_are_linear(self) -> None:
        start = time.thread_time()
        message = parse(b"MSH|^~\\&|A\r" + b"NTE|1||a\r" * 9_999)
        assert sum(len(message.get(f"NTE[{n}]-3")) for n in range(1, 10_000)) == 9_999
        assert time.thread_time() - start < 2


def touch_everything(message: Message) -> None:
    """Every public door of a message."""
    assert message.to_bytes(terminator=b"\r\n")
    for each in message.segments:
        repr(each)
        for n in range(1, min(each.field_count, 40) + 1):
            each.field(n)
            for r in range(1, min(each.repetition_count(n), 5) + 1):
                each.text(n, 1, 1, r)
                each.text(n, 2, 2, r)


def outcome(of: Segment, n: int, component: int, subcomponent: int, repetition: int) -> str | Problem:
    try:
        return of.text(n, component, subcomponent, repetition)
    except CharsetError as error:
        return error.problem


class TestFuzz:
    @given(
        st.lists(st.sampled_from([b"|", b"^", b"~", b"&", b"\\", b"\\T\\", b"\\XE9\\", b"a", "é".encode(), b"\xe9"])),
        st.sampled_from([b"UNICODE UTF-8", b"8859/15", b"ASCII", b"", b"KLINGON"]),
        st.sampled_from([b"NTE", b"MSH"]),
    )
    def test_a_segment_reads_the_same_whatever_its_size(self, parts: list[bytes], charset: bytes, name: bytes) -> None:
        """A small one is decoded and cut as a whole, a large one is read in place."""
        value = b"".join(parts)
        head = b"MSH|^~\\&" + b"|" * 16 + charset
        small, large = (
            parse(head + b"|" + value + tail if name == b"MSH" else head + b"\rNTE|" + value + tail).segments[-1]
            for tail in (b"|", b"|" + b"A" * 20_000)
        )
        for n in range(1, small.field_count + 2):
            if n == small.field_count:
                continue  # the field that makes the difference
            assert small.repetition_count(n) == large.repetition_count(n)
            for place in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (3, 2, 2)):
                assert outcome(small, n, *place) == outcome(large, n, *place)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        for candidate in (data, b"MSH|^~\\&|" + data):
            with suppress(ProtocolError):
                touch_everything(parse(candidate))

    @given(st.data())
    @settings(max_examples=200)
    def test_damaged_messages(self, data: st.DataObject) -> None:
        message = bytearray(data.draw(st.sampled_from([MDM, ORU])))
        for _ in range(data.draw(st.integers(1, 8))):
            place = data.draw(st.integers(0, len(message) - 1))
            message[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        with suppress(ProtocolError):
            touch_everything(parse(bytes(message)))

    @given(
        st.lists(
            st.sampled_from(
                [b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"PID", b"NTE|", b"\\F\\", b"\\X", b"a", b'""']
            )
        )
    )
    def test_reading_rewriting_and_terminators(self, parts: list[bytes]) -> None:
        data = b"MSH|^~\\&|" + b"".join(parts)
        try:
            message = parse(data)
        except ProtocolError:
            return
        again = parse(message.to_bytes())
        assert [s.raw for s in again.segments] == [s.raw for s in message.segments]
        assert again.to_bytes() == message.to_bytes()
        for each in message.segments:
            assert b"\r" not in each.raw
