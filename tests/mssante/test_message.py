from __future__ import annotations

import io
import zipfile
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfiflow.errors import Rejected
from pfiflow.mssante.message import PATIENT_MAX_BYTES, Attachment, build, message_id
from pfiflow.mssante.naming import pdf_name
from pfiflow.mssante.values import OutgoingMail

PATIENT = "279035121518989@patient.mssante.fr"
ARCHIVE = b"PK\x03\x04" + bytes(range(256)) * 40
PDF = b"%PDF-1.4\n" + bytes(range(255, -1, -1)) * 70
PDF_NAME = pdf_name("20240502", "Compte rendu d'imagerie médicale", "Pat-Trois", "Dominique", "12150302014578")
ID = message_id("exchange 1", "professionals", "hopital.mssante.fr")
SHARED_CDA = Path(__file__).parents[2] / ".." / "shared" / "vectors" / "cda"


def values(**changes: Any) -> dict[str, Any]:
    return {
        "archive": ARCHIVE,
        "documents": [Attachment(PDF_NAME, PDF)],
        "labels": ["Compte rendu d'imagerie médicale"],
        "family": "Pat-Trois",
        "given": "Dominique",
        "birth_date": "19790328",
        "sender": "pfi@hopital.mssante.fr",
        "sender_label": "Hôpital Nord, imagerie",
        "reply_to": "secretariat.imagerie@hopital.mssante.fr",
        "recipients": ["dr.durand@cabinet.mssante.fr", "dr.dupont@cabinet.mssante.fr"],
        "message_id": ID,
        "date": datetime(2024, 5, 2, 14, 30, 5, tzinfo=timezone(timedelta(hours=2))),
        "nil": "DEV935997",
        "ins_qualified": True,
        "cda_codes": ("18748-4",),
        **changes,
    }


def to_patient(**changes: Any) -> dict[str, Any]:
    return values(**{"recipients": [PATIENT], **changes})


def built(mail: OutgoingMail) -> EmailMessage:
    message = message_from_bytes(mail.raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    for part in message.walk():
        assert not part.defects
    return message


def text_of(mail: OutgoingMail) -> str:
    body = next(iter(built(mail).iter_parts()))
    assert isinstance(body, EmailMessage)
    content = body.get_content()
    assert isinstance(content, str)
    return content


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(Rejected) as caught:
        build(**values(**changes))
    return {problem.location: problem.message for problem in caught.value.problems}


def test_every_header_and_byte_reads_back() -> None:
    mail = build(**values(receipt_wanted=True, reading_wanted=True))
    message = built(mail)
    assert dict(message.items()) == {
        "From": '"Hôpital Nord, imagerie" <pfi@hopital.mssante.fr>',
        "To": "dr.durand@cabinet.mssante.fr, dr.dupont@cabinet.mssante.fr",
        "Reply-To": "secretariat.imagerie@hopital.mssante.fr",
        "Subject": "XDM/1.0/DDM+Compte rendu d'imagerie medicale PAT-TROIS Dominique 28/03/1979",
        "Date": "Thu, 02 May 2024 14:30:05 +0200",
        "Message-ID": ID,
        "X-MSS-NIL": "DEV935997",
        "X-MSS-INS": "O",
        "X-MSS-CODECDA": "18748-4",
        "Return-Receipt-To": "pfi@hopital.mssante.fr",
        "Disposition-Notification-To": "pfi@hopital.mssante.fr",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/mixed; boundary="=_{ID[1:41]}"',
    }
    text, archive, pdf = message.iter_parts()
    assert (text.get_content_type(), text.get_content_charset()) == ("text/plain", "utf-8")
    assert text.get_content_disposition() is None
    assert (archive.get_content_type(), archive.get_filename()) == ("application/zip", "IHE_XDM.zip")
    assert archive.get_payload(decode=True) == ARCHIVE
    assert (pdf.get_content_type(), pdf.get_filename()) == ("application/pdf", PDF_NAME)
    assert pdf.get_payload(decode=True) == PDF
    assert PDF_NAME == "20240502_Compte rendu d'imagerie médicale_PAT-TROIS_Dominique_12150302014578.pdf"


def test_the_envelope() -> None:
    mail = build(**values(receipt_wanted=True))
    assert mail.sender == "pfi@hopital.mssante.fr"
    assert mail.recipients == ("dr.durand@cabinet.mssante.fr", "dr.dupont@cabinet.mssante.fr")
    assert mail.message_id == ID
    assert mail.envelope_id == ID[1:41]
    assert mail.notify == ("SUCCESS", "FAILURE", "DELAY")
    assert build(**values()).notify == ()


def test_the_bytes_are_fit_for_smtp() -> None:
    raw = build(**values(text="é" * 3000 + "\n.\n..\r\n" + "x" * 3000 + "\rfin\x00")).raw
    assert raw.isascii()
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert raw.endswith(b"--\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert build(**values()).raw == build(**values()).raw
    assert build(**values()).raw != build(**values(message_id=message_id("exchange 2", "", "a.fr"))).raw


def test_a_message_id_tells_exchanges_and_audiences_apart() -> None:
    ids = {message_id(e, a, "a.fr") for e, a in [("1", "ps"), ("1", "pat"), ("2", "ps"), ("1p", "s"), ("", "1ps")]}
    assert len(ids) == 5
    assert message_id("1", "ps", "a.fr") == message_id("1", "ps", "a.fr")
    assert message_id("a\r\nb\udcff", "ps", "a.fr").isprintable()


def test_unfolded_headers_stay_on_one_line() -> None:
    codes = tuple(f"PRESC-BIO-{number:04}" for number in range(50))
    raw = build(**values(cda_codes=codes, labels=["CR"] * 50)).raw
    assert f"\r\nX-MSS-CODECDA: {','.join(codes)}\r\n".encode() in raw


def test_without_a_cda_the_cda_headers_are_absent() -> None:
    message = built(
        build(**values(archive=None, documents=(), ins_qualified=None, cda_codes=(), labels=["Information"]))
    )
    assert message["X-MSS-INS"] is None
    assert message["X-MSS-CODECDA"] is None
    assert message["X-MSS-NIL"] == "DEV935997"
    assert message["Subject"] == "Information PAT-TROIS Dominique 28/03/1979"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain"]


def test_what_is_not_asked_for_is_absent() -> None:
    message = built(build(**values(ins_qualified=False)))
    assert message["X-MSS-INS"] == "N"
    for name in ("X-MSS-MES", "Return-Receipt-To", "Disposition-Notification-To", "Auto-Submitted"):
        assert message[name] is None


def test_a_patient_may_be_asked_not_to_answer() -> None:
    assert built(build(**to_patient(close_channel=True)))["X-MSS-MES"] == "FIN"
    assert "X-MSS-MES" in refused(close_channel=True)


def test_a_patient_is_written_to_alone_and_only_with_a_qualified_ins() -> None:
    assert "alone" in refused(recipients=[PATIENT, "dr.durand@cabinet.mssante.fr"])["To"]
    assert "qualified" in refused(recipients=[PATIENT], ins_qualified=False)["To"]


def test_repeated_recipients_are_written_to_once() -> None:
    mail = build(**values(recipients=["b@x.fr", "a@x.fr", "B@x.fr", "a@x.fr"]))
    assert mail.recipients == ("b@x.fr", "a@x.fr")
    assert built(mail)["To"] == "b@x.fr, a@x.fr"


def test_documents_of_one_name_are_told_apart() -> None:
    mail = build(**values(documents=[Attachment("a.pdf", b"1"), Attachment("a.pdf", b"2"), Attachment("a.pdf", b"3")]))
    names = [part.get_filename() for part in built(mail).iter_attachments()]
    assert names == ["IHE_XDM.zip", "a.pdf", "a (2).pdf", "a (3).pdf"]


MENTION = (
    "Ce courriel a été généré automatiquement, merci de ne pas répondre à l'adresse d'expédition.\r\n"
    "Pour toute question ou réponse, écrivez à : secretariat.imagerie@hopital.mssante.fr"
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "un document de santé concernant votre patient"),
        ({"labels": ["a", "b"]}, "2 documents de santé concernant votre patient"),
        ({"recipients": [PATIENT]}, "un document de santé vous concernant"),
        ({"action": "replace"}, "annule et remplace"),
        ({"action": "delete"}, "supprimé"),
        ({"action": "delete"}, "annule l'envoi précédent"),
        ({"text": "Cher confrère,\nvoici le compte rendu."}, "Cher confrère,\r\nvoici le compte rendu."),
        ({"text": "  \n"}, "Vous trouverez"),
        ({"text": "Voir ci-joint.", "action": "replace"}, "annule et remplace"),
    ],
)
def test_texts(changes: dict[str, Any], expected: str) -> None:
    text = text_of(build(**values(**changes)))
    assert expected in text
    assert text.endswith(MENTION)
    assert text.count("généré automatiquement") == 1


def test_the_creators_text_replaces_ours_and_is_not_repeated() -> None:
    text = text_of(build(**values(text="Ce document ANNULE ET REMPLACE celui du 3 mai.", action="replace")))
    assert text.casefold().count("annule et remplace") == 1
    assert "Bonjour" not in text


@pytest.mark.parametrize(
    ("field", "location"),
    [("sender", "From"), ("reply_to", "Reply-To"), ("nil", "X-MSS-NIL"), ("message_id", "Message-ID")],
)
@pytest.mark.parametrize("value", ["", "a@b.fr\r\nBcc: spy@x.fr", "<a@b.fr>\nX: y", "a@b.fr\0", "é@b.fr"])
def test_addresses_and_identifiers_cannot_carry_headers(field: str, location: str, value: str) -> None:
    problems = refused(**{field: value})
    assert location in problems
    assert "spy" not in str(problems)


def test_recipients_and_codes_cannot_carry_headers() -> None:
    assert "To[2]" in refused(recipients=["a@b.fr", "a@b.fr\r\nBcc: spy@x.fr"])
    assert "X-MSS-CODECDA" in refused(cda_codes=("18748-4\r\nBcc: spy@x.fr",))
    assert "X-MSS-CODECDA" in refused(cda_codes=("1,2",))
    assert "X-MSS-CODECDA" in refused(cda_codes=("x" * 100,) * 10)


@given(label=st.text(), family=st.text(), name=st.text(), words=st.text(), kind=st.text(), birth=st.text())
@settings(max_examples=50)
def test_free_text_cannot_carry_headers(label: str, family: str, name: str, words: str, kind: str, birth: str) -> None:
    plain = build(**values(documents=[Attachment("a.pdf", PDF)]))
    mail = build(
        **values(
            sender_label=f"a{label}\r\nBcc: spy@x.fr",
            family=f"{family}\r\nBcc: spy@x.fr",
            given=name,
            text=f"{words}\r\n--=_{ID[1:41]}\r\n\r\nx",
            labels=[f"CR\n{kind}"],
            documents=[Attachment(f'a"\r\nBcc: spy@x.fr{name}', PDF)],
            birth_date=birth,
        )
    )
    message = message_from_bytes(mail.raw, policy=policy.compat32)
    assert message.keys() == message_from_bytes(plain.raw).keys()
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [part.get_content_type() for part in parts if not isinstance(part, str)] == [
        "text/plain", "application/zip", "application/pdf",
    ]  # fmt: skip
    assert mail.raw.isascii()
    assert mail.raw.count(b"\n") == mail.raw.count(b"\r\n") == mail.raw.count(b"\r")


def test_all_problems_come_at_once() -> None:
    problems = refused(sender="", reply_to="", recipients=[], nil="", cda_codes=(), ins_qualified=None, labels=())
    assert set(problems) == {"From", "Reply-To", "To", "X-MSS-NIL", "X-MSS-CODECDA", "X-MSS-INS", "Subject"}


def test_cda_headers_without_an_archive_are_refused() -> None:
    assert set(refused(archive=None)) == {"X-MSS-INS", "X-MSS-CODECDA"}


def test_a_date_needs_its_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        build(**values(date=datetime(2024, 5, 2)))  # noqa: DTZ001


def test_a_mail_too_large_is_refused() -> None:
    size = len(build(**values()).raw)
    assert len(build(**values(max_bytes=size)).raw) == size
    with pytest.raises(Rejected) as caught:
        build(**values(max_bytes=size - 1))
    (problem,) = caught.value.problems
    assert problem.detail_code == "552"
    assert str(size) in problem.message
    large = [Attachment("a.pdf", bytes(PATIENT_MAX_BYTES * 3 // 4))]
    with pytest.raises(Rejected, match="25000000"):
        build(**to_patient(documents=large))
    assert len(build(**values(documents=large)).raw) > PATIENT_MAX_BYTES


def test_neither_content_nor_patient_shows_in_a_repr() -> None:
    mail = build(**to_patient())
    assert "279035121518989" not in repr(mail)
    assert "PAT-TROIS" not in repr(mail)
    assert f"<{len(mail.raw)} bytes>" in repr(mail)
    assert "TROIS" not in repr(Attachment(PDF_NAME, PDF))


@pytest.mark.skipif(not SHARED_CDA.is_dir(), reason="the official examples (../shared/vectors) are not here")
def test_official_documents_travel_unchanged() -> None:
    for path in sorted(SHARED_CDA.glob("*.xml")):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("IHE_XDM/SUBSET01/DOC00001.XML", path.read_bytes())
        mail = build(**values(archive=content.getvalue(), documents=[Attachment("a.pdf", path.read_bytes())]))
        zip_part, pdf_part = built(mail).iter_attachments()
        received = zip_part.get_payload(decode=True)
        assert isinstance(received, bytes)
        with zipfile.ZipFile(io.BytesIO(received)) as archive:
            assert archive.read("IHE_XDM/SUBSET01/DOC00001.XML") == path.read_bytes()
        assert pdf_part.get_payload(decode=True) == path.read_bytes()
