"""`imap-in`: reads one mailbox, and marks a mail as done only after its unit of work has committed.

Mails go to the route one by one, oldest first. What the route says decides:

* it returns, for a first copy or a duplicate: the mail is marked done (a keyword, or moved);
* `Rejected`: marked as refused, and the next mail goes on;
* `Deferred`: it stays as it is and is tried again after a back-off; the others go on meanwhile, so a mail that is
  deferred is overtaken;
* a defect: the same, a bounded number of times, then refused.

A crash between commit and mark gives the same mail once more: the route's `idempotent` step, keyed by the headers
`mailbox`, `imap-uidvalidity` and `imap-uid` (and the Message-ID), ends it there. A mark that fails is tried again
without fetching the mail again.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import monotonic
from typing import Any, Literal, TypeVar

import anyio
from attrs import define, field

from pfiflow.endpoints.imap_driver import CommandRefused, ImapSession, SessionLost
from pfiflow.endpoints.imap_mailbox import Folder, Mailbox, MailTooLarge
from pfiflow.endpoints.imap_options import ImapInOptions, check_options
from pfiflow.endpoints.imap_threaded import ThreadedSession
from pfiflow.endpoints.tls import TLS_EXAMPLE, TlsContext
from pfiflow.errors import ConfigError, Deferred, ProtocolError, Rejected
from pfiflow.flow.component import Component, Field, Receive
from pfiflow.flow.exchange import Exchange

__all__ = ["COMPONENTS", "ImapSource"]

logger = logging.getLogger("pfiflow.imap")

T = TypeVar("T")

_RECONNECT = (0.0, 1.0, 2.0, 5.0, 10.0)  # seconds before each attempt; after the last, the engine restarts the route
_BATCH = 100  # mails whose sizes are asked for together
_DEFERRED_IN_A_ROW = 3  # the route as a whole cannot take mails: fetching them all for that would be waste
_REST = 5.0  # seconds before the next look then
_MARK_TIMEOUT = 5.0  # seconds that a mark may hold up a stop
_SHORTEST_WAIT = 0.05
_STABLE = 5.0  # seconds after which a session counts as one that worked

Outcome = Literal["done", "refused"]


@define
class _Waiting:
    """A mail that was not taken: how often, and when to try again."""

    attempts: int = 0
    defects: int = 0
    due: float = 0.0  # monotonic seconds


@define(eq=False)
class ImapSource:
    """The reader of one mailbox. Built by the component `imap-in`."""

    options: ImapInOptions
    _tls: TlsContext | None = field(init=False)
    _uidvalidity: int = 0
    _waiting: dict[int, _Waiting] = field(factory=dict)
    _unmarked: dict[int, Outcome] = field(factory=dict)  # settled by the route, not yet marked in the mailbox
    _stopping: bool = False
    _interruptible: set[anyio.CancelScope] = field(factory=set)
    _marking: anyio.CancelScope | None = None
    _deferred_in_a_row: int = 0
    _settled: int = 0  # mails marked so far
    _ready_since: float = math.inf  # monotonic seconds at which the present session had its folder selected

    def __attrs_post_init__(self) -> None:
        check_options(self.options)
        secure = self.options.tls is not None and self.options.security != "none"
        self._tls = TlsContext(self.options.tls) if secure and self.options.tls is not None else None

    @property
    def _place(self) -> str:
        scheme = "imap" if self.options.security == "none" else "imaps"
        return f"{scheme}://{self.options.host}:{self.options.port}/{self.options.folder}"

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        """Read until cancelled, over as many connections as it takes.

        Raises:
            ConfigError, Deferred, SessionLost, CommandRefused: no session for some tens of seconds, or none that could
                be of use: the folder is missing, nothing can be marked in it.
        """
        failures = 0
        while True:
            if self._stopping:
                await anyio.sleep_forever()  # until the engine has finished what is in flight
            settled, self._ready_since = self._settled, math.inf
            try:
                await self._session(receive, started)
            except (SessionLost, Deferred) as error:
                if self._settled > settled or monotonic() - self._ready_since > _STABLE:
                    failures = 0
                if failures >= len(_RECONNECT):
                    raise
                logger.warning("%s: %s; connecting again", self._place, error)
                await self._until_stopped(_RECONNECT[failures])
                failures += 1

    async def stop_accepting(self) -> None:
        """No new mail; the one that the route has is still marked."""
        self._stopping = True
        for scope in tuple(self._interruptible):
            scope.cancel()
        if self._marking is not None:
            self._marking.shield, self._marking.deadline = True, anyio.current_time() + _MARK_TIMEOUT

    # -- one session -------------------------------------------------------------------------------------------------

    async def _session(self, receive: Receive, started: Callable[[str], None]) -> None:
        """Open a session and use it until it breaks, or `stop_accepting`."""
        session = await self._interruptibly(self._open)
        if session is None:
            return
        try:
            mailbox = Mailbox(session)
            await self._interruptibly(lambda: self._prepare(mailbox))
            self._ready_since = monotonic()
            started(self._place)
            await self._use(mailbox, receive)
        except CommandRefused as refusal:
            raise ProtocolError(f"{self._place}: {refusal}") from refusal
        finally:
            session.abort()

    async def _open(self) -> ImapSession:
        options = self.options
        context = await anyio.to_thread.run_sync(self._tls.current) if self._tls is not None else None
        if options.driver == "aioimaplib":
            from pfiflow.endpoints.imap_aioimaplib import AioimaplibSession  # its library is an extra

            return await AioimaplibSession.open(options, context)
        return await ThreadedSession.open(options, context)

    async def _prepare(self, mailbox: Mailbox) -> None:
        options = self.options
        self._check_marks(mailbox, await self._select(mailbox))
        for name in filter(None, (options.refused_target, options.done_folder if options.done == "move" else None)):
            await mailbox.ensure_folder(name)

    async def _select(self, mailbox: Mailbox) -> Folder:
        folder = await mailbox.select(self.options.folder)
        if folder.uidvalidity != self._uidvalidity:
            if self._uidvalidity:
                logger.warning(
                    "%s: UIDVALIDITY changed from %d to %d: the folder was made anew, its mails are read as new ones",
                    self._place,
                    self._uidvalidity,
                    folder.uidvalidity,
                )
            self._uidvalidity = folder.uidvalidity
            self._waiting.clear()
            self._unmarked.clear()
        return folder

    def _check_marks(self, mailbox: Mailbox, folder: Folder) -> None:
        """A mail that cannot be marked would come again at each look: said at once, not at the first mail."""
        options = self.options
        if folder.read_only:
            raise ConfigError(f"{self._place} is read-only for {options.username}: mails cannot be marked")
        if options.done == "flag" and not folder.keeps(options.keyword):
            raise ConfigError(f"{self._place} keeps no keywords (PERMANENTFLAGS): use done: move")
        if options.done == "flag" and options.refused_target is None and not folder.keeps(options.refused_keyword):
            raise ConfigError(f"{self._place} does not keep refused-keyword: use refused-folder")
        if (options.done == "move" or options.refused_target is not None) and not mailbox.can_move:
            raise ConfigError(f"{self._place} has neither MOVE nor UIDPLUS: use done: flag without refused-folder")

    async def _use(self, mailbox: Mailbox, receive: Receive) -> None:
        while not self._stopping:
            await self._look(mailbox, receive)
            if await self._interruptibly(lambda: self._wait(mailbox.session)) is False:
                # Selected again, not only NOOP: Dovecot goes on answering OK in a folder deleted and made anew.
                await self._interruptibly(lambda: self._select(mailbox))
        await mailbox.session.logout()

    async def _wait(self, session: ImapSession) -> bool:
        """Until mail has come (True), or the time of the next look."""
        options = self.options
        idle = options.idle and "IDLE" in session.capabilities
        seconds: float = options.idle_renew if idle else options.poll
        due = min((waiting.due for waiting in self._waiting.values()), default=None)
        if self._unmarked:
            due = monotonic() + _REST
        if due is not None:
            seconds = min(seconds, max(due - monotonic(), _SHORTEST_WAIT))
        if self._deferred_in_a_row >= _DEFERRED_IN_A_ROW:
            await anyio.sleep(_REST)
        elif idle:
            return await session.idle(seconds)
        elif not session.arrivals.news:
            await anyio.sleep(seconds)
        return False

    # -- mails -------------------------------------------------------------------------------------------------------

    async def _look(self, mailbox: Mailbox, receive: Receive) -> None:
        """Everything that is ready, oldest first."""
        self._deferred_in_a_row = 0
        marks = (self.options.keyword, self.options.refused_keyword) if self.options.done == "flag" else ()
        uids = await self._interruptibly(lambda: mailbox.search(*marks))
        if uids is None:
            return
        present = set(uids)
        for known in (self._waiting, self._unmarked):
            for gone in [uid for uid in known if uid not in present]:
                del known[gone]
        now = monotonic()
        ready = [uid for uid in uids if uid not in self._unmarked and self._due(uid) <= now]
        for uid in [uid for uid in uids if uid in self._unmarked]:
            await self._mark(mailbox, uid)
        for start in range(0, len(ready), _BATCH):
            batch = ready[start : start + _BATCH]
            sizes = await self._interruptibly(partial(mailbox.sizes, batch))
            for uid, size in (sizes or {}).items():
                if self._stopping or self._deferred_in_a_row >= _DEFERRED_IN_A_ROW:
                    return
                await self._take(mailbox, receive, uid, size)

    def _due(self, uid: int) -> float:
        waiting = self._waiting.get(uid)
        return waiting.due if waiting is not None else 0.0

    async def _take(self, mailbox: Mailbox, receive: Receive, uid: int, size: int) -> None:
        outcome = await self._hand_over(mailbox, receive, uid, size)
        if outcome is None:
            return
        self._waiting.pop(uid, None)
        self._unmarked[uid] = outcome
        with anyio.CancelScope() as self._marking:
            if self._stopping:  # a stop lets the mark be made, but waits for it not for long
                self._marking.shield, self._marking.deadline = True, anyio.current_time() + _MARK_TIMEOUT
            await self._mark(mailbox, uid)
        self._marking = None

    async def _hand_over(self, mailbox: Mailbox, receive: Receive, uid: int, size: int) -> Outcome | None:
        """What the route made of the mail; None when it stays, or is gone."""
        options = self.options
        if size > options.max_mail_size:
            logger.warning("%s: mail UID %d refused: %d bytes, over max-mail-size", self._place, uid, size)
            return "refused"
        try:
            content = await self._interruptibly(
                lambda: mailbox.read(uid, chunk=options.fetch_size, limit=options.max_mail_size)
            )
        except MailTooLarge:
            logger.warning("%s: mail UID %d refused: over max-mail-size, unlike its RFC822.SIZE", self._place, uid)
            return "refused"
        except (SessionLost, CommandRefused) as error:
            self._put_off(uid)  # should this mail be the cause, the others go first on the next connection
            if isinstance(error, CommandRefused):
                logger.warning("%s: mail UID %d cannot be fetched: %s", self._place, uid, error)
                return None
            raise
        if content is None:
            return None
        exchange = Exchange("", content, self._headers(uid, len(content)), origin=f"imap-in {options.username}")
        del content  # a large mail stays in memory for as long as the route needs it only
        try:
            receipt = await receive(exchange)
        except Rejected as rejection:
            codes = " ".join(sorted({problem.code for problem in rejection.problems}))
            logger.warning("%s: mail UID %d refused by the route: %s", self._place, uid, codes)
            self._deferred_in_a_row = 0
            return "refused"
        except Deferred as deferral:
            self._deferred_in_a_row += 1
            self._put_off(uid, deferral.retry_after)
            logger.info("%s: mail UID %d put off: %s", self._place, uid, deferral.message)
            return None
        except Exception as defect:  # noqa: BLE001 - one mail must not stop the mailbox
            return self._defect(uid, defect)
        self._deferred_in_a_row = 0
        if receipt.duplicate == "other":
            logger.warning("%s: mail UID %d refused: another content was taken under its identity", self._place, uid)
            return "refused"
        return "done"

    def _headers(self, uid: int, size: int) -> Mapping[str, str]:
        return {
            "mailbox": self.options.username,
            "imap-uid": str(uid),
            "imap-uidvalidity": str(self._uidvalidity),
            "imap-size": str(size),
        }

    def _put_off(self, uid: int, retry_after: float | None = None) -> _Waiting:
        waiting = self._waiting.setdefault(uid, _Waiting())
        waiting.attempts += 1
        delay = (
            retry_after if retry_after is not None else self.options.retry_delay * 2 ** min(waiting.attempts - 1, 32)
        )
        waiting.due = monotonic() + min(max(delay, 0.0), self.options.retry_max_delay)
        return waiting

    def _defect(self, uid: int, defect: Exception) -> Outcome | None:
        waiting = self._put_off(uid)
        waiting.defects += 1
        final = waiting.defects >= self.options.max_defects
        logger.error(
            "%s: defect while handling mail UID %d (%d of %d): %s%s",
            self._place,
            uid,
            waiting.defects,
            self.options.max_defects,
            type(defect).__qualname__,
            "; it counts as refused" if final else "",
        )
        return "refused" if final else None

    async def _mark(self, mailbox: Mailbox, uid: int) -> None:
        """Show in the mailbox what became of a mail; a refusal of the server leaves it for the next look."""
        options = self.options
        outcome = self._unmarked[uid]
        folder = options.refused_target if outcome == "refused" else options.done_folder
        try:
            if folder is not None and (outcome == "refused" or options.done == "move"):
                await mailbox.move(uid, folder)
            else:
                await mailbox.flag(uid, options.keyword if outcome == "done" else options.refused_keyword)
        except CommandRefused as refusal:
            logger.warning("%s: mail UID %d is %s and cannot be marked so: %s", self._place, uid, outcome, refusal)
        else:
            del self._unmarked[uid]
            self._settled += 1

    # -- stopping ----------------------------------------------------------------------------------------------------

    async def _interruptibly(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """The work's result; None when `stop_accepting` came first."""
        if self._stopping:
            return None
        with anyio.CancelScope() as scope:
            self._interruptible.add(scope)
            try:
                return await work()
            finally:
                self._interruptible.discard(scope)
        return None

    async def _until_stopped(self, seconds: float) -> None:
        await self._interruptibly(lambda: anyio.sleep(seconds))


def _build(options: Any) -> ImapSource:
    if options.driver == "aioimaplib" and importlib.util.find_spec("aioimaplib") is None:
        raise ConfigError("imap-in: driver aioimaplib is not installed: pip install 'pfiflow[aioimaplib]' (GPL-3.0)")
    return ImapSource(options)


def _folder(options: Any) -> str:
    """Two readers of one folder would each take every mail, and mark it for the other."""
    folder = "INBOX" if options.folder.upper() == "INBOX" else options.folder
    return f"folder {folder} of mailbox {options.username} on {options.host.lower()}"


COMPONENTS = (
    Component(
        name="imap-in",
        kind="source",
        build=_build,
        options=ImapInOptions,
        doc="Reads one mailbox by IMAP, waiting with IDLE or polling, and marks a mail as done once it is stored.",
        gives=bytes,
        sets={
            "mailbox": Field("The mailbox: the option `username`."),
            "imap-uid": Field("UID of the mail in its folder."),
            "imap-uidvalidity": Field("UIDVALIDITY of the folder."),
            "imap-size": Field("Size of the mail, in bytes."),
        },
        claims=_folder,
        check=check_options,
        example={"tls": TLS_EXAMPLE},
    ),
)
