"""Blobs: open one for download, mount one from another repository, delete one."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import structlog

from registry.errors import BlobDamaged, BlobUnknown, InUse, Unavailable
from registry.identity import Actor, Clock, Deed
from registry.metadata import blobs, repositories, schema
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Database, Transaction
from registry.oci.names import RepositoryName
from storage.blobstore import BlobMissing, BlobStore, ForeignStore, OpenBlob, StoreUnavailable
from storage.digest import Digest
from storage.killpoints import Reach, pass_by

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Blobs:
    """`accepts_sparse`: a blob may go that a manifest names. A mount leases the blob for `lease` milliseconds."""

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        clock: Clock,
        *,
        accepts_sparse: bool,
        lease: int,
        reach: Reach = pass_by,
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._accepts_sparse = accepts_sparse
        self._lease = lease
        self._reach = reach

    async def get(self, repository: RepositoryName, digest: Digest) -> StoredBlob:
        """Raises BlobUnknown, also for a blob that only other repositories have, and BlobDamaged for a known damage."""
        blob = await self._database.read(lambda tx: blobs.find(tx, repository, digest))
        if blob is None:
            raise BlobUnknown(str(digest))
        if blob.is_damaged:
            raise BlobDamaged(str(digest))
        return blob

    async def locate(self, blob: StoredBlob) -> str | None:
        """A URL from which a client can GET the blob itself, for some minutes; None: only through us.

        The bytes are not looked at. Raises Unavailable.
        """
        with _store_problems_named(blob.key):
            return await self._store.locate(blob.key, blob.size)

    async def open(self, repository: RepositoryName, digest: Digest, known: StoredBlob | None = None) -> OpenBlob:
        """`known` is what `get` has returned. Raises BlobUnknown, BlobDamaged, Unavailable."""
        return await self._reach_bytes(repository, digest, self._open, known)

    async def look(self, repository: RepositoryName, digest: Digest) -> StoredBlob:
        """The blob, once the store has said that it has so many bytes. Raises as `open` does."""
        return await self._reach_bytes(repository, digest, self._look)

    async def _reach_bytes(
        self,
        repository: RepositoryName,
        digest: Digest,
        reach: Callable[[StoredBlob], Awaitable[T]],
        known: StoredBlob | None = None,
    ) -> T:
        with contextlib.suppress(BlobMissing):
            return await reach(known or await self.get(repository, digest))
        # A reads the row, B repairs the blob by a new push and removes the damaged copy, A opens it: then the row
        # names another key now.
        blob = await self.get(repository, digest)
        try:
            return await reach(blob)
        except BlobMissing as problem:
            await self._refuse_foreign()
            log.error("blob damaged", digest=str(digest), key=blob.key, problem=str(problem))  # noqa: TRY400 - all of it
            raise BlobDamaged(str(digest)) from problem

    async def _refuse_foreign(self) -> None:
        """A bucket that is gone, or a volume that is not mounted, lacks everything: nobody is to push again now."""
        instance = await self._database.read(schema.find_instance)
        try:
            with _store_problems_named(""):
                await self._store.verify(instance or "")
        except ForeignStore as problem:
            raise Unavailable(f"the store is not there: {problem}") from problem

    async def _open(self, blob: StoredBlob) -> OpenBlob:
        with _store_problems_named(blob.key):
            return await self._store.open(blob.key, blob.size)

    async def _look(self, blob: StoredBlob) -> StoredBlob:
        with _store_problems_named(blob.key):
            size = await self._store.size(blob.key)
        if size != blob.size:
            raise BlobMissing(f"{blob.key} has {size or 0} of {blob.size} bytes")
        return blob

    async def _is_whole(self, blob: StoredBlob | None) -> bool:
        if blob is None or blob.is_damaged:
            return False
        with _store_problems_named(blob.key):
            return await self._store.size(blob.key) == blob.size

    async def mount(
        self,
        repository: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
        may_pull: Callable[[RepositoryName], Awaitable[bool]],
        by: Actor,
    ) -> bool:
        """Give `repository` the right to a blob of `source`, or of any repository that the actor may pull from.

        False: there is no such blob where the actor may look, so it has to be uploaded. Raises Unavailable.
        """
        sources = await self._database.read(lambda tx: blobs.list_repositories(tx, digest, source))
        # By id: A may pull from a name, B deletes the repository, C makes another one of that name; that is not A's.
        allowed = [each.id for each in sources if await may_pull(each.name)]

        def work(tx: Transaction) -> bool:
            if not any(blobs.has_right(tx, each, digest) and repositories.is_visible(tx, each) for each in allowed):
                return False
            deed = Deed(by, self._clock())
            repository_id = repositories.get_or_make(tx, repository, "mount", deed)
            blobs.give_right(tx, GivenRight(repository_id, digest, "blob.mount", deed.at + self._lease), deed)
            return True

        blob = await self._database.read(lambda tx: blobs.find_stored(tx, digest)) if allowed else None
        if not await self._is_whole(blob):
            return False  # a damaged blob is not handed on: the client uploads it, and that repairs it
        is_mounted = await self._database.write(work, adds=True)
        self._reach("mount.recorded")
        return is_mounted

    async def delete(self, repository: RepositoryName, digest: Digest, by: Actor) -> None:
        """End the repository's right to the blob. Raises BlobUnknown, InUse."""

        def work(tx: Transaction) -> None:
            found = repositories.find(tx, repository)
            if found is None:
                raise BlobUnknown(str(digest))
            named_by = [] if self._accepts_sparse else blobs.list_manifests_naming(tx, found.id, digest)
            if named_by and blobs.has_right(tx, found.id, digest):
                raise InUse(
                    f"the blob is part of {', '.join(named_by)}: delete these manifests first",
                    detail={"manifests": named_by},
                )
            if not blobs.take_right(tx, found.id, digest, Deed(by, self._clock())):
                raise BlobUnknown(str(digest))

        await self._database.write(work)


@contextlib.contextmanager
def _store_problems_named(key: str) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as problem:
        log.error("store unavailable", key=key, problem=str(problem))  # noqa: TRY400 - an outage is no bug of ours
        raise Unavailable(f"the store is not available: {problem.strerror or problem}") from problem
    except OSError as problem:
        log.exception("store failed", key=key)
        raise Unavailable(f"the store failed: {problem.strerror or problem}") from problem
