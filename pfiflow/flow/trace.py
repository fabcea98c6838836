"""What a trace of an exchange's way through its route is told: for explanations and tests. Unused, it costs nothing.

A trace is a function that gets one event after the other; it may look at everything, and changes nothing. The events of
one exchange nest as its steps do: what begins inside of a step ends before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from pfiflow.flow import route as r
from pfiflow.flow.exchange import Exchange

if TYPE_CHECKING:
    from pfiflow.flow.pipeline import Work

__all__ = ["Decided", "StepBegan", "StepEnded", "Trace", "TraceEvent"]


@frozen
class StepBegan:
    """An exchange comes to a step. `work` is what its unit of work has collected so far; it grows with the steps."""

    route: str
    step: r.Step
    exchange: Exchange[Any]
    work: Work


@frozen
class Decided:
    """A condition was looked at: that of a branch, a filter or a validation."""

    route: str
    where: r.When | r.Filter | r.Validate
    exchange: Exchange[Any]
    holds: bool


@frozen
class StepEnded:
    """The exchange as the step gave it on; or what ended it there (`Ended` and `SeenBefore` are no faults)."""

    route: str
    step: r.Step
    result: Exchange[Any] | None
    failure: BaseException | None
    work: Work


TraceEvent: TypeAlias = StepBegan | Decided | StepEnded
Trace: TypeAlias = Callable[[TraceEvent], None]
