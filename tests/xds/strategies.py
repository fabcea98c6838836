"""Hypothesis strategies for XDS metadata: any text that ebRIM can carry, with what XML would stumble over."""

from __future__ import annotations

from attrs import evolve
from hypothesis import strategies as st

from pfiflow.xds.metadata import Association, Author, CodedValue, DocumentEntry, SubmissionSet

_CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
_ALPHABET = st.one_of(_CHARACTERS, st.sampled_from("<>&'\"]\n\té^|~\\"))
TEXT = st.text(_ALPHABET, max_size=40).map(str.strip)
NAMED = TEXT.filter(bool)
CODED = st.builds(CodedValue, NAMED, NAMED, TEXT)
MAYBE_CODED = CODED | st.just(CodedValue("", ""))
AUTHORS = st.builds(Author, TEXT, TEXT, TEXT, TEXT).filter(lambda author: author != Author())
VALUES = st.lists(NAMED, min_size=1, max_size=3).map(tuple)


def some(strategy: st.SearchStrategy[CodedValue]) -> st.SearchStrategy[tuple[CodedValue, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


EXTRA = st.lists(st.tuples(NAMED.map("urn:x:".__add__), VALUES), max_size=2, unique_by=lambda slot: slot[0].lower())
ENTRIES = st.builds(
    DocumentEntry,
    entry_uuid=st.uuids().map("urn:uuid:{}".format),
    unique_id=TEXT,
    patient_id=TEXT,
    class_code=MAYBE_CODED,
    type_code=MAYBE_CODED,
    format_code=MAYBE_CODED,
    healthcare_facility_type_code=MAYBE_CODED,
    practice_setting_code=MAYBE_CODED,
    confidentiality_codes=some(CODED),
    creation_time=TEXT,
    language_code=TEXT,
    mime_type=st.sampled_from(["text/xml", "application/pdf", "a&b/<c>"]),
    title=TEXT,
    hash=st.from_regex("[0-9a-f]{40}", fullmatch=True),
    size=st.integers(0, 10**9),
    source_patient_id=TEXT,
    source_patient_info=st.lists(NAMED, max_size=3).map(tuple),
    authors=st.lists(AUTHORS, max_size=2).map(tuple),
    legal_authenticator=TEXT,
    service_start_time=TEXT,
    service_stop_time=TEXT,
    event_codes=some(CODED),
    reference_ids=st.lists(NAMED, max_size=2).map(tuple),
    uri=st.just(""),
    logical_id=st.just(""),
    version=st.text(_CHARACTERS, max_size=16).map(str.strip),
    extra=EXTRA.map(tuple),
)


def _joined(submission: SubmissionSet, entries: list[DocumentEntry]) -> SubmissionSet:
    association = Association(
        "urn:ihe:iti:2007:AssociationType:RPLC", entries[0].entry_uuid, "1.2.3^A", (("slot", ("v",)),)
    )
    return evolve(submission, entries=tuple(entries), associations=(association,))


SUBMISSIONS = st.builds(
    _joined,
    st.builds(
        SubmissionSet,
        entry_uuid=st.uuids().map("urn:uuid:{}".format),
        unique_id=TEXT,
        source_id=TEXT,
        patient_id=TEXT,
        submission_time=TEXT,
        content_type_code=MAYBE_CODED,
        authors=st.lists(AUTHORS, max_size=2).map(tuple),
        title=TEXT,
        intended_recipients=st.lists(NAMED, max_size=2).map(tuple),
        extra=EXTRA.map(tuple),
    ),
    st.lists(ENTRIES, min_size=1, max_size=3, unique_by=lambda entry: entry.entry_uuid),
)
