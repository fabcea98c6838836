"""What the embedded store takes and gives: `python benchmarks/store.py [FOLDER]` (on the disk to be measured).

Prints, beside each figure, what bare SQLite does at the same moment with one insert and one fsync a message: disks and
neighbours differ more than programs do.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from pfiflow.store.api import Claim, Done, Enqueue, JournalEntry, LedgerEntry, UnitOfWork
from pfiflow.store.schema import connect
from pfiflow.store.sqlite import SqliteStore

SIZES = {1_000: 1500, 10_000: 1500, 100_000: 600, 330_000: 300, 1_600_000: 80}


def unit(number: int, size: int, key: str) -> UnitOfWork:
    """What a source commits: one message, its idempotency key, two journal lines."""
    name = f"x{number}"
    return UnitOfWork(
        enqueue=(Enqueue("c", key, name, "bytes", os.urandom(size)),),
        ledger=(LedgerEntry("in", name, b"digest", name, 1e12),),
        journal=(JournalEntry(1.0, name, "r", "received"), JournalEntry(1.0, name, "r", "stored")),
        at=1.0,
    )


def bare(folder: Path, size: int, count: int) -> float:
    """Inserts a second: one table, one blob, one fsync each."""
    path = folder / "bare.db"
    connection = connect(path, busy_timeout=1.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, b BLOB)")
    blobs = [os.urandom(size) for _ in range(min(count, 50))]
    started = time.perf_counter()
    for number in range(count):
        connection.execute("INSERT INTO t (b) VALUES (?)", (blobs[number % len(blobs)],))
        if number % max(1, 8_000_000 // (size + 8000)) == 0:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    rate = count / (time.perf_counter() - started)
    connection.close()
    path.unlink()
    return rate


async def commits(folder: Path, size: int, count: int, committers: int) -> None:
    """Commits a second, and how long one waits."""
    store = SqliteStore(folder / "store.db")
    await store.open()
    units = iter([unit(number, size, f"k{number % 200}") for number in range(count)])
    waits: list[float] = []

    async def committer() -> None:
        for one in units:
            begun = time.perf_counter()
            await store.commit(one)
            waits.append(time.perf_counter() - begun)

    started = time.perf_counter()
    await asyncio.gather(*(committer() for _ in range(committers)))
    rate = count / (time.perf_counter() - started)
    await store.aclose()
    waits.sort()
    print(
        f"{size:>9} B {committers:>4} committers {rate:7.0f}/s"
        f"   p50 {waits[count // 2] * 1e3:6.2f} ms   p99 {waits[int(count * 0.99)] * 1e3:6.2f} ms"
    )
    clean(folder)


def clean(folder: Path) -> None:
    """Remove the store's files."""
    for path in folder.iterdir():
        path.unlink()


async def cycles(folder: Path, size: int, count: int, keys: int, workers: int) -> None:
    """Claim, settle with a ledger row and a journal line, go on: a second."""
    store = SqliteStore(folder / "store.db")
    await store.open()
    for first in range(0, count, 100):
        await asyncio.gather(*(store.commit(unit(n, size, f"k{n % keys}")) for n in range(first, first + 100)))

    async def work() -> None:
        claim: Claim | None
        while (claim := await store.claim("c", now=2.0)) is not None:
            while claim is not None:
                sequence = claim.message.sequence
                sent = LedgerEntry("out", str(sequence), b"digest", "x", 1e12)
                line = JournalEntry(2.0, "x", "r", "sent")
                await store.commit(UnitOfWork(Done(sequence), ledger=(sent,), journal=(line,), at=2.0))
                claim = await store.next(claim, now=2.0)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    rate = count / (time.perf_counter() - started)
    await store.aclose()
    print(f"{size:>9} B {keys:>5} keys {workers:>2} workers {rate:7.0f} claim+done/s")
    clean(folder)


async def backlog(folder: Path, count: int, keys: int) -> None:
    """How long a claim and the operators' lists take behind a backlog."""
    store = SqliteStore(folder / "store.db")
    await store.open()
    for first in range(0, count, 1000):
        entries = tuple(Enqueue("c", f"k{n % keys}", "x", "bytes", b"x" * 1000) for n in range(first, first + 1000))
        await store.commit(UnitOfWork(enqueue=entries, at=1.0))
    waits = []
    for _ in range(min(keys, 200)):
        begun = time.perf_counter()
        claim = await store.claim("c", now=2.0)
        waits.append(time.perf_counter() - begun)
        assert claim is not None
        await store.release(claim)
    begun = time.perf_counter()
    await store.messages(channel="c", state="waiting", after=count // 2)
    listing = time.perf_counter() - begun
    begun = time.perf_counter()
    await store.channels()
    counting = time.perf_counter() - begun
    await store.aclose()
    waits.sort()
    print(
        f"{count} waiting in {keys:>6} keys: claim p50 {waits[len(waits) // 2] * 1e3:.2f} ms,"
        f" worst {waits[-1] * 1e3:.2f} ms; list of 100 {listing * 1e3:.1f} ms; channels {counting * 1e3:.1f} ms"
    )
    clean(folder)


async def main() -> None:
    """Everything, in about two minutes."""
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        print(f"SQLite {sqlite3.sqlite_version}, {folder}")
        for size, count in SIZES.items():
            print(f"{size:>9} B bare SQLite   {bare(folder, size, count):7.0f}/s")
            clean(folder)
            for committers in (1, 10, 100):
                await commits(folder, size, count * (1 if committers == 1 else 3), committers)
        for size in (1_000, 100_000):
            for keys in (100, 2000):
                for workers in (1, 4, 16):
                    await cycles(folder, size, 2000, keys, workers)
        for keys in (1, 100_000):
            await backlog(folder, 100_000, keys)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
