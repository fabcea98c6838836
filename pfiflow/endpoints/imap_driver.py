"""What an IMAP driver gives: one open, authenticated session that sends a command and returns its bounded answer.

Everything that IMAP means (`imap_mailbox.py`) and everything that a mailbox means (`imap.py`) is above this line, so
that drivers differ in their transport only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from attrs import define, frozen

from pfiflow.errors import ProtocolError

__all__ = [
    "ANSWER_LIMIT",
    "Answer",
    "Arrivals",
    "CommandRefused",
    "ImapSession",
    "SessionLost",
    "printable",
    "quote",
]

ANSWER_LIMIT = 4 * 2**20
"""Bytes that an answer may have, mail content aside: a SEARCH of half a million mails."""

_TEXT_LIMIT = 200


class SessionLost(ProtocolError):
    """The connection is of no more use: cut, silent for too long, or its answer is not IMAP within bounds."""


class CommandRefused(ProtocolError):
    """The server answered NO; the session goes on.

    Attributes:
        code: the response code (RFC 5530, RFC 3501 §7.1) in capitals: `TRYCREATE`, `AUTHENTICATIONFAILED`… or "".
    """

    def __init__(self, command: str, text: bytes) -> None:
        found = re.match(rb"\[([A-Za-z-]{1,40})[\] ]", text)
        self.code = found[1].decode("ascii").upper() if found else ""
        super().__init__(f"{command} refused: {printable(text)}")


@frozen
class Answer:
    """The untagged part of a server's answer to one command that ended in OK.

    Attributes:
        items: in their order, response lines without `* ` and CRLF; a line ending in `{n}` is followed by its literal.
        text: what followed OK, response code included.
    """

    items: tuple[bytes, ...]
    text: bytes = b""


class ImapSession(ABC):
    """One authenticated connection. For one task at a time.

    Every wait has a deadline. After `SessionLost`, or a cancelled call, only `abort` is of use: what the server still
    answers would be taken for the answer to the next command.
    """

    capabilities: frozenset[str]
    """What the server says after the login, in capitals."""

    @property
    @abstractmethod
    def arrivals(self) -> Arrivals:
        """Whether mail came while nobody was waiting for it."""

    @abstractmethod
    async def command(self, name: str, *arguments: str, limit: int = ANSWER_LIMIT) -> Answer:
        """Send one command and wait for its answer.

        Args:
            name: `SELECT`, `UID FETCH`…
            arguments: as they go on the wire, strings quoted by the caller (`quote`), ASCII without control characters.
            limit: bytes that the answer may have.

        Raises:
            CommandRefused: NO.
            SessionLost: everything else that is not OK.
        """

    @abstractmethod
    async def idle(self, seconds: float) -> bool:
        """IDLE (RFC 2177) for at most that long. True as soon as mail has come. Raises SessionLost, CommandRefused."""

    @abstractmethod
    async def logout(self) -> None:
        """LOGOUT, politely but not for long, and close. Raises nothing."""

    @abstractmethod
    def abort(self) -> None:
        """Close at once, from any task."""


@define
class Arrivals:
    """Follows EXISTS and EXPUNGE to know whether mail has come since the last look (RFC 3501 §7.3.1, §7.4.1)."""

    count: int = 0
    news: bool = False

    _LINE = re.compile(rb"(?:\* )?(\d{1,10}) (EXISTS|EXPUNGE)\s*", re.IGNORECASE)

    def saw(self, line: bytes) -> None:
        """Take in one response line."""
        match = self._LINE.fullmatch(line) if len(line) < 40 else None
        if match is None:
            return
        if match[2].upper() == b"EXPUNGE":
            self.count -= 1
        else:
            self.news = self.news or int(match[1]) > self.count
            self.count = int(match[1])

    def looked(self) -> None:
        """A look begins: what came before it will be found by it."""
        self.news = False


def printable(text: bytes) -> str:
    """A server's words, fit for a log: short, no control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:_TEXT_LIMIT].decode("ascii", "replace"))


def quote(text: str) -> str:
    """An IMAP quoted string (RFC 3501 §4.3). Raises ValueError for what none can hold."""
    if not text.isascii() or not text.isprintable():
        raise ValueError("only printable ASCII characters can be sent here")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
