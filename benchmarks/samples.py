"""Messages of given sizes, the routes that take them, and the bare work that the whole leg is compared with."""

from __future__ import annotations

import binascii
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from attrs import field, frozen
from lxml import etree

from benchmarks.harness import Template, free_of_control_id
from pfiflow.segur.transmission import read
from pfiflow.simulators import messages

__all__ = ["OFFICIAL_SIZE", "Sample", "bare", "bare_message", "floor", "generated", "inbound", "official", "whole_leg"]

OFFICIAL_SIZE = 330_000
"""Bytes of the MDM that ANS publishes as an example."""

_VECTORS = Path(__file__).parents[1] / ".." / "shared" / "vectors" / "hl7"
_TO_PROFESSIONALS_ONLY = {"DESTDMP": "N", "DESTMSSANTEPAT": "N"}  # one message, one mail


@frozen
class Sample:
    """Messages alike but for their patients, and the documents in them."""

    name: str
    templates: tuple[Template, ...]
    documents: tuple[bytes, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of a message."""
        return self.templates[0].size


def generated(name: str, level: str, size: int, *, patients: int = 1) -> Sample:
    """Messages of about `size` bytes; an N1 holds a PDF, an N3 narrative and a copy as PDF, half each."""
    documents = [
        messages.document(
            "N1" if level == "N1" else "N3",
            number=number,
            patient=number,
            size=max(0, (size - 3_000) * 3 // 4),
            pdf_copy=level == "N3",
            seed=number,
        )
        for number in range(1, patients + 1)
    ]
    framed = [free_of_control_id(messages.message(each, flags=_TO_PROFESSIONALS_ONLY)) for each in documents]
    return Sample(name, tuple(framed), tuple(each.data for each in documents))


def official() -> Sequence[Sample]:
    """The examples of ANS (not part of the project), where they are at hand: to professionals, patient and DMP."""
    names = {"official N1": "transmission_mdm_t02_n1.er7", "official N3 (ORU)": "transmission_oru_submit_n3.hl7"}
    found = {name: _VECTORS / file for name, file in names.items() if (_VECTORS / file).is_file()}
    return [
        Sample(name, (free_of_control_id(path.read_bytes()),), (read(path.read_bytes()).document,))
        for name, path in found.items()
    ]


def bare_message(size: int) -> Sample:
    """An HL7 message of so many bytes that is no transmission: for routes that only keep it."""
    head = b"MSH|^~\\&|DPI|HOP|PFI|HOP|20250106080000||ADT^A01|X|T|2.6\rPID|1||1^^^H^PI||PAT-TEST^ALEX\r"
    line = b"NTE|1||" + b"texte " * 20 + b"\r"
    body = (head + line * (size // len(line) + 1))[: size - 1] + b"\r"
    return Sample("bare", (free_of_control_id(body),), ())


# -- the floor ---------------------------------------------------------------------------------------------------------


def floor(document: bytes, level: int, *, seconds: float) -> float:
    """CPU seconds of the work that nobody can leave out, done bare: base64, SHA-1, XML, zip deflate, base64."""
    encoded = binascii.b2a_base64(document, newline=False)

    def once() -> None:
        decoded = binascii.a2b_base64(encoded)
        hashlib.sha1(decoded, usedforsecurity=False).hexdigest()
        etree.fromstring(decoded, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
        with ZipFile(io.BytesIO(), "w") as archive:
            archive.writestr("DOC00001.XML", decoded, ZIP_DEFLATED, level)
        binascii.b2a_base64(decoded, newline=False)

    return cpu_of(once, seconds=seconds)


def cpu_of(work: Callable[[], None], *, seconds: float) -> float:
    """CPU seconds of one call, the average over about `seconds`."""
    work()
    calls, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        work()
        calls += 1
    return spent / calls


# -- routes ------------------------------------------------------------------------------------------------------------

_INTAKE = """
      - idempotent: {{key: 'headers["hl7-sender"] + "|" + headers["hl7-control-id"]', retention: 30d}}
      - read-transmission: {{}}
      - check-transmission: {{destinations: lenient, test-platform: true}}
      - choice:
          - when: body.destinations.dmp
            steps:
              - to: {{channel: dmp}}
      - choice:
          - when: body.destinations.professionals
            steps:
              - set-header: {{audience: "'professionals'"}}
              - to: {{channel: mail}}
      - choice:
          - when: body.destinations.patient
            steps:
              - set-header: {{audience: "'patient'"}}
              - to: {{channel: mail}}
"""

_HEAD = """
store: {{path: "{folder}/store.db"}}
channels:
  mail: {{key: 'headers.audience + "|" + body.patient.key', workers: 4, hold: {hold}}}
  dmp: {{key: body.patient.key, hold: true}}
routes:
  - id: transmission
    from:
      mllp-in: {{listen: "127.0.0.1:0"}}
    steps:
"""

_MSSANTE = """
  - id: mssante
    from: {{channel: mail}}
    steps:
      - xdm-pack: {{source-id: "1.2.250.1.999.1", sender-name: PFI, organization: CH de Démo, test-platform: true}}
      - mss-mail:
          mailbox: pfi@ch.mssante.example
          label: CH Démo
          reply-to: contact@ch.mssante.example
          nil: DEV000000
          max-size: 400MB
          test-platform: true
      - to:
          smtp-out: {{host: 127.0.0.1, port: {port}, security: none, auth: none, pool-size: 4}}
"""

_BARE = """
store: {{path: "{folder}/store.db"}}
channels:
  kept: {{key: 'headers["hl7-sender"]', hold: true}}
routes:
  - id: keep
    from:
      mllp-in: {{listen: "127.0.0.1:0"}}
    steps:
      - to: {{channel: kept}}
"""


def whole_leg(folder: Path, port: int) -> str:
    """The steps of `routes/outbound.yaml`, mails going to a plaintext sink on loopback."""
    return (_HEAD + _INTAKE + _MSSANTE).format(folder=folder, hold="false", port=port)


def inbound(folder: Path) -> str:
    """Its first route alone: read, checked, kept in a channel that gives nothing out."""
    return (_HEAD + _INTAKE).format(folder=folder, hold="true")


def bare(folder: Path) -> str:
    """Kept and acknowledged, nothing read but MSH."""
    return _BARE.format(folder=folder)
