"""Two hospitals in one, over a real Postfix: a document goes there; its DSN and MDN come back."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from pfiflow.hl7.er7 import parse
from pfiflow.simulators.documents import document
from pfiflow.simulators.dpi import DpiSimulator
from pfiflow.simulators.mail import MailSimulator
from tests.endpoints.postfix import Postfix, reason_not_to_run
from tests.processors.hospital import ROUTES, WHOLE, Keys, hospital
from tests.processors.test_inbound_receipts import send

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(bool(reason_not_to_run()), reason=reason_not_to_run() or "Postfix runs"),
]

OURS, THEIRS = "pfi@hopital.test", "bal@cabinet.test"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.in_folder(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def postfix(keys: Keys) -> Iterator[Postfix]:
    with Postfix(keys.authority, (OURS, THEIRS), {}) as server:
        yield server


async def test_there_and_back(keys: Keys, postfix: Postfix, tmp_path: Path) -> None:
    shutil.copytree(ROUTES, tmp_path, dirs_exist_ok=True)
    outbound = tmp_path / "outbound.yaml"
    text = outbound.read_text()
    account = '      username: "${env:PFI_MAILBOX}"\n'
    assert account in text
    outbound.write_text(text.replace(account, "      auth: none\n"))  # this Postfix trusts the certificate alone
    paths = [tmp_path / path.name for path in WHOLE]
    settings = {"PFI_MAILBOX": OURS, "PFI_SMTP_PORT": str(postfix.port)}
    unused = MailSimulator()
    with DpiSimulator() as documents, DpiSimulator() as receipts:
        async with hospital(keys, unused, documents, receipts, paths=paths, settings=settings) as site:
            await send(site, THEIRS)
            (arrived,) = await anyio.to_thread.run_sync(postfix.mails, THEIRS)
            (report,) = await anyio.to_thread.run_sync(postfix.mails, OURS)
            assert await site.put(report, mailbox=OURS) == "done"
            assert await site.put(arrived, mailbox=THEIRS) == "done"
            await site.settled()
            mails = await anyio.to_thread.run_sync(partial(postfix.mails, OURS, count=2))
            (notice,) = [mail for mail in mails if mail != report]
            assert await site.put(notice, mailbox=OURS) == "done"
            await site.settled()
    (mdm,) = [parse(each.raw) for each in documents.received]
    assert base64.b64decode(mdm.get("OBX-5.5")) == document(number=1, patient=1, size=8_000).data
    told = [(each.type, each.about, each.answer, parse(each.raw).get("OBX-5")) for each in receipts.received]
    assert told == [("ZAM^Z02", "DPI-1", "AA", "Y"), ("ZAM^Z03", "DPI-1", "AA", "Y")]
