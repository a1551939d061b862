"""Work for a database that is done in a thread and awaited in an event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar

from registry.metadata.database import Transaction
from storage.waiting import see_through

T = TypeVar("T")


class Job(Generic[T]):
    """Made in the event loop that awaits it, run by another thread."""

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.result: T
        self.problem: Exception | None = None

    def run(self, transaction: Transaction) -> None:
        self.settle(lambda: self.work(transaction))

    def settle(self, run: Callable[[], T]) -> None:
        """Keep what `run` returns or raises for whoever awaits the job."""
        try:
            self.result = run()
        except Exception as problem:  # noqa: BLE001 - it is raised again where the result is awaited
            self.problem = problem

    async def wait(self) -> T:
        """Cancelled, it ends when the job does: whoever cleans up must know how it ended."""
        return await see_through(self.future)

    def answer(self) -> None:
        """From the thread that has run it."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits for the answer
            self.loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self.problem is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.problem)
