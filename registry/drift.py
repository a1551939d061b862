"""The slow auditor: derives again, from the rows themselves, what is garbage, and compares it with the review queue.

The collector only looks at what is in its queue. What an event forgot to put there is found here within a round, told,
and put there. Blobs that no row names are only told: `entrepot check` lists them, and nobody knows whose they are. What
uploads have left in the store is swept up once their sessions have ended.
"""

from collections.abc import AsyncIterator
from functools import partial

import structlog

from registry.errors import Unavailable
from registry.identity import Clock
from registry.metadata import drift, reviews
from registry.metadata.database import Database, Transaction
from registry.metadata.drift import LOOKS, START, Cursor, Glance
from storage.blobstore import BlobStore

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BREATH_SECONDS = 1.0  # between two steps: a million rows are looked at in an hour and a half
_REST_SECONDS = 24 * 3_600.0  # between two rounds
_PAGE = 200  # rows or keys that one step looks at: a millisecond or two of the event loop


class Drift:
    """Where a round stands is kept in memory: after a restart it begins again. `found` and `rounds` only ever grow."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._phase = 0
        self._after: Cursor = START
        self._keys: AsyncIterator[str] | None = None
        self.found = 0
        self.rounds = 0

    async def tend(self) -> float:
        """Take one step. Returns in how many seconds to take the next one: a round a day."""
        rounds = self.rounds
        await self.step()
        return _BREATH_SECONDS if self.rounds == rounds else _REST_SECONDS

    async def step(self) -> list[str]:
        """Look at some rows or files, and have reviewed now what nobody was going to. Returns what was wrong."""
        told = await (self._look_at_rows() if self._phase < len(LOOKS) else self._look_at_files())
        self.found += len(told)
        for each in told:
            log.warning("drift", what=each)
        return told

    async def _look_at_rows(self) -> list[str]:
        now = self._clock()
        look, glance = LOOKS[self._phase], Glance(self._after, _PAGE, now)
        page = await self._database.read(lambda tx: look(tx, glance))

        def work(tx: Transaction) -> None:
            for each in page.found:
                reviews.postpone(tx, each.kind, each.key, "drift", now)

        if page.found:
            await self._database.write(work)
        self._after = page.next or START
        if page.next is None:
            self._phase += 1
        return [f"{each.kind} {each.key}: {each.reason}, and it had no review" for each in page.found]

    async def _look_at_files(self) -> list[str]:
        if self._keys is None:
            self._keys = aiter(self._store.keys())
        try:
            keys = [key async for key in _take(self._keys, _PAGE)]
        except OSError as problem:
            self._keys = None  # the listing is over: it begins again
            raise Unavailable(f"the store cannot be listed: {problem}") from problem
        unnamed = await self._database.read(partial(drift.list_unnamed, keys=keys))
        told = [f"file {key}: no row names it" for key in unnamed if await self._is_there(key)]
        if len(keys) < _PAGE:
            told += await self._sweep()
            self._keys, self._phase = None, 0
            self.rounds += 1
        return told

    async def _sweep(self) -> list[str]:
        """Remove what servers that were killed have begun in the store before a row said so.

        The sessions are looked at after the store: one that begins meanwhile has its row before its bytes.
        """
        try:
            keys = [key async for key, _ in self._store.uploads()]
            ended = await self._database.read(partial(drift.list_ended, keys=keys))
            for key in ended:
                await self._store.sweep(key)
        except OSError as problem:
            raise Unavailable(f"the store's uploads cannot be looked at: {problem}") from problem
        return [f"upload {key}: its session has ended" for key in ended]

    async def _is_there(self, key: str) -> bool:
        """Whether the collector has not removed it between the look at the files and the look at the rows."""
        try:
            return await self._store.size(key) is not None
        except OSError:
            return True  # a stray file where a folder belongs


async def _take(keys: AsyncIterator[str], most: int) -> AsyncIterator[str]:
    for _ in range(most):
        try:
            yield await anext(keys)
        except StopAsyncIteration:
            break
