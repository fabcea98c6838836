"""What one IMAP session knows: who is logged in, what it has selected, and what it was told of that folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from attrs import define, field, frozen

from pfiflow.simulators.imap.fetch import flag_list
from pfiflow.simulators.imap.syntax import sequence
from pfiflow.simulators.mailboxes import SYSTEM_FLAGS, Account, Folder, Mailboxes, StoredMail

__all__ = ["EXTENSIONS", "Policy", "Refused", "State", "View"]

EXTENSIONS: Final = frozenset({"IDLE", "MOVE", "UIDPLUS", "UNSELECT"})
"""Those that a server may be without."""


class Refused(Exception):
    """NO or BAD, with these words, response code included (RFC 5530)."""

    def __init__(self, text: str, status: Literal["NO", "BAD"] = "NO") -> None:
        self.status = status
        super().__init__(text)


@frozen
class Policy:
    """What a server is like.

    Attributes:
        logins: login → password; None lets everybody in, and makes a mailbox for who has none.
        tokens: login → token of XOAUTH2, which is offered when there are some.
        extensions: those of `EXTENSIONS` that it has.
        starttls: nobody logs in before TLS.
        largest: bytes of a command: of a mail that is appended.
    """

    logins: Mapping[str, str] | None = None
    tokens: Mapping[str, str] = field(factory=dict)
    extensions: frozenset[str] = EXTENSIONS
    starttls: bool = True
    largest: int = 40_000_000


@define(eq=False)
class View:
    """A selected folder as the session was told of it: sequence numbers mean that, not the folder as it is.

    Attributes:
        told: UID → the change of its flags that was told last; in the order of the sequence numbers.
        recent: UIDs that no session was told of before this one.
    """

    folder: Folder
    read_only: bool
    told: dict[int, int] = field(factory=dict)
    recent: set[int] = field(factory=set)
    _keywords: int = 0
    _changes: int = 0

    def __attrs_post_init__(self) -> None:
        self._keywords = len(self.folder.keywords)
        self._take_in()
        self._changes = self.folder.changes

    @property
    def flags(self) -> frozenset[str]:
        """Flags that mails of the folder may have."""
        return frozenset((*SYSTEM_FLAGS, *self.folder.keywords))

    @property
    def permanent(self) -> str:
        r"""PERMANENTFLAGS: those that are kept; `\*` says that keywords may be made."""
        flags = flag_list(self.flags).decode("ascii")
        return flags.replace(")", r" \*)") if self.folder.keeps_keywords else flags

    def news(self, *, expunge: bool) -> Iterator[bytes]:
        """Untagged lines for what happened since the last; EXPUNGE only where sequence numbers may change."""
        if self._changes == self.folder.changes:
            return
        if len(self.folder.keywords) > self._keywords:
            self._keywords = len(self.folder.keywords)
            yield b"* FLAGS %s\r\n" % flag_list(self.flags)
            yield f"* OK [PERMANENTFLAGS {self.permanent}] kept\r\n".encode("ascii")
        recent = len(self.recent)
        if expunge:
            for number, uid in reversed(tuple(enumerate(self.told, 1))):
                if uid not in self.folder.mails:
                    del self.told[uid]
                    self.recent.discard(uid)
                    yield b"* %d EXPUNGE\r\n" % number
            self._changes = self.folder.changes
        if self._take_in():
            yield b"* %d EXISTS\r\n" % len(self.told)
        if len(self.recent) != recent:
            yield b"* %d RECENT\r\n" % len(self.recent)
        for number, uid in enumerate(tuple(self.told), 1):
            mail = self.folder.mails.get(uid)
            if mail is not None and mail.changed > self.told[uid]:
                self.told[uid] = mail.changed
                yield self.flags_of(number, mail)

    def flags_of(self, number: int, mail: StoredMail) -> bytes:
        """The untagged FETCH that tells a mail's flags."""
        flags = flag_list(mail.flags, recent=mail.uid in self.recent)
        return b"* %d FETCH (UID %d FLAGS %s)\r\n" % (number, mail.uid, flags)

    def chosen(self, text: str, *, by_uid: bool) -> list[tuple[int, StoredMail]]:
        """The mails of a sequence set with their numbers, ascending. UIDs that are not there are no error.

        Raises:
            Refused: BAD for a number that is not there (RFC 3501 §9, seq-number).
        """
        numbered = tuple(enumerate(self.told, 1))
        highest = (numbered[-1][1] if by_uid else len(numbered)) if numbered else 0
        ranges = tuple(sequence(text, highest))
        if not by_uid and any(each.start < 1 or each.stop - 1 > highest for each in ranges):
            raise Refused("a message number that does not exist", "BAD")
        found = []
        for number, uid in numbered:
            mail = self.folder.mails.get(uid)
            if mail is not None and any((uid if by_uid else number) in each for each in ranges):
                found.append((number, mail))
        return found

    def _take_in(self) -> bool:
        """Take in mails not told of yet; whether there were some."""
        last = next(reversed(self.told), 0)
        fresh = [mail for mail in self.folder.mails.values() if mail.uid > last]
        for mail in fresh:
            self.told[mail.uid] = mail.changed
            if mail.uid >= self.folder.told_recent:
                self.recent.add(mail.uid)
        if not self.read_only:
            self.folder.told_recent = self.folder.next_uid
        return bool(fresh)


@define(eq=False)
class State:
    """One session. `said` collects untagged lines until the command's answer goes out."""

    mailboxes: Mailboxes
    policy: Policy
    secure: bool = False
    login: str = ""
    account: Account | None = None
    view: View | None = None
    ended: bool = False
    wants_tls: bool = False
    said: list[bytes] = field(factory=list)

    def say(self, line: str) -> None:
        """One untagged line."""
        self.said.append(f"* {line}\r\n".encode("ascii"))

    @property
    def opened(self) -> Account:
        """The mailbox of who is logged in."""
        assert self.account is not None
        return self.account

    @property
    def selected(self) -> View:
        """The folder selected."""
        assert self.view is not None
        return self.view

    @property
    def writable(self) -> View:
        """The same, for what changes it. Raises Refused."""
        if self.selected.read_only:
            raise Refused("[READ-ONLY] the folder was opened by EXAMINE")
        return self.selected

    def capabilities(self) -> str:
        """As they are now: a login is offered only where it would be taken."""
        words = ["IMAP4rev1", "LITERAL+", "SASL-IR", *sorted(self.policy.extensions)]
        if self.policy.starttls and not self.secure:
            words += ["STARTTLS", "LOGINDISABLED"]
        else:
            words += ["AUTH=PLAIN", *(["AUTH=XOAUTH2"] if self.policy.tokens else [])]
        return " ".join(words)
