"""An engine's store under load, to be killed: `python -m tests.store.crash_worker FOLDER ROUND drain|load`.

Writes what it knows to three files, each line by one `write` (which outlives the process): `attempted` before a commit,
`committed` after it, `executed` when a worker has a message, `done` when its settling was reported as committed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

from pfiflow.store.api import Claim, Done, DuplicateKeyError, Enqueue, LedgerEntry, UnitOfWork
from pfiflow.store.sqlite import SqliteStore

KEYS = 12


class Log:
    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, *facts: object) -> None:
        os.write(self._handle, (" ".join(map(str, facts)) + "\n").encode())


class Load:
    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.store = SqliteStore(folder / "store.db")
        self.logs = {name: Log(folder / name) for name in ("attempted", "committed", "executed", "done")}
        self.numbers = iter(range(number * 1_000_000, (number + 1) * 1_000_000))
        self.random = random.Random(number)

    async def put(self, name: str, keys: tuple[str, str]) -> None:
        """One unit that puts a message into two lanes and a key into the ledger. Safe to repeat."""
        self.logs["attempted"].add(name, *keys)
        payload = name.encode() + bytes(self.random.choice([10, 10_000, 200_000]))
        unit = UnitOfWork(
            enqueue=tuple(Enqueue("c", key, name, "bytes", payload) for key in keys),
            ledger=(LedgerEntry("s", name, b"", name, 1e12),),
            at=1.0,
        )
        with suppress(DuplicateKeyError):  # then the commit before the crash had held
            await self.store.commit(unit)
        self.logs["committed"].add(name, *keys)

    async def produce(self) -> None:
        while True:
            first, second = self.random.sample(range(KEYS), 2)
            await self.put(str(next(self.numbers)), (f"k{first}", f"k{second}"))

    async def work(self, *, forever: bool) -> None:
        while True:
            claim: Claim | None = await self.store.claim("c", now=2.0)
            if claim is None:
                if not forever:
                    return
                await self.store.wait("c", timeout=1.0)
            while claim is not None:
                name = claim.message.payload.rstrip(b"\0").decode()
                self.logs["executed"].add(name, claim.key)
                await self.store.commit(UnitOfWork(Done(claim.message.sequence), at=2.0))
                self.logs["done"].add(name, claim.key)
                claim = await self.store.next(claim, now=2.0)

    async def run(self, *, load: bool) -> None:
        await self.store.open()
        print("open", flush=True)
        known = set((self.folder / "committed").read_text().splitlines())
        unsure = [line for line in (self.folder / "attempted").read_text().splitlines() if line not in known]
        for line in dict.fromkeys(unsure):
            name, first, second = line.split()
            await self.put(name, (first, second))
        jobs = [self.work(forever=load) for _ in range(4)]
        if load:
            jobs += [self.produce() for _ in range(8)]
        await asyncio.gather(*jobs)
        await self.store.aclose()


if __name__ == "__main__":
    asyncio.run(Load(Path(sys.argv[1]), int(sys.argv[2])).run(load=sys.argv[3] == "load"))
