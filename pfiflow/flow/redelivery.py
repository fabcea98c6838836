"""Redelivery policy of a channel: exponential back-off with jitter, a cap, an end by attempts or by age."""

from __future__ import annotations

import random

from attrs import frozen

from pfiflow.flow.options import Duration, Range, option

__all__ = ["Redelivery"]

_RANDOM = random.Random()  # noqa: S311 - spreads load, hides nothing


@frozen
class Redelivery:
    """When a deferred message is tried again, and when it is given up.

    The n-th retry waits `min(max_delay, initial_delay * factor ** (n - 1))`, spread by ± `jitter` of itself. A peer's
    own `retry_after` wins over the computed delay, and is capped by `max_delay` as well.
    """

    initial_delay: Duration = option(
        default=Duration(2.0), doc="Wait before the first retry.", example="2s", validator=Range(above=0)
    )
    factor: float = option(
        default=2.0, doc="Growth of the wait at each retry.", example=2.0, validator=Range(minimum=1, maximum=100)
    )
    max_delay: Duration = option(
        default=Duration(900.0), doc="Longest wait between two attempts.", example="15m", validator=Range(above=0)
    )
    jitter: float = option(
        default=0.2, doc="Random spread of each wait, 0 to 1.", example=0.2, validator=Range(minimum=0, maximum=1)
    )
    max_attempts: int | None = option(
        default=None,
        doc="Dead letter after that many attempts; unset: no limit for temporary refusals.",
        example=20,
        validator=Range(minimum=1),
    )
    max_age: Duration | None = option(
        default=Duration(7 * 86400.0),
        doc="Dead letter when older than this since it was enqueued.",
        example="7d",
        validator=Range(above=0),
    )
    max_defects: int = option(
        default=3,
        doc="Attempts allowed to fail by a defect (an unexpected exception) before the dead letter.",
        example=3,
        validator=Range(minimum=1),
    )

    def delay(self, attempts: int, retry_after: float | None = None, *, rng: random.Random | None = None) -> float:
        """Seconds to wait after `attempts` failed attempts (from 1)."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), self.max_delay)
        exponent = min(attempts - 1, 64)
        wait = min(self.max_delay, self.initial_delay * self.factor**exponent)
        spread = (rng or _RANDOM).uniform(-self.jitter, self.jitter)
        return max(0.0, wait * (1 + spread))

    @property
    def longest(self) -> float:
        """The longest wait, jitter included. Seconds."""
        return self.max_delay * (1 + self.jitter)

    def gives_up(self, attempts: int, age: float) -> bool:
        """Whether a temporary refusal is now final, after `attempts` attempts and `age` seconds."""
        too_many = self.max_attempts is not None and attempts >= self.max_attempts
        too_old = self.max_age is not None and age >= self.max_age
        return too_many or too_old
