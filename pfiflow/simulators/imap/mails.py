"""Commands on the mails of the selected folder (RFC 3501 §6.4, RFC 4315, RFC 6851), by number or by UID."""

from __future__ import annotations

from pfiflow.simulators.imap.fetch import answer, read_items
from pfiflow.simulators.imap.folders import named, read_name
from pfiflow.simulators.imap.search import BadCharset, Candidate, Scope, read_criterion
from pfiflow.simulators.imap.state import Refused, State
from pfiflow.simulators.imap.syntax import Cursor, Malformed
from pfiflow.simulators.mailboxes import Folder, StoredMail

__all__ = ["close", "copy", "expunge", "fetch", "move", "search", "store", "unselect"]


def fetch(state: State, cursor: Cursor, *, by_uid: bool = False) -> str:
    r"""FETCH, UID FETCH. A mail read without PEEK becomes `\Seen`, unless the folder was opened by EXAMINE."""
    view = state.selected
    chosen = cursor.sequence_set()
    cursor.space()
    items = read_items(cursor)
    cursor.end()
    names = {item.name for item in items}
    more = [] if "UID" in names or not by_uid else read_items(Cursor(b"UID"))
    seen = any(item.seen for item in items) and not view.read_only
    for number, mail in view.chosen(chosen, by_uid=by_uid):
        told = [*more, *items]
        if seen and r"\Seen" not in mail.flags:
            view.folder.mark(mail, mail.flags | {r"\Seen"})
            view.told[mail.uid] = mail.changed
            told = told if "FLAGS" in names else [*read_items(Cursor(b"FLAGS")), *told]
        state.said.append(answer(number, mail, told, recent=mail.uid in view.recent))
    return "done"


def store(state: State, cursor: Cursor, *, by_uid: bool = False) -> str:
    """STORE, UID STORE."""
    view = state.writable
    chosen = cursor.sequence_set()
    cursor.space()
    sign = next((sign for sign in (b"+", b"-") if cursor.skip(sign)), b"")
    cursor.expect(b"FLAGS")
    silent = cursor.skip(b".SILENT")
    cursor.space()
    flags = _flags(cursor)
    cursor.end()
    if r"\recent" in {flag.lower() for flag in flags}:
        raise Malformed(r"\Recent is the server's")
    for number, mail in view.chosen(chosen, by_uid=by_uid):
        named_so = {flag.lower() for flag in flags}
        kept = {flag for flag in mail.flags if flag.lower() not in named_so}
        view.folder.mark(mail, {b"+": mail.flags | flags, b"-": kept, b"": flags}[sign])
        view.told[mail.uid] = mail.changed
        if not silent:
            state.said.append(view.flags_of(number, mail))
    return "done"


def _flags(cursor: Cursor) -> frozenset[str]:
    if cursor.ahead(b"("):
        return frozenset(cursor.flag() for _ in cursor.each())
    found = {cursor.flag()}
    while not cursor.ended:
        cursor.space()
        found.add(cursor.flag())
    return frozenset(found)


def search(state: State, cursor: Cursor, *, by_uid: bool = False) -> str:
    """SEARCH, UID SEARCH."""
    view = state.selected
    try:
        criterion = read_criterion(cursor, Scope(len(view.told), next(reversed(view.told), 0)))
    except BadCharset:
        raise Refused("[BADCHARSET (US-ASCII UTF-8)] not known") from None
    found = [
        mail.uid if by_uid else number
        for number, mail in view.chosen("1:*", by_uid=True)
        if criterion(Candidate(number, mail, mail.uid in view.recent))
    ]
    state.say(" ".join(["SEARCH", *map(str, found)]))
    return "done"


def copy(state: State, cursor: Cursor, *, by_uid: bool = False) -> str:
    """COPY, UID COPY."""
    _, _, uids = _copy(state, cursor, by_uid=by_uid)
    return f"[{uids}] copied" if uids else "copied"


def move(state: State, cursor: Cursor, *, by_uid: bool = False) -> str:
    """MOVE, UID MOVE: all of them or none."""
    state.writable  # noqa: B018 - refuses where nothing may leave
    folder, mails, uids = _copy(state, cursor, by_uid=by_uid)
    if uids:
        state.say(f"OK [{uids}] moved")  # before the EXPUNGEs (RFC 6851 §4.3)
    folder.expunge(mail.uid for mail in mails)
    return "moved"


def _copy(state: State, cursor: Cursor, *, by_uid: bool) -> tuple[Folder, list[StoredMail], str]:
    view = state.selected
    chosen = cursor.sequence_set()
    cursor.space()
    name = read_name(cursor)
    cursor.end()
    target = named(state, name, "TRYCREATE")
    mails = [mail for _, mail in view.chosen(chosen, by_uid=by_uid)]
    copies = [target.add(mail.content, mail.flags, mail.received) for mail in mails]
    if not mails or "UIDPLUS" not in state.policy.extensions:
        return view.folder, mails, ""
    old, new = (",".join(str(mail.uid) for mail in each) for each in (mails, copies))
    return view.folder, mails, f"COPYUID {target.uidvalidity} {old} {new}"


def expunge(state: State, cursor: Cursor, *, by_uid: bool = False) -> str:
    """EXPUNGE; UID EXPUNGE removes those of a set only (RFC 4315 §2.1)."""
    view = state.writable
    chosen = cursor.sequence_set() if by_uid else "1:*"
    cursor.end()
    view.folder.expunge(mail.uid for _, mail in view.chosen(chosen, by_uid=True) if r"\Deleted" in mail.flags)
    return "expunged"


def close(state: State, cursor: Cursor) -> str:
    """CLOSE: expunges, and tells nothing."""
    cursor.end()
    view = state.selected
    if not view.read_only:
        view.folder.expunge(uid for uid, mail in tuple(view.folder.mails.items()) if r"\Deleted" in mail.flags)
    state.view = None
    return "closed"


def unselect(state: State, cursor: Cursor) -> str:
    """UNSELECT (RFC 3691)."""
    cursor.end()
    state.view = None
    return "closed"
