"""The mails of one folder: handed over oldest first, put off, marked once settled; remembered over sessions.

Everything here is about mails; connections and the folder as a whole are `imap.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import monotonic
from typing import Any, Literal, TypeVar

import anyio
from attrs import define, field, frozen

from pfiflow.endpoints.imap_driver import CommandRefused, SessionLost
from pfiflow.endpoints.imap_journal import MailboxJournal
from pfiflow.endpoints.imap_mailbox import Mailbox, MailTooLarge
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.errors import Deferred, Rejected
from pfiflow.flow.component import Receive
from pfiflow.flow.exchange import Exchange

__all__ = ["DEFERRED_IN_A_ROW", "Mails", "Stop"]

logger = logging.getLogger("pfiflow.imap")

T = TypeVar("T")

DEFERRED_IN_A_ROW = 3  # the route as a whole cannot take mails: fetching them all for that would be waste
_BATCH = 100  # mails whose sizes are asked for together
_MARK_TIMEOUT = 5.0  # seconds that a mark may hold up a stop


@define(eq=False)
class Stop:
    """The wish to stop: what may be interrupted by it is; a mark that is being made is not, for some seconds."""

    asked: bool = False
    _interruptible: set[anyio.CancelScope] = field(init=False, factory=set)
    _marking: anyio.CancelScope | None = field(init=False, default=None)

    def ask(self) -> None:
        """Stop, from now on."""
        self.asked = True
        for scope in tuple(self._interruptible):
            scope.cancel()
        self._bound()

    async def interrupts(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """The work's result; None when the stop came first."""
        if self.asked:
            return None
        with anyio.CancelScope() as scope:
            self._interruptible.add(scope)
            try:
                return await work()
            finally:
                self._interruptible.discard(scope)
        return None

    async def lets_finish(self, work: Coroutine[Any, Any, None]) -> None:
        """The work, which a stop waits for, but not for long."""
        with anyio.CancelScope() as self._marking:
            if self.asked:
                self._bound()
            await work
        self._marking = None

    def _bound(self) -> None:
        if self._marking is not None:
            self._marking.shield, self._marking.deadline = True, anyio.current_time() + _MARK_TIMEOUT


@define
class _Waiting:
    """A mail that was not taken: how often, and when to try again."""

    attempts: int = 0
    defects: int = 0
    due: float = 0.0  # monotonic seconds


@frozen
class _Settled:
    """What became of a mail, and why, when that is not simply that the route took it."""

    outcome: Literal["done", "refused"]
    exchange_id: str
    reason: str = ""


@define(eq=False)
class Mails:
    """What is known of the mails of one folder.

    Attributes:
        place: the folder, for logs.
        deferred_in_a_row: mails that the route has deferred one after the other, in this look.
        marked: mails marked so far.
    """

    options: ImapInOptions
    place: str
    stop: Stop
    uidvalidity: int = 0
    deferred_in_a_row: int = 0
    marked: int = 0
    waiting: dict[int, _Waiting] = field(factory=dict)
    unmarked: dict[int, _Settled] = field(factory=dict)  # settled by the route, not yet marked in the mailbox

    def forget(self) -> None:
        """The folder was made anew: its UIDs mean other mails."""
        self.waiting.clear()
        self.unmarked.clear()

    def next_due(self) -> float | None:
        """When the first of the mails that wait is to be tried again, in monotonic seconds."""
        return min((waiting.due for waiting in self.waiting.values()), default=None)

    async def look(self, mailbox: Mailbox, receive: Receive, journal: MailboxJournal) -> None:
        """Everything that is ready, oldest first."""
        self.deferred_in_a_row = 0
        marks = (self.options.keyword, self.options.refused_keyword) if self.options.done == "flag" else ()
        uids = await self.stop.interrupts(lambda: mailbox.search(*marks))
        if uids is None:
            return
        await self._drop_all_but(frozenset(uids), journal)
        now = monotonic()
        ready = [uid for uid in uids if uid not in self.unmarked and self._due(uid) <= now]
        for uid in [uid for uid in uids if uid in self.unmarked]:
            await self._mark(mailbox, journal, uid)
        for start in range(0, len(ready), _BATCH):
            batch = ready[start : start + _BATCH]
            sizes = await self.stop.interrupts(partial(mailbox.sizes, batch))
            for uid, size in (sizes or {}).items():
                if self.stop.asked or self.deferred_in_a_row >= DEFERRED_IN_A_ROW:
                    return
                await self._take(mailbox, receive, journal, uid, size)

    async def _drop_all_but(self, present: frozenset[int], journal: MailboxJournal) -> None:
        for uid in [uid for uid in self.waiting if uid not in present]:
            del self.waiting[uid]
        for uid in [uid for uid in self.unmarked if uid not in present]:
            settled = self.unmarked.pop(uid)
            gone = "not in the folder any more, or marked: by an attempt whose answer was lost, or by another client"
            await journal.not_marked(
                self._mark_of(uid, settled)[0], uid, settled.exchange_id, settled.outcome, settled.reason, error=gone
            )

    def _due(self, uid: int) -> float:
        waiting = self.waiting.get(uid)
        return waiting.due if waiting is not None else 0.0

    # -- handing over ------------------------------------------------------------------------------------------------

    async def _take(self, mailbox: Mailbox, receive: Receive, journal: MailboxJournal, uid: int, size: int) -> None:
        settled = await self._hand_over(mailbox, receive, journal, uid, size)
        if settled is None:
            return
        if settled.outcome == "refused":
            logger.warning("%s: mail UID %d refused: %s", self.place, uid, settled.reason)
        self.waiting.pop(uid, None)
        self.unmarked[uid] = settled
        await self.stop.lets_finish(self._mark(mailbox, journal, uid))

    async def _hand_over(
        self, mailbox: Mailbox, receive: Receive, journal: MailboxJournal, uid: int, size: int
    ) -> _Settled | None:
        """What became of the mail; None when it stays, or is gone."""
        options, exchange_id = self.options, receive.new_id()
        too_large = f"over max-mail-size, {options.max_mail_size} bytes"
        if size > options.max_mail_size:
            return _Settled("refused", exchange_id, f"{size} bytes, {too_large}")
        try:
            content = await self.stop.interrupts(
                lambda: mailbox.read(uid, chunk=options.fetch_size, limit=options.max_mail_size)
            )
        except MailTooLarge:
            return _Settled("refused", exchange_id, f"{too_large}, unlike its RFC822.SIZE")
        except (SessionLost, CommandRefused) as error:
            waiting = self._put_off(uid)  # should this mail be the cause, the others go first on the next connection
            if isinstance(error, SessionLost):
                raise
            logger.warning("%s: mail UID %d cannot be fetched: %s", self.place, uid, error)
            await journal.put_off(uid, exchange_id, str(error), waiting.attempts)
            return None
        if content is None:
            return None
        headers = self._headers(uid, len(content))
        exchange = Exchange(exchange_id, content, headers, origin=f"imap-in {options.username}")
        del content  # a large mail stays in memory for as long as the route needs it only
        try:
            receipt = await receive(exchange)
        except Rejected as rejection:
            self.deferred_in_a_row = 0
            codes = " ".join(sorted({problem.code for problem in rejection.problems}))
            return _Settled("refused", exchange_id, f"rejected: {codes}")
        except Deferred as deferral:
            self.deferred_in_a_row += 1
            waiting = self._put_off(uid, deferral.retry_after)
            logger.info("%s: mail UID %d put off: %s", self.place, uid, deferral.message)
            if not self.stop.asked:
                await journal.put_off(uid, exchange_id, deferral.message, waiting.attempts)
            return None
        except Exception as defect:  # noqa: BLE001 - one mail must not stop the mailbox
            return await self._defect(uid, exchange_id, defect, journal)
        self.deferred_in_a_row = 0
        match receipt.duplicate:
            case "other":
                return _Settled("refused", exchange_id, "another content was taken under its identity")
            case "same":
                return _Settled("done", exchange_id, "taken before")
            case None:
                return _Settled("done", exchange_id)

    def _headers(self, uid: int, size: int) -> Mapping[str, str]:
        return {
            "mailbox": self.options.username,
            "imap-uid": str(uid),
            "imap-uidvalidity": str(self.uidvalidity),
            "imap-size": str(size),
        }

    def _put_off(self, uid: int, retry_after: float | None = None) -> _Waiting:
        waiting = self.waiting.setdefault(uid, _Waiting())
        waiting.attempts += 1
        delay = (
            retry_after if retry_after is not None else self.options.retry_delay * 2 ** min(waiting.attempts - 1, 32)
        )
        waiting.due = monotonic() + min(max(delay, 0.0), self.options.retry_max_delay)
        return waiting

    async def _defect(self, uid: int, exchange_id: str, defect: Exception, journal: MailboxJournal) -> _Settled | None:
        waiting = self._put_off(uid)
        waiting.defects += 1
        name, most = type(defect).__qualname__, self.options.max_defects
        logger.error(
            "%s: defect while handling mail UID %d (%d of %d): %s", self.place, uid, waiting.defects, most, name
        )
        if waiting.defects >= most:
            return _Settled("refused", exchange_id, f"{most} defects, the last one {name}")
        await journal.put_off(uid, exchange_id, f"defect: {name}", waiting.attempts)
        return None

    # -- marking -----------------------------------------------------------------------------------------------------

    def _mark_of(self, uid: int, settled: _Settled) -> tuple[str, str | None, str]:
        """The request in words, the folder to move to (None: it stays), else the keyword."""
        options, refused = self.options, settled.outcome == "refused"
        folder = options.refused_target if refused else options.done_folder if options.done == "move" else None
        keyword = options.refused_keyword if refused else options.keyword
        return f"UID MOVE {uid} {folder}" if folder else f"UID STORE {uid} +FLAGS {keyword}", folder, keyword

    async def _mark(self, mailbox: Mailbox, journal: MailboxJournal, uid: int) -> None:
        """Show in the mailbox what became of a mail; a refusal of the server leaves it for the next look."""
        settled = self.unmarked[uid]
        request, folder, keyword = self._mark_of(uid, settled)
        about = settled.exchange_id, settled.outcome, settled.reason
        try:
            if folder is not None:
                await mailbox.move(uid, folder)
            else:
                await mailbox.flag(uid, keyword)
        except CommandRefused as refusal:
            logger.warning("%s: mail UID %d is %s and cannot be marked: %s", self.place, uid, settled.outcome, refusal)
            await journal.not_marked(request, uid, *about, error=refusal)
        else:
            del self.unmarked[uid]
            self.marked += 1
            await journal.marked(request, uid, *about)
