"""pfiflow inside a program of yours: routes in Python, one message sent to them, and what became of it.

Run it: python -m examples.embedding
"""

from __future__ import annotations

import asyncio

import pfiflow
from pfiflow import ChannelSpec, Exchange, MemoryStore, Route
from pfiflow.processors.transmission import CheckOptions
from pfiflow.segur.values import Transmission
from pfiflow.simulators.messages import examples


def archive(exchange: Exchange[Transmission]) -> Exchange[Transmission]:
    """A step of ours."""
    print(f"{exchange.headers['document-id']}: {len(exchange.body.document)} bytes of CDA")
    return exchange.with_note("archived")


ROUTES = (
    Route.of("intake")
    .process("read-transmission")
    .process("check-transmission", CheckOptions(test_platform=True))
    .to_channel("documents"),
    Route.of("archive").from_channel("documents").process(archive),
)
MESSAGE = examples()["mdm_t02_n1.hl7"]


async def main() -> None:
    """Under the event loop that the program has already. A store of one's own, such as SqliteStore, keeps messages."""
    async with pfiflow.engine(ROUTES, channels={"documents": ChannelSpec()}, store=MemoryStore()) as engine:
        sent = await engine.send("intake", MESSAGE)  # durable once this returns
        outcome = await sent.outcome(timeout=10.0)  # delivered or given up, over every channel
        print("delivered" if outcome.succeeded else outcome.dead, [line.event for line in outcome.journal])


def in_thread() -> None:
    """In a program without an event loop."""
    with pfiflow.engine(ROUTES, channels={"documents": ChannelSpec()}, store=MemoryStore()).in_thread() as engine:
        print(engine.send("intake", MESSAGE).outcome(timeout=10.0).succeeded)


if __name__ == "__main__":
    asyncio.run(main())
    in_thread()
