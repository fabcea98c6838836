"""A zip from outside, read with care: nothing is written, nothing inflated unasked or past its bounds.

`zipfile` reads the directory; this module decides what may be trusted of it. A member's location in a problem is its
name only where that name is in the ISO 9660 alphabet, else its number: names may hold identities.
"""

from __future__ import annotations

import contextlib
import copy
import io
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from attrs import frozen

from pfiflow.errors import Problem, Rejected
from pfiflow.xdm.values import Limits

__all__ = ["Container", "DamagedMember", "Member", "problem"]

_END: Final = b"PK\x05\x06"
_END_SIZE: Final = 22
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_LOCAL_HEADER: Final = 30
_AVERAGE_RECORD: Final = 1_024  # bytes of a directory record, name included: ours take 76
_AHEAD: Final = 16_384  # bytes: zipfile inflates up to 4 096 more than it is asked for
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,31}(?:/[A-Za-z0-9_.-]{1,31}){0,7}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_DRIVE: Final = re.compile("[A-Za-z]:")
_FAULTS: Final = (
    BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, IndexError, struct.error, zlib.error,
)  # fmt: skip


@frozen
class Member:
    """One file of the archive: its path with `/`, as written, and how to speak of it."""

    path: str
    where: str
    info: ZipInfo

    @property
    def key(self) -> str:
        """The path for comparison: file names of an archive are the same in any case."""
        return self.path.casefold()


class DamagedMember(Rejected):
    """The bytes of one member are not what they were: of the others that says nothing."""


def problem(message: str, where: str = "", *, rule: str = "ITI-32", warning: bool = False) -> Problem:
    """A problem of an archive: ERR-3 207, application error."""
    return Problem("207", message, where, severity="warning" if warning else "error", rule=rule)


class Container:
    """The members of a zip, checked; their bytes on demand.

    Raises:
        Rejected: not a zip, or one with anything that an XDM archive has no need for: too many or too large entries,
            encryption, links and devices, absolute or climbing paths, one name twice, overlapping entries, Zip64, a
            compression other than deflate. Every problem at once.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._limits = limits
        self._inflated = 0
        self._zip = _open(data, limits)
        infos = self._zip.infolist()
        if len(infos) > limits.entries:
            raise Rejected(problem(f"{len(infos)} entries, more than the {limits.entries} accepted"))
        problems = [*_overlaps(infos, data)]
        members: dict[str, Member] = {}
        for number, info in enumerate(infos, 1):
            path, fault = _path(info)
            where = path if _PLAIN.fullmatch(path) else f"entry {number}"
            if fault := fault or _fault(info, limits):
                problems.append(problem(fault, where))
            elif path and not info.orig_filename.endswith(("/", "\\")):
                member = Member(path, where, info)
                if member.key in members:
                    problems.append(problem("the name occurs twice, case aside", where))
                members[member.key] = member
        total = sum(info.file_size for info in infos)
        if total > limits.total_size:
            problems.append(problem(f"{total} bytes in all, more than the {limits.total_size} accepted"))
        if problems:
            raise Rejected(*problems)
        self.members: Mapping[str, Member] = members

    def read(self, member: Member, *, longest: int | None = None) -> bytes:
        """The bytes of a member: no more of them than declared, than `longest`, than the limits are ever inflated.

        Raises:
            DamagedMember: it cannot be inflated, or what comes out is not what the archive declares (size, CRC).
            Rejected: a limit is passed, or more would come out than the archive declares: it is made to deceive.
        """
        longest = min(self._limits.entry_size, longest if longest is not None else self._limits.entry_size)
        if member.info.file_size > longest:
            raise Rejected(problem(f"{member.info.file_size} bytes, more than the {longest} accepted", member.where))
        # zipfile never gives more than the declared size; inflating one byte more is what verifies the CRC.
        fault = ""
        data = b""
        try:
            with self._zip.open(member.info) as stream:
                data = stream.read(longest + 1)
        except _FAULTS:
            fault = "the member cannot be inflated: it is damaged"
        if fault and self._goes_on(member):
            message = "the member inflates to more than the directory declares: an archive made to deceive"
            raise Rejected(problem(message, member.where, rule="zip"))
        if fault or len(data) != member.info.file_size:
            raise DamagedMember(problem(fault or "the member is shorter than declared", member.where, rule="zip"))
        self._inflated += len(data)
        if self._inflated > self._limits.total_size:
            raise Rejected(problem(f"more than {self._limits.total_size} bytes inflated", member.where))
        return data

    def _goes_on(self, member: Member) -> bool:
        """Whether more comes out than declared; little more than that is inflated to know."""
        longer = copy.copy(member.info)
        longer.file_size += _AHEAD  # the checksum is compared at the declared end, which is so not reached
        with contextlib.suppress(*_FAULTS), self._zip.open(longer) as stream:
            return len(stream.read(member.info.file_size + 1)) > member.info.file_size
        return False


def _open(data: bytes, limits: Limits) -> ZipFile:
    # The end record is looked for as zipfile does, so that both speak of the same directory.
    end = len(data) - _END_SIZE
    if not (end >= 0 and data.startswith(_END, end) and data.endswith(b"\x00\x00")):
        end = data.rfind(_END, max(0, len(data) - 0xFFFF - _END_SIZE))
    if end < 0 or end + _END_SIZE > len(data):
        raise Rejected(problem("not a zip archive: no end of central directory", rule="zip"))
    if data.startswith(_ZIP64_LOCATOR, max(end - 20, 0)):
        raise Rejected(problem("a Zip64 archive, which XDM has no need for", rule="zip"))
    (directory_size,) = struct.unpack_from("<L", data, end + 12)
    if directory_size > limits.entries * _AVERAGE_RECORD:
        raise Rejected(problem(f"a directory of {directory_size} bytes, too long for {limits.entries} entries"))
    with contextlib.suppress(*_FAULTS):
        return ZipFile(io.BytesIO(data))
    raise Rejected(problem("not a readable zip archive: its directory is damaged", rule="zip"))


def _path(info: ZipInfo) -> tuple[str, str]:
    """The normalised path, and what is wrong with it ("" when nothing is). A path in doubt is never shown."""
    name = info.orig_filename.replace("\\", "/")
    if _CONTROL.search(name):
        return "", "the name holds control characters"
    if name.startswith("/") or _DRIVE.match(name):
        return "", "the path is absolute"
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        return "", "the path climbs out of its folder"
    return "/".join(parts), ""


def _fault(info: ZipInfo, limits: Limits) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "not a regular file: links and devices are refused"
    if info.flag_bits & _ENCRYPTED:
        return "the member is encrypted"
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        return f"compression method {info.compress_type}, neither stored nor deflated"
    if info.file_size > limits.entry_size:
        return f"{info.file_size} bytes, more than the {limits.entry_size} accepted"
    return ""


def _overlaps(infos: list[ZipInfo], data: bytes) -> Iterator[Problem]:
    starts = sorted((info.header_offset, info.compress_size) for info in infos)
    limits = (*(start for start, _ in starts[1:]), len(data))
    for (start, size), limit in zip(starts, limits, strict=False):  # one limit too many when there is no entry
        if 0 <= start <= len(data) - _LOCAL_HEADER:
            name, extra = struct.unpack_from("<HH", data, start + _LOCAL_HEADER - 4)
            if start + _LOCAL_HEADER + name + extra + size <= limit:
                continue
        yield problem("entries overlap, or reach beyond the archive", rule="zip")
        return
