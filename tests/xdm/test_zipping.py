from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.xdm.zipping import write_zip

NAMES = st.from_regex(r"[A-Z]{1,8}/[A-Z0-9]{1,8}\.[A-Z]{3}", fullmatch=True)
STAMP = (2025, 12, 31, 23, 59, 58)


@given(st.dictionaries(NAMES, st.binary(max_size=3000), max_size=5), st.sampled_from([0, 1, 6]))
def test_zipfile_reads_what_was_written(members: dict[str, bytes], level: int) -> None:
    with zipfile.ZipFile(io.BytesIO(write_zip(members.items(), STAMP, level=level))) as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == members
        assert [info.filename for info in archive.infolist()] == list(members)
        assert all(info.date_time == STAMP and info.create_system == 3 for info in archive.infolist())


@pytest.mark.parametrize("level", [0, 2, 6])
def test_same_bytes_as_zipfile(level: int) -> None:
    members = {"README.TXT": b"hello " * 100, "IHE_XDM/SUBSET01/DOC00001.XML": bytes(range(256)) * 50}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, STAMP)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED, level)
    assert write_zip(members.items(), STAMP, level=level) == buffer.getvalue()


def test_deflates_at_the_default_level() -> None:
    data = b"PAT-TROIS" * 10_000
    archive = write_zip([("A.TXT", data)], STAMP)
    assert len(archive) < len(data) // 20
    assert archive == write_zip([("A.TXT", data)], STAMP)
