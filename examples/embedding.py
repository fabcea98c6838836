"""pfiflow inside a program of yours: a route in Python, one message sent to it, and what became of it.

Run it: python -m examples.embedding
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from pfiflow import ChannelSpec, Engine, Exchange, FlowDefinition, Registry, Route, SqliteStore
from pfiflow.processors.transmission import CheckOptions
from pfiflow.segur.values import Transmission
from pfiflow.simulators.messages import examples


async def main() -> None:
    """Take one example message over, and hand its document to a function of ours."""
    delivered = anyio.Event()

    def archive(exchange: Exchange[Transmission]) -> Exchange[Transmission]:
        print(f"{exchange.headers['document-id']}: {len(exchange.body.document)} bytes of CDA")
        delivered.set()
        return exchange.with_note("archived")

    routes = (
        Route.of("intake")
        .process("read-transmission")
        .process("check-transmission", CheckOptions(test_platform=True))
        .to_channel("documents"),
        Route.of("archive").from_channel("documents").process(archive),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "pfiflow.db")
        engine = Engine(FlowDefinition(routes, {"documents": ChannelSpec()}), store, Registry.installed())
        async with engine.running():
            await engine.send("intake", examples()["mdm_t02_n1.hl7"])  # durable once this returns
            await delivered.wait()


if __name__ == "__main__":
    anyio.run(main)
