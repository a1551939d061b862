"""Deterministic interleavings: works that take turns, one operation at a time, in the order that a test says.

An operation is a transaction of the database or a call of the store: nothing else of the rules has an effect, so every
order in which two processes can meet is an order of such turns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

import pytest

from registry.app import Registry

P = ParamSpec("P")
T = TypeVar("T")

_STORE = ("append", "digest", "commit", "abort", "open", "size", "delete")


class Side(Generic[T]):
    """A work that waits for its turn before each operation; `next` is that operation.

    `passed` are the named points that it has reached.
    """

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.next = ""
        self.is_inside = False  # an operation: what it calls itself takes no turn
        self.task: asyncio.Task[T]
        self._may_go, self._is_waiting = asyncio.Event(), asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self.task.done()

    async def take_turn(self, operation: str) -> None:
        self.next = operation
        self._is_waiting.set()
        await self._may_go.wait()
        self._may_go.clear()

    async def advance(self) -> None:
        """Do one operation, and go on to the next."""
        self._is_waiting.clear()
        self._may_go.set()
        await self.settle()

    async def settle(self) -> None:
        """Wait until it waits for its turn, or is over."""
        waiting = asyncio.ensure_future(self._is_waiting.wait())
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def go_to(self, point: str) -> None:
        """Go on until the point is passed, and stop there."""
        while point not in self.passed:
            assert not self.is_over, f"it ended before {point}: {self.passed} {self.task}"
            await self.advance()

    async def go_before(self, operation: str) -> None:
        """Go on until the operation comes next, and stop there."""
        while self.next != operation:
            assert not self.is_over, f"it ended before {operation}: {self.task}"
            await self.advance()

    async def end(self) -> T:
        """Go on to the end."""
        while not self.is_over:
            await self.advance()
        return await self.task


_side: ContextVar[Side[Any] | None] = ContextVar("side", default=None)


class Turns:
    """Makes the works on one registry take turns: those begun here; everything else runs as it comes."""

    def reach(self, point: str) -> None:
        """For the constructors: remembers who was where."""
        if side := _side.get():
            side.passed.append(point)

    def rule(self, registry: Registry, patch: pytest.MonkeyPatch, *, without_reads: bool = False) -> None:
        """`without_reads`: a read comes right after what is before it, so that what it has read is as old as can be."""
        for name in ("write",) if without_reads else ("read", "write"):
            patch.setattr(registry.database, name, _gated(name, getattr(registry.database, name)))
        for name in _STORE:
            patch.setattr(registry.store, name, _gated(name, getattr(registry.store, name)))

    async def begin(self, work: Coroutine[Any, Any, T]) -> Side[T]:
        """Begin the work, up to its first operation."""
        side = Side[T]()

        async def run() -> T:
            _side.set(side)
            return await work

        side.task = asyncio.create_task(run())
        await side.settle()
        return side


def _gated(name: str, operation: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        side = _side.get()
        if side is None or side.is_inside:
            return await operation(*args, **kwargs)
        await side.take_turn(name)
        side.is_inside = True
        try:
            return await operation(*args, **kwargs)
        finally:
            side.is_inside = False

    return call


class Orders:
    """Every order of the turns of some works, one after the other: each run is asked whose turn is next.

    A run that was told everything once is told the next order; `is_left` says whether there is one.
    """

    def __init__(self) -> None:
        self._choices: list[tuple[int, int]] = []  # what was chosen, of how many
        self._position = 0
        self.is_left = True

    def choose(self, count: int) -> int:
        """Which of `count` goes on."""
        if self._position == len(self._choices):
            self._choices.append((0, count))
        choice, known = self._choices[self._position]
        assert known == count, "a run must depend on its order alone"
        self._position += 1
        return choice

    def turn_over(self) -> None:
        """The run has ended: go to the next order."""
        self._position = 0
        while self._choices and self._choices[-1][0] + 1 == self._choices[-1][1]:
            self._choices.pop()
        if self._choices:
            choice, count = self._choices.pop()
            self._choices.append((choice + 1, count))
        self.is_left = bool(self._choices)

    async def run(self, sides: Sequence[Side[Any]]) -> None:
        """Let them take turns in this order until all are over."""
        while going := [side for side in sides if not side.is_over]:
            await going[self.choose(len(going)) if len(going) > 1 else 0].advance()
        self.turn_over()
