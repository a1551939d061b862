"""Do database and store agree? Reads everything once, changes nothing."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from registry.metadata import blobs
from registry.metadata.blobs import StoredBlob
from registry.metadata.database import Database
from storage.blobstore import BlobStore

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """`problem` is missing, truncated or unknown; unknown bytes are no damage, the collector takes them."""

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
            advance()
        async for key in self._store.keys():
            if key not in known:
                yield Finding("unknown", "", key)

    async def _stored(self) -> AsyncIterator[StoredBlob]:
        after = ""
        while page := await self._database.read(lambda tx: blobs.list_stored(tx, after, _PAGE)):  # noqa: B023 - awaited
            for blob in page:
                yield blob
            after = str(page[-1].digest)
