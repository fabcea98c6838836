"""A long queue costs disk, not memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import asyncio, gc, os, sys
import psutil
from pfiflow.store.api import Enqueue, UnitOfWork
from pfiflow.store.sqlite import SqliteStore

async def main(path, count):
    store = SqliteStore(path)
    await store.open()
    for number in range(0, count, 10):
        await asyncio.gather(*(
            store.commit(UnitOfWork(enqueue=(Enqueue("c", str(n), str(n), "bytes", os.urandom(100_000)),)))
            for n in range(number, number + 10)
        ))
    for _ in range(5):
        claim = await store.claim("c", now=1.0)
        assert len(claim.message.payload) == 100_000
    gc.collect()
    print(psutil.Process().memory_info().rss)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("count", [1000])
def test_resident_memory_does_not_follow_the_backlog(tmp_path: Path, count: int) -> None:
    def resident(messages: int) -> int:
        path = str(tmp_path / f"{messages}.db")
        return int(subprocess.check_output([sys.executable, "-c", _CODE, path, str(messages)]))

    few, many = resident(10), resident(count)
    print(f"10 messages {few >> 20} MB, {count} messages {many >> 20} MB")
    assert many - few < 15 << 20
