"""A mailbox without a network, for tests of routes: `imap-in` takes mails from it, and marks them, as on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field

from pfiflow.endpoints.imap_mailbox import Folder, Mailbox, MailTooLarge
from pfiflow.flow.component import Receive
from pfiflow.flow.double import Reply

if TYPE_CHECKING:
    from pfiflow.endpoints.imap import ImapSource

__all__ = ["ImapPeer", "MemoryMailbox"]


@define
class _Mail:
    content: bytes
    keywords: set[str] = field(factory=set)
    folder: str = ""  # where it was moved to


class MemoryMailbox(Mailbox):
    """One folder, in memory: what `imap-in` asks of a server."""

    def __init__(self, uidvalidity: int = 1) -> None:
        super().__init__(cast("Any", None))
        self.uidvalidity = uidvalidity
        self.mails: list[_Mail] = []  # by UID, from 1
        self.folders: set[str] = set()

    def deliver(self, content: bytes) -> _Mail:
        """A mail comes."""
        self.mails.append(_Mail(content))
        return self.mails[-1]

    async def select(self, folder: str) -> Folder:
        """See `Mailbox`."""
        del folder
        return Folder(self.uidvalidity, frozenset({rb"\*"}), read_only=False)

    async def search(self, *without: str) -> tuple[int, ...]:
        """See `Mailbox`."""
        return tuple(
            uid for uid, mail in enumerate(self.mails, 1) if not mail.folder and mail.keywords.isdisjoint(without)
        )

    async def sizes(self, uids: Sequence[int]) -> Mapping[int, int]:
        """See `Mailbox`."""
        return {uid: len(self.mails[uid - 1].content) for uid in uids}

    async def read(self, uid: int, *, chunk: int, limit: int) -> bytes | None:
        """See `Mailbox`."""
        del chunk
        content = self.mails[uid - 1].content
        if len(content) > limit:
            raise MailTooLarge
        return content

    async def flag(self, uid: int, keyword: str) -> None:
        """See `Mailbox`."""
        self.mails[uid - 1].keywords.add(keyword)

    @property
    def can_move(self) -> bool:
        """See `Mailbox`."""
        return True

    async def move(self, uid: int, folder: str) -> None:
        """See `Mailbox`."""
        self.mails[uid - 1].folder = folder

    async def ensure_folder(self, folder: str) -> bool:
        """See `Mailbox`."""
        made = folder not in self.folders
        self.folders.add(folder)
        return made


@define(eq=False)
class ImapPeer:
    """The server of an `imap-in` under test. Facts: `keyword`, and `folder` when the mail was moved."""

    source: ImapSource
    mailbox: MemoryMailbox = field(factory=MemoryMailbox)

    async def give(self, content: bytes, headers: Mapping[str, str], receive: Receive, /) -> Reply:
        """See `Peer`. The headers are those that the mailbox gives; others cannot be."""
        del headers
        mail = self.mailbox.deliver(content)
        await self.source.visit(self.mailbox, receive)
        return Reply(facts={"keyword": " ".join(sorted(mail.keywords)), "folder": mail.folder})
