"""A database writer that is held in the middle of a transaction, so that everything else has to queue behind it."""

import asyncio
import threading
from collections.abc import Callable

from registry.metadata.database import Database, Transaction
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.locks import is_any_waiting
from tests.waiting import come_true

WAIT = 30  # seconds until a thread that does not go on fails its test


class HeldWriter:
    """Keeps the database's writer in the middle of a transaction until `release`."""

    def __init__(self, database: Database, work: Callable[[Transaction], object] = lambda _: None) -> None:
        self._database = database
        self._work = work
        self._began, self._may_end = threading.Event(), threading.Event()
        self.ended = asyncio.ensure_future(database.write(self._hold))

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._began.wait, WAIT)

    async def waited_for(self) -> None:
        """Until another write is behind it: in the queue of SQLite's one writer, or at a lock of PostgreSQL."""
        await come_true(self._is_waited_for, "another write waits")

    def release(self) -> None:
        self._may_end.set()

    async def _is_waited_for(self) -> bool:
        if isinstance(self._database, SqliteDatabase):
            return not self._database._jobs.empty()
        return await self._database.read(is_any_waiting)

    def _hold(self, tx: Transaction) -> None:
        tx.alone()  # on PostgreSQL others would go on beside it
        self._work(tx)
        self._began.set()
        assert self._may_end.wait(WAIT)


async def turns() -> None:
    """Let whatever is ready in the event loop go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)
