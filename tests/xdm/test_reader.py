"""Archives as others write them, and archives that do not say what they hold."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable

import pytest
from attrs import evolve

from pfiflow import xdm
from pfiflow.errors import Rejected
from pfiflow.xdm import ActionSlot
from pfiflow.xds import ebrim
from pfiflow.xds.from_cda import replacement
from pfiflow.xds.metadata import DocumentEntry, SubmissionSet
from tests.xdm.builders import FOLDER, OTHER, SENDER, SOFTWARE, members, packed, patched, submission, zipped
from tests.xds.builders import RAW

Change = Callable[[DocumentEntry], DocumentEntry]


def archive(changed: Change = lambda entry: entry, *, folder: str = FOLDER, name: str = "DOC00001.XML") -> bytes:
    """An archive whose single entry is changed after the fact, and whose document has a name of its own."""
    one = xdm.prepare(submission())
    return of(evolve(one, entries=tuple(map(changed, one.entries))), {folder + name: RAW}, folder)


def of(one: SubmissionSet, files: dict[str, bytes], folder: str = FOLDER) -> bytes:
    return zipped([(folder + "METADATA.XML", ebrim.submit_objects_request(one)), *files.items()])


def only(data: bytes) -> bytes:
    read = xdm.unpack(data)
    (document,) = read.documents.values()
    return document


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("DOC00001.XML", "DOC00001.XML"),
        ("doc00001.xml", "DOC00001.XML"),
        ("DOC00001.XML", "Doc00001.xml"),
        ("./DOC00001.XML", "DOC00001.XML"),
        ("IHE_XDM/SUBSET01/DOC00001.XML", "DOC00001.XML"),  # DRIMbox writes a path from the top
        ("some/other/IHE_XDM/SS000001/DOC00001.XML", "DOC00001.XML"),
        ("IHE_XDM\\SUBSET01\\DOC00001.XML", "DOC00001.XML"),
        ("SUB/DOC00001.XML", "SUB/DOC00001.XML"),
        ("DOC%2000001.XML", "DOC 00001.XML"),
        ("../SUBSET01/DOC00001.XML", "DOC00001.XML"),
        ("", "ANYTHING.XML"),  # found by its hash
        ("LOST.XML", "ANYTHING.XML"),
        ("/etc/passwd", "ANYTHING.XML"),
        ("../../../../etc/passwd", "ANYTHING.XML"),
        ("http://example.org/x", "ANYTHING.XML"),
        ("METADATA.XML", "ANYTHING.XML"),
    ],
)
def test_a_document_is_found_by_its_uri_else_by_its_hash(uri: str, name: str) -> None:
    assert only(archive(lambda entry: evolve(entry, uri=uri), name=name)) == RAW


@pytest.mark.parametrize(
    "folder",
    [
        "IHE_XDM/SUBSET01/",
        "IHE_XDM/SS000001/",
        "samplexdm/IHE_XDM/SUBSET01/",
        "ihe_xdm/subset01/",
        "IHE_XDM\\SUBSET01\\",
    ],
)
def test_any_subset_folder_below_any_folder(folder: str) -> None:
    assert only(archive(folder=folder)) == RAW


def test_metadata_in_another_case() -> None:
    files = members(packed())
    files["ihe_xdm/Subset01/metadata.xml"] = files.pop(FOLDER + "METADATA.XML")
    assert only(zipped(files.items())) == RAW


def test_directories_are_no_documents() -> None:
    data = zipped([("IHE_XDM/", b""), ("IHE_XDM/SUBSET01/", b""), ("EMPTY\\", b""), *members(packed()).items()])
    assert xdm.unpack(data).warnings == ()


def test_several_subsets_and_documents() -> None:
    first, second = xdm.prepare(submission(RAW, OTHER)), xdm.prepare(submission(OTHER))
    second = evolve(second, entries=(evolve(second.entries[0], unique_id="1.2.99"),))
    data = zipped(
        [
            ("IHE_XDM/SUBSET01/METADATA.XML", ebrim.submit_objects_request(first)),
            ("IHE_XDM/SUBSET01/DOC00001.XML", RAW),
            ("IHE_XDM/SUBSET01/DOC00002.XML", OTHER),
            ("IHE_XDM/SUBSET02/METADATA.XML", ebrim.submit_objects_request(second)),
            ("IHE_XDM/SUBSET02/DOC00001.XML", OTHER),
        ]
    )
    read = xdm.unpack(data)
    assert read.submissions == (first, second)
    assert [read.documents[e] for s in read.submissions for e in s.entries] == [RAW, OTHER, OTHER]


def problems(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        xdm.unpack(data)
    return [(problem.message, problem.location) for problem in caught.value.problems]


def test_a_wrong_hash_or_size() -> None:
    ((message, where),) = problems(archive(lambda entry: evolve(entry, hash="0" * 40)))
    assert "hash differs" in message
    assert where == FOLDER + "DOC00001.XML"
    ((message, _),) = problems(archive(lambda entry: evolve(entry, size=1)))
    assert message == f"{len(RAW)} bytes, while the metadata say 1"
    ((message, _),) = problems(archive(lambda entry: evolve(entry, hash="not a hash")))
    assert "hash differs" in message
    assert len(problems(archive(lambda entry: evolve(entry, hash="0" * 40, size=1)))) == 2


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_another_hash_is_checked_and_noted(algorithm: str) -> None:
    digest = hashlib.new(algorithm, RAW).hexdigest()
    read = xdm.unpack(archive(lambda entry: evolve(entry, hash=digest.upper())))
    assert [(w.severity, w.message) for w in read.warnings] == [("warning", f"the hash is {algorithm}, not SHA-1")]
    assert problems(archive(lambda entry: evolve(entry, hash="f" * len(digest))))


def test_a_missing_hash_and_size_are_noted() -> None:
    read = xdm.unpack(archive(lambda entry: evolve(entry, hash="", size=-1)))
    assert [w.message for w in read.warnings] == ["the metadata give no size", "the metadata give no hash"]


def test_a_missing_document() -> None:
    one = xdm.prepare(submission(RAW))
    ((message, where),) = problems(of(one, {}))
    assert "not in the archive" in message
    assert where == FOLDER + "METADATA.XML#DocumentEntry[1]"


FAULTS: dict[str, tuple[Callable[[DocumentEntry], DocumentEntry], Callable[[bytes], bytes | None], str]] = {
    "missing": (lambda e: e, lambda _: None, "not in the archive"),
    "another hash": (lambda e: evolve(e, hash="0" * 40), lambda raw: raw, "hash differs"),
    "another size": (lambda e: evolve(e, size=1), lambda raw: raw, "while the metadata say 1"),
    "changed": (lambda e: e, lambda raw: raw[:-1] + b"!", "hash differs"),
    "cut": (lambda e: e, lambda raw: raw[:-9], "bytes, while"),
    "an unknown action": (lambda e: evolve(e, extra=(("action", ("X",)),)), lambda raw: raw, "none of C"),
}


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_faulty_document_leaves_the_others(what: str, place: int) -> None:
    describe, change, message = FAULTS[what]
    raws = [RAW, OTHER, OTHER + b" "]
    one = xdm.prepare(submission(*raws))
    entries = [describe(entry) if at == place else entry for at, entry in enumerate(one.entries)]
    contents = [change(raw) if at == place else raw for at, raw in enumerate(raws)]
    files = {f"{FOLDER}DOC0000{at}.XML": content for at, content in enumerate(contents, 1) if content is not None}
    read = xdm.unpack(of(evolve(one, entries=tuple(entries)), files))
    good = [at for at in range(3) if at != place]
    assert [read.documents.get(entry) for entry in read.submissions[0].entries] == [
        raws[at] if at in good else None for at in range(3)
    ]
    ((entry, found),) = read.faults.items()
    assert entry == read.submissions[0].entries[place]
    assert message in " ".join(problem.message for problem in found)
    assert {problem.severity for problem in found} == {"error"}
    assert entry not in read.actions


def test_a_damaged_member_leaves_the_others() -> None:
    packed = bytearray(
        of(xdm.prepare(submission(RAW, OTHER)), {FOLDER + "DOC00001.XML": RAW, FOLDER + "DOC00002.XML": OTHER})
    )
    with zipfile.ZipFile(io.BytesIO(bytes(packed))) as archive:
        info = archive.getinfo(FOLDER + "DOC00002.XML")
    packed[info.header_offset + 30 + len(info.filename) + 5] ^= 0xFF
    read = xdm.unpack(bytes(packed))
    assert list(read.documents.values()) == [RAW]
    ((problem,),) = read.faults.values()
    assert "it is damaged" in problem.message


def test_a_document_that_lies_about_its_size_refuses_the_others_too() -> None:
    """Damage is one document's misfortune; more bytes than declared are somebody's intent."""
    one = xdm.prepare(submission(RAW, OTHER))
    packed = of(one, {FOLDER + "DOC00001.XML": RAW, FOLDER + "DOC00002.XML": bytes(20_000_000)})
    found = problems(patched(packed, 2, "<L", 24, len(OTHER)))
    assert ["made to deceive" in message for message, _ in found] == [True]


def test_the_patient_of_a_faulty_document_counts() -> None:
    one = xdm.prepare(submission(RAW, OTHER))
    entries = (one.entries[0], evolve(one.entries[1], patient_id="other^^^&1.2.3&ISO"))
    found = problems(of(evolve(one, entries=entries), {FOLDER + "DOC00001.XML": RAW}))
    assert "2 patients" in found[0][0]


def test_no_document_left() -> None:
    one = xdm.prepare(submission(RAW, OTHER))
    found = problems(of(one, {FOLDER + "DOC00001.XML": OTHER}))
    assert [where for _, where in found][-1] == FOLDER + "METADATA.XML#DocumentEntry[2]"
    assert len(found) >= 2


def test_files_without_metadata_are_noted() -> None:
    files = {
        **members(packed()),
        FOLDER + "STYLE.XSL": b"",
        FOLDER + "DOC00009.XML": b"",
        "AUTORUN.INF": b"",
        "A B.EXE": b"",
    }
    read = xdm.unpack(zipped(files.items()))
    assert [(w.message, w.location) for w in read.warnings] == [
        ("a file without metadata; passed over", FOLDER + "DOC00009.XML"),
        ("a program or archive without metadata; passed over", "AUTORUN.INF"),
        ("a program or archive without metadata; passed over", "entry 8"),
    ]


def test_no_metadata() -> None:
    ((message, _),) = problems(zipped([("README.TXT", b"")]))
    assert "no XDM archive" in message
    assert problems(zipped([("METADATA.XML", b"<a/>")]))


def test_metadata_that_are_none() -> None:
    ((_, where),) = problems(zipped([(FOLDER + "METADATA.XML", b"no xml")]))
    assert where.startswith(FOLDER + "METADATA.XML#")
    ((message, where),) = problems(zipped([(FOLDER + "METADATA.XML", b"<a/>")]))
    assert "submission set" in message
    assert problems(zipped([(FOLDER + "METADATA.XML", b"<!DOCTYPE a><a/>")]))


def test_metadata_without_document() -> None:
    ((message, where),) = problems(of(evolve(xdm.prepare(submission()), entries=()), {FOLDER + "DOC00001.XML": RAW}))
    assert message == "the metadata describe no document"
    assert where == FOLDER + "METADATA.XML"


def test_two_patients() -> None:
    one = xdm.prepare(submission(RAW, OTHER))
    first, second = one.entries
    files = {FOLDER + "DOC00001.XML": RAW, FOLDER + "DOC00002.XML": OTHER}
    other = evolve(one, entries=(first, evolve(second, patient_id="2^^^&1.2&ISO^PI")))
    ((message, _),) = problems(of(other, files))
    assert "2 patients" in message
    # The same number of the same authority, written otherwise, is the same patient.
    same = evolve(one, entries=(first, evolve(second, patient_id=first.patient_id.removesuffix("NH") + "INS-C^^2020")))
    assert len(xdm.unpack(of(same, files)).documents) == 2


def test_more_documents_than_entries_allow() -> None:
    one = xdm.prepare(submission(*[RAW] * 5))
    data = of(evolve(one, entries=tuple(evolve(e, uri="A.XML") for e in one.entries)), {FOLDER + "A.XML": RAW})
    assert len(xdm.unpack(data).documents) == 5
    with pytest.raises(Rejected, match="more than 4 documents"):
        xdm.unpack(data, limits=xdm.Limits(entries=4))


def action_of(data: bytes) -> str:
    (action,) = xdm.unpack(data).actions.values()
    return action


@pytest.mark.parametrize("action", ["", "C", "D"])
@pytest.mark.parametrize("slot", [None, ActionSlot(("urn:fr:ans:action",)), ActionSlot(carrier="submission")])
def test_the_action_that_we_write(action: xdm.Action, slot: ActionSlot | None) -> None:
    assert action_of(packed(action=action, action_slot=slot)) == action


@pytest.mark.parametrize("name", ["action", "ACTION", "urn:x:action", "http://x/y#action", "ci-sis.action", "x_Action"])
@pytest.mark.parametrize(("value", "action"), [("c", "C"), ("Change", "C"), ("DELETED", "D"), ("Delete", "D")])
def test_the_action_that_others_write(name: str, value: str, action: str) -> None:
    assert action_of(archive(lambda entry: evolve(entry, extra=((name, (value,)),)))) == action


@pytest.mark.parametrize("name", ["transaction", "urn:x:interaction", "action:x", "actions"])
def test_a_name_that_is_no_action(name: str) -> None:
    assert action_of(archive(lambda entry: evolve(entry, extra=((name, ("D",)),)))) == ""


@pytest.mark.parametrize("values", [("X",), ("C", "D"), ("DUPONT",)])
def test_an_action_that_is_not_understood(values: tuple[str, ...]) -> None:
    ((message, where),) = problems(archive(lambda entry: evolve(entry, extra=(("action", values),))))
    assert "none of C" in message
    assert "DUPONT" not in message
    assert where == FOLDER + "METADATA.XML#DocumentEntry[1]"


def test_a_replacement_without_slot() -> None:
    one = xdm.prepare(submission(RAW, OTHER))
    one = evolve(one, associations=(replacement(one.entries[1].entry_uuid, replaced_unique_id="1.2.3"),))
    read = xdm.unpack(of(one, {FOLDER + "DOC00001.XML": RAW, FOLDER + "DOC00002.XML": OTHER}))
    assert [read.actions[entry] for entry in read.submissions[0].entries] == ["", "C"]


def test_the_slot_wins_over_the_association() -> None:
    one = submission()
    one = evolve(one, associations=(replacement(one.entries[0].entry_uuid, replaced_unique_id="1.2.3"),))
    assert action_of(xdm.pack(one, [RAW], sender=SENDER, software=SOFTWARE, action="D")) == "D"


def test_what_is_read_cannot_be_changed() -> None:
    read = xdm.unpack(packed())
    with pytest.raises(TypeError):
        read.documents[read.submissions[0].entries[0]] = b""  # type: ignore[index]
