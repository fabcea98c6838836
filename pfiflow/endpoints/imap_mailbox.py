"""One selected folder, by UID: searched, read in parts, marked, moved. The same over every driver."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from pfiflow.endpoints.imap_driver import Answer, CommandRefused, ImapSession, SessionLost, quote

__all__ = ["Folder", "MailTooLarge", "Mailbox", "encode_folder"]

_SLACK = 16 * 2**10  # bytes of an answer around a part of a mail: other clients' flag changes among them
_UIDVALIDITY = re.compile(rb"OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)
_PERMANENT = re.compile(rb"OK \[PERMANENTFLAGS \(([^)]*)\)\]", re.IGNORECASE)
_UID = re.compile(rb"[( ]UID (\d{1,10})[ )]", re.IGNORECASE)
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d{1,15})[ )]", re.IGNORECASE)
_BODY_LITERAL = re.compile(rb"BODY\[\](?:<\d{1,15}>)? \{(\d{1,15})\}$", re.IGNORECASE)
_BODY_EMPTY = re.compile(rb'BODY\[\](?:<\d{1,15}>)? (?:""|NIL)', re.IGNORECASE)
_BODY_QUOTED = re.compile(rb'BODY\[\](?:<\d{1,15}>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FLAGS = re.compile(rb"[( ]FLAGS \(([^)]*)\)", re.IGNORECASE)


class MailTooLarge(Exception):
    """The mail has more bytes than the limit, whatever the server had said of its size."""


@frozen
class Folder:
    r"""What SELECT tells.

    Attributes:
        uidvalidity: UIDs mean something together with it only.
        flags: PERMANENTFLAGS, in lower case; `\*` among them says that new keywords may be made.
        read_only: nothing can be marked.
    """

    uidvalidity: int
    flags: frozenset[bytes]
    read_only: bool

    def keeps(self, keyword: str) -> bool:
        """Whether the server will remember this keyword on a mail."""
        return not self.read_only and (rb"\*" in self.flags or keyword.lower().encode("ascii") in self.flags)


class Mailbox:
    """The operations of `imap-in` on the selected folder of a session. All raise SessionLost and CommandRefused."""

    def __init__(self, session: ImapSession) -> None:
        self.session = session

    async def select(self, folder: str) -> Folder:
        """SELECT, by which all further operations mean this folder."""
        answer = await self.session.command("SELECT", quote(encode_folder(folder)))
        uidvalidity = flags = None
        for line in answer.items:
            if found := _UIDVALIDITY.match(line):
                uidvalidity = int(found[1])
            elif found := _PERMANENT.match(line):
                flags = frozenset(found[1].lower().split())
        if uidvalidity is None:
            raise SessionLost("the server gives the folder no UIDVALIDITY: its mails have no lasting identity")
        # RFC 3501 §6.3.1: without PERMANENTFLAGS, all flags are permanent; of keywords that is not to be believed.
        return Folder(uidvalidity, flags or frozenset(), answer.text.upper().startswith(b"[READ-ONLY]"))

    async def search(self, *without: str) -> tuple[int, ...]:
        """UIDs, ascending (oldest first), of the mails neither deleted nor bearing one of these keywords."""
        self.session.arrivals.looked()
        criteria = ["UNDELETED", *(f"UNKEYWORD {keyword}" for keyword in without)]
        answer = await self.session.command("UID SEARCH", " ".join(criteria))
        uids: set[int] = set()
        for line in answer.items:
            words = line.split()
            if words and words[0].upper() == b"SEARCH":
                uids.update(int(word) for word in words[1:] if word.isdigit() and len(word) <= 10)
        return tuple(sorted(uids))

    async def sizes(self, uids: Sequence[int]) -> Mapping[int, int]:
        """RFC822.SIZE by UID; mails that are gone are missing. Give at most some hundred UIDs."""
        answer = await self.session.command("UID FETCH", ",".join(map(str, uids)), "(UID RFC822.SIZE)")
        sizes: dict[int, int] = {}
        for line, _ in _fetched(answer):
            uid, size = _UID.search(line), _SIZE.search(line)
            if uid and size:
                sizes[int(uid[1])] = int(size[1])
        return {uid: sizes[uid] for uid in uids if uid in sizes}

    async def read(self, uid: int, *, chunk: int, limit: int) -> bytes | None:
        """The whole mail, never marked as seen, fetched in parts of `chunk` bytes; None when it is gone.

        Memory: the mail once, and one part. The end is a part shorter than asked for, not RFC822.SIZE, which some
        servers estimate.

        Raises:
            MailTooLarge: it goes on after `limit` bytes.
        """
        mail = io.BytesIO()
        while True:
            offset = mail.tell()
            part = await self._part(uid, offset, chunk)
            if part is None:
                return None
            if not offset and len(part) < chunk:
                return part
            mail.write(part)
            if len(part) < chunk:
                return mail.getvalue()
            if mail.tell() > limit:
                raise MailTooLarge

    async def _part(self, uid: int, offset: int, size: int) -> bytes | None:
        answer = await self.session.command(
            "UID FETCH", str(uid), f"(UID BODY.PEEK[]<{offset}.{size}>)", limit=size + _SLACK
        )
        for line, literal in _fetched(answer):
            found = _UID.search(line)
            if found and int(found[1]) != uid:
                continue
            if literal is not None:
                if len(literal) > size:
                    raise SessionLost("the server sent more of a mail than it was asked for")
                return literal
            if _BODY_EMPTY.search(line):
                return b""
            if quoted := _BODY_QUOTED.search(line):
                return re.sub(rb"\\(.)", rb"\1", quoted[1])
        return None

    async def flag(self, uid: int, keyword: str) -> None:
        """Set a keyword; adding one that is there changes nothing."""
        answer = await self.session.command("UID STORE", str(uid), f"+FLAGS ({keyword})")
        for line, _ in _fetched(answer):
            found, flags = _UID.search(line), _FLAGS.search(line)
            ours = found is not None and int(found[1]) == uid
            if ours and flags and keyword.lower().encode("ascii") not in flags[1].lower().split():
                raise CommandRefused("UID STORE", b"the server said OK and did not keep the keyword")

    @property
    def can_move(self) -> bool:
        """Whether one mail can leave the folder without touching what others have marked as deleted."""
        return bool(self.session.capabilities & {"MOVE", "UIDPLUS"})

    async def move(self, uid: int, folder: str) -> None:
        r"""Move to another folder, made anew should it be missing.

        UID MOVE (RFC 6851), else COPY, `\Deleted`, UID EXPUNGE (RFC 4315): a plain EXPUNGE would also remove what the
        mailbox's users have marked. A cut between COPY and EXPUNGE leaves a copy, never a loss.
        """
        try:
            await self._move(uid, folder)
        except CommandRefused as refusal:
            if refusal.code != "TRYCREATE":
                raise
            await self.ensure_folder(folder)
            await self._move(uid, folder)

    async def _move(self, uid: int, folder: str) -> None:
        target = quote(encode_folder(folder))
        if "MOVE" in self.session.capabilities:
            await self.session.command("UID MOVE", str(uid), target)
            return
        await self.session.command("UID COPY", str(uid), target)
        await self.session.command("UID STORE", str(uid), r"+FLAGS.SILENT (\Deleted)")
        await self.session.command("UID EXPUNGE", str(uid))

    async def ensure_folder(self, folder: str) -> bool:
        """Make the folder unless it is there; whether it was made. Raises CommandRefused when that is not allowed."""
        name = quote(encode_folder(folder))
        try:
            await self.session.command("STATUS", name, "(UIDVALIDITY)")
        except CommandRefused:
            await self.session.command("CREATE", name)
            with contextlib.suppress(CommandRefused):
                await self.session.command("SUBSCRIBE", name)  # so that webmails show it
            return True
        return False


def _fetched(answer: Answer) -> Iterator[tuple[bytes, bytes | None]]:
    """Each FETCH response: its text without literals, and the literal of BODY[], if any."""
    items = iter(answer.items)
    for line in items:
        text, literal = line, None
        while ends := re.search(rb"\{\d{1,15}\}$", line):
            content = next(items, None)
            line = next(items, b"")  # noqa: PLW2901 - the response goes on after its literal
            if _BODY_LITERAL.search(text):
                literal = content
            text = text[: -len(ends[0])] + line
        if re.match(rb"\d{1,10} FETCH \(", text, re.IGNORECASE):
            yield text, literal


def encode_folder(name: str) -> str:
    """Modified UTF-7 (RFC 3501 §5.1.3), in which folder names travel: `Traités` is `Trait&AOk-s`."""
    return re.sub("&|[^ -~]+", _encode_run, name)


def _encode_run(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    packed = base64.b64encode(match[0].encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",")
    return f"&{packed}-"
