"""The syntax of IMAP commands (RFC 3501 §9), read by a server: bytes to whole commands, a command to its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

__all__ = ["CONTINUE", "Continue", "Cursor", "Decoder", "Malformed", "Overlong", "sequence", "string"]

_LINE: Final = 64 * 2**10  # bytes of a line, literals aside
_LITERAL: Final = re.compile(rb"\{(\d{1,10})(\+?)\}\r?\n$")
_TAG: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]{1,100}")
_ATOM: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_PATTERN: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")
_FLAG: Final = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_QUOTED: Final = re.compile(rb'"((?:[^\x00\r\n"\\]|\\["\\])*)"')
_SEQUENCE: Final = re.compile(rb"(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?(?:,(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?)*")


class Malformed(Exception):
    """Not IMAP, or not that of this server: BAD, with these words."""


class Overlong(Exception):
    """More than this server reads: it can only close the connection."""


@frozen
class Continue:
    """The client waits for `+` before it sends a literal."""


CONTINUE: Final = Continue()


class Decoder:
    """Bytes in, whole commands out. A command is kept as it came, its literals in their place.

    Args:
        largest: bytes that a command may have, literals included.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._buffer = bytearray()
        self._command = bytearray()
        self._literal = 0  # bytes of the present literal still to come
        self._searched = 0

    def feed(self, data: bytes) -> None:
        """Bytes as they come."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what has come: after STARTTLS, what was sent in clear is void (RFC 3501 §6.2.1)."""
        self._buffer.clear()
        self._command.clear()
        self._literal = self._searched = 0

    def command(self) -> bytes | Continue | None:
        """The next command without its line end; `CONTINUE`; or None: more bytes are needed. Raises Overlong."""
        while True:
            if self._literal:
                taken = self._buffer[: self._literal]
                del self._buffer[: len(taken)]
                self._command += taken
                self._literal -= len(taken)
                if self._literal:
                    return None
            line = self.line()
            if line is None:
                return None
            self._command += line
            found = _LITERAL.search(line)
            if found is None:
                command = bytes(self._command).rstrip(b"\r\n")
                self._command.clear()
                return command
            self._literal = int(found[1])
            if len(self._command) + self._literal > self._largest:
                raise Overlong
            if not found[2]:
                return CONTINUE

    def line(self) -> bytes | None:
        """The next line with its end, whatever it holds: the answer to a challenge, or DONE. Raises Overlong."""
        end = self._buffer.find(b"\n", self._searched) + 1
        self._searched = 0 if end else len(self._buffer)
        if max(end, self._searched) > _LINE:
            raise Overlong
        if not end:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line


class Cursor:
    """Reads the parts of one command from left to right. Every method raises Malformed."""

    def __init__(self, command: bytes) -> None:
        self._data = command
        self._at = 0

    def tag(self) -> str:
        """The tag."""
        return self._match(_TAG, "a tag").decode("ascii")

    def atom(self) -> str:
        """An atom, in capitals: a command, a keyword of the protocol."""
        return self._match(_ATOM, "a word").decode("ascii").upper()

    def flag(self) -> str:
        """A flag or keyword."""
        return self._match(_FLAG, "a flag").decode("ascii")

    def number(self) -> int:
        """A number."""
        return int(self._match(re.compile(rb"\d{1,10}"), "a number"))

    def sequence_set(self) -> str:
        """`1,3:5,7:*`."""
        return self._match(_SEQUENCE, "a sequence set").decode("ascii")

    def astring(self) -> bytes:
        """An atom or a string."""
        return self._match(_ASTRING, "a string") if self._is_no_string() else self._string()

    def pattern(self) -> bytes:
        """A folder name in which `%` and `*` stand for others."""
        return self._match(_PATTERN, "a folder pattern") if self._is_no_string() else self._string()

    def literal(self) -> bytes:
        """A literal, and nothing else: the mail of APPEND."""
        if not self.ahead(b"{"):
            raise Malformed("a literal is expected")
        return self._string()

    def rest(self) -> bytes:
        """All that is left."""
        found, self._at = self._data[self._at :], len(self._data)
        return found

    def space(self) -> None:
        """One space, which stands between any two arguments."""
        if not self.skip(b" "):
            raise Malformed("an argument is missing")

    def end(self) -> None:
        """Nothing more."""
        if self._at < len(self._data):
            raise Malformed("too many arguments")

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._at >= len(self._data)

    def ahead(self, text: bytes) -> bool:
        """Whether these bytes come next."""
        return self._data.startswith(text, self._at)

    def skip(self, text: bytes) -> bool:
        """Pass these bytes if they come next (in any case); whether they did."""
        if self._data[self._at : self._at + len(text)].upper() != text.upper():
            return False
        self._at += len(text)
        return True

    def expect(self, text: bytes) -> None:
        """These bytes come next."""
        if not self.skip(text):
            raise Malformed(f"{text.decode('ascii')} is expected")

    def each(self, opening: bytes = b"(", closing: bytes = b")") -> Iterator[None]:
        """One round for each element of a list in parentheses; the caller reads the element."""
        self.expect(opening)
        while not self.skip(closing):
            yield
            if not self.ahead(closing):
                self.space()

    def _is_no_string(self) -> bool:
        return not (self.ahead(b'"') or self.ahead(b"{"))

    def _string(self) -> bytes:
        if self.ahead(b'"'):
            quoted = self._match(_QUOTED, "a quoted string")
            return re.sub(rb"\\(.)", rb"\1", quoted[1:-1])
        head = self._match(re.compile(rb"\{\d{1,10}\+?\}\r?\n"), "a literal")
        size = int(head.strip(b"{}+\r\n"))
        content = self._data[self._at : self._at + size]
        self._at += size
        return content

    def _match(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        found = pattern.match(self._data, self._at)
        if found is None:
            raise Malformed(f"{what} is expected")
        self._at = found.end()
        return found[0]


def sequence(text: str, highest: int) -> Iterator[range]:
    """The ranges of a sequence set, in its order; `*` is `highest` (RFC 3501 §9: `7:*` holds `*` though it be less)."""
    for part in text.split(","):
        ends = sorted(highest if end == "*" else int(end) for end in part.split(":"))
        yield range(ends[0], ends[-1] + 1)


def string(value: bytes) -> bytes:
    """A string as a server writes it: quoted where it may be, a literal otherwise."""
    if len(value) < 1000 and re.fullmatch(rb"[\x20-\x7e]*", value):
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", value) + b'"'
    return b"{%d}\r\n%s" % (len(value), value)
