"""Waiting for work that must not be left alone, whoever goes away meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def see_through(work: asyncio.Future[T] | Coroutine[Any, Any, T]) -> T:
    """What the work returns or raises. Cancelled, however often, it ends when the work does, and is cancelled then."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as problem:
            cancellation = problem
    if cancellation:
        task.exception()  # looked at, or asyncio reports it as forgotten
        raise cancellation
    return task.result()
