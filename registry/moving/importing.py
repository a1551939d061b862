"""Takes over images from another registry's files, as if somebody pushed them: by the registry's own rules."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import aiofiles

from registry.access.grants import EVERYTHING, Permission
from registry.blobs import Blobs
from registry.errors import BlobUnknown, DigestInvalid, ManifestUnknown, RegistryError, StorageFull, Unavailable
from registry.identity import Actor
from registry.manifests import ManifestPush, Manifests
from registry.moving.plans import Plan, PlannedManifest, Refusal
from registry.moving.sources import Unreadable, open_file, read_manifest
from registry.moving.together import run_together
from registry.oci.names import RepositoryName, Tag, TagInvalid
from registry.uploads import Chunk, Uploads
from storage.digest import Digest

Link: TypeAlias = Callable[
    [Path, str], bool
]  # a second name for the file, as a storage key; False: it has to be copied

_AT_ONCE = 4  # blobs
_PIECE = 256 << 10  # bytes
_ANYTHING = Permission((EVERYTHING,))
_STOPS = (StorageFull, Unavailable)  # whatever comes next would meet the same


@dataclass(slots=True)
class Imported:
    """How many of each are in the registry now that were not, and how many were there before; sizes in bytes."""

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    linked: int = 0
    blob_bytes: int = 0
    known_manifests: int = 0
    known_blobs: int = 0
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Importer:
    """`link` where files need not be copied."""

    uploads: Uploads
    blobs: Blobs
    manifests: Manifests
    link: Link | None = None

    async def run(self, plans: Iterable[Plan], by: Actor, advance: Callable[[int], None]) -> Imported:
        """Import everything; what is there is skipped, what is refused is told at the end.

        `advance` is told the size of each blob that is done. Raises StorageFull, Unavailable, OSError.
        """
        imported = Imported()
        for plan in plans:
            imported.repositories += 1
            imported.refusals += plan.refusals
            for manifest in plan.manifests:
                await self._import_manifest(plan, manifest, by, imported, advance)
        return imported

    async def _import_manifest(
        self, plan: Plan, manifest: PlannedManifest, by: Actor, imported: Imported, advance: Callable[[int], None]
    ) -> None:
        async def bring(blob: tuple[Digest, bool]) -> None:
            digest, is_required = blob
            size = plan.measure(digest) or 0
            problem = await self._import_blob(plan, digest, by, imported)
            if problem and (is_required or size):
                imported.refusals.append(Refusal(plan.name.value, str(digest), problem))
            advance(size)

        await run_together(bring, dict(manifest.blobs).items(), _AT_ONCE)
        try:
            await self._put(plan, manifest, by, imported)
        except _STOPS:
            raise
        except (RegistryError, Unreadable) as problem:
            imported.refusals.append(Refusal(plan.name.value, str(manifest.digest), str(problem)))

    async def _put(self, plan: Plan, manifest: PlannedManifest, by: Actor, imported: Imported) -> None:
        tags = []
        for text in manifest.tags:
            try:
                tag = Tag.parse(text)
            except TagInvalid as problem:
                imported.refusals.append(Refusal(plan.name.value, text, str(problem)))
                continue
            if await self._find(plan.name, tag) != manifest.digest:
                tags.append(tag)
        is_known = await self._find(plan.name, manifest.digest) is not None
        if not is_known or tags:
            content = read_manifest(plan.find_file, manifest.digest)
            push = ManifestPush(plan.name, manifest.digest, manifest.media_type, content, tags)
            await self.manifests.put(push, by, _ANYTHING)
        imported.tags += len(tags)
        imported.manifests += not is_known
        imported.known_manifests += is_known

    async def _import_blob(self, plan: Plan, digest: Digest, by: Actor, imported: Imported) -> str:
        """What is wrong with the blob; nothing when the repository has it now."""
        if await self._is_there(plan.name, digest):
            imported.known_blobs += 1
            return ""
        if await self.blobs.mount(plan.name, digest, None, _everywhere, by):
            return ""
        size = plan.measure(digest)
        if size is None:
            return "the blob is not in the source"
        try:
            is_linked = await self._bring(plan.name, digest, plan.find_file(digest), by)
        except DigestInvalid:
            return "the blob's bytes have another digest"
        except Unreadable as problem:
            return str(problem)
        imported.blobs += 1
        imported.linked += is_linked
        imported.blob_bytes += size
        return ""

    async def _bring(self, name: RepositoryName, digest: Digest, path: Path, by: Actor) -> bool:
        """Whether the file was linked, not copied."""
        link = self.link
        if link is not None and await self.uploads.adopt(name, digest, lambda key: link(path, key), by):
            return True
        await self.uploads.push(name, digest, Chunk(_read(path)), by)
        return False

    async def _is_there(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            return not (await self.blobs.get(name, digest)).is_damaged
        except BlobUnknown:
            return False

    async def _find(self, name: RepositoryName, reference: Tag | Digest) -> Digest | None:
        try:
            return Digest.parse((await self.manifests.get(name, reference)).digest)
        except ManifestUnknown:
            return None


async def _everywhere(_source: RepositoryName) -> bool:
    """Whoever has the files may as well have what the registry knows of them."""
    return True


async def _read(path: Path) -> AsyncIterator[bytes]:
    """Problems of the source are told from those of the store."""
    try:
        async with aiofiles.open(path, "rb", buffering=0, opener=open_file) as file:
            while piece := await file.read(_PIECE):
                yield piece
    except OSError as problem:
        raise Unreadable(f"the blob cannot be read: {problem.strerror}") from None
