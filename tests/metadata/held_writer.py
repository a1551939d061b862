"""A database writer that is held in the middle of a transaction, so that everything else has to queue behind it."""

import asyncio
import threading
from collections.abc import Callable

from registry.metadata.database import Database, Transaction

WAIT = 30  # seconds until a thread that does not go on fails its test


class HeldWriter:
    """Keeps the database's writer in the middle of a transaction until `release`."""

    def __init__(self, database: Database, work: Callable[[Transaction], object] = lambda _: None) -> None:
        self._work = work
        self._began, self._may_end = threading.Event(), threading.Event()
        self.ended = asyncio.ensure_future(database.write(self._hold))

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._began.wait, WAIT)

    def release(self) -> None:
        self._may_end.set()

    def _hold(self, tx: Transaction) -> None:
        tx.alone()  # on PostgreSQL others would go on beside it
        self._work(tx)
        self._began.set()
        assert self._may_end.wait(WAIT)
