"""The inbound half: MLLP → read and checked → committed → AA, beside a server that only parses and acknowledges."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Literal

from attrs import frozen

from benchmarks.harness import Load, Server, percentile, python_hl7, stopwatch
from benchmarks.samples import Sample, bare, inbound

__all__ = ["Intake", "measure_intake"]

Kind = Literal["inbound", "bare", "python-hl7"]


@frozen
class Intake:
    """One server under one load. `rate` messages a second, `cpu` and latencies in seconds."""

    kind: Kind
    size: int
    connections: int
    rate: float
    cpu: float
    p50: float
    p99: float
    transactions: float  # a unit of work; 0 for a server that keeps nothing


async def measure_intake(folder: Path, kind: Kind, sample: Sample, connections: int, *, seconds: float) -> Intake:
    """A fresh server, a fresh store, a second of warming up not counted."""
    place = Path(mkdtemp(dir=folder))
    match kind:
        case "inbound":
            server = Server.pfiflow(place, inbound(place))
        case "bare":
            server = Server.pfiflow(place, bare(place))
        case "python-hl7":
            server = python_hl7()
    with server:
        load = Load(server.address, sample.templates)
        await load.run(connections, seconds=seconds / 4)
        load.latencies.clear()
        with stopwatch(server) as spent:
            await load.run(connections, seconds=seconds)
    wall, cpu = spent
    messages = len(load.latencies)
    kept, transactions = server.units_and_transactions() if kind != "python-hl7" else (1, 0)
    rmtree(place)  # gigabytes, otherwise
    return Intake(
        kind,
        sample.size,
        connections,
        messages / wall,
        cpu / messages,
        percentile(load.latencies, 0.50),
        percentile(load.latencies, 0.99),
        transactions / kept,
    )
