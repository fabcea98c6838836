"""What requests an order takes, and what their answers come to: against the simulator's service, without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfiflow.dmp import answers, soap
from pfiflow.dmp.conversation import CUTS, Answer, Conclusion, Known, Progress, Reply
from pfiflow.dmp.requests import Request
from pfiflow.dmp.response import ATTEMPTS, Accepted, Deferred, Failure, Rejected
from pfiflow.dmp.seal import Seal
from pfiflow.segur.values import Action
from pfiflow.simulators.dmp_door import Settings
from tests.dmp.orders import FIRST, SECOND, THIRD, Dmp, order

NEW, REPLACE, DELETE = order(FIRST), order(SECOND), order(FIRST, Action.DELETE)
ASK, SUBMIT, UPDATE = "RegistryStoredQuery", "ProvideAndRegisterDocumentSet", "UpdateDocumentSet"
PATIENT = NEW.vihf.patient_id

Meddler = Callable[[Request, Callable[[], Answer]], Reply]


@pytest.fixture
def dmp(seal: Seal, trusted: Sequence[x509.Certificate]) -> Dmp:
    return Dmp(seal, trusted)


def scripted(reply: answers.Reply | Failure, *, only: str = "", after: bool = False, times: int = 1) -> Meddler:
    """This reply instead of the true one, `times` times: to requests of this kind, carried out before or not."""
    left = [times]

    def meddle(request: Request, carry_out: Callable[[], Answer]) -> Reply:
        kind = request.outgoing.action.rpartition(":")[2].removesuffix("-b")
        if not left[0] or only not in {"", kind}:
            return carry_out()
        left[0] -= 1
        if after:
            carry_out()
        if isinstance(reply, Failure):
            return reply
        transaction = "ITI-18" if kind == ASK else ""
        made = reply(answers.Context(transaction))  # type: ignore[arg-type]
        return Answer(made.status, made.content_type, made.body, retry_after=None)

    return meddle


def deferred(conclusion: Conclusion) -> Deferred:
    assert isinstance(conclusion.outcome, Deferred), conclusion
    return conclusion.outcome


def refused(conclusion: Conclusion) -> Rejected:
    assert isinstance(conclusion.outcome, Rejected), conclusion
    return conclusion.outcome


# -- the plain ways ---------------------------------------------------------------------------------------------------


def test_a_life(dmp: Dmp) -> None:
    assert dmp.attempt(NEW).outcome == Accepted()
    assert dmp.statuses() == ["Approved"]
    replaced = dmp.attempt(REPLACE)
    assert (replaced.outcome, replaced.original) == (Accepted(), "replaced")
    assert dmp.statuses() == ["Deprecated", "Approved"]
    assert dmp.attempt(order(THIRD)).outcome == Accepted()
    assert dmp.attempt(order(THIRD, Action.DELETE)).outcome == Accepted()
    assert dmp.statuses() == ["Deprecated", "Deprecated", "Deleted"]
    assert dmp.asked == [SUBMIT, ASK, SUBMIT, ASK, SUBMIT, ASK, UPDATE]


def test_a_replacement_goes_to_the_entry_of_the_original(dmp: Dmp) -> None:
    dmp.attempt(NEW)
    dmp.attempt(REPLACE)
    first, second = dmp.registry.entries()
    assert (second.replaces, first.replaced_by) == (first.entry_uuid, second.entry_uuid)


def test_no_request_serves_twice(dmp: Dmp) -> None:
    one, other = dmp.requests.submit(NEW), dmp.requests.submit(NEW)
    assert one.outgoing.message_id != other.outgoing.message_id
    assert any(part is NEW.document for part in one.outgoing.parts)  # as it is, not a copy
    assert one.outgoing.parts[1] != other.outgoing.parts[1]
    assert FIRST.patient.matricule not in repr((one, NEW))


# -- what is not there ------------------------------------------------------------------------------------------------


def test_an_original_that_never_reached_the_dmp(dmp: Dmp) -> None:
    conclusion = dmp.attempt(REPLACE)
    assert (conclusion.outcome, conclusion.original) == (Accepted(), "unknown")
    assert dmp.statuses() == ["Approved"]


def test_an_original_that_we_deleted(dmp: Dmp) -> None:
    dmp.attempt(NEW)
    dmp.attempt(DELETE)
    assert dmp.attempt(REPLACE).original == "deleted"
    assert dmp.statuses() == ["Deleted", "Approved"]


def test_an_original_that_the_dmp_has_taken_and_does_not_find(dmp: Dmp) -> None:
    dmp.known[FIRST.id.unique_id] = Known("submitted", "earlier")
    conclusion = dmp.attempt(REPLACE)
    assert "does not find it yet" in deferred(conclusion).reason
    assert not conclusion.unavailable
    last = dmp.attempt(REPLACE, progress=Progress(answered=ATTEMPTS - 1))
    assert "look at the patient's DMP" in refused(last).problems[0].message
    assert dmp.statuses() == []


def test_a_deletion_of_what_nobody_sent_is_refused(dmp: Dmp) -> None:
    assert "nothing to delete" in refused(dmp.attempt(DELETE)).problems[0].message
    assert dmp.asked == [ASK]


def test_a_deletion_of_what_is_deleted_is_done(dmp: Dmp) -> None:
    dmp.attempt(NEW)
    dmp.attempt(DELETE)
    assert dmp.attempt(order(FIRST, Action.DELETE, "another")).outcome == Accepted(already=True)


def test_a_deleted_entry_that_the_dmp_still_names(dmp: Dmp) -> None:
    """Without a status in the answer, our record says that there is nothing left to do."""
    dmp.attempt(NEW)
    dmp.attempt(DELETE)
    dmp.meddle = scripted(_found(""), only=ASK)
    dmp.asked.clear()
    assert dmp.attempt(order(FIRST, Action.DELETE, "another")).outcome == Accepted(already=True)
    assert dmp.asked == [ASK]


def test_where_the_dmp_tells_statuses(dmp: Dmp) -> None:
    dmp.meddle = scripted(_found("Deleted"), only=ASK, times=2)
    assert dmp.attempt(DELETE).outcome == Accepted(already=True)
    assert dmp.attempt(REPLACE).original == "deleted"
    dmp.meddle = scripted(_found("Deprecated"), only=ASK, times=2)
    for of in (REPLACE, DELETE):
        assert "has replaced" in refused(dmp.attempt(of)).problems[0].message


@pytest.mark.parametrize("of", [REPLACE, DELETE])
def test_two_entries_and_no_telling_which(dmp: Dmp, of: object) -> None:
    dmp.meddle = scripted(_found("", ""), only=ASK)
    assert "2 entries" in refused(dmp.attempt(of)).problems[0].message  # type: ignore[arg-type]


def _found(*statuses: str) -> answers.Reply:
    """An answer to ITI-18 with one entry a status."""

    def reply(request: answers.Context) -> answers.Answer:
        plain = answers.registry_answer(request, objects=[f"urn:uuid:{n}" for n in range(len(statuses))])
        body = plain.body
        for number, status in enumerate(statuses):
            urn = f"urn:oasis:names:tc:ebxml-regrep:StatusType:{status}"
            urn = "urn:asip:ci-sis:2010:StatusType:Deleted" if status == "Deleted" else urn
            old = f'<rim:ObjectRef id="urn:uuid:{number}"/>'.encode()
            assert old in body
            new = f'<rim:ExtrinsicObject id="urn:uuid:{number}" status="{urn}"/>'.encode() if status else old
            body = body.replace(old, new)
        return answers.Answer(plain.status, plain.content_type, body)

    return reply


# -- answers that get lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("action", ["new", "replace", "delete"])
def test_after_a_lost_answer_it_asks_first(dmp: Dmp, action: str, carried_out: bool) -> None:
    if action != "new":
        dmp.attempt(NEW)
    of = {"new": NEW, "replace": REPLACE, "delete": DELETE}[action]
    dmp.meddle = scripted(Failure.CUT, only=UPDATE if action == "delete" else SUBMIT, after=carried_out)
    cut = dmp.attempt(of)
    assert deferred(cut).ambiguous
    assert cut.progress == Progress(answered=int(action != "new"), cuts=1, unsure=True)
    dmp.asked.clear()
    again = dmp.attempt(of, progress=cut.progress)
    assert again.outcome == Accepted(already=carried_out)
    assert dmp.asked[0] == ASK
    assert len(dmp.asked) == 1 or not carried_out
    wanted = {"new": ["Approved"], "replace": ["Deprecated", "Approved"], "delete": ["Deleted"]}
    assert dmp.statuses() == wanted[action]


@pytest.mark.parametrize("action", ["new", "replace", "delete"])
def test_a_killed_process_leaves_no_second_copy(dmp: Dmp, action: str) -> None:
    """The attempt was carried out, and nothing of it is known: no progress, no record."""
    if action != "new":
        dmp.attempt(NEW)
    of = {"new": NEW, "replace": REPLACE, "delete": DELETE}[action]
    known = dict(dmp.known)
    assert dmp.attempt(of).outcome == Accepted()
    dmp.known = known
    assert dmp.attempt(of).outcome == Accepted(already=True)
    assert len(dmp.registry.submissions) == (1 if action == "new" else 2)


def test_a_lost_answer_to_a_question_leaves_no_doubt(dmp: Dmp) -> None:
    dmp.meddle = scripted(Failure.CUT, only=ASK)
    cut = dmp.attempt(REPLACE)
    assert cut.progress == Progress(cuts=1)


def test_doubt_stays_while_the_question_gets_no_answer(dmp: Dmp) -> None:
    dmp.meddle = scripted(Failure.UNREACHABLE)
    conclusion = dmp.attempt(NEW, progress=Progress(unsure=True, cuts=1))
    assert conclusion.progress == Progress(unsure=True)
    assert conclusion.unavailable


def test_the_same_document_from_another_exchange(dmp: Dmp) -> None:
    dmp.attempt(NEW, exchange_id="one")
    again = dmp.attempt(order(FIRST, exchange_id="other"), exchange_id="other")
    assert again.outcome == Accepted(already=True)
    assert dmp.statuses() == ["Approved"]


def test_the_same_id_with_other_content_is_refused(dmp: Dmp) -> None:
    dmp.attempt(NEW, exchange_id="one")
    dmp.known[FIRST.id.unique_id] = Known("submitted", "one", "another hash")
    again = dmp.attempt(order(FIRST, exchange_id="other"), exchange_id="other")
    assert refused(again).code == "XDSDuplicateUniqueIdInRegistry"


def test_a_submission_that_is_known_and_a_document_that_is_not(dmp: Dmp) -> None:
    """The registry is slow: wait for it a while, then give up."""
    dmp.meddle = scripted(answers.refused("XDSDuplicateUniqueIdInRegistry"), only=SUBMIT, times=2)
    waiting = dmp.attempt(NEW)
    assert waiting.progress == Progress(answered=1, unsure=True)
    assert not waiting.unavailable
    last = dmp.attempt(NEW, progress=Progress(answered=ATTEMPTS - 1))
    assert refused(last).code == "XDSDuplicateUniqueIdInRegistry"


# -- answers that say no ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only", [ASK, SUBMIT])
def test_a_refusal_ends_the_order(dmp: Dmp, only: str) -> None:
    dmp.attempt(NEW)
    dmp.meddle = scripted(answers.refused("DMPClosed"), only=only)
    assert refused(dmp.attempt(REPLACE)).code == "DMPClosed"


def test_a_closed_dmp(dmp: Dmp) -> None:
    dmp.registry.close(PATIENT)
    assert refused(dmp.attempt(NEW)).code == "DMPClosed"


def test_an_entry_uuid_that_has_changed_is_asked_for_again(dmp: Dmp) -> None:
    dmp.attempt(NEW)
    dmp.meddle = scripted(_found(""), only=ASK)  # an entryUUID that was the document's before
    assert dmp.attempt(REPLACE).outcome == Accepted()
    assert dmp.asked[1:] == [ASK, SUBMIT, ASK, ASK, SUBMIT]
    assert dmp.statuses() == ["Deprecated", "Approved"]


def test_an_entry_that_cannot_be_replaced_is_refused_once_asked_again(dmp: Dmp) -> None:
    dmp.attempt(NEW)
    dmp.meddle = scripted(answers.refused("XDSReplaceFailed"), only=SUBMIT, times=9)
    assert refused(dmp.attempt(REPLACE)).code == "XDSReplaceFailed"
    assert dmp.asked[1:] == [ASK, SUBMIT, ASK, ASK]


def test_a_registry_that_tells_all_that_an_earlier_copy_did(dmp: Dmp) -> None:
    """The replacement was carried out by a process that was killed: its id is known, and its original deprecated."""
    dmp.attempt(NEW)
    known = dict(dmp.known)
    dmp.attempt(REPLACE)
    dmp.known = known
    both = answers.refused("XDSDuplicateUniqueIdInRegistry", "XDSRegistryDeprecatedDocumentError")
    dmp.meddle = scripted(both, only=SUBMIT)
    assert dmp.attempt(REPLACE).outcome == Accepted(already=True)


def test_a_document_refused_by_name_is_not_sought(dmp: Dmp) -> None:
    dmp.meddle = scripted(answers.refused("XDSNonIdenticalHash"))
    assert refused(dmp.attempt(NEW)).code == "XDSNonIdenticalHash"
    assert dmp.asked == [SUBMIT]


# -- who is at fault: the service, we, or the order -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "unavailable", "unsure"),
    [
        (Failure.UNREACHABLE, True, False),
        (Failure.TIMEOUT, True, False),
        (Failure.TLS, True, False),
        (Failure.CUT, True, True),
        (Failure.TOO_LONG, False, True),
        (answers.http(503), True, False),
        (answers.http(502), True, True),
        (answers.http(500), False, True),
        (answers.http(403), True, False),
        (answers.html(200), False, True),
        (answers.fault("Receiver"), False, True),
        (answers.fault("Receiver", status=503), True, True),
        (answers.fault("Receiver", subcode="EndpointUnavailable", namespace=soap.WSA), True, True),
        (answers.fault("Sender", subcode="DMPInvalidCertificate"), True, False),
        (answers.refused("XDSRepositoryBusy"), True, False),
        (answers.refused("XDSRepositoryError"), False, False),
        (answers.partial("XDSRegistryBusy"), True, True),
        (answers.truncated_mtom(), False, True),
        (answers.bomb(), False, True),
    ],
)
def test_what_waits(dmp: Dmp, reply: answers.Reply | Failure, unavailable: bool, unsure: bool) -> None:
    dmp.meddle = scripted(reply)
    conclusion = dmp.attempt(NEW)
    deferred(conclusion)
    assert (conclusion.unavailable, conclusion.progress.unsure) == (unavailable, unsure)
    assert dmp.attempt(NEW, progress=conclusion.progress).outcome == Accepted()
    assert dmp.statuses() == ["Approved"]


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_wrong_is_our_fault_and_not_the_order_s(
    seal: Seal, trusted: Sequence[x509.Certificate], hours: int
) -> None:
    dmp = Dmp(seal, trusted, clock=lambda: datetime.now(UTC) + timedelta(hours=hours))
    conclusion = dmp.attempt(NEW)
    assert deferred(conclusion).configuration
    assert conclusion.unavailable
    assert "clock" in deferred(conclusion).reason


def test_an_order_that_breaks_every_connection_closes_it_for_no_other(dmp: Dmp) -> None:
    dmp.meddle = scripted(Failure.CUT, only=SUBMIT, times=99)
    progress, seen = Progress(), []
    for _ in range(CUTS + 1):
        conclusion = dmp.attempt(NEW, progress=progress)
        progress = conclusion.progress
        seen.append(conclusion.unavailable)
    assert seen == [True] * (CUTS - 1) + [False] * 2


def test_an_error_that_nobody_knows_is_tried_a_few_times(dmp: Dmp) -> None:
    dmp.meddle = scripted(answers.refused("XDSRepositoryError"), times=99)
    progress = Progress()
    for _ in range(ATTEMPTS - 1):
        conclusion = dmp.attempt(NEW, progress=progress)
        deferred(conclusion)
        progress = conclusion.progress
    assert refused(dmp.attempt(NEW, progress=progress)).code == "XDSRepositoryError"


# -- whatever happens -------------------------------------------------------------------------------------------------

FAULTS = (Failure.UNREACHABLE, Failure.CUT, answers.http(503), answers.html(), answers.fault("Receiver"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(st.tuples(st.sampled_from(FAULTS), st.booleans(), st.booleans()), max_size=8),
    accepts_same=st.booleans(),
)
def test_whatever_gets_lost_there_is_one_entry(
    seal: Seal,
    trusted: Sequence[x509.Certificate],
    events: list[tuple[answers.Reply | Failure, bool, bool]],
    accepts_same: bool,
) -> None:
    """A document, its replacement, its deletion; each attempt may fail, before or after being carried out.

    The third of an event: the process is killed, and what the attempt learnt is lost.
    """
    dmp = Dmp(seal, trusted, Settings(same_document="accept" if accepts_same else "refuse"))
    for of in (NEW, REPLACE, order(SECOND, Action.DELETE)):
        progress = Progress()
        for _ in range(20):
            killed = False
            if events:
                reply, after, killed = events.pop()
                dmp.meddle = scripted(reply, after=after)
            known = dict(dmp.known)
            conclusion = dmp.attempt(of, progress=progress)
            if killed:
                dmp.known = known
                continue
            if isinstance(conclusion.outcome, Accepted):
                break
            progress = conclusion.progress
            deferred(conclusion)
        else:
            pytest.fail("it never came to an end")
    assert dmp.statuses() == ["Deprecated", "Deleted"]
    assert len(dmp.registry.submissions) == 3
