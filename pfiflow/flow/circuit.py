"""Circuit breaker of a channel route: while its destination is down, one message probes it and the others wait.

Opened by a `Deferred` that says `unavailable` (nothing can be sent there now, whatever the message); closed by the
first attempt that ends otherwise. Ten thousand waiting messages then cost a dead service one attempt a probe, and no
message uses up its own retries on the others' account.
"""

from __future__ import annotations

from attrs import define

from pfiflow.flow.redelivery import Redelivery

__all__ = ["Circuit"]


@define
class Circuit:
    """The state of one route's circuit. Times are POSIX seconds."""

    redelivery: Redelivery
    failures: int = 0  # probes failed in a row; 0: closed
    probe_at: float = 0.0
    probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the destination is taken to be down."""
        return self.failures > 0

    def admits(self, now: float) -> bool:
        """Whether one more attempt may start now; an attempt admitted while open is the probe."""
        if not self.is_open:
            return True
        # A probe farther ahead than any wait was set before the clock was set back.
        if self.probing or now < self.probe_at <= now + self.redelivery.longest:
            return False
        self.probing = True
        return True

    def failed(self, now: float, retry_after: float | None = None) -> float:
        """An attempt found the destination down. Gives when to probe next."""
        if self.probing or not self.is_open or now >= self.probe_at:
            self.failures += 1
            self.probe_at = now + self.redelivery.delay(self.failures, retry_after)
        self.probing = False
        return self.probe_at

    def succeeded(self) -> None:
        """An attempt reached the destination."""
        self.failures = 0
        self.probing = False

    def abandoned(self) -> None:
        """The admitted worker found nothing to attempt."""
        self.probing = False
