"""Are database and store usable, and do they agree? Changes nothing."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from registry.errors import RegistryError, Unavailable
from registry.metadata import blobs, examination, schema, uploads
from registry.metadata.blobs import StoredBlob
from registry.metadata.database import Database, Transaction
from registry.metadata.gate import Moved
from storage.blobstore import BlobStore, StoreFull

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """`problem` is missing, truncated, damaged or unknown; unknown bytes are no damage, and do no harm.

    A damaged one was found by a scrub: it has as many bytes as it should, but others.
    """

    problem: str
    digest: str
    key: str

    @property
    def is_damage(self) -> bool:
        return self.problem != "unknown"


class Check:
    def __init__(self, database: Database, store: BlobStore) -> None:
        self._database = database
        self._store = store

    async def ready(self) -> None:
        """Raises Unavailable when database or store cannot serve a push now, and says which; also a full disk."""
        try:
            # It changes nothing, but needs all that a push needs of the database.
            with contextlib.suppress(Moved):  # then only pulls go on, and a load balancer must not take them away
                await self._database.write(_try_database, adds=True)
            await self._store.probe()
        except (RegistryError, StoreFull, OSError) as problem:
            raise Unavailable(f"not ready: {problem}") from problem

    async def count(self) -> int:
        """How many blobs a check will look at."""
        return await self._database.read(blobs.count)

    async def run(self, advance: Callable[[], None]) -> AsyncIterator[Finding]:
        """Yield what is wrong; `advance` is called after each blob."""
        known: set[str] = set()
        async for blob in self._stored():
            known.add(blob.key)
            size = await self._store.size(blob.key)
            if size != blob.size:
                yield Finding("missing" if size is None else "truncated", str(blob.digest), blob.key)
            elif blob.is_damaged:
                yield Finding("damaged", str(blob.digest), blob.key)
            advance()
        async for key in self._store.keys():
            # An upload that goes on may be under its key already, as far as it has come.
            if key not in known and not await self._database.read(partial(uploads.has_session, key=key)):
                yield Finding("unknown", "", key)

    async def count_uploads(self) -> tuple[int, int]:
        """How many uploads are unfinished, and the bytes that they take: a torn one has more than its row says."""
        sizes = [size async for _, size in self._store.uploads()]
        return len(sizes), sum(sizes)

    async def _stored(self) -> AsyncIterator[StoredBlob]:
        after = ""
        while page := await self._database.read(partial(blobs.list_stored, after=after, limit=_PAGE)):
            for blob in page:
                yield blob
            after = str(page[-1].digest)


def _try_database(tx: Transaction) -> None:
    schema.find_instance(tx)
    examination.try_write(tx)
