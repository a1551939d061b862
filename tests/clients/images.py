"""Images made from scratch: tar layers, OCI layouts and Docker archives, and the files that pulled ones hold."""

import functools
import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .registry import sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EPOCH = "2026-01-01T00:00:00Z"
MIB = 1 << 20

Descriptor = dict[str, Any]


def layer(files: Mapping[str, bytes]) -> bytes:
    """Make a tar of files and the folders above them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in sorted({str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            member.mode = 0o755
            archive.addfile(member)
        for name, content in files.items():
            _add(archive, name, content)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Image:
    layers: tuple[bytes, ...]
    architecture: str = "amd64"

    @functools.cached_property
    def config(self) -> bytes:
        return _json(
            {
                "architecture": self.architecture,
                "os": "linux",
                "created": EPOCH,
                "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": [sha256(content) for content in self.layers]},
                "history": [{"created": EPOCH, "created_by": f"layer {n}"} for n, _ in enumerate(self.layers)],
            }
        )

    @functools.cached_property
    def id(self) -> str:
        """The config's digest; it covers the content of every layer."""
        return sha256(self.config)

    @functools.cached_property
    def files(self) -> dict[str, str]:
        return files_in_layers(io.BytesIO(content) for content in self.layers)

    def write_archive(self, path: Path, name: str) -> Path:
        """Write what `docker save` writes."""
        layers = {f"layer-{n}.tar": content for n, content in enumerate(self.layers)}
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": list(layers)}]
        with tarfile.open(path, "w") as archive:
            for member, content in {"config.json": self.config, **layers, "manifest.json": _json(manifest)}.items():
                _add(archive, member, content)
        return path


class Layout:
    """An OCI image layout on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tagged: list[Descriptor] = []
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))

    def add(self, content: bytes, media_type: str) -> Descriptor:
        digest = sha256(content)
        (self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def add_image(self, image: Image) -> Descriptor:
        layers = [self.add(_gzip(content), LAYER) for content in image.layers]
        config = self.add(image.config, CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        return self.add(_json(manifest), MANIFEST)

    def add_index(self, images: Iterable[Image]) -> Descriptor:
        children = [
            {**self.add_image(image), "platform": {"os": "linux", "architecture": image.architecture}}
            for image in images
        ]
        return self.add(_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}), INDEX)

    def tag(self, tag: str, descriptor: Descriptor, image_name: str | None = None) -> None:
        """Name a manifest; `image_name` is the whole name that containerd and docker import it under."""
        annotations = {"org.opencontainers.image.ref.name": tag}
        if image_name:
            annotations["io.containerd.image.name"] = image_name
        self._tagged.append({**descriptor, "annotations": annotations})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._tagged}
        (self.folder / "index.json").write_bytes(_json(index))

    def write_tar(self, path: Path) -> Path:
        with tarfile.open(path, "w") as archive:
            for entry in sorted(self.folder.rglob("*")):
                archive.add(entry, entry.relative_to(self.folder), recursive=False)
        return path


def _gzip(content: bytes) -> bytes:
    # Random content does not shrink, and big layers are random: storing is enough and fast.
    return gzip.compress(content, compresslevel=1 if len(content) < MIB else 0, mtime=0)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def random_layer(name: str, size: int) -> bytes:
    return layer({name: os.urandom(size)})


def files_in_layers(layers: Iterable[IO[bytes]]) -> dict[str, str]:
    """Map every file of a stack of layers to the digest of its content."""
    files: dict[str, str] = {}
    for content in layers:
        with tarfile.open(fileobj=content) as archive:
            for member in archive:
                extracted = archive.extractfile(member)
                if extracted:
                    files[member.name.removeprefix("./")] = sha256(extracted.read())
    return files


def files_in_archive(path: Path) -> dict[str, str]:
    """The files of the one image in a Docker archive."""
    with tarfile.open(path) as archive:
        [entry] = json.loads(_read(archive, "manifest.json"))
        return files_in_layers(io.BytesIO(_read(archive, name)) for name in entry["Layers"])


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(archive.getmember(name))
    assert member, f"{name} is no file"
    return member.read()


def blobs_in_layout(folder: Path) -> set[str]:
    """The digests of a layout's blobs, each computed from its content."""
    return {sha256(path.read_bytes()) for path in (folder / "blobs" / "sha256").iterdir()}
