"""Conformance: lasting facts, recorded with a unit of work, found by kind and key, purged by age alone."""

from __future__ import annotations

import pytest

from pfiflow.store.api import Record, StoreError, UnitOfWork
from tests.store.conftest import AnyStore, claimed, put

pytestmark = pytest.mark.anyio


def record(key: str, at: float = 1.0, **facts: str) -> Record:
    return Record("loaf", key, at, "exchange", facts)


async def test_a_record_is_found_by_kind_and_key_and_the_last_one_stays(store: AnyStore) -> None:
    await store.commit(UnitOfWork(records=(record("a", colour="white"), record("b"))))
    await store.commit(UnitOfWork(records=(record("a", 2.0, colour="brown"),)))
    assert await store.find_record("loaf", "a") == record("a", 2.0, colour="brown")
    assert await store.find_record("loaf", "c") is None
    assert await store.find_record("cake", "a") is None


async def test_records_are_listed_by_key_and_page(store: AnyStore) -> None:
    await store.commit(UnitOfWork(records=tuple(record(key) for key in ("b", "a", "c"))))
    assert [r.key for r in await store.records("loaf", limit=2)] == ["a", "b"]
    assert [r.key for r in await store.records("loaf", after="b")] == ["c"]
    assert await store.records("cake") == []


async def test_a_record_of_a_unit_that_is_refused_is_not_kept(store: AnyStore) -> None:
    await put(store, "k")
    claim = await claimed(store)
    from pfiflow.store.api import Done

    await store.commit(UnitOfWork(settle=Done(claim.message.sequence)))
    with pytest.raises(StoreError):
        await store.commit(UnitOfWork(settle=Done(claim.message.sequence), records=(record("a"),)))
    assert await store.find_record("loaf", "a") is None


async def test_records_are_purged_by_age(store: AnyStore) -> None:
    await store.commit(UnitOfWork(records=(record("old", 1.0), record("new", 10.0))))
    purged = await store.purge(done_before=0, dead_before=0, journal_before=0, records_before=5.0, now=20.0)
    assert purged.records == 1
    assert [r.key for r in await store.records("loaf")] == ["new"]
    kept = await store.purge(done_before=99, dead_before=99, journal_before=99, now=20.0)
    assert kept.records == 0
