from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta, timezone

import pytest

from pfiflow.errors import Rejected
from pfiflow.mssante.reading import Limits, ReceivedMail, read
from tests.mssante.mails import ARCHIVE, BOX, HEAD, ID, SENDER, SUBJECT, letter, raw_mail, xdm_like, zipped

B64 = base64.encodebytes(ARCHIVE).decode()
ZIP_PART = f"""Content-Type: application/zip; name="IHE_XDM.zip"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="IHE_XDM.zip"

{B64}"""
TEXT_PART = "Content-Type: text/plain; charset=utf-8\n\nBonjour"


def errors(mail: ReceivedMail) -> str:
    return " | ".join(map(str, mail.errors))


def only_archive(raw: bytes) -> bytes:
    mail = read(raw)
    assert mail.kind == "xdm", errors(mail)
    return mail.archive().content


# -- what a mail says ------------------------------------------------------------------------------------------------


def test_every_fact_of_a_letter() -> None:
    mail = read(
        letter(
            headers={
                "Cc": "Autre <autre@chb.mssante.fr>",
                "Original-Recipient": f"rfc822;{BOX}",
                "Delivered-To": "interne@chb.mssante.fr",
                "In-Reply-To": "<a@b>",
                "References": "<z@b> <a@b>",
                "Auto-Submitted": "auto-generated (par un logiciel)",
                "Disposition-Notification-To": f"PFI <{SENDER}>",
            }
        )
    )
    assert mail.kind == "xdm"
    assert (mail.message_id, mail.sender, mail.sender_label) == (ID, SENDER, "Hôpital Nord")
    assert (mail.reply_to, mail.return_path) == ("secretariat@hopital.mssante.fr", SENDER)
    assert mail.recipients == (BOX, "autre@chb.mssante.fr")
    assert mail.original_recipients == (BOX, "interne@chb.mssante.fr")
    assert mail.subject == SUBJECT
    assert mail.date == datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=1)))
    assert (mail.in_reply_to, mail.references) == (("<a@b>",), ("<z@b>", "<a@b>"))
    assert mail.auto_submitted == "auto-generated"
    assert mail.notification_to == (SENDER,)
    assert mail.text == "Bonjour,\n\nUn document vous est adressé.\n"
    assert (mail.forwarded, mail.problems) == ("", ())
    assert mail.archive().content == ARCHIVE
    assert (mail.archive().name, mail.archive().depth, mail.archive().carrier) == ("IHE_XDM.zip", 0, None)


def test_its_representation_shows_nobody() -> None:
    mail = read(letter())
    shown = f"{mail!r} {mail.archive()!r} {mail.top!r}"
    assert "PAT-TROIS" not in shown
    assert "mssante.fr" not in shown


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", None), ("Return-Path: <>", ""), (f"Return-Path: <{SENDER}>", SENDER), ("Return-Path: ???", None)],
)
def test_a_null_return_path_is_not_an_absent_one(header: str, expected: str | None) -> None:
    raw = f"{header}\nFrom: a@b.fr\n\nx".lstrip("\n").encode()
    assert read(raw).return_path == expected


def test_an_unusable_address_is_no_address() -> None:
    mail = read(b'From: "((((((" <a b@c>, <x@y.fr\nTo: undisclosed-recipients:;\nReply-To: <@a,@b:c@d.fr>\n\nx')
    assert (mail.sender, mail.recipients, mail.reply_to) == ("x@y.fr", (), "c@d.fr")


# -- what kind it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", ["disposition-notification", "delivery-status"])
def test_a_report_is_one_whatever_it_returns(report: str) -> None:
    """The trap that makes loops: the original's archive seems to be an attachment of the report."""
    original = letter().decode()
    raw = raw_mail(
        HEAD,
        TEXT_PART,
        f"Content-Type: message/{report}\n\nFinal-Recipient: rfc822;{BOX}",
        f"Content-Type: message/rfc822\n\n{original}",
        ZIP_PART,
        subtype=f"report; report-type={report}",
        boundary="R",
    )
    mail = read(raw)
    assert mail.kind == ("mdn" if "notification" in report else "dsn")
    assert mail.archives == ()


def test_a_report_without_report_type_is_known_by_its_part() -> None:
    part = "Content-Type: message/global-delivery-status\n\nReporting-MTA: dns; a"
    assert read(raw_mail(HEAD, TEXT_PART, part, subtype="report")).kind == "dsn"


def test_another_report_is_automatic() -> None:
    part = "Content-Type: message/feedback-report\n\nFeedback-Type: abuse"
    assert read(raw_mail(HEAD, TEXT_PART, part, subtype="report; report-type=feedback-report")).kind == "auto-reply"


@pytest.mark.parametrize("wrapper", ["mixed", 'signed; protocol="application/pkcs7-signature"'])
def test_a_report_is_one_inside_a_signature_or_a_footer(wrapper: str) -> None:
    part = f"Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;{BOX}"
    original = f"Content-Type: message/rfc822\n\n{letter().decode()}"
    report = raw_mail("X: y", TEXT_PART, part, original, boundary="R", subtype="report").decode()
    mail = read(raw_mail(HEAD, report, TEXT_PART, boundary="W", subtype=wrapper))
    assert (mail.kind, mail.archives) == ("mdn", ())


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        (f"[KO Intégration système !][902] {SUBJECT}", "902"),
        (f"[Erreur d’intégration !][904] {SUBJECT}", "904"),
        (f"[Erreur d'intégration !] {SUBJECT}", ""),
        (f"RE: [ko integration systeme!] [ 905 ] {SUBJECT}", "905"),
    ],
)
def test_an_error_mail_is_known_by_its_subject_in_either_form(subject: str, code: str) -> None:
    mail = read(letter(subject=subject))
    assert (mail.kind, mail.error_code, mail.archives) == ("error-report", code, ())


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto-Submitted": "auto-replied"},
        {"Auto-Submitted": "auto-notified; owner-email=a@b.fr"},
        {"X-Autoreply": "yes"},
        {"Precedence": "auto_reply"},
    ],
)
def test_an_automaton_that_answers_with_the_archive_is_not_read_as_a_sending(headers: dict[str, str]) -> None:
    mail = read(letter(headers=headers))
    assert (mail.kind, mail.archives) == ("auto-reply", ())


@pytest.mark.parametrize("subject", ["Réponse automatique : XDM/1.0/DDM+CR", "Absence du bureau", "Out of Office: re"])
def test_out_of_office_by_its_subject(subject: str) -> None:
    assert read(letter(subject=subject, archives=())).kind == "auto-reply"


def test_the_subject_alone_does_not_make_a_sending_an_absence() -> None:
    assert read(letter(subject="Absence du bureau : XDM/1.0/DDM+CR")).kind == "xdm"


def test_a_pfi_may_mark_its_sendings_auto_generated() -> None:
    assert read(letter(headers={"Auto-Submitted": "auto-generated"})).kind == "xdm"


def test_a_bounce_in_plain_words() -> None:
    raw = b"Return-Path: <>\r\nFrom: MAILER-DAEMON@op.mssante.fr\r\nSubject: Undelivered\r\n\r\nUser unknown"
    assert read(raw).kind == "dsn"


def test_an_answer_of_a_person_is_ordinary() -> None:
    assert read(letter(subject=f"RE: {SUBJECT}", archives=())).kind == "ordinary"


@pytest.mark.parametrize(
    "media_type", ["application/pkcs7-mime; smime-type=enveloped-data", "application/x-pkcs7-mime; name=smime.p7m"]
)
def test_a_sealed_mail(media_type: str) -> None:
    mail = read(f"{HEAD}\nContent-Type: {media_type}\nContent-Transfer-Encoding: base64\n\nMIIB\n".encode())
    assert mail.kind == "encrypted"
    assert "cannot be opened" in errors(mail)


def test_a_clear_signature_hides_nothing() -> None:
    signature = "Content-Type: application/pkcs7-signature; name=smime.p7s\n\nMIIB"
    inner = raw_mail("X: y", TEXT_PART, ZIP_PART, boundary="C").decode()
    raw = raw_mail(HEAD, inner, signature, subtype='signed; protocol="application/pkcs7-signature"')
    assert only_archive(raw) == ARCHIVE


def test_winmail_dat_is_set_aside_with_the_reason() -> None:
    part = "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64\n\neJ8+Ig=="
    mail = read(raw_mail(HEAD, TEXT_PART, part))
    assert mail.kind == "unreadable"
    assert "TNEF" in errors(mail)


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\0\0\0", b"no header here", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_mail(raw: bytes) -> None:
    mail = read(raw)
    assert mail.kind == "unreadable"
    assert mail.errors


# -- where the archive is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("ihe_xdm.zip", "application/octet-stream"),
        ("IHE-XDM.ZIP", "application/x-zip-compressed"),
        ("document.bin", "application/vnd.unknown"),
        ("Compte rendu d'été n° 3.zip", "application/zip"),
        ("photo.jpg", "image/jpeg"),
    ],
)
def test_an_archive_is_known_by_its_content(name: str, media_type: str) -> None:
    mail = read(letter(name=name, media_type=media_type))
    assert mail.archive().content == ARCHIVE
    assert mail.archive().name == name


@pytest.mark.parametrize(
    "archive",
    [xdm_like(folder="samplexdm/IHE_XDM"), xdm_like(folder="ihe_xdm", metadata="METADATA.xml"), xdm_like(metadata="X")],
    ids=["wrapped", "lower case", "without metadata: its problem is for the reader of archives to tell"],
)
def test_layouts_that_occur(archive: bytes) -> None:
    assert only_archive(letter(archives=[archive])) == archive


def test_another_zip_is_no_archive() -> None:
    assert read(letter(archives=[zipped({"a.txt": "IHE_XDM/SUBSET01/METADATA.XML"})], name="a.zip")).kind == "ordinary"


@pytest.mark.parametrize("content", [b"not a zip at all", zipped({"a.txt": "x"}), b""])
def test_an_attachment_that_claims_to_be_one_is_an_error_to_tell(content: bytes) -> None:
    mail = read(letter(archives=[content]))
    assert (mail.kind, mail.archives) == ("xdm", ())
    assert "named as an XDM archive" in errors(mail)
    with pytest.raises(Rejected):
        mail.archive()


def test_a_cut_zip_is_still_recognised() -> None:
    cut = ARCHIVE[: len(ARCHIVE) // 2]
    assert only_archive(letter(archives=[cut])) == cut


def test_several_archives_are_processed_none() -> None:
    mail = read(letter(archives=[ARCHIVE, xdm_like("2")]))
    assert (mail.kind, len(mail.archives)) == ("xdm", 2)
    assert "2 different XDM archives" in errors(mail)
    with pytest.raises(Rejected, match="none is processed"):
        mail.archive()


def test_the_same_archive_twice_is_one() -> None:
    mail = read(letter(archives=[ARCHIVE, ARCHIVE], enclosed=[letter()]))
    assert mail.archive().depth == 0


def test_a_base64_zip_that_does_not_say_so() -> None:
    part = f"Content-Type: application/zip\n\n{B64}"
    assert only_archive(raw_mail(HEAD, TEXT_PART, part)) == ARCHIVE


def test_base64_with_rubbish_between_and_no_padding() -> None:
    rubbish = "\n \t".join(re.findall(".{1,7}", B64.replace("\n", ""))).rstrip("=") + "\n!!"
    part = f"Content-Type: application/zip\nContent-Transfer-Encoding: BASE64 \n\n{rubbish}"
    assert only_archive(raw_mail(HEAD, TEXT_PART, part)) == ARCHIVE


def test_the_mail_may_be_the_archive() -> None:
    raw = f"{HEAD}\n{ZIP_PART}".replace("\n", "\r\n").encode()
    assert only_archive(raw) == ARCHIVE


def test_line_feeds_alone_end_lines_too() -> None:
    assert only_archive(letter().replace(b"\r\n", b"\n")) == ARCHIVE


# -- forwards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [1, 2, 3])
def test_forwarded_mails_are_opened_three_deep(deep: int) -> None:
    raw = letter()
    for _ in range(deep):
        raw = letter(subject="TR: documents", archives=(), enclosed=[raw], headers={"From": "dr@chb.mssante.fr"})
    mail = read(raw)
    found = mail.archive()
    assert (found.content, found.depth, mail.forwarded) == (ARCHIVE, deep, "attached")
    assert (mail.sender, mail.notification_to) == ("dr@chb.mssante.fr", ())
    assert found.carrier is not None
    assert (found.carrier.sender, found.carrier.message_id, found.carrier.subject) == (SENDER, ID, SUBJECT)
    assert found.carrier.recipients == (BOX,)


def test_deeper_than_three_is_for_a_person() -> None:
    raw = letter()
    for _ in range(4):
        raw = letter(subject="TR: documents", archives=(), enclosed=[raw])
    mail = read(raw)
    assert (mail.kind, mail.archives) == ("unreadable", ())
    assert "more than 3 deep" in errors(mail)


def test_an_enclosed_mail_in_base64_is_opened() -> None:
    """The standard library reads it as an empty mail, without a defect."""
    encoded = base64.encodebytes(letter()).decode()
    part = f"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{encoded}"
    mail = read(raw_mail(HEAD, TEXT_PART, part))
    assert (mail.archive().content, mail.archive().depth) == (ARCHIVE, 1)


def test_an_enclosed_mail_that_only_says_base64_is_opened_as_it_stands() -> None:
    part = f"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{letter().decode()}"
    assert only_archive(raw_mail(HEAD, TEXT_PART, part)) == ARCHIVE


def test_an_inline_forward_is_said() -> None:
    mail = read(letter(subject=f"TR : {SUBJECT}", headers={"From": "dr@chb.mssante.fr"}))
    assert (mail.kind, mail.forwarded) == ("xdm", "inline")


@pytest.mark.parametrize(
    "answer",
    [
        letter(subject=f"[KO Intégration système !][902] {SUBJECT}"),
        letter(headers={"Auto-Submitted": "auto-replied"}),
        raw_mail(HEAD, TEXT_PART, ZIP_PART, subtype="report; report-type=disposition-notification", boundary="C"),
    ],
    ids=["error mail", "automatic answer", "MDN"],
)
def test_a_forwarded_answer_is_not_read_as_a_sending(answer: bytes) -> None:
    raw = raw_mail(HEAD, TEXT_PART, f"Content-Type: message/rfc822\n\n{answer.decode()}")
    mail = read(raw)
    assert (mail.kind, mail.archives) == ("ordinary", ())
    assert "not processed again" in str(mail.problems[0])


def test_different_archives_attached_and_enclosed_are_several() -> None:
    assert "2 different" in errors(read(letter(enclosed=[letter(archives=[xdm_like("2")])])))


# -- broken MIME, names, charsets ------------------------------------------------------------------------------------


def test_a_lost_closing_boundary() -> None:
    raw = raw_mail(HEAD, TEXT_PART, ZIP_PART)
    assert only_archive(raw.removesuffix(b"--B--\r\n")) == ARCHIVE


@pytest.mark.parametrize("declared", ["", '; boundary=""', "; boundary=other", "; boundary"])
def test_a_wrong_boundary_is_guessed_and_told(declared: str) -> None:
    raw = raw_mail(HEAD, TEXT_PART, ZIP_PART).replace(b'; boundary="B"', declared.encode())
    mail = read(raw)
    assert mail.archive().content == ARCHIVE
    assert any("boundary" in str(problem) for problem in mail.problems)


def test_a_boundary_that_begins_another() -> None:
    inner = raw_mail("X: y", TEXT_PART, ZIP_PART, boundary="B-more").decode()
    assert only_archive(raw_mail(HEAD, inner, TEXT_PART)) == ARCHIVE


def test_headers_that_lost_their_empty_line() -> None:
    raw = f"From: {SENDER}\nSubject: x\nBonjour tout le monde\nencore".encode()
    mail = read(raw)
    assert (mail.sender, mail.text) == (SENDER, "Bonjour tout le monde\nencore\n")


def test_an_mbox_line_and_folded_headers() -> None:
    mail = read(f"From a@b Mon\nSubject: un\n deux\n\ttrois\nFrom:\n {SENDER}\n\nx".encode())
    assert (mail.subject, mail.sender) == ("un deux trois", SENDER)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("filename*=utf-8''Compte%20rendu%20d%27%C3%A9t%C3%A9.zip", "Compte rendu d'été.zip"),
        ("filename*0*=iso-8859-1'fr'%E9t%E9; filename*1=\" 1\"; filename*2*=%20b.zip", "été 1 b.zip"),
        ('filename="=?utf-8?Q?=C3=A9t=C3=A9.zip?="', "été.zip"),
        ('filename="=?utf-8?B?w6l0w6k=?= =?utf-8?B?LnppcA==?="', "été.zip"),
        ("filename=IHE XDM.zip", "IHE XDM.zip"),
        ('filename="été.zip"', "été.zip"),
        ('filename="..\\\\..\\\\a\\"b.zip"', 'a"b.zip'),
        ("filename*=utf-9''x%zz.zip", "x%zz.zip"),
    ],
)
def test_names_by_rfc_2231_and_2047_and_by_nobody(parameter: str, name: str) -> None:
    part = f"Content-Type: application/zip\nContent-Disposition: attachment; {parameter}\n\n{B64}"
    assert read(raw_mail(HEAD, TEXT_PART, part)).archive().name == name


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (b"=?UTF-8?Q?=C3=A9t=C3?= =?utf-8?q?=A9?=", "été"),
        (b"=?iso-8859-1?Q?=E9t=E9_2?=\n =?utf-8?b?w6k=?= fin", "été 2é fin"),
        (b"=?utf-8?B?w6l0w6k?=", "été"),
        (b"=?nonsense-8?Q?=C3=A9?=", "é"),
        (b"=?punycode?Q?abc?= =?utf-8?Q?bad", "abc =?utf-8?Q?bad"),
        ("été".encode(), "été"),
        ("été".encode("latin-1"), "été"),
        (b"a\x00b\x1b[31m", "ab[31m"),
    ],
)
def test_subjects_in_every_encoding_and_none(subject: bytes, expected: str) -> None:
    assert read(b"Subject: " + subject + b"\nFrom: a@b.fr\n\nx").subject == expected


@pytest.mark.parametrize(
    ("charset", "body", "expected"),
    [
        ("utf-8", "œuvre".encode("cp1252"), "œuvre"),
        ("us-ascii", "été".encode(), "été"),
        ("iso-8859-1", "œuvre “été”".encode("cp1252"), "œuvre “été”"),
        ("iso-8859-15", "œ €".encode("iso8859-15"), "œ €"),
        ("does-not-exist", "été".encode(), "été"),
        ("unicode_escape", b"\\x41", "\\x41"),
        ("utf-16", "été".encode("utf-16"), "été"),
        ("utf-8", b"a\x81b\xff", "a\x81bÿ"),
    ],
)
def test_wrong_charsets(charset: str, body: bytes, expected: str) -> None:
    raw = f"From: a@b.fr\nContent-Type: text/plain; charset={charset}\n\n".encode() + body
    assert read(raw).text == f"{expected}\n"


def test_the_plain_text_of_an_alternative() -> None:
    html = "Content-Type: text/html\n\n<p>en html</p>"
    assert read(raw_mail(HEAD, html, TEXT_PART, subtype="alternative")).text == "Bonjour\n"


def test_the_words_of_a_mail_in_html() -> None:
    html = (
        "<html><head><title>t</title><style>p{}</style></head><body><p>Bonjour <b>cher</b> confrère,</p>"
        "<script>x</script><div>l&eacute;ger<br>suite</div></body></html>"
    )
    raw = f"{HEAD}\nContent-Type: text/html; charset=utf-8\n\n{html}".encode()
    assert read(raw).text == "Bonjour cher confrère,\nléger\nsuite\n"


def test_an_attached_text_is_not_the_body() -> None:
    note = "Content-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nnote"
    assert read(raw_mail(HEAD, note, TEXT_PART)).text == "Bonjour\n"


def test_a_first_header_wins() -> None:
    mail = read(b"Return-Path: <>\nReturn-Path: <a@b.fr>\nFrom: a@b.fr\nFrom: c@d.fr\n\nx")
    assert (mail.return_path, mail.sender) == ("", "a@b.fr")


def test_parts_and_depth_are_bounded() -> None:
    many = read(raw_mail(HEAD, *[TEXT_PART] * 250))
    assert (many.kind, many.archives, many.message_id, many.sender) == ("unreadable", (), ID, SENDER)
    assert "200 parts" in errors(many)
    deep = TEXT_PART
    for level in range(12):
        deep = raw_mail("X: y", deep, boundary=f"L{level}").decode()
    nested = read(f"From: a@b.fr\n{deep}".encode())
    assert nested.kind == "unreadable"
    assert "deeper than 10" in errors(nested)
    assert read(raw_mail(HEAD, *[TEXT_PART] * 250), limits=Limits(parts=300)).kind == "ordinary"
