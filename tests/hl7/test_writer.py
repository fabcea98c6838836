from __future__ import annotations

import string
import tracemalloc

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pfiflow.hl7.charset import CODECS
from pfiflow.hl7.er7 import CharsetError, Separators, build, escape, parse, segment, unescape
from pfiflow.hl7.writer import FieldValue

MEGABYTE = 1 << 20
PUNCTUATION = sorted(set(string.punctuation) - {'"'})


def separators_of(characters: list[str]) -> Separators:
    raw = "".join(characters).encode()
    return Separators.of(raw[:1], raw[1:])


separators = st.one_of(
    st.just(Separators()),
    st.builds(lambda order, size: separators_of(order[:size]), st.permutations(PUNCTUATION), st.sampled_from([5, 6])),
)
encodings = st.sampled_from(sorted(CODECS.items()))
texts = st.text(
    st.one_of(
        st.characters(codec="latin-1"),
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from('|^~\\&#\r\n\0\x0b\x1c\x7f"XFSTREP.br0aé€’\u00a0\u0085\u2028'),
    ),
    max_size=12,
)
subcomponents = st.lists(texts, min_size=1, max_size=3).map(tuple)
components = st.lists(subcomponents, min_size=1, max_size=3).map(tuple)
repetitions = st.lists(components, min_size=1, max_size=3)
segments = st.lists(
    st.tuples(st.sampled_from(["PID", "OBX", "ZA1"]), st.dictionaries(st.integers(1, 9), repetitions, max_size=4)),
    max_size=4,
)


@given(separators, encodings, segments)
def test_parse_after_build_gives_the_values_back(
    separators: Separators,
    encoding: tuple[str, str],
    content: list[tuple[str, dict[int, list[tuple[tuple[str, ...], ...]]]]],
) -> None:
    charset, codec = encoding

    def fit(text: str) -> str:
        return text.encode(codec, "ignore").decode(codec)

    fitted = [
        (name, {n: [tuple(tuple(fit(t) for t in c) for c in r) for r in value] for n, value in fields.items()})
        for name, fields in content
    ]
    data = build(
        [segment("MSH", {3: "A|^~\\&B", 18: charset}), *(segment(name, {**fields}) for name, fields in fitted)],
        separators=separators,
        encoding=codec,
    )
    message = parse(data)
    assert message.separators == separators
    assert message.encoding == codec
    assert message.get("MSH-3") == "A|^~\\&B"
    assert message.get("MSH-18") == charset
    assert [s.name for s in message.segments[1:]] == [name for name, _ in fitted]
    for written, (_, fields) in zip(message.segments[1:], fitted, strict=True):
        for n, value in fields.items():
            for r, repetition in enumerate(value, 1):
                for c, component in enumerate(repetition, 1):
                    for s, text in enumerate(component, 1):
                        assert written.text(n, c, s, r) == text
                    assert written.text(n, c, len(component) + 1, r) == ""
    assert parse(message.to_bytes(terminator=b"\n")).to_bytes() == data


@given(texts, separators)
def test_escape_and_back(text: str, separators: Separators) -> None:
    escaped = escape(text, separators)
    assert unescape(escaped, separators) == text
    assert not set(escaped) & set(map(chr, (*range(0x20), 0x7F)))
    for separator in (separators.field, separators.component, separators.repetition, separators.subcomponent):
        assert separator.decode() not in escaped


@given(st.text())
def test_unescape_takes_any_text(text: str) -> None:
    assume("\\" not in text)
    assert unescape(text) == text


def test_a_value_never_becomes_a_segment() -> None:
    data = build([segment("MSH", {3: "A"}), segment("NTE", {3: "x\rOBX|1||DESTDMP\n\r\nPID|1"})])
    assert data == b"MSH|^~\\&|A\rNTE|||x\\X0D\\OBX\\F\\1\\F\\\\F\\DESTDMP\\X0A\\\\X0D\\\\X0A\\PID\\F\\1\r"
    message = parse(data)
    assert [s.name for s in message.segments] == ["MSH", "NTE"]
    assert message.get("NTE-3") == "x\rOBX|1||DESTDMP\n\r\nPID|1"


def test_trailing_empty_values_are_left_out() -> None:
    value: FieldValue = [("a", "", ("", "b", ""), ("", "")), "", ("", "")]
    assert build([segment("PID", {2: value, 5: "", 7: ("",), 9: []})]) == b"PID||a^^&b\r"
    assert build([segment("PID", {3: ["", "x"]})]) == b"PID|||~x\r"
    assert build([segment("PID", {})]) == b"PID\r"


def test_bytes_are_written_as_they_are() -> None:
    assert build([segment("OBX", {5: ("", "text", b"a^b&c\\F\\", b"")})]) == b"OBX|||||^text^a^b&c\\F\\\r"


@pytest.mark.parametrize("value", [b"a\rOBX|", b"a\n", b"\0", b"\x0b", b"\x1c"])
def test_bytes_that_would_end_the_segment_or_the_frame_are_a_defect(value: bytes) -> None:
    with pytest.raises(ValueError, match="OBX-5"):
        build([segment("OBX", {5: ("", value)})])


def test_wrong_specifications_are_defects() -> None:
    for name, number in (("msh", 3), ("PIDX", 1), ("", 1), ("MSH", 2), ("PID", 0)):
        with pytest.raises(ValueError):
            segment(name, {number: "x"})
    with pytest.raises(TypeError, match="PID-3"):
        build([segment("PID", {3: 12})])  # type: ignore[dict-item]


def test_a_character_outside_the_set() -> None:
    with pytest.raises(CharsetError, match=r"U\+2019") as caught:
        build([segment("PID", {5: "d’Artagnan"})], encoding="iso8859_15")
    assert caught.value.problem.location == "PID-5"
    assert "Artagnan" not in str(caught.value)
    assert build([segment("PID", {5: "d’A"})], encoding="iso8859_15", replace=True) == b"PID|||||d?A\r"


def test_the_document_is_copied_once() -> None:
    document = b"A" * (20 * MEGABYTE)
    tracemalloc.start()
    data = build([segment("MSH", {3: "A"}), segment("OBX", {5: ("", "text", "XML", "Base64", document), 11: "F"})])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) > 20 * MEGABYTE
    assert peak < 21 * MEGABYTE
