"""Repositories: make, list, show, set, delete, restore. A push makes them, too, in the transaction that stores it."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping

from registry.errors import Denied, NameUnknown
from registry.identity import Actor, Clock, Deed
from registry.lifecycle.settings import RepositorySettings
from registry.metadata import manifests, repositories, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.repositories import Repository, Totals
from registry.oci.manifest import Kind
from registry.oci.names import RepositoryName
from storage.blobstore import BlobStore, UploadState

_PAGE = 1_000


class Repositories:
    """`may_lack` is what of a stored manifest may be absent."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock, may_lack: Collection[Kind] = ()) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._may_lack = may_lack

    async def create(self, name: RepositoryName, by: Actor) -> None:
        """Make an empty repository. Raises Denied when there is one of that name."""

        def work(tx: Transaction) -> None:
            _refuse_taken(tx, name)
            repositories.get_or_make(tx, name, "explicit", Deed(by, self._clock()))

        await self._database.write(work)

    async def set(self, name: RepositoryName, values: Mapping[str, str], by: Actor) -> RepositorySettings:
        """Give the named settings other values, empty ones unset them. Returns all. Raises NameUnknown, SettingInvalid.

        What they forbid, they forbid from now on.
        """

        def work(tx: Transaction) -> RepositorySettings:
            repository = repositories.get(tx, name)
            settings = repository.settings.changed(values)
            repositories.set_settings(tx, repository.id, settings, Deed(by, self._clock()))
            return settings

        return await self._database.write(work)

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
            repository = repositories.get(tx, name)
            return repository, repositories.get_totals(tx, repository)

        return await self._database.read(work)

    async def delete(self, name: RepositoryName, by: Actor) -> None:
        """Hide the repository with all that it holds, and end its upload sessions.

        Raises NameUnknown, Denied: one of its tags is protected.
        """

        def work(tx: Transaction) -> list[UploadState]:
            return repositories.mark_deleted(tx, repositories.get(tx, name), Deed(by, self._clock()))

        for upload in await self._database.write(work):
            with contextlib.suppress(OSError):  # the repository is deleted, and the collector takes what is left
                await self._store.abort(upload)

    async def list_deleted(self, after: Repository | None, limit: int) -> list[Repository]:
        """Those that are marked as deleted, after the one given, by name and the instant of their deletion."""
        return await self._database.read(lambda tx: repositories.list_deleted(tx, after, limit))

    async def restore(self, name: RepositoryName, by: Actor) -> int:
        """Bring the last deleted repository of that name back as it was. Returns how many tags it has.

        Raises Denied when there is one of that name, NameUnknown when none was deleted or it is gone for good.
        """

        def work(tx: Transaction) -> int:
            _refuse_taken(tx, name)
            repository = repositories.find_deleted(tx, name)
            if repository is None:
                raise NameUnknown(name.value, f"there is no deleted repository {name}, or nothing of it is left")
            if self._is_torn(tx, repository):
                raise NameUnknown(name.value, f"{name} cannot be restored: a part of it was purged")
            return repositories.revive(tx, repository, Deed(by, self._clock()))

        return await self._database.write(work)

    def _is_torn(self, tx: Transaction, repository: Repository) -> bool:
        """Whether somebody has purged a part of what the deleted repository held."""
        return tags.is_any_gone(tx, repository.id, repository.deleted_at or 0) or manifests.is_any_incomplete(
            tx, repository.id, self._may_lack
        )


def _refuse_taken(tx: Transaction, name: RepositoryName) -> None:
    if repositories.find(tx, name) is not None:
        raise Denied(f"there is a repository {name} already", detail={"name": name.value})
