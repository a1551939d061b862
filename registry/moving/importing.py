"""Takes over images from another registry's files, as if somebody pushed them: by the registry's own rules."""

from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from registry.access.grants import EVERYTHING, Permission
from registry.blobs import Blobs
from registry.errors import (
    BlobDamaged,
    BlobUnknown,
    DigestInvalid,
    ManifestUnknown,
    RegistryError,
    StorageFull,
    Unavailable,
)
from registry.identity import Actor
from registry.manifests import ManifestPush, Manifests
from registry.moving.plans import Plan, PlannedManifest, Refusal
from registry.moving.sources import Unreadable, Ways, read_manifest
from registry.moving.together import run_together
from registry.oci.names import RepositoryName, Tag, TagInvalid
from registry.uploads import Chunk, Uploads
from storage.digest import Digest

_AT_ONCE = 4  # blobs
_ANYTHING = Permission((EVERYTHING,))
_STOPS = (StorageFull, Unavailable)  # whatever comes next would meet the same


@dataclass(slots=True)
class Imported:
    """How many of each are in the registry now that were not, and how many were there before; sizes in bytes.

    Of the blobs some were `linked`, some `copied` by the S3 server itself; all others were read and written.
    """

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    linked: int = 0
    copied: int = 0
    blob_bytes: int = 0
    known_manifests: int = 0
    known_blobs: int = 0
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One repository's. `advance` is told the size of each blob that is `done`, once."""

    plan: Plan
    by: Actor
    imported: Imported
    advance: Callable[[int], None]
    done: set[Digest] = field(default_factory=set)

    def refuse(self, reference: object, problem: object) -> None:
        self.imported.refusals.append(Refusal(self.plan.name.value, str(reference), str(problem)))


@dataclass(frozen=True, slots=True)
class Importer:
    """`ways`: how content can come without being read and written."""

    uploads: Uploads
    blobs: Blobs
    manifests: Manifests
    ways: Ways = field(default_factory=Ways)

    async def run(self, plans: Iterable[Plan], by: Actor, advance: Callable[[int], None]) -> Imported:
        """Import everything; what is there is skipped, what is refused is told at the end.

        `advance` is told the size of each blob that is done. Raises StorageFull, Unavailable, SourceUnavailable,
        OSError.
        """
        imported = Imported()
        for plan in plans:
            imported.repositories += 1
            imported.refusals += plan.refusals
            turn = _Turn(plan, by, imported, advance)
            for manifest in plan.manifests:
                await self._import_manifest(turn, manifest)
        return imported

    async def _import_manifest(self, turn: _Turn, manifest: PlannedManifest) -> None:
        async def bring(blob: tuple[Digest, bool]) -> None:
            digest, is_required = blob
            problem, size = await self._import_blob(turn, digest)
            if problem and (is_required or size):
                turn.refuse(digest, problem)
            if digest not in turn.done:
                turn.done.add(digest)
                turn.advance(size)

        await run_together(bring, dict(manifest.blobs).items(), _AT_ONCE)
        try:
            await self._put(turn, manifest)
        except _STOPS:
            raise
        except (RegistryError, Unreadable) as problem:
            turn.refuse(manifest.digest, problem)

    async def _put(self, turn: _Turn, manifest: PlannedManifest) -> None:
        tags, plan, imported = [], turn.plan, turn.imported
        for text in manifest.tags:
            try:
                tag = Tag.parse(text)
            except TagInvalid as problem:
                turn.refuse(text, problem)
                continue
            if await self._find(plan.name, tag) != manifest.digest:
                tags.append(tag)
        is_known = await self._find(plan.name, manifest.digest) is not None
        if not is_known or tags:
            content = await read_manifest(plan.contents, manifest.digest)
            push = ManifestPush(plan.name, manifest.digest, manifest.media_type, content, tags)
            await self.manifests.put(push, turn.by, _ANYTHING)
        imported.tags += len(tags)
        imported.manifests += not is_known
        imported.known_manifests += is_known

    async def _import_blob(self, turn: _Turn, digest: Digest) -> tuple[str, int]:
        """What is wrong with the blob, nothing when the repository has it now; and its size in bytes, 0 if unknown."""
        name, contents = turn.plan.name, turn.plan.contents
        known = await self._find_blob(name, digest)
        if known is not None:
            turn.imported.known_blobs += 1
            return "", known
        if await self.blobs.mount(name, digest, None, _everywhere, turn.by):
            return "", await self._find_blob(name, digest) or 0
        size = (await contents.measure([digest]))[digest]
        if size is None:
            return "the blob is not in the source", 0
        try:
            await self._bring(turn, digest)
        except DigestInvalid:
            return "the blob's bytes have another digest", size
        except Unreadable as problem:
            return str(problem), size
        turn.imported.blobs += 1
        turn.imported.blob_bytes += size
        return "", size

    async def _bring(self, turn: _Turn, digest: Digest) -> None:
        name, contents = turn.plan.name, turn.plan.contents

        async def give(key: str) -> bool:
            return await contents.give(digest, key, self.ways)

        if contents.may_give(self.ways) and await self.uploads.adopt(name, digest, give, turn.by):
            turn.imported.linked += self.ways.link is not None
            turn.imported.copied += self.ways.copies is not None
            return
        async with aclosing(contents.pieces(digest)) as pieces:
            await self.uploads.push(name, digest, Chunk(pieces), turn.by)

    async def _find_blob(self, name: RepositoryName, digest: Digest) -> int | None:
        """The size of a blob that the repository has."""
        try:
            return (await self.blobs.get(name, digest)).size
        except (BlobUnknown, BlobDamaged):
            return None

    async def _find(self, name: RepositoryName, reference: Tag | Digest) -> Digest | None:
        try:
            return Digest.parse((await self.manifests.get(name, reference)).digest)
        except ManifestUnknown:
            return None


async def _everywhere(_source: RepositoryName) -> bool:
    """Whoever has the files may as well have what the registry knows of them."""
    return True
