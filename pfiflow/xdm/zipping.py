"""A zip written by joining bytes: few members, all in memory, no Zip64. Reading one is `container.py`, with more care.

`zipfile` can only deflate with zlib, which is two thirds of the CPU of sending a document; ISA-L does the same work in
a tenth of the time, and 3 % larger at most.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final

from isal import isal_zlib

__all__ = ["FASTEST", "write_zip"]

FASTEST: Final = 1
"""Level of ISA-L. Measured on the official documents: 0.4 ms where zlib takes 6 at level 1, and as small as its 6."""

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_VERSION: Final = 20  # needed to extract: deflate
_UNIX: Final = 3 << 8  # made by Unix, whatever the platform: the same bytes everywhere
_REGULAR_FILE: Final = 0o100644 << 16
_STORED, _DEFLATED = 0, 8
_LARGEST: Final = 0xFFFF_FFFF


def write_zip(
    members: Iterable[tuple[str, bytes]], stamp: tuple[int, int, int, int, int, int], *, level: int = FASTEST
) -> bytes:
    """An archive of regular files, in this order.

    Args:
        members: name (ASCII, `/` between folders) and bytes of each.
        stamp: year (1980 to 2107), month, day, hour, minute, second: the modification time of all.
        level: 0 stores, 1 deflates by ISA-L, 2 to 9 by zlib at that level.

    Raises:
        ValueError: a member or the whole has 4 GiB or more.
    """
    year, month, day, hour, minute, second = stamp
    moment = (hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day)
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name, data in members:
        encoded = name.encode("ascii")
        content = _deflated(data, level) if level else data
        if max(len(data), offset + len(content) + len(encoded) + _LOCAL.size) > _LARGEST:
            raise ValueError("an archive without Zip64 holds less than 4 GiB")
        facts = (*moment, isal_zlib.crc32(data), len(content), len(data), len(encoded))
        method = _DEFLATED if level else _STORED
        local = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, method, *facts, 0)
        directory.append(
            _CENTRAL.pack(
                b"PK\x01\x02", _UNIX | _VERSION, _VERSION, 0, method, *facts, 0, 0, 0, 0, _REGULAR_FILE, offset
            )
        )
        directory.append(encoded)
        parts += (local, encoded, content)
        offset += len(local) + len(encoded) + len(content)
    number = len(directory) // 2
    end = _END.pack(b"PK\x05\x06", 0, 0, number, number, sum(map(len, directory)), offset, 0)
    return b"".join((*parts, *directory, end))


def _deflated(data: bytes, level: int) -> bytes:
    make = isal_zlib.compressobj if level == FASTEST else zlib.compressobj
    compressor = make(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join((compressor.compress(data), compressor.flush()))
