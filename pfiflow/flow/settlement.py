"""What an exchange comes to, committed: its unit of work, a refusal, and who is told of it."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import anyio
from attrs import define, field

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.clock import Clock
from pfiflow.flow.compiled import CompiledRoute
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.following import Journeys
from pfiflow.flow.outcome import error_headers
from pfiflow.flow.pipeline import Ended, Work
from pfiflow.store.api import Dead, Done, DuplicateKeyError, Message, Retry, Store, StoreError, UnitOfWork

__all__ = ["Settlement"]

logger = logging.getLogger("pfiflow.engine")

AnyExchange: TypeAlias = Exchange[Any]

_COMMIT_RETRY = 1.0  # seconds


@define(eq=False)
class Settlement:
    """Commits outcomes for one engine. `stopping` is set when the engine stops: an outcome then waits no more."""

    store: Store
    clock: Clock
    stopping: anyio.Event
    journeys: Journeys = field(factory=Journeys)

    async def commit(self, work: Work, settle: Done | Retry | Dead | None) -> None:
        """Commit what an exchange changes. Raises StoreError; nothing of it is kept then."""
        unit = UnitOfWork(
            settle,
            tuple(work.enqueue),
            tuple(work.ledger),
            tuple(work.journal),
            self.clock.now(),
            tuple(work.records),
        )
        with self.journeys.committing(unit):
            await self.store.commit(unit)

    async def settle(self, work: Work, settle: Done | Retry | Dead | None) -> bool:
        """Commit an outcome; keep trying while the store fails, since the outside world has been told already.

        `settle` is None for what concerns no message of a channel: journal lines of a source. False when the engine
        stops before it could be stored.
        """
        while True:
            try:
                await self.commit(work, settle)
            except DuplicateKeyError:
                work.ledger.clear()  # recorded by an earlier attempt of this same message
            except StoreError as error:
                what = f"the outcome of message {settle.sequence}" if settle is not None else _events(work)
                logger.error(  # noqa: TRY400 - the store's own words say it all
                    "%s cannot be stored yet: %s", what, error, extra={"route": work.route}
                )
                if self.stopping.is_set():
                    return False
                await self.clock.sleep(_COMMIT_RETRY)
            else:
                if isinstance(settle, Dead):
                    logger.error(
                        "message %d is a dead letter: %s", settle.sequence, settle.cause, extra={"route": work.route}
                    )
                return True

    async def refuse(
        self, compiled: CompiledRoute, exchange: AnyExchange, rejection: Rejected, message: Message | None
    ) -> bool:
        """Settle a permanent refusal, together with what the route's `on_rejected` steps produce.

        Raises Deferred when the source's exchange (`message` is None) was refused, somebody else is to be told of it,
        and that cannot be stored.
        """
        work = Work(compiled.id, self.clock.now())
        errors = [problem for problem in rejection.problems if problem.severity == "error"] or list(rejection.problems)
        work.record(exchange.with_note("rejected", problems=" | ".join(str(problem) for problem in errors)))
        await self.tell(compiled, exchange.with_headers(rejection.headers), errors[0], work)
        if message is None:
            try:
                await self.commit(work, None)
            except StoreError as error:
                extra = {"route": compiled.id, "exchange": exchange.id}
                logger.error("a refusal could not be stored: %s", error, extra=extra)  # noqa: TRY400 - its own words
                if work.enqueue:
                    raise Deferred("the store failed; the refusal was not kept, send it again later") from error
            return True
        cause = str(errors[0])
        detail = "\n".join(str(problem) for problem in rejection.problems)
        achieved = {name: value for name, value in exchange.headers.items() if message.headers.get(name) != value}
        return await self.settle(work, Dead(message.sequence, cause, detail, achieved))

    async def tell(self, compiled: CompiledRoute, exchange: AnyExchange, problem: Problem, work: Work) -> None:
        """Run the route's `on_rejected` steps; whatever becomes of them, the message is settled.

        So what they produce goes into its channel even if that is full: there would be no second time.
        """
        if compiled.on_rejected is None:
            return
        work.notice = True
        try:
            await compiled.on_rejected(exchange.with_headers(error_headers(problem)), work)
        except Ended:
            pass
        except Exception as failure:  # noqa: BLE001 - a defect here must not keep the refused message in its lane
            logger.error(  # noqa: TRY400 - the failure's text may quote what it refused
                "on-rejected of route %s failed: %s",
                compiled.id,
                type(failure).__name__,
                extra={"route": compiled.id, "exchange": exchange.id},
            )


def _events(work: Work) -> str:
    return f"the journal's {', '.join(entry.event for entry in work.journal)}"
