"""The conservative mail address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.segur.addresses import is_mail_address, is_patient_mailbox

GOOD = [
    "adam.hoda@test-ci-sis.mssante.fr",
    "o'neil+cardio@chu-x.mssante.fr",
    "a_b=c&d@x.fr",
    "A@B.Fr",
    "appli-1@hopitalB.mssante.fr",
    "a" * 64 + "@x.fr",
]
BAD = [
    "", "@", "a@", "@x.fr", "a", "a@b", "a@b.f", "a@b.1", "a@@x.fr", "a@b@x.fr", ".a@x.fr", "a.@x.fr", "a..b@x.fr",
    "a b@x.fr", " a@x.fr", "a@x.fr ", "a@x.fr.", "a@.x.fr", "a@x..fr", "a@-x.fr", "a@x-.fr", '"a"@x.fr', "a@[1.2.3.4]",
    "<a@x.fr>", "Dr <a@x.fr>", "a@x.fr,b@x.fr", "a@x.fr;b@x.fr", "a%b@x.fr", "x!a@x.fr", "@y.fr:a@x.fr", "a|b@x.fr",
    "a@x.fr\n", "a@x.fr\r\nBcc: b@x.fr", "a\0@x.fr", "é@x.fr", "a@é.fr", "a\u00a0@x.fr", "a@x.fr\u200b", "\u0430@x.fr",
    "a" * 65 + "@x.fr", "a@" + "x." * 130 + "fr", "mailto:a@x.fr", "a(c)@x.fr", "a\\@x.fr", "a/b@x.fr", "`a`@x.fr",
]  # fmt: skip


@pytest.mark.parametrize("address", GOOD)
def test_plain_addresses(address: str) -> None:
    assert is_mail_address(address)


@pytest.mark.parametrize("address", BAD)
def test_anything_that_could_mean_something_else(address: str) -> None:
    assert not is_mail_address(address)


@given(st.text(max_size=40) | st.from_regex(r"[ -~]{1,10}@[ -~]{1,12}", fullmatch=True))
def test_what_passes_has_nothing_to_inject(address: str) -> None:
    if is_mail_address(address):
        assert address.isascii()
        assert address.isprintable()
        assert address.count("@") == 1
        assert not set(address) & set(' "<>()[],;:\\%!|`/\r\n\t')


@pytest.mark.parametrize(
    ("address", "patients"),
    [
        ("279035121518989@patient.mssante.fr", True),
        ("x@PATIENT.MSSANTE.FR", True),
        ("x@sub.patient.mssante.fr", True),
        ("x@patient.mssante.f", True),
        ("279035121518989@hopital.mssante.fr", True),
        ("2790351215189@hopital.mssante.fr", True),
        ("169012a00459513@hopital.mssante.fr", True),
        ("27707279035121518989@hopital.mssante.fr", True),
        ("10100000001@hopital.mssante.fr", False),  # an RPPS
        ("899900000001@hopital.mssante.fr", False),
        ("patient@hopital.mssante.fr", False),
        ("accueil.patient@patients.mssante.fr", False),
    ],
)
def test_patients_mailboxes_are_recognised(address: str, patients: bool) -> None:
    assert is_patient_mailbox(address) is patients
