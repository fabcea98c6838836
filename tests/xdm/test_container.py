"""Hostile and damaged zips: each refused for its own reason."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow import xdm
from pfiflow.errors import Rejected
from pfiflow.xdm.container import Container
from pfiflow.xdm.values import Limits
from tests.xdm.builders import FOLDER, directory_records, members, packed, patched, zipped

GOOD = packed()
DOCUMENT = 3  # the record of DOC00001.XML


def with_entry(name: str, *, mode: int = 0, data: bytes = b"x") -> bytes:
    info = zipfile.ZipInfo(name)
    info.filename = name  # ZipInfo normalises; hostile writers do not
    info.external_attr = mode << 16
    return zipped([*members(GOOD).items(), (info, data)])


def refusal(data: bytes, limits: Limits | None = None) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        xdm.unpack(data, limits=limits)
    (problem,) = caught.value.problems
    assert problem.code == "207"
    return problem.message, problem.location


@pytest.mark.parametrize("name", ["/etc/passwd", "\\\\server\\share\\a", "C:\\a.xml", "c:a.xml", "\\a"])
def test_absolute_paths(name: str) -> None:
    assert refusal(with_entry(name)) == ("the path is absolute", "entry 5")


@pytest.mark.parametrize("name", ["../a", "IHE_XDM/../../a", "a\\..\\..\\b", ".."])
def test_climbing_paths(name: str) -> None:
    assert refusal(with_entry(name)) == ("the path climbs out of its folder", "entry 5")


def test_control_characters_in_a_name() -> None:
    message, where = refusal(with_entry("A\n.XML"))
    assert "control characters" in message
    assert where == "entry 5"
    nul = with_entry("DUPONT_JEANNE").replace(b"DUPONT_JEANNE", b"A.XML\x00JEANNE\x00")
    assert "control characters" in refusal(nul)[0]


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices(mode: int) -> None:
    message, where = refusal(with_entry("LINK.XML", mode=mode))
    assert "regular file" in message
    assert where == "LINK.XML"


@pytest.mark.parametrize(
    "name",
    [
        FOLDER + "DOC00001.XML",
        FOLDER.lower() + "doc00001.xml",
        "IHE_XDM\\SUBSET01\\DOC00001.XML",
        "./IHE_XDM//SUBSET01/DOC00001.XML",
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(name: str) -> None:
    assert refusal(with_entry(name))[0] == "the name occurs twice, case aside"


def test_a_name_that_may_hold_an_identity_is_not_shown() -> None:
    with pytest.raises(Rejected) as caught:
        xdm.unpack(with_entry("Compte rendu DUPONT Jeanne.pdf", mode=stat.S_IFLNK))
    assert "DUPONT" not in str(caught.value)
    assert "entry 5" in str(caught.value)


def test_encryption() -> None:
    encrypted = patched(GOOD, DOCUMENT, "<H", 8, 0x1)
    assert refusal(encrypted) == ("the member is encrypted", FOLDER + "DOC00001.XML")


def test_another_compression() -> None:
    data = zipped(members(GOOD).items(), method=zipfile.ZIP_BZIP2)
    with pytest.raises(Rejected, match="compression method 12"):
        xdm.unpack(data)


def test_too_many_entries() -> None:
    data = zipped([*members(GOOD).items(), *((f"F{n}.TXT", b"") for n in range(10))])
    assert refusal(data, Limits(entries=13)) == ("14 entries, more than the 13 accepted", "")
    assert xdm.unpack(data, limits=Limits(entries=14))


def test_a_directory_too_long_to_look_at() -> None:
    data = zipped((f"{n:05}{'x' * 200}", b"") for n in range(2000))
    assert "directory of" in refusal(data)[0]


def test_sizes_declared() -> None:
    size = len(members(GOOD)[FOLDER + "DOC00001.XML"])
    with pytest.raises(Rejected, match="more than the 100 accepted"):
        xdm.unpack(GOOD, limits=Limits(entry_size=100))
    with pytest.raises(Rejected, match="bytes in all"):
        xdm.unpack(GOOD, limits=Limits(total_size=size))
    with pytest.raises(Rejected, match=r"METADATA\.XML"):
        xdm.unpack(GOOD, limits=Limits(metadata_size=100))


def test_a_bomb_that_lies_about_its_size() -> None:
    """A member that declares 10 bytes and would inflate to 50 million never inflates further than it declares."""
    bomb = zipped([("IHE_XDM/SUBSET01/METADATA.XML", bytes(50_000_000))])
    lying = patched(bomb, 0, "<L", 24, 10)
    message, where = refusal(lying)
    assert "made to deceive" in message
    assert where == "IHE_XDM/SUBSET01/METADATA.XML"


def test_an_honest_bomb() -> None:
    bomb = zipped([*members(GOOD).items(), *((f"B{n}.BIN", bytes(40_000_000)) for n in range(4))])
    assert len(bomb) < 1_000_000
    assert "bytes in all" in refusal(bomb)[0]


def test_metadata_may_compress_well() -> None:
    files = members(GOOD)
    files[FOLDER + "METADATA.XML"] += b"\n" * 1_000_000
    assert xdm.unpack(zipped(files.items())).warnings == ()


def test_overlapping_entries() -> None:
    offset = struct.unpack_from("<L", GOOD, directory_records(GOOD)[2] + 42)[0]
    overlapping = patched(GOOD, DOCUMENT, "<L", 42, offset)
    with pytest.raises(Rejected, match="overlap"):
        xdm.unpack(overlapping)


def test_an_entry_beyond_the_archive() -> None:
    with pytest.raises(Rejected, match="beyond"):
        xdm.unpack(patched(GOOD, DOCUMENT, "<L", 42, len(GOOD) + 5))


def test_a_damaged_member() -> None:
    damaged = bytearray(GOOD)
    start = struct.unpack_from("<L", GOOD, directory_records(GOOD)[DOCUMENT] + 42)[0]
    damaged[start + 30 + len(FOLDER + "DOC00001.XML") + 5] ^= 0xFF
    message, where = refusal(bytes(damaged))
    assert "cannot be inflated" in message
    assert where == FOLDER + "DOC00001.XML"


def test_a_wrong_checksum() -> None:
    assert "cannot be inflated" in refusal(patched(GOOD, DOCUMENT, "<L", 16, 0))[0]


@pytest.mark.parametrize(
    "data", [b"", b"PK\x05\x06", b"not a zip" * 10, GOOD[:-30], GOOD[: len(GOOD) // 2], b"PK\x05\x06" + bytes(18)]
)
def test_no_archive_at_all(data: bytes) -> None:
    with pytest.raises(Rejected):
        xdm.unpack(data)


def test_zip64_is_not_needed() -> None:
    end = GOOD.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(16)
    assert "Zip64" in refusal(GOOD[:end] + locator + GOOD[end:])[0]


def test_what_stands_before_and_after_the_archive_is_tolerated() -> None:
    assert xdm.unpack(b"prefix" + GOOD).documents
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"a comment"
    assert xdm.unpack(buffer.getvalue()).documents


def test_every_fault_at_once() -> None:
    data = zipped([*members(GOOD).items(), ("../a", b""), ("/b", b"")])
    with pytest.raises(Rejected) as caught:
        xdm.unpack(data)
    assert len(caught.value.problems) == 2


def test_inflated_bytes_are_counted_over_all_reads() -> None:
    container = Container(GOOD, Limits(total_size=sum(map(len, members(GOOD).values()))))
    member = container.members["readme.txt"]
    with pytest.raises(Rejected, match="inflated"):
        for _ in range(100):
            container.read(member)


@settings(max_examples=400)
@given(st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(GOOD)
    records = directory_records(GOOD)
    near = st.sampled_from([*records, len(GOOD) - 22]).flatmap(lambda at: st.integers(at, min(at + 50, len(GOOD) - 1)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(near | st.integers(0, len(GOOD) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if kind == "set":
            changed[min(at, len(changed) - 1)] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del changed[at : at + data.draw(st.integers(1, 30))]
        else:
            changed[at:at] = data.draw(st.binary(max_size=20))
        if not changed:
            return
    with contextlib.suppress(Rejected):  # anything else is a defect
        xdm.unpack(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        xdm.unpack(data)


def test_a_deflate_stream_that_goes_on() -> None:
    """Bytes after the end of the stream are not a second document."""
    files = members(GOOD)
    data = zipped(files.items())
    record = directory_records(data)[DOCUMENT]
    start, size = struct.unpack_from("<L", data, record + 42)[0], struct.unpack_from("<L", data, record + 20)[0]
    body = start + 30 + len(FOLDER + "DOC00001.XML")
    assert zlib.decompress(data[body : body + size], -15) == files[FOLDER + "DOC00001.XML"]
    padded = bytearray(data[: body + size] + b"junk" + data[body + size :])
    for offset in (start + 18, record + 4 + 20):
        struct.pack_into("<L", padded, offset, size + 4)
    struct.pack_into("<L", padded, padded.rindex(b"PK\x05\x06") + 16, directory_records(data)[0] + 4)
    assert next(iter(xdm.unpack(bytes(padded)).documents.values())) == files[FOLDER + "DOC00001.XML"]
