"""Which answer a mail gets."""

from __future__ import annotations

import pytest

from pfiflow.mssante import reading
from pfiflow.mssante.answering import choose
from tests.mssante import mails

OURS = (mails.BOX,)
ASKED = {"Disposition-Notification-To": mails.SENDER}


def choice(headers: dict[str, str] | None = None, *, failed: bool = True, archives: bool = True) -> tuple[str, bool]:
    raw = mails.letter(headers=headers) if archives else mails.letter(archives=(), headers=headers)
    found = choose(reading.read(raw), failed=failed, ours=OURS)
    assert bool(found.reason) is not bool(found.kind)
    return found.kind, found.answerable


def test_who_asked_for_an_mdn_gets_one() -> None:
    assert choice(ASKED) == ("mdn", True)
    assert choice(ASKED, failed=False) == ("mdn", True)


def test_who_did_not_ask_is_told_of_errors_alone() -> None:
    assert choice() == ("error-mail", True)
    assert choice(failed=False) == ("", True)


def test_a_request_for_another_address_gives_the_standard_mail() -> None:
    asked = {"Disposition-Notification-To": "stranger@demo.mssante.fr"}
    assert choice(asked) == ("error-mail", True)
    assert choice(asked, failed=False) == ("", True)


@pytest.mark.parametrize(
    "headers",
    [{"Return-Path": "<>"}, {"Auto-Submitted": "auto-generated"}, {"Precedence": "list"}, {"From": mails.BOX}],
    ids=lambda headers: next(iter(headers)),
)
def test_no_answer_to_automata_nor_to_ourselves(headers: dict[str, str]) -> None:
    for failed in (True, False):
        assert choice({**ASKED, **headers}, failed=failed) == ("", True)


def test_a_mail_without_documents_is_not_answered() -> None:
    assert choice(ASKED, archives=False) == ("", False)
