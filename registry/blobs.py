"""Blobs: open one for download, mount one from another repository, delete one."""

import contextlib
from collections.abc import Awaitable, Callable

import structlog

from registry.errors import BlobDamaged, BlobUnknown, InUse, Unavailable
from registry.identity import Actor, Clock, Deed
from registry.metadata import blobs, repositories
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Database, Transaction
from registry.oci.names import RepositoryName
from storage.blobstore import BlobMissing, BlobStore, OpenBlob
from storage.digest import Digest
from storage.killpoints import Reach, pass_by

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
        """Raises BlobUnknown, also for a blob that only other repositories have."""
        blob = await self._database.read(lambda tx: blobs.find(tx, repository, digest))
        if blob is None:
            raise BlobUnknown(str(digest))
        return blob

    async def open(self, repository: RepositoryName, digest: Digest) -> OpenBlob:
        """Raises BlobUnknown, BlobDamaged, Unavailable."""
        with contextlib.suppress(BlobMissing):
            return await self._open(await self.get(repository, digest))
        # A reads the row, B repairs the blob by a new push and removes the damaged copy, A opens it: then the row
        # names another key now.
        blob = await self.get(repository, digest)
        try:
            return await self._open(blob)
        except BlobMissing as problem:
            log.exception("blob damaged", digest=str(digest), key=blob.key)
            raise BlobDamaged(str(digest)) from problem

    async def _open(self, blob: StoredBlob) -> OpenBlob:
        if blob.is_damaged:
            raise BlobDamaged(str(blob.digest))
        try:
            return await self._store.open(blob.key, blob.size)
        except OSError as problem:
            log.exception("store failed", key=blob.key)
            raise Unavailable(f"the store failed: {problem.strerror}") from problem

    async def mount(
        self,
        repository: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
        may_pull: Callable[[RepositoryName], Awaitable[bool]],
        by: Actor,
    ) -> bool:
        """Give `repository` the right to a blob of `source`, or of any repository that the actor may pull from.

        False: there is no such blob where the actor may look, so it has to be uploaded.
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
        if blob is None or blob.is_damaged or await self._store.size(blob.key) != blob.size:
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
