"""The mailboxes of a simulated operator, in memory: folders of mails with UIDs, flags and keywords (RFC 3501 §2.3).

Tests and the mail server put mails in, IMAP sessions read and mark them, from different threads: whoever uses more than
one call for one thing holds `lock` meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from attrs import define, field

__all__ = ["INBOX", "SYSTEM_FLAGS", "Account", "Folder", "Mailboxes", "StoredMail"]

INBOX = "INBOX"
SYSTEM_FLAGS = (r"\Answered", r"\Flagged", r"\Deleted", r"\Seen", r"\Draft")
_CANONICAL = {flag.lower(): flag for flag in SYSTEM_FLAGS}


@define(eq=False)
class StoredMail:
    """One mail in one folder. `changed` is the folder's count of changes when its flags changed last."""

    uid: int
    content: bytes = field(repr=False)
    received: datetime
    flags: frozenset[str] = frozenset()
    changed: int = 0


@define(eq=False)
class Folder:
    r"""Its mails by UID, ascending.

    Attributes:
        uidvalidity: another one whenever a folder of this name is made anew (RFC 3501 §2.3.1.1).
        changes: counts what happens, so that a session knows what it has not been told yet.
        told_recent: UIDs below it were announced to some session: they are not `\Recent` to the next one.
        keeps_keywords: False for servers that know the five flags only.
    """

    uidvalidity: int
    keeps_keywords: bool = True
    mails: dict[int, StoredMail] = field(factory=dict)
    next_uid: int = 1
    changes: int = 0
    told_recent: int = 1
    _spelling: dict[str, str] = field(factory=dict)

    @property
    def keywords(self) -> list[str]:
        """Every keyword that was ever set, as it was first spelt."""
        return list(self._spelling.values())

    def add(self, content: bytes, flags: Iterable[str] = (), received: datetime | None = None) -> StoredMail:
        """Append a mail; it gets the next UID."""
        self.changes += 1
        mail = StoredMail(self.next_uid, content, received or datetime.now(UTC), self._known(flags), self.changes)
        self.mails[mail.uid] = mail
        self.next_uid += 1
        return mail

    def mark(self, mail: StoredMail, flags: Iterable[str]) -> None:
        """Give a mail these flags instead of those that it has."""
        known = self._known(flags)
        if known != mail.flags:
            self.changes += 1
            mail.flags, mail.changed = known, self.changes

    def expunge(self, uids: Iterable[int]) -> None:
        """Remove these mails for good."""
        for uid in tuple(uids):
            if self.mails.pop(uid, None) is not None:
                self.changes += 1

    def _known(self, flags: Iterable[str]) -> frozenset[str]:
        """Flags compare without case (RFC 3501 §9); a keyword keeps its first spelling, as Dovecot's do."""
        found = set()
        for flag in flags:
            if flag.lower() in _CANONICAL:
                found.add(_CANONICAL[flag.lower()])
            elif self.keeps_keywords and not flag.startswith("\\"):
                found.add(self._spelling.setdefault(flag.lower(), flag))
        return frozenset(found)


@define(eq=False)
class Account:
    """One mailbox: its folders by name, and the names that clients show."""

    folders: dict[str, Folder]
    subscribed: set[str] = field(factory=set)


class Mailboxes:
    """The mailboxes of one operator.

    Attributes:
        lock: held over each call, and by who needs several.
        keeps_keywords: whether folders made from now on do.
    """

    def __init__(self, *addresses: str, keeps_keywords: bool = True) -> None:
        self.lock = threading.RLock()
        self.keeps_keywords = keeps_keywords
        self._accounts: dict[str, Account] = {}
        self._watchers: list[Callable[[], None]] = []
        self._uidvalidity = 0
        for address in addresses:
            self.open(address)

    def __contains__(self, address: str) -> bool:
        return address.lower() in self._accounts

    def open(self, address: str) -> Account:
        """The mailbox of this address, made unless it exists."""
        with self.lock:
            known = self._accounts.get(address.lower())
            if known is None:
                known = self._accounts[address.lower()] = Account({INBOX: self.new_folder()}, {INBOX})
            return known

    def new_folder(self) -> Folder:
        """An empty folder with a UIDVALIDITY that no other had."""
        self._uidvalidity = max(self._uidvalidity + 1, int(time.time()))
        return Folder(self._uidvalidity, self.keeps_keywords)

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change, from whatever thread made it. Returns how to stop that."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def changed(self) -> None:
        """Tell the watchers."""
        for callback in tuple(self._watchers):
            callback()

    # -- for tests, and who delivers mail ----------------------------------------------------------------------------

    def deliver(self, address: str, *mails: bytes, into: str = INBOX) -> None:
        """Put mails into a folder, in their order, as a delivery agent does: with CRLF line ends."""
        with self.lock:
            folder = self.open(address).folders[into]
            for mail in mails:
                folder.add(mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        self.changed()

    def mails(self, address: str, folder: str = INBOX) -> list[StoredMail]:
        """The mails in a folder, oldest first; [] when there is no such folder."""
        with self.lock:
            known = self.open(address).folders.get(folder)
            return list(known.mails.values()) if known is not None else []

    def flags(self, address: str, folder: str = INBOX) -> list[list[str]]:
        """Flags and keywords of each mail, oldest first."""
        return [sorted(mail.flags) for mail in self.mails(address, folder)]

    def create(self, address: str, folder: str) -> None:
        """Make a folder, anew if it exists."""
        with self.lock:
            self.open(address).folders[folder] = self.new_folder()

    def delete(self, address: str, folder: str) -> None:
        """Delete a folder with its mails. Sessions that have selected it keep what they had (RFC 2180 §3.2)."""
        with self.lock:
            del self.open(address).folders[folder]

    def empty(self, address: str, folder: str = INBOX) -> None:
        """Remove every mail of a folder, as another client would."""
        with self.lock:
            known = self.open(address).folders[folder]
            known.expunge(tuple(known.mails))
        self.changed()
