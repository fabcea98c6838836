from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfiflow.cda import document as cda
from pfiflow.cda.values import Identifier
from pfiflow.errors import Rejected
from pfiflow.mssante.reading import read
from pfiflow.segur.delivery import Consumer, Letter, build
from pfiflow.segur.delivery_people import sender_of
from pfiflow.segur.incoming import IncomingMail, action_of, open_mail, visibility_of
from pfiflow.segur.values import Action
from pfiflow.simulators.documents import document
from pfiflow.xds.from_cda import entry_uuid_of
from pfiflow.xds.metadata import Association, CodedValue
from tests.mssante import mails
from tests.mssante.mails import xdm_like
from tests.segur.mails import NOW, archive, changed, letter, sent, without_title

FIRST = document("N1", number=1, patient=1)
SECOND = document("N1", number=2, patient=1, replaces=FIRST)
LETTER = document("N3", number=3, patient=1, size=16_000)
THIRD = document("N1", number=5, patient=1)
STRANGER = document("N1", number=4, patient=2)


def opened(raw: bytes) -> IncomingMail:
    return open_mail(read(raw))


def refused(raw: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        opened(raw)
    return " | ".join(map(str, caught.value.problems))


def test_what_our_outbound_sends_comes_in_byte_for_byte() -> None:
    mail = opened(sent(LETTER))
    (incoming,) = mail.deliverable
    assert incoming.document.raw == LETTER.data
    assert hashlib.sha1(incoming.document.raw, usedforsecurity=False).hexdigest() == incoming.entry.hash
    assert (incoming.action, incoming.number, incoming.count) == (Action.NEW, 1, 1)
    assert mail.warnings == ()


@pytest.mark.parametrize(
    ("sample", "action"),
    [(FIRST, Action.NEW), (SECOND, Action.REPLACE), (SECOND, Action.DELETE), (FIRST, Action.DELETE)],
)
def test_the_action_of_an_outbound_message_comes_out_again(sample: Any, action: Action) -> None:
    assert opened(sent(sample, action=action)).deliverable[0].action is action


def test_several_documents_in_their_order() -> None:
    mail = opened(letter(archive([FIRST, LETTER])))
    assert [(d.document.raw, d.number, d.count) for d in mail.deliverable] == [(FIRST.data, 1, 2), (LETTER.data, 2, 2)]


def test_the_document_itself_is_evidence_of_a_replacement() -> None:
    assert opened(letter(archive([SECOND]))).deliverable[0].action is Action.REPLACE


def test_an_association_is_evidence_too_and_needs_the_document() -> None:
    rplc = Association("urn:ihe:iti:2007:AssociationType:RPLC", entry_uuid_of("0"), "urn:uuid:0")
    assert opened(letter(archive([SECOND], associations=(rplc,)))).deliverable[0].action is Action.REPLACE
    assert "does not say which" in refused(letter(archive([FIRST], associations=(rplc,))))


@pytest.mark.parametrize(
    ("replaces", "said", "expected"),
    [
        (False, "", Action.NEW),
        (True, "", Action.REPLACE),
        (True, "C", Action.REPLACE),
        (True, "D", Action.DELETE),
        (False, "D", Action.DELETE),
    ],
)
def test_actions(replaces: bool, said: Any, expected: Action) -> None:
    sample = cda.read((SECOND if replaces else FIRST).data)
    assert action_of(sample, said) is expected


def test_a_replacement_of_nothing_is_refused_as_a_wrong_version() -> None:
    with pytest.raises(Rejected) as caught:
        action_of(cda.read(FIRST.data), "C")
    assert caught.value.problems[0].detail_code == "900"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((), (False, False, False)),
        (("N", "MASQUE_PS"), (True, False, False)),
        (("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"), (False, True, True)),
        (("INVISIBLE_ REP_LEGAUX",), (False, False, True)),
    ],
)
def test_visibility(codes: tuple[str, ...], expected: tuple[bool, ...]) -> None:
    entry = opened(sent(FIRST)).deliverable[0].entry
    visibility = visibility_of(
        attrs.evolve(entry, confidentiality_codes=tuple(CodedValue(code, "1.2.3") for code in codes))
    )
    assert expected == (
        visibility.hidden_from_professionals,
        visibility.hidden_from_patient,
        visibility.hidden_from_representatives,
    )


def test_several_patients_are_processed_none() -> None:
    said = refused(letter(archive([FIRST, STRANGER], patient_id="")))
    assert "several patients" in said
    assert "906" not in said  # an ERR-5 code, not a word of the message
    assert "PAT-" not in said


def test_several_archives_are_processed_none() -> None:
    assert "2 different XDM archives" in refused(mails.letter(archives=[archive([FIRST]), archive([LETTER])]))


def test_metadata_of_another_patient() -> None:
    other = cda.read(STRANGER.data).patient.ins(test_platform=True)
    assert other is not None
    said = refused(letter(archive([FIRST], patient_id=f"{other.extension}^^^&{other.root}&ISO^NH")))
    assert "another patient's document" in said


def test_a_unique_id_that_differs_is_told() -> None:
    mail = opened(letter(archive([FIRST], unique_id="1.2.3.4")))
    assert [problem.severity for problem in mail.warnings] == ["warning"]
    assert "uniqueId" in str(mail.warnings[0])


def test_a_pdf_beside_the_documents_is_passed_over() -> None:
    said = refused(letter(archive([FIRST], mime_type="application/pdf")))
    assert "no CDA document" in said


def test_the_same_document_twice_is_delivered_once() -> None:
    mail = opened(letter(archive([FIRST, FIRST])))
    assert len(mail.deliverable) == 1
    assert "delivered once" in str(mail.warnings[0])


def test_one_id_for_two_documents_is_refused() -> None:
    other = attrs.evolve(FIRST, data=FIRST.data.replace(b"</title>", b" bis</title>"))
    assert other.data != FIRST.data
    assert "one id" in refused(letter(archive([FIRST, other])))


def test_a_document_that_is_none_says_where() -> None:
    broken = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive([FIRST]))) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("DOC00001.XML"):
                data = data[:-20] + b" " * 20  # the size stays
            target.writestr(name, data)
    assert "the hash differs" in refused(letter(broken.getvalue()))
    said = refused(letter(archive([FIRST]).replace(b"METADATA.XML", b"METADATA.TXT")))
    assert "METADATA.XML" in said


@pytest.mark.parametrize("content", [xdm_like(), archive([FIRST])[:-200], b"no zip"])
def test_damaged_archives(content: bytes) -> None:
    assert refused(letter(content))


def test_a_forward_is_opened_and_shows_nobody() -> None:
    forward = mails.letter(subject="TR: pour vous", archives=(), enclosed=[sent(FIRST)])
    mail = opened(forward)
    assert mail.deliverable[0].document.raw == FIRST.data
    assert "PAT-" not in repr(mail)


def test_a_mail_without_archive() -> None:
    assert "kind ordinary" in refused(mails.letter(archives=()))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_archives_are_read_or_refused(data: st.DataObject) -> None:
    """Mutations of METADATA.XML, packed anew: they reach every reader behind the zip. (A CDA's meet its hash.)"""
    source = zipfile.ZipFile(io.BytesIO(PACKED))
    target = io.BytesIO()
    name = "IHE_XDM/SUBSET01/METADATA.XML"
    with zipfile.ZipFile(target, "w") as packed:
        for each in source.namelist():
            content = bytearray(source.read(each))
            if each == name:
                for _ in range(data.draw(st.integers(1, 4))):
                    at = data.draw(st.integers(0, len(content)))
                    size = data.draw(st.sampled_from([0, 1, 10, 200]))
                    content[at : at + size] = data.draw(st.sampled_from(PIECES))
            packed.writestr(each, bytes(content))
    with contextlib.suppress(Rejected):
        for incoming in opened(letter(target.getvalue())).deliverable:
            body = Letter("a@b.fr", "<a@b>", "", "", sender_of(incoming.submission, "a@b.fr"))
            build(incoming, body, Consumer("A", "B", "C", "D", test_platform=True), now=NOW)


PACKED = archive([FIRST])
PIECES = (b"", b"<", b'"', b"&amp;", b"&x;", b"\0", b"\xff", b"^^^&1.2&ISO", b"<!DOCTYPE a []>", b"action", b"C")


def test_the_identifier_of_a_replaced_document() -> None:
    replaces = opened(sent(SECOND)).deliverable[0].document.replaces
    assert replaces == Identifier(FIRST.id.root, FIRST.id.extension)


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without_title, "101 at document[{place}]#/ClinicalDocument/title"),
        (lambda _: b"no XML", "at document[{place}]"),
        (lambda _: b"<ClinicalDocument/>", "at document[{place}]"),
    ],
)
def test_a_document_that_is_no_cda_is_refused_alone(place: int, change: Any, expected: str) -> None:
    mail = opened(letter(changed(archive([FIRST, LETTER, THIRD]), place, change)))
    assert [each.number for each in mail.deliverable] == [n for n in (1, 2, 3) if n != place]
    assert {each.count for each in mail.documents} == {3}
    (faulty,) = mail.faulty
    assert faulty.number == place
    assert expected.format(place=place) in " | ".join(map(str, faulty.problems))


def test_a_document_that_is_not_the_one_described_is_refused_alone_with_906() -> None:
    mail = opened(letter(changed(archive([FIRST, LETTER]), 2, lambda raw: raw[:-1] + b" ", rehash=False)))
    (incoming,), (faulty,) = mail.deliverable, mail.faulty
    assert incoming.document.raw == FIRST.data
    assert [(each.code, each.detail_code) for each in faulty.problems] == [("207", "906")]
    assert (incoming.number, incoming.count, faulty.number, faulty.count) == (1, 2, 2, 2)


def test_a_replacement_of_nothing_is_refused_alone_with_900() -> None:
    mail = opened(letter(archive([FIRST, SECOND], action="C")))
    assert [each.document.raw for each in mail.deliverable] == [SECOND.data]
    assert [each.detail_code for each in mail.faulty[0].problems] == ["900"]


def test_no_document_left_refuses_the_mail_with_every_reason() -> None:
    broken = changed(archive([FIRST, LETTER]), 1, without_title)
    said = refused(letter(changed(broken, 2, lambda raw: raw[:-1] + b" ", rehash=False)))
    assert "document[1]#/ClinicalDocument/title" in said
    assert "hash differs" in said


def test_a_stranger_beside_a_faulty_document_refuses_the_mail() -> None:
    broken = changed(archive([FIRST, STRANGER, LETTER], patient_id=""), 3, without_title)
    assert "several patients" in refused(letter(broken))


def test_two_ins_are_two_patients_even_with_a_number_in_common() -> None:
    """A hospital that gave two people one number: the INS decides."""
    other = attrs.evolve(STRANGER, data=STRANGER.data.replace(b"IPP0000002", b"IPP0000001"))
    assert b"IPP0000001" in FIRST.data
    assert other.data != STRANGER.data
    assert "several patients" in refused(letter(archive([FIRST, other], patient_id="")))
