"""Tags: list them, what they pointed to, and restore that. They are set by the push of a manifest, deleted like one."""

from collections.abc import Collection
from dataclasses import dataclass

from registry.errors import ManifestUnknown
from registry.identity import Actor, Clock, Deed
from registry.metadata import manifests, repositories, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.tags import TagRow
from registry.oci.manifest import Kind
from registry.oci.names import RepositoryName, Tag


@dataclass(frozen=True, slots=True)
class RestoredTag:
    """The tag points to `digest` now, and did to `before` (None: to nothing); `revived` manifests were deleted."""

    digest: str
    before: str | None
    revived: list[str]


class Tags:
    """`may_lack` is what of a stored manifest may be absent."""

    def __init__(self, database: Database, clock: Clock, may_lack: Collection[Kind] = ()) -> None:
        self._database = database
        self._clock = clock
        self._may_lack = may_lack

    async def list_names(self, repository: RepositoryName, after: str, limit: int) -> list[str]:
        """Names after `after`, in byte order. Raises NameUnknown."""
        return await self._database.read(
            lambda tx: tags.list_names(tx, repositories.get_id(tx, repository), after, limit)
        )

    async def list_current(self, repository: RepositoryName, after: str, limit: int) -> list[tuple[str, TagRow]]:
        """Names after `after` in byte order, each with what it points to. Raises NameUnknown."""
        return await self._database.read(
            lambda tx: tags.list_current(tx, repositories.get_id(tx, repository), after, limit)
        )

    async def list_history(self, repository: RepositoryName, tag: Tag, limit: int) -> list[TagRow]:
        """What the tag pointed to, the latest first. Raises NameUnknown."""
        return await self._database.read(
            lambda tx: tags.list_history(tx, repositories.get_id(tx, repository), tag, limit)
        )

    async def list_at(self, repository: RepositoryName, tag: Tag, at: int) -> list[TagRow]:
        """What the tag pointed to at an instant (Unix milliseconds): nothing or one. Raises NameUnknown."""
        return await self._database.read(lambda tx: tags.list_at(tx, repositories.get_id(tx, repository), tag, at)[:1])

    async def restore(self, repository: RepositoryName, tag: Tag, at: int | None, by: Actor) -> RestoredTag:
        """Point the tag to what it pointed to at the instant `at` (Unix milliseconds), with all that this names.

        None: a deleted tag to what it pointed to last, another one to what it pointed to before its last move.
        Raises NameUnknown, Denied for an immutable tag, ManifestUnknown for what never was or is gone for good.
        """

        def work(tx: Transaction) -> RestoredTag:
            repository_id = repositories.get_id(tx, repository)
            before = tags.find_digest(tx, repository_id, tag)
            digest = _find_past(tx, repository_id, tag, at, before)
            manifest_id = manifests.find_stored(tx, repository_id, digest)
            if manifest_id is None:
                raise ManifestUnknown(digest, f"{tag} pointed to {digest}, which is gone for good: push it again")
            deed = Deed(by, self._clock())
            revived = manifests.revive(tx, repository_id, manifest_id, deed, self._may_lack)
            tags.restore(tx, repository_id, tag, digest, manifest_id, deed)
            return RestoredTag(digest, before, revived)

        return await self._database.write(work)


def _find_past(tx: Transaction, repository_id: int, tag: Tag, at: int | None, now: str | None) -> str:
    """The digest to go back to. Raises ManifestUnknown."""
    if at is not None:
        rows = tags.list_at(tx, repository_id, tag, at)
        if not rows:
            raise ManifestUnknown(tag.value, f"{tag} pointed to nothing then")
        return rows[0].digest
    past = tags.find_last_other(tx, repository_id, tag, now)
    if past is None:
        problem = f"{tag} never pointed to anything else" if now else f"there never was a tag {tag}"
        raise ManifestUnknown(tag.value, problem)
    return past
