r"""Lazy ER7 reader: a message is its bytes and the places where its segments begin; the rest is cut when it is asked.

A field of 50 MB of base64 is sliced once (`Segment.component`), never decoded, never split. Reading follows HL7 2.5/2.6
chapter 2: MSH-1 and MSH-2 say the separators, MSH-18 the character set.

Segment ends. CR is the terminator of HL7; CR LF and, in a message without any CR, LF are accepted for files. A LF in
a value of a CR message is data, unless what follows looks like a segment: then the ends are mixed and the message is
refused rather than read in one of two ways. Blank lines are skipped. A UTF-8 byte order mark before MSH is skipped too.

Escapes (2.7): ``\F\ \S\ \T\ \R\ \E\ \P\ \Xhh..\`` and ``\.br\`` (a line feed) are resolved by `text` and `get`;
any other sequence stays as written.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import field, frozen

from pfiflow.errors import Problem
from pfiflow.hl7.charset import DEFAULT_ENCODING, Charset, charset_named
from pfiflow.hl7.faults import CharsetError, MessageError
from pfiflow.hl7.separators import DEFAULT_SEPARATORS, Separators, unescape_bytes
from pfiflow.hl7.writer import SegmentSpec, build, escape, segment, unescape

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_SEPARATORS",
    "MAX_FIELDS",
    "MAX_REPETITIONS",
    "CharsetError",
    "Message",
    "MessageError",
    "Segment",
    "SegmentSpec",
    "Separators",
    "build",
    "escape",
    "parse",
    "segment",
    "unescape",
]

MAX_FIELDS = 1_000
"""Fields in one segment (the longest segment of HL7 2.9 has fewer than 100)."""

MAX_REPETITIONS = 1_000
"""Repetitions of one field."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FORBIDDEN = (b"\0", b"\x0b", b"\x1c")  # no text, and no MLLP frame can carry VT and FS on
_LINE_FEED, _RETURN = 0x0A, 0x0D
_HEADERS = frozenset({"MSH", "BHS", "FHS"})
_SMALL = 16 * 2**10  # bytes: up to there a segment is decoded and cut at its first reading, at once
_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}")
_PATH = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[(\d{1,9})\])?-(\d{1,9})(?:\[(\d{1,9})\])?(?:\.(\d{1,9})(?:\.(\d{1,9}))?)?", re.ASCII
)


@frozen(eq=False, repr=False)
class Segment:
    """One segment: a window on the message's bytes. Field numbers are the standard's (MSH-1 is the separator)."""

    name: str
    position: int  # 1-based among all segments
    occurrence: int  # 1-based among the segments of this name
    separators: Separators
    _data: bytes
    _start: int
    _end: int
    _charset: Charset
    _starts: tuple[int, ...] = field(default=(), init=False)
    _texts: tuple[str, ...] | None = field(default=None, init=False)
    _repeated: tuple[int, tuple[tuple[int, int], ...]] = field(default=(0, ()), init=False)  # field, its repetitions

    def __repr__(self) -> str:
        return f"<Segment {self.location} of {self._end - self._start} bytes>"

    @property
    def raw(self) -> bytes:
        """The segment as written, without its terminator (a copy)."""
        return self._data[self._start : self._end]

    @property
    def location(self) -> str:
        """`PID`, or `OBX[2]` from the second occurrence on: the form of `Problem.location`."""
        return self.name if self.occurrence == 1 else f"{self.name}[{self.occurrence}]"

    @property
    def field_count(self) -> int:
        """Number of the last field written, empty ones included."""
        return len(self._field_starts()) - 2 + (self.name in _HEADERS)

    def field(self, n: int) -> bytes:
        """Field `n` as written, b"" when absent. Raises ValueError when n < 1."""
        start, end = self._bounds(n)
        return self._data[start:end]

    def repetition_count(self, n: int) -> int:
        """How many repetitions field `n` has, without cutting it; 0 when it is absent or empty.

        Raises `MessageError` over `MAX_REPETITIONS`.
        """
        texts = self._cut() if self._texts is None else self._texts
        if texts and n > 2:
            value = texts[n] if n < len(texts) else ""
            count = value.count(self.separators.marks.repetition) + 1 if value else 0
        else:
            start, end = self._bounds(n)
            if start == end or self._is_encoding_field(n):
                return int(start < end)
            count = self._data.count(self.separators.repetition, start, end) + 1
        if count > MAX_REPETITIONS:
            raise self._too_many(n)
        return count

    def span(self, n: int) -> tuple[int, int]:
        """Where field `n` stands in `Message.raw`, as (start, end): to read a large field in place, without a copy.

        An absent field is an empty span. Raises ValueError when n < 1.
        """
        return self._bounds(n)

    def repetitions(self, n: int) -> tuple[bytes, ...]:
        """Repetitions of field `n` as written; () when it is absent or empty. Raises `MessageError` over the limit."""
        value = self.field(n)
        if not value:
            return ()
        if self._is_encoding_field(n):
            return (value,)
        found = value.split(self.separators.repetition, MAX_REPETITIONS)
        if len(found) > MAX_REPETITIONS:
            raise self._too_many(n)
        return tuple(found)

    def _too_many(self, n: int) -> MessageError:
        return MessageError(Problem("198", f"more than {MAX_REPETITIONS} repetitions", location=f"{self.location}-{n}"))

    def component(self, n: int, component: int, repetition: int = 1) -> bytes:
        """Component as written, NOT unescaped, b"" when absent: one slice, whatever the size of the field."""
        start, end = self._bounds(n)
        if not self._is_encoding_field(n):
            if repetition == 1:
                start, end = self._narrow(start, end, self.separators.repetition, 1)
            else:
                start, end = self._repetition(n, start, end, repetition)
            start, end = self._narrow(start, end, self.separators.component, component)
        elif repetition > 1 or component > 1:
            return b""
        return self._data[start:end]

    def text(self, n: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """One value, decoded and unescaped, "" when absent; the HL7 null `""` stays `""`.

        Raises:
            CharsetError: its bytes do not belong to the character set of MSH-18, or MSH-18 is unknown.
        """
        texts = self._texts
        if texts is None:
            texts = self._cut()
        if not texts or (n <= 2 and self._is_encoding_field(n)):
            return self._text_in_place(n, component, subcomponent, repetition)
        if n < 1 or component < 1 or subcomponent < 1 or repetition < 1:
            raise ValueError("HL7 fields, repetitions, components and subcomponents count from 1")
        value = texts[n] if n < len(texts) else ""
        if not value:
            return ""
        marks = self.separators.marks
        if repetition > 1:
            return self._text_in_place(n, component, subcomponent, repetition)
        if marks.repetition in value:
            value = _part(value, marks.repetition, 1)
        if component > 1 or marks.component in value:
            value = _part(value, marks.component, component)
        if subcomponent > 1 or marks.subcomponent in value:
            value = _part(value, marks.subcomponent, subcomponent)
        if marks.escape in value:
            written = unescape_bytes(value.encode(self._charset.codec), self.separators)
            return self._charset.decode(written, f"{self.location}-{n}.{component}")
        return value

    def _cut(self) -> tuple[str, ...]:
        """The fields of a small segment as text, from the name on; () where they have to be read in place."""
        texts: tuple[str, ...] = ()
        if self._end - self._start <= _SMALL and self._charset.codec:
            with suppress(UnicodeDecodeError):  # the values that are of the character set can still be read
                texts = tuple(self.raw.decode(self._charset.codec).split(self.separators.marks.field))
            if texts and self.name in _HEADERS:
                texts = (*texts[:1], self.separators.marks.field, *texts[1:])
            if len(texts) > MAX_FIELDS + 1:
                self._field_starts()  # raises
        object.__setattr__(self, "_texts", texts)  # assigned at once: threads may share us
        return texts

    def _text_in_place(self, n: int, component: int, subcomponent: int, repetition: int) -> str:
        value = self.component(n, component, repetition)
        if self._is_encoding_field(n):
            return value.decode("latin-1")
        separator = self.separators.subcomponent
        if subcomponent < 1:
            raise ValueError(f"HL7 subcomponents count from 1, not {subcomponent}")
        if subcomponent > 1 or separator in value:
            parts = value.split(separator, subcomponent)
            value = parts[subcomponent - 1] if subcomponent <= len(parts) else b""
        if not value:
            return ""
        if self.separators.escape in value:
            value = unescape_bytes(value, self.separators)
        if value.isascii() and self._charset.codec:
            return value.decode("ascii")
        return self._charset.decode(value, f"{self.location}-{n}.{component}")

    def _is_encoding_field(self, n: int) -> bool:
        return n <= 2 and self.name in _HEADERS

    def _bounds(self, n: int) -> tuple[int, int]:
        if n < 1:
            raise ValueError(f"HL7 fields count from 1, not {n}")
        if self.name in _HEADERS:
            if n == 1:
                return self._start + 3, self._start + 4
            n -= 1
        starts = self._starts or self._field_starts()
        if n + 1 >= len(starts):
            return self._end, self._end
        return starts[n], starts[n + 1] - 1

    def _field_starts(self) -> tuple[int, ...]:
        """Where the name and each field begin, and one past the end. Assigned at once: threads may share us."""
        if not self._starts:
            data, separator, end = self._data, self.separators.field, self._end
            starts = [self._start]
            found = data.find(separator, self._start, end)
            while found >= 0:
                starts.append(found + 1)
                if len(starts) > MAX_FIELDS + 1:
                    raise MessageError(Problem("198", f"more than {MAX_FIELDS} fields", location=self.location))
                found = data.find(separator, found + 1, end)
            starts.append(end + 1)
            object.__setattr__(self, "_starts", tuple(starts))
        return self._starts

    def _repetition(self, n: int, start: int, end: int, repetition: int) -> tuple[int, int]:
        """Where a repetition of field `n`, at data[start:end], stands. Those of one field are asked in turn: kept."""
        if repetition < 1 or repetition > MAX_REPETITIONS:
            return self._narrow(start, end, self.separators.repetition, repetition)
        number, found = self._repeated
        if number != n:
            spans: list[tuple[int, int]] = []
            while len(spans) < MAX_REPETITIONS:
                mark = self._data.find(self.separators.repetition, start, end)
                spans.append((start, end if mark < 0 else mark))
                if mark < 0:
                    break
                start = mark + 1
            found = tuple(spans)
            object.__setattr__(self, "_repeated", (n, found))
        return found[repetition - 1] if repetition <= len(found) else (end, end)

    def _narrow(self, start: int, end: int, separator: bytes, index: int) -> tuple[int, int]:
        """The `index`-th part (from 1) of data[start:end]; an empty window when there is none."""
        if index < 1:
            raise ValueError(f"HL7 repetitions and components count from 1, not {index}")
        find = self._data.find
        for _ in range(index - 1):
            found = find(separator, start, end)
            if found < 0:
                return end, end
            start = found + 1
        found = find(separator, start, end)
        return start, end if found < 0 else found


@frozen(repr=False)
class Message:
    """One ER7 message, immutable. Equal when the bytes are. See the module for what is read and how."""

    raw: bytes
    separators: Separators = field(eq=False)
    segments: tuple[Segment, ...] = field(eq=False)
    _charset: Charset = field(eq=False)
    _by_name: Mapping[str, tuple[Segment, ...]] = field(eq=False)

    def __repr__(self) -> str:
        return f"<Message of {len(self.raw)} bytes, {len(self.segments)} segments>"

    @property
    def encoding(self) -> str:
        """Python codec of MSH-18. Raises `CharsetError` (103 at MSH-18) when it is unknown."""
        return self._charset.required()

    def first(self, name: str) -> Segment | None:
        """First segment of that name, or None."""
        found = self._by_name.get(name)
        return found[0] if found else None

    def all(self, name: str) -> tuple[Segment, ...]:
        """Every segment of that name, in order."""
        return self._by_name.get(name, ())

    def get(self, path: str) -> str:
        """Value at `MSH-9.2`, `PID-3[2].4.2` (second repetition), `OBX[3]-5.5` (third OBX), "" when absent.

        Decoded and unescaped. Whatever the path leaves out is 1: `PID-3` is the first value in it.

        Raises:
            ValueError: the path is malformed (a defect of the caller).
            CharsetError: see `Segment.text`.
        """
        name, occurrence, number, repetition, component, subcomponent = _parse_path(path)
        found = self._by_name.get(name, ())
        if occurrence > len(found):
            return ""
        return found[occurrence - 1].text(number, component, subcomponent, repetition)

    def to_bytes(self, *, terminator: bytes = b"\r") -> bytes:
        """The message with each segment ended by `terminator`; `raw` itself, without any copy, when it already is so.

        A byte order mark and blank lines go. A LF that is data of a CR message stays a LF.
        """
        if self._ends_with(terminator):
            return self.raw
        parts: list[bytes | memoryview] = []
        window = memoryview(self.raw)
        for each in self.segments:
            parts += (window[each._start : each._end], terminator)
        return b"".join(parts)

    def _ends_with(self, terminator: bytes) -> bool:
        """Whether `raw` is what joining the segments with `terminator` gives, a missing last one allowed."""
        position, width = 0, len(terminator)
        for each in self.segments:
            if each._start != position:
                return False
            position = each._end + width
            if self.raw[each._end : position] not in (terminator, b""):
                return False
        return position >= len(self.raw)


def parse(data: bytes, *, max_segments: int = 10_000, default_encoding: str = DEFAULT_ENCODING) -> Message:
    """Read one ER7 message. Linear; the segments are located, their fields are not cut yet.

    Args:
        data: the message without MLLP framing.
        max_segments: refuse a message with more.
        default_encoding: Python codec when MSH-18 is empty.

    Raises:
        MessageError: a `ProtocolError` with the `Problem` to acknowledge: no MSH, bad separators, NUL, mixed segment
            ends, a line that is no segment, a second MSH, too many segments. An unknown MSH-18 is no reason: it
            raises only when text is asked, so that the message can be answered.
    """
    begin = 3 if data.startswith(_BYTE_ORDER_MARK) else 0
    separators = _separators(data, begin)
    _refuse_ambiguity(data, separators)
    windows = _windows(data, begin)
    charset = _charset(data[begin : windows[0][1]], separators, default_encoding)
    segments: list[Segment] = []
    by_name: dict[str, list[Segment]] = {}
    if len(windows) > max_segments:
        raise MessageError(Problem("198", f"the message has {len(windows)} segments; at most {max_segments} are read"))
    for position, (start, end) in enumerate(windows, 1):
        name = _segment_name(data[start : min(start + 4, end)], separators.field)
        if not name:
            raise MessageError(
                Problem("100", f"line {position} does not begin with a segment name and a separator", location="MSH")
            )
        same = by_name.setdefault(name, [])
        each = Segment(name, position, len(same) + 1, separators, data, start, end, charset)
        same.append(each)
        segments.append(each)
    if len(by_name["MSH"]) > 1:
        raise MessageError(Problem("100", "a second MSH: send one message at a time", location="MSH[2]"))
    index = MappingProxyType({name: tuple(found) for name, found in by_name.items()})
    return Message(data, separators, tuple(segments), charset, index)


def _separators(data: bytes, begin: int) -> Separators:
    if not data.startswith(b"MSH", begin):
        raise MessageError(Problem("100", "not an ER7 message: it does not begin with MSH", location="MSH"))
    return _separators_in(data[begin + 3 : begin + 11])


@lru_cache(maxsize=64)
def _separators_in(head: bytes) -> Separators:
    """From what follows the name MSH."""
    separator = head[:1]
    encoding = re.split(rb"[\r\n" + re.escape(separator) + rb"]", head[1:], maxsplit=1)[0]
    try:
        return Separators.of(separator, encoding)
    except ValueError as error:
        raise MessageError(Problem("102", str(error), location="MSH-2")) from None


@lru_cache(maxsize=1024)
def _segment_name(head: bytes, separator: bytes) -> str:
    """The name that a segment's first four bytes give; "" when they are no name, or no separator follows it."""
    return head[:3].decode("ascii") if _NAME.fullmatch(head[:3]) and head[3:] in {b"", separator} else ""


def _refuse_ambiguity(data: bytes, separators: Separators) -> None:
    for control in _FORBIDDEN:
        if control in data:
            raise MessageError(
                Problem("102", f"control character 0x{control[0]:02X}: send text, escape what is none", location="MSH")
            )
    if b"\n" in data and b"\r" in data:
        # the pattern begins with a literal, which makes this search fifty times as fast as one with a look-behind
        for found in re.finditer(rb"\n[A-Z][A-Z0-9]{2}" + re.escape(separators.field), data):
            before = found.start()
            while data[before] == _LINE_FEED:
                before -= 1
            if data[before] != _RETURN:
                raise MessageError(
                    Problem("100", "segments end with CR here and LF there: end each with CR", location="MSH")
                )


def _windows(data: bytes, begin: int) -> list[tuple[int, int]]:
    """(start, end) of each non-blank line."""
    terminator = b"\r" if b"\r" in data else b"\n"
    windows = []
    start, size = begin, len(data)
    while start < size:
        end = data.find(terminator, start)
        if end < 0:
            end = size
        while start < end and data[start] == _LINE_FEED:
            start += 1  # the LF of a CR LF, or a blank line
        if start < end:
            windows.append((start, end))
        start = end + 1
    return windows


def _charset(header: bytes, separators: Separators, default: str) -> Charset:
    fields = header.split(separators.field, 18)
    if len(fields) < 18:
        return charset_named(b"", default)
    return charset_named(unescape_bytes(fields[17].split(separators.repetition, 1)[0], separators), default)


def _part(value: str, separator: str, index: int) -> str:
    """The `index`-th part (from 1) of a value, "" when there is none."""
    parts = value.split(separator, index)
    return parts[index - 1] if index <= len(parts) else ""


@lru_cache(maxsize=1024)
def _parse_path(path: str) -> tuple[str, int, int, int, int, int]:
    match = _PATH.fullmatch(path)
    if not match:
        raise ValueError(f"{path!r} is no HL7 path; write it as MSH-9.2, PID-3[2].4.2 or OBX[3]-5.5")
    name, occurrence, number, repetition, component, subcomponent = match.groups(default="1")
    return name, int(occurrence), int(number), int(repetition), int(component), int(subcomponent)
