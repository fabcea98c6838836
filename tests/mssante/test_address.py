from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.mssante.address import is_mailbox, is_patient, mask_address, mask_text, patient_address

PATIENT = "279035121518989@patient.mssante.fr"


@pytest.mark.parametrize(
    "address", ["dr.durand@hopital.mssante.fr", PATIENT, "a@localhost", "o'neil+x@a-b.fr", "x" * 64 + "@a.fr"]
)
def test_plain_mailboxes_pass(address: str) -> None:
    assert is_mailbox(address)


@pytest.mark.parametrize(
    "address",
    [
        "", "a", "@a.fr", "a@", "a@@b.fr", "a b@c.fr", "a@b.fr\r\nRCPT TO:<x@y.fr>", "a@b.fr\n", "a@b.fr> SIZE=1",
        '"a b"@c.fr', "a@[127.0.0.1]", "é@c.fr", "a@é.fr", "a..b@c.fr", ".a@c.fr", "a@-b.fr", "a@b..fr",
        "x" * 65 + "@a.fr", "a@" + "b." * 130 + "fr", "a@b.fr\x00", "<a@b.fr>", "a@b.fr,c@d.fr",
    ],
)  # fmt: skip
def test_anything_else_is_refused(address: str) -> None:
    assert not is_mailbox(address)


@given(st.text())
def test_what_passes_can_be_written_as_it_stands(text: str) -> None:
    if is_mailbox(text):
        assert text.isascii()
        assert not set(text) & set('\r\n\0 <>,;:"()[]\\')


@pytest.mark.timeout(5)
def test_a_long_hostile_address_costs_nothing() -> None:
    assert not is_mailbox("a." * 1_000_000 + "@")
    assert not is_mailbox("a@" + "a-" * 1_000_000)


def test_patient_addresses_are_known_and_built() -> None:
    assert is_patient(PATIENT)
    assert is_patient("x@PATIENT.mssante.FR")
    assert not is_patient("x@notpatient.mssante.fr")
    assert patient_address("279035121518989") == PATIENT
    assert patient_address("279032A21518989") == "279032A21518989@patient.mssante.fr"


@pytest.mark.parametrize(
    "matricule", ["", "2790351215189", "27707279035121518989", "279032C21518989", "279035121518989\n"]
)
def test_a_malformed_matricule_is_refused_and_not_quoted(matricule: str) -> None:
    with pytest.raises(Rejected) as caught:
        patient_address(matricule)
    assert matricule == "" or matricule not in str(caught.value)


def test_a_patient_is_masked_in_texts() -> None:
    assert mask_address(PATIENT) == "***@patient.mssante.fr"
    assert mask_address("a@b.fr") == "a@b.fr"
    text = f"550 5.1.1 <{PATIENT}>: user 279035121518989 unknown; see A.B@Patient.MSSante.fr and c@d.fr"
    masked = mask_text(text, [PATIENT, "c@d.fr"])
    assert "279035121518989" not in masked
    assert "A.B" not in masked
    assert "c@d.fr" in masked
