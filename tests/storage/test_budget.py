"""The memory that uploads share: bounded, fair, and nobody waits for what will not come."""

import asyncio

import pytest

from storage.budget import Budget

pytestmark = pytest.mark.anyio


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_under_way_is_waited_for_in_turn() -> None:
    """Who came first is served first, though a later one asks for less."""
    budget = Budget(10)
    assert budget.take_now(10)
    budget.launch(10)
    served: list[str] = []

    async def want(name: str, size: int) -> None:
        assert await budget.take(size)
        served.append(name)

    waiting = [asyncio.create_task(want("large", 8)), asyncio.create_task(want("small", 1))]
    await turns()
    assert not budget.take_now(1)
    budget.land(5)
    await turns()
    assert served == []
    budget.land(5)
    await asyncio.gather(*waiting)
    assert served == ["large", "small"]
    assert (budget.held, budget.highest) == (9, 10)


async def test_nobody_waits_for_what_does_not_come_by_itself() -> None:
    """When nothing is under way, or more is wanted than there will ever be, the answer is no, at once."""
    budget = Budget(10)
    assert not await budget.take(11)
    assert await budget.take(10)
    assert not await budget.take(1)


async def test_waiters_hear_no_when_the_last_that_was_under_way_is_back() -> None:
    """What came back was not enough for all of them: the others would wait for ever."""
    budget = Budget(10)
    assert budget.take_now(4)
    assert budget.take_now(6)
    budget.launch(4)
    waiting = [asyncio.create_task(budget.take(3)), asyncio.create_task(budget.take(3))]
    await turns()
    budget.land(4)
    assert await asyncio.gather(*waiting) == [True, False]
    assert budget.held == 9


async def test_who_gives_up_waiting_holds_nothing() -> None:
    """Cancelled before its turn or at that very moment, a waiter leaves the budget as it was."""
    budget = Budget(10)
    assert budget.take_now(10)
    budget.launch(10)
    waiting = [asyncio.create_task(budget.take(10)) for _ in range(2)]
    await turns()
    waiting[0].cancel()
    await turns()
    budget.land(10)
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert budget.held == 0
    assert budget.take_now(10)
