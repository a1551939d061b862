"""Repositories: list, show, delete. They are made by their first push, in the transaction that stores it."""

import asyncio
from collections.abc import Callable

from registry.errors import NameUnknown
from registry.identity import Actor, Clock, Deed
from registry.metadata import repositories
from registry.metadata.database import Database, Transaction
from registry.metadata.repositories import Repository, Totals
from registry.oci.names import RepositoryName
from storage.blobstore import BlobStore, UploadState

_PAGE = 1_000


class Repositories:
    def __init__(self, database: Database, store: BlobStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def list_names(self, after: str, limit: int) -> list[RepositoryName]:
        """Names after `after`, in byte order."""
        return await self._database.read(lambda tx: repositories.list_names(tx, after, limit))

    async def list_seen(
        self, after: str, limit: int, may_see: Callable[[RepositoryName], bool]
    ) -> list[RepositoryName]:
        """Names after `after` in byte order, of those that `may_see` says yes to."""
        found: list[RepositoryName] = []
        while len(found) < limit:
            names = await self.list_names(after, _PAGE)
            found += filter(may_see, names)
            if len(names) < _PAGE:
                break
            after = names[-1].value
            await asyncio.sleep(0)  # who may see little in a large registry must not hold up the others
        return found[:limit]

    async def show(self, name: RepositoryName) -> tuple[Repository, Totals]:
        """Raises NameUnknown."""

        def work(tx: Transaction) -> tuple[Repository, Totals]:
            repository = _get(tx, name)
            return repository, repositories.get_totals(tx, repository)

        return await self._database.read(work)

    async def delete(self, name: RepositoryName, by: Actor) -> None:
        """Hide the repository with all that it holds, and end its upload sessions. Raises NameUnknown."""

        def work(tx: Transaction) -> list[str]:
            return repositories.mark_deleted(tx, _get(tx, name), Deed(by, self._clock()))

        for key in await self._database.write(work):
            await self._store.abort(UploadState(key, 0))


def _get(tx: Transaction, name: RepositoryName) -> Repository:
    repository = repositories.find(tx, name)
    if repository is None:
        raise NameUnknown(name.value)
    return repository
