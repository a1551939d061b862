"""Blobs and manifests made from a seed, so that a second run pushes the same bytes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def make_content(seed: str, size: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(size)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Manifest:
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.content)


def make_image(config: bytes, layers: Sequence[bytes], *, subject: Manifest | None = None, note: str = "") -> Manifest:
    fields: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer) for layer in layers],
        "annotations": {"note": note},
    }
    if subject:
        fields["subject"] = _descriptor(subject.media_type, subject.content)
    return Manifest(IMAGE, json.dumps(fields).encode())


def make_index(manifests: Sequence[Manifest]) -> Manifest:
    children = [_descriptor(manifest.media_type, manifest.content) for manifest in manifests]
    return Manifest(INDEX, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode())


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
