"""Waiting for a condition, with a deadline: the tests never sleep in place of knowing."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_until(is_true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)  # the interval of the poll; nothing relies on its length


async def come_true(is_true: Callable[[], Awaitable[bool]], what: str, seconds: float = 30) -> None:
    """As `wait_until`, for what an event loop asks."""
    deadline = time.monotonic() + seconds
    while not await is_true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)
