"""MLLP framing without I/O: bytes in, events out (HL7 transport specification, MLLP release 1).

A frame is VT (0x0B), the message, FS CR (0x1C 0x0D). `Decoder` gives the same events whatever the chunks, in linear
time and in memory bounded by `max_frame`; nothing that a peer sends makes it raise or lose the next frame:

* between frames CR and LF are tolerated; anything else is counted and skipped (`Garbage`);
* a VT inside a frame begins another: the one before was cut (`Truncated`), as a peer does that restarts its sending;
* FS without CR ends the frame only if a VT or the end of the stream follows. Before any other byte it is data (to cut
  the message there would lose its end without a word): the message goes on to FS CR, and the reader refuses it;
* a frame over `max_frame` is announced at once (`Oversized`, with its beginning, so that it can be answered), the rest
  of it is dropped unseen.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from pfiflow.errors import ProtocolError

__all__ = ["HEAD_SIZE", "Decoder", "Event", "Frame", "Garbage", "Oversized", "Truncated", "encode", "frame_parts"]

START = b"\x0b"
END = b"\x1c\r"
HEAD_SIZE = 4096
"""Bytes of an oversized frame that its event keeps: enough for MSH."""

GARBAGE_STEP = 4096
"""A run of garbage is reported at least every so many bytes, so that an endpoint can close on it."""

_FS, _CR = 0x1C, 0x0D
_LARGE = 16 * 2**10  # bytes: a piece of that size is kept as it came


@frozen
class Frame:
    """One complete message."""

    payload: bytes


@frozen
class Garbage:
    """`count` bytes between frames, neither CR nor LF, were skipped."""

    count: int


@frozen
class Oversized:
    """The frame that began exceeds the limit and is being dropped; `head` is its beginning (`HEAD_SIZE` at most)."""

    head: bytes
    limit: int


@frozen
class Truncated:
    """A frame ended before its FS CR, by a new VT or the end of the stream; its `count` bytes are dropped."""

    count: int


Event: TypeAlias = Frame | Garbage | Oversized | Truncated


def frame_parts(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """What to write, in three parts (`transport.writelines`): a payload of 50 MB is not copied.

    Raises:
        ProtocolError: the payload holds VT or FS, which would break the frame.
    """
    for mark in (START, END[:1]):
        if mark in payload:
            raise ProtocolError(f"the message holds the control character 0x{mark[0]:02X}, which MLLP cannot carry")
    return START, payload, END


def encode(payload: bytes) -> bytes:
    """One frame (a copy of the payload; see `frame_parts`). Raises `ProtocolError` as `frame_parts` does."""
    return b"".join(frame_parts(payload))


class Decoder:
    """Frames from a stream of bytes, one decoder a connection. Not to be shared by threads.

    Args:
        max_frame: most bytes in one payload.
    """

    __slots__ = ("_chunks", "_discarding", "_garbage", "_half_end", "_in_frame", "_size", "_tail", "max_frame")

    def __init__(self, max_frame: int) -> None:
        if max_frame < 1:
            raise ValueError("max_frame is a number of bytes, 1 at least")
        self.max_frame = max_frame
        # Of the current frame, from the chunks before this one: large pieces as they came, to be joined once; small
        # ones gathered, since a peer that drips would otherwise cost an object a byte.
        self._chunks: list[bytes | bytearray | memoryview] = []
        self._tail = bytearray()
        self._size = 0  # bytes of the current frame so far, kept or not
        self._garbage = 0
        self._in_frame = False
        self._discarding = False
        self._half_end = False  # the last byte was FS

    @property
    def pending(self) -> int:
        """Bytes of the frame that is open; 0 between frames."""
        return self._size

    @property
    def in_frame(self) -> bool:
        """A frame is open (for the endpoint's deadlines: a peer may be idle between frames, not in one)."""
        return self._in_frame

    def feed(self, data: bytes) -> list[Event]:
        """Events that these bytes complete, in order."""
        events: list[Event] = []
        size = len(data)
        position = 0
        next_end = -1  # the next FS: remembered, so that no byte is searched twice
        while position < size:
            if not self._in_frame:
                position = self._skip_to_start(data, position, events)
                continue
            if self._half_end:
                self._half_end = False
                following = data[position]
                if following == _CR or following == START[0]:
                    self._finish(data, position, position, events)
                    position += following == _CR
                    continue
                self._take(END[:1], 0, 1, events)
            if next_end < position:
                next_end = data.find(END[:1], position)
                if next_end < 0:
                    next_end = size
            restart = data.find(START, position, next_end)
            if restart >= 0:
                self._take(data, position, restart, events)
                self._cut(events)
                self._in_frame = True
                position = restart + 1
            elif next_end == size:
                self._take(data, position, size, events)
                position = size
            elif next_end + 1 < size and data[next_end + 1] == _CR:
                self._finish(data, position, next_end, events)
                position = next_end + 2
            else:
                self._take(data, position, next_end, events)
                self._half_end = True
                position = next_end + 1
        return events

    def close(self) -> list[Event]:
        """Events that the end of the stream completes. The decoder may then be used for another stream."""
        events: list[Event] = []
        if not self._in_frame:
            self._report_garbage(events)
        elif self._half_end:
            self._finish(b"", 0, 0, events)
        else:
            self._cut(events)
        return events

    def _skip_to_start(self, data: bytes, position: int, events: list[Event]) -> int:
        start = data.find(START, position)
        end = len(data) if start < 0 else start
        if end > position:
            count = end - position - data.count(b"\r", position, end) - data.count(b"\n", position, end)
            self._garbage += count
            while self._garbage >= GARBAGE_STEP:
                events.append(Garbage(GARBAGE_STEP))
                self._garbage -= GARBAGE_STEP
        if start < 0:
            return end
        self._report_garbage(events)
        self._in_frame = True
        return start + 1

    def _report_garbage(self, events: list[Event]) -> None:
        if self._garbage:
            events.append(Garbage(self._garbage))
            self._garbage = 0

    def _take(self, data: bytes, start: int, end: int, events: list[Event]) -> None:
        """Add data[start:end] to the frame, or find it oversized."""
        if start == end:
            return
        self._size += end - start
        if self._discarding:
            return
        if self._size > self.max_frame:
            keep = min(HEAD_SIZE, self.max_frame)
            head = bytearray()
            for piece in (*self._chunks, self._tail, memoryview(data)[start:end]):
                head += piece[: keep - len(head)]
            events.append(Oversized(bytes(head), self.max_frame))
            self._discarding = True
            self._forget()
        elif end - start < _LARGE:
            self._tail += memoryview(data)[start:end]
        else:
            if self._tail:
                self._chunks.append(self._tail)
                self._tail = bytearray()
            self._chunks.append(memoryview(data)[start:end])

    def _finish(self, data: bytes, start: int, end: int, events: list[Event]) -> None:
        """The frame ends with data[start:end]."""
        if not self._size and end - start <= self.max_frame:
            events.append(Frame(data[start:end]))  # wholly in this chunk: one slice
        else:
            self._take(data, start, end, events)
            if not self._discarding:
                events.append(Frame(b"".join((*self._chunks, self._tail))))
        self._reset()

    def _cut(self, events: list[Event]) -> None:
        if self._size and not self._discarding:
            events.append(Truncated(self._size))
        self._reset()

    def _reset(self) -> None:
        self._in_frame = self._discarding = self._half_end = False
        self._size = 0
        self._forget()

    def _forget(self) -> None:
        if self._chunks:
            self._chunks = []
        if self._tail:
            self._tail = bytearray()
