"""The DMP leg: what an order costs, what it takes of memory, how many a second reach the simulator.

    python -m benchmarks.dmp

Ratios compare within one run; the floor of building a submission is what no implementation avoids: SHA-1 of the
document, one RSA-2048 signature for each that is made, lxml's serialisation of the same tree. With the signature of a
submission comes Canonical XML of the document, so a second floor adds lxml's parsing and canonicalising it.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from attrs import frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from lxml import etree

from pfiflow.dmp import soap
from pfiflow.dmp.requests import Requests
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.soap import Outgoing
from pfiflow.dmp.values import Feeding
from pfiflow.dmp.vihf import Software
from pfiflow.endpoints.dmp import DmpSink, DmpSubmitOptions
from pfiflow.endpoints.seal_file import SealOptions
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.flow.exchange import Exchange
from pfiflow.segur.feeding import FeedingOptions, feeding
from pfiflow.segur.transmission import read
from pfiflow.simulators.certificates import Authority
from pfiflow.simulators.dmp import DmpSimulator
from pfiflow.simulators.messages import document, message
from pfiflow.store.api import Record

__all__ = ["Built", "Plan", "Sent", "run"]

Level = Literal["N1", "N3"]

OPTIONS = FeedingOptions(
    source_id="1.2.250.1.999.1",
    software=Software("pfiflow", "0.1", "DEV000000"),
    sector="SA01^1.2.250.1.71.4.2.4",
    test_platform=True,
)


@frozen
class Plan:
    """How much to do."""

    size: int = 330_000
    rounds: int = 200
    in_flight: tuple[int, ...] = (1, 4, 16)
    orders: int = 200
    large: int = 50_000_000


@frozen
class Built:
    """One submission built and signed; CPU milliseconds, medians."""

    level: Level
    size: int
    order: float  # CDA → metadata, VIHF values, gates
    request: float  # → signed MTOM request
    floor: float
    floor_with_c14n: float


@frozen
class Sent:
    """Submissions to the simulator, in a process of its own."""

    in_flight: int
    rate: float  # a second
    cpu: float  # ours, milliseconds each


def order(level: Level, number: int, size: int) -> Feeding:
    """An order for a document of its own."""
    transmission = read(message(document(level, number=number, patient=number % 1000, size=size)))
    return feeding(transmission, OPTIONS, exchange_id=f"exchange {number}", now=datetime.now(UTC))


def build(level: Level, plan: Plan, seal: Seal) -> Built:
    """What a document costs until its request is ready; ours and the floors take turns."""
    transmission = read(message(document(level, number=1, patient=1, size=plan.size)))
    made = feeding(transmission, OPTIONS, exchange_id="e", now=datetime.now(UTC))
    requests = Requests("https://localhost/services", seal)
    tree = _tree(requests.submit(made).outgoing)

    def floor() -> None:
        hashlib.sha1(made.document, usedforsecurity=False).digest()
        seal.key.sign(b"submission", PKCS1v15(), hashes.SHA1())
        seal.key.sign(b"vihf", PKCS1v15(), hashes.SHA256())
        etree.tostring(tree)

    def canonical() -> None:
        etree.fromstring(made.document, etree.XMLParser(huge_tree=True)).getroottree().write_c14n(
            io.BytesIO(), with_comments=True
        )

    work: tuple[Callable[[], object], ...] = (
        lambda: feeding(transmission, OPTIONS, exchange_id="e", now=datetime.now(UTC)),
        lambda: requests.submit(made),
        floor,
        canonical,
    )
    spent: list[list[float]] = [[] for _ in work]
    for _ in range(plan.rounds):
        for times, function in zip(spent, work, strict=True):
            began = time.thread_time()
            function()
            times.append((time.thread_time() - began) * 1000)
    making, requesting, least, c14n = map(statistics.median, spent)
    return Built(level, len(made.document), making, requesting, least, least + c14n)


def _tree(outgoing: Outgoing) -> etree._Element:
    return soap.read_message(outgoing.content_type, b"".join(outgoing.parts)).envelope


class NoRecords:
    """Nothing was ever submitted."""

    async def find_record(self, _kind: str, _key: str, /) -> Record | None:
        """None."""
        return None


def sink_of(facts: dict[str, str]) -> DmpSink:
    """A sink for the simulator that has told these facts."""
    options = DmpSubmitOptions(
        base_url=facts["url"],
        tls=TlsOptions(ca=(Path(facts["ca"]),), certificate=Path(facts["client"]), key=Path(facts["client_key"])),
        seal=SealOptions(certificate=Path(facts["seal"]), key=Path(facts["seal_key"])),
        connections=64,
    )
    return DmpSink(options, NoRecords())


async def throughput(plan: Plan, facts: dict[str, str]) -> list[Sent]:
    """Documents of patients of their own, so many in flight; the first ones, which open connections, do not count."""
    found = []
    for turn, in_flight in enumerate(plan.in_flight, 1):
        sink = sink_of(facts)
        numbers = range(turn * 10_000, turn * 10_000 + plan.orders + in_flight)
        orders = [Exchange(f"exchange {number}", order("N1", number, plan.size)) for number in numbers]
        await asyncio.gather(*(sink.send(orders.pop()) for _ in range(in_flight)))
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()

        async def work(sink: DmpSink = sink, orders: list[Exchange[Feeding]] = orders) -> None:
            while orders:
                await sink.send(orders.pop())

        await asyncio.gather(*(work() for _ in range(in_flight)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        await sink.aclose()
        found.append(Sent(in_flight, plan.orders / wall, cpu / plan.orders * 1000))
    return found


def serve(folder: Path) -> None:
    """A simulator until standard input ends; says on standard output where it is."""
    with DmpSimulator(folder) as simulator:
        facts = {
            "url": simulator.url,
            "ca": simulator.authority.certificate,
            "client": simulator.client.certificate,
            "client_key": simulator.client.key,
            "seal": simulator.seal.certificate,
            "seal_key": simulator.seal.key,
        }
        print(json.dumps({name: str(value) for name, value in facts.items()}), flush=True)
        sys.stdin.read()


def measure_memory(size: int, facts: dict[str, str]) -> None:
    """In a fresh process: prints the peak while a document is made an order, signed and sent, in multiples of its size.

    The document itself counts; the HL7 message that brought it does not.
    """
    asyncio.run(_send_small(facts))
    transmission = read(message(document("N1", number=90_001, patient=1, size=size)))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS") - len(transmission.document)
    made = feeding(transmission, OPTIONS, exchange_id="large", now=datetime.now(UTC))

    async def send() -> None:
        sink = sink_of(facts)
        await sink.send(Exchange("large", made))
        await sink.aclose()

    asyncio.run(send())
    print((_memory("VmHWM") - before) / len(made.document))


async def _send_small(facts: dict[str, str]) -> None:
    sink = sink_of(facts)
    await sink.send(Exchange("small", order("N1", 90_000, 20_000)))
    await sink.aclose()


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def run(plan: Plan, folder: Path) -> tuple[list[Built], list[Sent], float]:
    """Measure everything and print it."""
    made = Authority(folder, "bench").issue_seal("1999999999")
    seal = Seal.load(made.certificate.read_bytes(), made.key.read_bytes())
    levels: tuple[Level, ...] = ("N1", "N3")
    built = [build(level, plan, seal) for level in levels]
    print("Build and sign, CPU milliseconds (medians)")
    print("         size   order  request   floor  ratio   floor with C14N  ratio")
    for each in built:
        print(
            f"  {each.level} {each.size:9d} {each.order:7.2f} {each.request:8.2f} {each.floor:7.2f}"
            f" {each.request / each.floor:6.2f} {each.floor_with_c14n:17.2f} {each.request / each.floor_with_c14n:6.2f}"
        )
    command = [sys.executable, "-m", "benchmarks.dmp"]
    with subprocess.Popen(
        [*command, "serve", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        facts = json.loads(server.stdout.readline())
        sent = asyncio.run(throughput(plan, facts))
        print("\nTo the simulator, which checks everything, on the same machine")
        for one in sent:
            print(f"  {one.in_flight:3d} in flight: {one.rate:6.0f} submissions/s, our CPU {one.cpu:.2f} ms each")
        done = subprocess.run(
            [*command, "memory", str(plan.large), json.dumps(facts)], capture_output=True, text=True, check=True
        )
        peak = float(done.stdout)
        print(f"\nPeak memory for a document of {plan.large} bytes: {peak:.2f} × its size (goal: 3)")
        assert server.stdin is not None
        server.stdin.close()
    return built, sent, peak


def main(arguments: list[str]) -> None:
    match arguments:
        case ["serve", folder]:
            serve(Path(folder))
        case ["memory", size, facts]:
            measure_memory(int(size), json.loads(facts))
        case _:
            with tempfile.TemporaryDirectory() as folder:
                run(Plan(), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
