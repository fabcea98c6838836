"""Wake-ups and leases by themselves, turn by turn of the event loop."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from pfiflow.store.leases import Leases, Signals

pytestmark = pytest.mark.anyio


async def sleepers(signals: Signals, count: int) -> list[asyncio.Task[None]]:
    signals.exhausted("c", signals.generation("c"))
    tasks = [asyncio.create_task(signals.wait("c", 60.0)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_a_worker_cancelled_after_its_wake_up_passes_it_on() -> None:
    signals = Signals()
    first, second, third = await sleepers(signals, 3)
    signals.wake("c")
    first.cancel()  # its wake-up is set, and not delivered yet
    with pytest.raises(asyncio.CancelledError):
        await first
    with anyio.fail_after(30):
        await second
    assert not third.done()
    third.cancel()


async def test_a_worker_cancelled_in_its_sleep_takes_no_wake_up() -> None:
    signals = Signals()
    first, second = await sleepers(signals, 2)
    first.cancel()
    signals.wake("c")
    with anyio.fail_after(30):
        await second


async def test_as_many_as_there_are_messages_in_order_of_arrival() -> None:
    signals = Signals()
    tasks = await sleepers(signals, 5)
    signals.wake("c", 2)
    signals.wake("c")
    await asyncio.sleep(0.01)
    assert [task.done() for task in tasks] == [True, True, True, False, False]
    signals.wake_all()
    with anyio.fail_after(30):
        await asyncio.gather(*tasks)


async def test_a_wake_up_before_the_sleep_is_not_lost() -> None:
    signals = Signals()
    generation = signals.generation("c")
    signals.wake("c")  # while a claim that began before is under way
    signals.exhausted("c", generation)
    with anyio.fail_after(30):
        await signals.wait("c", 60.0)


async def test_a_token_proves_one_lease_only() -> None:
    leases = Leases()
    lease = leases.take("c", "k", 1)
    assert leases.find("c", "k", lease.token) is lease
    assert leases.find("c", "k", lease.token + 1) is None
    leases.move(lease, 2)
    assert (leases.of_head(1), leases.of_head(2)) == (None, lease)
    lease.settling += 1
    assert not leases.drop(lease)
    assert leases.keys("c") == {"k"}
    lease.settling -= 1
    assert leases.drop(lease)
    assert leases.keys("c") == set()
    again = leases.take("c", "k", 2)
    assert leases.drop(lease)  # long gone: nothing of the new one goes
    assert leases.find("c", "k", again.token) is again
    assert leases.of_head(2) is again
