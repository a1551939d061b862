"""Manifests, with the tags that point to them: put, get, list, delete; and the referrers of a subject."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from registry.access.grants import Action, Permission
from registry.errors import (
    ConditionFailed,
    Denied,
    DigestInvalid,
    InUse,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
)
from registry.identity import Actor, Clock, Deed
from registry.metadata import lookups, manifests, repositories, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.lookups import FoundManifest, Lookup
from registry.metadata.manifests import ListedManifest, Referrer, StoredManifest
from registry.oci.manifest import Kind, Manifest, parse_manifest
from registry.oci.names import Reference, RepositoryName, Tag
from registry.oci.preconditions import NO_PRECONDITIONS, Preconditions
from storage.digest import Digest
from storage.killpoints import Reach, pass_by

_PARSED_INLINE = 64 << 10  # bytes: parsing fewer takes less than a thread hop, more would hold up the event loop
_MOST_REMEMBERED, _LARGEST_REMEMBERED = 16 << 20, 256 << 10  # bytes of manifests in memory, in all and of one
_OVERHEAD = 400  # bytes that it takes to remember any
_MOST_REFERRERS = 1_000
_MOST_REFERRER_BYTES = 1 << 20


class SparseManifests(StrEnum):
    """Whether a manifest may be stored while content that it names is absent."""

    REFUSE = "refuse"  # no
    INDEX = "index"  # an index may name absent children
    ACCEPT = "accept"  # anything may be absent

    @property
    def may_lack(self) -> frozenset[Kind]:
        """What of a stored manifest may be absent."""
        if self is SparseManifests.REFUSE:
            return frozenset()
        return frozenset({Kind.CHILD} if self is SparseManifests.INDEX else {Kind.CHILD, Kind.CONFIG, Kind.LAYER})


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """What a client asks to store; `content_type` without parameters, None where it sent none."""

    repository: RepositoryName
    reference: Reference
    content_type: str | None
    content: bytes
    tags: Sequence[Tag] = ()
    preconditions: Preconditions = NO_PRECONDITIONS


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """`is_last`: no further referrer follows."""

    referrers: list[Referrer]
    is_last: bool


class _Contents:
    """Of manifests, `most` bytes in all; those that were asked for last are kept. What is under a digest never changes.

    Each repository has its own, or the time of an answer would say that somebody elsewhere has pulled the same.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._contents: OrderedDict[tuple[int, str], bytes] = OrderedDict()

    def get(self, manifest: FoundManifest) -> bytes | None:
        key = manifest.id, manifest.digest
        content = self._contents.get(key)
        if content is not None:
            self._contents.move_to_end(key)
        return content

    def put(self, manifest: FoundManifest, content: bytes) -> None:
        key = manifest.id, manifest.digest
        if len(content) > _LARGEST_REMEMBERED or key in self._contents:
            return
        self._contents[key] = content
        self._size += len(content) + _OVERHEAD
        while self._size > self._most:
            self._size -= len(self._contents.popitem(last=False)[1]) + _OVERHEAD


class Manifests:
    def __init__(
        self, database: Database, clock: Clock, sparse: SparseManifests = SparseManifests.REFUSE, reach: Reach = pass_by
    ) -> None:
        self._database = database
        self._clock = clock
        self._sparse = sparse
        self._reach = reach
        self._contents = _Contents(_MOST_REMEMBERED)
        self._parsing = asyncio.Semaphore(1)  # one large manifest at a time: a parsed one is much larger than its text

    async def put(self, push: ManifestPush, by: Actor, permission: Permission) -> Manifest:
        """Store a manifest, with its tags, all or nothing; `permission` is the caller's in the repository.

        Raises ManifestInvalid, DigestInvalid, ManifestBlobUnknown, ConditionFailed, Denied, also for an immutable tag.
        """
        wanted = [tag for tag in (push.reference, *push.tags) if isinstance(tag, Tag)]
        _refuse_forbidden_tags(wanted, permission)
        manifest = await self._parse(push)
        self._reach("manifest.parsed")

        def work(tx: Transaction) -> None:
            deed = Deed(by, self._clock())
            current = manifests.find(tx, push.repository, push.reference)
            if not push.preconditions.hold(current.digest if current else None):
                raise ConditionFailed
            repository_id = repositories.get_or_make(tx, push.repository, "push", deed)
            self._refuse_missing(tx, repository_id, manifest)
            self._refuse_other_type(tx, push.repository, manifest)
            manifest_id = manifests.put(tx, repository_id, manifest, deed)
            for tag in wanted:
                _refuse_move(tx, repository_id, tag, manifest, permission)
                tags.set_tag(tx, repository_id, tag, str(manifest.digest), manifest_id, deed)

        await self._database.write(work, adds=True)
        self._reach("manifest.recorded")
        return manifest

    async def get(self, repository: RepositoryName, reference: Reference) -> StoredManifest:
        """Raises ManifestUnknown."""
        manifest = await self._database.read(lambda tx: manifests.find(tx, repository, reference))
        if manifest is None:
            raise ManifestUnknown(str(reference))
        return manifest

    async def look_up(self, repository: RepositoryName, reference: Reference) -> Lookup:
        """What the reference names, with what access is to be judged by at the same moment."""
        return await self._database.read(lambda tx: lookups.look_up(tx, repository, reference))

    async def read(self, manifest: FoundManifest) -> bytes:
        """The bytes of a manifest that was looked up. Raises ManifestUnknown: it was removed just now."""
        content = self._contents.get(manifest)
        if content is None:
            content = await self._database.read(lambda tx: lookups.find_content(tx, manifest))
            if content is None:
                raise ManifestUnknown(manifest.digest)
            self._contents.put(manifest, content)
        return content

    async def list_page(
        self, repository: RepositoryName, after: str, limit: int, *, is_deleted: bool = False, is_untagged: bool = False
    ) -> list[ListedManifest]:
        """Those after the digest `after`, by digest: the visible ones or those that are deleted. Raises NameUnknown."""

        def work(tx: Transaction) -> list[ListedManifest]:
            repository_id = repositories.get_id(tx, repository)
            return manifests.list_page(tx, repository_id, after, limit, is_deleted=is_deleted, is_untagged=is_untagged)

        return await self._database.read(work)

    async def delete(
        self,
        repository: RepositoryName,
        reference: Reference,
        preconditions: Preconditions,
        by: Actor,
        permission: Permission,
    ) -> int:
        """A tag: remove only the tag. A digest: the manifest and its tags. Returns when, in Unix milliseconds.

        Raises ManifestUnknown, ConditionFailed, Denied, also for what is protected; InUse for the child of an index.
        """
        _refuse_forbidden_delete(reference, permission)

        def work(tx: Transaction) -> int:
            found = repositories.find(tx, repository)
            manifest = manifests.find(tx, repository, reference)
            if not preconditions.hold(manifest.digest if manifest else None):
                raise ConditionFailed
            if found is None or manifest is None:
                raise ManifestUnknown(str(reference))
            deed = Deed(by, self._clock())
            if isinstance(reference, Tag):
                tags.delete(tx, found.id, reference, deed)
            else:
                self._refuse_child(tx, manifest)
                manifests.mark_deleted(tx, found.id, manifest, deed)
            return deed.at

        return await self._database.write(work)

    async def restore(self, repository: RepositoryName, digest: Digest, by: Actor) -> list[str]:
        """Bring a deleted manifest back, with all that it names. Returns those that were hidden, it and its children.

        Raises NameUnknown, ManifestUnknown: it is gone for good, or something that it needs is.
        """

        def work(tx: Transaction) -> list[str]:
            found = repositories.find(tx, repository)
            if found is None:
                raise NameUnknown(repository.value)
            manifest_id = manifests.find_stored(tx, found.id, str(digest))
            if manifest_id is None:
                raise ManifestUnknown(str(digest), f"{repository} never had {digest}, or it is gone for good")
            return manifests.revive(tx, found.id, manifest_id, Deed(by, self._clock()), self._sparse.may_lack)

        return await self._database.write(work)

    async def list_referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> ReferrersPage:
        """A page of at most `limit` referrers and about 1 MiB; empty where there are none, even no repository."""

        def work(tx: Transaction) -> ReferrersPage:
            page: list[Referrer] = []
            size = 0
            for referrer in manifests.list_referrers(tx, repository, subject, artifact_type, after):
                size += len(referrer.annotations)
                if len(page) == min(limit, _MOST_REFERRERS) or (page and size > _MOST_REFERRER_BYTES):
                    return ReferrersPage(page, is_last=False)
                page.append(referrer)
            return ReferrersPage(page, is_last=True)

        return await self._database.read(work)

    async def _parse(self, push: ManifestPush) -> Manifest:
        algorithm = push.reference.algorithm if isinstance(push.reference, Digest) else "sha256"
        if isinstance(push.reference, Digest) and Digest.of(push.content, algorithm) != push.reference:
            raise DigestInvalid("the content has another digest than the one it was pushed under")
        if len(push.content) <= _PARSED_INLINE:
            return parse_manifest(push.content, push.content_type, algorithm)
        async with self._parsing:
            return await asyncio.to_thread(parse_manifest, push.content, push.content_type, algorithm)

    def _refuse_missing(self, tx: Transaction, repository_id: int, manifest: Manifest) -> None:
        if self._sparse is SparseManifests.ACCEPT:
            return
        missing = [
            str(reference.digest)
            for reference in manifests.list_missing(tx, repository_id, manifest)
            if reference.kind not in self._sparse.may_lack
        ]
        if missing:
            raise ManifestBlobUnknown(missing)

    def _refuse_other_type(self, tx: Transaction, repository: RepositoryName, manifest: Manifest) -> None:
        stored = manifests.find(tx, repository, manifest.digest)
        if stored and stored.media_type != manifest.media_type:
            raise ManifestInvalid(f"the manifest is stored as {stored.media_type} already: its type cannot change")

    def _refuse_child(self, tx: Transaction, manifest: StoredManifest) -> None:
        parents = manifests.list_parents(tx, manifest.id) if self._sparse is SparseManifests.REFUSE else []
        if parents:
            raise InUse(
                f"the manifest is part of {', '.join(parents)}: delete these first", detail={"manifests": parents}
            )


def _refuse_forbidden_tags(wanted: Sequence[Tag], permission: Permission) -> None:
    """Before anything is looked up, as for deletes. Who may move a tag may also create it."""
    for tag in wanted:
        if not permission.may_create(tag):
            raise Denied(
                f"your grants do not include setting the tag {tag}: {_show(permission.list_tags(Action.CREATE))}"
            )


def _refuse_move(tx: Transaction, repository_id: int, tag: Tag, manifest: Manifest, permission: Permission) -> None:
    # In the transaction that sets the tag: A sees that a tag is not there, B sets it, A moves what it may only create.
    if not permission.may_move(tag) and tags.find_digest(tx, repository_id, tag) not in (None, str(manifest.digest)):
        raise Denied(f"your grants do not include moving a tag, and {tag} points to something else already")


def _refuse_forbidden_delete(reference: Reference, permission: Permission) -> None:
    """Before anything is looked up: who may not delete it need not know whether it is there."""
    if isinstance(reference, Tag) and not permission.may_delete(reference):
        raise Denied(f"your grants do not include deleting the tag {reference}")
    if not isinstance(reference, Tag) and not permission.may_delete_content:
        raise Denied("your grants include deleting some tags, not what they point to")


def _show(tags: list[str]) -> str:
    return f"only {', '.join(tags)}" if tags else "only pushing by digest"
