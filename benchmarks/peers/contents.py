"""What every server is given before it is measured: the same blobs, one image, and repositories of many tags."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.blob_client import Client, Content
from benchmarks.filling import Filler
from benchmarks.images import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE
from benchmarks.peers.programs import Distribution, Entrepot, Nginx, Program, Zot
from benchmarks.peers.servers import HOST, Peer
from storage.digest import Digest

REPOSITORY = "benchmark/app"
TAG = "latest"
_KIB = 1 << 10
_LAYERS = 10  # of the image: its manifest has 2.2 kB


@dataclass(frozen=True)
class Contents:
    """Blobs by their size, and an image of the smallest."""

    blobs: Mapping[int, Content]
    manifest: bytes

    @classmethod
    def make(cls, sizes: Sequence[int]) -> "Contents":
        blobs = {size: Content.make(size) for size in sorted({_KIB, *sizes})}
        return cls(blobs, make_image(blobs[_KIB]))

    @property
    def manifest_digest(self) -> str:
        return str(Digest.of(self.manifest))

    def put(self, peer: Peer) -> None:
        """Give a server all of it. Raises WrongAnswer."""
        if isinstance(peer.program, Nginx):
            return self._write(peer.folder / "root" / "v2" / REPOSITORY)
        client = Client(HOST, [peer.port], REPOSITORY, peer.authorize(REPOSITORY))
        for blob in self.blobs.values():
            client.push_whole(blob)
        client.put_manifest(TAG, self.manifest)
        client.close()
        return None

    def _write(self, folder: Path) -> None:
        for name in ("blobs", "manifests"):
            (folder / name).mkdir(parents=True)
        for blob in self.blobs.values():
            with (folder / "blobs" / blob.digest).open("wb") as file:
                file.writelines(blob.pieces())
        for reference in (TAG, self.manifest_digest):
            (folder / "manifests" / reference).write_bytes(self.manifest)


def make_image(content: Content) -> bytes:
    """A manifest in which one blob is the config and each of the layers."""
    described = {"digest": content.digest, "size": content.size}
    layers = [{"mediaType": LAYER_TYPE, **described}] * _LAYERS
    config = {"mediaType": CONFIG_TYPE, **described}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}
    return json.dumps(manifest, indent=2).encode()


def tagged_repository(count: int) -> str:
    return f"benchmark/tags-{count}"


def put_tags(program: Program, folder: Path, counts: Sequence[int]) -> None:
    """Repositories of so many tags each, written straight into the folder of a server that does not run.

    To push 100,000 tags would take each server many minutes.
    """
    if isinstance(program, Entrepot):
        Filler(folder).fill({tagged_repository(count): count for count in counts})
    for count in counts:
        if isinstance(program, Distribution):
            _put_links(folder / "docker/registry/v2/repositories" / tagged_repository(count), count)
        elif isinstance(program, Nginx):
            _put_page(folder / "root" / "v2" / tagged_repository(count) / "tags", count)
        elif isinstance(program, Zot):
            _put_layout(folder / tagged_repository(count), count)


def _put_links(folder: Path, count: int) -> None:
    """As distribution's file driver keeps tags."""
    digest = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    for tag in _names(count):
        current = folder / "_manifests" / "tags" / tag / "current"
        current.mkdir(parents=True)
        (current / "link").write_text(digest)


def _put_page(folder: Path, count: int) -> None:
    """The first page: it has 100 tags."""
    folder.mkdir(parents=True)
    page = {"name": tagged_repository(count), "tags": sorted(_names(count))[:100]}
    (folder / "list").write_text(json.dumps(page))


def _put_layout(folder: Path, count: int) -> None:
    """As zot keeps tags: in the index of an OCI layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    config = _put_blob(blobs, b"{}", CONFIG_TYPE)
    content = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": []}
    manifest = _put_blob(blobs, json.dumps(content).encode(), MANIFEST_TYPE)
    tagged = [{**manifest, "annotations": {"org.opencontainers.image.ref.name": tag}} for tag in _names(count)]
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": tagged}))
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def _put_blob(folder: Path, content: bytes, media_type: str) -> dict[str, Any]:
    hexadecimal = hashlib.sha256(content).hexdigest()
    (folder / hexadecimal).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{hexadecimal}", "size": len(content)}


def _names(count: int) -> list[str]:
    return [f"build-{number}" for number in range(count)]
