"""Does the same for many things at once, but only for some of them at a time."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def run_together(work: Callable[[T], Coroutine[None, None, None]], things: Iterable[T], at_once: int) -> None:
    """Raises what the first one raises that fails, after all others have ended."""
    turns = asyncio.Semaphore(at_once)

    async def wait_and_run(thing: T) -> None:
        async with turns:
            await work(thing)

    tasks = [asyncio.create_task(wait_and_run(thing)) for thing in things]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
