"""The server's side of one IMAP connection, without I/O: bytes in, turns out, and for each turn the bytes to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from attrs import frozen

from pfiflow.simulators.imap import folders, login, mails
from pfiflow.simulators.imap.state import EXTENSIONS, Policy, Refused, State
from pfiflow.simulators.imap.syntax import Continue, Cursor, Decoder, Malformed, Overlong
from pfiflow.simulators.mailboxes import Mailboxes

__all__ = ["Session", "Turn"]

Act = Callable[[State, Cursor], str]

_ANY: Final[Mapping[str, Act]] = {
    "CAPABILITY": login.capability, "NOOP": login.noop, "LOGOUT": login.log_out,
}  # fmt: skip
_BEFORE_LOGIN: Final[Mapping[str, Act]] = {"STARTTLS": login.starttls, "LOGIN": login.log_in}
_LOGGED_IN: Final[Mapping[str, Act]] = {
    "SELECT": folders.select, "EXAMINE": folders.examine, "CREATE": folders.create, "DELETE": folders.delete,
    "RENAME": folders.rename, "SUBSCRIBE": folders.subscribe, "UNSUBSCRIBE": folders.unsubscribe,
    "LIST": folders.list_, "LSUB": folders.lsub, "STATUS": folders.status, "APPEND": folders.append,
}  # fmt: skip
_SELECTED: Final[Mapping[str, Act]] = {
    "CHECK": login.noop, "CLOSE": mails.close, "UNSELECT": mails.unselect, "EXPUNGE": mails.expunge,
    "FETCH": mails.fetch, "STORE": mails.store, "SEARCH": mails.search, "COPY": mails.copy, "MOVE": mails.move,
    "UID FETCH": partial(mails.fetch, by_uid=True), "UID STORE": partial(mails.store, by_uid=True),
    "UID SEARCH": partial(mails.search, by_uid=True), "UID COPY": partial(mails.copy, by_uid=True),
    "UID MOVE": partial(mails.move, by_uid=True), "UID EXPUNGE": partial(mails.expunge, by_uid=True),
}  # fmt: skip
_NEEDS: Final = {"UID EXPUNGE": "UIDPLUS", "UID MOVE": "MOVE"} | {name: name for name in EXTENSIONS}
_NUMBERS_STAY: Final = frozenset({"FETCH", "STORE", "SEARCH"})
"""Commands after which no EXPUNGE is told (RFC 3501 §7.4.1)."""
_CHANGES: Final = frozenset({"APPEND", "STORE", "COPY", "MOVE", "EXPUNGE", "CLOSE"})
"""Commands that other sessions, idle ones, are told of."""

_MOST_BAD = 20  # commands in a row, after which the connection is closed


@frozen
class Turn:
    """What the client wants next.

    Attributes:
        name: the command (`UID FETCH`); besides: CREDENTIALS (the answer to AUTHENTICATE), DONE (the end of IDLE),
            LITERAL (it waits for `+`), OVERLONG; "" for what is no command.
        tag: of the command, "*" when it has none.
        text: what follows the name; the whole line of CREDENTIALS and DONE.
    """

    name: str
    tag: str
    text: bytes = b""


class Session:
    """One connection.

    Attributes:
        state: what it knows; `ended` and `wants_tls` say what the connection must do after an answer.
        idling: within IDLE: `news` may be sent at any time.
    """

    def __init__(self, mailboxes: Mailboxes, policy: Policy, *, secure: bool) -> None:
        self.state = State(mailboxes, policy, secure)
        self.idling = False
        self._decoder = Decoder(policy.largest)
        self._waiting: Turn | None = None  # AUTHENTICATE or IDLE, whose next line is not a command
        self._mechanism = ""
        self._continuation = b""  # the answer of a turn that gets no tagged one yet
        self._failure: Refused | None = None  # of XOAUTH2, told as a challenge and not yet acknowledged
        self._bad = 0

    def greeting(self) -> bytes:
        """What the server says first."""
        return f"* OK [CAPABILITY {self.state.capabilities()}] simulated operator ready\r\n".encode("ascii")

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        self._decoder.feed(data)

    def secured(self) -> None:
        """TLS is on: what came before is void."""
        self.state.secure, self.state.wants_tls = True, False
        self._decoder.clear()

    def next(self) -> Turn | None:
        """The next turn; None: more bytes are needed."""
        try:
            if self._waiting is not None:
                line = self._decoder.line()
                name = "DONE" if self.idling else "CREDENTIALS"
                return None if line is None else Turn(name, self._waiting.tag, line.rstrip(b"\r\n"))
            found = self._decoder.command()
        except Overlong:
            return Turn("OVERLONG", "*")
        if found is None:
            return None
        return Turn("LITERAL", "*") if isinstance(found, Continue) else _turn(found)

    def perform(self, turn: Turn) -> bytes:
        """Carry out a turn; all that is to be answered."""
        state = self.state
        with state.mailboxes.lock:
            text = self._answer(turn)
            if state.view is not None and not text.startswith(b"+"):
                state.said += state.view.news(expunge=turn.name not in _NUMBERS_STAY)
            answer = b"".join(state.said) + text
            state.said.clear()
        if turn.name.removeprefix("UID ") in _CHANGES:
            state.mailboxes.changed()
        return answer

    def news(self) -> bytes:
        """Untagged lines for what has happened, while idling."""
        with self.state.mailboxes.lock:
            return b"".join(self.state.view.news(expunge=True)) if self.state.view is not None else b""

    def _answer(self, turn: Turn) -> bytes:
        match turn.name:
            case "LITERAL":
                return b"+ go on\r\n"
            case "OVERLONG":
                self.state.ended = True
                return b"* BYE [TOOBIG] longer than this server reads\r\n"
        try:
            text = self._carry_out(turn)
            status = "OK"
            self._bad = 0
        except Refused as refusal:
            status, text = refusal.status, str(refusal)
        except Malformed as fault:
            status, text = "BAD", str(fault)
        if text is None:
            return self._continuation
        if status == "BAD":
            self._bad += 1
            if self._bad >= _MOST_BAD:
                self.state.ended = True
                self.state.say("BYE too many commands that are none")
        return f"{turn.tag} {status} {text}\r\n".encode("ascii", "replace")

    def _carry_out(self, turn: Turn) -> str | None:
        """The text after OK; None: no tagged answer, but `_continuation`."""
        match turn.name:
            case "CREDENTIALS":
                return self._credentials(turn.text)
            case "DONE":
                self._waiting, self.idling = None, False
                if turn.text.upper() != b"DONE":
                    raise Refused("expected DONE", "BAD")
                return "no longer idle"
        cursor = Cursor(turn.text)
        if turn.name in {"AUTHENTICATE", "IDLE"}:
            return self._begin(turn, cursor)
        return self._act(turn.name)(self.state, cursor)

    def _act(self, name: str) -> Act:
        state = self.state
        known = {**_ANY}
        known |= _BEFORE_LOGIN if state.account is None else _LOGGED_IN
        known |= _SELECTED if state.view is not None else {}
        if name not in known or not state.policy.extensions >= {_NEEDS.get(name, "")} - {""}:
            raise Refused("not a command, or not one for now", "BAD")
        return known[name]

    def _begin(self, turn: Turn, cursor: Cursor) -> str | None:
        """AUTHENTICATE and IDLE, whose next line is no command."""
        state = self.state
        if turn.name == "IDLE":
            cursor.end()
            if state.account is None or "IDLE" not in state.policy.extensions:
                raise Refused("not a command, or not one for now", "BAD")
            self._waiting, self.idling, self._continuation = turn, True, b"+ idling\r\n"
            return None
        if state.account is not None:
            raise Refused("logged in already", "BAD")
        self._mechanism, initial = login.authenticate(state, cursor)
        self._waiting, self._continuation = turn, login.challenge(self._mechanism)
        self._failure = None
        return None if initial is None else self._credentials(initial)

    def _credentials(self, response: bytes) -> str | None:
        if self._failure is not None:  # the client has taken notice of it
            self._waiting = None
            raise self._failure
        try:
            text = login.finish(self.state, self._mechanism, response)
        except Refused as refusal:
            if self._mechanism == "XOAUTH2" and refusal.status == "NO":
                self._failure, self._continuation = refusal, login.challenge(self._mechanism, failed=True)
                return None
            self._waiting = None
            raise
        self._waiting = None
        return text


def _turn(command: bytes) -> Turn:
    cursor = Cursor(command)
    tag = "*"
    try:
        tag = cursor.tag()
        cursor.space()
        name = cursor.atom()
        if name == "UID":
            cursor.space()
            name = f"UID {cursor.atom()}"
    except Malformed:
        return Turn("", tag)
    cursor.skip(b" ")
    return Turn(name, tag, cursor.rest())
