"""What `imap-in` did to its mailbox, for the journal: account, request, answer, failures too (REM SC.MSS/CONF.17, .18).

Looks that find nothing are no actions. What a failing server makes repeat is rationed (`Receive.journal`).
"""

from __future__ import annotations

from attrs import frozen

from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.flow.component import Receive
from pfiflow.flow.exchange import Note

__all__ = ["MailboxJournal"]


@frozen
class MailboxJournal:
    """Writes one line an action, with the server's answer, "OK" when it did as asked, or why there was none."""

    options: ImapInOptions
    receive: Receive

    async def logged_in(self, uidvalidity: int) -> None:
        """A session is open, and the folder selected."""
        await self._rationed(self._note("mailbox-login", self._login, "OK", uidvalidity=uidvalidity))

    async def not_logged_in(self, error: Exception) -> None:
        """There is no session: no connection, no TLS, no login, or no use of the folder."""
        await self._rationed(self._note("mailbox-login-failed", self._login, error))

    async def lost(self, error: Exception) -> None:
        """A session broke."""
        await self._rationed(self._note("mailbox-lost", self._server, error))

    async def logged_out(self, response: str) -> None:
        """The reader stops."""
        await self._rationed(self._note("mailbox-logout", "LOGOUT", response))

    async def folder_made(self, folder: str) -> None:
        """A folder for mails dealt with was made."""
        await self._rationed(self._note("mailbox-folder", f"CREATE {folder}", "OK"))

    async def folder_replaced(self, before: int, now: int) -> None:
        """The folder that is read was made anew: other UIDs."""
        response = f"UIDVALIDITY {before} before, {now} now"
        await self._rationed(self._note("mailbox-replaced", f"SELECT {self.options.folder}", response))

    async def put_off(self, uid: int, exchange_id: str, cause: object, attempt: int) -> None:
        """A mail could not be fetched or taken over, and will be tried again."""
        note = self._note("mail-put-off", f"UID FETCH {uid}", cause, uid=uid, attempt=attempt)
        await self._rationed(note, exchange_id)

    async def marked(self, request: str, uid: int, exchange_id: str, outcome: str, reason: str) -> None:
        """A mail was marked, or moved to a folder."""
        note = self._note("mail-marked", request, "OK", uid=uid, outcome=outcome, reason=reason)
        await self.receive.journal(note, exchange_id=exchange_id)

    async def not_marked(
        self, request: str, uid: int, exchange_id: str, outcome: str, reason: str, *, error: object
    ) -> None:
        """A mail could not be marked, and will be tried again; or it is gone."""
        note = self._note("mail-not-marked", request, error, uid=uid, outcome=outcome, reason=reason)
        await self._rationed(note, exchange_id)

    @property
    def _server(self) -> str:
        return f"{self.options.host}:{self.options.port}"

    @property
    def _login(self) -> str:
        security = {"starttls": "STARTTLS", "tls": "TLS", "none": "no TLS"}[self.options.security]
        return f"{self._server} {security} AUTH {self.options.auth.upper()}"

    def _note(self, event: str, request: str, response: object, **facts: object) -> Note:
        told = {name: str(value) for name, value in facts.items() if value != ""}
        account, folder = self.options.username, self.options.folder
        return Note(event, {"account": account, "folder": folder, "request": request, "response": str(response)} | told)

    async def _rationed(self, note: Note, exchange_id: str = "") -> None:
        await self.receive.journal(note, exchange_id=exchange_id, rationed=True)
