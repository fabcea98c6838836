"""What a failed attempt comes to: a retry, a dead letter, and words about it that are safe to keep."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from pfiflow.errors import Deferred, PfiflowError, Problem
from pfiflow.flow.circuit import Circuit
from pfiflow.flow.redelivery import Redelivery
from pfiflow.store.api import Dead, Message, Retry

__all__ = ["after_defect", "after_deferral", "describe", "error_headers", "safe_traceback"]


def after_deferral(
    message: Message,
    deferral: Deferred,
    policy: Redelivery,
    circuit: Circuit | None,
    now: float,
    progress: Mapping[str, str],
) -> Retry | Dead:
    """A temporary refusal: of this message, by its own attempts and age; of all of them, by the circuit's probes.

    `progress`: the headers in which the next attempt, or a replay, finds what this one achieved.
    """
    age = now - message.enqueued
    if deferral.unavailable and circuit is not None:
        due = circuit.failed(now, deferral.retry_after)
        if policy.max_age is None or age < policy.max_age:
            return Retry(message.sequence, due, deferral.message, progress, counted=False)
        return Dead(message.sequence, deferral.message, "given up: too old", progress)
    attempts = message.attempts + 1
    if policy.gives_up(attempts, age):
        return Dead(message.sequence, deferral.message, f"given up after {attempts} attempts", progress)
    due = now + policy.delay(attempts, deferral.retry_after)
    return Retry(message.sequence, due, deferral.message, progress)


def after_defect(
    message: Message, defect: Exception, policy: Redelivery, now: float, progress: Mapping[str, str]
) -> Retry | Dead:
    """An unexpected exception: a few more attempts, then the dead letter with its traceback."""
    cause = f"defect: {type(defect).__name__}"
    if message.defects + 1 >= policy.max_defects:
        return Dead(message.sequence, cause, safe_traceback(defect), progress)
    return Retry(message.sequence, now + policy.delay(message.defects + 1), cause, progress, defect=True)


def error_headers(problem: Problem) -> dict[str, str]:
    """What the `on_rejected` steps of a route are told."""
    return {
        "error-code": problem.code,
        "error-detail-code": problem.detail_code,
        "error-message": problem.message,
        "error-location": problem.location,
    }


def describe(failure: Exception) -> str:
    """The failure in words that are safe to log: ours and the system's own texts, of others only the type."""
    safe = isinstance(failure, PfiflowError | OSError)
    return f"{type(failure).__name__}: {failure}" if safe else type(failure).__qualname__


def safe_traceback(defect: BaseException) -> str:
    """The frames and the exception's type, not its text: an unexpected message may quote a document."""
    frames = "".join(traceback.format_tb(defect.__traceback__))
    return f"{frames}{type(defect).__module__}.{type(defect).__qualname__}"
