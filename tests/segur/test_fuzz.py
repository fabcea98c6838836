"""Whatever arrives: a Transmission, Rejected or ProtocolError, and never a word of the patient or the document."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import ProtocolError, Rejected
from pfiflow.segur.recipients import patient_mail_refusal, professional_recipients
from pfiflow.segur.rules import check_destinations, check_recipients
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Action
from pfiflow.simulators.messages import Family, patient
from tests.segur.edits import base, join, split, value_of

KINDS: tuple[Family, ...] = ("MDM", "ORU")
MESSAGES = st.tuples(st.sampled_from(KINDS), st.sampled_from(Action))  # built inside: a failure prints no base64
WHO = patient(1)
CONTENT = value_of(base(), "OBX-5")[400:430].decode()
SECRETS = (WHO.matricule, WHO.family, WHO.given_names, WHO.birth_date, WHO.ipp, "docteur.test", CONTENT)


def try_to_read(data: bytes) -> None:
    said = what_is_said(data)
    for secret in SECRETS:
        assert secret not in said


def what_is_said(data: bytes) -> str:
    """Every text that reading gives: errors, warnings, representations."""
    try:
        found = read(data)
    except (Rejected, ProtocolError) as error:
        return f"{error} {getattr(error, 'problems', '')}"
    problems = (
        *found.warnings,
        *check_destinations(found, "strict"),
        *check_recipients(found),
        patient_mail_refusal(found, test_platform=True),
    )
    assert not any("patient.mssante" in each for each in professional_recipients(found))
    return f"{found!r} {problems!r}"


@given(MESSAGES, st.data())
def test_truncated(kind: tuple[Family, Action], data: st.DataObject) -> None:
    message = base(*kind)
    ends = [i for i, byte in enumerate(message) if byte in b"\r|^"]
    cut = data.draw(st.sampled_from(ends) | st.integers(0, len(message)))
    try_to_read(message[:cut])


@given(MESSAGES, st.data())
def test_fields_swapped_repeated_and_replaced(kind: tuple[Family, Action], data: st.DataObject) -> None:
    message = base(*kind)
    segments = [each.split(b"|") for each in split(message)]
    for _ in range(data.draw(st.integers(1, 4))):
        segment = data.draw(st.sampled_from(segments))
        place = data.draw(st.integers(2, max(2, len(segment) - 1)))
        other = data.draw(st.sampled_from(segments))
        value = data.draw(
            st.sampled_from(other)
            | st.binary(max_size=12)
            | st.sampled_from([b"", b'""', b"~", b"^^^", b"&", b"\\F\\", b"\xe9", b"Y~N", b"^" * 40, b"~" * 40])
        )
        segment += [b""] * (place + 1 - len(segment))
        segment[place] = value
    try_to_read(join([b"|".join(each) for each in segments]))


@given(MESSAGES, st.data())
def test_segments_dropped_doubled_and_moved(kind: tuple[Family, Action], data: st.DataObject) -> None:
    message = base(*kind)
    segments = split(message)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(segments) - 1))
        other = data.draw(st.integers(0, len(segments)))
        match data.draw(st.sampled_from(["drop", "double", "move"])):
            case "drop" if len(segments) > 1:
                del segments[place]
            case "double":
                segments.insert(other, segments[place])
            case _:
                segments.insert(min(other, len(segments) - 1), segments.pop(place))
    try_to_read(join(segments))


@given(MESSAGES, st.integers(0, 2_000), st.binary(min_size=1, max_size=6))
def test_bytes_overwritten(kind: tuple[Family, Action], place: int, value: bytes) -> None:
    message = base(*kind)
    try_to_read(message[:place] + value + message[place + len(value) :])


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    try_to_read(data)
    try_to_read(b"MSH|^~\\&|" + data)
