"""Archives to read: ours, and hand-made ones."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable

from attrs import evolve

from pfiflow import xdm
from pfiflow.xds.from_cda import entry_uuid_of
from pfiflow.xds.metadata import SubmissionSet
from tests.xds.builders import DOCUMENT, RAW, entry_of, submission_of

SENDER = xdm.Sender("Dr <Martin> & Co", "CH des Charmes", "1 rue de la Paix\n75001 Paris", "01 02 03 04 05")
SOFTWARE = xdm.Software("pfiflow", "0.1.0", "pfiflow")
FOLDER = "IHE_XDM/SUBSET01/"
OTHER = b"<ClinicalDocument>other</ClinicalDocument>"


def submission(*raws: bytes, **options: str) -> SubmissionSet:
    """One submission of documents with these bytes."""
    entries = [
        evolve(entry_of(evolve(DOCUMENT, raw=raw)), entry_uuid=entry_uuid_of(str(number)), unique_id=f"1.2.{number}")
        for number, raw in enumerate(raws or (RAW,))
    ]
    return submission_of(*entries, **options)


def packed(*raws: bytes, **options: object) -> bytes:
    return xdm.pack(submission(*raws), raws or (RAW,), sender=SENDER, software=SOFTWARE, **options)  # type: ignore[arg-type]


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def directory_records(data: bytes) -> list[int]:
    """Offsets of the central directory records."""
    end = data.rindex(b"PK\x05\x06")
    count, _, at = struct.unpack_from("<HLL", data, end + 10)
    offsets = []
    for _ in range(count):
        offsets.append(at)
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + name + extra + comment
    return offsets


def patched(data: bytes, record: int, form: str, offset: int, value: int) -> bytes:
    """One field of one directory record changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, directory_records(data)[record] + offset, value)
    return bytes(changed)
