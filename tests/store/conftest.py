"""Both stores, behind one fixture: what a test asks of `store`, each implementation has to give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pfiflow.store.api import Claim, Done, Enqueue, LedgerEntry, UnitOfWork
from pfiflow.store.memory import MemoryStore
from pfiflow.store.sqlite import SqliteStore

AnyStore = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    """An open store with the channel `c`."""
    made: AnyStore = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    await made.open()
    await made.declare_channels({"c": False})
    yield made
    await made.aclose()


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open embedded store with the channel `c`."""
    made = SqliteStore(tmp_path / "store.db")
    await made.open()
    await made.declare_channels({"c": False})
    yield made
    await made.aclose()


def enqueue(key: str = "k", payload: bytes = b"payload", *, channel: str = "c", due: float = 0.0) -> Enqueue:
    """A message to enqueue."""
    return Enqueue(channel, key, f"exchange-{key}", "bytes", payload, {"h": "1"}, "here", 5.0, due)


def ledger(key: str, *, digest: bytes = b"digest", expires: float = 1000.0) -> LedgerEntry:
    """An idempotency key of scope `s`."""
    return LedgerEntry("s", key, digest, "exchange", expires)


async def put(store: AnyStore, *keys: str, at: float = 10.0, due: float = 0.0, channel: str = "c") -> list[int]:
    """One commit for each message; gives their sequence numbers."""
    sequences: list[int] = []
    for number, key in enumerate(keys):
        payload = f"{key}:{number}".encode()
        sequences.extend(
            await store.commit(UnitOfWork(enqueue=(enqueue(key, payload, due=due, channel=channel),), at=at))
        )
    return sequences


async def claimed(store: AnyStore, *, now: float = 20.0, channel: str = "c") -> Claim:
    """A claim that must be there."""
    claim = await store.claim(channel, now=now)
    assert claim is not None
    return claim


async def finish(store: AnyStore, claim: Claim, *, at: float = 20.0) -> Claim | None:
    """Settle the head as done, and go on."""
    await store.commit(UnitOfWork(Done(claim.message.sequence), at=at))
    return await store.next(claim, now=at)


async def drain(store: AnyStore, *, now: float = 20.0, channel: str = "c") -> list[int]:
    """Work everything that is due; gives the sequence numbers in their order."""
    order = []
    while (claim := await store.claim(channel, now=now)) is not None:
        current: Claim | None = claim
        while current is not None:
            order.append(current.message.sequence)
            current = await finish(store, current, at=now)
    return order
