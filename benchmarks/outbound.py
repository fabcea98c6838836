"""The outbound flow measured: `python -m benchmarks.outbound [--quick]`. Everything compared is of one run.

Whole leg: CPU in floors (bare base64 decode, SHA-1, XML parse, zip, base64 encode of the same document) and messages a
second. Inbound half: beside python-hl7's asyncio server, which only parses and acknowledges. Memory: a document of
50 MB, ten thousand messages waiting. A busy machine distorts rates and latencies; ratios of CPU suffer least.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from benchmarks.harness import Report, percentile
from benchmarks.intake import Intake, measure_intake
from benchmarks.leg import Leg, measure_leg
from benchmarks.memory import measure_large, measure_waiting
from benchmarks.samples import OFFICIAL_SIZE, bare_message, generated, official

__all__ = ["FULL", "QUICK", "Plan", "Report", "main", "run"]


@frozen
class Plan:
    """How much to measure."""

    leg_connections: Sequence[int]
    leg_messages: int
    floor_seconds: float
    patients: int
    with_official: bool
    sizes: Sequence[int]  # of inbound messages; below what a transmission can be, a bare route stands in
    intake_connections: Sequence[int]
    intake_seconds: float
    large: int
    waiting: int


FULL = Plan(
    (1, 10, 50), 120, 0.4, 16, True, (1_000, 100_000, OFFICIAL_SIZE, 1_600_000), (1, 8), 2.0, 50_000_000, 10_000
)
QUICK = Plan((1, 10), 40, 0.4, 4, False, (1_000, OFFICIAL_SIZE), (8,), 1.0, 10_000_000, 1_000)


def run(plan: Plan, folder: Path) -> Report:
    """Measure everything in a plan."""
    report = Report()
    _surroundings(report, folder)
    asyncio.run(_legs(plan, report, folder))
    asyncio.run(_intakes(plan, report, folder))
    asyncio.run(_memory(plan, report, folder))
    report.close()
    return report


def _surroundings(report: Report, folder: Path) -> None:
    block = os.urandom(100_000)
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            started = time.perf_counter()
            file.write(block)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    report.say(
        f"{os.cpu_count()} processors, {load}; {folder}: 100 kB append + fsync "
        f"median {statistics.median(times) * 1e3:.2f} ms, p99 {percentile(times, 0.99) * 1e3:.2f} ms"
    )


# -- the whole leg -----------------------------------------------------------------------------------------------------


async def _legs(plan: Plan, report: Report, folder: Path) -> None:
    report.say("\nWhole leg: MLLP → checked → committed → AA → XDM → mail taken by the sink")
    samples = [generated(level, level, OFFICIAL_SIZE, patients=plan.patients) for level in ("N1", "N3")]
    if plan.with_official:
        samples += official()
    for sample in samples:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            leg = await measure_leg(
                Path(place), sample, plan.leg_connections, messages=plan.leg_messages, floor_seconds=plan.floor_seconds
            )
        _print_leg(report, leg)
        if sample.name in {"N1", "N3"}:
            report.goal(leg.ratio <= 2, f"{leg.sample}: CPU of the whole leg ≤ 2 floors: {leg.ratio:.2f}")


def _print_leg(report: Report, leg: Leg) -> None:
    report.say(
        f"  {leg.sample}: {leg.size / 1e3:.0f} kB, {leg.mails} mail(s) of {leg.mail_size / 1e3:.0f} kB; "
        f"floor {leg.floor * 1e3:.1f} ms CPU (zip level 6: {leg.floor_at_6 * 1e3:.1f} ms)"
    )
    for number, cpu in leg.cpu.items():
        report.say(
            f"    {number:>3} connection(s): {leg.rates[number]:6.1f} messages/s, CPU {cpu * 1e3:5.1f} ms a message = "
            f"{cpu / leg.floor:.2f} floors ({cpu / leg.floor_at_6:.2f} at level 6), "
            f"median ACK {leg.median_ack[number] * 1e3:.1f} ms"
        )


# -- the inbound half --------------------------------------------------------------------------------------------------


async def _intakes(plan: Plan, report: Report, folder: Path) -> None:
    report.say(
        "\nInbound half: MLLP → read, checked → committed → AA; python-hl7 parses and acknowledges, keeps nothing"
    )
    smallest = generated("smallest", "N1", 0)
    for size in plan.sizes:
        whole = smallest if size < smallest.size else generated("", "N1", size)
        if whole is smallest:
            report.say(
                f"  {size / 1e3:.0f} kB on a bare route (the smallest transmission has {whole.size / 1e3:.0f} kB)"
            )
            for connections in plan.intake_connections:
                small = bare_message(size)
                other = await measure_intake(folder, "python-hl7", small, connections, seconds=plan.intake_seconds)
                ours = await measure_intake(folder, "bare", small, connections, seconds=plan.intake_seconds)
                _print_intake(report, ours, other)
        report.say(f"  {whole.size / 1e3:.0f} kB")
        for connections in plan.intake_connections:
            other = await measure_intake(folder, "python-hl7", whole, connections, seconds=plan.intake_seconds)
            ours = await measure_intake(folder, "inbound", whole, connections, seconds=plan.intake_seconds)
            _print_intake(report, ours, other)
            if size == OFFICIAL_SIZE and connections == max(plan.intake_connections):
                report.goal(ours.cpu <= 0.003, f"330 kB in ≤ 3 ms CPU: {ours.cpu * 1e3:.2f} ms")
                report.goal(
                    ours.transactions <= 0.5,
                    f"group commit: {ours.transactions:.2f} fsyncs a message on {connections} connections",
                )


def _print_intake(report: Report, ours: Intake, other: Intake) -> None:
    for each in (ours, other):
        fsyncs = f", {each.transactions:.2f} fsyncs each" if each.transactions else ""
        report.say(
            f"    {each.connections} connection(s) {each.kind:>10}: {each.rate:7.1f} messages/s, "
            f"CPU {each.cpu * 1e3:6.2f} ms, p50 {each.p50 * 1e3:6.2f} ms, p99 {each.p99 * 1e3:6.2f} ms{fsyncs}"
        )
    report.say(
        f"      ours: {ours.rate / other.rate:.2f} times the rate, {ours.cpu / other.cpu:.2f} times the CPU; "
        f"added latency p50 {(ours.p50 - other.p50) * 1e3:+.2f} ms, p99 {(ours.p99 - other.p99) * 1e3:+.2f} ms"
    )
    report.goal(
        ours.rate >= other.rate,
        f"{ours.kind} {ours.size / 1e3:.0f} kB, {ours.connections} connection(s): durable and not slower than "
        f"python-hl7: {ours.rate / other.rate:.2f} times its rate",
    )


# -- memory ------------------------------------------------------------------------------------------------------------


async def _memory(plan: Plan, report: Report, folder: Path) -> None:
    report.say("\nMemory of the server's process")
    large = await measure_large(folder, plan.large)
    report.say(
        f"  a document of {large.document / 1e6:.0f} MB (message {large.message / 1e6:.0f} MB, mail "
        f"{large.mail / 1e6:.0f} MB): {large.baseline / 1e6:.0f} MB before; at its peak {large.peak / 1e6:.0f} MB more "
        f"({large.intake_peak / 1e6:.0f} MB until AA) = {large.ratio:.1f} × the document"
    )
    report.goal(large.ratio <= 6, f"peak memory ≤ 6 × a document of {large.document / 1e6:.0f} MB: {large.ratio:.1f}")
    waiting = await measure_waiting(folder, 10, plan.waiting)
    report.say(
        f"  resident with {waiting.few} messages waiting {waiting.with_few / 1e6:.1f} MB, with {waiting.many} "
        f"{waiting.with_many / 1e6:.1f} MB; started anew over {waiting.many}: {waiting.restarted / 1e6:.1f} MB"
    )
    more = waiting.with_many - waiting.with_few
    report.goal(
        waiting.restarted <= waiting.with_few and more <= 16e6,
        f"{waiting.many} waiting messages cost no more memory than {waiting.few}: {more / 1e6:+.1f} MB after taking "
        f"them in, {(waiting.restarted - waiting.with_few) / 1e6:+.1f} MB after a restart",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Always 0: a benchmark is read by people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half a minute instead of four")
    parser.add_argument("--folder", type=Path, help="where stores go: a real disk, not tmpfs")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run(QUICK if options.quick else FULL, Path(folder))
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
