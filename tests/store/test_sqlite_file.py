"""The file of the embedded store: who may read it, what it may be, what happens when it is damaged or full."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pfiflow.store import claims, schema, units
from pfiflow.store.api import Done, Enqueue, StoreError, StoreFullError, StoreLockedError, UnitOfWork
from pfiflow.store.schema import PAGE_SIZE
from pfiflow.store.sqlite import SqliteStore
from tests.store.conftest import claimed, drain, enqueue, put

pytestmark = pytest.mark.anyio


def start(code: str) -> subprocess.Popen[bytes]:
    """Another Python process, running this."""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


async def refused(path: Path, match: str, **options: object) -> StoreError:
    store = SqliteStore(path, **options)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=match) as caught:
        await store.open()
    return caught.value


async def test_only_the_owner_reads_it(sqlite_store: SqliteStore) -> None:
    await put(sqlite_store, "k")
    files = sorted(sqlite_store.path.parent.iterdir())
    assert [file.name for file in files] == ["store.db", "store.db-shm", "store.db-wal", "store.db.lock"]
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600"] * 4


async def test_every_commit_is_synced(sqlite_store: SqliteStore) -> None:
    running = sqlite_store._running
    assert running is not None
    asked = [connection.execute("PRAGMA synchronous").fetchone()[0] for connection in running.connections]
    assert asked == [2] * 4  # FULL: the log is synced by each commit, before it returns
    assert running.connections[0].execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_what_is_purged_is_no_longer_in_the_file(sqlite_store: SqliteStore) -> None:
    for size in (20, 5_000, 200_000):
        await sqlite_store.commit(UnitOfWork(enqueue=(enqueue("k", b"MARK" * size),), at=1.0))
    await drain(sqlite_store)
    assert b"MARKMARK" in sqlite_store.path.with_name("store.db-wal").read_bytes()
    await sqlite_store.purge(done_before=99.0, dead_before=99.0, journal_before=99.0, now=99.0)
    await sqlite_store.aclose()
    assert b"MARKMARK" not in sqlite_store.path.read_bytes()
    assert not sqlite_store.path.with_name("store.db-wal").exists()


async def test_a_second_engine_is_told_whose_it_is(sqlite_store: SqliteStore) -> None:
    error = await refused(sqlite_store.path, rf"process {os.getpid()}\)")
    assert isinstance(error, StoreLockedError)
    await put(sqlite_store, "k")  # the first one was not disturbed


async def test_a_second_process_is_refused_and_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    code = f"""
import asyncio, sys
from pfiflow.store.sqlite import SqliteStore
async def main():
    await SqliteStore({str(path)!r}).open()
    print("open", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with start(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        try:
            error = await refused(path, rf"process {process.pid}\)")
            assert isinstance(error, StoreLockedError)
        finally:
            process.kill()
    store = SqliteStore(path)
    await store.open()
    await store.aclose()


async def test_a_failed_open_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, but long enough to be one" * 100)
    for _ in range(2):
        assert not isinstance(await refused(path, "is not a pfiflow store"), StoreLockedError)


async def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    await refused(path, "another application")
    assert path.read_bytes() == before


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    store = SqliteStore(path)
    await store.open()
    await store.aclose()


async def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    await refused(tmp_path / "none" / "store.db", "cannot open the lock file")
    (tmp_path / "folder").mkdir()
    await refused(tmp_path / "folder", "store")


async def test_migrations_run_once_each_and_keep_the_data(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await store.open()
    (sequence,) = await put(store, "k")
    await store.aclose()
    second = (
        "ALTER TABLE messages ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX urgent ON messages (urgent)",
    )
    await refused(path, "start the engine once", role="operator", migrations=(*schema.MIGRATIONS, second))
    for _ in range(2):
        store = SqliteStore(path, migrations=(*schema.MIGRATIONS, second))
        await store.open()
        assert [summary.sequence for summary in await store.messages()] == [sequence]
        await store.aclose()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT urgent FROM messages").fetchall() == [(0,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS) + 1,)
    connection.close()
    known = len(schema.MIGRATIONS)
    await refused(path, f"schema version {known + 1}, this pfiflow knows up to {known}")


async def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await store.open()
    await put(store, "k")
    await store.aclose()
    broken = ("CREATE TABLE half (x)", "CREATE TABLE messages (x)")
    await refused(path, "already exists", migrations=(*schema.MIGRATIONS, broken))
    store = SqliteStore(path)
    await store.open()
    assert len(await store.messages()) == 1
    await store.aclose()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("DELETE FROM payloads WHERE id = (SELECT payload FROM messages WHERE sequence = 1)", "payload is missing"),
        ("UPDATE payloads SET bytes = x'00' WHERE id = 1", "does not match its digest"),
        ("UPDATE payloads SET bytes = zeroblob(length(bytes)) WHERE id = 1", "does not match its digest"),
        ("UPDATE messages SET headers = '{' WHERE sequence = 1", "JSONDecodeError"),
    ],
)
async def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on(tmp_path: Path, damage: str, cause: str) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    unit = UnitOfWork(enqueue=(enqueue("a", b"x" * 100_000), enqueue("a", b"2"), enqueue("b", b"3")), at=1.0)
    first, *others = await store.commit(unit)
    await store.aclose()
    with sqlite3.connect(store.path) as connection:
        assert connection.execute(damage).rowcount == 1
    connection.close()
    await store.open()
    assert await drain(store) == others
    (dead,) = await store.messages(state="dead")
    assert dead.sequence == first
    assert dead.cause.startswith("unreadable: ")
    assert cause in dead.cause
    assert dead.attempts == 0
    (line,) = await store.journal()
    assert (line.event, line.facts["sequence"]) == ("unreadable", "1")
    if cause == "payload is missing":
        with pytest.raises(StoreError, match="missing"):
            await store.message(first)
    await store.aclose()


async def test_unreadable_in_the_middle_of_a_lane(sqlite_store: SqliteStore) -> None:
    sequences = await put(sqlite_store, "a", "a", "a")
    with sqlite3.connect(sqlite_store.path) as connection:
        connection.execute("DELETE FROM payloads WHERE id = 2")
    connection.close()
    assert await drain(sqlite_store) == [sequences[0], sequences[2]]


async def test_a_lane_without_its_message_is_mended(sqlite_store: SqliteStore) -> None:
    sequences = await put(sqlite_store, "a", "a", "b")
    with sqlite3.connect(sqlite_store.path) as connection:
        connection.execute("DELETE FROM messages WHERE sequence = 1")
    connection.close()
    assert await drain(sqlite_store) == sequences[1:]


async def test_a_lane_that_cannot_be_mended_holds_up_nobody_else(sqlite_store: SqliteStore) -> None:
    sequences = await put(sqlite_store, "a", "a", "b")
    with sqlite3.connect(sqlite_store.path) as connection:
        connection.execute("DELETE FROM payloads WHERE id = 1")
        connection.execute(
            "CREATE TRIGGER stuck BEFORE UPDATE ON messages WHEN old.sequence = 1 BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    connection.close()
    assert await drain(sqlite_store) == sequences[2:]
    assert [summary.sequence for summary in await sqlite_store.messages(state="waiting")] == sequences[:2]


async def test_pages_that_rotted_on_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    marks = [bytes([65 + number]) * 200_000 for number in range(3)]
    sequences = await store.commit(
        UnitOfWork(enqueue=tuple(enqueue(f"k{number}", mark) for number, mark in enumerate(marks)))
    )
    await store.aclose()
    content = bytearray(store.path.read_bytes())
    place = content.index(b"B" * 3000)
    content[place + 100] ^= 1
    store.path.write_bytes(content)
    await store.open()
    assert await drain(store) == [sequences[0], sequences[2]]
    await store.aclose()


# -- no space left -------------------------------------------------------------------------------------------------


async def fill(store: SqliteStore) -> list[int]:
    """Commit until the store is full; gives what was kept."""
    kept: list[int] = []
    for number in range(200):
        try:
            kept += await store.commit(UnitOfWork(enqueue=(enqueue(f"k{number}", os.urandom(100_000)),), at=1.0))
        except StoreFullError:
            return kept
    pytest.fail("the store was never full")


async def test_full_by_page_count(sqlite_store: SqliteStore) -> None:
    running = sqlite_store._running
    assert running is not None
    running.connections[0].execute("PRAGMA max_page_count = 1000")
    kept = await fill(sqlite_store)
    assert [summary.sequence for summary in await sqlite_store.messages(limit=1000)] == kept
    units_of_both_kinds = [
        UnitOfWork(enqueue=(enqueue("big", os.urandom(1_000_000)),)),
        UnitOfWork(Done(kept[0]), at=2.0),
        UnitOfWork(enqueue=(enqueue("big", os.urandom(1_000_000)),)),
    ]
    results = await asyncio.gather(*map(sqlite_store.commit, units_of_both_kinds), return_exceptions=True)
    assert [type(result) for result in results] == [StoreFullError, tuple, StoreFullError]
    running.connections[0].execute("PRAGMA max_page_count = 100000")
    kept += await sqlite_store.commit(units_of_both_kinds[0])
    assert [summary.sequence for summary in await sqlite_store.messages(limit=1000)] == kept


def run(command: str, *arguments: str) -> bool:
    """Whether the command succeeded."""
    found = shutil.which(command)
    return found is not None and not subprocess.run([found, *arguments], capture_output=True, check=False).returncode


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)):
        pytest.skip("mounting is not allowed here")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(5_000_000))
        store = SqliteStore(disk / "store.db")
        await store.open()
        await store.declare_channels({"c": False})
        kept = await fill(store)
        assert [summary.sequence for summary in await store.messages(limit=1000)] == kept
        with pytest.raises(StoreFullError, match="no space left"):
            await store.commit(UnitOfWork(enqueue=(enqueue("big", os.urandom(7_000_000)),)))
        assert (await claimed(store, now=2.0)).message.sequence == kept[0]
        ballast.unlink()
        kept += await store.commit(UnitOfWork(enqueue=(enqueue("late", os.urandom(100_000)),), at=1.0))
        await store.aclose()
        await store.open()
        assert await drain(store) == kept
        purged = await store.purge(done_before=99.0, dead_before=99.0, journal_before=99.0, now=99.0)
        assert purged.messages == len(kept)
        await store.aclose()
    finally:
        run("umount", "-l", str(disk))


# -- how it asks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        claims._READY,
        claims._DELAYED,
        claims._EARLIEST,
        claims._MESSAGE,
        units._HEAD,
        units._DONE,
        units._DEAD,
        units._RETRY,
        units._RECORD,
        "SELECT sequence FROM messages WHERE channel = ? AND state = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        "SELECT sequence FROM messages WHERE state = 1 AND settled < ? ORDER BY settled LIMIT ?",
        "DELETE FROM ledger WHERE message = ?",
        "SELECT scope, key FROM ledger WHERE expires <= ? ORDER BY expires LIMIT ?",
        "SELECT 1 FROM messages WHERE payload = ?",
    ],
)
async def test_no_statement_scans_or_sorts(tmp_path: Path, statement: str) -> None:
    connection = schema.connect(tmp_path / "store.db", busy_timeout=1.0)
    schema.migrate(connection, tmp_path / "store.db", upgrade=True)
    plan = []
    for count in range(10):
        with suppress(sqlite3.ProgrammingError):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * count)]
    connection.close()
    assert [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step] == []


async def test_a_new_file_has_large_pages_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.db")
    old.execute("PRAGMA page_size = 4096")
    old.execute("CREATE TABLE t (x)")
    old.execute("DROP TABLE t")
    old.execute("VACUUM")
    old.commit()
    old.close()
    for name, expected in (("new.db", PAGE_SIZE), ("old.db", 4096)):
        store = SqliteStore(tmp_path / name)
        await store.open()
        await store.commit(UnitOfWork(enqueue=(Enqueue("c", "k", "x", "bytes", b"x" * 3_000_000),), at=1.0))
        claim = await store.claim("c", now=1.0)
        assert claim is not None
        assert len(claim.message.payload) == 3_000_000
        await store.aclose()
        connection = sqlite3.connect(tmp_path / name)
        assert connection.execute("PRAGMA page_size").fetchone() == (expected,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
