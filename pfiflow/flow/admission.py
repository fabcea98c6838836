"""Exchanges from sources: let in as far as there is room, taken through their route, committed before the answer."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
from attrs import define, evolve

from pfiflow.errors import Deferred, Rejected
from pfiflow.flow.compiled import CompiledRoute
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.pipeline import Ended, SeenBefore, Work
from pfiflow.flow.settlement import Settlement
from pfiflow.store.api import DuplicateKeyError, StoreError, StoreFullError

__all__ = ["Admission", "new_exchange_id"]

logger = logging.getLogger("pfiflow.engine")

AnyExchange: TypeAlias = Exchange[Any]


def new_exchange_id(now: float) -> str:
    """32 hex digits: milliseconds since 1970, then 80 random bits. Sorts by time of arrival."""
    return f"{int(now * 1000):012x}{secrets.token_hex(10)}"


@define(eq=False)
class Admission:
    """Takes exchanges in for one engine, at most so many at once."""

    settlement: Settlement
    places: anyio.CapacityLimiter
    patience: float  # seconds that an exchange waits for a place
    new_id: Callable[[float], str] = new_exchange_id

    async def receive(self, compiled: CompiledRoute, exchange: AnyExchange) -> Receipt:
        """See `Receive`."""
        token = object()
        try:
            self.places.acquire_on_behalf_of_nowait(token)
        except anyio.WouldBlock:
            with anyio.move_on_after(self.patience) as waiting:
                await self.places.acquire_on_behalf_of(token)
            if waiting.cancelled_caught:
                text = f"{self.places.total_tokens} exchanges are in flight; try again later"
                raise Deferred(text, retry_after=5.0) from None
        try:
            return await self._admit(compiled, exchange)
        finally:
            self.places.release_on_behalf_of(token)

    async def _admit(self, compiled: CompiledRoute, exchange: AnyExchange) -> Receipt:
        now = self.settlement.clock.now()
        exchange = evolve(exchange, id=exchange.id or self.new_id(now), received=exchange.received or now)
        work = Work(compiled.id, now)
        work.record(exchange.with_note("received", origin=exchange.origin))
        try:
            try:
                final = await compiled.pipeline(exchange, work)
            except Ended:
                final = exchange
            await self.settlement.commit(work, None)
        except SeenBefore as seen:
            return Receipt(exchange, duplicate=seen.kind)
        except DuplicateKeyError as duplicate:  # two copies raced; the other one won
            digests = {entry.key: bytes(entry.digest) for entry in work.ledger}
            same = digests.get(duplicate.entry.key) == bytes(duplicate.entry.digest)
            return Receipt(exchange, duplicate="same" if same else "other")
        except Rejected as rejection:
            await self.settlement.refuse(compiled, exchange, rejection, None)
            raise
        except StoreError as error:
            logger.error(  # noqa: TRY400 - the store's own words say it all
                "route %s: a message was deferred, nothing of it is kept: %s",
                compiled.id,
                error,
                extra={"route": compiled.id, "exchange": exchange.id},
            )
            if isinstance(error, StoreFullError):
                raise Deferred("the store has no space left; nothing was kept, send it again later") from error
            raise Deferred("the store failed; nothing was kept, send it again later") from error
        return Receipt(final)
