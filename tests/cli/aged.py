"""A repository whose images were pushed on different days, made by the rules themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.access.grants import EVERYTHING, Permission
from registry.app import Registry
from registry.identity import milliseconds_now
from registry.manifests import ManifestPush
from registry.oci.names import RepositoryName, Tag
from registry.uploads import Chunk
from storage.digest import Digest
from tests.cli.content import BOB, IMAGE, SteppingClock
from tests.places import make_config

DAY = 86_400_000  # milliseconds
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER_BYTES = 10_240


@dataclass(frozen=True, slots=True)
class Aged:
    """An image pushed `days` ago, with a layer of its own; without a tag, one that lost it. `children` are notes."""

    note: str
    days: float
    tags: Sequence[str] = ()
    children: Sequence[str] = ()


def fill_aged(data: Path, images: Sequence[Aged], name: str = "acme/app") -> dict[str, str]:
    """Push the images, the oldest first. Returns their digests by note."""
    return asyncio.run(_fill(data, sorted(images, key=lambda image: -image.days), RepositoryName(name)))


async def _fill(data: Path, images: Sequence[Aged], name: RepositoryName) -> dict[str, str]:
    start = milliseconds_now()
    clock = SteppingClock()
    registry = Registry(make_config(data), clock=clock)
    await registry.start()
    digests: dict[str, str] = {}
    try:
        for image in images:
            clock.now = start - round(image.days * DAY)
            content = _index(image, digests) if image.children else await _image(registry, name, image.note)
            digest = Digest.of(content)
            digests[image.note] = str(digest)
            media_type = INDEX if image.children else IMAGE
            push = ManifestPush(name, digest, media_type, content, [Tag(tag) for tag in image.tags])
            await registry.manifests.put(push, BOB, Permission((EVERYTHING,)))
    finally:
        registry.close()
    return digests


async def _image(registry: Registry, name: RepositoryName, note: str) -> bytes:
    layer = (note.encode() * LAYER_BYTES)[:LAYER_BYTES]
    for content in (b"{}", layer):
        await registry.uploads.push(name, Digest.of(content), Chunk(_one(content)), BOB)
    fields = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        "annotations": {"note": note},
    }
    return json.dumps(fields).encode()


def _index(image: Aged, digests: dict[str, str]) -> bytes:
    children = [{"mediaType": IMAGE, "digest": digests[note], "size": 100} for note in image.children]
    fields = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children, "annotations": {"note": image.note}}
    return json.dumps(fields).encode()


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}
