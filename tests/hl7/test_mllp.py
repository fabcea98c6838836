from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import ProtocolError
from pfiflow.hl7.mllp import (
    GARBAGE_STEP,
    HEAD_SIZE,
    Decoder,
    Event,
    Frame,
    Garbage,
    Oversized,
    Truncated,
    encode,
    frame_parts,
)
from tests.cost import assert_linear

MEGABYTE = 1 << 20


def decoded(*chunks: bytes, max_frame: int = 1000, close: bool = False) -> list[Event]:
    decoder = Decoder(max_frame)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.close() if close else events


def in_chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in pairwise(places)]


class TestFrames:
    def test_one(self) -> None:
        assert decoded(b"\x0bMSH|\x1c\r") == [Frame(b"MSH|")]

    def test_empty(self) -> None:
        assert decoded(b"\x0b\x1c\r") == [Frame(b"")]

    def test_pipelined(self) -> None:
        assert decoded(encode(b"a") + encode(b"b") + b"\x0bc") == [Frame(b"a"), Frame(b"b")]

    def test_byte_by_byte(self) -> None:
        stream = b"x" + encode(b"abc") + b"\r" + encode(b"d")
        assert decoded(*(bytes([b]) for b in stream)) == [Garbage(1), Frame(b"abc"), Frame(b"d")]

    def test_line_ends_between_frames_are_tolerated(self) -> None:
        assert decoded(b"\r" + encode(b"a") + b"\r\n\n" + encode(b"b"), close=True) == [Frame(b"a"), Frame(b"b")]

    def test_state_is_visible_for_deadlines(self) -> None:
        decoder = Decoder(100)
        assert (decoder.in_frame, decoder.pending) == (False, 0)
        decoder.feed(b"\x0babc")
        assert (decoder.in_frame, decoder.pending) == (True, 3)
        decoder.feed(b"d\x1c\r")
        assert (decoder.in_frame, decoder.pending) == (False, 0)


class TestFaults:
    def test_garbage_is_counted_and_skipped(self) -> None:
        assert decoded(b"GET /\r\n" + encode(b"a") + b"??", close=True) == [Garbage(5), Frame(b"a"), Garbage(2)]

    def test_endless_garbage_is_reported_in_steps(self) -> None:
        assert decoded(*[b"x" * 1000] * 10) == [Garbage(GARBAGE_STEP)] * 2
        assert decoded(b"x" * 10_000, close=True) == [Garbage(GARBAGE_STEP)] * 2 + [Garbage(10_000 - 2 * GARBAGE_STEP)]

    def test_a_new_start_cuts_the_frame_before(self) -> None:
        assert decoded(b"\x0babc" + encode(b"d")) == [Truncated(3), Frame(b"d")]
        assert decoded(b"\x0b" + encode(b"d")) == [Frame(b"d")]

    def test_the_end_of_the_stream_cuts_the_frame(self) -> None:
        assert decoded(b"\x0babc", close=True) == [Truncated(3)]
        assert decoded(b"\x0b", close=True) == []

    def test_end_without_return_before_a_new_frame_or_the_end(self) -> None:
        assert decoded(b"\x0ba\x1c" + encode(b"b")) == [Frame(b"a"), Frame(b"b")]
        assert decoded(b"\x0ba\x1c") == []
        assert decoded(b"\x0ba\x1c", close=True) == [Frame(b"a")]

    def test_end_without_return_inside_is_data(self) -> None:
        assert decoded(b"\x0ba\x1cb\x1c\x1c\x1c\r") == [Frame(b"a\x1cb\x1c\x1c")]

    def test_oversized_is_announced_at_once_and_dropped(self) -> None:
        decoder = Decoder(10)
        assert decoder.feed(b"\x0b0123456789") == []
        assert decoder.feed(b"x") == [Oversized(b"0123456789", 10)]
        for _ in range(1000):
            assert decoder.feed(b"y" * 100) == []
        assert decoder.pending == 100_011
        assert decoder.feed(b"\x1c\r" + encode(b"0123456789")) == [Frame(b"0123456789")]

    def test_oversized_in_one_chunk(self) -> None:
        stream = encode(b"01234567890") + encode(b"ok") + b"\x0b01234567890" + encode(b"ok")
        assert decoded(stream, max_frame=10) == [Oversized(b"0123456789", 10), Frame(b"ok")] * 2

    def test_oversized_head_is_bounded(self) -> None:
        (event,) = decoded(b"\x0b" + b"a" * 3000, b"b" * 3000, b"c" * 6000, max_frame=7000)
        assert event == Oversized(b"a" * 3000 + b"b" * (HEAD_SIZE - 3000), 7000)

    def test_oversized_never_ends(self) -> None:
        assert decoded(b"\x0b01234567890\x1c", max_frame=10, close=True) == [Oversized(b"0123456789", 10)]

    def test_the_decoder_serves_again_after_close(self) -> None:
        decoder = Decoder(10)
        decoder.feed(b"\x0babc")
        decoder.close()
        assert decoder.feed(encode(b"d")) == [Frame(b"d")]

    def test_a_limit_is_a_size(self) -> None:
        with pytest.raises(ValueError):
            Decoder(0)


tokens = st.sampled_from(
    [b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"\x0b", b"MSH|", b"a", b"\x00\xff", b"0123456789"]
)
streams = st.one_of(st.lists(tokens, max_size=40).map(b"".join), st.binary(max_size=100))


class TestAnyStream:
    @given(streams, st.lists(st.integers(0, 10_000), max_size=20), st.integers(1, 25))
    @settings(max_examples=500)
    def test_chunks_make_no_difference(self, stream: bytes, cuts: list[int], max_frame: int) -> None:
        whole = decoded(stream, max_frame=max_frame, close=True)
        assert decoded(*in_chunks(stream, cuts), max_frame=max_frame, close=True) == whole
        assert decoded(*(bytes([b]) for b in stream), max_frame=max_frame, close=True) == whole

    @given(streams, st.integers(1, 25))
    def test_the_next_frame_is_never_lost(self, stream: bytes, max_frame: int) -> None:
        # without close: whatever came before, a frame that is whole is decoded
        assert decoded(stream + encode(b"a"), max_frame=max_frame)[-1] == Frame(b"a")

    @given(streams, st.integers(1, 25))
    def test_every_byte_is_accounted_for(self, stream: bytes, max_frame: int) -> None:
        decoder = Decoder(max_frame)
        for event in decoder.feed(stream) + decoder.close():
            match event:
                case Frame(payload):
                    assert len(payload) <= max_frame
                    assert payload in stream
                case Oversized(head, limit):
                    assert limit == max_frame
                    assert len(head) == max_frame
                    assert head in stream
                case Truncated(count) | Garbage(count):
                    assert 0 < count <= len(stream)
        assert (decoder.in_frame, decoder.pending) == (False, 0)

    @given(st.lists(st.binary(max_size=60).filter(lambda p: not set(p) & {0x0B, 0x1C}), max_size=10))
    def test_decode_after_encode_is_identity(self, payloads: list[bytes]) -> None:
        assert decoded(b"".join(map(encode, payloads)), close=True) == [Frame(p) for p in payloads]


class TestEncode:
    def test_parts_do_not_copy(self) -> None:
        payload = b"MSH|"
        assert frame_parts(payload)[1] is payload
        assert b"".join(frame_parts(payload)) == encode(payload) == b"\x0bMSH|\x1c\r"

    @pytest.mark.parametrize("payload", [b"a\x0bb", b"a\x1cb"])
    def test_a_payload_cannot_break_its_frame(self, payload: bytes) -> None:
        with pytest.raises(ProtocolError, match="control character"):
            encode(payload)


class TestSpeed:
    def test_linear_in_the_size_of_the_message(self) -> None:
        def prepared(megabytes: int) -> Callable[[], object]:
            stream = encode(b"A" * (megabytes * MEGABYTE))
            chunks = [stream[i : i + 65536] for i in range(0, len(stream), 65536)]

            def work() -> None:
                decoder = Decoder(64 * MEGABYTE)
                (frame,) = [event for chunk in chunks for event in decoder.feed(chunk)]
                assert isinstance(frame, Frame)
                assert len(frame.payload) == megabytes * MEGABYTE

            return work

        assert_linear(prepared, 1, 10, slack=5)
        assert_linear(prepared, 5, 50, slack=5)

    def test_small_chunks_are_linear(self) -> None:
        def prepared(size: int) -> Callable[[], object]:
            decoder = Decoder(MEGABYTE)
            decoder.feed(b"\x0b")
            return lambda: [decoder.feed(b"a") for _ in range(size)]

        assert_linear(prepared, 20_000, 200_000)

    @pytest.mark.parametrize("pattern", [b"\x0b", b"\x1c", b"\x0ba", b"\x1ca", b"x", b"\x0b\x1c\r", b"\r"])
    def test_no_pattern_is_quadratic(self, pattern: bytes) -> None:
        def prepared(size: int) -> Callable[[], object]:
            stream = pattern * (size // len(pattern))
            return lambda: decoded(stream, max_frame=4 * MEGABYTE, close=True)

        assert_linear(prepared, MEGABYTE // 16, MEGABYTE)

    def test_small_frames(self) -> None:
        frame = encode(b"MSH|^~\\&|A|B|C|D|20260101||ACK|1|P|2.6\rMSA|AA|1\r" * 4)
        chunk = frame * 300
        decoder = Decoder(MEGABYTE)
        start = time.thread_time()
        count = sum(len(decoder.feed(chunk)) for _ in range(100))
        assert count == 30_000
        assert count / (time.thread_time() - start) > 50_000
