"""Duties beside the server: each in its own time, and none at the mercy of another. The time is the test's own."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from registry.errors import StorageFull
from registry.worker import Duty, Worker

pytestmark = pytest.mark.anyio

_TURNS = 20  # of the event loop, in which all that can happen happens


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class OwnTime:
    """Sleepers wake when the test says how much time passes."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    def clock(self) -> int:
        return round(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), awake))
        await awake.wait()

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, awake = heapq.heappop(self._sleepers)
            awake.set()
            await _settle()
        self.now = end


async def _settle() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@pytest.fixture
def time() -> OwnTime:
    return OwnTime()


class Diary:
    """Writes down when each duty was done."""

    def __init__(self, time: OwnTime) -> None:
        self._time = time
        self.entries: list[tuple[float, str]] = []

    def note(self, name: str) -> None:
        self.entries.append((self._time.now, name))

    def duty(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Awaitable[float | None]] | None = None,
        *,
        first_seconds: float | None = None,
        end: Callable[[], Awaitable[None]] | None = None,
    ) -> Duty:
        async def do() -> float | None:
            self.note(name)
            return await work() if work else None

        return Duty(name=name, work=do, seconds=seconds, first_seconds=first_seconds, end=end)

    def times(self, name: str) -> list[float]:
        return [at for at, found in self.entries if found == name]


@pytest.fixture
def diary(time: OwnTime) -> Diary:
    return Diary(time)


async def test_each_duty_has_its_own_time(time: OwnTime, diary: Diary) -> None:
    """Each is done for the first time after its seconds, or sooner where that is said, and then again and again."""
    duties = [diary.duty("a", 2), diary.duty("b", 3), diary.duty("c", 5, first_seconds=1)]
    async with Worker(duties, time.clock, time.sleep).running():
        await time.advance(9)
    assert diary.times("a") == [2, 4, 6, 8]
    assert diary.times("b") == [3, 6, 9]
    assert diary.times("c") == [1, 6]


async def test_a_duty_says_when_it_wants_to_be_done_again(time: OwnTime, diary: Diary) -> None:
    """At once while there is work, then after its seconds; the others have their turns meanwhile."""
    answers = iter([0.0, 0.0, 0.5, None, 0.0, None])

    async def work() -> float | None:
        return next(answers)

    async with Worker([diary.duty("collector", 5, work), diary.duty("other", 5)], time.clock, time.sleep).running():
        await time.advance(11)
    assert diary.times("collector") == [5, 5, 5, 5.5, 10.5, 10.5]
    assert diary.times("other") == [5, 10]


async def test_a_duty_that_takes_long_holds_up_nobody(time: OwnTime, diary: Diary) -> None:
    """It is not begun again before it has ended, and the others go on."""

    async def work() -> None:
        await time.sleep(4)

    async with Worker([diary.duty("slow", 1, work), diary.duty("quick", 1)], time.clock, time.sleep).running():
        await time.advance(6)
    assert diary.times("slow") == [1, 6]
    assert diary.times("quick") == [1, 2, 3, 4, 5, 6]


async def test_what_is_put_off_is_told_in_one_line(time: OwnTime, diary: Diary) -> None:
    """A full disk ends no duty. The log says so once a minute while it lasts, and when it is over."""

    async def work() -> None:
        if time.now <= 130:
            raise StorageFull

    with capture_logs() as entries:
        async with Worker([diary.duty("flush", 1, work), diary.duty("b", 1)], time.clock, time.sleep).running():
            await time.advance(140)
    line = {"event": "put off", "log_level": "error", "duty": "flush", "problem": str(StorageFull())}
    assert entries == [line, line, line, {"event": "done again", "log_level": "info", "duty": "flush"}]
    assert diary.times("flush") == diary.times("b") == list(range(1, 141))


async def test_a_bug_is_told_with_its_traceback(time: OwnTime, diary: Diary) -> None:
    """It ends neither its own duty nor another one; another problem is told at once."""

    async def work() -> None:
        raise ValueError("odd" if time.now % 2 else "even")

    with capture_logs() as entries:
        async with Worker([diary.duty("broken", 1, work), diary.duty("b", 1)], time.clock, time.sleep).running():
            await time.advance(3)
    assert [(entry["event"], entry["duty"], entry["exc_info"]) for entry in entries] == [
        ("put off", "broken", True)
    ] * 3
    assert diary.times("broken") == diary.times("b") == [1, 2, 3]


async def test_the_end(time: OwnTime, diary: Diary) -> None:
    """What runs is cancelled and waited for; then each duty's end is done, whatever becomes of the one before it."""

    async def work() -> None:
        try:
            await time.sleep(1_000)
        finally:
            await asyncio.sleep(0)
            diary.note("cleaned up")

    async def fail() -> None:
        raise StorageFull

    async def end() -> None:
        diary.note("end")

    duties = [diary.duty("a", 1, work), diary.duty("b", 5, fail, end=fail), diary.duty("c", 9, end=end)]
    with capture_logs() as entries:
        async with Worker(duties, time.clock, time.sleep).running():
            await time.advance(5)
        await time.advance(1_000)
    assert diary.entries == [(1, "a"), (5, "b"), (5, "cleaned up"), (5, "end")]
    assert [entry["duty"] for entry in entries] == ["b", "b"]


async def test_no_duties(time: OwnTime) -> None:
    """A worker without duties has nothing to do."""
    async with Worker([], time.clock, time.sleep).running():
        await time.advance(10)
