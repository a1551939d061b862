"""The front door that a clock knocks at: duties that are done again and again beside the server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from registry.errors import RegistryError
from registry.identity import Clock

Sleep: TypeAlias = Callable[[float], Awaitable[object]]

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_REPEATED_EVERY = 60_000  # milliseconds: how often a problem is told of while it lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """`work` is done again `seconds` after it has ended, or as many as it returns; 0 is at once.

    Before the first time it is `first_seconds`, if there are. `end` is what is left to do when the server ends.
    """

    name: str
    work: Callable[[], Awaitable[float | None]]
    seconds: float
    first_seconds: float | None = None
    end: Callable[[], Awaitable[None]] | None = None


class Worker:
    """Does each of `duties` in its own time: a problem of one is logged, and ends neither it nor another one."""

    def __init__(self, duties: Sequence[Duty], clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._duties = tuple(duties)
        self._clock = clock
        self._sleep = sleep
        self._told: dict[str, tuple[str, int]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block lasts. At its end what runs is cancelled and waited for, and the duties' ends are done."""
        tasks = [asyncio.create_task(self._repeat(duty), name=duty.name) for duty in self._duties]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._told.clear()  # what is not done now is not done at all, so it is told in any case
            for duty in self._duties:
                if duty.end is not None:
                    await self._do(duty.name, duty.end)

    async def _repeat(self, duty: Duty) -> None:
        await self._sleep(duty.seconds if duty.first_seconds is None else duty.first_seconds)
        while True:
            seconds = await self._do(duty.name, duty.work)
            await self._sleep(duty.seconds if seconds is None else seconds)

    async def _do(self, name: str, work: Callable[[], Awaitable[float | None]]) -> float | None:
        try:
            seconds = await work()
        except RegistryError as problem:  # a full disk, say
            if self._is_news(name, problem):
                log.error("put off", duty=name, problem=str(problem))  # noqa: TRY400 - it says it all
            return None
        except Exception as problem:  # a bug of ours must not end what else is to be done
            if self._is_news(name, problem):
                log.exception("put off", duty=name)
            return None
        if self._told.pop(name, None):
            log.info("done again", duty=name)
        return seconds

    def _is_news(self, name: str, problem: Exception) -> bool:
        """Whether it is to be told: a disk that is full for a day is not worth a line each second."""
        text, now = repr(problem), self._clock()
        known, told_at = self._told.get(name, ("", 0))
        if text == known and 0 <= now - told_at < _REPEATED_EVERY:
            return False
        self._told[name] = text, now
        return True
