"""The whole leg against the floor: MLLP → checked → committed → AA → XDM → mail taken by a sink."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from benchmarks.harness import Load, Server, SmtpSink, percentile, stopwatch
from benchmarks.samples import Sample, floor, whole_leg
from pfiflow.xdm.zipping import FASTEST

__all__ = ["Leg", "measure_leg"]

_DELIVERY_TIMEOUT = 120.0


@frozen
class Leg:
    """One sample's figures; seconds. `rates` is messages a second by number of connections, `cpu` CPU a message."""

    sample: str
    size: int
    mails: float  # a message
    mail_size: float
    floor: float  # our zip level
    floor_at_6: float
    cpu: dict[int, float]
    rates: dict[int, float]
    median_ack: dict[int, float]

    @property
    def ratio(self) -> float:
        """CPU of the leg in floors, over every message of the run."""
        return sum(self.cpu.values()) / len(self.cpu) / self.floor


async def measure_leg(
    folder: Path, sample: Sample, connections: Sequence[int], *, messages: int, floor_seconds: float
) -> Leg:
    """Send `messages` at each number of connections, to the last mail. The floor is taken before and after.

    A mail that is refused is not waited for: that of the official ORU to its patient (its INS is not qualified).
    """
    document = sample.documents[0]
    floors = [floor(document, FASTEST, seconds=floor_seconds)]
    sink = SmtpSink()
    port = await sink.start()
    cpu, rates, acks = {}, {}, {}
    with Server.pfiflow(folder, whole_leg(folder, port)) as server:
        load = Load(server.address, sample.templates)
        await load.run(2, messages=10)
        await sink.wait_for(10, _DELIVERY_TIMEOUT)
        mails = await _mails_of_one(load, sink)
        for number in connections:
            load.latencies.clear()
            before = sink.mails
            with stopwatch(server) as spent:
                await load.run(number, messages=messages)
                await sink.wait_for(before + messages * mails, _DELIVERY_TIMEOUT)
            wall, used = spent
            rates[number], cpu[number], acks[number] = messages / wall, used / messages, percentile(load.latencies, 0.5)
    sink.close()
    floors.append(floor(document, FASTEST, seconds=floor_seconds))
    return Leg(
        sample.name,
        sample.size,
        mails,
        sink.bytes / sink.mails,
        sum(floors) / len(floors),
        floor(document, 6, seconds=floor_seconds),
        cpu,
        rates,
        acks,
    )


async def _mails_of_one(load: Load, sink: SmtpSink) -> int:
    """How many mails one message makes: to professionals, and to the patient."""
    await asyncio.sleep(0.5)
    before = sink.mails
    await load.run(1, messages=1)
    await asyncio.sleep(0.5)
    return sink.mails - before
