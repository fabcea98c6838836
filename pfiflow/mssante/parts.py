"""The MIME structure of a mail (RFC 2045, 2046), as windows on its bytes: nothing is copied until it is asked.

The standard library parses a 25 MB mail into ten times its size of `str` lines, reads a base64 `message/rfc822` as an
empty message, and keeps only the first block of a `message/global-delivery-status`. Here a part is two offsets.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final

import pybase64
from attrs import evolve, field, frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.mssante import headers
from pfiflow.mssante.headers import Headers

__all__ = ["Limits", "Part", "outline", "parse"]

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
_GUESS: Final = re.compile(rb"(?:^|\n)--([!-~](?:[!-~ ]{0,68}[!-~])?)[ \t]*\r?\n(?=[A-Za-z-]{1,60}:)")
_GUESS_WITHIN: Final = 65_536
_MOST_WINDOWS: Final = 1_000  # cut in one multipart; the budget of parts refuses them before they are read
_BASE64_ZIP: Final = b"UEsDB"
_ZIP: Final = b"PK\x03\x04"
_MESSAGES: Final = frozenset({"message/rfc822", "message/global", "message/news"})


@frozen
class Limits:
    """What `parse` takes: parts in all, and how deep multiparts nest."""

    parts: int = 200
    depth: int = 10


@frozen(eq=False, repr=False)
class Part:
    """One entity: its headers, and where its body stands in `data`."""

    data: bytes
    begin: int  # of the headers
    start: int  # of the body
    end: int
    headers: Headers
    media_type: str
    parameters: Mapping[str, str]
    encoding: str  # Content-Transfer-Encoding, lower case
    disposition: str  # attachment, inline, or ""
    name: str  # file name, "" when there is none
    parts: tuple[Part, ...] = field(default=())
    guessed: bool = False  # the boundary was not declared: the structure is a guess

    def __repr__(self) -> str:
        return f"<Part {self.media_type} of {self.end - self.start} bytes>"

    @property
    def is_message(self) -> bool:
        """A whole mail in a mail."""
        return self.media_type in _MESSAGES

    def leaves(self) -> Iterator[Part]:
        """The parts that are no multipart, in order; enclosed mails are leaves: nothing descends into them."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def raw(self) -> memoryview:
        """The entity as written, headers included."""
        return memoryview(self.data)[self.begin : self.end]

    def content(self) -> bytes:
        """The body, decoded. Base64 is read past line breaks and foreign characters, its missing padding supplied.

        A zip written in base64 without saying so is decoded too. An unknown encoding is taken as none.
        """
        body = memoryview(self.data)[self.start : self.end]
        if self._is_base64():
            return _base64(body)
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(body)
        return bytes(body)

    def starts_like_zip(self) -> bool:
        """Whether the decoded body begins with the mark of a zip: cheap, whatever its size."""
        head = self.data[self.start : min(self.end, self.start + 200)].lstrip()
        return head.startswith((_BASE64_ZIP, _ZIP, b"PK=03=04"))

    def enclosed(self, limits: Limits | None = None) -> Part:
        """The mail that a `message/rfc822` part holds, base64 or not. Raises Rejected as `parse` does."""
        body_is_headers = headers.parse(self.data, self.start, min(self.end, self.start + 2_000))[0].fields
        if self.encoding in {"base64", "quoted-printable"} and not body_is_headers:
            return parse(self.content(), limits=limits)
        return _parse(self.data, self.start, self.end, _Budget(limits or Limits()), 0, "text/plain")

    def _is_base64(self) -> bool:
        if self.encoding == "base64":
            return True
        return self.data[self.start : min(self.end, self.start + 200)].lstrip().startswith(_BASE64_ZIP)


def parse(data: bytes, *, limits: Limits | None = None) -> Part:
    """The structure of a mail.

    Raises:
        Rejected: more parts, or deeper, than the limits.
    """
    return _parse(data, 0, len(data), _Budget(limits or Limits()), 0, "text/plain")


def outline(data: bytes) -> Part:
    """The mail's own headers, its body unopened: what is left of a mail that `parse` refuses."""
    return _part(data, 0, len(data), "text/plain")


class _Budget:
    """How many parts may still come."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._left = limits.parts

    def spend(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > self.limits.depth:
            limits = self.limits
            what = f"nests deeper than {limits.depth}" if self._left >= 0 else f"has over {limits.parts} parts"
            raise Rejected(Problem("207", f"the mail {what}: open it by hand", "MIME", rule="RFC 2046"))


def _parse(data: bytes, begin: int, end: int, budget: _Budget, depth: int, default: str) -> Part:
    budget.spend(depth)
    part = _part(data, begin, end, default)
    if not part.media_type.startswith("multipart/"):
        return part
    start = part.start
    windows = _split(data, start, end, part.parameters.get("boundary", "").encode("utf-8", "replace"))
    guess = None if windows else _GUESS.search(data, max(start - 1, 0), min(end, start + _GUESS_WITHIN))
    if guess is not None:
        windows = _split(data, start, end, guess[1])
    inner = "message/rfc822" if part.media_type == "multipart/digest" else "text/plain"
    parts = tuple(_parse(data, first, last, budget, depth + 1, inner) for first, last in windows)
    return evolve(part, parts=parts, guessed=guess is not None)


def _part(data: bytes, begin: int, end: int, default: str) -> Part:
    fields, start = headers.parse(data, begin, end)
    media_type, parameters = headers.parameters(fields.text("content-type"))
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        media_type = default
    disposition, details = headers.parameters(fields.text("content-disposition"))
    name = details.get("filename") or parameters.get("name") or ""
    return Part(
        data=data,
        begin=begin,
        start=start,
        end=end,
        headers=fields,
        media_type=media_type,
        parameters=parameters,
        encoding=fields.text("content-transfer-encoding").partition(";")[0].strip().lower(),
        disposition=disposition,
        name=" ".join(name.replace("\\", "/").rpartition("/")[2].split())[:250],
    )


def _split(data: bytes, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
    """The windows between boundary lines. The line break before a boundary belongs to it; the last one may be lost."""
    if not 0 < len(boundary) <= 200:
        return []
    # The pattern begins with literals, which makes the search as fast as find(); a body's first line has its own break.
    line = re.compile(rb"\n--" + re.escape(boundary) + rb"(--)?[ \t]*\r?(?=\n|\Z)")
    windows: list[tuple[int, int]] = []
    opened = -1
    search_from = start - 1 if start and data[start - 1 : start] == b"\n" else start
    first = re.compile(rb"--" + re.escape(boundary) + rb"(--)?[ \t]*\r?(?=\n|\Z)").match(data, start, end)
    if first is not None and search_from == start:
        opened = min(first.end() + 1, end)
    for match in line.finditer(data, search_from, end):
        stop = match.start()
        if opened >= 0:
            if stop > opened and data[stop - 1 : stop] == b"\r":
                stop -= 1
            windows.append((opened, max(stop, opened)))
        opened = -1 if match[1] else min(match.end() + 1, end)
        if match[1] or len(windows) > _MOST_WINDOWS:
            break
    if opened >= 0 and opened < end:
        windows.append((opened, end))
    return windows


def _base64(body: memoryview) -> bytes:
    try:
        return pybase64.b64decode(body)  # ten times as fast as binascii, which takes longer than all else here
    except binascii.Error:
        bare = re.sub(rb"[^A-Za-z0-9+/]+", b"", body)
        return binascii.a2b_base64(bare[: len(bare) - (len(bare) % 4 == 1)] + b"==")
