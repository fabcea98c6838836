"""Mails with real XDM archives, by our own outbound code: simulated transmission → archive → mail, or by hand."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from pfiflow import xdm
from pfiflow.cda import document as cda
from pfiflow.segur import sending, transmission
from pfiflow.segur.values import Action
from pfiflow.simulators.documents import SyntheticDocument
from pfiflow.simulators.messages import message
from pfiflow.xds import authors, from_cda
from pfiflow.xds.metadata import Association
from tests.mssante import mails

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BOX = "bal@chb.mssante.fr"
SENDER = xdm.Sender("PFI", "Hôpital Nord")
SOFTWARE = xdm.Software("pfiflow", "1", "pfiflow")
PUBLISHER = sending.Publisher("1.2.250.1.999.1", SENDER, SOFTWARE, xdm.ActionSlot(), True)
MAILBOX = sending.Mailbox(
    "pfi@hopital.mssante.fr", "Hôpital Nord", "secretariat@hopital.mssante.fr", "DEV1", test_platform=True
)


def sent(document: SyntheticDocument, *, action: Action | None = None, **options: Any) -> bytes:
    """What our outbound route sends of a transmission, with the Return-Path that its last server writes."""
    flags = {"ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y", **options.pop("flags", {})}
    er7 = message(document, action=action, flags=flags, recipients=(BOX,), **options)
    package = sending.pack(transmission.read(er7), PUBLISHER, exchange_id="x", received=NOW)
    mail = sending.mail(package, MAILBOX, audience="professionals", exchange_id="x", received=NOW)
    return f"Return-Path: <{MAILBOX.address}>\r\n".encode() + mail.raw


def archive(
    documents: Sequence[SyntheticDocument],
    *,
    hidden: tuple[str, ...] = (),
    action: xdm.Action = "",
    associations: tuple[Association, ...] = (),
    **changes: Any,
) -> bytes:
    """An archive of several documents; `changes` are made to every entry."""
    read = [cda.read(document.data) for document in documents]
    entries = tuple(
        attrs.evolve(
            from_cda.document_entry(
                each,
                target="xdm",
                entry_uuid=from_cda.entry_uuid_of(f"{place}"),
                hidden=hidden,
                test_platform=True,
            ),
            **changes,
        )
        for place, each in enumerate(read)
    )
    submission = attrs.evolve(
        from_cda.submission_set(
            entries[:1],
            unique_id="2.25.1",
            source_id="1.2.3",
            submission_time=NOW,
            content_type=from_cda.content_type_of("N"),
            author=authors.author_of(person_id="801234567890", person_id_type="IDNPS", family="MÉDECIN", given="TEST"),
            associations=associations,
        ),
        entries=entries,
    )
    return xdm.pack(submission, [each.raw for each in read], sender=SENDER, software=SOFTWARE, action=action)


def letter(content: bytes, **options: Any) -> bytes:
    """A mail with that archive, by the standard library."""
    return mails.letter(archives=[content], **options)


def changed(packed: bytes, place: int, change: Callable[[bytes], bytes], *, rehash: bool = True) -> bytes:
    """The archive with one document changed, and the metadata that describe it as it is now."""
    name = f"DOC0000{place}.XML"
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as source, zipfile.ZipFile(target, "w") as written:
        files = {each: source.read(each) for each in source.namelist()}
        (path,) = (each for each in files if each.endswith(name))
        before, after = files[path], change(files[path])
        files[path] = after
        if rehash:
            metadata = "IHE_XDM/SUBSET01/METADATA.XML"
            digests = [hashlib.sha1(each, usedforsecurity=False).hexdigest().encode() for each in (before, after)]
            assert files[metadata].count(digests[0]) == 1
            sizes = [f"<rim:Value>{len(each)}</rim:Value>".encode() for each in (before, after)]
            start = files[metadata].index(digests[0])
            end = files[metadata].index(b"</rim:ExtrinsicObject>", start)
            described = files[metadata][start:end].replace(digests[0], digests[1]).replace(sizes[0], sizes[1], 1)
            files[metadata] = files[metadata][:start] + described + files[metadata][end:]
        for each, content in files.items():
            written.writestr(each, content)
    return target.getvalue()


def without_title(raw: bytes) -> bytes:
    """A CDA that lacks what each must have."""
    return raw.replace(b"<title>", b"<titre>").replace(b"</title>", b"</titre>")
