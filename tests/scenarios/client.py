"""A client of the rules: what a person does with a registry, without HTTP between."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from registry.access.grants import EVERYTHING, Permission
from registry.app import Registry
from registry.identity import Actor
from registry.manifests import ManifestPush
from registry.oci.names import Reference, RepositoryName, Tag
from registry.oci.preconditions import NO_PRECONDITIONS
from registry.uploads import Chunk
from storage.blobstore import ByteRange
from storage.digest import Digest
from storage.killpoints import Reach, pass_by
from tests.places import Place, make_config
from tests.scenarios.images import Content

SOMEBODY = Actor("somebody", "127.0.0.1", "a request")
ANYTHING = Permission((EVERYTHING,))


async def _everywhere(_source: RepositoryName) -> bool:
    return True


class Client:
    """Acts on `registry` as SOMEBODY. Names and tags are plain text here."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def push_blob(self, name: str, blob: Content, *chunk_sizes: int) -> Digest:
        """Push the blob at once or, when chunk sizes are given, through a session; the rest comes last."""
        repository, uploads = RepositoryName.parse(name), self.registry.uploads
        if not chunk_sizes:
            await uploads.push(repository, blob.digest, Chunk(pieces(blob.content)), SOMEBODY)
            return blob.digest
        session_id, start = await self.start(name), 0
        for size in chunk_sizes:
            chunk = blob.content[start : start + size]
            await self.append(name, session_id, chunk, start)
            start += len(chunk)
        await self.complete(name, session_id, blob.content[start:], blob.digest)
        return blob.digest

    async def start(self, name: str) -> str:
        """Begin an upload session and return its id."""
        return (await self.registry.uploads.start(RepositoryName.parse(name), "sha256", SOMEBODY)).id

    async def append(self, name: str, session_id: str, chunk: bytes, first_byte: int) -> None:
        repository = RepositoryName.parse(name)
        await self.registry.uploads.append(repository, session_id, Chunk(pieces(chunk), first_byte), SOMEBODY)

    async def complete(self, name: str, session_id: str, rest: bytes, digest: Digest) -> None:
        repository = RepositoryName.parse(name)
        await self.registry.uploads.complete(repository, session_id, Chunk(pieces(rest)), digest, SOMEBODY)

    async def cancel(self, name: str, session_id: str) -> None:
        await self.registry.uploads.cancel(RepositoryName.parse(name), session_id, SOMEBODY)

    async def mount(self, name: str, blob: Content, source: str | None) -> bool:
        origin = RepositoryName.parse(source) if source else None
        return await self.registry.blobs.mount(RepositoryName.parse(name), blob.digest, origin, _everywhere, SOMEBODY)

    async def delete_blob(self, name: str, blob: Content) -> None:
        await self.registry.blobs.delete(RepositoryName.parse(name), blob.digest, SOMEBODY)

    async def read_blob(self, name: str, blob: Content) -> bytes:
        opened = await self.registry.blobs.open(RepositoryName.parse(name), blob.digest)
        try:
            return b"".join([piece async for piece in opened.read(ByteRange(0, opened.size - 1))])
        finally:
            await opened.close()

    async def push_manifest(self, name: str, manifest: Content, tag: str = "", also: Sequence[str] = ()) -> Digest:
        """Push by tag, or by digest where there is none; `also` are further tags."""
        reference: Reference = Tag.parse(tag) if tag else manifest.digest
        push = ManifestPush(
            RepositoryName.parse(name), reference, manifest.media_type, manifest.content, list(map(Tag.parse, also))
        )
        return (await self.registry.manifests.put(push, SOMEBODY, ANYTHING)).digest

    async def delete_manifest(self, name: str, reference: Reference) -> None:
        await self.registry.manifests.delete(
            RepositoryName.parse(name), reference, NO_PRECONDITIONS, SOMEBODY, ANYTHING
        )

    async def untag(self, name: str, tag: str) -> None:
        await self.delete_manifest(name, Tag.parse(tag))

    async def delete_repository(self, name: str) -> None:
        await self.registry.repositories.delete(RepositoryName.parse(name), SOMEBODY)

    async def check(self) -> list[str]:
        """What `entrepot check` would find."""
        return [f"{one.problem} {one.digest} {one.key}" async for one in self.registry.check.run(lambda: None)]


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def open_registry(
    folder: Path, place: Place | None = None, *, reach: Reach = pass_by, **settings: Any
) -> Registry:
    """On the place under test unless another one is given."""
    registry = Registry(make_config(folder, place, **settings), reach=reach)
    await registry.start()
    return registry
