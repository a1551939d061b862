"""Until when something must happen: one timer for all the deadlines of a connection, most of which never come."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `on_over` when the seconds that were set last are over, unless there is no deadline by then."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_over: Callable[[], None]) -> None:
        self._loop = loop
        self._on_over = on_over
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0  # by the loop's time; none is 0

    def set(self, seconds: float) -> None:
        """In place of the one before."""
        self._at = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._at, self._look)

    def clear(self) -> None:
        """What was expected has happened."""
        self._at = 0.0

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._at and self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._look)
        elif self._at:
            self._on_over()
