"""Leases: who is told that a blob is there can count on it, long enough to push what names it."""

import asyncio
import contextlib

from registry.errors import BlobUnknown, StorageFull
from registry.identity import Clock
from registry.metadata import blobs
from registry.metadata.database import Database, Transaction
from registry.oci.names import RepositoryName
from storage.digest import Digest

_GRAIN = 60_000  # milliseconds: a blob that is asked for all day costs a write a minute, together with others


class Leases:
    """A lease lasts `length` milliseconds. Of a blob that is safe for now it is only noted, for the next `flush`."""

    def __init__(self, database: Database, clock: Clock, length: int) -> None:
        self._database = database
        self._clock = clock
        self._length = length
        self._noted: dict[tuple[int, Digest], int] = {}
        self._flushing = asyncio.Lock()

    async def hold(self, repository: RepositoryName, digest: Digest) -> None:
        """Keep a blob that somebody is about to be told of. Raises BlobUnknown when it has gone meanwhile."""
        right = await self._database.read(lambda tx: blobs.find_right(tx, repository, digest))
        if right is None:
            raise BlobUnknown(str(digest))
        until = self._clock() + self._length
        is_short = right.lease_until < until - self._length // 2
        if right.is_condemned or (is_short and not right.is_named):
            # A looks and finds it, B removes it, A says that it is there: so A's lease is a write, which B's removal
            # comes before or after. On a full disk nobody can push anyway.
            with contextlib.suppress(StorageFull):
                if not await self._database.write(lambda tx: blobs.lease(tx, right.repository_id, digest, until)):
                    raise BlobUnknown(str(digest))
        elif right.lease_until < until - min(_GRAIN, self._length // 2):
            # Also one that is long enough: the end of what names it ends the leases from before its push.
            self._noted[right.repository_id, digest] = until

    async def flush(self) -> None:
        """Write what was noted: all of it is written when this returns, also what another flush has begun with."""
        async with self._flushing:
            noted, self._noted = self._noted, {}

            def work(tx: Transaction) -> None:
                for (repository_id, digest), until in noted.items():
                    blobs.lease(tx, repository_id, digest, until)

            if noted:
                try:
                    await self._database.write(work)
                except BaseException:  # written twice is better than never
                    self._noted = noted | self._noted
                    raise
