"""A database whose answers the test lets through, so that it says what happens between a question and its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from registry.metadata.database import Database, Transaction

T = TypeVar("T")


class Gate:
    """Where one answer waits."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()


class HeldDatabase:
    """All is done by the real `database`, at once; the answer that a test holds comes when the test says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_shared = True  # as PostgreSQL's its answers take their time
        self.file_number = database.file_number
        self._gates: dict[str, tuple[int, Gate]] = {}

    @property
    def clock(self) -> Callable[[], int]:
        return self._database.clock

    async def read(self, work: Callable[[Transaction], T]) -> T:
        answer = await self._database.read(work)
        await self._pass("read")
        return answer

    async def write(self, work: Callable[[Transaction], T], *, adds: bool = False) -> T:
        await self._pass("begin")
        answer = await self._database.write(work, adds=adds)
        await self._pass("write")
        return answer

    def version(self) -> object:
        return None

    def checkpoint(self) -> None:
        self._database.checkpoint()

    def close(self) -> None:
        """The real one is the test's."""

    @contextlib.asynccontextmanager
    async def holding(self, what: str, number: int = 1) -> AsyncIterator[Gate]:
        """Hold the answer to the next `read` or `write`, or to the `number`th of them, until the block ends.

        `begin` holds a write before it is done.
        """
        gate = Gate()
        self._gates[what] = (number, gate)
        yield gate
        gate.released.set()

    async def _pass(self, what: str) -> None:
        if what not in self._gates:
            return
        number, gate = self._gates.pop(what)
        if number > 1:
            self._gates[what] = (number - 1, gate)
            return
        gate.arrived.set()
        async with asyncio.timeout(30):
            await gate.released.wait()
