"""Repositories: list, show, delete. They are made by their first push, in the transaction that stores it."""

from registry.errors import NameUnknown
from registry.identity import Actor, Clock, Deed
from registry.metadata import repositories, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.repositories import Repository, Totals
from registry.metadata.tags import TagRow
from registry.oci.names import RepositoryName, Tag
from storage.blobstore import BlobStore, UploadState


class Repositories:
    def __init__(self, database: Database, store: BlobStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def list_names(self, after: str, limit: int) -> list[RepositoryName]:
        """Names after `after`, in byte order."""
        return await self._database.read(lambda tx: repositories.list_names(tx, after, limit))

    async def show(self, name: RepositoryName) -> tuple[Repository, Totals]:
        """Raises NameUnknown."""

        def work(tx: Transaction) -> tuple[Repository, Totals]:
            repository = _get(tx, name)
            return repository, repositories.totals(tx, repository)

        return await self._database.read(work)

    async def delete(self, name: RepositoryName, by: Actor) -> None:
        """Hide the repository with all that it holds, and end its upload sessions. Raises NameUnknown."""

        def work(tx: Transaction) -> list[str]:
            return repositories.mark_deleted(tx, _get(tx, name), Deed(by, self._clock()))

        for key in await self._database.write(work):
            await self._store.abort(UploadState(key, 0))

    async def list_tags(self, name: RepositoryName, after: str, limit: int) -> list[tuple[str, TagRow]]:
        """Current tags after `after` in byte order, with what they point to. Raises NameUnknown."""

        def work(tx: Transaction) -> list[tuple[str, TagRow]]:
            _get(tx, name)
            return tags.list_current(tx, name, after, limit)

        return await self._database.read(work)

    async def tag_history(self, name: RepositoryName, tag: Tag, limit: int) -> list[TagRow]:
        """What the tag pointed to, the latest first. Raises NameUnknown."""

        def work(tx: Transaction) -> list[TagRow]:
            _get(tx, name)
            return tags.history(tx, name, tag, limit)

        return await self._database.read(work)


def _get(tx: Transaction, name: RepositoryName) -> Repository:
    repository = repositories.find(tx, name)
    if repository is None:
        raise NameUnknown(f"there is no repository {name}", detail={"name": name.value})
    return repository
