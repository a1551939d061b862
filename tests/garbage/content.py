"""Blobs and manifests of all shapes: images, indexes, referrers, artifacts, and types that nobody has heard of."""

import json
from collections.abc import Sequence

from registry.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT
from tests.scenarios.images import LAYER_TYPE, Content, make_blob, make_image, make_index

UNKNOWN_TYPE = "application/vnd.example.thing.v3+json"
UNKNOWN_LIST = "application/vnd.example.things.v3+json"


def make_manifest(media_type: str, **fields: object) -> Content:
    """A manifest of any type."""
    return Content(media_type, json.dumps({"schemaVersion": 2, "mediaType": media_type} | fields).encode())


def describe(parts: Sequence[Content]) -> list[dict[str, object]]:
    return [part.descriptor for part in parts]


_LAYERS = [make_blob(f"blob {number}" * number) for number in range(4)]  # the first one is empty
_IMAGES = [
    make_image(_LAYERS[0]),
    make_image(_LAYERS[1], [_LAYERS[2]]),
    make_image(_LAYERS[1], [_LAYERS[2], _LAYERS[3], _LAYERS[2]]),
    make_manifest(DOCKER_MANIFEST, config=_LAYERS[3].descriptor, layers=describe(_LAYERS[:2])),
]
AS_BLOB = Content(LAYER_TYPE, _IMAGES[0].content)  # BuildKit pushes manifests as blobs
_INDEXES = [
    make_index(_IMAGES[:1]),
    make_index([_IMAGES[1], _IMAGES[2]]),
    make_index([_IMAGES[1], _LAYERS[3]]),
    make_manifest(DOCKER_LIST, manifests=describe([_IMAGES[3]])),
]
_OTHERS = [
    make_index([_INDEXES[0], _IMAGES[0]]),
    make_manifest(OCI_ARTIFACT, artifactType="application/vnd.example", blobs=describe([_LAYERS[3]])),
    make_manifest(UNKNOWN_TYPE, config=_LAYERS[2].descriptor, layers=describe([_LAYERS[0]])),
    make_manifest(UNKNOWN_LIST, manifests=describe([_IMAGES[1], _LAYERS[2]])),
]
_SIGNATURE = make_image(_LAYERS[0], subject=_IMAGES[1])
REFERRERS = [
    _SIGNATURE,
    make_image(_LAYERS[2], [_LAYERS[2]], subject=_INDEXES[1]),
    make_index([_IMAGES[0]], subject=_IMAGES[1].descriptor),
    make_manifest(OCI_ARTIFACT, blobs=describe([_LAYERS[1]]), subject=_SIGNATURE.descriptor),
    make_manifest(UNKNOWN_TYPE, layers=describe([_LAYERS[3]]), subject=_INDEXES[0].descriptor),
]

CACHE = _INDEXES[0]
BLOBS = [*_LAYERS, AS_BLOB, make_blob("nothing names it")]
MANIFESTS = [*_IMAGES, *_INDEXES, *_OTHERS, *REFERRERS]
