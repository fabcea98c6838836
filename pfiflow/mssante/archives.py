"""Where the XDM archives of a mail are: recognised by content, never by name or type alone (ITI-32; volet LPS)."""

from __future__ import annotations

import re
import struct
from typing import Final, Literal

from attrs import field, frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante.classification import answer_kind, is_encrypted, is_tnef
from pfiflow.mssante.headers import addresses, message_ids
from pfiflow.mssante.parts import Limits, Part

__all__ = ["MAX_FORWARDS", "Forwarded", "FoundArchive", "Search", "search"]

MAX_FORWARDS: Final = 3
"""How many mails deep an archive is looked for."""

_RULE: Final = "REM SC.MSS/CONF.23"
_END: Final = b"PK\x05\x06"
_DIRECTORY: Final = 1_048_576  # bytes of a zip's directory that are looked at
_HEAD: Final = 65_536
_FOLDER: Final = re.compile(rb"ihe_xdm[/\\]")
_NAMED: Final = re.compile(r"ihe[_ -]?xdm.*\.zip", re.IGNORECASE)


def _size(content: bytes) -> str:
    return f"<{len(content)} bytes>"


@frozen(repr=False)
class Forwarded:
    """The mail in which an archive was enclosed, as it says itself: nothing vouches for it."""

    message_id: str
    sender: str
    reply_to: str
    recipients: tuple[str, ...]
    subject: str

    def __repr__(self) -> str:
        return "<Forwarded>"


@frozen
class FoundArchive:
    """One XDM archive: its bytes, the name that it had, how many mails deep it was, and in which."""

    content: bytes = field(repr=_size)
    name: str = field(repr=False)
    depth: int = 0
    carrier: Forwarded | None = None  # None: attached to the mail itself


@frozen
class Search:
    """What looking for archives gave. Identical archives are found once, where they stand highest."""

    archives: tuple[FoundArchive, ...]
    problems: tuple[Problem, ...]
    sealed: bool = False  # something is encrypted
    claims_archive: bool = False  # an attachment calls itself IHE_XDM.zip and is none


def search(top: Part, limits: Limits) -> Search:
    """The archives among the attachments of `top`, and among those of the mails enclosed in it, MAX_FORWARDS deep."""
    finder = _Finder(limits)
    finder.look(top, 0, None)
    distinct: list[FoundArchive] = []
    for found in finder.archives:
        if all(found.content != other.content for other in distinct):
            distinct.append(found)
    if len(distinct) > 1:
        message = f"{len(distinct)} different XDM archives in one mail: none is processed; send one archive a mail"
        finder.problems.append(Problem("207", message, "attachments", rule=_RULE, detail_code="906"))
    return Search(tuple(distinct), tuple(finder.problems), finder.sealed, finder.claims)


def archive_kind(data: bytes) -> Literal["xdm", "zip", ""]:
    """`xdm`: a zip with an IHE_XDM folder, complete or not; `zip`: any other zip; "": no zip at all."""
    if not data.startswith(b"PK\x03\x04"):
        return ""
    end = data.rfind(_END, max(0, len(data) - 65_557))
    directory = data[:_HEAD]
    if 0 <= end <= len(data) - 22:
        size, offset = struct.unpack_from("<LL", data, end + 12)
        directory = data[offset : offset + min(size, _DIRECTORY)] or directory
    return "xdm" if _FOLDER.search(directory.lower()) else "zip"


class _Finder:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.archives: list[FoundArchive] = []
        self.problems: list[Problem] = []
        self.sealed = False
        self.claims = False
        self._messages = 0

    def look(self, top: Part, depth: int, carrier: Forwarded | None) -> None:
        """Attachments first, then the enclosed mails: so that the highest copy of an archive is the one kept."""
        enclosed: list[Part] = []
        if is_encrypted(top):
            self.sealed = True
            return
        for part in top.leaves():
            if part.is_message:
                enclosed.append(part)
            elif part.starts_like_zip():
                self._zip(part, depth, carrier)
            elif _NAMED.fullmatch(part.name):
                self._claim("the attachment that is named as an XDM archive is no zip: it is damaged, send it again")
            elif is_encrypted(part):
                self.sealed = True
            elif is_tnef(part):
                message = "an Outlook winmail.dat (TNEF), which hides the attachments: send it again as a MIME mail"
                self._note(message, "attachments")
        for part in enclosed:
            self._forward(part, depth + 1)

    def _zip(self, part: Part, depth: int, carrier: Forwarded | None) -> None:
        content = part.content()
        kind = archive_kind(content)
        if kind == "xdm":
            self.archives.append(FoundArchive(content, part.name, depth, carrier))
        elif _NAMED.fullmatch(part.name):
            self._claim("the attachment that is named as an XDM archive has no IHE_XDM folder: it is damaged or empty")

    def _forward(self, part: Part, depth: int) -> None:
        self._messages += 1
        if depth > MAX_FORWARDS:
            self._note(f"a mail is enclosed more than {MAX_FORWARDS} deep; what it holds was not looked at", "enclosed")
            return
        if self._messages > self._limits.parts:
            return
        try:
            inner = part.enclosed(self._limits)
        except Rejected as error:
            self.problems.extend(error.problems)
            return
        answer = answer_kind(inner)
        if answer is not None:
            message = f"an enclosed mail is an answer ({answer}); what it returns is not processed again"
            self.problems.append(Problem("207", message, "enclosed", severity="warning", rule="volet LPS 1.1.3"))
            return
        self.look(inner, depth, _carrier(inner))

    def _claim(self, message: str) -> None:
        self.claims = True
        self._note(message, "attachments", rule="ITI-32")

    def _note(self, message: str, where: str, *, rule: str = "") -> None:
        self.problems.append(Problem("207", message, where, rule=rule, detail_code="906"))


def _carrier(top: Part) -> Forwarded:
    fields = top.headers
    sender, reply_to = addresses(fields.text("from")), addresses(fields.text("reply-to"))
    ids = message_ids(fields.text("message-id"))
    return Forwarded(
        message_id=ids[0] if ids else "",
        sender=sender[0].address if sender else "",
        reply_to=reply_to[0].address if reply_to else "",
        recipients=tuple(each.address for name in ("to", "cc") for each in addresses(fields.text(name))),
        subject=fields.get("subject"),
    )
