"""How the cost of something grows, measured so that neighbours do not decide: CPU time of the thread, best of several.

A busy machine only ever adds to a time. So the least of several is taken, the collector of cycles is off (what it costs
depends on what other tests left behind), and the larger size gets more tries while it seems too dear.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

__all__ = ["assert_linear", "thread_seconds"]

_LEAST = 0.002  # seconds: below, a time is of the clock rather than of the work


def thread_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this thread for one call."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        started = time.thread_time()
        work()
        return time.thread_time() - started
    finally:
        if enabled:
            gc.enable()


def assert_linear(
    prepare: Callable[[int], Callable[[], object]], small: int, large: int, *, slack: float = 3, tries: int = 6
) -> None:
    """Fail unless `large` costs at most `slack` times what `small` does for each unit of size.

    `prepare` makes the work for a size; only the work that it returns is measured. `large` should be ten times `small`
    or more, so that quadratic growth is far beyond the slack.
    """
    least = max(min(thread_seconds(prepare(small)) for _ in range(3)), _LEAST)
    bound = least * large / small * slack
    found = []
    for _ in range(tries):
        found.append(thread_seconds(prepare(large)))
        if found[-1] < bound:
            return
    raise AssertionError(
        f"size {small} took {least * 1000:.1f} ms, size {large} at least {min(found) * 1000:.1f} ms: "
        f"{min(found) / least:.0f} times as long for {large / small:.0f} times the size"
    )
