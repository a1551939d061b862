"""A registry with known content, made by the rules themselves."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from registry.access.grants import EVERYTHING, Permission
from registry.app import Registry
from registry.identity import Actor
from registry.manifests import ManifestPush
from registry.oci.names import RepositoryName, Tag
from registry.uploads import Chunk
from storage.digest import Digest
from tests.places import make_config

APP = RepositoryName("demo/app")
BASE = RepositoryName("demo/base")
START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MINUTE = 60_000  # milliseconds
BOB = Actor("bob")
IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b"{}"
LAYER = b"layer" * 1000


@dataclass
class SteppingClock:
    """Each push begins a minute after the one before; the instant stays the same within one."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Pushed:
    """The digests of demo/app's manifests, in the order of the pushes that moved its tag `1`."""

    manifests: list[str] = field(default_factory=list)


async def fill(data: Path) -> Pushed:
    """Push demo/app:1 twice, with other content, and demo/base:latest once."""
    clock = SteppingClock()
    registry = Registry(make_config(data), clock=clock)
    await registry.start()
    pushed = Pushed()
    try:
        for note in ("first", "second"):
            pushed.manifests.append(await _push(registry, APP, "1", note))
            clock.now += MINUTE
        await _push(registry, BASE, "latest", "base")
    finally:
        registry.close()
    return pushed


async def _push(registry: Registry, name: RepositoryName, tag: str, note: str) -> str:
    for content in (CONFIG, LAYER):
        await registry.uploads.push(name, Digest.of(content), Chunk(_one(content)), BOB)
    content = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", CONFIG),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", LAYER)],
            "annotations": {"note": note},
        }
    ).encode()
    manifest = await registry.manifests.put(
        ManifestPush(name, Tag(tag), IMAGE, content), BOB, Permission((EVERYTHING,))
    )
    return str(manifest.digest)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}
