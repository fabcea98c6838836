"""The inbound flow measured: `python -m benchmarks.inbound [--quick]`. Everything compared is of one run.

The shipped routes on a real Dovecot (STARTTLS, client certificate), to a DPI that answers AA. CPU in floors: base64
decode of the archive, unzip, SHA-1, XML parse, base64 encode of the same document, done bare. Mails a second over one
and four mailboxes. Time from a mail's arrival to its MDM under IDLE, and how much of it is Dovecot's, which tells an
idle client when it likes. A busy machine distorts rates and times; ratios of CPU suffer least.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from benchmarks.harness import Report, percentile, stopwatch
from benchmarks.mailbox import Mailboxes, Sample, mails_of, receiving
from pfiflow.endpoints.imap_mailbox import Mailbox
from pfiflow.endpoints.imap_options import ImapInOptions
from pfiflow.endpoints.imap_threaded import ThreadedSession
from pfiflow.endpoints.tls import TlsOptions
from tests.endpoints.dovecot import reason_not_to_run

__all__ = ["FULL", "QUICK", "Plan", "main", "run"]


@frozen
class Plan:
    """How much to measure."""

    size: int = 400_000  # of a mail
    mails: int = 120
    mailboxes: Sequence[int] = (1, 4)
    arrivals: int = 100
    floor_seconds: float = 0.4


FULL = Plan()
QUICK = Plan(mails=40, arrivals=20)


@frozen
class Throughput:
    """CPU seconds a mail, and mails a second from the first MDM to the last."""

    mailboxes: int
    cpu: float
    rate: float


def run(plan: Plan, folder: Path) -> Report:
    """Measure everything in a plan."""
    report = Report()
    asyncio.run(_measure(plan, report, folder))
    report.close()
    return report


async def _measure(plan: Plan, report: Report, folder: Path) -> None:
    report.say("Inbound: mail in Dovecot → IMAP → read, checked → committed → MDM → AA → mail marked")
    levels: tuple[Literal["N1", "N3"], ...] = ("N1", "N3")
    for level in levels:
        sample = mails_of(level, plan.size, plan.mails + 5)
        floors = [sample.floor(seconds=plan.floor_seconds)]
        results = []
        for number in plan.mailboxes:
            with tempfile.TemporaryDirectory(dir=folder) as place, receiving(Path(place), number) as site:
                results.append(await _throughput(site, sample))
        floors.append(sample.floor(seconds=plan.floor_seconds))
        floor = sum(floors) / 2
        report.say(
            f"  {level}: mails of {sample.size / 1e3:.0f} kB, document of {len(sample.document) / 1e3:.0f} kB, "
            f"archive of {len(sample.archive) / 1e3:.0f} kB; floor {floor * 1e3:.2f} ms CPU"
        )
        for each in results:
            report.say(
                f"    {each.mailboxes} mailbox(es): {each.rate:6.1f} mails/s, CPU {each.cpu * 1e3:5.1f} ms a mail = "
                f"{each.cpu / floor:.2f} floors"
            )
        ratio = sum(each.cpu for each in results) / len(results) / floor
        report.goal(ratio <= 2, f"{level}: CPU of a mail ≤ 2 floors: {ratio:.2f}")
    with tempfile.TemporaryDirectory(dir=folder) as place, receiving(Path(place), 1) as site:
        await _latency(site, report, mails_of("N1", plan.size, plan.arrivals + 2))


async def _throughput(site: Mailboxes, sample: Sample) -> Throughput:
    """All mails but five put there at once; the five before them warm the server up."""
    warm, mails = sample.mails[:5], sample.mails[5:]
    site.deliver(warm)
    await site.arrivals.wait_for(len(warm))
    await site.marked()
    with stopwatch(site.server) as spent:
        site.deliver(mails)
        await site.arrivals.wait_for(len(sample.mails))
        await site.marked()
        await asyncio.sleep(0.1)
    first, last = site.arrivals.times[len(warm)], site.arrivals.times[-1]
    return Throughput(len(site.names), spent[1] / len(mails), (len(mails) - 1) / (last - first))


async def _latency(site: Mailboxes, report: Report, sample: Sample) -> None:
    """One mail after the other: when its MDM was answered, when an idle client that does nothing else heard of it."""
    (name,) = site.names
    own = site.authority.issue("watcher")
    tls = TlsOptions(ca=(site.authority.certificate,), certificate=own.certificate, key=own.key)
    options = ImapInOptions(host="localhost", port=site.dovecot.port, username=name, tls=tls)
    session = await ThreadedSession.open(options, tls.client_context())
    whole, announced = [], []
    try:
        await Mailbox(session).select("INBOX")
        for number, mail in enumerate(sample.mails):
            session.arrivals.looked()
            idling = asyncio.create_task(session.idle(60))
            await asyncio.sleep(0.3)  # until both idle
            started = time.perf_counter()
            site.deliver([mail])
            await idling
            heard = time.perf_counter() - started
            await site.arrivals.wait_for(number + 1)
            if number >= 2:
                announced.append(heard)
                whole.append(site.arrivals.times[-1] - started)
            await site.marked()
    finally:
        session.abort()
    report.say(f"  arrival → MDM answered under IDLE, {len(whole)} mails of {sample.size / 1e3:.0f} kB, one at a time")
    for what, values in (("to the MDM", whole), ("to the IDLE response, an idle client beside it", announced)):
        report.say(
            f"    {what}: median {statistics.median(values) * 1e3:.0f} ms, p99 {percentile(values, 0.99) * 1e3:.0f} ms"
        )
    report.say(f"    ours: median {(statistics.median(whole) - statistics.median(announced)) * 1e3:+.0f} ms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Always 0: a benchmark is read by people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half a minute instead of two")
    parser.add_argument("--folder", type=Path, help="where stores go: a real disk, not tmpfs")
    options = parser.parse_args(arguments)
    if reason := reason_not_to_run():
        print(f"not measured: {reason}")
        return 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run(QUICK if options.quick else FULL, Path(folder))
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
