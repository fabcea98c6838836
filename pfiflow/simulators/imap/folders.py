"""Commands on folders: SELECT, CREATE, LIST, STATUS, APPEND… (RFC 3501 §6.3). The names' hierarchy is by dots."""

from __future__ import annotations

import binascii
import re
from datetime import datetime

from pfiflow.endpoints.imap_mailbox import encode_folder
from pfiflow.simulators.imap.fetch import flag_list
from pfiflow.simulators.imap.state import Refused, State, View
from pfiflow.simulators.imap.syntax import Cursor, Malformed, string
from pfiflow.simulators.mailboxes import INBOX, Folder

__all__ = [
    "append", "create", "delete", "examine", "list_", "lsub", "named", "read_name", "rename", "select", "status",
    "subscribe", "unsubscribe",
]  # fmt: skip

_STATUS = ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN")
_LONGEST_NAME = 200


def read_name(cursor: Cursor) -> str:
    """A folder's name, from modified UTF-7 (RFC 3501 §5.1.3). Raises Malformed."""
    raw = cursor.astring()
    try:
        name = re.sub("&([^-]*)-", _decode_run, raw.decode("ascii"))
    except (UnicodeDecodeError, binascii.Error):
        raise Malformed("a folder's name is modified UTF-7") from None
    return INBOX if name.upper() == INBOX else name


def _decode_run(match: re.Match[str]) -> str:
    packed = match[1].replace(",", "/")
    return binascii.a2b_base64(packed + "=" * (-len(packed) % 4)).decode("utf-16-be") if packed else "&"


def named(state: State, name: str, code: str = "NONEXISTENT") -> Folder:
    """The folder of that name. Raises Refused."""
    folder = state.opened.folders.get(name)
    if folder is None:
        raise Refused(f"[{code}] there is no such folder")
    return folder


def _written(name: str) -> str:
    """A folder's name as it is answered: an atom where it can be one."""
    encoded = encode_folder(name)
    return encoded if re.fullmatch(r"[^ (){%*\"\\\]]+", encoded) else string(encoded.encode("ascii")).decode("ascii")


def select(state: State, cursor: Cursor) -> str:
    """SELECT."""
    return _open(state, cursor, read_only=False)


def examine(state: State, cursor: Cursor) -> str:
    """EXAMINE."""
    return _open(state, cursor, read_only=True)


def _open(state: State, cursor: Cursor, *, read_only: bool) -> str:
    name = read_name(cursor)
    cursor.end()
    if state.view is not None:
        state.say("OK [CLOSED] the former folder")
    state.view = None  # also when it fails (RFC 3501 §6.3.1)
    view = View(named(state, name), read_only)
    folder = view.folder
    flags = flag_list(view.flags).decode("ascii")
    permanent = "()" if read_only else view.permanent
    state.say(f"FLAGS {flags}")
    state.say(f"OK [PERMANENTFLAGS {permanent}] kept")
    state.say(f"{len(view.told)} EXISTS")
    state.say(f"{len(view.recent)} RECENT")
    unseen = [n for n, mail in enumerate(folder.mails.values(), 1) if r"\Seen" not in mail.flags]
    if unseen:
        state.say(f"OK [UNSEEN {unseen[0]}] first unseen")
    state.say(f"OK [UIDVALIDITY {folder.uidvalidity}] UIDs valid")
    state.say(f"OK [UIDNEXT {folder.next_uid}] next UID")
    state.view = view
    return "[READ-ONLY] opened" if read_only else "[READ-WRITE] opened"


def create(state: State, cursor: Cursor) -> str:
    """CREATE."""
    name = read_name(cursor).rstrip(".")
    cursor.end()
    _check_new(state, name)
    state.opened.folders[name] = state.mailboxes.new_folder()
    return "made"


def _check_new(state: State, name: str) -> None:
    if "/" in name or not name.isprintable() or not 0 < len(name) < _LONGEST_NAME or ".." in f".{name}.":
        raise Refused("[CANNOT] not a name for a folder")
    if name in state.opened.folders:
        raise Refused("[ALREADYEXISTS] it exists")


def delete(state: State, cursor: Cursor) -> str:
    """DELETE. Sessions that have it selected keep what they had (RFC 2180 §3.2)."""
    name = read_name(cursor)
    cursor.end()
    named(state, name)
    if name == INBOX:
        raise Refused("[CANNOT] INBOX stays")
    del state.opened.folders[name]
    return "deleted"


def rename(state: State, cursor: Cursor) -> str:
    """RENAME; not of INBOX, and not of what lies below."""
    old = read_name(cursor)
    cursor.space()
    new = read_name(cursor)
    cursor.end()
    folder = named(state, old)
    if old == INBOX:
        raise Refused("[CANNOT] INBOX stays")
    _check_new(state, new)
    del state.opened.folders[old]
    state.opened.folders[new] = folder
    return "renamed"


def subscribe(state: State, cursor: Cursor) -> str:
    """SUBSCRIBE."""
    name = read_name(cursor)
    cursor.end()
    named(state, name)
    state.opened.subscribed.add(name)
    return "subscribed"


def unsubscribe(state: State, cursor: Cursor) -> str:
    """UNSUBSCRIBE."""
    name = read_name(cursor)
    cursor.end()
    state.opened.subscribed.discard(name)
    return "unsubscribed"


def list_(state: State, cursor: Cursor) -> str:
    """LIST."""
    return _list(state, cursor, "LIST", sorted(state.opened.folders))


def lsub(state: State, cursor: Cursor) -> str:
    """LSUB."""
    return _list(state, cursor, "LSUB", sorted(state.opened.subscribed))


def _list(state: State, cursor: Cursor, kind: str, names: list[str]) -> str:
    reference = cursor.astring()
    cursor.space()
    pattern = cursor.pattern()
    cursor.end()
    if not pattern:
        state.say(rf'{kind} (\Noselect) "." ""')
        return "done"
    expression = re.escape((reference + pattern).decode("ascii", "replace"))
    matching = re.compile(expression.replace(r"\*", ".*").replace("%", r"[^.]*"))
    for name in names:
        encoded = encode_folder(name)
        if matching.fullmatch(encoded) or (name == INBOX and matching.fullmatch(INBOX.lower())):
            children = r"\HasChildren" if any(each.startswith(f"{name}.") for each in names) else r"\HasNoChildren"
            state.say(f'{kind} ({children if kind == "LIST" else ""}) "." {_written(name)}')
    return "done"


def status(state: State, cursor: Cursor) -> str:
    """STATUS."""
    name = read_name(cursor)
    cursor.space()
    items = [cursor.atom() for _ in cursor.each()]
    cursor.end()
    folder = named(state, name)
    values = {
        "MESSAGES": len(folder.mails),
        "RECENT": sum(uid >= folder.told_recent for uid in folder.mails),
        "UIDNEXT": folder.next_uid,
        "UIDVALIDITY": folder.uidvalidity,
        "UNSEEN": sum(r"\Seen" not in mail.flags for mail in folder.mails.values()),
    }
    if not items or not set(items) <= set(_STATUS):
        raise Malformed("STATUS gives " + " ".join(_STATUS))
    told = " ".join(f"{item} {values[item]}" for item in items)
    state.say(f"STATUS {_written(name)} ({told})")
    return "done"


def append(state: State, cursor: Cursor) -> str:
    """APPEND."""
    name = read_name(cursor)
    cursor.space()
    flags: list[str] = []
    if cursor.ahead(b"("):
        flags = [cursor.flag() for _ in cursor.each()]
        cursor.space()
    received = None
    if cursor.ahead(b'"'):
        try:
            received = datetime.strptime(cursor.astring().decode("ascii", "replace").strip(), "%d-%b-%Y %H:%M:%S %z")
        except ValueError:
            raise Malformed("a date and time is expected") from None
        cursor.space()
    content = cursor.literal()
    cursor.end()
    folder = named(state, name, "TRYCREATE")
    mail = folder.add(content, flags, received)
    return f"[APPENDUID {folder.uidvalidity} {mail.uid}] appended" if "UIDPLUS" in state.policy.extensions else "done"
