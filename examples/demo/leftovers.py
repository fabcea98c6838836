"""What the demo leaves to be looked at: mails with their archives opened, receipts, documents as HL7."""

from __future__ import annotations

import email
import email.policy
import io
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

from pfiflow.simulators.dpi import ReceivedMessage

__all__ = ["unfold", "write_messages"]


def unfold(mails: Path) -> int:
    """Write each mail's attachments beside it, its archive opened. Gives the number of mails."""
    paths = sorted(mails.glob("*.eml"))
    for path in paths:
        parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        folder = path.with_suffix("")
        for part in parsed.iter_attachments():
            content = part.get_payload(decode=True)
            name = part.get_filename()
            if not isinstance(content, bytes) or not name:
                continue  # the original that an answer returns
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            if part.get_content_type() == "application/zip":
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    archive.extractall(folder / "IHE_XDM.unzipped")
    return len(paths)


def write_messages(folder: Path, messages: Sequence[ReceivedMessage]) -> None:
    """One file a message, a segment a line."""
    folder.mkdir(exist_ok=True)
    for number, message in enumerate(messages, 1):
        name = f"{number:02}-{message.type.replace('^', '-')}.hl7"
        (folder / name).write_bytes(message.raw.replace(b"\r", b"\n"))
