"""`kill -9` at random instants under load: nothing reported as committed is lost, order holds, little is done twice.

A killed process leaves the page cache: this tests the transactions and the recovery, not the disk's fsync.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

ROUNDS = 6
ROOT = Path(__file__).parents[2]


def start(folder: Path, number: int, mode: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.store.crash_worker", str(folder), str(number), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def lines(folder: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (folder / name).read_text().splitlines()]


def test_kill_at_random_instants(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    generator = random.Random(seed)
    for number in range(ROUNDS):
        with start(tmp_path, number, "load") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            time.sleep(generator.uniform(0.0, 0.6))
            process.kill()
    with start(tmp_path, ROUNDS, "drain") as process:
        assert process.wait(timeout=60) == 0

    attempted = {tuple(line) for line in lines(tmp_path, "attempted")}
    committed = {tuple(line) for line in lines(tmp_path, "committed")}
    executed = [tuple(line) for line in lines(tmp_path, "executed")]
    done = [tuple(line) for line in lines(tmp_path, "done")]
    print(f"{len(attempted)} units, {len(executed)} executions, {len(executed) - len(set(executed))} repeated")
    assert attempted == committed, "the worker puts again what it was not sure of"
    assert len(committed) > 100, "the load was no load"

    expected = {(name, key) for name, *keys in committed for key in keys}
    assert set(executed) == expected, "lost, or invented"
    assert max(Counter(done).values()) == 1, "executed again after its settling was reported"
    assert len(executed) - len(expected) <= 4 * ROUNDS, "more repeated than four workers had in hand at each kill"
    by_key: dict[str, list[str]] = defaultdict(list)
    for name, key in executed:
        by_key[key].append(name)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored: dict[str, list[str]] = defaultdict(list)
        for key, name in connection.execute("SELECT key, exchange_id FROM messages ORDER BY sequence"):
            stored[key].append(name)
        assert connection.execute("SELECT count(*) FROM lanes").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM messages WHERE state <> 1").fetchone() == (0,)
        orphans = "SELECT count(*) FROM payloads WHERE id NOT IN (SELECT payload FROM messages)"
        assert connection.execute(orphans).fetchone() == (0,)
    connection.close()
    for key, names in by_key.items():
        once = [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
        assert once == stored[key], "out of order within its key, or repeated other than at the head"
