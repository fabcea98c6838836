from __future__ import annotations

from attrs import evolve

from pfiflow.cda import document as cda
from pfiflow.processors.recent import Recent
from pfiflow.processors.transmissions import RecentTransmissions
from pfiflow.segur.transmission import read
from pfiflow.simulators.messages import document, message

RAW = message(document("N3", number=1, patient=1, size=20_000))


def copied(data: bytes) -> bytes:
    """The same bytes in another object, as a store gives them."""
    return bytes(bytearray(data))


def taken_in(recent: RecentTransmissions) -> None:
    transmission = recent.take_in(RAW)
    recent.checked(transmission, *cda.read_tree(transmission.document))


def test_what_was_taken_in_is_not_read_again() -> None:
    recent = RecentTransmissions()
    taken_in(recent)
    transmission = recent.decode(copied(RAW))
    assert transmission is recent.decode(copied(RAW))
    assert transmission == read(RAW)
    known = recent.document(transmission)
    assert known is recent.document(transmission)
    assert known == cda.read(transmission.document)


def test_a_tree_is_given_to_one_caller_only() -> None:
    recent = RecentTransmissions()
    taken_in(recent)
    transmission = recent.decode(RAW)
    (first, one), (second, two), (third, three) = (recent.tree(transmission) for _ in range(3))
    assert len({id(one), id(two), id(three)}) == 3
    assert first == second == third


def test_what_was_never_taken_in_is_read() -> None:
    recent = RecentTransmissions()
    transmission = recent.decode(RAW)
    assert transmission == read(RAW)
    assert recent.document(transmission) == recent.tree(transmission)[0] == cda.read(transmission.document)


def test_a_transmission_that_a_step_has_changed_is_another() -> None:
    recent = RecentTransmissions()
    taken_in(recent)
    other = document("N1", number=2, patient=2, size=20_000).data
    changed = evolve(recent.decode(RAW), document=other)
    assert recent.document(changed).raw == recent.tree(changed)[0].raw == other
    recent.checked(changed, *cda.read_tree(other))
    assert recent.document(recent.decode(RAW)).raw == recent.decode(RAW).document


def test_what_is_kept_is_bounded() -> None:
    recent = Recent[str](items=3, size=10, largest=6)
    for raw in (b"aaa", b"bbb", b"ccc"):
        recent.put(raw, raw.decode())
    assert recent.get(b"aaa") == "aaa"
    recent.put(b"dd", "dd")  # one too many: the longest unused goes
    assert [recent.get(raw) for raw in (b"aaa", b"bbb", b"ccc", b"dd")] == ["aaa", None, "ccc", "dd"]
    recent.put(b"eeeeee", "e")  # too many bytes: as many go as have to
    assert [recent.get(raw) for raw in (b"aaa", b"ccc", b"dd", b"eeeeee")] == [None, None, "dd", "e"]
    recent.put(b"fffffff", "f")
    assert recent.get(b"fffffff") is None
    recent.put(b"dd", "again")
    recent.put(b"dd", "and again")
    assert recent.get(b"eeeeee") == "e"
    assert recent.get(b"dd") == "and again"


def test_bytes_that_begin_alike_are_told_apart() -> None:
    recent = Recent[str](items=3, size=100_000, largest=100_000)
    one, other = (b"x" * 5000 + end for end in (b"1", b"2"))
    recent.put(one, "one")
    assert recent.get(other) is None
    recent.put(other, "other")
    assert (recent.get(one), recent.get(bytes(bytearray(other)))) == (None, "other")
    assert len(recent._values) == 1
    assert recent._held == 5001
