"""What the tests of `imap-in` share: a route of their own, and a source that reads while a block runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from time import monotonic
from typing import Any

import anyio

from pfiflow.endpoints.imap import ImapSource
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.flow.component import Receipt
from pfiflow.flow.exchange import Exchange, Note

__all__ = ["PATIENCE", "PROMPT", "Route", "mail", "reading", "until"]

PATIENCE = 60.0  # seconds; reached by a defect only, or a machine with fifty busy processes
PROMPT = 10.0  # seconds in which something ends "at once": less than any deadline of the options


def mail(subject: str, size: int = 200) -> bytes:
    """A mail of about that many bytes."""
    line = b"x" * 76 + b"\r\n"
    return f"Subject: {subject}\r\nMessage-ID: <{subject}@hopital.test>\r\n\r\n".encode() + line * (size // 78 + 1)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for the condition. Raises TimeoutError that says `what` was waited for."""
    deadline = monotonic() + PATIENCE
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError(f"never {what}")
        await asyncio.sleep(0.01)


class Route:
    """A `Receive` whose `answer` may raise, or give a duplicate."""

    def __init__(self, answer: Callable[[Exchange[bytes]], Receipt | None] = lambda _exchange: None) -> None:
        self.answer = answer
        self._numbers = count(1)
        self.taken: list[Exchange[bytes]] = []
        self.lines: list[tuple[str, Note]] = []  # exchange id and note of each journal line

    async def __call__(self, exchange: Exchange[Any], /) -> Receipt:
        self.taken.append(exchange)
        return self.answer(exchange) or Receipt(exchange)

    def new_id(self) -> str:
        return f"exchange-{next(self._numbers)}"

    async def journal(self, *notes: Note, exchange_id: str = "", rationed: bool = False) -> None:
        """As an engine whose ration is never used up."""
        del rationed
        self.lines += [(exchange_id, note) for note in notes]

    def told(self, event: str) -> list[Mapping[str, str]]:
        """The facts of each line of an event."""
        return [note.facts for _, note in self.lines if note.event == event]

    @property
    def subjects(self) -> list[str]:
        """Of the mails taken, in their order."""
        return [exchange.body.partition(b"\r\n")[0].decode().removeprefix("Subject: ") for exchange in self.taken]

    async def takes(self, count: int) -> None:
        """Wait until that many mails were handed over."""
        await until(lambda: len(self.taken) >= count, f"took {count} mails but {len(self.taken)}")


@contextlib.asynccontextmanager
async def reading(options: ImapInOptions, route: Route) -> AsyncIterator[ImapSource]:
    """A source that runs meanwhile. What it raises is raised here."""
    source = ImapSource(options)
    ended: list[BaseException | None] = []
    started = asyncio.Event()

    async def run() -> None:
        try:
            await source.run(route, lambda _address: started.set())
        except Exception as error:
            ended.append(error)
        started.set()

    def check() -> None:
        if ended and ended[0] is not None:
            raise ended[0]

    async with anyio.create_task_group() as tasks:  # as the engine runs and cancels it
        tasks.start_soon(run)
        try:
            await asyncio.wait_for(started.wait(), PATIENCE)
            check()
            yield source
            check()
        finally:
            begun = monotonic()
            tasks.cancel_scope.cancel()
    assert monotonic() - begun < PROMPT, "run was cancelled and did not end promptly"
