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

What is done to the mailbox is in the journal (`imap_journal.py`), also where no exchange came of it.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Callable
from time import monotonic
from typing import Any

import anyio
from attrs import define, field

from pfiflow.endpoints.imap_double import ImapPeer
from pfiflow.endpoints.imap_driver import CommandRefused, ImapSession, SessionLost
from pfiflow.endpoints.imap_journal import MailboxJournal
from pfiflow.endpoints.imap_mailbox import Folder, Mailbox
from pfiflow.endpoints.imap_mails import DEFERRED_IN_A_ROW, Mails, Stop
from pfiflow.endpoints.imap_options import ImapInOptions, check_options
from pfiflow.endpoints.imap_threaded import ThreadedSession
from pfiflow.endpoints.tls import TLS_EXAMPLE, TlsContext, check_client
from pfiflow.errors import ConfigError, Deferred, ProtocolError
from pfiflow.flow.component import Component, Double, Field, Receive

__all__ = ["COMPONENTS", "ImapSource"]

logger = logging.getLogger("pfiflow.imap")

_RECONNECT = (0.0, 1.0, 2.0, 5.0, 10.0)  # seconds before each attempt; after the last, the engine restarts the route
_REST = 5.0  # seconds before the next look, when a mark or a whole look came to nothing
_SHORTEST_WAIT = 0.05
_LAST_WORD = 2.0  # seconds that the last line of the journal may hold up the end
_STABLE = 5.0  # seconds after which a session counts as one that worked


@define(eq=False)
class ImapSource:
    """The reader of one mailbox. Built by the component `imap-in`."""

    options: ImapInOptions
    mails: Mails = field(init=False)
    _stop: Stop = field(init=False, factory=Stop)
    _tls: TlsContext | None = field(init=False)
    _ready_since: float = math.inf  # monotonic seconds at which the present session had its folder selected

    def __attrs_post_init__(self) -> None:
        check_options(self.options)
        secure = self.options.tls is not None and self.options.security != "none"
        self._tls = TlsContext(self.options.tls) if secure and self.options.tls is not None else None
        self.mails = Mails(self.options, self._place, self._stop)

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
        journal = MailboxJournal(self.options, receive)
        failures = 0
        while True:
            if self._stop.asked:
                await anyio.sleep_forever()  # until the engine has finished what is in flight
            marked, self._ready_since = self.mails.marked, math.inf
            try:
                await self._session(receive, journal, started)
            except (SessionLost, Deferred) as error:
                if self.mails.marked > marked or monotonic() - self._ready_since > _STABLE:
                    failures = 0
                if failures >= len(_RECONNECT):
                    raise
                logger.warning("%s: %s; connecting again", self._place, error)
                pause = _RECONNECT[failures]
                await self._stop.interrupts(lambda: anyio.sleep(pause))  # noqa: B023 - awaited here
                failures += 1

    async def stop_accepting(self) -> None:
        """No new mail; the one that the route has is still marked."""
        self._stop.ask()

    async def visit(self, mailbox: Mailbox, receive: Receive) -> None:
        """One look at a mailbox that is open already, whoever opened it. Raises as `run`."""
        journal = MailboxJournal(self.options, receive)
        await self._prepare(mailbox, journal)
        await self.mails.look(mailbox, receive, journal)

    # -- one session -------------------------------------------------------------------------------------------------

    async def _session(self, receive: Receive, journal: MailboxJournal, started: Callable[[str], None]) -> None:
        """Open a session and use it until it breaks, or `stop_accepting`."""
        session = None
        try:
            session = await self._stop.interrupts(self._open)
            if session is None:
                return
            mailbox = Mailbox(session)
            if await self._stop.interrupts(lambda: self._prepare(mailbox, journal)) is None:
                return
            await journal.logged_in(self.mails.uidvalidity)
            self._ready_since = monotonic()
            started(self._place)
            await self._use(mailbox, receive, journal)
        except (SessionLost, CommandRefused, Deferred, ConfigError) as error:
            await (journal.not_logged_in(error) if self._ready_since == math.inf else journal.lost(error))
            if isinstance(error, CommandRefused):
                raise ProtocolError(f"{self._place}: {error}") from error
            raise
        except anyio.get_cancelled_exc_class():
            if self._ready_since < math.inf:
                with anyio.move_on_after(_LAST_WORD, shield=True):
                    await journal.logged_out("the reader stopped: connection closed")
            raise
        finally:
            if session is not None:
                session.abort()

    async def _open(self) -> ImapSession:
        options = self.options
        context = await anyio.to_thread.run_sync(self._tls.current) if self._tls is not None else None
        if options.driver == "aioimaplib":
            from pfiflow.endpoints.imap_aioimaplib import AioimaplibSession  # its library is an extra

            return await AioimaplibSession.open(options, context)
        return await ThreadedSession.open(options, context)

    async def _prepare(self, mailbox: Mailbox, journal: MailboxJournal) -> Folder:
        options = self.options
        folder = await self._select(mailbox, journal)
        self._check_marks(mailbox, folder)
        for name in filter(None, (options.refused_target, options.done_folder if options.done == "move" else None)):
            if await mailbox.ensure_folder(name):
                await journal.folder_made(name)
        return folder

    async def _select(self, mailbox: Mailbox, journal: MailboxJournal) -> Folder:
        folder, before = await mailbox.select(self.options.folder), self.mails.uidvalidity
        if folder.uidvalidity != before:
            self.mails.uidvalidity = folder.uidvalidity
            self.mails.forget()
            if before:
                logger.warning(
                    "%s: UIDVALIDITY changed from %d to %d: the folder was made anew, its mails are read as new ones",
                    self._place,
                    before,
                    folder.uidvalidity,
                )
                await journal.folder_replaced(before, folder.uidvalidity)
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

    async def _use(self, mailbox: Mailbox, receive: Receive, journal: MailboxJournal) -> None:
        while not self._stop.asked:
            await self.mails.look(mailbox, receive, journal)
            if await self._stop.interrupts(lambda: self._wait(mailbox.session)) is False:
                # Selected again, not only NOOP: Dovecot goes on answering OK in a folder deleted and made anew.
                await self._stop.interrupts(lambda: self._select(mailbox, journal))
        await mailbox.session.logout()
        await journal.logged_out("OK")
        self._ready_since = math.inf

    async def _wait(self, session: ImapSession) -> bool:
        """Until mail has come (True), or the time of the next look."""
        options = self.options
        idle = options.idle and "IDLE" in session.capabilities
        seconds: float = options.idle_renew if idle else options.poll
        due = monotonic() + _REST if self.mails.unmarked else self.mails.next_due()
        if due is not None:
            seconds = min(seconds, max(due - monotonic(), _SHORTEST_WAIT))
        if self.mails.deferred_in_a_row >= DEFERRED_IN_A_ROW:
            await anyio.sleep(_REST)
        elif idle:
            return await session.idle(seconds)
        elif not session.arrivals.news:
            await anyio.sleep(seconds)
        return False


def _build(options: Any) -> ImapSource:
    if options.driver == "aioimaplib" and importlib.util.find_spec("aioimaplib") is None:
        raise ConfigError("imap-in: driver aioimaplib is not installed: pip install 'pfiflow[aioimaplib]' (GPL-3.0)")
    return ImapSource(options)


def _check(options: Any) -> None:
    check_options(options)
    check_client(options.tls)


def _folder(options: Any) -> str:
    """Two readers of one folder would each take every mail, and mark it for the other."""
    folder = "INBOX" if options.folder.upper() == "INBOX" else options.folder
    return f"folder {folder} of mailbox {options.username} on {options.host.lower()}"


def _build_double(options: Any) -> ImapPeer:
    return ImapPeer(ImapSource(options))


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
        repeats="a mail that was taken just before a crash is read once more",
        claims=_folder,
        check=_check,
        example={"tls": TLS_EXAMPLE},
        double=Double(build=_build_double),
    ),
)
