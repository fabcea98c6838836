"""What an engine does beside its routes: it watches the limits of channels and purges what is finished and old."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from pfiflow.flow.clock import Clock
from pfiflow.flow.route import ChannelSpec, Retention
from pfiflow.store.api import Store, StoreError

__all__ = ["purge", "watch_limits"]

logger = logging.getLogger("pfiflow.engine")

_LOOK_EVERY = 1.0  # seconds
_PURGE_EVERY = 3600.0


async def watch_limits(
    channels: Callable[[], Mapping[str, ChannelSpec]], full: set[str], store: Store, clock: Clock
) -> None:
    """Keep `full` up to date: the channels over their `max_waiting`, of those that there are at the time."""
    while True:
        limits = {name: spec.max_waiting for name, spec in channels().items() if spec.max_waiting}
        try:
            counts = {status.channel: status.waiting for status in await store.channels()} if limits else {}
        except StoreError:
            logger.exception("channel sizes cannot be read")
        else:
            full.clear()
            full.update(name for name, limit in limits.items() if counts.get(name, 0) >= limit)
        await clock.sleep(_LOOK_EVERY)


async def purge(retention: Callable[[], Retention], store: Store, clock: Clock) -> None:
    """Remove what is finished and older than it is kept, now and every hour."""
    while True:
        now, keep = clock.now(), retention()
        try:
            purged = await store.purge(
                done_before=now - keep.done,
                dead_before=now - keep.dead,
                journal_before=now - keep.journal,
                records_before=now - keep.records,
                now=now,
            )
        except StoreError:
            logger.exception("purge failed; it will be tried again")
        else:
            if purged.messages or purged.journal or purged.ledger:
                logger.info("purged %d messages, %d journal lines", purged.messages, purged.journal)
        await clock.sleep(_PURGE_EVERY)
